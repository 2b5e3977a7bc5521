"""A lossless prototxt tree: query it, edit it, print it; what is not edited prints as it was read.

Every character of the source belongs to exactly one place of the tree, so printing is plain
concatenation:

    layer {                    Field.lead   whitespace and comments before the name
      name: "conv1"  # first   Field.sep    between name and value (``: ``, `` ``)
      pad: 1;                  Field.trail  separator and comment after the value, same line
    }                          Message.open / Message.close   the braces and what touches them

Values are immutable; an edit makes a new tree that shares all that did not change. Nothing here
looks at a schema: a bare word such as ``LMDB``, ``cls6x`` or ``${n}`` is kept unchanged written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, Union

from caffefold.errors import TextError
from caffefold.formats.schema import OURS, Schema
from caffefold.frozen import dataclass

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
        for field in reversed(self.fields):
            if field.name == name:
                items = field.value.items if isinstance(field.value, ListValue) else (field.value,)
                if items:
                    return items[-1]
        return None

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

    def with_fields(self, fields: Iterable[Field]) -> Field:
        """This field with other fields in its sub-message."""
        return replace(self, value=replace(self.body, fields=tuple(fields)))


@dataclass(frozen=True, slots=True)
class Document:
    """A whole prototxt. ``bom`` stands before the first field, ``tail`` after the last.

    ``schema`` is what its fields are to be read by, when they are read as values.
    """

    path: str
    source: str
    fields: tuple[Field, ...]
    tail: str = ""
    bom: str = ""
    schema: Schema = OURS

    def __str__(self) -> str:
        return self.bom + "".join(_pieces(self.root))

    def encode(self) -> bytes:
        """The text as bytes; bytes that were not UTF-8 come back as they were.

        Where every line of the source ends with CRLF, so do lines that were put in.
        """
        text = str(self)
        if self.crlf:
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        return text.encode("utf-8", "surrogateescape")

    @property
    def crlf(self) -> bool:
        """Whether every line of the source ends with CRLF."""
        return "\r\n" in self.source and self.source.count("\n") == self.source.count("\r\n")

    @property
    def root(self) -> Message:
        """The top level as a message, for queries."""
        return Message(self.fields, open="", close=self.tail)

    def position(self, offset: int) -> tuple[int, int]:
        """(line, column) of a source offset, both from 1; (1, 1) for a generated field."""
        if offset < 0:
            return 1, 1
        start = self.source.rfind("\n", 0, offset)
        if start < 0 and self.source.startswith("\ufeff"):
            start = 0  # a byte order mark is no column
        return self.source.count("\n", 0, offset) + 1, offset - start

    def error(self, offset: int, message: str) -> TextError:
        """A TextError that points at ``offset``, with the line it stands in."""
        line, column = self.position(offset)
        text = ""
        if offset >= 0:
            rest = self.source[offset - column + 1 :].split("\n", 1)[0]
            text = rest[: max(200, column + 80)].rstrip("\r")
        return TextError(message, path=self.path, line=line, column=column, source_line=text)


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
    before, bare = message.open, False
    for field in message.fields:
        yield _between(before, field.lead, bare=bare)
        yield from _field_pieces(field)
        before, value = field.trail, field.value
        bare = not before and isinstance(value, Scalar) and value.raw[-1:] not in ('"', "'")
    if message.close:
        yield _between(before, message.close)
        yield message.close


def _between(before: str, after: str, *, bare: bool = False) -> str:
    """What an edit may have taken from between two fields; ``""`` wherever there was no edit.

    A comment needs its line break, and a ``bare`` word something between it and the next name.
    """
    if "#" in before and not after.lstrip(" \t").startswith(("\n", "\r\n")):
        return "\n"
    return " " if bare and not after else ""


# ---------------------------------------------------------------------------------- strings

_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL
)
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_PART = re.compile(
    r'"([^"\\\n]*(?:\\.[^"\\\n]*)*)"|\'([^\'\\\n]*(?:\\.[^\'\\\n]*)*)\'|#[^\n]*', re.DOTALL
)


def unquote(raw: str) -> str:
    """The text a string token stands for; adjacent strings join; a bare word is itself.

    Escapes give bytes, as protobuf has it; bytes that are no UTF-8 come as lone surrogates, the way
    the file itself is decoded.
    """
    mark = raw[:1]
    if mark not in ("'", '"'):
        return raw
    if "\\" not in raw and raw.find(mark, 1) == len(raw) - 1:
        return raw[1:-1]
    inner = "".join((part[1] or part[2] or "") for part in _PART.finditer(raw))
    if "\\" not in inner:
        return inner
    found = bytearray()
    at = 0
    for escape in _ESCAPE.finditer(inner):
        found += inner[at : escape.start()].encode("utf-8", "surrogateescape")
        found += _unescape(escape)
        at = escape.end()
    found += inner[at:].encode("utf-8", "surrogateescape")
    return found.decode("utf-8", "surrogateescape")


def _unescape(match: re.Match[str]) -> bytes:
    hexa, octal, short, long, simple = match.groups()
    if hexa or octal:
        return bytes([(int(hexa, 16) if hexa else int(octal, 8)) & 0xFF])
    if short or long:
        code = int(short or long, 16)
        text = chr(code) if code < 0x110000 else match[0]
        return text.encode("utf-8", "surrogatepass")
    return _SIMPLE.get(simple, simple).encode("utf-8", "surrogateescape")


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
    gap = Gap()
    for field in fields:
        if unwanted(field):
            gap = gap.widened(field.lead)
        else:
            kept.append(replace(field, lead=gap.before(field.lead)) if gap else field)
            gap = Gap()
    if gap.saved and kept:
        kept[-1] = replace(kept[-1], trail=kept[-1].trail + gap.saved)
    return tuple(kept) if len(kept) < len(fields) else fields


class Gap(NamedTuple):
    """What fields that went leave behind: comments that were not theirs, and a line break."""

    saved: str = ""
    broken: str = ""

    def __bool__(self) -> bool:
        return bool(self.saved or self.broken)

    def widened(self, lead: str) -> Gap:
        """The gap when one more field goes, which stood after ``lead``."""
        return Gap(self.saved + detached(lead), self.broken or line_break(lead))

    def before(self, lead: str) -> str:
        """What to put in place of the ``lead`` of the next field that stays."""
        return self.saved + (lead if "\n" in lead else self.broken + lead)


def detached(lead: str) -> str:
    """The comments in ``lead`` that a blank line separates from what follows, else ``""``."""
    if "#" not in lead:
        return ""
    end = 0
    for match in re.finditer(r"#[^\r\n]*(?=\r?\n[ \t]*\r?\n)", lead):
        end = match.end()
    return lead[:end]


def set_scalar(message: Message, name: str, raw: str, after: str = "") -> Message:
    """``name: raw`` in place of its last value, else after the last field called ``after``."""
    fields = list(message.fields)
    for i in range(len(fields) - 1, -1, -1):
        if fields[i].name == name:
            fields[i] = _revalued(fields[i], raw)
            return replace(message, fields=tuple(fields))
    at = max((i + 1 for i, f in enumerate(fields) if f.name == after), default=len(fields))
    near = fields[at - 1] if at else fields[0] if fields else None
    return replace(message, fields=_inserted(fields, at, [Field(name, Scalar(raw))], near))


def set_strings(message: Message, name: str, values: tuple[str, ...]) -> Message:
    """The repeated string field ``name`` holding exactly ``values``; only what differs changes."""
    old = message.strings(name)
    if old == values:
        return message
    if not len(old) == len(values) == sum(f.name == name for f in message.fields):
        return set_values(message, name, tuple(map(quote, values)))
    raws = (v.raw for v in message.all(name) if isinstance(v, Scalar))
    triples = zip(raws, old, values, strict=True)
    kept = tuple(raw if before == after else quote(after) for raw, before, after in triples)
    return set_values(message, name, kept)


def set_values(message: Message, name: str, raws: tuple[str, ...]) -> Message:
    """The repeated field ``name`` with exactly these plain values; only what differs changes."""
    places = [i for i, f in enumerate(message.fields) if f.name == name]
    fields = list(message.fields)
    if len(places) == len(raws) and all(isinstance(fields[i].value, Scalar) for i in places):
        for i, raw in zip(places, raws, strict=True):
            if str(fields[i].value) != raw:
                fields[i] = _revalued(fields[i], raw)
        return replace(message, fields=tuple(fields))
    rest = list(drop(message.fields, lambda f: f.name == name))
    at = sum(f.name != name for f in fields[: places[0]]) if places else len(rest)
    new = [Field(name, Scalar(raw)) for raw in raws]
    near = fields[places[0]] if places else fields[-1] if fields else None
    return replace(message, fields=_inserted(rest, at, new, near))


def with_scalars(field: Field, change: Callable[[str], str]) -> Field:
    """``field`` with each plain value in it changed, those of lists and messages too, in order."""
    value = field.value
    if isinstance(value, Message):
        fields = tuple(with_scalars(inner, change) for inner in value.fields)
        same = fields == value.fields
        return field if same else field.with_body(replace(value, fields=fields))
    if isinstance(value, Scalar):
        raw = change(value.raw)
        return field if raw == value.raw else replace(field, value=Scalar(raw))
    raws = [change(str(item)) for item in value.items]
    if raws == [str(item) for item in value.items]:
        return field
    listed = ListValue(f"[{', '.join(raws)}]", tuple(map(Scalar, raws)))
    return replace(field, value=listed)


def _revalued(field: Field, raw: str) -> Field:
    """``field`` with another plain value; what stood there may have had no colon."""
    sep = field.sep if ":" in field.sep else ": "
    return replace(field, value=Scalar(raw), sep=sep)


def _inserted(
    fields: list[Field], at: int, new: list[Field], near: Field | None
) -> tuple[Field, ...]:
    """``new`` put in at ``at``, on lines of its own if ``near`` is, else after a space."""
    lead = (line_break(near.lead) if near is not None else "") or " "
    following = fields[at:]
    if new and following and not following[0].lead:
        following[0] = replace(following[0], lead=" ")
    return (*fields[:at], *(replace(field, lead=lead) for field in new), *following)


def line_break(lead: str) -> str:
    """The last line break of ``lead`` with the indentation after it, without comments."""
    start = lead.rfind("\n")
    if start < 0:
        return ""
    start -= lead[start - 1 : start] == "\r"
    return re.sub(r"#.*", "", lead[start:])
