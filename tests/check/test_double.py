"""Statistics that are stored as double: what stays of them is rounded, each number once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.check.proof import prove
from caffefold.errors import ProofError
from caffefold.formats import schema
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

INTEL = "batch_norm_param { use_weight_bias: true }"
NVIDIA = "batch_norm_param { scale_bias: true }"


def pair(folder: Path, seed: int, params: str) -> tuple[Path, Path]:
    """A BatchNorm behind a ReLU, with numbers of which no one fits into float32."""
    make = RandomLayers(seed)
    norm = LayerSpec("bn", "BatchNorm", "r", params=params)
    conv = make.conv("c", "data", 4, 4)
    layers = [input_layer(1, 4, 6, 6), conv, relu("r", "c", "r"), norm, relu("e", "bn", "e")]
    prototxt, caffemodel = write_pair(folder, layers)
    net: Any = schema.message_class("NetParameter")()
    net.ParseFromString(caffemodel.read_bytes())
    random = np.random.default_rng(seed)
    factor = random.uniform(1, 1000)
    blobs = [random.normal(size=4) * factor, random.uniform(0.2, 2, 4) * factor, np.array([factor])]
    blobs += [random.normal(size=4), random.normal(size=4)] if params else []
    (record,) = (layer for layer in net.layer if layer.name == "bn")
    for numbers in blobs:
        record.blobs.add(double_data=numbers.tolist()).shape.dim.extend(numbers.shape)
    caffemodel.write_bytes(net.SerializeToString())
    return prototxt, caffemodel


@pytest.mark.parametrize("params", ["", INTEL, NVIDIA], ids=["three", "Intel", "NVIDIA"])
@pytest.mark.parametrize("options", [{"fold": "none"}, {"keep": ["bn"]}, {"collapse": False}])
def test_a_batch_norm_that_stays(tmp_path: Path, params: str, options: dict[str, Any]) -> None:
    """Up to five rounded numbers are in its map: sound nets are not refused."""
    for seed in range(40):
        caffefold.convert(*pair(tmp_path, seed, params), tmp_path / "out", force=True, **options)


@pytest.mark.parametrize("blob", range(5))
def test_another_number_is_seen(tmp_path: Path, blob: int) -> None:
    """What rounding cannot explain: a number that is off by eight units of float32."""
    net = caffefold.load(*pair(tmp_path, 1, INTEL))
    at = [layer.name for layer in net.layers].index("bn")
    layer = net.layers[at]

    def with_blob(times: float) -> Net:
        numbers = ArrayBlob(np.asarray(layer.blobs[blob], np.float64) * times)
        blobs = (*layer.blobs[:blob], numbers, *layer.blobs[blob + 1 :])
        return net.substitute({at: (layer.with_blobs(blobs),)})

    prove(net, with_blob(1.0), ())
    with pytest.raises(ProofError):
        prove(net, with_blob(1 + 2.0**-20), ())
