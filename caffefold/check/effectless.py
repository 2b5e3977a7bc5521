"""Which fields of a layer have no effect at test time, and whether two texts differ in others.

The tables are short on purpose: a field that stands in none of them must be in the written net as
it was in the given one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from types import MappingProxyType
from typing import NamedTuple

from caffefold.formats.prototxt.tree import Field, ListValue, Message, unquote
from caffefold.ir.net import Layer
from caffefold.ops.table import op

LAYER_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "include": "rules choose layers before any is built (net.cpp, FilterNet)",
        "exclude": "rules choose layers before any is built (net.cpp, FilterNet)",
        "phase": "a layer inherits the phase of its net; snapshots say TRAIN (net.cpp, Init)",
        "propagate_down": "which bottoms gradients are computed for (net.cpp, Init)",
        "loss_weight": "what a top counts for when training (layer.hpp, SetLossWeights)",
        "loss_param": "how a loss is normalized; no other layer reads it (loss_layer.cpp)",
        "transform_param": "only data layers read it (base_data_layer.cpp); those became inputs",
        "blobs_lr": "V1's learning rates (upgrade_proto.cpp); only solvers read them",
        "weight_decay": "V1's decay rates (upgrade_proto.cpp); only solvers read them",
        "forward_type": "NVCaffe: the precision it computes in; a float32 deploy has one",
        "forward_math": "NVCaffe: the precision it computes in; a float32 deploy has one",
        "backward_type": "NVCaffe: the type that gradients are stored in",
        "backward_math": "NVCaffe: the type that gradients are computed in",
    }
)
"""Of a layer, whatever its type, with the reason."""

FORK_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "forward_type": "NVCaffe: the precision it computes in",
        "forward_math": "NVCaffe: the precision it computes in",
        "backward_type": "NVCaffe: of gradients",
        "backward_math": "NVCaffe: of gradients",
        "engine": "which library computes",
        "stats_batch_size": "Intel: how statistics are collected",
        "moving_average_fraction": "how statistics are collected",
    }
)
"""Fields of forks that may be dropped for a consumer that does not know them: how a layer computes,
not what."""

AT_DEFAULT: frozenset[tuple[str, str]] = frozenset(
    {
        ("/convolution_param/axis", "1"),
        ("/convolution_param/dilation", "1"),
        ("/convolution_param/force_nd_im2col", "false"),
        ("/eltwise_param/coeff", "1"),
        ("/softmax_param/axis", "1"),
    }
)
"""Values that a layer has when nothing is written (caffe.proto; base_conv_layer.cpp and
eltwise_layer.cpp: no dilation and no coeff are 1), for one axis or bottom, or for each."""

BATCH_NORM: Mapping[str, str] = MappingProxyType(
    {
        "moving_average_fraction": "how statistics are collected (batch_norm_layer.cpp)",
        "use_global_stats": "TEST uses stored statistics; false is the switch for training, and a "
        "net with data layers or losses was written for training",
    }
)
"""Of a BatchNorm in a net that was written for training."""

NET_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "force_backward": "which gradients are computed (net.cpp, Init)",
        "debug_info": "what is logged (net.cpp, ForwardDebugInfo)",
        "state": "what rules are matched against (net.cpp, FilterNet); these have been applied",
        "global_grad_scale": "NVCaffe: of gradients",
        "global_grad_scale_adaptive": "NVCaffe: of gradients",
        "default_forward_type": "NVCaffe: the precision of layers that state none",
        "default_forward_math": "NVCaffe: the precision of layers that state none",
        "default_backward_type": "NVCaffe: of gradients",
        "default_backward_math": "NVCaffe: of gradients",
    }
)
"""Of the net."""

_WIRING = frozenset({"name", "type", "bottom", "top", "param"})  # compared on their own
Agree = Callable[[str, str, str], bool]
"""Whether a value of the given net, at a path, may have become this one: placeholders."""


class Difference(NamedTuple):
    """Where two texts differ, and what stands there; "" for nothing."""

    path: str
    before: str
    after: str


class Effects(NamedTuple):
    """Which fields of one given layer count."""

    filled: bool
    """Whether fillers decide numbers. Where they are stored, those overwrite what was filled
    (net.cpp, CopyTrainedLayersFrom); DummyData fills its tops with them (dummy_data_layer.cpp)."""
    normalizes: bool
    """Whether it is a BatchNorm of a net for training."""

    @classmethod
    def of(cls, layer: Layer, *, trained: bool, stored: bool) -> Effects:
        """Those of ``layer``; ``stored`` says that the net has weights."""
        name = op(layer).name
        filled = name == "DummyData" or (stored and not layer.blobs)
        return cls(filled, trained and name == "BatchNorm")

    def counts(self, message: str, name: str) -> bool:
        """Whether the field ``name`` of a parameter message has an effect."""
        if message == "batch_norm_param":  # NVCaffe: its fillers say that it has gamma and beta
            return not (self.normalizes and name in BATCH_NORM)
        return self.filled or not (name == "filler" or name.endswith("_filler"))


def difference(before: Layer, after: Layer, effects: Effects, agree: Agree) -> Difference | None:
    """Where the parameters of two layers differ in effect; None where they do not."""
    if before.field.value is after.field.value:
        return None
    mine, theirs = _sharing(before), _sharing(after)
    if mine != theirs:
        return Difference("param", *(", ".join(map("/".join, each)) for each in (mine, theirs)))
    return _between(_effective(before.body, effects), _effective(after.body, effects), "", agree)


def net_difference(before: Iterable[Field], after: Iterable[Field]) -> Difference | None:
    """Where the fields of two nets outside of their layers differ in effect; inputs are compared
    elsewhere."""
    kept = [
        [f for f in each if f.name not in NET_FIELDS and not f.name.startswith("input")]
        for each in (before, after)
    ]
    return _between(kept[0], kept[1], "", lambda path, old, new: old == new)


def _sharing(layer: Layer) -> list[tuple[str, str]]:
    """Name and mode of each blob's sharing; a mode without a name shares nothing.

    A param belongs to a blob by its place (net.cpp, AppendParam); its rates and decays are read by
    solvers alone.
    """
    params = [field.body for field in layer.body.fields if field.name == "param"]
    named = [(body.string("name"), body.string("share_mode")) for body in params]
    while named and not named[-1][0]:
        named.pop()
    return [pair if pair[0] else ("", "") for pair in named]


def _effective(body: Message, effects: Effects) -> list[Field]:
    """The fields of a layer that count; a message that holds nothing says no more than none."""
    found = []
    for field in body.fields:
        if field.name in LAYER_FIELDS or field.name in _WIRING:
            continue
        if field.name.endswith("_param") and isinstance(field.value, Message):
            inner = field.value.fields
            kept = [f for f in inner if effects.counts(field.name, f.name)]
            if not kept:
                continue
            if len(kept) < len(inner):
                field = field.with_fields(kept)  # noqa: PLW2901
        found.append(field)
    return found


def _between(
    before: Iterable[Field], after: Iterable[Field], path: str, agree: Agree
) -> Difference | None:
    for old, new in zip_longest(before, after):
        if old is None or new is None or old.name != new.name:
            name = (old or new).name
            absent = old is not None and new is not None
            shown = ("" if f is None or (absent and f is new) else _shown(f) for f in (old, new))
            return Difference(f"{path}{name}", *shown)
        if old.value is new.value:
            continue
        here = f"{path}{old.name}"
        if isinstance(old.value, Message) and isinstance(new.value, Message):
            found = _between(old.value.fields, new.value.fields, f"{here}/", agree)
            if found is not None:
                return found
            continue
        raws = [_raws(f) for f in (old, new)]
        if len(raws[0]) != len(raws[1]) or not all(
            a == b or agree(here, a, b) for a, b in zip(*raws, strict=True)
        ):
            return Difference(here, _shown(old), _shown(new))
    return None


def _raws(field: Field) -> list[str]:
    value = field.value
    if isinstance(value, Message):
        return [str(value)]
    items = value.items if isinstance(value, ListValue) else (value,)
    return [unquote(str(item)) for item in items]


def _shown(field: Field) -> str:
    return " ".join(str(field.value).split())
