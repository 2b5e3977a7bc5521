"""Data layers become Input layers; what they knew of preprocessing is handed on, not lost.

Given   AnnotatedData -> data, label, with transform_param { resize_param { height: 300 ... } }
Result  Input -> data, shape 1 x 3 x 300 x 300
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from caffefold.errors import UsageError
from caffefold.formats.text import Field, block, quote, scalar
from caffefold.model import graph
from caffefold.model.extent import legacy_shapes, weight_channels
from caffefold.model.graph import Graph
from caffefold.model.net import Layer, Net
from caffefold.rewrite.base import Change, PassResult
from caffefold.rewrite.kinds import is_data

RULE = "inputs"
_SAME_CHANNELS = frozenset(
    {"Power", "ReLU", "PReLU", "Pooling", "Dropout", "LRN", "Split", "Normalize"}
)


@dataclass(frozen=True, slots=True)
class ConvertInputs:
    """Replace each data layer by an Input layer for every blob of it that is still read."""

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes given by the user, by blob; they override what the template says."""
    name: str = RULE

    def run(self, net: Net) -> PassResult:
        """Convert every data layer.

        Raises:
            UsageError: a shape was given for a blob that is no input, or is missing.
        """
        wiring = graph.build(net)
        new: dict[int, tuple[Layer, ...]] = {}
        changes = []
        known = set(net.inputs)
        for position, layer in enumerate(net.layers):
            if not is_data(layer):
                continue
            read = [v for v in wiring.writes[position] if wiring.versions[v].readers]
            blobs = tuple(wiring.versions[v].blob for v in read)
            known.update(blobs)
            new[position] = tuple(
                self.input_layer(net, wiring, layer, v, len(read) > 1) for v in read
            )
            detail = f"{layer.type} -> " + (f"Input {', '.join(blobs)}" if blobs else "nothing")
            made = tuple(item.name for item in new[position])
            changes.append(Change(RULE, (layer.name,), made, detail))
        for position, layer in enumerate(net.layers):
            if layer.type == "Input" and set(layer.tops) & set(self.shapes):
                new[position] = (_reshaped(layer, self.shapes),)
                changes.append(Change(RULE, (), (layer.name,), f"Input '{layer.name}' reshaped"))
        unknown = sorted(set(self.shapes) - known)
        if unknown:
            raise UsageError(
                f"--input-shape {unknown[0]}=...: '{unknown[0]}' is no input of this net; "
                f"its inputs are {', '.join(sorted(known)) or 'none'}"
            )
        result = net.substitute(new)
        if set(net.legacy_inputs) & set(self.shapes):
            result = _reshape_legacy(result, self.shapes)
            changes.append(Change(RULE, (), (), "net inputs reshaped"))
        return PassResult(result, tuple(changes))

    def input_layer(
        self, net: Net, wiring: Graph, layer: Layer, version: int, several: bool
    ) -> Layer:
        """The Input layer for one blob of a data layer."""
        blob = wiring.versions[version].blob
        dims = self.shapes.get(blob) or _shape(net, wiring, layer, version)
        shape = _shape_field("shape", dims, "    ")
        name = blob if several else layer.name
        fields = [
            scalar("name", quote(name), "  "),
            scalar("type", '"Input"', "  "),
            scalar("top", quote(blob), "  "),
            block("input_param", [shape], "  "),
        ]
        lead = layer.field.lead
        lead = lead[: lead.rfind("\n") + 1] if not lead.rpartition("\n")[2].strip() else lead
        made = Field("layer", block("", fields, "").value, lead, " ")
        return Layer.of(made, net.document)


def _reshaped(layer: Layer, shapes: Mapping[str, tuple[int, ...]]) -> Layer:
    """An Input layer with other shapes for some of its tops."""
    known = layer.params("input_param")
    old = [known.nested("shape", m).integers("dim") for m in known.messages("shape")] or [()]
    dims = [shapes.get(top, old[min(j, len(old) - 1)]) for j, top in enumerate(layer.tops)]
    fields = [_shape_field("shape", shape, "    ") for shape in dims]
    kept = [f for f in layer.body.fields if f.name != "input_param"]
    lead = next((f.lead for f in layer.body.fields if f.name == "input_param"), "\n  ")
    made = replace(block("input_param", fields, "  "), lead=lead)
    return layer.edited(replace(layer.body, fields=(*kept, made)))


def _reshape_legacy(net: Net, shapes: Mapping[str, tuple[int, ...]]) -> Net:
    """Net-level ``input:`` blobs with other shapes, written as ``input_shape``."""
    old = legacy_shapes(net)
    fields = [
        _shape_field("input_shape", shapes.get(name, old.get(name, ())), "")
        for name in net.legacy_inputs
    ]
    items: list[Field | Layer] = []
    last = max(i for i, x in enumerate(net.items) if isinstance(x, Field) and x.name == "input")
    for i, item in enumerate(net.items):
        if isinstance(item, Layer) or item.name not in ("input_dim", "input_shape"):
            items.append(item)
        if i == last:
            items += fields
    return replace(net, items=tuple(items))


def _shape_field(name: str, shape: tuple[int, ...], indent: str) -> Field:
    return block(name, [scalar("dim", str(d), indent + "  ") for d in shape], indent)


def _is_label(layer: Layer) -> bool:
    return layer.tops[0] == "label"


def _shape(net: Net, wiring: Graph, layer: Layer, version: int) -> tuple[int, ...]:
    """Batch 1, channels from the first weights, height and width from the transformation."""
    blob = wiring.versions[version].blob
    height, width = image_size(layer)
    channels = _channels(net, wiring, version) or _declared_channels(layer)
    if not (channels and height and width):
        missing = [n for n, v in (("channels", channels), ("height and width", height)) if not v]
        raise UsageError(
            f"layer '{layer.name}' does not tell the {' and '.join(missing)} of '{blob}'; "
            f"give --input-shape {blob}=1,{channels or 'C'},{height or 'H'},{width or 'W'}"
        )
    return 1, channels, height, width


def image_size(layer: Layer) -> tuple[int, int]:
    """(height, width) in pixels that a data layer's images end up with; zeros when unknown."""
    transform = layer.params("transform_param")
    if transform.integer("crop_size"):
        return transform.integer("crop_size"), transform.integer("crop_size")
    resize = transform.sub("resize_param")
    if resize.integer("height") and resize.integer("width"):
        return resize.integer("height"), resize.integer("width")
    if layer.type == "ImageData":
        image = layer.params("image_data_param")
        return image.integer("new_height"), image.integer("new_width")
    if layer.type == "MemoryData":
        memory = layer.params("memory_data_param")
        return memory.integer("height"), memory.integer("width")
    return 0, 0


def _declared_channels(layer: Layer) -> int:
    transform = layer.params("transform_param")
    if layer.type == "MemoryData":
        return layer.params("memory_data_param").integer("channels")
    if transform.flag("force_gray"):
        return 1
    means = len(transform.numbers("mean_value"))
    return 3 if transform.flag("force_color") or means == 3 else 0


def _channels(net: Net, wiring: Graph, version: int) -> int:
    """Channels of a blob, from the weights of the first layers that read it; 0 when unknown."""
    seen: set[int] = set()
    queue = [version]
    while queue:
        current = queue.pop(0)
        if current in seen:
            continue
        seen.add(current)
        for reader in wiring.versions[current].readers:
            layer = net.layers[reader]
            wanted = weight_channels(layer)
            if wanted is not None:
                return wanted
            if layer.type in _SAME_CHANNELS and len(layer.bottoms) == 1:
                queue += wiring.writes[reader]
    return 0


def preprocessing(net: Net, deploy: Net) -> tuple[dict[str, Any], ...]:
    """What every data layer of ``net`` does to its images, in plain values.

    ``deploy`` is the net made of it; its inputs tell how many channels the images have.
    """
    shapes = {top: layer for layer in deploy.layers if layer.type == "Input" for top in layer.tops}
    return tuple(
        _preprocessing(layer, shapes.get(layer.tops[0]))
        for layer in net.layers
        if is_data(layer) and not _is_label(layer)
    )


def _preprocessing(layer: Layer, made: Layer | None) -> dict[str, Any]:
    transform = layer.params("transform_param")
    resize = transform.sub("resize_param")
    height, width = image_size(layer)
    dims = made.params("input_param").sub("shape").integers("dim") if made is not None else ()
    order = "GRAY" if dims[1:2] == (1,) else "BGR"  # Caffe reads colour images as BGR
    found: dict[str, Any] = {"blob": layer.tops[0], "color_order": order}
    if height and width:
        found["height"], found["width"] = height, width
    if transform.has("resize_param"):
        found["resize_mode"] = resize.enum("resize_mode")
    if transform.integer("crop_size"):
        found["crop_size"] = transform.integer("crop_size")
    if transform.has("mean_value"):
        found["mean_value"] = [_short(v) for v in transform.numbers("mean_value")]
    if transform.has("mean_file"):
        found["mean_file"] = transform.string("mean_file")
    if transform.has("scale"):
        found["scale"] = _short(transform.number("scale"))
    return found


def _short(value: float) -> float:
    """A float32 value with the digits a person would write."""
    return float(f"{value:.7g}")
