"""Every way a prototxt can be broken: the message, line:column, and the line that is shown."""

from __future__ import annotations

import pytest

from caffefold.errors import TextError
from caffefold.formats.prototxt import parse as text_parse
from caffefold.formats.prototxt.parse import MAX_DEPTH, MAX_ESCAPES, parse

# (what, text, line, column, words of the message, line shown)
BROKEN: list[tuple[str, str, int, int, str, str]] = [
    (
        "unclosed brace",
        "a: 1\nlayer {\n  b: 2\n",
        2,
        7,
        "'{' opened here is never closed",
        "layer {",
    ),
    ("unclosed inner", "p {\n q {\n}\n", 1, 3, "never closed", "p {"),
    ("unclosed angle", "p <\n a: 1", 1, 3, "'<' opened here is never closed", "p <"),
    ("stray brace", "p {\n}\n  }\n", 3, 3, "stray '}'; it closes nothing", "  }"),
    ("stray angle", "a: 1 >", 1, 6, "stray '>'; it closes nothing", "a: 1 >"),
    ("wrong closer", "p {\n a: 1\n>\n", 3, 1, "stray '>'; expected '}'", ">"),
    ("wrong angle closer", "p < a: 1 }", 1, 10, "stray '}'; expected '>'", "p < a: 1 }"),
    ("no value before a brace", "p {\n  pad:\n}", 2, 3, "'pad' has no value", "  pad:"),
    ("no value before a field", "p {\n  pad:\n  k: 3\n}", 2, 3, "'pad' has no value", "  pad:"),
    ("no value, comment", "pad: # how much?\nk: 3", 1, 1, "'pad' has no value", "pad: # how much?"),
    ("no value before a message", "pad:\np { k: 3 }", 1, 1, "'pad' has no value", "pad:"),
    ("no value before a spaced colon", "pad:\nk : 3", 1, 1, "'pad' has no value", "pad:"),
    ("no value before a list", "pad:\nk: [3]", 1, 1, "'pad' has no value", "pad:"),
    ("no value before a separator", "pad: ;", 1, 6, "'pad' has no readable value", "pad: ;"),
    ("no value at the end", "a: 1\n pad:", 2, 2, "the file ends after 'pad'", " pad:"),
    ("a name alone", "a: 1\npad\n", 2, 1, "the file ends after 'pad'", "pad"),
    ("no colon", "p {\n  pad 1\n}", 2, 7, "':' is missing between 'pad' and 1", "  pad 1"),
    ("no colon, string", "name 'a'", 1, 6, "':' is missing between 'name' and 'a'", "name 'a'"),
    ("open string", 'a: 1\nname: "conv\n', 2, 7, "'name' is not closed on its line", 'name: "conv'),
    ("open single", "name: 'conv\"", 1, 7, "'name' is not closed on its line", "name: 'conv\""),
    ("escaped end", 'name: "a\\"', 1, 7, "'name' is not closed on its line", 'name: "a\\"'),
    ("conflict", "a: 1\n<<<<<<< HEAD\nb: 2\n", 2, 1, "git conflict marker", "<<<<<<< HEAD"),
    ("conflict inside", "p {\n<<<<<<< ours\n}", 2, 1, "git conflict marker", "<<<<<<< ours"),
    ("conflict middle", "a: 1\n=======\nb: 2\n", 2, 1, "git conflict marker", "======="),
    ("conflict CRLF", "a: 1\r\n=======\r\n", 2, 1, "git conflict marker", "======="),
    ("conflict base", "||||||| 1a2b\n", 1, 1, "git conflict marker", "||||||| 1a2b"),
    ("conflict end", "p {\n>>>>>>> x\n}", 2, 1, "git conflict marker", ">>>>>>> x"),
    ("no field name", "a: 1\n  = 2\n", 2, 3, "expected a field name, found '='", "  = 2"),
    ("number as name", "p { 3: 1 }", 1, 5, "expected a field name, found '3:'", "p { 3: 1 }"),
    (
        "decimal comma",
        "p { a: 0,45 }",
        1,
        10,
        "a decimal comma; write 0.45, with a point",
        "p { a: 0,45 }",
    ),
    ("its sign", "a: -1,5e2\n", 1, 7, "a decimal comma; write -1.5e2, with a point", "a: -1,5e2"),
    ("a comma behind a word", "a: MAX,5\n", 1, 8, "expected a field name, found '5'", "a: MAX,5"),
    ("two values", "a: 1 2", 1, 6, "expected a field name, found '2'", "a: 1 2"),
    ("wide space", "a: 1\n\u3000", 2, 1, "expected a field name, found '\\u3000'", "\u3000"),
    ("wide space inside", "p {\n\u3000}", 2, 1, "found '\\u3000", "\u3000}"),
    ("no-break space", "p {\n\xa0 a: 1\n}", 2, 1, "found '\\xa0", "\xa0 a: 1"),
    ("NUL", "a: \x00", 1, 4, "unexpected '\\x00'", "a: \x00"),
    ("open placeholder", "a: ${n", 1, 4, "'a' has no readable value: unexpected '$'", "a: ${n"),
    ("open Jinja", "a: {{ n }", 1, 4, "'a' has no readable value: unexpected '{'", "a: {{ n }"),
    ("open list", "a: [1, 2\n", 2, 1, "expected ',' or ']' in this list", ""),
    ("list without comma", "a: [1 2]", 1, 7, "expected ',' or ']' in this list", "a: [1 2]"),
    ("list ends in comma", "a: [1, ]", 1, 8, "expected a value in this list", "a: [1, ]"),
    ("list in a list", "a: [[1]]", 1, 5, "expected a value in this list", "a: [[1]]"),
    ("open string in a list", "a: ['x]", 1, 5, "expected a value in this list", "a: ['x]"),
    ("CRLF line", "a: 1\r\n  pad 1\r\n", 2, 7, "':' is missing", "  pad 1"),
    ("tab counts one", "\t\tpad 1", 1, 7, "':' is missing", "\t\tpad 1"),
    ("behind a byte order mark", "\ufeffpad 1", 1, 5, "':' is missing", "pad 1"),
    (
        "non-ASCII counts one",
        'p { n: "größe" pad 1',
        1,
        20,
        "':' is missing",
        'p { n: "größe" pad 1',
    ),
]


@pytest.mark.parametrize(
    ("text", "line", "column", "words", "shown"),
    [b[1:] for b in BROKEN],
    ids=[b[0] for b in BROKEN],
)
def test_refused(text: str, line: int, column: int, words: str, shown: str) -> None:
    with pytest.raises(TextError) as caught:
        parse(text, "net.prototxt")
    error = caught.value
    assert (error.line, error.column) == (line, column)
    assert words in str(error)
    assert error.source_line == shown
    assert str(error).startswith(f"net.prototxt:{line}:{column}: ")
    assert "\n" not in str(error)
    assert (error.path, error.exit_code) == ("net.prototxt", 3)


def test_a_long_line_is_shown_shortened() -> None:
    with pytest.raises(TextError) as caught:
        parse("a b " + "x" * 10_000)
    assert caught.value.source_line == "a b " + "x" * 196


@pytest.mark.parametrize("opener", ["a {", "a <", "a: [{", "a: [<"])
def test_too_deep_nesting(opener: str) -> None:
    with pytest.raises(TextError, match=f"deeper than {MAX_DEPTH} levels") as caught:
        parse(opener * 5000)
    assert caught.value.line == 1
    assert caught.value.column == len(opener) * (MAX_DEPTH + 1)


@pytest.mark.parametrize(
    "text",
    [
        "#\n" * 100_000 + "}",
        " " * 200_000 + "}",
        'a: "' + "x" * 200_000,
        'a: "x"' + " 'y'" * 50_000 + " '",
        "a: " + "$a" * 50_000 + "${",
        "a: " + "@a" * 50_001,
        "a: [" + "1," * 50_000,
        "a: " + "-" * 100_000 + "\n}",
    ],
    ids=lambda text: repr(text[:8]),
)
def test_long_garbage_is_refused_at_once(text: str) -> None:
    """None of these may take quadratic time; the whole suite has seconds."""
    with pytest.raises(TextError):
        parse(text)


def test_a_message_is_one_line() -> None:
    with pytest.raises(TextError) as caught:
        parse('a "x"\n"y"')
    assert str(caught.value) == "<text>:1:3: ':' is missing between 'a' and \"x\"\\n\"y\""


def test_a_string_of_too_many_escapes() -> None:
    text = 'a: "' + r"\n" * MAX_ESCAPES
    assert str(parse(text + '"')) == text + '"'
    with pytest.raises(TextError, match=f"'a' holds more than {MAX_ESCAPES} escapes"):
        parse(text + r"\n" + '"')


@pytest.mark.parametrize(
    ("unit", "values"), [("a:1 ", 1), ("a{} ", 1), ("a<b:1> ", 2), ("a:[1] ", 2), ("a:[1,{}]", 3)]
)
def test_more_values_than_any_net_has(
    unit: str, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_parse, "MAX_VALUES", 100)
    fits = 100 // values
    assert len(parse(unit * fits).fields) == fits
    with pytest.raises(TextError, match="more than 100 values in one file") as caught:
        parse(unit * (fits + 1))
    assert caught.value.column > len(unit) * fits
