"""ONNX models as bytes: the messages of onnx.proto, and weights as byte ranges of other files.

Fields are written by hand, in the order of their numbers: protobuf would hold every weight in
memory, several times. All sizes are known before the first byte is written. Nothing here knows what
an operator means.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple, TypeAlias, Union

from caffefold.formats.caffemodel.blob import Piece
from caffefold.formats.caffemodel.wire import (
    FIXED32,
    len_field,
    len_header,
    message,
    tag,
    text_field,
    varint_field,
)
from caffefold.formats.caffemodel.write import Numbers, rounded

FLOAT, UINT8, INT64, BOOL, FLOAT16 = 1, 2, 7, 9, 10  # TensorProto.DataType
_EXTERNAL = 1  # TensorProto.DataLocation
LARGEST = (1 << 31) - 1
"""Protobuf's limit: a model with more bytes keeps its weights in another file."""
_MAPPED, _ALIGNED = 4096, 64  # a page for what a runtime may map, a cache line for the rest
_LARGE = 1 << 20
KEPT_INSIDE = 1024
"""Bytes of a tensor that stays in the model wherever weights go: runtimes read shapes from it."""

Extent: TypeAlias = int | str | None


class Stored(NamedTuple):
    """Where the numbers of a tensor lie in another file, in bytes."""

    location: str
    offset: int
    length: int


class Tensor(NamedTuple):
    """An initializer; of ``data``, bytes are as ONNX has them: C order, little endian."""

    name: str
    shape: tuple[int, ...]
    kind: int
    data: bytes | Numbers
    stored: Stored | None = None
    """Set when ``data`` stands in another file and not in the model."""


Attribute: TypeAlias = Union[int, float, str, Sequence[int], Sequence[float]]  # noqa: UP007


def integers(name: str, numbers: Sequence[int]) -> Tensor:
    """A vector of int64."""
    return Tensor(name, (len(numbers),), INT64, struct.pack(f"<{len(numbers)}q", *numbers))


def floats(name: str, numbers: Sequence[float]) -> Tensor:
    """A vector of float32."""
    return Tensor(name, (len(numbers),), FLOAT, struct.pack(f"<{len(numbers)}f", *numbers))


class Node(NamedTuple):
    """An operator between values; an empty name among ``inputs`` is one left out."""

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = {}
    doc: str = ""
    domain: str = ""


class Value(NamedTuple):
    """A typed value; a text in place of an extent names an unknown one, None leaves it open."""

    name: str
    kind: int
    shape: tuple[Extent, ...] | None
    doc: str = ""


class Model(NamedTuple):
    """A whole model."""

    name: str
    nodes: tuple[Node, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    values: tuple[Value, ...]
    opset: int
    ir_version: int
    producer: tuple[str, str]
    metadata: Mapping[str, str]
    domains: tuple[str, ...] = ()
    """Domains of operators that are not ONNX's own; each of version 1."""
    doc: str = ""


_Part: TypeAlias = Union[bytes, Numbers]  # noqa: UP007


def size(model: Model) -> int:
    """How many bytes ``write`` writes."""
    return sum(map(len, _model(model)))


def too_large(model: Model) -> bool:
    """Whether the model is more than protobuf can hold."""
    inside = sum(len(tensor.data) for tensor in model.tensors if tensor.stored is None)
    return 2 * inside > LARGEST and size(model) > LARGEST


def write(out: BinaryIO, model: Model) -> None:
    """Write the model; tensors that are stored elsewhere as references.

    Raises:
        ModelError: a weight is not finite, or too large for its type.
        OSError: writing failed.
    """
    for part in _model(model):
        _write(out, part)


def within(model: Model, location: str) -> Model:
    """The model with its weights as references to ``location``, which holds what ``write`` wrote
    of it."""
    at, places = 0, {}
    for part in _model(model):
        if isinstance(part, Numbers):
            places[id(part)] = at
        at += len(part)
    tensors = tuple(
        tensor._replace(stored=Stored(location, places[id(tensor.data)], len(tensor.data)))
        if tensor.stored is None and id(tensor.data) in places
        else tensor
        for tensor in model.tensors
    )
    return model._replace(tensors=tensors)


def placed(tensors: Iterable[Tensor], location: str) -> list[Tensor]:
    """The tensors, with what is not small stored in the file ``location``, one after another."""
    at, found = 0, []
    for tensor in tensors:
        length = len(tensor.data)
        if tensor.stored is not None or length <= KEPT_INSIDE:
            found.append(tensor)
            continue
        step = _MAPPED if length >= _LARGE else _ALIGNED
        at = -(-at // step) * step
        found.append(tensor._replace(stored=Stored(location, at, length)))
        at += length
    return found


def write_data(out: BinaryIO, tensors: Iterable[Tensor], location: str) -> None:
    """Write the numbers of the tensors that are stored in ``location``, as ``placed`` has them.

    Raises:
        ModelError: a weight is not finite, or too large for its type.
        OSError: writing failed.
    """
    at = 0
    for tensor in tensors:
        if tensor.stored is None or tensor.stored.location != location:
            continue
        out.write(bytes(tensor.stored.offset - at))
        _write(out, tensor.data)
        at = tensor.stored.offset + tensor.stored.length


def _write(out: BinaryIO, part: _Part) -> None:
    if isinstance(part, bytes):
        out.write(part)
    else:
        out.writelines(numbers.data for numbers in rounded(part))


def packed(tensor: Tensor) -> Piece | None:
    """The one run of packed float32 numbers of a caffemodel that a tensor's are, unchanged."""
    data = tensor.data
    if tensor.kind != FLOAT or not isinstance(data, Numbers) or data.blob.stored is not data.blob:
        return None
    pieces = data.blob.stored.pieces
    if len(pieces) != 1 or pieces[0].dtype != "<f4" or pieces[0].stride != 4:
        return None
    return pieces[0]


# ----------------------------------------------------------------------------------- the messages


def _model(model: Model) -> Iterator[_Part]:
    yield varint_field(1, model.ir_version)
    for number, text in zip((2, 3), model.producer, strict=True):
        yield text_field(number, text)
    if model.doc:
        yield text_field(6, model.doc)
    yield from message(7, _graph(model))
    yield len_field(8, text_field(1, "") + varint_field(2, model.opset))
    for domain in model.domains:
        yield len_field(8, text_field(1, domain) + varint_field(2, 1))
    for key, value in model.metadata.items():
        yield len_field(14, text_field(1, key) + text_field(2, value))


def _graph(model: Model) -> list[_Part]:
    parts: list[_Part] = [len_field(1, _node(node)) for node in model.nodes]
    parts.append(text_field(2, model.name))
    for tensor in model.tensors:
        parts += message(5, _tensor(tensor))
    for number, values in ((11, model.inputs), (12, model.outputs), (13, model.values)):
        parts += (len_field(number, _value(value)) for value in values)
    return parts


def _node(node: Node) -> bytes:
    parts = [text_field(1, name) for name in node.inputs]
    parts += [text_field(2, name) for name in node.outputs]
    parts += [text_field(3, node.name), text_field(4, node.type)]
    parts += [len_field(5, _attribute(*each)) for each in sorted(node.attributes.items())]
    if node.doc:
        parts.append(text_field(6, node.doc))
    if node.domain:
        parts.append(text_field(7, node.domain))
    return b"".join(parts)


def _attribute(name: str, value: Attribute) -> bytes:
    head = text_field(1, name)
    if isinstance(value, float):
        return head + _float(2, value) + varint_field(20, 1)
    if isinstance(value, int):
        return head + varint_field(3, value) + varint_field(20, 2)
    if isinstance(value, str):
        return head + text_field(4, value) + varint_field(20, 3)
    if value and isinstance(value[0], float):
        return head + b"".join(_float(7, each) for each in value) + varint_field(20, 6)
    return head + b"".join(varint_field(8, int(each)) for each in value) + varint_field(20, 7)


def _float(number: int, value: float) -> bytes:
    return tag(number, FIXED32) + struct.pack("<f", value)


def _tensor(tensor: Tensor) -> list[_Part]:
    head = b"".join(varint_field(1, extent) for extent in tensor.shape)
    head += varint_field(2, tensor.kind) + text_field(8, tensor.name)
    if tensor.stored is None:
        return [head + len_header(9, len(tensor.data)), tensor.data]
    for key, value in tensor.stored._asdict().items():
        head += len_field(13, text_field(1, key) + text_field(2, str(value)))
    return [head + varint_field(14, _EXTERNAL)]


def _value(value: Value) -> bytes:
    kind = varint_field(1, value.kind)
    if value.shape is not None:
        kind += len_field(2, b"".join(len_field(1, _extent(extent)) for extent in value.shape))
    made = text_field(1, value.name) + len_field(2, len_field(1, kind))
    return made + (text_field(3, value.doc) if value.doc else b"")


def _extent(extent: Extent) -> bytes:
    if isinstance(extent, str):
        return text_field(2, extent)
    return b"" if extent is None else varint_field(1, extent)
