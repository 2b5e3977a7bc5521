"""Nets that Caffe runs and that are easily got wrong: converted, proven, never refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

import caffefold
from caffefold.testing import LayerSpec, RandomLayers, input_layer, write_pair

if TYPE_CHECKING:
    from tests.convert.conftest import Workshop

Blobs = dict[str, list[NDArray[np.float64]]]
_RNG = np.random.default_rng(5)
CONV = [_RNG.normal(size=(4, 4, 3, 3)), _RNG.normal(size=4)]
BN = [_RNG.normal(size=4), _RNG.uniform(1, 9, size=4), np.array([4.0])]
SCALE = [_RNG.uniform(0.5, 2, size=4), _RNG.normal(size=4)]


def _layer(name: str, kind: str, bottom: str, params: str = "") -> str:
    return LayerSpec(name, kind, bottom, params=params).prototxt()


def _conv(name: str = "conv1", bottom: str = "data", more: str = "") -> str:
    return _layer(
        name, "Convolution", bottom, f"convolution_param {{ num_output: 4 kernel_size: 3 {more} }}"
    )


# name: (layers behind the 1x4x6x6 input, weights, what is folded into what)
NETS: dict[str, tuple[str, Blobs, dict[str, tuple[str, ...]]]] = {
    "a Scale along the width": (
        _conv() + _layer("s", "Scale", "conv1", "scale_param { axis: -1 }"),
        {"conv1": CONV, "s": [np.arange(1.0, 5)]},
        {},
    ),
    "a Scale along a width that is not the number of channels": (
        _conv(more="pad: 1") + _layer("s", "Scale", "conv1", "scale_param { axis: -1 }"),
        {"conv1": CONV, "s": [np.arange(1.0, 7)]},
        {},
    ),
    "a Scale for every pixel": (
        _conv() + _layer("s", "Scale", "conv1", "scale_param { num_axes: -1 }"),
        {"conv1": CONV, "s": [_RNG.normal(size=(4, 4, 4))]},
        {},
    ),
    "a Scale of one number": (
        _conv() + _layer("s", "Scale", "conv1", "scale_param { num_axes: 0 }"),
        {"conv1": CONV, "s": [np.array(3.0)]},
        {"conv1": ("s",)},
    ),
    "an inner product along the last axis": (
        _layer("ip", "InnerProduct", "data", "inner_product_param { num_output: 5 axis: 2 }")
        + _layer("bn", "BatchNorm", "ip"),
        {"ip": [_RNG.normal(size=(5, 36)), np.ones(5)], "bn": BN},
        {},
    ),
    "a variance that makes NaN": (
        _conv() + _layer("bn", "BatchNorm", "conv1"),
        {"conv1": CONV, "bn": [BN[0], np.array([-9.0, 1, 2, 3]), BN[2]]},
        {},
    ),
    "a variance and eps of 0": (
        _conv() + _layer("bn", "BatchNorm", "conv1", "batch_norm_param { eps: 0 }"),
        {"conv1": CONV, "bn": [BN[0], np.array([0.0, 1, 2, 3]), BN[2]]},
        {},
    ),
    "variances that are a little below 0, 0 and denormal": (
        _conv() + _layer("bn", "BatchNorm", "conv1"),
        {"conv1": CONV, "bn": [BN[0], np.array([-7e-44, 0, 1e-40, 3]), BN[2]]},
        {"conv1": ("bn",)},
    ),
    "a gamma of 0": (
        _conv() + _layer("s", "Scale", "conv1", "scale_param { bias_term: true }"),
        {"conv1": CONV, "s": [np.zeros(4), SCALE[1]]},
        {"conv1": ("s",)},
    ),
    "a channel of gamma 0": (
        _conv() + _layer("s", "Scale", "conv1", "scale_param { bias_term: true }"),
        {"conv1": CONV, "s": [np.array([0, 1e-30, -1, 1e10]), SCALE[1]]},
        {"conv1": ("s",)},
    ),
    "a bias without bias_term": (
        _conv(more="bias_term: false") + _layer("b", "Bias", "conv1"),
        {"conv1": CONV[:1], "b": [SCALE[1]]},
        {"conv1": ("b",)},
    ),
    "a power of 1": (
        _conv() + _layer("p", "Power", "conv1", "power_param { scale: 2 shift: -1 }"),
        {"conv1": CONV},
        {"conv1": ("p",)},
    ),
    "sums that cancel": (
        _conv() + _layer("s", "Scale", "conv1", "scale_param { bias_term: true }"),
        {"conv1": [CONV[0], np.full(4, 1e6)], "s": [np.full(4, 3.0), np.full(4, -3e6 + 0.5)]},
        {"conv1": ("s",)},
    ),
    "nothing to fold at all": (_conv(), {"conv1": CONV}, {}),
}


@pytest.mark.parametrize("name", NETS)
def test_it_converts(workshop: Workshop, name: str) -> None:
    layers, blobs, folded = NETS[name]
    report, result = workshop.convert(workshop.make(workshop.head + layers, blobs))
    assert dict(report.folded()) == folded
    if not folded:
        for layer, numbers in blobs.items():
            if layer == "bn":
                continue  # alone, it may have become a Scale
            for before, after in zip(numbers, result.blobs(layer), strict=True):
                np.testing.assert_array_equal(before.astype(np.float32), after)


def test_weights_whose_bytes_look_like_text(workshop: Workshop) -> None:
    """Bytes of 0.3 are no control characters; a file full of them is a caffemodel all the same."""
    text = 'input: "data" input_dim: 1 input_dim: 4 input_dim: 6 input_dim: 6\n'
    text += _layer("ip", "InnerProduct", "data", "inner_product_param { num_output: 64 }")
    blobs = {"ip": [np.full((64, 144), 0.3), np.full(64, 0.3)]}
    report, _ = workshop.convert(workshop.make(text, blobs))
    assert report.proof.unchanged_blobs == 2


def test_a_chain_whose_parts_cancel(workshop: Workshop) -> None:
    """BatchNorm and Scale may become one rounded Scale; a Scale behind it subtracts what is left.

    What float32 rounding does there is large beside the difference, not beside its parts.
    """
    names = ("bn", "s", "kept")
    layers = _layer("relu", "ReLU", "data")
    for name, bottom in zip(names, ("relu", *names), strict=False):
        kind = "BatchNorm" if name == "bn" else "Scale"
        params = "" if name == "bn" else "scale_param { bias_term: true }"
        layers += _layer(name, kind, bottom, params)
    large = np.full(4, 1000 / 3)
    blobs = {
        "bn": BN,
        "s": [np.full(4, 1e-3), large],
        "kept": [np.full(4, -1.1), 1.1 * large],
    }
    report, _ = workshop.convert(workshop.make(workshop.head + layers, blobs), keep=("kept",))
    assert not list(report.folded())


def test_memory_does_not_grow_with_the_model(workshop: Workshop) -> None:
    """One fully connected layer of 38 MB, folded and proven; another one that is not touched."""
    size = 3072
    shape = f"num_output: {size} bias_term: false"
    layers = (
        _layer("fc1", "InnerProduct", "data", f"inner_product_param {{ {shape} }}")
        + _layer("bn", "BatchNorm", "fc1")
        + _layer("relu", "ReLU", "bn")
        + _layer("fc2", "InnerProduct", "relu", f"inner_product_param {{ {shape} }}")
    )
    head = workshop.head.replace("dim: 4 dim: 6 dim: 6", f"dim: {size} dim: 1 dim: 1")
    pair = workshop.make(head + layers, {})
    weights = np.random.default_rng(1).random((size, size), dtype=np.float32).tobytes()
    vectors = [np.zeros(size), np.ones(size), np.ones(1)]
    net = pair.net()
    for layer in net.layer:
        for numbers in vectors if layer.name == "bn" else ():
            layer.blobs.add(data=numbers).shape.dim.extend(numbers.shape)
        if layer.name.startswith("fc"):
            layer.blobs.add().MergeFromString(
                b"\x2a" + _varint(len(weights)) + weights + b"\x3a\x06\x0a\x04" + _varint(size) * 2
            )
    pair.caffemodel.write_bytes(net.SerializeToString())
    del net, weights
    if not sys.platform.startswith("linux"):
        pytest.skip("the largest resident size is told by /proc")
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, pair.prototxt, pair.caffemodel, workshop.folder / "out"],
        cwd=workshop.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    assert after - before < 20_000  # kilobytes; one of the layers has 38,000


_PEAK = """
import sys
import caffefold

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("VmHWM"))

caffefold.load(sys.argv[1])
print(peak())
caffefold.convert(*sys.argv[1:])
print(peak())
"""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def test_lists_of_messages(tmp_path: Path) -> None:
    """``layer: [{...}, {...}]`` is text format too, and so are lists of rules inside a layer."""
    numbers = RandomLayers(9)
    layers = [
        input_layer(1, 4),
        numbers.inner_product("ip", "data", 4, 3),
        numbers.batch_norm("bn", "ip", 3),
    ]
    plain, caffemodel = write_pair(tmp_path, layers)
    bodies = [layer.prototxt().removeprefix("layer ").rstrip() for layer in layers]
    bodies.append(
        '{ name: "gone" type: "ReLU" bottom: "bn" top: "gone" '
        "include: [{ phase: TRAIN }, { phase: TEST stage: ['x'] }] }"
    )
    listed = tmp_path / "listed.prototxt"
    listed.write_text(f'name: "net"\nlayer: [{", ".join(bodies)}]\n')
    caffefold.convert(plain, caffemodel, tmp_path / "a")
    caffefold.convert(listed, caffemodel, tmp_path / "b")
    names = [
        [layer.name for layer in caffefold.load(tmp_path / f"{stem}.prototxt").layers]
        for stem in "ab"
    ]
    assert names == [["data", "ip"]] * 2
    assert (tmp_path / "a.caffemodel").read_bytes() == (tmp_path / "b.caffemodel").read_bytes()
