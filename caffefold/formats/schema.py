"""The schema: field types, enum names and Caffe's defaults, from the generated bindings."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor


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
