"""Every SkipCode: a net that produces it, with the reason a user reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.ops.base import SkipCode
from caffefold.passes.fold.fold import Fold
from caffefold.passes.infra import Skip
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

N = RandomLayers(7)
ZERO = [np.zeros(4), np.zeros(4), np.zeros(1)]


def conv(name: str = "conv", bottom: str = "data", **options: object) -> LayerSpec:
    return N.conv(name, bottom, 4, 4, **options)  # type: ignore[arg-type]


def shared_convs() -> list[LayerSpec]:
    named = 'param { name: "w" }'
    one, two = conv("one"), conv("two")
    return [
        LayerSpec(one.name, one.type, "data", params=one.params + named, blobs=one.blobs),
        LayerSpec(two.name, two.type, "data", params=two.params + named, blobs=one.blobs),
        N.batch_norm("bn", "one", 4),
    ]


CASES: list[tuple[SkipCode, list[LayerSpec], str, dict[str, object]]] = [
    (
        SkipCode.SEVERAL_READERS,
        [conv(), N.batch_norm("bn", "conv", 4), relu("side", "conv", "side")],
        "the output of 'conv' is also read by 'side'",
        {},
    ),
    (
        SkipCode.PADDED_INPUT,
        [N.batch_norm("bn", "data", 4), conv(bottom="bn", params="pad: 1")],
        "'conv' pads its input with zeros",
        {},
    ),
    (
        SkipCode.PADDED_INPUT,
        [N.batch_norm("bn", "data", 4), conv(bottom="bn", kind="Deconvolution")],
        "only part of the kernel meets the input",
        {},
    ),
    (
        SkipCode.NET_OUTPUT,
        [LayerSpec("bn", "Dropout", "data", "out")],
        "a net input or output would lose its name",
        {},
    ),
    (
        SkipCode.NOT_LINEAR,
        [relu("relu", "data", "relu"), N.batch_norm("bn", "relu", 4), relu("end", "bn")],
        "its input comes from 'relu' (ReLU), and its result is read by 'end' (ReLU)",
        {},
    ),
    (
        SkipCode.NOT_LINEAR,
        [conv(), LayerSpec("bn", "Power", "conv", params="power_param { power: 2 }")],
        "its power is 2, not 1",
        {},
    ),
    (SkipCode.SHARED_WEIGHTS, shared_convs(), "shared as param 'w'", {}),
    (
        SkipCode.TWO_BOTTOMS,
        [conv(), LayerSpec("bn", "Scale", "conv conv", params="scale_param { axis: 0 }")],
        "it has 2 inputs, so its factor is not stored",
        {},
    ),
    (
        SkipCode.NOT_CHANNEL_AXIS,
        [
            conv(),
            LayerSpec("bn", "Scale", "conv", params="scale_param { axis: 2 }", blobs=[N.normal(6)]),
        ],
        "starts at axis 2, not along the channels alone",
        {},
    ),
    (
        SkipCode.BATCH_STATISTICS,
        [conv(), N.batch_norm("bn", "conv", 4, params="use_global_stats: false")],
        "use_global_stats: false makes it use the statistics of each batch",
        {},
    ),
    (
        SkipCode.NO_STATISTICS,
        [conv(), LayerSpec("bn", "BatchNorm", "conv", blobs=ZERO)],
        "its statistics were never collected",
        {},
    ),
    (
        SkipCode.LEARNING_MODE,
        [conv(), LayerSpec("bn", "BN", "conv", blobs=[N.normal(4), N.normal(4)])],
        "SegNet's BN in LEARN mode",
        {},
    ),
    (
        SkipCode.UNKNOWN_LAYOUT,
        [conv(), LayerSpec("bn", "BatchNorm", "conv", blobs=[N.normal(4)] * 4)],
        "it has 4 blobs where BatchNorm has 3 or 5",
        {},
    ),
    (
        SkipCode.NOT_FINITE,
        [
            conv(),
            LayerSpec("bn", "BatchNorm", "conv", blobs=[N.normal(4), -N.positive(4), np.ones(1)]),
        ],
        "its result is not finite in channel 0",
        {},
    ),
    (
        SkipCode.KEPT,
        [conv(), N.batch_norm("bn", "conv", 4)],
        "it is kept as requested",
        {"keep": ["b*"]},
    ),
    (
        SkipCode.KEPT,
        [conv(), N.batch_norm("bn", "conv", 4)],
        "'conv' is kept as requested",
        {"keep": ["conv"]},
    ),
    (
        SkipCode.NOT_LINEAR,
        [N.batch_norm("bn", "data", 4), relu("end", "bn")],
        "its input is an input of the net, and its result is read by 'end' (ReLU)",
        {},
    ),
    (
        SkipCode.NOT_ASKED,
        [N.batch_norm("bn", "data", 4), conv(bottom="bn")],
        "folding into an input was not requested",
        {"fold": "output"},
    ),
]


@pytest.mark.parametrize(("code", "layers", "words", "options"), CASES)
def test_reason(
    tmp_path: Path, code: SkipCode, layers: list[LayerSpec], words: str, options: dict[str, object]
) -> None:
    skip = skip_of("bn", tmp_path, layers, options)
    assert skip.code == code
    assert words in skip.message
    assert "\n" not in skip.message


def skip_of(name: str, folder: Path, layers: list[LayerSpec], options: dict[str, object]) -> Skip:
    pair = write_pair(folder, [input_layer(1, 4, 8, 8), *layers])
    report = caffefold.convert(*pair, folder / "out", **options)  # type: ignore[arg-type]
    found = [skip for skip in report.skips if name in skip.layers]
    assert len(found) == 1, report.skips
    return found[0]


def test_no_weights(tmp_path: Path) -> None:
    prototxt, _ = write_pair(
        tmp_path, [input_layer(1, 4, 8, 8), conv(), N.batch_norm("bn", "conv", 4)]
    )
    result = Fold().run(caffefold.load(prototxt))
    assert [skip.code for skip in result.skips] == [SkipCode.NO_WEIGHTS]


def test_every_code_has_a_case() -> None:
    """Those of channels that stay are in tests/passes/slim."""
    slim = {"TRAINING_READS", "NOT_FOLLOWED", "NOT_CONSTANT", "LAST_CHANNEL", "UNEVEN_GROUPS"}
    of_slim = {code for code in SkipCode if code.value in {*slim, "MULTIPLE"}}
    assert {case[0] for case in CASES} | {SkipCode.NO_WEIGHTS} == set(SkipCode) - of_slim
