"""Edits of the prototxt tree touch what is edited, and what they print means what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caffefold.formats.prototxt.parse import parse
from caffefold.formats.prototxt.tree import Message, detached, drop, set_scalar, set_strings
from tests.support.formats_text import Said, documents, said


def dropped(source: str, name: str) -> str:
    document = parse(source)
    return str(replace(document, fields=drop(document.fields, lambda f: f.name == name)))


def edited(source: str, edit: Callable[[Message], Message]) -> str:
    """``source`` with its first message edited."""
    document = parse(source)
    first, *others = document.fields
    return str(replace(document, fields=(first.with_body(edit(first.body)), *others)))


# ------------------------------------------------------------------------------------- drop


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("a: 1\nb: 2\nc: 3\n", "a: 1\nc: 3\n"),
        ("a: 1\nb: 2  # of b\nc: 3\n", "a: 1\nc: 3\n"),
        ("a: 1\n# of b\nb: 2\nc: 3\n", "a: 1\nc: 3\n"),
        ("a: 1\nb { x: 1 }\nb: 2;\nc: 3\n", "a: 1\nc: 3\n"),
        ("a: 1\n# part\n\nb: 2\nc: 3\n", "a: 1\n# part\nc: 3\n"),
        ("a: 1\n# part\n\n# of b\nb: 2\nc: 3\n", "a: 1\n# part\nc: 3\n"),
        ("a: 1\n# one\n\n# two\n \t\nb: 2\nc: 3\n", "a: 1\n# one\n\n# two\nc: 3\n"),
        ("a: 1\r\n# part\r\n\r\nb: 2\r\nc: 3\r\n", "a: 1\r\n# part\r\nc: 3\r\n"),
        ("# one\n\nb: 1\n# two\n\nb: 2\nc: 3\n", "# one\n# two\nc: 3\n"),
        ("a: 1\n# part\n\nb: 2\n", "a: 1\n# part\n"),
        ("a: 1 b: 2 c: 3", "a: 1 c: 3"),
        ("b: 2", ""),
        ("a: 1 # of a\nb: 2 c: 3\n", "a: 1 # of a\nc: 3\n"),
        ("# part\n\nb: 2 c: 3\n", "# part\nc: 3\n"),
    ],
)
def test_drop(source: str, wanted: str) -> None:
    assert dropped(source, "b").split() == wanted.split()
    # Line by line, but for the white space a dropped field may leave.
    lines = [line.strip(" \t\n") for line in dropped(source, "b").split("\n")]
    assert [line for line in lines if line] == [
        line.strip(" \t\n") for line in wanted.split("\n") if line.strip(" \t\n")
    ]


def test_drop_leaves_the_rest_byte_for_byte() -> None:
    source = "# head\n\na: 1 ;\n\tb: 2\n  # of c\n  c: [1,2] # behind\n"
    assert dropped(source, "b") == "# head\n\na: 1 ;\n  # of c\n  c: [1,2] # behind\n"


def test_dropping_the_last_field_keeps_the_closing_brace() -> None:
    source = "p { a: 1 # of a\n b: 2 }\nq: 3"
    printed = edited(source, lambda m: replace(m, fields=drop(m.fields, lambda f: f.name == "b")))
    assert [field.name for field in parse(printed).fields] == ["p", "q"]


def test_drop_keeps_the_line_ends_of_the_file() -> None:
    assert dropped("a: 1 # of a\r\nb: 2\r\nc: 3\r\n", "b") == "a: 1 # of a\r\nc: 3\r\n"


def test_dropping_nothing_gives_the_same_fields() -> None:
    fields = parse("a: 1\nb: 2").fields
    assert drop(fields, lambda _: False) is fields


def test_drop_does_not_change_its_input() -> None:
    document = parse("# part\n\na: 1\nb: 2\n")
    drop(document.fields, lambda f: f.name == "a")
    assert str(document) == "# part\n\na: 1\nb: 2\n"


@pytest.mark.parametrize(
    ("lead", "wanted"),
    [
        ("", ""),
        ("\n\n  ", ""),
        ("\n# of it\n", ""),
        ("\n# part\n\n", "\n# part"),
        ("\n# one\n\n# two\n\n# of it\n  ", "\n# one\n\n# two"),
        ("\n# part\n \t \n", "\n# part"),
        ("\r\n# part\r\n\r\n", "\r\n# part"),
    ],
)
def test_detached(lead: str, wanted: str) -> None:
    assert detached(lead) == wanted


# ------------------------------------------------------------------------------- set_scalar


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("p {\n  k: 1 # why\n  m: 2\n}", "p {\n  k: 9 # why\n  m: 2\n}"),
        ("p { k: 1; k:2; }", "p { k: 1; k:9; }"),
        ("p {\n  m: 2\n}\nq: 1\n", "p {\n  m: 2\n  k: 9\n}\nq: 1\n"),
        ("p {\r\n  m: 2\r\n}", "p {\r\n  m: 2\r\n  k: 9\r\n}"),
        ("p {\n  # of m\n  m: 2 # behind\n}", "p {\n  # of m\n  m: 2 # behind\n  k: 9\n}"),
        ("p { m: 2 }", "p { m: 2 k: 9 }"),
        ("p {}", "p { k: 9}"),
        ("p { k [1] }", "p { k: 9 }"),
        ("p { k [] }", "p { k: 9 }"),
        ("p: < >", "p: < k: 9 >"),
    ],
)
def test_set_scalar(source: str, wanted: str) -> None:
    printed = edited(source, lambda m: set_scalar(m, "k", "9"))
    assert printed.replace("\r", "") == wanted.replace("\r", "")
    assert parse(printed).fields[0].body.string("k") == "9"


def test_set_scalar_keeps_the_line_ends_of_the_file() -> None:
    printed = edited("p {\r\n  m: 2\r\n}", lambda m: set_scalar(m, "k", "9"))
    assert printed == "p {\r\n  m: 2\r\n  k: 9\r\n}"


def test_set_scalar_behind_a_field() -> None:
    source = "p {\n  m: 1\n  m: 2\n  n: 3\n}"
    wanted = "p {\n  m: 1\n  m: 2\n  k: 9\n  n: 3\n}"
    assert edited(source, lambda m: set_scalar(m, "k", "9", after="m")) == wanted


@pytest.mark.parametrize(
    "source", ["p { m: 2 # of m\n}", "p { # of p\n}", "p { m: 2 # of m\n n: 3 }"]
)
@pytest.mark.parametrize("after", ["", "m"])
def test_set_scalar_is_not_swallowed_by_a_comment(source: str, after: str) -> None:
    printed = edited(source, lambda m: set_scalar(m, "k", "9", after))
    assert parse(printed).fields[0].body.string("k") == "9"


# ------------------------------------------------------------------------------ set_strings


@pytest.mark.parametrize(
    ("source", "values", "wanted"),
    [
        ("l {\n  t: 'a' # of a\n  t: 'b'\n}", ["a", "c"], "l {\n  t: 'a' # of a\n  t: \"c\"\n}"),
        ("l { t: 'a'; t: 'b' }", ["b", "a"], 'l { t: "b"; t: "a" }'),
        ("l {\n  t: 'a'\n  u: 1\n}", ["x", "y"], 'l {\n  t: "x"\n  t: "y"\n  u: 1\n}'),
        ("l {\n  t: 'a'\n  t: 'b'\n  u: 1\n}", ["b"], 'l {\n  t: "b"\n  u: 1\n}'),
        ("l {\n  t: ['a', 'b']\n}", ["a", "c"], 'l {\n  t: "a"\n  t: "c"\n}'),
        ("l { t ['a'] }", ["x"], 'l { t: "x" }'),
        ("l { t ['a', 'b'] }", ["x"], 'l { t: "x" }'),
        ("l {\n  u: 1\n}", ["x"], 'l {\n  u: 1\n  t: "x"\n}'),
        ("l {\n  u: 1\n  t: 'a'\n}", [], "l {\n  u: 1\n}"),
    ],
)
def test_set_strings(source: str, values: list[str], wanted: str) -> None:
    assert edited(source, lambda m: set_strings(m, "t", tuple(values))) == wanted


def test_set_strings_leaves_equal_strings_as_they_are_spelled() -> None:
    source = 'l { t: [\'a\' , "b""c"] }'
    message = parse(source).fields[0].body
    assert set_strings(message, "t", ("a", "bc")) is message


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("l { t: 'a' # of a\n}", ("x", "y")),
        ("l { u: 1 # of u\n t: 'a' v: 2 }", ()),
        ("l { u: 1 # of u\n t: 'a' t: 'b' v: 2 }", ("x",)),
        ("l { u: 1 # of u\n}", ("x",)),
    ],
)
def test_set_strings_is_not_swallowed_by_a_comment(source: str, values: tuple[str, ...]) -> None:
    before = parse(source).fields[0].body
    after = parse(edited(source, lambda m: set_strings(m, "t", values))).fields[0].body
    assert after.strings("t") == values
    assert [after.string(n) for n in "uv"] == [before.string(n) for n in "uv"]


# -------------------------------------------------------------- whatever the document looks like


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), st.data())
def test_edits_of_any_document_print_what_they_made(
    generated: tuple[str, Said], data: st.DataObject
) -> None:
    text, wanted = generated
    document = parse(text)
    name = data.draw(st.sampled_from(["name", "num_output", "layer", "_x9", "A"]))
    rest = [pair for pair in wanted if pair[0] != name]
    edit = data.draw(st.sampled_from(["drop", "scalar", "strings"]))
    if edit == "drop":
        fields = drop(document.fields, lambda f: f.name == name)
    elif edit == "scalar":
        fields = set_scalar(Message(document.fields), name, "9").fields
    else:
        values = data.draw(st.lists(st.sampled_from(["a", "b", ""]), max_size=3))
        fields = set_strings(Message(document.fields), name, tuple(values)).fields
    printed = parse(str(replace(document, fields=fields)))
    assert said(printed.fields) == said(fields)
    assert [pair for pair in said(printed.fields) if pair[0] != name] == rest
