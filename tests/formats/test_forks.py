"""The table of forks' names: data that adds to what we know, and says where it comes from."""

from __future__ import annotations

import pytest

from caffefold.formats import forks, schema
from caffefold.formats.forks import FORKS, Fork
from caffefold.ops.table import TABLE

by_source = pytest.mark.parametrize("fork", FORKS, ids=lambda fork: fork.source.split(",")[0])


@by_source
def test_no_field_is_one_of_our_schema(fork: Fork) -> None:
    """A field that the schema has is known without the table."""
    for message, names in fork.fields.items():
        ours = set(schema.message(message).fields_by_name)
        assert not ours & set(names.split()), message


@by_source
def test_no_type_is_one_of_ours_or_of_caffe(fork: Fork) -> None:
    assert not set(fork.types.split()) & (set(TABLE) | forks.UPSTREAM_TYPES)


@by_source
def test_no_value_is_one_of_our_schema(fork: Fork) -> None:
    for field, names in fork.values.items():
        message, _, name = field.partition(".")
        enum = schema.message(message).fields_by_name[name].enum_type
        assert enum is not None
        assert not set(enum.values_by_name) & set(names.split())


@by_source
def test_each_source_is_named_and_adds_something(fork: Fork) -> None:
    assert fork.source
    assert fork.fields or fork.types or fork.values


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("LayerParameter", "cudnn_math_override"),  # NVCaffe
        ("LayerParameter", "quantization_param"),  # Intel, Ristretto
        ("LayerParameter", "dense_image_data_param"),  # SegNet
        ("LayerParameter", "seg_accuracy_param"),  # PSPNet
        ("LayerParameter", "yolov3_param"),  # YOLO
        ("ConvolutionParameter", "dilation_h"),  # yjxiong
    ],
)
def test_forks_everybody_knows_are_in_it(message: str, name: str) -> None:
    assert name in forks.fields_of(message)
    assert name in forks.all_fields()


def test_a_field_belongs_to_its_message() -> None:
    assert "dilation_h" not in forks.fields_of("PoolingParameter")
