"""Prototxt text -> Document. Takes every dialect Caffe users write; refuses with line and column.

Accepted beyond plain protobuf text: a UTF-8 byte order mark, CRLF, ``field: {``, ``< >`` messages,
``;`` and ``,`` separators, ``[a, b]`` lists, single quotes, adjacent strings, and the placeholders
of templates (``cls6x``, ``${n}``, ``@N@``, ``{{n}}``) wherever a value may stand.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from caffefold.errors import TextError
from caffefold.formats import detect
from caffefold.formats.prototxt.tree import (
    Document,
    Field,
    ListValue,
    Message,
    Scalar,
    Value,
)

MAX_DEPTH = 100  # protobuf's own default limit for nested messages
NOT_OPENED = -1  # the top level has no opening brace
MAX_VALUES = 200_000  # in one file; the largest of 247 real ones has 21,074. Each takes memory
MAX_ESCAPES = 1_000  # in one string

# A pattern that repeats a group remembers each round (some 250 bytes): repeated groups are bounded,
# and single characters are repeated without one.
_SPACE = r"[ \t\r\n\f\v]*"
_COMMENT = rf"#[^\n]*(?:\n{_SPACE}|\Z)"
_TRIVIA = rf"{_SPACE}(?:{_COMMENT}){{0,1000}}"
_PLACEHOLDER = r"\$\{[^{}\n]*\}|\$\w+|@\w+@|\{\{[^{}\n]*\}\}"
_WORD = r"[-+.\w]"
_BARE = rf"(?:-{_SPACE})?(?:{_WORD}|{_PLACEHOLDER}){_WORD}*(?:(?:{_PLACEHOLDER}){_WORD}*){{0,1000}}"
_QUOTED = "|".join(rf"{q}[^{q}\\\n]*(?:\\[^\n][^{q}\\\n]*){{0,{MAX_ESCAPES}}}{q}" for q in "\"'")
_STRINGS = rf"(?:{_QUOTED})(?:{_SPACE}(?:{_COMMENT}){{0,500}}(?:{_QUOTED})){{0,400}}"
_REMARK = r"(?:[ \t]*#[^\n]*(?:(?<!\r)|(?!\n)))?"  # the \r of \r\n is no part of it
_TRAIL = rf"(?:[ \t\r\n]*[;,])?{_REMARK}"
_NAME = r"[A-Za-z_]\w*|\[[\w./\- ]*\]"

# One match reads the trivia, the name, the separator and, for nearly every field, the value.
_FIELD = re.compile(
    rf"({_TRIVIA})({_NAME})({_TRIVIA}:?{_TRIVIA})"
    rf"(?:({_STRINGS}|{_BARE})({_TRAIL})|([{{<](?!\{{)){_REMARK}|(\[))?"
)
_SKIP = re.compile(_TRIVIA)
_END = re.compile(_TRAIL)
_ITEM = re.compile(rf"{_STRINGS}|{_BARE}")
_FOLLOWS_A_NAME = (":", "{", "<")
_CLOSER = {"{": "}", "<": ">"}
_CONFLICT = re.compile(r"^(<{7}|={7}|>{7}|\|{7})(?: |\r?$)", re.MULTILINE)


def read(path: str | Path) -> Document:
    """Read and parse a prototxt file as it stands; ``open.read_net`` reads the net it stands for.

    The path ``-`` is standard input.

    Raises:
        TextError: the text is not a prototxt; line, column and the line itself are given.
        InputError: the file cannot be read, or is something else, which is named.
    """
    return parse(detect.read_prototxt(path), detect.shown(path))


def read_if_text(path: str | Path, role: str = "file") -> Document | None:
    """Read and parse a file that may be a prototxt; None when it is not text.

    Raises:
        TextError, InputError: as ``read``; ``role`` is what the file is called in errors.
    """
    data = detect.read_text(path, role)
    return None if data is None else parse(data, detect.shown(path))


def parse(data: bytes | str, path: str = "<text>") -> Document:
    """Parse prototxt text; ``str(parse(t)) == t`` for every text that parses.

    Raises:
        TextError: the text is not a prototxt.
    """
    source = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    bom = "\ufeff" if source.startswith("\ufeff") else ""
    empty = Document(path, source, (), bom=bom)
    fields, end = _Parser(empty).fields(len(bom), NOT_OPENED, 0)
    return replace(empty, fields=fields, tail=source[end:])


class _Parser:
    """Recursive descent over one text; every method takes and returns offsets."""

    def __init__(self, document: Document) -> None:
        self.source = document.source
        self.error = document.error
        self._left = MAX_VALUES
        # Names, layout and values come again and again: one object for each that differs.
        self._words: dict[str, str] = {}
        self.scalar = cache(Scalar)

    def fields(self, at: int, opened: int, depth: int) -> tuple[tuple[Field, ...], int]:
        """Fields from ``at`` to what closes the brace at ``opened``, and where they end."""
        match_field = _FIELD.match
        source = self.source
        one = self._words.setdefault
        found: list[Field] = []
        while True:
            match = match_field(source, at)
            if match is None:
                stop = self.skip(at)
                match = match_field(source, stop)  # behind more comments than the pattern takes
                if match is None:
                    break
            lead, name, sep, raw, trail, brace, bracket = match.groups()
            if match.start() > at:
                lead = source[at : match.start(2)]
            value: Value
            if raw is not None:
                if ":" not in sep:
                    raise self.error(match.start(4), f"':' is missing between '{name}' and {raw}")
                value, at = self.scalar(raw), match.end()
                if "\n" in sep and source.startswith(_FOLLOWS_A_NAME, self.skip(at)):
                    raise self.error(match.start(2), f"'{name}' has no value")
            elif brace is not None or bracket is not None:
                if brace is not None:
                    value, at = self.message(match.start(6), match.end(), depth + 1)
                else:
                    value, at = self.list(match.start(7), depth + 1)
                ending = _END.match(source, at)
                assert ending is not None  # every part of the pattern is optional
                trail, at = ending[0], ending.end()
            else:
                raise self.no_value(match, name)
            offset = match.start(2)
            found.append(
                Field(one(name, name), value, one(lead, lead), one(sep, sep), trail, offset)
            )
            self._left -= 1
            if self._left < 0:
                raise self.too_many(offset)
        closer = _CLOSER[source[opened]] if opened >= 0 else ""
        if source[stop : stop + 1] != closer:
            raise self.stray(stop, closer, opened)
        return tuple(found), at

    def message(self, opened: int, inside: int, depth: int) -> tuple[Message, int]:
        """The message whose brace stands at ``opened``; the offset after its closing brace."""
        if depth > MAX_DEPTH:
            raise self.error(opened, f"messages are nested deeper than {MAX_DEPTH} levels")
        fields, trivia = self.fields(inside, opened, depth)
        end = self.skip(trivia) + 1
        start, close = self.source[opened:inside], self.source[trivia:end]
        one = self._words.setdefault
        return Message(fields, one(start, start), one(close, close)), end

    def too_many(self, offset: int) -> TextError:
        return self.error(offset, f"more than {MAX_VALUES} values in one file; no net has so many")

    def skip(self, at: int) -> int:
        """Where the white space and comments from ``at`` end."""
        while match := _SKIP.match(self.source, at):  # always: past up to 1000 comments
            at = match.end()
            if not self.source.startswith("#", at):
                break
        return at

    def list(self, opened: int, depth: int) -> tuple[ListValue, int]:
        """The ``[...]`` at ``opened``; the offset after it."""
        source = self.source
        items: list[Scalar | Message] = []
        at = self.skip(opened + 1)
        while source[at : at + 1] != "]":
            if items:
                if source[at : at + 1] != ",":
                    raise self.error(at, "expected ',' or ']' in this list")
                at = self.skip(at + 1)
            if source[at : at + 1] in _CLOSER and not source.startswith("{{", at):
                message, at = self.message(at, at + 1, depth)
                items.append(message)
            elif item := _ITEM.match(source, at):
                items.append(self.scalar(item[0]))
                at = item.end()
            else:
                raise self.error(at, "expected a value in this list")
            self._left -= 1
            if self._left < 0:
                raise self.too_many(at)
            at = self.skip(at)
        return ListValue(source[opened : at + 1], tuple(items)), at + 1

    # ------------------------------------------------------------------------------ errors

    def no_value(self, match: re.Match[str], name: str) -> TextError:
        at = match.end()
        char = self.source[at : at + 1]
        if char in ("'", '"'):
            line = self.source[at:].split("\n", 1)[0]
            if line.count("\\") > MAX_ESCAPES:
                return self.error(
                    at, f"the string of '{name}' holds more than {MAX_ESCAPES} escapes"
                )
            return self.error(at, f"the string of '{name}' is not closed on its line")
        if not char:
            return self.error(match.start(2), f"the file ends after '{name}'; its value is missing")
        if char in "}>" or "\n" in match[3]:
            return self.error(match.start(2), f"'{name}' has no value")
        return self.error(at, f"'{name}' has no readable value: unexpected {char!r}")

    def stray(self, at: int, closer: str, opened: int) -> TextError:
        char = self.source[at : at + 1]
        if _CONFLICT.match(self.source, at):
            return self.error(at, "git conflict marker; resolve the conflict, then try again")
        if not char:
            return self.error(opened, f"{self.source[opened]!r} opened here is never closed")
        if char in "}>":
            wanted = f"expected {closer!r}" if closer else "it closes nothing"
            return self.error(at, f"stray {char!r}; {wanted}")
        word = re.split(r"[ \t\r\n]", self.source[at : at + 20])[0]
        whole = re.search(r"[-+\d]*\d,$", self.source[max(0, at - 20) : at])
        rest = re.match(r"\d+(?:[eE][-+]?\d+)?", word)
        if whole and rest:
            point = f"{whole[0][:-1]}.{rest[0]}"
            return self.error(at, f"a decimal comma; write {point}, with a point")
        return self.error(at, f"expected a field name, found {word!r}")
