"""How many bottoms and tops Caffe's own layer types take.

Source: ExactNumBottomBlobs, MinBottomBlobs, MaxBottomBlobs and their like for tops, in the headers
of BVLC/caffe 9b891540 and weiliu89/caffe 4817bf8b; Layer::CheckBlobCounts stops at other numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from caffefold.humanize import counted
from caffefold.ir.net import Layer

_ANY = 1 << 30


class Counts(NamedTuple):
    """The least and the most, of each."""

    bottoms: tuple[int, int] = (1, 1)
    tops: tuple[int, int] = (1, 1)


# NeuronLayer, and what declares one of each itself.
_ONE_EACH = (
    "AbsVal BNLL Clip Dropout ELU Exp Log Power PReLU ReLU Sigmoid Swish TanH Threshold "
    "ArgMax BatchNorm Embed Flatten Im2col InnerProduct LRN MVN Normalize Permute Reduction "
    "Reshape Softmax SPP Tile"
)
_TABLE = {
    **dict.fromkeys(_ONE_EACH.split(), Counts()),
    **dict.fromkeys(("Convolution", "Deconvolution"), Counts((1, _ANY), (1, _ANY))),
    **dict.fromkeys(("Scale", "Bias"), Counts((1, 2))),
    **dict.fromkeys(("Crop", "BatchReindex", "PriorBox"), Counts((2, 2))),
    "Concat": Counts((1, _ANY)),
    "DetectionOutput": Counts((3, 4)),
    "Eltwise": Counts((2, _ANY)),
    "Filter": Counts((2, _ANY), (1, _ANY)),
    "Pooling": Counts((1, 1), (1, 2)),
    "Slice": Counts((1, 1), (1, _ANY)),
    "Split": Counts((1, 1), (1, _ANY)),
}
_PAIRED = frozenset({"Convolution", "Deconvolution"})  # EqualNumBottomTopBlobs


def check_counts(layer: Layer) -> None:
    """Refuse a layer that Caffe would not set up.

    Raises:
        TextError: it has too few or too many bottoms or tops.
    """
    known = _TABLE.get(layer.type)
    if known is None:
        return
    for have, (least, most), what in (
        (len(layer.bottoms), known.bottoms, "bottom"),
        (len(layer.tops), known.tops, "top"),
    ):
        if not least <= have <= most:
            wanted = f"at least {least}" if most == _ANY else f"{least} or {most}"
            wanted = counted(least, what) if least == most else f"{wanted} {what}s"
            raise layer.error(f"{layer.type} takes {wanted}, it has {have}")
    if layer.type in _PAIRED and len(layer.bottoms) != len(layer.tops):
        has = f"{counted(len(layer.bottoms), 'bottom')} and {counted(len(layer.tops), 'top')}"
        raise layer.error(f"{layer.type} takes as many tops as bottoms, it has {has}")
