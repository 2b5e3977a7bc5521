"""How net inputs are written: Input layers, or the older ``input:`` fields.

Given   layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 ... } } }
Result  input: "data"  input_shape { dim: 1 ... }     (style legacy; the other way round for layer)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from caffefold.analysis.shapes import legacy_shapes
from caffefold.formats.prototxt.tree import Field, block, quote, scalar, set_strings
from caffefold.ir.net import Layer, Net
from caffefold.ops.source import INPUT
from caffefold.options import DeployOptions

_LEGACY = frozenset({"input", "input_dim", "input_shape"})


def shape_field(name: str, shape: tuple[int, ...], indent: str) -> Field:
    """``name { dim: ... }`` on lines of its own."""
    return block(name, [scalar("dim", str(d), indent + "  ") for d in shape], indent)


def with_inputs(
    net: Net, options: DeployOptions, unread: frozenset[str], made: frozenset[str]
) -> tuple[Net, list[str]]:
    """The inputs the net already had: reshaped as asked, without those nobody reads; what was done.

    ``made`` are inputs that have their shape from the same options already.
    """
    told = []
    new: dict[int, tuple[Layer, ...]] = {}
    for position, layer in enumerate(net.layers):
        if not layer.is_input or set(layer.tops) <= made:
            continue
        changed = _changed_layer(layer, options, unread)
        if changed != (layer,):
            new[position] = changed
            what = "reshaped" if changed else "not read any more"
            told.append(f"Input '{layer.name}' {what}")
    result = net.substitute(new)
    old = legacy_shapes(net)
    shapes = {n: _reshaped(n, old.get(n, ()), options) for n in net.legacy_inputs}
    kept = {name: dims for name, dims in shapes.items() if name not in unread}
    if kept != {name: old.get(name, ()) for name in net.legacy_inputs}:
        result = _with_legacy(result, kept)
        told.append("net inputs reshaped" if len(kept) == len(shapes) else "unread inputs dropped")
    return result, told


def _reshaped(blob: str, old: tuple[int, ...], options: DeployOptions) -> tuple[int, ...]:
    given = options.input_shapes.get(blob)
    if given is not None:
        return given
    return (options.batch, *old[1:]) if options.batch and old else old


def _changed_layer(
    layer: Layer, options: DeployOptions, unread: frozenset[str]
) -> tuple[Layer, ...]:
    """An Input layer with the shapes asked for, for the tops that are read; nothing if none is."""
    old = _shapes(layer)
    dims = {top: _reshaped(top, old[top], options) for top in layer.tops if top not in unread}
    if dims == old:
        return (layer,)
    if not dims:
        return ()
    fields = [shape_field("shape", shape, "    ") for shape in dims.values()]
    kept = [f for f in layer.body.fields if f.name != "input_param"]
    lead = next((f.lead for f in layer.body.fields if f.name == "input_param"), "\n  ")
    made = replace(block("input_param", fields, "  "), lead=lead)
    body = replace(layer.body, fields=(*kept, made))
    return (layer.edited(set_strings(body, "top", tuple(dims))),)


def _shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The shape of each top of an Input layer."""
    return dict(zip(layer.tops, INPUT.dims(layer), strict=True))


def _with_legacy(net: Net, shapes: Mapping[str, tuple[int, ...]]) -> Net:
    """The net with exactly these ``input:`` fields, in front of the first layer."""
    fields: list[Field] = []
    for name, dims in shapes.items():
        fields.append(Field("input", scalar("input", quote(name), "").value))
        fields.append(shape_field("input_shape", dims, ""))
    items = [i for i in net.items if isinstance(i, Layer) or i.name not in _LEGACY]
    first = next((i for i, item in enumerate(net.items) if _is_legacy(item)), -1)
    if first < 0:
        first = next((i for i, item in enumerate(items) if isinstance(item, Layer)), len(items))
    if fields and first < len(net.items) and _is_legacy(net.items[first]):
        old = net.items[first]
        assert isinstance(old, Field)
        fields[0] = replace(fields[0], lead=old.lead)
    return replace(net, items=(*items[:first], *fields, *items[first:]))


def _is_legacy(item: Field | Layer) -> bool:
    return isinstance(item, Field) and item.name in _LEGACY


def restyle(net: Net, style: str) -> Net:
    """All inputs written in one style; "" leaves them as they are."""
    if style == "legacy":
        inputs = [(i, x) for i, x in enumerate(net.layers) if x.is_input]
        if not inputs:
            return net
        shapes = legacy_shapes(net)
        for _, layer in inputs:
            shapes.update(_shapes(layer))
        return _with_legacy(net.without(i for i, _ in inputs), shapes)
    if style == "layer" and net.legacy_inputs:
        shapes = legacy_shapes(net)
        layers = [_as_layer(net, name, shapes.get(name, ())) for name in net.legacy_inputs]
        items = [i for i in net.items if not _is_legacy(i)]
        first = next((i for i, item in enumerate(items) if isinstance(item, Layer)), len(items))
        return replace(net, items=(*items[:first], *layers, *items[first:]))
    return net


def _as_layer(net: Net, blob: str, dims: tuple[int, ...]) -> Layer:
    fields = [
        scalar("name", quote(blob), "  "),
        scalar("type", '"Input"', "  "),
        scalar("top", quote(blob), "  "),
        block("input_param", [shape_field("shape", dims, "    ")], "  "),
    ]
    return Layer.of(Field("layer", block("", fields, "").value, "\n", " "), net.document)
