"""Net and Layer: immutable values over the two documents.

A layer's text is the truth; name, type, bottoms and tops are read from it once. An edit makes a
new layer from edited text, so the printed file and what the passes see can not drift apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from caffefold.errors import TextError
from caffefold.formats.caffemodel.blob import Blob
from caffefold.formats.caffemodel.index import LayerRecord, WeightsFile
from caffefold.formats.prototxt.tree import Document, Field, Gap, Message, set_strings
from caffefold.ir.params import Params

INPUT = "Input"  # what upgrading makes of ``input:`` fields (upgrade_proto.cpp, UpgradeNetInput)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One ``layer { ... }`` with its weights. Build it with ``Layer.of``."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    field: Field
    document: Document
    blobs: tuple[Blob, ...] = ()
    record: LayerRecord | None = None

    @classmethod
    def of(cls, field: Field, document: Document) -> Layer:
        """The layer that ``field`` spells out."""
        body = field.body
        return cls(
            body.string("name"),
            body.string("type"),
            body.strings("bottom"),
            body.strings("top"),
            field,
            document,
        )

    @property
    def is_input(self) -> bool:
        """Whether this is the layer that stands for a net-level ``input:`` field."""
        return self.type == INPUT

    @property
    def body(self) -> Message:
        """The text between the layer's braces."""
        return self.field.body

    def params(self, field: str) -> Params:
        """The typed view of a parameter message such as ``convolution_param``."""
        message = self.body.message(field) or Message(())
        return Params(
            self.document, message, self.document.schema.parameter(field), f"layer '{self.name}'"
        )

    def edited(self, body: Message) -> Layer:
        """This layer with other text; weights stay."""
        if body is self.field.value:
            return self
        made = Layer.of(self.field.with_body(body), self.document)
        return replace(made, blobs=self.blobs, record=self.record)

    def with_wiring(self, bottoms: tuple[str, ...], tops: tuple[str, ...]) -> Layer:
        """This layer between other blobs."""
        body = set_strings(self.body, "bottom", bottoms)
        return self.edited(set_strings(body, "top", tops))

    def with_blobs(self, blobs: tuple[Blob, ...]) -> Layer:
        """This layer with other weights."""
        return replace(self, blobs=blobs)

    def error(self, message: str) -> TextError:
        """A TextError that points at this layer and names it."""
        return self.document.error(self.field.offset, f"layer '{self.name}': {message}")


@dataclass(frozen=True, slots=True, eq=False)
class Net:
    """A net as text and weights. ``items`` are the top-level fields in order, layers among them."""

    document: Document
    items: tuple[Field | Layer, ...]
    weights: WeightsFile | None = None
    notes: tuple[str, ...] = ()
    """How the files were read when not as they are: found through a solver, upgraded."""
    layers: tuple[Layer, ...] = dataclasses.field(init=False, repr=False)
    """The layers in file order."""

    def __post_init__(self) -> None:
        layers = tuple(item for item in self.items if isinstance(item, Layer))
        object.__setattr__(self, "layers", layers)

    @classmethod
    def of(cls, document: Document, weights: WeightsFile | None = None) -> Net:
        """The net that ``document`` describes, each layer with the weights of its name."""
        records = weights.by_name() if weights is not None else {}
        items: list[Field | Layer] = []
        for field in document.fields:
            if field.name != "layer":
                items.append(field)
                continue
            layer = Layer.of(field, document)
            record = records.get(layer.name)
            if record is not None:
                layer = replace(layer, blobs=record.blobs, record=record)
            items.append(layer)
        return cls(document, tuple(items), weights)

    def __enter__(self) -> Net:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the caffemodel; blobs can not be read any more. A second call does nothing."""
        if self.weights is not None:
            self.weights.close()

    @property
    def name(self) -> str:
        """The net's own name."""
        return self.document.root.string("name")

    def params(self) -> Params:
        """The typed view of the net-level fields."""
        fields = tuple(item for item in self.items if isinstance(item, Field))
        return Params(
            self.document, Message(fields), self.document.schema.message("NetParameter"), "the net"
        )

    @property
    def legacy_inputs(self) -> tuple[str, ...]:
        """Blobs given from outside by net-level ``input:`` fields."""
        return Message(tuple(i for i in self.items if isinstance(i, Field))).strings("input")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Blobs given from outside: legacy ``input:`` fields, then the tops of Input layers."""
        declared = (top for layer in self.layers if layer.is_input for top in layer.tops)
        return (*self.legacy_inputs, *declared)

    def substitute(self, new: Mapping[int, Iterable[Layer]]) -> Net:
        """A net in which the layers at these positions are replaced by none, one or several.

        Comments that a blank line keeps apart from a removed layer stay, before what follows.
        """
        items: list[Field | Layer] = []
        index = -1
        gap = Gap()
        for item in self.items:
            group: tuple[Field | Layer, ...] = (item,)
            if isinstance(item, Layer):
                index += 1
                if index in new:
                    group = tuple(new[index])
                    if not group:
                        gap = gap.widened(item.field.lead)
            for member in group:
                items.append(_behind(gap, member) if gap else member)
                gap = Gap()
        document = self.document
        if gap.saved:
            document = replace(document, tail=gap.before(document.tail or "\n"))
        return replace(self, items=tuple(items), document=document)

    def without(self, indices: Iterable[int]) -> Net:
        """A net without the layers at these positions."""
        return self.substitute(dict.fromkeys(indices, ()))

    def to_document(self) -> Document:
        """The text as it will be printed."""
        fields = tuple(i.field if isinstance(i, Layer) else i for i in self.items)
        return replace(self.document, fields=fields)


def _behind(gap: Gap, item: Field | Layer) -> Field | Layer:
    if isinstance(item, Layer):
        return replace(item, field=replace(item.field, lead=gap.before(item.field.lead)))
    return replace(item, lead=gap.before(item.lead))
