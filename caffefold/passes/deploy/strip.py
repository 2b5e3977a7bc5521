"""Parameters that only training needs are dropped from the layers that are kept.

Given   convolution_param { num_output: 8 weight_filler { type: "msra" } }  param { lr_mult: 1 }
Result  convolution_param { num_output: 8 }

A param's name is kept: it determines which layers share weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from caffefold.formats.prototxt.tree import Field, Message, drop
from caffefold.frozen import dataclass
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import BATCH_NORM
from caffefold.ops.base import TRAINING_FIELDS
from caffefold.ops.table import op
from caffefold.passes.contracts import text_agrees, without_rules
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult

LAYER_FIELDS = TRAINING_FIELDS | {"include", "exclude", "phase"}
_SHARING = frozenset({"name", "share_mode"})
_FILLS_TOPS = frozenset({"data_filler"})  # DummyData's: not where training starts from
_SWITCHES = frozenset({"use_global_stats", "moving_average_fraction"})
_NET_FIELDS = frozenset(
    {"force_backward", "debug_info", "state"}
    # NVCaffe
    | {"global_grad_scale", "global_grad_scale_adaptive", "default_backward_type"}
    | {"default_backward_math"}
)


# NVCaffe: without effect where weights are float32, and other parsers stop there.
PRECISIONS = frozenset({"forward_type", "forward_math"})
NET_PRECISIONS = frozenset({"default_forward_type", "default_forward_math"})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Strip(Pass):
    """Drop train-only fields. ``trained`` says the net came with data layers or losses."""

    trained: bool = True
    half: bool = False
    """Whether the weights will be stored in half precision, which NVCaffe's types are about."""
    name: ClassVar = "strip"
    ensures: ClassVar = (text_agrees, without_rules)

    def run(self, net: Net) -> PassResult:
        """Strip every layer; in a training net ``use_global_stats`` is a training switch too."""
        switched: list[str] = []
        new: dict[int, tuple[Layer, ...]] = {}
        for position, layer in enumerate(net.layers):
            normalizes = op(layer) is BATCH_NORM and self.trained
            if normalizes:
                params = BATCH_NORM.params(layer)
                if params.has("use_global_stats") and not params.flag("use_global_stats"):
                    switched.append(layer.name)
            # Without stored numbers a filler decides which ones there are.
            fills = bool(net.weights and op(layer).fillers and not layer.blobs)
            going = LAYER_FIELDS if self.half else LAYER_FIELDS | PRECISIONS
            stripped = layer.edited(_stripped(layer.body, normalizes, going, fills=fills))
            if stripped is not layer:
                new[position] = (stripped,)
        names = tuple(layers[0].name for layers in new.values())
        change = Change(ChangeKind.TRAINING_STRIPPED, (), names, "train-only parameters dropped")
        warnings = []
        if switched:
            more = f" and {len(switched) - 1} more" if len(switched) > 1 else ""
            why = "is the training switch; the deploy net uses stored statistics"
            warnings = [f"layer '{switched[0]}'{more}: use_global_stats: false {why}"]
        going = _NET_FIELDS if self.half else _NET_FIELDS | NET_PRECISIONS
        kept = _without_net_fields(net.substitute(new), going)
        return PassResult(kept, (change,) if names else (), (), tuple(warnings))


def _without_net_fields(net: Net, going: frozenset[str]) -> Net:
    """The net without its net-level training and debugging switches."""
    kept = net.without_fields(going)
    return net if len(kept.items) == len(net.items) else kept


def _stripped(body: Message, normalizes: bool, unwanted: frozenset[str], *, fills: bool) -> Message:
    """The text of a layer without what only training reads; messages this empties go as well."""
    params = [field for field in body.fields if field.name == "param"]
    # A param belongs to a blob by its place: an unnamed one before a named one holds the place.
    last = max((i for i, field in enumerate(params) if field.body.string("name")), default=-1)
    going = {id(field) for field in params[last + 1 :]}
    fields = []
    emptied = set()
    for field in drop(body.fields, lambda f: f.name in unwanted or id(f) in going):
        switches = normalizes and field.name == "batch_norm_param"
        new = _without(field, switches, fills=fills)
        if not new.body.fields and (new is not field or switches) and field.name != "param":
            emptied.add(id(new))
        fields.append(new)
    kept = drop(tuple(fields), lambda f: id(f) in emptied)
    return body if kept == body.fields else replace(body, fields=kept)


def _without(field: Field, switches: bool, *, fills: bool) -> Field:
    """A field of a layer without what only training reads of its message."""

    def goes(name: str) -> bool:
        if field.name == "param":
            return name not in _SHARING
        if field.name == "batch_norm_param":
            return switches and name in _SWITCHES
        if name in _FILLS_TOPS or not field.name.endswith("_param"):
            return False
        return not fills and (name == "filler" or name.endswith("_filler"))

    before = field.body
    kept = drop(before.fields, lambda inner: goes(inner.name))
    return field if kept is before.fields else field.with_body(replace(before, fields=kept))
