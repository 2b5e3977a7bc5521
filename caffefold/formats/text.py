"""A lossless prototxt tree: query it, edit it, print it; what is not edited prints as it was read.

Every character of the source belongs to exactly one place of the tree, so printing is plain
concatenation:

    layer {                    Field.lead   whitespace and comments before the name
      name: "conv1"  # first   Field.sep    between name and value (``: ``, `` ``)
      pad: 1;                  Field.trail  separator and comment behind the value, same line
    }                          Message.open / Message.close   the braces and what touches them

Values are immutable; an edit makes a new tree that shares all that did not change. Nothing here
knows a schema: a bare word such as ``LMDB``, ``cls6x`` or ``${n}`` is kept as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Union

from caffefold.errors import TextError

GENERATED = -1  # offset of fields that no source holds


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as written: ``64``, ``.7``, ``"data"``, ``"two " "parts"``, ``cls6x``."""

    raw: str

    def __str__(self) -> str:
        return self.raw


@dataclass(frozen=True, slots=True)
class ListValue:
    """``[a, b]``, the short form of a repeated field; ``raw`` prints, ``items`` are read."""

    raw: str
    items: tuple[Scalar | Message, ...]

    def __str__(self) -> str:
        return self.raw


@dataclass(frozen=True, slots=True)
class Message:
    """``{ field... }``; ``open`` and ``close`` are the braces with the comments that touch them."""

    fields: tuple[Field, ...]
    open: str = "{"
    close: str = "\n}"

    def __str__(self) -> str:
        return "".join(_pieces(self))

    def all(self, name: str) -> Iterator[Scalar | Message]:
        """Every value of ``name`` in order, short-form lists taken apart."""
        for field in self.fields:
            if field.name == name:
                if isinstance(field.value, ListValue):
                    yield from field.value.items
                else:
                    yield field.value

    def last(self, name: str) -> Scalar | Message | None:
        """The value that counts for a singular field: the last one written."""
        values = list(self.all(name))
        return values[-1] if values else None

    def message(self, name: str) -> Message | None:
        """The last sub-message called ``name``."""
        found = self.last(name)
        return found if isinstance(found, Message) else None

    def string(self, name: str, default: str = "") -> str:
        """The last string called ``name``, unquoted; ``default`` when it is not there."""
        found = self.last(name)
        return unquote(found.raw) if isinstance(found, Scalar) else default

    def strings(self, name: str) -> tuple[str, ...]:
        """Every string called ``name``, unquoted, in order."""
        return tuple(unquote(v.raw) for v in self.all(name) if isinstance(v, Scalar))


Value = Union[Scalar, ListValue, Message]  # noqa: UP007 - a runtime alias on Python 3.10


@dataclass(frozen=True, slots=True)
class Field:
    """One ``name: value``; ``offset`` is the character where the name stands in the source."""

    name: str
    value: Value
    lead: str = "\n"
    sep: str = ": "
    trail: str = ""
    offset: int = GENERATED

    def __str__(self) -> str:
        return "".join(_field_pieces(self))

    @property
    def body(self) -> Message:
        """The sub-message; an empty one when the value is not a message."""
        return self.value if isinstance(self.value, Message) else Message(())

    def with_body(self, body: Message) -> Field:
        """This field with another sub-message."""
        return replace(self, value=body)


@dataclass(frozen=True, slots=True)
class Document:
    """A whole prototxt. ``bom`` and ``tail`` are what stands before and behind the last field."""

    path: str
    source: str
    fields: tuple[Field, ...]
    tail: str = ""
    bom: str = ""

    def __str__(self) -> str:
        return "".join([self.bom, *(str(f) for f in self.fields), self.tail])

    def encode(self) -> bytes:
        """The text as bytes; bytes that were not UTF-8 come back as they were."""
        return str(self).encode("utf-8", "surrogateescape")

    @property
    def root(self) -> Message:
        """The top level as a message, for queries."""
        return Message(self.fields, open="", close=self.tail)

    def position(self, offset: int) -> tuple[int, int]:
        """(line, column) of a source offset, both from 1; (1, 1) for a generated field."""
        return position(self.source, offset)

    def error(self, offset: int, message: str) -> TextError:
        """A TextError that points at ``offset``."""
        return text_error(self.path, self.source, offset, message)


def position(source: str, offset: int) -> tuple[int, int]:
    """(line, column) of ``offset`` in ``source``, both counted from 1."""
    if offset < 0:
        return 1, 1
    return source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset)


def text_error(path: str, source: str, offset: int, message: str) -> TextError:
    """A TextError at ``offset``, with the line it stands in."""
    line, column = position(source, offset)
    start = offset - column + 1 if offset >= 0 else 0
    text = source[start:].split("\n", 1)[0][:200].rstrip("\r") if offset >= 0 else ""
    return TextError(message, path=path, line=line, column=column, source_line=text)


def _field_pieces(field: Field) -> Iterator[str]:
    yield field.lead
    yield field.name
    yield field.sep
    if isinstance(field.value, Message):
        yield from _pieces(field.value)
    else:
        yield field.value.raw
    yield field.trail


def _pieces(message: Message) -> Iterator[str]:
    yield message.open
    for field in message.fields:
        yield from _field_pieces(field)
    yield message.close


# ---------------------------------------------------------------------------------- strings

_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL
)
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'', re.DOTALL)


def unquote(raw: str) -> str:
    """The text a string token stands for; adjacent strings join; a bare word is itself."""
    mark = raw[:1]
    if mark not in ("'", '"'):
        return raw
    if "\\" not in raw and raw.find(mark, 1) == len(raw) - 1:
        return raw[1:-1]
    inner = "".join(a or b for a, b in _STRING.findall(raw))
    return _ESCAPE.sub(_unescape, inner) if "\\" in inner else inner


def _unescape(match: re.Match[str]) -> str:
    hexa, octal, short, long, simple = match.groups()
    if hexa or short or long:
        return chr(int(hexa or short or long, 16))
    if octal:
        return chr(int(octal, 8))
    return _SIMPLE.get(simple, simple)


def quote(text: str) -> str:
    """``text`` as a double-quoted token."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


# ------------------------------------------------------------------------------------ edits


def scalar(name: str, raw: str, indent: str) -> Field:
    """A new ``name: raw`` on a line of its own."""
    return Field(name, Scalar(raw), lead="\n" + indent)


def block(name: str, fields: Iterable[Field], indent: str) -> Field:
    """A new ``name { ... }`` whose closing brace stands at ``indent``."""
    return Field(name, Message(tuple(fields), close=f"\n{indent}}}"), lead="\n" + indent, sep=" ")


def drop(fields: tuple[Field, ...], unwanted: Callable[[Field], bool]) -> tuple[Field, ...]:
    """The fields that are wanted. Comments a blank line keeps apart from a dropped field stay."""
    kept: list[Field] = []
    saved = ""
    for field in fields:
        if unwanted(field):
            saved += detached(field.lead)
            continue
        kept.append(replace(field, lead=saved + field.lead) if saved else field)
        saved = ""
    return tuple(kept) if len(kept) < len(fields) else fields


def detached(lead: str) -> str:
    """The comments in ``lead`` that a blank line separates from what follows, else ``""``."""
    if "#" not in lead:
        return ""
    end = 0
    for match in re.finditer(r"#[^\n]*(?=\r?\n[ \t]*\r?\n)", lead):
        end = match.end()
    return lead[:end]


def set_scalar(message: Message, name: str, raw: str, after: str = "") -> Message:
    """``name: raw`` in place of its last value, else behind the last field called ``after``."""
    fields = list(message.fields)
    for i in range(len(fields) - 1, -1, -1):
        if fields[i].name == name:
            fields[i] = replace(fields[i], value=Scalar(raw))
            return replace(message, fields=tuple(fields))
    at = max((i + 1 for i, f in enumerate(fields) if f.name == after), default=len(fields))
    sibling = fields[at - 1].lead if fields else " "
    lead = sibling[sibling.rfind("\n") :] if "\n" in sibling else " "
    fields.insert(at, Field(name, Scalar(raw), lead=re.sub(r"#.*", "", lead) or " "))
    return replace(message, fields=tuple(fields))


def set_strings(message: Message, name: str, values: tuple[str, ...]) -> Message:
    """The repeated string field ``name`` holding exactly ``values``; only what differs changes."""
    old = message.strings(name)
    if old == values:
        return message
    places = [i for i, f in enumerate(message.fields) if f.name == name]
    if len(old) == len(values) == len(places):
        fields = list(message.fields)
        for i, before, after in zip(places, old, values, strict=True):
            if before != after:
                fields[i] = replace(fields[i], value=Scalar(quote(after)))
        return replace(message, fields=tuple(fields))
    fields = [f for f in message.fields if f.name != name]
    first = places[0] if places else len(fields)
    template = message.fields[places[0]] if places else scalar(name, "", "  ")
    fields[first:first] = [replace(template, value=Scalar(quote(v))) for v in values]
    return replace(message, fields=tuple(fields))
