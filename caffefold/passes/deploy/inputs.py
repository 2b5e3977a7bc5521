"""Data layers become Input layers, one for each blob that is still read.

Given   AnnotatedData -> data, label, with transform_param { resize_param { height: 300 ... } }
Result  Input -> data, shape 1 x 3 x 300 x 300

The shape is, in this order: what the user gives; crop, resize and declared sizes of the data layer,
channels from the weights that read it; height and width for which the fully connected layers fit
(analysis/input_size.py). Batch 1, unless asked for. Where that leaves something open, the shape is
required of the user. What the layer did to its images is handed on by deploy/preprocessing.py.

Inputs are written as Input layers or as the older ``input:`` fields:

Given   layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 ... } } }
Result  input: "data"  input_shape { dim: 1 ... }     (style legacy; the other way round for layer)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import ClassVar, NamedTuple

from caffefold.analysis.axes import wanted_axes
from caffefold.analysis.shapes import infer, input_shapes, legacy_shapes
from caffefold.errors import MissingShape, Option, Text, UnknownInput
from caffefold.formats.prototxt.tree import Field, quote, scalar, set_strings
from caffefold.frozen import dataclass
from caffefold.ir import graph
from caffefold.ir.graph import Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops import image
from caffefold.ops.base import Split
from caffefold.ops.linear import INNER_PRODUCT
from caffefold.ops.source import DUMMY_DATA, INPUT
from caffefold.ops.table import op
from caffefold.ops.wiring import SLICE
from caffefold.options import DeployOptions
from caffefold.passes.deploy.batch import batched
from caffefold.passes.deploy.newlayer import message, new_layer
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult

_LEGACY = frozenset({"input", "input_dim", "input_shape"})
# Blobs whose shape is the same in every net of the family (py-faster-rcnn, proposal_layer.py).
_KNOWN = {"im_info": (1, 3), "rois": (1, 5)}
_COLOUR = 3
_IMAGE = "NCHW"
Dims = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ConvertInputs(Pass):
    """Replace each data layer by Input layers; fit the inputs the net has already."""

    options: DeployOptions = field(default_factory=DeployOptions)
    trained: bool = True
    """Whether the net came with data layers or losses: then inputs nobody reads go, too."""
    name: ClassVar = "inputs"

    def run(self, net: Net) -> PassResult:
        """Convert every data layer.

        Their batch is the one asked for, else 1; where constants that stay do not go with it, it is
        theirs, as it was in training.

        Raises:
            UsageError: a shape was given for a blob that is no input, or is missing.
        """
        batch = self.options.batch or 1
        made = self._converted(net, batch)
        fixed = _batch_of_constants(made.net)
        if fixed in (None, batch):
            return made
        assert fixed is not None
        fitted = self._converted(net, fixed)
        if len(infer(fitted.net).failing) >= len(infer(made.net).failing):
            return made
        why = f"the batch is {fixed}, that of constants of the net"
        if self.options.batch:
            asked = Text(Option("batch", str(batch)), f": {why}")
            return fitted._replace(warnings=(*fitted.warnings, asked))
        change = Change(ChangeKind.INPUT_CONVERTED, (), (), why)
        return fitted._replace(changes=(*fitted.changes, change))

    def _converted(self, net: Net, batch: int) -> PassResult:
        """Every data layer converted, with ``batch`` items."""
        wiring = graph.build(net)
        data = [
            i
            for i, x in enumerate(net.layers)
            if op(x).is_data(x) or self._stands_in(net, wiring, i)
        ]
        new: dict[int, tuple[Layer, ...]] = {}
        changes: list[Change] = []
        warnings: list[str] = []
        made: set[str] = set()
        taken = {x.name for i, x in enumerate(net.layers) if i not in data}
        for position in data:
            layer = net.layers[position]
            layers, shown = [], []
            before = len(new)
            tops = _read(net, wiring, position, new)
            cut = (net.layers[i].name for i in list(new)[before:])
            for top in tops:
                decided = decide(net, wiring, top, self.options, batch)
                warnings += [decided.warning] if decided.warning else []
                name = blob = top.blob
                if name in taken:
                    name = layer.name if layer.name not in taken else f"{name}_input"
                taken.add(name)
                made.add(blob)
                lead = layer.field.lead.rstrip(" \t")
                layers.append(_input_layer(net, name, blob, decided.dims, lead))
                why = f" ({decided.why})" if decided.why else ""
                shown.append(f"{blob} {'x'.join(map(str, decided.dims))}{why}")
            new[position] = tuple(layers)
            detail = f"{layer.type} -> " + (f"Input {', '.join(shown)}" if shown else "nothing")
            names = tuple(item.name for item in layers)
            gone = (layer.name, *cut)
            changes.append(Change(ChangeKind.INPUT_CONVERTED, gone, names, detail))
        unread = _unread(net, wiring) if self.trained else frozenset()
        known = (set(net.inputs) - unread) | made
        for blob in sorted(set(self.options.input_shapes) - known):
            raise UnknownInput(blob, tuple(sorted(known)))
        result, done, left = self._fitted(net.substitute(new), unread, made)
        done += _staying(result)
        if left:
            why = "the first axis is no batch, or the net fixes it"
            text = f": {', '.join(left)} left as {'they are' if left[1:] else 'it is'}: {why}"
            warnings.append(Text(Option("batch", str(self.options.batch)), text))
        changes += [Change(ChangeKind.INPUT_CONVERTED, (), (), detail) for detail in done]
        result = restyle(result, self.options.input_style)
        return PassResult(result, tuple(changes), (), tuple(warnings))

    def _stands_in(self, net: Net, wiring: Graph, position: int) -> bool:
        """Whether a DummyData stands for data: it is the only thing the net reads, or it gives
        random numbers to a training net. Beside other inputs it is a part of the net, and stays;
        so does a constant that is not 0.

        Raises:
            TextError: it makes both.
        """
        layer = net.layers[position]
        if op(layer) is not DUMMY_DATA:
            return False
        if not wiring.is_read(position):
            return self.trained
        read = [i for i, x in enumerate(net.layers) if not x.bottoms and wiring.is_read(i)]
        alone = not (net.legacy_inputs or any(_is_given(net.layers[i]) for i in read))
        dummies = [i for i in read if op(net.layers[i]) is DUMMY_DATA]
        random = {i for i in dummies if None in _constants(net, wiring, i).values()}
        data = (self.trained or alone) if position in random else (alone and not random)
        constants = _constants(net, wiring, position)
        found = {blob: data and not value for blob, value in constants.items()}
        if len(set(found.values())) > 1:
            stands = ", ".join(f"'{blob}'" for blob, each in found.items() if each)
            raise layer.error(f"{stands} of it: data; the rest: constants; write two layers")
        return all(found.values())

    def _fitted(
        self, net: Net, unread: frozenset[str], made: set[str]
    ) -> tuple[Net, list[str], list[str]]:
        """The inputs the net already had, reshaped as asked, without those nobody reads; what was
        done, and the inputs that cannot have the batch asked for. The inputs ``made`` have their
        shapes from the same options already."""
        done = []
        new: dict[int, tuple[Layer, ...]] = {}
        layers = {
            position: _tops(layer)
            for position, layer in enumerate(net.layers)
            if layer.is_input and not made.issuperset(layer.tops)
        }
        shapes = legacy_shapes(net)
        legacy = {name: shapes.get(name, ()) for name in net.legacy_inputs}
        dims: dict[str, Dims] = {}
        for old in (*layers.values(), legacy):
            dims.update((blob, shape) for blob, shape in old.items() if blob not in unread)
        left = []
        batch = self.options.batch
        if batch:
            asked = {x: old for x, old in dims.items() if x not in self.options.input_shapes}
            fitting = batched(net, asked, batch)
            for blob, shape in asked.items():
                if blob in fitting:
                    dims[blob] = (batch, *shape[1:])
                elif shape and shape[0] != batch:
                    left.append(f"'{blob}' ({'x'.join(map(str, shape))})")
        dims |= {x: own for x, own in self.options.input_shapes.items() if x in dims}
        for position, old in layers.items():
            wanted = {top: dims[top] for top in old if top in dims}
            if wanted != old:
                layer = net.layers[position]
                new[position] = (_with_tops(layer, wanted),) if wanted else ()
                what = "reshaped" if wanted else "no longer read"
                done.append(f"Input '{layer.name}' {what}")
        result = net.substitute(new)
        kept = {name: dims[name] for name in legacy if name in dims}
        if kept != legacy:
            result = _with_legacy(result, kept)
            whole = len(kept) == len(legacy)
            done.append("net inputs reshaped" if whole else "unread inputs dropped")
        return result, done, left


def _is_given(layer: Layer) -> bool:
    """Whether what the layer makes comes from outside."""
    return layer.is_input or op(layer).is_data(layer)


def _constants(net: Net, wiring: Graph, position: int) -> dict[str, float | None]:
    """Of a DummyData, the number that each blob which is read is filled with; None: random."""
    values = zip(wiring.writes[position], DUMMY_DATA.constants(net.layers[position]), strict=True)
    blobs = wiring.versions
    return {blobs[made].blob: value for made, value in values if blobs[made].readers}


def _staying(net: Net) -> list[str]:
    """What to say of constants, other than 0, that are a part of the net."""
    found = []
    for position, layer in enumerate(net.layers):
        if op(layer) is DUMMY_DATA:
            values = _constants(net, graph.build(net), position)
            shown = ", ".join(f"{blob} is {value:g}" for blob, value in values.items() if value)
            found += [f"DummyData '{layer.name}' stays: {shown}"] if shown else []
    return found


def _batch_of_constants(net: Net) -> int | None:
    """The first axis of a constant behind which a layer does not take what it is fed with."""
    constants = [i for i, layer in enumerate(net.layers) if op(layer) is DUMMY_DATA]
    if not constants:
        return None
    shapes = infer(net)
    reads = [
        v for position in shapes.failing if position >= 0 for v in shapes.graph.reads[position]
    ]
    behind = shapes.graph.ancestors(reads)
    found = (top for i in constants if i in behind for top in shapes.tops(i))
    return next((top[0] for top in found if top and top[0] is not None), None)


def _read(
    net: Net, wiring: Graph, position: int, new: dict[int, tuple[Layer, ...]]
) -> list[DataTop]:
    """What the net still reads of a data layer. A Slice of which only parts are read goes (into
    ``new``): each part is an input of its own, as of one image of a siamese pair."""
    layer = net.layers[position]
    found = []
    for top, version in enumerate(wiring.writes[position]):
        readers = wiring.versions[version].readers
        cuts = [r for r in readers if _cuts(net, wiring, r)]
        if len(cuts) < len(readers):
            found.append(DataTop(layer, top, wiring.versions[version].blob, version))
            continue
        for reader in cuts:
            new[reader] = ()
            slicer = net.layers[reader]
            points = SLICE.points(slicer)
            ranges = SLICE.ranges(slicer, points[-1] + 1 if points else None) or ()
            for j, part in enumerate(wiring.writes[reader]):
                if wiring.versions[part].readers:
                    # The last part reaches to the end, which only the data set knows.
                    known = j < len(ranges) - 1
                    count = ranges[j][1] - ranges[j][0] if known else 0
                    found.append(DataTop(layer, top, wiring.versions[part].blob, part, count))
    return found


def _cuts(net: Net, wiring: Graph, position: int) -> bool:
    """Whether this is a Slice of which some part is no longer read."""
    parts = wiring.writes[position]
    return op(net.layers[position]) is SLICE and not all(wiring.versions[v].readers for v in parts)


def _unread(net: Net, wiring: Graph) -> frozenset[str]:
    """Inputs from outside that no layer reads: labels, when training was fed from outside."""
    read = {
        version.blob
        for version in wiring.versions
        if version.readers
        and (version.producer == graph.OUTSIDE or net.layers[version.producer].is_input)
    }
    return frozenset(net.inputs) - read


# ------------------------------------------------------------------------------ their shape


class Decided(NamedTuple):
    """The shape, a warning when a part of it is a guess, and what a size was solved from."""

    dims: Dims
    warning: str = ""
    why: str = ""


class DataTop(NamedTuple):
    """Where an input comes from: a top of a data layer, or a part cut from it."""

    layer: Layer
    top: int
    blob: str
    """What the deploy net calls it."""
    version: int
    """Its value in the training net."""
    part: int = 0
    """Channels of the part that was cut; 0: the whole."""

    @property
    def is_image(self) -> bool:
        """Whether it holds images."""
        return image.is_image_layer(self.layer) and self.top == 0

    def warning(self, before: str, after: str) -> str:
        """A warning with the option that sets another shape."""
        asked = Option("input_shapes", f"{self.blob}=...")
        return Text(f"layer '{self.layer.name}': {before} (", asked, after)


def decide(net: Net, wiring: Graph, source: DataTop, options: DeployOptions, batch: int) -> Decided:
    """The shape of the input ``source``, of ``batch`` items unless its shape is given.

    Raises:
        MissingShape: neither the net nor the options give it.
    """
    given = options.input_shapes.get(source.blob)
    if given is not None:
        return Decided(given)
    layer = source.layer
    if op(layer) is DUMMY_DATA:
        dims = DUMMY_DATA.dims(layer)[source.top]
        timed = wanted_axes(net, wiring, source.version).startswith("T")
        # In sequences the first axis is time, not images; constants that stay have their batch.
        fixed = any(op(x).recurrent for x in net.layers) or bool(_staying(net))
        keeps = timed or (options.batch is None and fixed)
        if dims:
            return Decided(dims if keeps else (batch, *dims[1:]))
    if source.blob in _KNOWN:
        known = _KNOWN[source.blob]
        return Decided((batch, *known[1:]) if source.blob == "im_info" else known)
    height = width = channels = 0
    warning = ""
    if source.is_image:
        height, width = image.image_size(layer)
        channels = _weight_channels(net, source) or image.declared_channels(layer)
        if not channels and height and width:
            channels = _flat(net, wiring, source.version) // (height * width)
        if not channels and height and net.weights is None:
            channels = max(_COLOUR, _cut_channels(net, wiring, source.version))
            guess = f"the channels of '{source.blob}' are not known; assuming {channels}"
            warning = source.warning(guess, " sets them)")
    if channels and height and width:
        frames = image.clip_length(layer)
        clip = (frames,) if frames > 1 else ()
        return Decided((batch, channels, *clip, height, width), warning)
    why = ""
    if net.weights is not None:
        solved = _solved(net, wiring, source, batch, channels, options)
        if isinstance(solved, Decided):
            return solved
        why = f" ({solved})" if solved else ""
    axes = wanted_axes(net, wiring, source.version)
    if not axes or source.is_image:
        axes = axes if len(axes) > len(_IMAGE) else _IMAGE
    missing = [n for n, v in (("channels", channels), ("height and width", height)) if not v]
    what = " and ".join(missing) if axes == _IMAGE and (channels or height) else "shape"
    where = layer.error(f"its text does not give the {what} of '{source.blob}'{why}")
    sizes = {"N": batch, "C": channels or None, "H": height or None, "W": width or None}
    open_ends = tuple(sizes.get(axis) for axis in axes)
    raise MissingShape(str(where), blob=source.blob, layer=layer.name, known=open_ends, axes=axes)


def _solved(
    net: Net, wiring: Graph, source: DataTop, batch: int, channels: int, options: DeployOptions
) -> Decided | str:
    """The shape for which the InnerProducts behind the input fit; else what speaks against one."""
    flat = 0 if source.is_image else _flat(net, wiring, source.version)
    if flat:
        return Decided((batch, flat), "", f"the weights take {flat} numbers")
    from caffefold.analysis.input_size import input_size  # seldom needed

    channels = channels or _weight_channels(net, source)
    maker = wiring.maker(source.version)
    if maker != graph.OUTSIDE and net.layers[maker] is not source.layer:
        net = net.without([maker])  # the Slice it is cut by: the part is an input of its own
    blob = wiring.versions[source.version].blob
    found = input_size(net, blob, channels or None, dict(options.input_shapes))
    channels = channels or found.channels or 0
    if found.size is None or not channels:
        return found.why
    dims = (batch, channels, *found.size)
    if found.certain:
        return Decided(dims, "", found.why)
    guess = f"'{source.blob}' is assumed to be {'x'.join(map(str, dims))}: {found.why}"
    return Decided(dims, source.warning(guess, " sets another shape)"))


def _flat(net: Net, wiring: Graph, version: int) -> int:
    """How many numbers InnerProducts, the only readers, read of each item; 0 when others do."""
    found = 0
    for reader in wiring.versions[version].readers:
        layer = net.layers[reader]
        if op(layer) is not INNER_PRODUCT or INNER_PRODUCT.params(layer).integer("axis") != 1:
            return 0
        found = INNER_PRODUCT.inputs(layer) or 0
        if not found:
            return 0
    return found


def _cut_channels(net: Net, wiring: Graph, version: int) -> int:
    """The fewest channels a blob can have that is cut along them; 0 when it is not."""
    readers = (net.layers[reader] for reader in wiring.versions[version].readers)
    flows = (op(layer).channels(layer, [None]) for layer in readers)
    cuts = (flow.points for flow in flows if isinstance(flow, Split))
    return max((point + 1 for points in cuts for point in points), default=0)


def _weight_channels(net: Net, top: DataTop) -> int:
    """Channels of the part that was cut, else as the weights behind it fix them; else 0."""
    if top.part or net.weights is None:
        return top.part
    readers = [net.layers[r] for r in graph.build(net).versions[top.version].readers]
    near = (op(reader).input_channels(reader) for reader in readers)
    if (channels := next((count for count in near if count is not None), None)) is not None:
        return channels
    from caffefold.analysis.channels import channels_of  # seldom needed

    return channels_of(net, top.blob) or 0


# ------------------------------------------------------------------------------- their text


def restyle(net: Net, style: str) -> Net:
    """All inputs written in one style: ``layer``, ``legacy``; "" leaves them as they are."""
    inputs = [i for i, layer in enumerate(net.layers) if layer.is_input]
    if style == "legacy" and inputs:
        return _with_legacy(net.without(inputs), input_shapes(net))
    if style == "layer" and net.legacy_inputs:
        shapes = legacy_shapes(net)
        made = [_input_layer(net, x, x, shapes.get(x, ()), "\n") for x in net.legacy_inputs]
        return _without_legacy(net, made)
    return net


def _input_layer(net: Net, name: str, blob: str, dims: Dims, lead: str) -> Layer:
    params = {"input_param": {"shape": {"dim": dims}}}
    return new_layer(net.document, INPUT.name, name, [], blob, params, lead)


def _tops(layer: Layer) -> dict[str, Dims]:
    """The shape of each top of an Input layer."""
    return dict(zip(layer.tops, INPUT.dims(layer), strict=True))


def _with_tops(layer: Layer, shapes: Mapping[str, Dims]) -> Layer:
    """An Input layer with these tops."""
    made = message("input_param", {"shape": [{"dim": d} for d in shapes.values()]}, "  ")
    lead = next((f.lead for f in layer.body.fields if f.name == "input_param"), made.lead)
    kept = (f for f in layer.body.fields if f.name != "input_param")
    body = replace(layer.body, fields=(*kept, replace(made, lead=lead)))
    return layer.edited(set_strings(body, "top", tuple(shapes)))


def _with_legacy(net: Net, shapes: Mapping[str, Dims]) -> Net:
    """The net with exactly these ``input:`` fields: where it had some, else before the layers."""
    fields = [
        made
        for name, dims in shapes.items()
        for made in (
            scalar("input", quote(name), ""),
            message("input_shape", {"dim": dims}, ""),
        )
    ]
    for at, item in enumerate(net.items):
        if isinstance(item, Field) and item.name in _LEGACY:
            if fields:
                fields[0] = replace(fields[0], lead=item.lead)
            return _without_legacy(net, fields, at)
    return _without_legacy(net, fields)


def _without_legacy(net: Net, new: Sequence[Field | Layer], at: int | None = None) -> Net:
    """The net with ``new`` at ``at``, else before its layers, in place of its ``input:`` fields."""
    items = [i for i in net.items if isinstance(i, Layer) or i.name not in _LEGACY]
    if not new:
        return net.without_fields(_LEGACY)
    if at is None:
        at = next((i for i, item in enumerate(items) if isinstance(item, Layer)), len(items))
    return replace(net, items=(*items[:at], *new, *items[at:]))
