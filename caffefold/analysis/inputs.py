"""What a net says of the shapes of its inputs: legacy ``input:`` fields and Input layers."""

from __future__ import annotations

from caffefold.ir.net import Net
from caffefold.ops.source import INPUT


def input_shapes(net: Net) -> dict[str, tuple[int, ...]]:
    """The shape of each input by blob, as written; () for one without.

    Raises:
        TextError: an Input layer has shapes for another number of tops.
    """
    found = {name: legacy_shapes(net).get(name, ()) for name in net.legacy_inputs}
    for layer in net.layers:
        if layer.is_input:
            found.update(zip(layer.tops, INPUT.dims(layer), strict=True))
    return found


def legacy_shapes(net: Net) -> dict[str, tuple[int, ...]]:
    """Shapes of ``input:`` blobs: ``input_shape`` messages, or four ``input_dim`` numbers each."""
    params = net.params()
    names = net.legacy_inputs
    shapes = [
        params.nested("input_shape", m).integers("dim") for m in params.messages("input_shape")
    ]
    if not shapes:
        dims = params.integers("input_dim")
        shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
    return dict(zip(names, shapes, strict=False))
