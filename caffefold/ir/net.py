"""Net and Layer: immutable values over the two documents.

A layer's text is the truth; name, type, bottoms and tops are read from it once. An edit makes a
new layer from edited text, so the printed file and what the passes see cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, cast

from caffefold.errors import ModelError, TextError
from caffefold.formats.caffemodel.blob import Blob
from caffefold.formats.caffemodel.index import LayerRecord, WeightsFile, weights_in_memory
from caffefold.formats.prototxt.tree import Document, Field, Gap, Message, set_strings
from caffefold.frozen import dataclass
from caffefold.humanize import counted
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
        wires = body.strings("bottom"), body.strings("top")
        return cls(body.string("name"), body.string("type"), *wires, field, document)

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
        """This layer with other text and the same weights."""
        if body is self.field.value:
            return self
        made = Layer.of(self.field.with_body(body), self.document)
        return replace(made, blobs=self.blobs, record=self.record)

    def with_wiring(self, bottoms: tuple[str, ...], tops: tuple[str, ...]) -> Layer:
        """This layer between other blobs."""
        body = set_strings(self.body, "bottom", bottoms)
        return self.edited(set_strings(body, "top", tops))

    def __repr__(self) -> str:
        wires = f"{', '.join(self.bottoms)} -> {', '.join(self.tops)}".strip()
        numbers = f", {self.parameters:,} parameters" if self.blobs else ""
        return f"<Layer {self.name}: {self.type}, {wires}{numbers}>"

    @property
    def parameters(self) -> int:
        """How many numbers its blobs hold."""
        return sum(prod(blob.shape) for blob in self.blobs)

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
    header: str = ""
    """Comment lines above the first field, each with its ``#`` and its end."""
    listed: frozenset[str] = frozenset()
    """Names of all layers of the net as it was read: records of other names are not its own."""
    history: tuple[object, ...] = ()
    """What was done to the net since it was read: the changes of each pass, in order."""
    preprocessing: tuple[Mapping[str, Any], ...] = ()
    """What the training net did to the images of each input, where it is known: a deploy net's."""
    layers: tuple[Layer, ...] = dataclasses.field(init=False, repr=False)
    """The layers in file order."""

    derived: dict[str, object] = dataclasses.field(init=False, repr=False, default_factory=dict)
    """What was worked out of this net, such as its wiring: kept, since the net never changes."""

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
            if (record := records.get(layer.name)) is not None:
                layer = replace(layer, blobs=record.blobs, record=record)
            items.append(layer)
        names = frozenset(item.name for item in items if isinstance(item, Layer))
        return cls(document, tuple(items), weights, listed=names)

    @classmethod
    def from_text(
        cls, text: str, blobs: Mapping[str, Sequence[object]] | None = None, path: str = "<text>"
    ) -> Net:
        """The net in the prototxt ``text``, in any version of the format.

        Args:
            text: the prototxt.
            blobs: the weights of layers by name, anything ``numpy.asarray`` takes; None: the net
                has no weights.
            path: what messages call the text; files it names are looked for beside that.

        Raises:
            InputError: the text is not a net, or ``blobs`` names a layer that it does not have.
        """
        import numpy as np

        from caffefold.formats.prototxt.open import net_of
        from caffefold.formats.prototxt.parse import parse
        from caffefold.ir.blob import ArrayBlob

        found = net_of(parse(text, path))
        net = replace(cls.of(found.document), notes=found.notes)
        if blobs is None:
            return net
        unknown = next((name for name in blobs if name not in net.listed), None)
        if unknown is not None:
            raise ModelError(f"{path}: weights for layer '{unknown}', which the net does not have")
        arrays = {
            name: tuple(ArrayBlob(np.asarray(numbers, np.float64)) for numbers in given)
            for name, given in blobs.items()
        }
        types = {layer.name: layer.type for layer in net}
        weights = weights_in_memory(path, net.name, types, arrays)
        return replace(cls.of(found.document, weights), notes=found.notes)

    def __repr__(self) -> str:
        return f"<Net {self.name or '(no name)'}: {self.summary}>"

    @property
    def summary(self) -> str:
        """``120 layers, 378,968 parameters``."""
        weights = f"{self.parameters:,} parameters" if self.weights else "no weights"
        return f"{counted(len(self), 'layer')}, {weights}"

    @property
    def parameters(self) -> int:
        """How many numbers the blobs of its layers hold."""
        return sum(layer.parameters for layer in self.layers)

    def _repr_html_(self) -> str:
        from caffefold.html import render

        return render("net.html", net=self)

    def __len__(self) -> int:
        return len(self.layers)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def _by_name(self) -> dict[object, Layer]:
        known = self.derived.get("by name")
        if known is None:
            known = self.derived["by name"] = {x.name: x for x in reversed(self.layers)}
        return cast("dict[object, Layer]", known)

    def __getitem__(self, name: str) -> Layer:
        """The layer of this name; of several, the first."""
        return self._by_name[name]

    def __enter__(self) -> Net:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the caffemodel; blobs cannot be read any more. A second call does nothing."""
        if self.weights is not None:
            self.weights.close()

    @property
    def name(self) -> str:
        """The net's own name."""
        return self.document.root.string("name")

    def params(self) -> Params:
        """The typed view of the net-level fields."""
        schema = self.document.schema.message("NetParameter")
        return Params(self.document, self._fields, schema, "the net")

    @property
    def _fields(self) -> Message:
        return Message(tuple(item for item in self.items if isinstance(item, Field)))

    @property
    def legacy_inputs(self) -> tuple[str, ...]:
        """Blobs given from outside by net-level ``input:`` fields."""
        return self._fields.strings("input")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Blobs given from outside: legacy ``input:`` fields, then the tops of Input layers."""
        declared = (top for layer in self.layers if layer.is_input for top in layer.tops)
        return (*self.legacy_inputs, *declared)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Blobs that no layer reads once they have their last value: what the net computes."""
        unread = dict.fromkeys(self.legacy_inputs)
        for layer in self.layers:
            for blob in layer.bottoms:
                unread.pop(blob, None)
            unread.update(dict.fromkeys(layer.tops))
        return tuple(unread)

    def substitute(self, new: Mapping[int, Iterable[Layer]]) -> Net:
        """A net in which the layers at these positions are replaced by none, one or several.

        Comments separated from a removed layer by a blank line are kept, before what follows.
        """
        positions = itertools.count()
        return self._with(
            tuple(new.get(next(positions), (item,))) if isinstance(item, Layer) else (item,)
            for item in self.items
        )

    def without_fields(self, names: Container[str]) -> Net:
        """A net without its own fields of these names; comments are kept as by ``substitute``."""
        return self._with(
            (item,) if isinstance(item, Layer) or item.name not in names else ()
            for item in self.items
        )

    def _with(self, groups: Iterable[tuple[Field | Layer, ...]]) -> Net:
        """The net with a group in place of each of its items."""
        items: list[Field | Layer] = []
        gap = Gap()
        for item, group in zip(self.items, groups, strict=True):
            if not group:
                gap = gap.widened((item.field if isinstance(item, Layer) else item).lead)
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
        if self.header and fields:
            lead = self.header + fields[0].lead.lstrip("\n")
            fields = (replace(fields[0], lead=lead), *fields[1:])
        return replace(self.document, fields=fields)


def _behind(gap: Gap, item: Field | Layer) -> Field | Layer:
    if isinstance(item, Layer):
        return replace(item, field=replace(item.field, lead=gap.before(item.field.lead)))
    return replace(item, lead=gap.before(item.lead))
