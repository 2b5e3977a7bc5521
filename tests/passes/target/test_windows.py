"""Windows with a value for each axis, for parsers that read one: exact, proven, or refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.check import proof
from caffefold.check.forward.evaluate import evaluate
from caffefold.ir.blob import ArrayBlob, SpreadBlob
from caffefold.ir.net import Net
from caffefold.passes.infra import Change, ChangeKind

TEXT = """input: "data" input_shape { dim: 2 dim: 4 dim: 13 dim: 11 }
layer { name: "c" type: "%s" bottom: "data" top: "c" convolution_param {
  num_output: 6 group: 2 %s } }
layer { name: "n" type: "BatchNorm" bottom: "c" top: "c" }"""
RNG = np.random.default_rng(14)


def net_of(window: str, kernel: tuple[int, ...], kind: str = "Convolution") -> Net:
    outer = (6, 2) if kind == "Convolution" else (4, 3)
    blobs = RNG.normal(size=(*outer, *kernel)), RNG.normal(size=6)
    norm = RNG.normal(size=6), RNG.uniform(0.5, 2, 6), [1.0]
    return Net.from_text(TEXT % (kind, window), {"c": blobs, "n": norm})


def outputs(net: Net) -> Any:
    x = np.random.default_rng(3).normal(size=(2, 4, 13, 11))
    return list(evaluate(net, {"data": x}))[-1].values


WINDOWS = [
    ("kernel_size: 3 pad: 4 pad: 2 dilation: 4 dilation: 2", (3, 3)),
    ("kernel_size: 3 kernel_size: 2 stride: 2 stride: 1 dilation: 2 dilation: 3", (3, 2)),
    ("kernel_size: 3 kernel_size: 1 pad: 2 pad: 0 dilation: 2 dilation: 5", (3, 1)),
    ("kernel_size: 1 kernel_size: 1 dilation: 2 dilation: 5", (1, 1)),
    ("kernel_h: 2 kernel_w: 3 pad_h: 1 pad_w: 0 dilation: 1 dilation: 3", (2, 3)),
    ("kernel_size: 3 kernel_size: 3 stride: 2 stride: 2 pad: 1 pad: 1", (3, 3)),
]


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(("window", "kernel"), WINDOWS)
def test_the_numbers_are_the_same(kind: str, window: str, kernel: tuple[int, ...]) -> None:
    net = net_of(window, kernel, kind)
    result = caffefold.retarget(caffefold.fold(net).net, target="mnn")
    params = result.net["c"].params("convolution_param")
    for name in ("kernel_size", "pad", "stride", "dilation"):
        assert len(params.integers(name)) <= 1
    assert caffefold.prove(net, result.net).folds
    wanted, found = outputs(net), outputs(result.net)
    np.testing.assert_allclose(found, wanted, atol=1e-9 * np.abs(wanted).max())


def test_what_is_written() -> None:
    net = net_of(*WINDOWS[0])
    made = caffefold.retarget(net, target="openvino").net["c"]
    text = " ".join(str(made.field).split())
    assert "kernel_h: 5 kernel_w: 3 pad_h: 4 pad_w: 2 dilation: 2" in text
    assert made.blobs[0].shape == (6, 2, 5, 3)
    blob = np.asarray(made.blobs[0])
    np.testing.assert_array_equal(blob[:, :, ::2], np.asarray(net["c"].blobs[0]))
    assert not blob[:, :, 1::2].any()


@pytest.mark.parametrize("target", ["caffe", "opencv", "rknn"])
def test_who_reads_it_gets_it_as_it_is(target: Any) -> None:
    net = net_of(*WINDOWS[0])
    made = caffefold.retarget(net, target=target).net["c"]
    assert made.params("convolution_param").integers("dilation") == (4, 2)


def test_weights_do_not_grow_beyond_measure() -> None:
    net = net_of("kernel_size: 3 dilation: 1 dilation: 500", (3, 3))
    with pytest.raises(caffefold.TextError, match=r"layer 'c': MNN .* misreads kernel_size, pad"):
        caffefold.retarget(net, target="mnn")


def test_three_spatial_axes_are_refused_by_name() -> None:
    text = """input: "data" input_shape { dim: 1 dim: 2 dim: 4 dim: 4 dim: 4 }
    layer { name: "c" type: "Convolution" bottom: "data" top: "c"
      convolution_param { num_output: 2 kernel_size: 3 bias_term: false } }"""
    net = Net.from_text(text, {"c": (np.ones((2, 2, 3, 3, 3)),)})
    caffefold.retarget(net, target="caffe")
    with pytest.raises(caffefold.TextError, match=r"layer 'c': OpenCV .* two spatial axes.* has 3"):
        caffefold.retarget(net, target="opencv")


def faulty(net: Net, old: str, new: str, blob: Any = None) -> Net:
    """``net`` with another text, and maybe other weights."""
    text = str(net.to_document())
    assert old in text
    blobs: dict[str, Any] = {layer.name: layer.blobs for layer in net.layers}
    if blob is not None:
        blobs["c"] = (ArrayBlob(blob), *net["c"].blobs[1:])
    values = {name: [np.asarray(b, np.float64) for b in each] for name, each in blobs.items()}
    return Net.from_text(text.replace(old, new), values)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pad_h: 4", "pad_h: 2"),
        ("pad_w: 2", "pad_w: 4"),
        ("dilation: 2", "dilation: 1"),
        ("dilation: 2", "dilation: 2 stride: 2"),
        ("kernel_h: 5", "kernel_h: 3"),
        ("group: 2", "group: 1"),
    ],
)
def test_a_wrong_window_is_not_proven(old: str, new: str) -> None:
    net = net_of(*WINDOWS[0])
    made = caffefold.retarget(net, target="mnn")
    with pytest.raises(caffefold.ProofError, match="layer 'c': its parameters were changed"):
        prove(net, faulty(made.net, old, new))


@pytest.mark.parametrize("wrong", ["between", "tap", "order"])
def test_wrong_weights_are_not_proven(wrong: str) -> None:
    net = net_of(*WINDOWS[0])
    made = caffefold.retarget(net, target="mnn").net
    prove(net, faulty(made, "data", "data"))
    blob = np.array(np.asarray(made["c"].blobs[0], np.float64))
    if wrong == "between":
        blob[0, 0, 1, 0] = 1e-30
    elif wrong == "tap":
        blob[5, 1, 4, 2] *= 1 + 1e-5
    else:
        blob = blob[:, :, ::-1].copy()
    with pytest.raises(caffefold.ProofError, match="not 0" if wrong == "between" else "wrong in"):
        prove(net, faulty(made, "data", "data", blob))


def prove(net: Net, made: Net) -> None:
    """With the claim that both layers took another form."""
    proof.prove(net, made, [Change(ChangeKind.REWRITTEN, (), ("c", "n"), "")])


def test_an_unclaimed_form_is_not_proven() -> None:
    net = net_of(*WINDOWS[0])
    with pytest.raises(caffefold.ProofError, match="blob 0 should not have changed"):
        proof.prove(net, caffefold.retarget(net, target="mnn").net, [])


@pytest.mark.parametrize("steps", [(1, 1), (2, 1), (1, 3), (3, 2)])
def test_filters_are_spread_range_by_range(steps: tuple[int, int]) -> None:
    source = RNG.normal(size=(2, 3, 3, 2))
    wide = np.zeros((2, 3, 2 * steps[0] + 1, steps[1] + 1))
    wide[:, :, :: steps[0], :: steps[1]] = source
    blob = SpreadBlob(ArrayBlob(source), steps)
    assert blob.shape == wide.shape
    for start, stop in itertools.combinations(range(0, wide.size + 1, 5), 2):
        np.testing.assert_array_equal(blob.read(start, stop), wide.ravel()[start:stop])
