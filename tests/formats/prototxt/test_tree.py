"""The prototxt tree: what queries answer, what strings mean."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2
from caffefold.errors import TextError
from caffefold.formats.prototxt.parse import parse
from caffefold.formats.prototxt.tree import (
    GENERATED,
    Document,
    Field,
    ListValue,
    Message,
    Scalar,
    block,
    quote,
    scalar,
    unquote,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def first(text: str) -> Message:
    return parse(text).fields[0].body


# ---------------------------------------------------------------------------------- strings


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ('"a"', "a"),
        ("'a'", "a"),
        ("MAX", "MAX"),
        ("cls6x", "cls6x"),
        ('""', ""),
        ('"a" "b"', "ab"),
        ('"a"\'b\'\n"c"', "abc"),
        (r'"a\"b"', 'a"b'),
        (r"'a\'b'", "a'b"),
        (r"'a\"b'", 'a"b'),
        (r'"a\\b"', "a\\b"),
        (r'"a\\" "n"', "a\\n"),
        (r'"\n\r\t\a\b\f\v\?"', "\n\r\t\a\b\f\v?"),
        (r'"\x41\x4a"', "AJ"),
        (r'"\101\60"', "A0"),
        (r'"\u00e9\U0001F600"', "é😀"),
        (r'"\344\270\255"', "中"),  # protobuf prints UTF-8 byte by byte
        (r'"\xe4\xb8\xad"', "中"),
        (r'"\xff"', "\udcff"),  # no UTF-8: kept as the byte it is
        ('"a" # it\'s "x"\n "b"', "ab"),
        ('"a#b"', "a#b"),
    ],
)
def test_unquote(token: str, text: str) -> None:
    assert unquote(token) == text


@pytest.mark.parametrize("token", [r'"\U00110000"', r'"\ud800"', r'"\777"', r'"\x"', r'"\z"'])
def test_impossible_escapes_are_refused_or_read_as_bytes(token: str) -> None:
    """Whatever is made of them, it can be written again."""
    with contextlib.suppress(TextError):
        parse(f"name: {token}").root.string("name").encode("utf-8", "surrogateescape")


@given(TEXTS)
def test_quoted_text_reads_back(text: str) -> None:
    token = quote(text)
    assert unquote(token) == text
    assert parse(f"name: {token}").root.strings("name") == (text,)


@given(TEXTS)
def test_protobuf_reads_what_is_quoted(text: str) -> None:
    net = text_format.Parse(f"name: {quote(text)}", caffe_pb2.NetParameter())
    assert net.name == text


@settings(deadline=None)
@given(TEXTS, st.booleans())
def test_what_protobuf_prints_reads_back(text: str, as_utf8: bool) -> None:
    printed = text_format.MessageToString(caffe_pb2.NetParameter(name=text), as_utf8=as_utf8)
    assert parse(printed).root.string("name") == text


# ---------------------------------------------------------------------------------- queries

LAYER = """
layer {
  top: "a"
  top: ["b", 'c']
  pad: 1
  pad: 2
  param { lr: 1 }
  param: [{ lr: 2 }, { lr: 3 }]
  word: MAX
}
"""


def test_all_takes_lists_apart_and_keeps_the_order() -> None:
    layer = first(LAYER)
    assert list(layer.all("top")) == [Scalar('"a"'), Scalar('"b"'), Scalar("'c'")]
    assert [m.string("lr") for m in layer.all("param") if isinstance(m, Message)] == ["1", "2", "3"]
    assert list(layer.all("bottom")) == []


def test_the_last_value_counts() -> None:
    layer = first(LAYER)
    assert layer.last("pad") == Scalar("2")
    assert layer.string("pad") == "2"
    param = layer.message("param")
    assert param is not None
    assert param.string("lr") == "3"


def test_absent_and_ill_typed_values() -> None:
    layer = first(LAYER)
    assert layer.last("bottom") is None
    assert layer.message("bottom") is None
    assert layer.message("pad") is None
    assert layer.string("bottom") == ""
    assert layer.string("bottom", "data") == "data"
    assert layer.string("param", "none") == "none"
    assert layer.strings("param") == ()


def test_strings_are_unquoted() -> None:
    assert first(LAYER).strings("top") == ("a", "b", "c")
    assert first(LAYER).string("word") == "MAX"


def test_body_of_a_plain_value_is_empty() -> None:
    assert parse("a: 1").fields[0].body.fields == ()


def test_short_lists_keep_their_spelling() -> None:
    value = parse("a: [ 1,2 ]  # two").fields[0].value
    assert isinstance(value, ListValue)
    assert (str(value), value.items) == ("[ 1,2 ]", (Scalar("1"), Scalar("2")))


def test_root_holds_the_top_level() -> None:
    document = parse('\ufeffname: "net"\nlayer { name: "a" }\n# end\n')
    assert document.root.string("name") == "net"
    assert str(document.root) == 'name: "net"\nlayer { name: "a" }\n# end\n'


def test_every_character_has_its_place() -> None:
    field = parse("# lead\nname : 1 ; # trail\n# tail\n")
    only = field.fields[0]
    assert (only.lead, only.name, only.sep, str(only.value), only.trail, field.tail) == (
        "# lead\n",
        "name",
        " : ",
        "1",
        " ; # trail",
        "\n# tail\n",
    )


# ------------------------------------------------------------------------ positions, new text


@pytest.mark.parametrize(
    ("offset", "wanted"), [(0, (1, 1)), (3, (1, 4)), (4, (2, 1)), (6, (3, 1)), (GENERATED, (1, 1))]
)
def test_position(offset: int, wanted: tuple[int, int]) -> None:
    source = "abc\nd\ne"
    assert Document("net", source, ()).position(offset) == wanted


def test_error_points_at_its_line() -> None:
    error = parse("a: 1\r\nb: 2\r\n", "net.prototxt").error(6, "no b, please")
    assert str(error) == "net.prototxt:2:1: no b, please"
    assert error.source_line == "b: 2"


def test_error_of_a_generated_field_shows_no_line() -> None:
    error = parse("a: 1", "net.prototxt").error(GENERATED, "made up")
    assert (str(error), error.source_line) == ("net.prototxt:1:1: made up", "")


def test_new_fields_print_as_a_user_would_write_them() -> None:
    shape = block("shape", [scalar("dim", "1", "    "), scalar("dim", "3", "    ")], "  ")
    layer = block("layer", [scalar("name", quote("in"), "  "), shape], "")
    assert str(layer) == ('\nlayer {\n  name: "in"\n  shape {\n    dim: 1\n    dim: 3\n  }\n}')
    assert parse(str(layer)).fields[0].body.string("name") == "in"


def test_with_body_keeps_what_stands_around() -> None:
    field = parse("# of p\np: < a: 1 > # behind").fields[0]
    changed = field.with_body(Message((scalar("b", "2", " "),), open="<", close=" >"))
    assert str(changed) == "# of p\np: <\n b: 2 > # behind"
    assert str(field) == "# of p\np: < a: 1 > # behind"


def test_a_field_prints_its_parts() -> None:
    assert str(Field("a", Scalar("1"), lead=" ", sep=": ", trail=";")) == " a: 1;"
