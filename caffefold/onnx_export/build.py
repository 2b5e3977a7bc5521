"""A net as the nodes, tensors and values of an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from caffefold._version import VERSION
from caffefold.analysis.shapes import Shapes, infer
from caffefold.errors import ModelError, Option
from caffefold.formats import onnx
from caffefold.formats.prototxt.tree import Message, Scalar, unquote
from caffefold.humanize import counted
from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import parse_float, parse_int
from caffefold.onnx_export.lower.table import lowering
from caffefold.onnx_export.site import Output, Parts, Settings, Site
from caffefold.ops.base import Category
from caffefold.ops.shape import Shape, show
from caffefold.ops.table import op

DOMAIN = "caffe"
"""Of the nodes that stand for layers without a lowering."""
BATCH = "N"
"""What a model calls the extent of a dynamic batch."""
_IR_VERSIONS = ((21, 10), (19, 9), (15, 8), (13, 7))
"""(opset, the IR version that came with it); newer IRs are refused by older runtimes."""
_SHOWN = 8


class Built(NamedTuple):
    """A model, and which of its values are which blobs."""

    model: onnx.Model
    blobs: Mapping[str, str]
    """Every value that is a blob, by its name in the net: the last version of each."""
    lowered: Mapping[str, int]
    """How many layers of each type there are."""
    custom: tuple[str, ...]
    """Layers that became custom nodes."""
    instead: Mapping[str, tuple[str, ...]]
    """The outputs in place of a layer's tops, by the layer."""


def build(
    net: Net,
    settings: Settings,
    *,
    dynamic: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Built:
    """The model of a deploy net. ``dynamic`` leaves the first axis of the inputs open.

    Raises:
        ModelError: layers without a lowering, all of them listed.
        TextError: a layer whose shape or parameters ONNX cannot have; naming it and the option.
    """
    wiring = graph.validate(net)
    _check_types(net, settings)
    shapes = _shapes(net, dynamic=dynamic)
    names = value_names(net, wiring)
    parts = Parts(settings, names, net)
    counts: dict[str, int] = {}
    custom: list[str] = []
    for position, layer in enumerate(net.layers):
        if layer.is_input or _dropped(layer):
            continue
        site = Site(
            parts,
            layer,
            [names[version] for version in wiring.reads[position]],
            shapes.bottoms[position],
            [names[version] for version in wiring.writes[position]],
            shapes.tops(position),
        )
        lower = lowering(layer)
        kind = op(layer).name
        counts[kind] = counts.get(kind, 0) + 1
        if lower is None:
            _custom(site)
            custom.append(layer.name)
        else:
            lower(site)
    model = _model(net, wiring, shapes, names, parts, metadata or {})
    if custom:
        model = model._replace(domains=(DOMAIN,))
    last = {wiring.versions[i].blob: name for i, name in enumerate(names)}
    kept = {blob: name for blob, name in last.items() if name not in parts.replaced}
    instead = {
        net.layers[wiring.versions[i].producer].name: tuple(o.name for o in parts.replaced[name])
        for i, name in enumerate(names)
        if name in parts.replaced
    }
    return Built(model, kept, counts, tuple(custom), instead)


def _dropped(layer: Layer) -> bool:
    """Whether the layer has no part in the results: Silence, and what only reports."""
    return not layer.tops and op(layer).category is Category.MEASURE


def _check_types(net: Net, settings: Settings) -> None:
    """Refuse a net with layers that have no lowering: each type, with its layers."""
    strangers = () if settings.allow_custom else unlowered(net)
    if not strangers:
        return
    first = strangers[0]
    by_type = sorted(strangers, key=lambda layer: layer.type)
    groups = groupby(by_type, key=lambda layer: layer.type)
    listed = [_listed(kind, list(layers)) for kind, layers in groups]
    more = f" and {len(listed) - _SHOWN} more types" if len(listed) > _SHOWN else ""
    what = f"{counted(len(listed), 'layer type')} without an ONNX lowering: "
    error = first.document.error(first.field.offset, what + "; ".join(listed[:_SHOWN]) + more)
    raise error.advised("; use ", Option("allow_custom"), " to keep them as custom nodes")


def unlowered(net: Net) -> tuple[Layer, ...]:
    """The layers of a deploy net that ONNX has nothing for."""
    return tuple(
        layer
        for layer in net.layers
        if not layer.is_input and not _dropped(layer) and lowering(layer) is None
    )


def _listed(kind: str, layers: Sequence[Layer]) -> str:
    shown = ", ".join(f"'{layer.name}'" for layer in layers[:_SHOWN])
    more = f" and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else ""
    return f"{kind} ({shown}{more})"


def _shapes(net: Net, *, dynamic: bool) -> Shapes:
    """The shapes of all blobs; inputs must be known, but for the batch of a dynamic model."""
    shapes = infer(net)
    given: dict[str, tuple[int | None, ...]] = {}
    for blob in net.inputs:
        shape = shapes.of_input(blob)
        if shape is None or None in shape:
            error = ModelError(
                f"{net.document.path}: the shape of input '{blob}' is not known ({show(shape)})"
            )
            raise error.advised("; give ", Option("input_shapes", f"{blob}=N,C,H,W"))
        given[blob] = (None, *shape[1:]) if dynamic and shape else shape
    found = infer(net, given) if dynamic else shapes
    for problem in found.problems:
        raise problem
    return found


def value_names(net: Net, wiring: Graph) -> tuple[str, ...]:
    """What each version of each blob is called: as users know it.

    A blob's last version has its name, as in ``net.blobs``; those before are ``blob@layer``. An
    input keeps its name in any case, since that is what a model is fed by.
    """
    last = {version.blob: i for i, version in enumerate(wiring.versions)}
    outside = {
        version.blob
        for i, version in enumerate(wiring.versions)
        if version.producer == OUTSIDE or net.layers[version.producer].is_input
    }
    taken = set(last)
    names: list[str] = []
    for i, version in enumerate(wiring.versions):
        given = version.producer == OUTSIDE or net.layers[version.producer].is_input
        if given or (last[version.blob] == i and version.blob not in outside):
            names.append(version.blob)
            continue
        name = wanted = f"{version.blob}@{net.layers[version.producer].name}"
        number = 1
        while name in taken:
            number += 1
            name = f"{wanted}_{number}"
        taken.add(name)
        names.append(name)
    return tuple(names)


def _model(
    net: Net, wiring: Graph, shapes: Shapes, names: Sequence[str], parts: Parts,
    metadata: Mapping[str, str],
) -> onnx.Model:  # fmt: skip
    given = [
        i
        for i, version in enumerate(wiring.versions)
        if version.producer == OUTSIDE or net.layers[version.producer].is_input
    ]
    sinks = [i for i in wiring.sinks if i not in given]
    if not sinks:
        raise ModelError(f"{net.document.path}: this net computes nothing; it has no outputs")
    outputs: list[onnx.Value] = []
    for i in sinks:
        there = (Output(names[i], shapes.versions[i] or ()),)
        if shapes.versions[i] is None and names[i] not in parts.replaced:
            outputs.append(onnx.Value(names[i], onnx.FLOAT, None))
            continue
        for output in parts.replaced.get(names[i], there):
            outputs.append(onnx.Value(output.name, onnx.FLOAT, _extents(output.shape)))
    inner = [
        onnx.Value(names[i], onnx.FLOAT, _extents(shape))
        for i, shape in enumerate(shapes.versions)
        if shape is not None
        and i not in given
        and i not in sinks
        and names[i] not in parts.replaced
    ]
    opset = parts.settings.opset
    return onnx.Model(
        name=net.name or "net",
        nodes=tuple(parts.nodes),
        tensors=tuple(parts.tensors),
        inputs=tuple(onnx.Value(names[i], onnx.FLOAT, _extents(shapes.versions[i])) for i in given),
        outputs=tuple(outputs),
        values=tuple(inner),
        opset=opset,
        ir_version=next(ir for least, ir in _IR_VERSIONS if opset >= least),
        producer=("caffefold", VERSION),
        metadata=metadata,
    )


def _extents(shape: Shape) -> tuple[onnx.Extent, ...] | None:
    """A shape with a name for the batch, where that is open."""
    if shape is None:
        return None
    return tuple(BATCH if dim is None and i == 0 else dim for i, dim in enumerate(shape))


# ------------------------------------------------------------------------------- custom nodes


def _custom(site: Site) -> None:
    """A node ``caffe::TYPE`` with the layer's parameters as attributes, and its weights."""
    layer = site.layer
    weights = [site.weight(i, blob.shape, f"blob{i}") for i, blob in enumerate(layer.blobs)]
    attributes: dict[str, onnx.Attribute] = {}
    for field in layer.body.fields:
        if field.name.endswith("_param") and isinstance(field.value, Message):
            _flattened(field.value, "", attributes)
    site.add_custom(DOMAIN, (*site.bottoms, *weights), attributes)


def _flattened(message: Message, prefix: str, into: dict[str, onnx.Attribute]) -> None:
    """The fields of a message as attributes; of one inside it, as ``outer_inner``."""
    for name in dict.fromkeys(field.name for field in message.fields):
        values = list(message.all(name))
        scalars = [value.raw for value in values if isinstance(value, Scalar)]
        if scalars and len(scalars) == len(values):
            into[prefix + name] = _attribute(scalars)
        for value in values:
            if isinstance(value, Message):
                _flattened(value, f"{prefix}{name}_", into)


def _attribute(raw: Sequence[str]) -> onnx.Attribute:
    """Numbers where all are numbers, else text."""
    integers = [parse_int(each) for each in raw]
    floats = [parse_float(each) for each in raw]
    numbers: list[int] | list[float]
    if None not in integers:
        numbers = [each or 0 for each in integers]
    elif None not in floats:
        numbers = [each or 0.0 for each in floats]
    else:
        return ",".join(map(unquote, raw))
    return numbers[0] if len(numbers) == 1 else numbers
