"""A typed view of the text: values converted by the schema, Caffe's defaults filled in.

Fields the schema does not know stay in the text and are never looked at. A field written twice
counts as its last value, as forks that made a field repeated expect.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from caffefold.errors import Text, TextError
from caffefold.formats.prototxt.tree import Document, ListValue, Message, Scalar, unquote
from caffefold.ir import placeholder

if TYPE_CHECKING:
    from caffefold.formats.schema import EnumType, FieldType, MessageType

_NUMBERS = ("an integer", "a number")
# FieldDescriptor.cpp_type: int32, int64, uint32, uint64.
_RANGES = {
    1: (-(2**31), 2**31 - 1),
    2: (-(2**63), 2**63 - 1),
    3: (0, 2**32 - 1),
    4: (0, 2**64 - 1),
}
TRUE = frozenset({"true", "True", "t", "1", "TRUE"})
FALSE = frozenset({"false", "False", "f", "0", "FALSE"})


class Params(NamedTuple):
    """One parameter message of one layer; an absent message reads as all defaults."""

    document: Document
    message: Message
    descriptor: MessageType
    owner: str
    """How errors call it: ``layer 'conv1'``."""

    def has(self, name: str) -> bool:
        """Whether the text sets ``name``."""
        return any(True for _ in self.message.all(name))

    def integer(self, name: str) -> int:
        """The integer field ``name``, or its default."""
        return self.integers(name)[-1] if self.has(name) else int(self._field(name).default_value)

    def number(self, name: str) -> float:
        """The float field ``name``, or its default."""
        return self.numbers(name)[-1] if self.has(name) else float(self._field(name).default_value)

    def flag(self, name: str) -> bool:
        """The bool field ``name``, or its default."""
        result = bool(self._field(name).default_value)
        for offset, raw in self._scalars(name):
            if raw not in TRUE and raw not in FALSE:
                raise self._error(offset, name, raw, "true or false")
            result = raw in TRUE
        return result

    def enum(self, name: str) -> str:
        """The name of the enum field's value, whether it was written as name, string or number."""
        found = self.enums(name)
        return found[-1] if found else self.word(name)

    def enums(self, name: str) -> tuple[str, ...]:
        """All values of an enum field, by name."""
        values = self._field(name).enum_type
        assert values is not None, name
        found = [(offset, raw, self._named(values, raw)) for offset, raw in self._scalars(name)]
        for offset, raw, value in found:
            if value not in values.values_by_name:
                raise self._error(offset, name, raw, "one of " + ", ".join(values.values_by_name))
        return tuple(value for *_, value in found)

    def word(self, name: str) -> str:
        """``enum``, but a value that the schema does not have (a fork's) as it is written."""
        values = self._field(name).enum_type
        assert values is not None, name
        result = str(values.values_by_number[int(self._field(name).default_value)].name)
        for _, raw in self._scalars(name):
            result = self._named(values, raw)
        return result

    @staticmethod
    def _named(values: EnumType, raw: str) -> str:
        word = unquote(raw)
        number = parse_int(word)
        found = None if number is None else values.values_by_number.get(number)
        return word if found is None else str(found.name)

    def string(self, name: str) -> str:
        """The string field ``name``, or its default."""
        return self.message.string(name, str(self._field(name).default_value or ""))

    def integers(self, name: str) -> tuple[int, ...]:
        """All values of an integer field."""
        return tuple(self._int(o, name, raw) for o, raw in self._scalars(name))

    def numbers(self, name: str) -> tuple[float, ...]:
        """All values of a float field."""
        return tuple(self._float(o, name, raw) for o, raw in self._scalars(name))

    def messages(self, name: str) -> tuple[Params, ...]:
        """The typed views of all sub-messages called ``name``."""
        found = (value for value in self.message.all(name) if isinstance(value, Message))
        return tuple(self._nested(name, message) for message in found)

    def sub(self, name: str) -> Params:
        """The sub-message ``name``; all defaults when it is absent."""
        return self._nested(name, self.message.message(name) or Message(()))

    def _nested(self, name: str, message: Message) -> Params:
        kind = self._field(name).message_type
        assert kind is not None, name
        return Params(self.document, message, kind, self.owner)

    def _field(self, name: str) -> FieldType:
        return self.descriptor.fields_by_name[name]

    def _scalars(self, name: str) -> Iterator[tuple[int, str]]:
        assert name in self.descriptor.fields_by_name, f"{self.descriptor.name} has no {name}"
        for field in self.message.fields:
            if field.name != name:
                continue
            items = field.value.items if isinstance(field.value, ListValue) else (field.value,)
            for item in items:
                if not isinstance(item, Scalar):
                    raise self._error(field.offset, name, "a message", "a plain value")
                yield field.offset, item.raw

    def _int(self, offset: int, name: str, raw: str) -> int:
        number = parse_int(raw)
        if number is None:
            raise self._error(offset, name, raw, "an integer")
        least, most = _RANGES[self._field(name).cpp_type]
        if not least <= number <= most:
            raise self._error(offset, name, raw, f"an integer from {least} to {most}")
        return number

    def _float(self, offset: int, name: str, raw: str) -> float:
        number = parse_float(raw)
        if number is None:
            raise self._error(offset, name, raw, "a number")
        try:  # what Caffe holds: every float field of its schema is a 32-bit float
            return float(struct.unpack("<f", struct.pack("<f", number))[0])
        except OverflowError:
            return math.copysign(math.inf, number)

    def _error(self, offset: int, name: str, raw: str, wanted: str) -> TextError:
        known = placeholder.advice(raw) if wanted in _NUMBERS else Text()
        error = self.document.error(offset, f"{self.owner}: {name} is {raw}, ")
        return error.advised(*(known.parts or (f"expected {wanted}",)))


_INT = re.compile(r"([-+]?)\s*(0[xX][0-9a-fA-F]+|[0-9]+)$")


def parse_int(raw: str) -> int | None:
    """An integer token: decimal, ``0x`` hex or ``0`` octal; None when it is none."""
    match = _INT.match(raw)
    if match is None:
        return None
    sign, digits = match.groups()
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" and len(digits) > 1 else 10
    try:
        return int(digits, base) * (-1 if sign == "-" else 1)
    except ValueError:  # 08 and the like; thousands of digits
        return None


def parse_float(raw: str) -> float | None:
    """A number token such as ``.7``, ``0.``, ``1e-5f``, ``-inf``; None when it is none."""
    text = raw.replace(" ", "")
    if text.lstrip("+-")[:2].lower() == "0x":
        number = parse_int(raw)
        return None if number is None else float(number)
    if "_" in text:
        return None
    if text[-1:] in ("f", "F") and not text.lower().lstrip("-").startswith("inf"):
        text = text[:-1]
    try:
        return float(text)
    except ValueError:
        return None
