"""Prototxts generated in every dialect, together with what they say."""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import strategies as st

from caffefold.formats.prototxt.tree import Field, ListValue, Message, Scalar, unquote

Said: TypeAlias = list[tuple[str, Any]]

_SPACES = st.sampled_from(["", " ", "\t", "  ", "\n", "\r\n", "\n\n  "])
_COMMENTS = st.sampled_from(["# plain\n", "#\r\n", '# {<["it\'s: "1"\n', "# größe ; }\n\n"])
_TRIVIA = st.lists(st.one_of(_SPACES, _COMMENTS), max_size=3).map("".join)
_APART = _TRIVIA.map(lambda trivia: " " + trivia)
_ENDS = st.sampled_from(["", ";", ",", " ;", "  # behind", "; # behind"])
_NAMES = st.sampled_from(["name", "num_output", "layer", "_x9", "[fork.field]", "A"])
_NUMBERS = ["64", "-1", "- 1", ".7", "0.", "1e-05", "0x1F", "inf"]
_WORDS = ["true", "False", "MAX", "größe", "cls6x", "3cls", "${n}", "@NET@", "{{ n }}", "a${n}b"]
_BARE = st.sampled_from([*_NUMBERS, *_WORDS, "$n"])
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def _strings(draw: st.DrawFn) -> tuple[str, str]:
    """(token of one or several adjacent strings, the text it stands for)."""
    texts = draw(st.lists(_TEXTS, min_size=1, max_size=3))
    token = ""
    for i, text in enumerate(texts):
        mark = draw(st.sampled_from("\"'"))
        inner = text.replace("\\", r"\\").replace("\n", r"\n").replace(mark, "\\" + mark)
        token += (draw(_TRIVIA) if i else "") + mark + inner + mark
    return token, "".join(texts)


@st.composite
def _scalars(draw: st.DrawFn) -> tuple[str, str]:
    if draw(st.booleans()):
        return draw(_strings())
    bare = draw(_BARE)
    return bare, bare


@st.composite
def _lists(draw: st.DrawFn, depth: int) -> tuple[str, list[Any]]:
    items = draw(st.lists(_scalars() if depth else _messages(1), max_size=3))
    inner = ",".join(draw(_TRIVIA) + token + draw(_TRIVIA) for token, _ in items)
    return f"[{inner}]", [said for _, said in items]


@st.composite
def _messages(draw: st.DrawFn, depth: int) -> tuple[str, Said]:
    text, said = draw(_fields(depth + 1))
    left, right = draw(st.sampled_from([("{", "}"), ("<", ">")]))
    return f"{left}{text}{draw(_TRIVIA)}{right}", said


@st.composite
def _fields(draw: st.DrawFn, depth: int) -> tuple[str, Said]:
    parts: list[str] = []
    said: Said = []
    for _ in range(draw(st.integers(0, 4))):
        name = draw(_NAMES)
        kind = draw(st.integers(0, 3 if depth < 3 else 2))
        token: str
        value: Any
        if kind <= 1:
            token, value = draw(_scalars())
        else:
            token, value = draw(_lists(depth) if kind == 2 else _messages(depth))
        colon = draw(_TRIVIA) + (":" if kind <= 1 or draw(st.booleans()) else "")
        end = draw(_ENDS)
        follow = "\n" if "#" in end else ""
        parts += [draw(_APART), name, colon, draw(_TRIVIA), token, end, follow]
        said.append((name, value))
    return "".join(parts), said


def documents() -> st.SearchStrategy[tuple[str, Said]]:
    """Prototxts, each with what it says: (name, text | list | fields)."""
    bom = st.sampled_from(["", "\ufeff"])
    made = st.tuples(bom, _fields(0), _TRIVIA)
    return made.map(lambda drawn: (drawn[0] + drawn[1][0] + drawn[2], drawn[1][1]))


def said(fields: tuple[Field, ...]) -> Said:
    """What parsed fields say, in the terms of ``documents``."""
    return [(field.name, _value_said(field.value)) for field in fields]


def _value_said(value: Scalar | ListValue | Message) -> Any:
    if isinstance(value, Scalar):
        return unquote(value.raw)
    if isinstance(value, ListValue):
        return [_value_said(item) for item in value.items]
    return said(value.fields)
