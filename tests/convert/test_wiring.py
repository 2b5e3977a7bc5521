"""The proof catches folds that had no right to be, and anything else that changed on the way.

A fold that lies: the pass gets to see a net in which what stands in its way is hidden, and what it
made of that is passed off as a fold of the whole net. Every number in it is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

import caffefold
from caffefold.check import proof
from caffefold.formats.prototxt import parse as text_parse
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.net import Layer, Net
from caffefold.passes.infra import Change, ChangeKind

if TYPE_CHECKING:
    from tests.convert.conftest import Tamper, Workshop

Edit = Callable[[Net], Net]
Arrays = list[NDArray[np.float64]]
RELU = 'layer { name: "early" type: "ReLU" bottom: "conv1" top: "conv1" }\n'
SIDE = (
    'layer { name: "side" type: "Pooling" bottom: "conv1" top: "side" '
    "pooling_param { kernel_size: 1 } }\n"
)
POOL = (
    'layer { name: "early" type: "Pooling" bottom: "c" top: "conv1" '
    "pooling_param { kernel_size: 1 } }\n"
)
POWER = (
    'layer { name: "power" type: "Power" bottom: "conv1" top: "conv1" power_param { power: 2 } }\n'
)
BN, SCALE, LAST = (f'layer {{\n  name: "{name}"' for name in ("bn1", "scale1", "relu1"))


def _at(net: Net, name: str) -> int:
    return [layer.name for layer in net.layers].index(name)


def _without(name: str) -> Edit:
    return lambda net: net.without([_at(net, name)])


def _behind(name: str, text: str) -> Edit:
    """Insert a layer behind another one."""

    def edit(net: Net) -> Net:
        at = _at(net, name)
        made = Layer.of(text_parse.parse(text).fields[0], net.document)
        return net.substitute({at: (net.layers[at], made)})

    return edit


def _edited(name: str, old: str, new: str) -> Edit:
    """Change the text of one layer."""

    def edit(net: Net) -> Net:
        at = _at(net, name)
        text = str(net.layers[at].field)
        assert old in text
        made = Layer.of(text_parse.parse(text.replace(old, new)).fields[0], net.document)
        kept = replace(made, blobs=net.layers[at].blobs, record=net.layers[at].record)
        return net.substitute({at: (kept,)})

    return edit


def _both(first: Edit, second: Edit) -> Edit:
    return lambda net: second(first(net))


def _same(net: Net) -> Net:
    return net


def _refused(workshop: Workshop, text: str | None = None) -> str:
    """Convert; the proof must fail and nothing may be put in place. The message."""
    pair = workshop.make(text)
    before = workshop.listing()
    with pytest.raises(caffefold.ProofError, match="no output was written") as caught:
        workshop.convert(pair)
    assert workshop.listing() == before
    return str(caught.value)


# ------------------------------------------------------------------------------ folds that lie


@dataclass(frozen=True)
class Lie:
    """How the net is changed, what hides the change from the fold, and what brings it back."""

    changes: tuple[tuple[str, str], ...]
    hide: Edit
    restore: Edit = _same
    victim: str = "scale1"
    """The layer that may not be folded into conv1."""

    def text(self, plain: str) -> str:
        """The net with what makes the fold wrong."""
        for old, new in self.changes:
            assert old in plain
            plain = plain.replace(old, new, 1)
        return plain


LIES = {
    "an in-place layer between convolution and BatchNorm": Lie(
        ((BN, RELU + BN),), _without("early"), _behind("conv1", RELU)
    ),
    "an in-place layer between BatchNorm and Scale": Lie(
        ((SCALE, RELU + SCALE),), _without("early"), _behind("conv1", RELU)
    ),
    "pooling of maxima in between": Lie(
        (('top: "conv1"\n  conv', 'top: "c"\n  conv'), (BN, POOL + BN)),
        _both(_without("early"), _edited("conv1", 'top: "c"', 'top: "conv1"')),
        _both(_edited("conv1", 'top: "conv1"', 'top: "c"'), _behind("conv1", POOL)),
    ),
    "another reader of the convolution": Lie(
        ((BN, SIDE + BN),), _without("side"), _behind("conv1", SIDE)
    ),
    "another reader of BatchNorm": Lie(
        ((SCALE, SIDE + SCALE),), _without("side"), _behind("conv1", SIDE)
    ),
    "statistics of the batch": Lie(
        (('Norm"', 'Norm" batch_norm_param { use_global_stats: false }'),),
        _edited("bn1", "use_global_stats: false", ""),
    ),
    "a Scale whose factor is another blob": Lie(
        (
            ('"Scale"\n  bottom: "conv1"', '"Scale"\n  bottom: "conv1" bottom: "data"'),
            ("    bias_term: true", "    bias_term: true\n    axis: 0"),
        ),
        lambda net: _edited("scale1", "axis: 0", "")(_edited("scale1", 'bottom: "data"', "")(net)),
    ),
    "a Scale along another axis": Lie(
        (
            ("dim: 6 dim: 6", "dim: 4 dim: 9"),
            ("    bias_term: true", "    bias_term: true\n    axis: 2"),
        ),
        _edited("scale1", "axis: 2", ""),
    ),
    "a power": Lie(
        ((LAST, POWER + LAST),), _edited("power", "power: 2", "scale: 3"), victim="power"
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_fold_that_had_no_right_to_be(workshop: Workshop, tamper: Tamper, lie: Lie) -> None:
    tamper(lie.restore, hide=lie.hide)
    _refused(workshop, lie.text(workshop.text))


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_the_same_without_the_lie(workshop: Workshop, lie: Lie) -> None:
    """The real fold takes no more than it may, and proves it."""
    report, _ = workshop.convert(workshop.make(lie.text(workshop.text)))
    assert lie.victim not in dict(report.folded()).get("conv1", ())
    assert lie.victim in {name for skip in report.skips for name in skip.layers}


def test_a_map_folded_into_a_padded_input(workshop: Workshop, tamper: Tamper) -> None:
    """Zeros around the input are not mapped: exact inside, wrong at the border."""
    text = (workshop.head + workshop.chain).replace('bottom: "conv1"', 'bottom: "norm"')
    text = text.replace('top: "conv1"', 'top: "norm"')
    conv = text[text.index('layer {\n  name: "conv1"') : text.index(BN)]
    text = text.replace('bottom: "norm"', 'bottom: "data"', 1)
    conv = conv.replace('top: "norm"', 'top: "conv1"').replace('bottom: "data"', 'bottom: "norm"')
    relu = text.index(LAST)
    text = text[: text.index('layer {\n  name: "conv1"')] + text[text.index(BN) : relu] + conv
    tamper(_edited("conv1", "pad: 0", "pad: 1"), hide=_edited("conv1", "pad: 1", "pad: 0"))
    message = _refused(workshop, text)
    assert "layer 'conv1'" in message


# --------------------------------------------------------------------------- other tampering


def _numbers(name: str, change: Callable[[Arrays], object]) -> Edit:
    """Change the blobs of one layer."""

    def edit(net: Net) -> Net:
        at = _at(net, name)
        blobs = [np.array(blob, dtype=np.float64) for blob in net.layers[at].blobs]
        change(blobs)
        made = net.layers[at].with_blobs(tuple(ArrayBlob(blob) for blob in blobs))
        return net.substitute({at: (made,)})

    return edit


def _next_float(blobs: Arrays) -> None:
    blobs[0][4, 143] = np.nextafter(np.float32(blobs[0][4, 143]), np.float32(np.inf))


TAMPERINGS = {
    "a layer is gone": _without("relu1"),
    "the last layer is gone": _without("fc"),
    "a layer more": _behind("fc", RELU.replace("conv1", "fc")),
    "a map more": _behind(
        "fc", 'layer { name: "p" type: "Power" bottom: "fc" top: "q" power_param { scale: 2 } }'
    ),
    "an output is renamed": _edited("fc", 'top: "fc"', 'top: "other"'),
    "another input": _edited("fc", 'bottom: "conv1"', 'bottom: "data"'),
    "another type": _edited("relu1", "ReLU", "Sigmoid"),
    "another stride": _edited("conv1", "pad: 1", "pad: 1 stride: 2"),
    "another parameter": _edited("relu1", '"ReLU"', '"ReLU" relu_param { negative_slope: 1 }'),
    "another input shape": _edited("data", "dim: 6", "dim: 7"),
    "a weight is the next float": _numbers("fc", _next_float),
    "the bias is gone": _numbers("fc", lambda blobs: blobs.pop()),
    "the bias is reversed": _numbers("fc", lambda blobs: blobs.append(blobs.pop()[::-1].copy())),
    "the shape is turned": _numbers("fc", lambda b: b.insert(0, b.pop(0).reshape(144, 5))),
    "the folded bias is gone": _numbers("conv1", lambda blobs: blobs.pop()),
}


@pytest.mark.parametrize("spoil", TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampering(workshop: Workshop, tamper: Tamper, spoil: Edit) -> None:
    tamper(spoil)
    _refused(workshop)


def test_text_and_weights_that_disagree_about_the_bias(workshop: Workshop, tamper: Tamper) -> None:
    """Caffe refuses such a pair: 1 + bias_term is not the number of blobs."""
    tamper(_edited("conv1", "pad: 1", "pad: 1 bias_term: false"))
    _refused(workshop)


def test_a_claim_does_not_cover_numbers_nobody_checked(workshop: Workshop) -> None:
    """A change names a layer that folding can not change: its numbers are compared all the same."""
    text = workshop.text.replace('type: "ReLU"', 'type: "PReLU"')
    blobs = {**workshop.blobs(), "relu1": [np.full(4, 0.25)]}
    pair = workshop.make(text, blobs)
    with caffefold.load(pair.prototxt, pair.caffemodel) as net:
        written = _numbers("relu1", lambda found: found.insert(0, found.pop() * 2))(net)
        with pytest.raises(caffefold.ProofError):
            proof.prove(net, written, ())
        with pytest.raises(caffefold.ProofError):
            proof.prove(net, written, (Change(ChangeKind.FOLDED, (), ("relu1",)),))


def test_a_net_equals_itself(workshop: Workshop) -> None:
    pair = workshop.make()
    with caffefold.load(pair.prototxt, pair.caffemodel) as net:
        found = proof.prove(net, net, ())
    assert found.folds == ()
    assert found.unchanged_blobs == 8
    assert found.outputs == ("fc",)
