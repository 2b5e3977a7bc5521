"""The schema: field types, enum names and Caffe's defaults, from the generated bindings.

What reads a net by a schema asks the net's document for it (``Document.schema``): ours, or that of
a fork (``fork_schema``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor


class FieldType(Protocol):
    """What a field is declared as; protobuf's FieldDescriptor is one."""

    @property
    def default_value(self) -> Any:
        """What an absent field reads as."""
        ...

    @property
    def cpp_type(self) -> int:
        """What kind of value it holds, as protobuf numbers the kinds."""
        ...

    @property
    def enum_type(self) -> EnumDescriptor | None:
        """The enum, if it is one."""
        ...

    @property
    def message_type(self) -> MessageType | None:
        """The message type, if it is a message."""
        ...


class MessageType(Protocol):
    """What a message is declared as; protobuf's Descriptor is one."""

    @property
    def name(self) -> str:
        """The message's own name."""
        ...

    @property
    def fields_by_name(self) -> Mapping[str, FieldType]:
        """Its fields."""
        ...


class Schema(Protocol):
    """The messages of one ``caffe.proto``."""

    def message(self, name: str) -> MessageType:
        """The type of a message such as ``LayerParameter``; KeyError when there is none."""
        ...

    def parameter(self, field: str) -> MessageType:
        """The type of a layer's parameter such as ``convolution_param``; else KeyError."""
        ...


class _Ours:
    """The functions of this module as a Schema."""

    __slots__ = ()

    def message(self, name: str) -> MessageType:
        return message(name)

    def parameter(self, field: str) -> MessageType:
        return parameter(field)


OURS: Schema = _Ours()


@cache
def message(name: str) -> Descriptor:
    """The descriptor of a message of ``proto/caffe.proto``, such as ``LayerParameter``.

    Raises:
        KeyError: the schema has no such message.
    """
    from caffefold._proto import caffe_pb2

    found: Descriptor = caffe_pb2.DESCRIPTOR.message_types_by_name[name]
    return found


@cache
def parameter(field: str) -> Descriptor:
    """The message type of a layer's parameter field, such as ``convolution_param``.

    Raises:
        KeyError: LayerParameter has no such field.
    """
    found: Descriptor | None = message("LayerParameter").fields_by_name[field].message_type
    if found is None:
        raise KeyError(field)
    return found
