"""The schema as we read it is the schema as protobuf reads it: every message, field and value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from caffefold._proto import caffe_pb2
from caffefold.formats import declared

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor

TOP = caffe_pb2.DESCRIPTOR.message_types_by_name
FILE = declared.File(declared.bindings())


def _all(kind: Descriptor) -> list[Descriptor]:
    return [kind, *(inner for each in kind.nested_types for inner in _all(each))]


def _values(kind: EnumDescriptor | declared.EnumType | None) -> object:
    """What an enum says, in its order."""
    if kind is None:
        return None
    names = [(name, value.name, value.number) for name, value in kind.values_by_name.items()]
    numbers = {number: value.name for number, value in kind.values_by_number.items()}
    return kind.name, names, numbers


@pytest.mark.parametrize("name", TOP)
def test_a_message_is_declared_as_protobuf_has_it(name: str) -> None:
    for theirs in _all(TOP[name]):
        ours = FILE.message(f".{theirs.full_name}")
        assert ours.name == theirs.name
        assert list(ours.fields_by_name) == [field.name for field in theirs.fields]
        for field, known in zip(ours.fields, theirs.fields, strict=True):
            assert ours.fields_by_name[known.name] is field
            assert (field.number, field.type, field.cpp_type) == (
                *(known.number, known.type, known.cpp_type),
            )
            default = known.default_value
            assert field.is_repeated == isinstance(default, list)
            assert field.is_packed == bool(known.has_options and known.GetOptions().packed)
            assert field.has_default_value == known.has_default_value
            assert field.is_repeated or (field.default_value, type(field.default_value)) == (
                *(default, type(default)),
            )
            assert not field.is_repeated or field.default_value == []
            inner = known.message_type
            assert (field.message_type and field.message_type.name) == (inner and inner.name)
            assert _values(field.enum_type) == _values(known.enum_type)
        assert {each: _values(kind) for each, kind in ours.enum_types_by_name.items()} == {
            each: _values(kind) for each, kind in theirs.enum_types_by_name.items()
        }


def test_what_is_not_declared() -> None:
    for path in (".caffefold._proto.Nothing", ".caffefold._proto.LayerParameter.Nothing"):
        with pytest.raises(KeyError):
            FILE.message(path)
        with pytest.raises(KeyError):
            FILE.enum(path)
