"""What ``proto/caffe.proto`` declares, read without protobuf, which takes longer to load than this.

The generated bindings hold the schema as one string, a ``FileDescriptorProto``; it is taken out of
their compiled code. A message is read when it is first asked for. Names and values are those of
protobuf's own descriptors (descriptor.proto), which ``formats.schema`` and its users expect.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from typing import Any, NamedTuple

from caffefold.formats.caffemodel.wire import BytesSource, WireField

_BINDINGS = "caffefold._proto.caffe_pb2"
_BYTES = 12  # FieldDescriptorProto.Type
# FieldDescriptor.cpp_type: of each type, and what is asked for.
_CPP_TYPES = (0, 5, 6, 2, 4, 1, 4, 3, 7, 9, 10, 10, 9, 3, 8, 1, 2, 1, 2)
_DOUBLE, _FLOAT, BOOL, _ENUM, STRING, _MESSAGE = 5, 6, 7, 8, 9, 10
FLOATS = (_FLOAT, _DOUBLE)
_REPEATED = 3  # FieldDescriptorProto.Label


class EnumValue(NamedTuple):
    """One value of an enum."""

    name: str
    number: int


class EnumType:
    """An enum; its values by name, in order, and by number, the first of each."""

    def __init__(self, source: BytesSource, at: WireField) -> None:
        self.name = ""
        self.values_by_name: dict[str, EnumValue] = {}
        self.values_by_number: dict[int, EnumValue] = {}
        for field in source.fields(at.start, at.end):
            if field.number == 1:
                self.name = source.text(field)
            elif field.number == 2:
                name, number = "", 0
                for part in source.fields(field.start, field.end):
                    if part.number == 1:
                        name = source.text(part)
                    elif part.number == 2:
                        number = part.value
                value = EnumValue(name, number)
                self.values_by_name[name] = value
                self.values_by_number.setdefault(number, value)


class Field:
    """One field of a message."""

    name = ""
    number = 0
    type = 0
    """FieldDescriptorProto.Type."""
    is_repeated = False
    is_packed = False
    _is_bytes = False
    _kind = ""
    """The full name of its message or enum."""
    _default: str | None = None

    def __init__(self, file: File, at: WireField) -> None:
        self._file = file
        source = file.source
        for field in source.fields(at.start, at.end):
            if field.number == 1:
                self.name = source.text(field)
            elif field.number == 3:
                self.number = field.value
            elif field.number == 4:
                self.is_repeated = field.value == _REPEATED
            elif field.number == 5:
                self.type = field.value
                self._is_bytes = field.value == _BYTES
            elif field.number == 6:
                self._kind = source.text(field)
            elif field.number == 7:
                self._default = source.text(field)
            elif field.number == 8:  # FieldOptions.packed
                options = source.fields(field.start, field.end)
                self.is_packed = any(each.number == 2 and each.value for each in options)
        self.cpp_type = _CPP_TYPES[self.type]

    @property
    def has_default_value(self) -> bool:
        """Whether the schema states the default."""
        return self._default is not None

    @cached_property
    def default_value(self) -> Any:
        """What an absent field reads as."""
        said = self._default
        if self.is_repeated:
            return []
        if self.cpp_type == _MESSAGE:
            return None
        if self.cpp_type == STRING:
            return (said or "").encode() if self._is_bytes else said or ""
        if self.cpp_type == BOOL:
            return said == "true"
        if self.enum_type is not None:
            values = self.enum_type.values_by_name
            return next(iter(values.values())).number if said is None else values[said].number
        if self.cpp_type == _FLOAT and said is not None:
            from struct import pack, unpack

            return unpack("<f", pack("<f", float(said)))[0]
        return float(said or 0) if self.cpp_type in FLOATS else int(said or 0)

    @cached_property
    def enum_type(self) -> EnumType | None:
        """Its enum, if it is one."""
        return self._file.enum(self._kind) if self.cpp_type == _ENUM else None

    @cached_property
    def message_type(self) -> Message | None:
        """Its message type, if it is a message."""
        return self._file.message(self._kind) if self.cpp_type == _MESSAGE else None


class Message:
    """One message type; ``path`` is its full name."""

    def __init__(self, file: File, at: WireField, path: str) -> None:
        self.name = path.rpartition(".")[2]
        self._file = file
        self._path = path
        parts = tuple(file.source.fields(at.start, at.end))
        self._fields = [part for part in parts if part.number == 2]
        self.nested = dict(file.named(part for part in parts if part.number == 3))
        self.enums = dict(file.named(part for part in parts if part.number == 4))

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """Its fields as they are declared."""
        return tuple(Field(self._file, part) for part in self._fields)

    @cached_property
    def fields_by_name(self) -> dict[str, Field]:
        """Its fields."""
        return {each.name: each for each in self.fields}

    @cached_property
    def enum_types_by_name(self) -> dict[str, EnumType]:
        """The enums that are declared in it."""
        return {name: self._file.enum(f"{self._path}.{name}") for name in self.enums}


class File:
    """A schema by full names, such as ``.caffe.NetState``."""

    def __init__(self, data: bytes) -> None:
        self.source = BytesSource("caffe.proto", data)
        parts = tuple(self.source.fields(0, len(data)))
        package = (self.source.text(part) for part in parts if part.number == 2)
        self._root = "." + next(package, "")
        self._messages = dict(self.named(part for part in parts if part.number == 4))
        self._enums = dict(self.named(part for part in parts if part.number == 5))
        self._known: dict[str, Any] = {}

    def named(self, parts: Iterator[WireField]) -> Iterator[tuple[str, WireField]]:
        """Each part with its name, its first field."""
        for part in parts:
            yield self.source.text(next(self.source.fields(part.start, part.end))), part

    def message(self, path: str) -> Message:
        """The message of a full name; KeyError when there is none."""
        if path not in self._known:
            found, name = self._place(path)
            at = self._messages[name] if found is None else found.nested[name]
            self._known[path] = Message(self, at, path)
        known: Message = self._known[path]
        return known

    def enum(self, path: str) -> EnumType:
        """The enum of a full name; KeyError when there is none."""
        if path not in self._known:
            found, name = self._place(path)
            at = self._enums[name] if found is None else found.enums[name]
            self._known[path] = EnumType(self.source, at)
        known: EnumType = self._known[path]
        return known

    def top(self, name: str) -> Message:
        """A message of the file itself; KeyError when there is none."""
        return self.message(f"{self._root}.{name}")

    def _place(self, path: str) -> tuple[Message | None, str]:
        parent, _, name = path.rpartition(".")
        return (None if parent == self._root else self.message(parent)), name


def bindings() -> bytes:
    """The schema as the generated bindings hold it."""
    spec: Any = find_spec(_BINDINGS)
    code = spec.loader.get_code(_BINDINGS)
    return max((each for each in code.co_consts if isinstance(each, bytes)), key=len)
