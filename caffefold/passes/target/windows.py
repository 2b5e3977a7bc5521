"""Windows as the parsers read them that know one number for both axes, or ``_h`` and ``_w``.

Given   Convolution { kernel_size: 3  pad: 4 pad: 2  dilation: 4 dilation: 2 }
Result  Convolution { kernel_h: 5 kernel_w: 3  pad_h: 4 pad_w: 2  dilation: 2 }, its weights set
        apart with zeros along the height

A dilation has no ``_h`` and ``_w`` in Caffe. Along each axis the taps are ``dilation`` apart; with
the greatest common divisor as the dilation of both, zeros stand where the other one had none.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd, prod
from typing import ClassVar

from caffefold.formats.prototxt.tree import Field, Scalar, drop
from caffefold.frozen import dataclass
from caffefold.ir.blob import SpreadBlob
from caffefold.ir.net import Layer, Net
from caffefold.ops.linear import CONVOLUTION, DECONVOLUTION
from caffefold.ops.shape import Window
from caffefold.ops.table import op
from caffefold.passes.contracts import blobs_fit, text_agrees, wired
from caffefold.passes.fold.fold import unshared
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult

REPEATED = ("kernel_size", "pad", "stride", "dilation")
_WINDOWED = (CONVOLUTION, DECONVOLUTION)
_IMAGE = 4  # axes of the weights, where there are two spatial ones
_GROWTH = 16
"""So many times as many weights, at most: no small text may ask for much memory."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PlainWindows(Pass):
    """No layer with two spatial axes says two values of one field."""

    name: ClassVar = "windows"
    requires: ClassVar = (text_agrees, wired, blobs_fit)
    ensures: ClassVar = requires

    def run(self, net: Net) -> PassResult:
        """Rewrite layer by layer; blobs keep their names and numbers."""
        new = {
            position: (made,)
            for position, layer in enumerate(net.layers)
            if (made := _plain(layer)) is not layer
        }
        names = tuple(made.name for (made,) in new.values())
        detail = "windows written with one value for each axis"
        change = Change(ChangeKind.REWRITTEN, (), names, detail)
        return PassResult(net.substitute(new), (change,) if names else ())


def has_two_values(layer: Layer) -> bool:
    """Whether the layer's window is written with a value for each axis."""
    own = op(layer)
    if own not in _WINDOWED:
        return False
    params = layer.params(CONVOLUTION.param)
    return any(len(params.integers(name)) > 1 for name in REPEATED)


def _plain(layer: Layer) -> Layer:
    own = op(layer)
    if not has_two_values(layer) or not layer.blobs or len(layer.blobs[0].shape) != _IMAGE:
        return layer
    assert own in _WINDOWED
    windows = own.windows(layer, 2)
    apart = gcd(*(w.dilation for w in windows if w.kernel > 1)) or 1
    steps = tuple(w.dilation // apart if w.kernel > 1 else 1 for w in windows)
    made = [
        w._replace(kernel=(w.kernel - 1) * step + 1, dilation=apart)
        for w, step in zip(windows, steps, strict=True)
    ]
    if prod(w.kernel for w in made) > _GROWTH * prod(w.kernel for w in windows):
        return layer
    layer = _respelled(layer, made)
    if set(steps) == {1}:
        return layer
    first, *rest = layer.blobs
    return unshared(layer).with_blobs((SpreadBlob(first, steps), *rest))


def _respelled(layer: Layer, windows: list[Window]) -> Layer:
    """The layer with these windows, along the height and the width."""

    def respelled(field: Field) -> Field:
        if field.name != CONVOLUTION.param:
            return field
        old = field.body.fields
        lead = old[0].lead
        lead = lead[lead.rindex("\n") :] if "\n" in lead else " "
        named = {f"{name}_{axis}" for name in ("kernel", "pad", "stride") for axis in "hw"}
        kept = drop(old, lambda inner: inner.name in named.union(REPEATED))
        wanted: dict[str, int] = {}
        for name, field_name in (("kernel", "kernel_size"), ("pad", "pad"), ("stride", "stride")):
            height, width = (getattr(window, name) for window in windows)
            if height != width:
                wanted |= {f"{name}_h": height, f"{name}_w": width}
            elif height != Window._field_defaults.get(name):
                wanted[field_name] = height
        if windows[0].dilation != 1:
            wanted["dilation"] = windows[0].dilation
        made = (Field(name, Scalar(str(number)), lead) for name, number in wanted.items())
        return field.with_fields((*kept, *made))

    return layer.edited(replace(layer.body, fields=tuple(map(respelled, layer.body.fields))))
