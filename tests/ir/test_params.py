"""Values of parameter messages: every spelling, Caffe's defaults, errors with line and column."""

from __future__ import annotations

import math

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2
from caffefold.errors import TextError
from caffefold.formats.prototxt.parse import parse
from caffefold.formats.schema import OURS
from caffefold.ir.net import Net
from caffefold.ir.params import Params, parse_float, parse_int


def params(text: str, field: str = "convolution_param") -> Params:
    document = parse(text, "net.prototxt")
    return Params(document, document.root, OURS.parameter(field), "layer 'conv1'")


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("64", 64),
        ("-1", -1),
        ("- 1", -1),
        ("0", 0),
        ("0x1F", 31),
        ("-0X10", -16),
        ("017", 15),
        ("08", None),
        ("1.0", None),
        ("1e3", None),
        ("0x", None),
        ("cls6x", None),
        ("1_0", None),
        ("", None),
    ],
)
def test_integer_tokens(token: str, value: int | None) -> None:
    assert parse_int(token) == value


@pytest.mark.parametrize(
    ("token", "value"),
    [
        (".7", 0.7),
        ("0.", 0.0),
        ("-1", -1.0),
        ("- 1.5", -1.5),
        ("1e-05", 1e-5),
        ("1E5", 1e5),
        ("1.5f", 1.5),
        ("2F", 2.0),
        ("inf", math.inf),
        ("-inf", -math.inf),
        ("Infinity", math.inf),
        ("1e400", math.inf),
        ("abc", None),
        ("${lr}", None),
        ("1_0", None),
        ("f", None),
        ("", None),
    ],
)
def test_number_tokens(token: str, value: float | None) -> None:
    assert parse_float(token) == value


def test_hex_is_no_fraction_with_a_suffix() -> None:
    """Old protobuf reads 0x1F as 31 where a float is wanted, new protobuf refuses it."""
    assert parse_float("0x1F") in (31.0, None)


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_float("nan") or 0.0)


@given(st.floats(width=32, allow_nan=False))
def test_floats_read_as_protobuf_reads_them(value: float) -> None:
    text = text_format.MessageToString(caffe_pb2.PowerParameter(scale=value))
    wanted = text_format.Parse(text, caffe_pb2.PowerParameter()).scale
    assert params(text, "power_param").number("scale") == wanted


@given(st.floats(allow_nan=False))
def test_floats_have_the_precision_of_caffe(value: float) -> None:
    with np.errstate(over="ignore"):
        wanted = float(np.float32(value))
    assert params(f"scale: {value}", "power_param").number("scale") == wanted


def test_defaults_are_those_of_the_schema() -> None:
    empty = params("")
    assert (empty.integer("group"), empty.flag("bias_term"), empty.enum("engine")) == (
        1,
        True,
        "DEFAULT",
    )
    assert empty.integers("pad") == ()
    assert params("", "batch_norm_param").number("eps") == float(np.float32(1e-5))
    assert params("", "scale_param").flag("bias_term") is False
    assert params("", "detection_output_param").integer("keep_top_k") == -1
    assert params("", "reshape_param").sub("shape").integers("dim") == ()
    assert params("", "transform_param").string("mean_file") == ""
    assert params("", "data_param").string("source") == ""


@pytest.mark.parametrize("spelling", ["true", "True", "TRUE", "t", "1"])
def test_true(spelling: str) -> None:
    assert params(f"bias_term: {spelling}", "scale_param").flag("bias_term") is True


@pytest.mark.parametrize("spelling", ["false", "False", "FALSE", "f", "0"])
def test_false(spelling: str) -> None:
    assert params(f"bias_term: {spelling}").flag("bias_term") is False


@pytest.mark.parametrize("spelling", ["AVE", '"AVE"', "'AVE'", "1"])
def test_enum_by_name_string_or_number(spelling: str) -> None:
    assert params(f"pool: {spelling}", "pooling_param").enum("pool") == "AVE"


def test_lists_and_repeats() -> None:
    found = params("kernel_size: 3 kernel_size: [5, 0x7]\nkernel_size: 9")
    assert found.integers("kernel_size") == (3, 5, 7, 9)
    prior = params("aspect_ratio: [2, .5] aspect_ratio: 3.", "prior_box_param")
    assert prior.numbers("aspect_ratio") == (2.0, 0.5, 3.0)


def test_the_last_value_counts() -> None:
    found = params("num_output: 1 num_output: 2 bias_term: 0 bias_term: 1 engine: CAFFE engine: 2")
    assert (found.integer("num_output"), found.flag("bias_term")) == (2, True)
    assert found.enum("engine") == "CUDNN"
    assert params("eps: 1 eps: 2", "batch_norm_param").number("eps") == 2.0


def test_has() -> None:
    found = params("num_output: 1\nbias_term: false\n")
    assert found.has("num_output")
    assert found.has("bias_term")
    assert not found.has("group")


def test_an_empty_list_is_no_value() -> None:
    found = params("group: [] pad: []")
    assert not found.has("pad")
    assert found.integers("pad") == ()
    assert found.integer("group") == 1
    assert params("eps: []", "batch_norm_param").number("eps") == float(np.float32(1e-5))


def test_unknown_fields_are_left_alone() -> None:
    assert params("fork { x: ? }".replace("?", "1") + " num_output: 3").integer("num_output") == 3


def test_sub_messages() -> None:
    found = params("shape { dim: 1 dim: 3 } shape: [{ dim: 7 }]", "input_param")
    shapes = found.messages("shape")
    assert [shape.integers("dim") for shape in shapes] == [(1, 3), (7,)]
    assert found.sub("shape").integers("dim") == (7,)
    nms = params("nms_param { top_k: 400 }", "detection_output_param").sub("nms_param")
    assert nms.integer("top_k") == 400
    assert nms.number("nms_threshold") == float(np.float32(0.3))


def test_of_a_layer() -> None:
    text = 'layer { name: "c" convolution_param { group: 2 } convolution_param { group: 3 } }'
    (layer,) = Net.of(parse(text)).layers
    assert layer.params("convolution_param").integer("group") == 3
    assert layer.params("scale_param").flag("bias_term") is False


# ------------------------------------------------------------------------------------- errors

CONV, BN, POOL = "convolution_param", "batch_norm_param", "pooling_param"


@pytest.mark.parametrize(
    ("text", "field", "read", "words"),
    [
        ("num_output: 1.5", CONV, "integer", "num_output is 1.5, expected an integer"),
        ("num_output: cls6x", CONV, "integer", "6 x the number of classes; give classes N"),
        ("num_output: ${n}", CONV, "integer", "a placeholder without a value; give values n=VALUE"),
        ("num_output { a: 1 }", CONV, "integer", "num_output is a message, expected a plain value"),
        ("pad: [1, x, 2]", CONV, "integers", "pad is x, a placeholder"),
        ("eps: 'small'", BN, "number", "eps is 'small', expected a number"),
        ("bias_term: yes", CONV, "flag", "bias_term is yes, expected true or false"),
        ("bias_term: 2", CONV, "flag", "bias_term is 2, expected true or false"),
        ("pool: MIN", POOL, "enum", "pool is MIN, expected one of MAX, AVE, STOCHASTIC"),
        ("pool: 7", POOL, "enum", "pool is 7, expected one of MAX"),
    ],
)
def test_values_that_are_wrong(text: str, field: str, read: str, words: str) -> None:
    found = params(f"# one\n  {text}", field)
    with pytest.raises(TextError) as caught:
        getattr(found, read)(found.message.fields[0].name)
    assert str(caught.value).startswith("net.prototxt:2:3: layer 'conv1': ")
    assert words in str(caught.value)
    assert caught.value.source_line == f"  {text}"


def test_the_error_points_at_the_wrong_one_of_several() -> None:
    with pytest.raises(TextError) as caught:
        params("pad: 1\npad: x\npad: 2\n").integers("pad")
    assert (caught.value.line, caught.value.column) == (2, 1)


def test_a_field_the_schema_does_not_have_is_our_mistake() -> None:
    with pytest.raises((KeyError, AssertionError)):
        params("").integer("no_such_field")


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("pad", "pad: -1", "expected an integer from 0 to 4294967295"),
        ("num_output", "num_output: 4294967296", "expected an integer from 0 to 4294967295"),
        ("axis", "axis: 2147483648", "expected an integer from -2147483648 to 2147483647"),
        ("axis", "axis: " + "9" * 5_000, "expected an integer"),
        ("axis", "axis: \u0663", "expected an integer"),
    ],
)
def test_integers_out_of_range(name: str, text: str, what: str) -> None:
    with pytest.raises(TextError, match=what) as caught:
        params(text).integers(name)
    assert "layer 'conv1'" in str(caught.value)


def test_integers_at_the_ends_of_their_range() -> None:
    assert params("pad: 4294967295").integer("pad") == 2**32 - 1
    assert params("axis: -2147483648").integer("axis") == -(2**31)


def test_an_enum_of_thousands_of_digits() -> None:
    with pytest.raises(TextError, match="expected one of MAX"):
        params("pool: " + "1" * 5_000, "pooling_param").enum("pool")
