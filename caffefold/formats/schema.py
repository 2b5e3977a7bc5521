"""The schema: field types, enum names and Caffe's defaults, as the generated bindings declare them.

What reads a net by a schema asks the net's document for it (``Document.schema``): ours, or that of
a fork (``fork_schema``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

    from caffefold.formats import declared


class EnumValue(Protocol):
    """One value of an enum."""

    @property
    def name(self) -> str:
        """How texts have it."""

    @property
    def number(self) -> int:
        """How files have it."""


class EnumType(Protocol):
    """What an enum is declared as: ours, or protobuf's EnumDescriptor of a fork."""

    @property
    def values_by_name(self) -> Mapping[str, EnumValue]:
        """Its values in the order of the schema."""

    @property
    def values_by_number(self) -> Mapping[int, EnumValue]:
        """Its values; of several with one number, the first."""


class FieldType(Protocol):
    """What a field is declared as: ours, protobuf's FieldDescriptor of a fork, or both."""

    @property
    def default_value(self) -> Any:
        """What an absent field reads as."""

    @property
    def cpp_type(self) -> int:
        """What kind of value it holds, as protobuf numbers the kinds."""

    @property
    def enum_type(self) -> EnumType | None:
        """The enum, if it is one."""

    @property
    def message_type(self) -> MessageType | None:
        """The message type, if it is a message."""


class MessageType(Protocol):
    """What a message is declared as: ours, protobuf's Descriptor of a fork, or both."""

    @property
    def name(self) -> str:
        """The message's own name."""

    @property
    def fields_by_name(self) -> Mapping[str, FieldType]:
        """Its fields."""


class Schema:
    """The messages of one ``caffe.proto``; ``find`` gives one by name, or raises KeyError."""

    def __init__(self, find: Callable[[str], MessageType]) -> None:
        self._find = cache(find)
        self.parameter = cache(self._parameter)  # asked for every layer, often
        """The type of a layer's parameter such as ``convolution_param``; else KeyError."""

    def message(self, name: str) -> MessageType:
        """The type of a message such as ``LayerParameter``; KeyError when there is none."""
        return self._find(name)

    def _parameter(self, field: str) -> MessageType:
        found = self.message("LayerParameter").fields_by_name[field].message_type
        if found is None:
            raise KeyError(field)
        return found


@cache
def _file() -> declared.File:
    from caffefold.formats import declared  # not for `message_class`, with which tests write nets

    return declared.File(declared.bindings())


@cache
def message(name: str) -> declared.Message:
    """A message of ``proto/caffe.proto``, such as ``LayerParameter``.

    Raises:
        KeyError: the schema has no such message.
    """
    return _file().top(name)


def descriptor(name: str) -> Descriptor:
    """The same as protobuf has it, to make messages of; protobuf is loaded for it.

    Raises:
        KeyError: the schema has no such message.
    """
    from caffefold._proto import caffe_pb2

    found: Descriptor = caffe_pb2.DESCRIPTOR.message_types_by_name[name]
    return found


@cache
def message_class(name: str) -> Any:
    """The class that makes and parses such messages, by protobuf.

    Raises:
        KeyError: the schema has no such message.
    """
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(descriptor(name))


def repeated(field: FieldType) -> bool:
    """Whether the field may occur often (new protobufs warn of ``label``)."""
    return isinstance(field.default_value, list)


TEXT_ONLY = 5001
"""Fields from this number on are a fork's, which numbers them otherwise (proto/caffe.proto)."""
_NVIDIA_OR_INTEL = frozenset(
    {"scale_filler", "bias_filler", "scale_bias", "stats_batch_size", "relu", "engine"}
)


def is_upstream(kind: declared.Message, name: str) -> bool:
    """Whether BVLC Caffe or its SSD branch has this field in a message of type ``kind``."""
    field = kind.fields_by_name.get(name)
    if field is None or (kind.name == "BatchNormParameter" and name in _NVIDIA_OR_INTEL):
        return False
    return field.number < TEXT_ONLY


def is_upstream_value(values: Mapping[str, EnumValue], word: str) -> bool:
    """Whether BVLC Caffe or its SSD branch has this value, by name or number, of an enum."""
    if word.isdecimal():
        return int(word) < TEXT_ONLY
    return word in values and values[word].number < TEXT_ONLY


OURS = Schema(message)
