"""What a prototxt says that no Caffe we know would read: unknown fields, layer types, enum values.

Caffe refuses them all (text_format.cc, layer_factory.hpp). Here names of forks pass: those we know
of (formats/forks.py) without a word, others with a warning. A name near to one that decides
arithmetic is rather a slip, and silently gives other numbers: it is refused, unless allowed.

Given   convolution_param { num_output: 8 kernel_size: 3 stirde: 2 }
Result  net.prototxt:31:5: layer 'conv0': unknown field 'stirde' in convolution_param;
        did you mean 'stride'?
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import NamedTuple

from caffefold.errors import Option, Text, TextError
from caffefold.formats import forks
from caffefold.formats.prototxt.tree import Document, Field, ListValue, Message, Scalar, unquote
from caffefold.formats.schema import OURS, FieldType, MessageType, Schema
from caffefold.humanize import counted
from caffefold.ir import placeholder
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import parse_int
from caffefold.ops.base import TRAINING_FIELDS, Category
from caffefold.ops.table import TABLE, in_caffe, op

# How numbers are computed and not which, and what only matters to training.
_ASIDE_FIELDS = frozenset({"engine", "force_nd_im2col", "force_backward", "debug_info"})
_ASIDE = (Category.DATA, Category.MEASURE)
_DIGITS = re.compile(r"[0-9]+")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SHORTEST = 3  # letters of an abbreviation; of three, only the order may be wrong
_LOSES = 5  # letters of which the first may be lost
_LONG = 8  # letters among which two may be wrong
_MOST = 200  # unknown names that are looked up, and warned of; no net has so many
_COUNTED = 20_000  # of the others
_LONGEST = 64  # no name of Caffe is longer


class Finding(NamedTuple):
    """One name that no Caffe we know has at its place."""

    offset: int
    layer: Layer | None
    """The layer it stands in; None: the net itself."""
    what: str
    near: str = ""
    """The known name it is like, if there is one, with where that stands if elsewhere."""
    decides: bool = False
    """Whether that name is one that arithmetic depends on, so that a slip gives other numbers."""

    def error(self, document: Document) -> TextError:
        """The finding as an error at its place."""
        meant = f"; did you mean {self.near}?" if self.near else ""
        owner = f"layer '{self.layer.name}': " if self.layer is not None else ""
        return document.error(self.offset, f"{owner}{self.what}{meant}")


def check(net: Net, view: Net, *, allow_unknown: bool, strict: bool) -> tuple[Text, ...]:
    """A warning for each unknown name in the text of ``net``, like ones of several layers as one.

    Args:
        net: the net as it was read.
        view: the layers of it that count, as of one phase: slips elsewhere change no numbers.
        allow_unknown: let near misses pass, too.
        strict: refuse every finding.

    Raises:
        TextError: a name that is refused, with its place.
    """
    document = net.document
    places = cache(lambda: {(layer.name, layer.field.offset) for layer in view.layers})
    groups: dict[tuple[str, str], tuple[Finding, set[int]]] = {}
    more: set[int] = set()
    for each in findings(net):
        if strict:
            raise each.error(document).advised("; it may pass without ", Option("strict"))
        if each.decides and not allow_unknown and _inside(each, places):
            error = each.error(document)
            raise error.advised(" If not, give ", Option("allow_unknown"))
        key = (each.what, each.near)
        if key in groups or len(groups) < _MOST:
            _, layers = groups.setdefault(key, (each, set()))
            layers.add(id(each.layer))
        elif len(more) < _COUNTED:
            more.add(hash(key))
    return tuple(_warnings(document, groups.values(), len(more)))


def _inside(found: Finding, places: Callable[[], set[tuple[str, int]]]) -> bool:
    """Whether a finding concerns the net as a whole, or a layer at one of ``places``."""
    layer = found.layer
    return layer is None or (layer.name, layer.field.offset) in places()


def _warnings(
    document: Document, groups: Iterable[tuple[Finding, set[int]]], more: int
) -> Iterator[Text]:
    for first, layers in groups:
        others = len(layers) - 1
        also = f" (and in {counted(others, 'other layer')})" if others else ""
        yield Text(*first.error(document).as_warning().parts, also)
    if more:
        least = "at least " if more == _COUNTED else ""
        yield Text(f"{document.path}: {least}{more} more unknown names")


def findings(net: Net) -> Iterator[Finding]:
    """Everything in the text of ``net`` that no Caffe we know would read, in file order."""
    walk = _Walk(net.document.schema)
    for item in net.items:
        if isinstance(item, Layer):
            yield from walk.type(item)
            yield from walk.message(item.body, "LayerParameter", item, item.field.offset)
        else:
            yield from walk.field(item, walk.kind("NetParameter"), None, "", item.offset)


def is_upstream(layer: Layer) -> bool:
    """Whether a layer says nothing that upstream Caffe or SSD would not understand."""
    if not in_caffe(layer):
        return False
    walk = _Walk(layer.document.schema, forks_too=False)
    return next(walk.message(layer.body, "LayerParameter", layer, layer.field.offset), None) is None


# ------------------------------------------------------------------------------------- types


def _type_meant(kind: str) -> tuple[str, bool]:
    """What an unknown layer type is near to, and whether that decides arithmetic."""
    meant = _nearest(kind, sorted(_known_types()), _type_slip)
    own = TABLE.get(meant)
    decides = bool(meant) and meant not in forks.all_types()
    if own is not None:
        decides = decides and own.category not in _ASIDE
    elif meant:
        decides = decides and not meant.endswith("Data")
    return f"'{meant}'" if meant else "", decides


@cache
def _known_types() -> frozenset[str]:
    return forks.UPSTREAM_TYPES | forks.all_types() | frozenset(TABLE)


# ------------------------------------------------------------------------------------ fields


class _Declared(NamedTuple):
    """What a field may hold."""

    message: MessageType | None
    names: frozenset[str]
    """The values of an enum."""
    numbers: frozenset[int]
    once: bool
    """Whether Caffe refuses it a second time in one message."""


class _Walk:
    """One way through the messages of a net; what the schema says is asked once.

    Names of forks are known, unless ``forks_too`` is false.
    """

    def __init__(self, schema: Schema, *, forks_too: bool = True) -> None:
        self.schema = schema
        self.forks_too = forks_too
        self._tables: dict[str, dict[str, _Declared]] = {}
        self._judged: dict[tuple[str, ...], tuple[str, bool]] = {}

    def type(self, layer: Layer) -> Iterator[Finding]:
        """The finding of a layer's type, if it is unknown."""
        kind = layer.type
        if not kind or kind in _known_types() or placeholder.present(kind):
            return
        written = next((f for f in layer.body.fields if f.name == "type"), layer.field)
        offset = written.offset if written.offset >= 0 else layer.field.offset
        near, decides = self._once((kind,), partial(_type_meant, kind))
        yield Finding(offset, layer, f"unknown layer type '{kind}'", near, decides)

    def kind(self, name: str) -> tuple[str, Mapping[str, _Declared]]:
        """A message's name and fields."""
        return self._table(self.schema.message(name))

    def _table(self, kind: MessageType) -> tuple[str, Mapping[str, _Declared]]:
        known = self._tables.get(kind.name)
        if known is None:
            fields = kind.fields_by_name
            known = self._tables[kind.name] = {
                each: _declared(fields[each], f"{kind.name}.{each}") for each in fields
            }
        return kind.name, known

    def message(self, body: Message, name: str, layer: Layer, offset: int) -> Iterator[Finding]:
        """What is found in a layer."""
        yield from self.fields(body.fields, self.kind(name), layer, "", offset)

    def fields(
        self,
        fields: tuple[Field, ...],
        kind: tuple[str, Mapping[str, _Declared]],
        layer: Layer | None,
        place: str,
        offset: int,
    ) -> Iterator[Finding]:
        """What is found in the fields of one message."""
        seen = set()
        for field in fields:
            declared = kind[1].get(field.name)
            if declared is not None and declared.once and self.schema is OURS:
                if field.name in seen:
                    again = f"'{field.name}' again" + (f" in {place}" if place else "")
                    at = field.offset if field.offset >= 0 else offset
                    yield Finding(at, layer, f"{again}, where Caffe takes one; the last counts")
                seen.add(field.name)
            yield from self.field(field, kind, layer, place, offset)

    def field(
        self,
        field: Field,
        kind: tuple[str, Mapping[str, _Declared]],
        layer: Layer | None,
        place: str,
        offset: int,
    ) -> Iterator[Finding]:
        """What is found in a field at ``place``, a path such as ``convolution_param``."""
        offset = field.offset if field.offset >= 0 else offset
        name, known = kind
        declared = known.get(field.name)
        if declared is None:
            of_fork = self.forks_too and field.name in forks.fields_of(name)
            if not of_fork and not field.name.startswith("["):
                what = f"unknown field '{field.name}'" + (f" in {place}" if place else "")
                near, decides = self.meant(field.name, name, place, layer)
                yield Finding(offset, layer, what, near, decides)
            return
        if declared.message is None and not declared.names:
            return
        path = f"{place}.{field.name}" if place else field.name
        values = field.value.items if isinstance(field.value, ListValue) else (field.value,)
        for value in values:
            if isinstance(value, Message) and declared.message is not None:
                inner = self._table(declared.message)
                yield from self.fields(value.fields, inner, layer, path, offset)
            elif isinstance(value, Scalar) and declared.message is not None:
                what = f"{path} is {value.raw}, where Caffe has a message {{ }}"
                yield Finding(offset, layer, what)
            elif isinstance(value, Scalar) and not _has(declared, unquote(value.raw)):
                judge = partial(_value_meant, value.raw, declared)
                near, _ = self._once((path, value.raw), judge)
                yield Finding(offset, layer, f"unknown value {value.raw} of {path}", near)

    def _meant(self, name: str, message: str, place: str, own: str) -> tuple[str, bool]:
        """What an unknown field is near to, and whether that decides arithmetic.

        ``own`` is the parameter message of the layer it stands in.
        """
        known = self.kind(message)[1]
        near = nearest_field(name, known)
        if near:
            return f"'{near}'", _decides(place, near)
        near = nearest_field(name, sorted(forks.fields_of(message)))
        if near:
            return f"'{near}'", False
        parents = {
            holder: self._table(declared.message)[1]
            for holder, declared in self.kind("LayerParameter")[1].items()
            if declared.message is not None and holder != place
        }
        if not place and name in parents.get(own, ()):
            return f"'{name}' in {own}", _decides(own, name)
        for slip in (_same, _field_slip):
            for holder in dict.fromkeys((own, *parents)):
                near = _nearest(name, parents.get(holder, ()), slip)
                if near:
                    return f"'{near}' in {holder}", False
        near = nearest_field(name, sorted(forks.all_fields()))
        return f"'{near}'" if near else "", False

    def meant(self, name: str, message: str, place: str, layer: Layer | None) -> tuple[str, bool]:
        """``_meant`` of a field that stands in a layer, or beside them."""
        own = op(layer).param if layer is not None else ""
        return self._once(
            (name, place or message, own), lambda: self._meant(name, message, place, own)
        )

    def _once(
        self, key: tuple[str, ...], judge: Callable[[], tuple[str, bool]]
    ) -> tuple[str, bool]:
        """What ``judge`` finds, worked out once for each key; of too many, for the first."""
        if key not in self._judged:
            if len(self._judged) == _MOST:
                return "", False
            self._judged[key] = judge()
        return self._judged[key]


def _value_meant(raw: str, declared: _Declared) -> tuple[str, bool]:
    """What an unknown value of an enum is near to; it decides nothing."""
    return _nearest(unquote(raw), sorted(declared.names), _value_slip), False


def _declared(field: FieldType, name: str) -> _Declared:
    values = field.enum_type
    once = not isinstance(field.default_value, list) and name not in forks.REPEATED
    if values is None:
        return _Declared(field.message_type, frozenset(), frozenset(), once)
    names, numbers = values.values_by_name, values.values_by_number
    return _Declared(None, forks.values_of(name) | frozenset(names), frozenset(numbers), once)


def _has(declared: _Declared, word: str) -> bool:
    """Whether an enum has a value, by name or number; what a template leaves open counts."""
    if word in declared.names or placeholder.present(word):
        return True
    return parse_int(word) in declared.numbers


def _decides(place: str, name: str) -> bool:
    """Whether the numbers of a net depend on a field, of a layer or its own."""
    root = (place or name).partition(".")[0]
    if root in TRAINING_FIELDS or root == "param":
        return False
    if root.endswith("data_param") and root != "dummy_data_param":
        return False
    parts = (*place.split("."), name)
    return name not in _ASIDE_FIELDS and not any(part.endswith("filler") for part in parts)


# ----------------------------------------------------------------------------------- nearness


def nearest_field(name: str, known: Iterable[str]) -> str:
    """The field of ``known`` that ``name`` is likely a slip of; ``""`` when there is none."""
    return _nearest(name, known, _field_slip)


def _nearest(name: str, known: Iterable[str], slip: Callable[[str, str], int]) -> str:
    """The known name that ``name`` may be a slip of: the nearest; of equals, the first."""
    if len(name) > _LONGEST:
        return ""
    ranks = ((slip(name, other), other) for other in known)
    best = min(((rank, i, o) for i, (rank, o) in enumerate(ranks) if rank), default=(0, 0, ""))
    return best[2]


def _same(name: str, known: str) -> int:
    return int(name == known)


def _field_slip(name: str, known: str) -> int:
    """Slips in a field's name, or one cut short or written out: ``epsilon``, ``conv_param``."""
    words, others = name.lower().split("_"), known.lower().split("_")
    return _slip(words, others) or _abbreviated(words, others)


def _value_slip(name: str, known: str) -> int:
    """Slips in the value of an enum."""
    return _slip(name.lower().split("_"), known.lower().split("_"))


def _type_slip(name: str, known: str) -> int:
    """Slips in a layer type, or one cut short or written out; ``INNER_PRODUCT`` is V1's way."""
    if "_" in name and name.replace("_", "").lower() == known.lower():
        return 1
    words, others = _camel(name), _camel(known)
    same = len(words) == len(others)
    return _slip(words, others) or (_abbreviated(words, others) if same else 0)


def _camel(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]


def _abbreviated(words: list[str], known: list[str]) -> int:
    """4 where each word is the beginning of the other's, 5 where only the first ones are there."""
    if len(words) > len(known) or not all(map(_begins, words, known)):
        return 0
    return 4 if len(words) == len(known) else 5


def _begins(word: str, other: str) -> bool:
    short, long = sorted((word, other), key=len)
    if _DIGITS.findall(word) != _DIGITS.findall(other):
        return False
    return word == other or (len(short) >= _SHORTEST and long.startswith(short))


def _slip(words: list[str], known: list[str]) -> int:
    """How many slips of the hand lie between two names, plus 1; 0 where they are too many.

    A slip is a letter too many, too few or wrong, or two that changed places; the case of letters
    and where words end count as none. Digits are never slips: forks name their own with them
    (ReLU6, yolov3_param).
    """
    one, two = "".join(words), "".join(known)
    if one == two:
        return 1
    if abs(len(one) - len(two)) > 2 or _DIGITS.findall(one) != _DIGITS.findall(two):
        return 0
    if len(words) != len(known):
        longer = words if len(words) > len(known) else known
        if len(longer[-1]) <= 1 or _slips(one, two) != 1:  # pad_h is no slip of pad
            return 0
        return 2
    total = 0
    for pair in zip(words, known, strict=True):
        found = _slips(*pair)
        if found is None:
            return 0
        total += found
    return total + 1 if total <= 2 else 0


def _slips(word: str, known: str) -> int | None:
    """The slips in one word; None where they are too many for its length."""
    if word == known:
        return 0
    if abs(len(word) - len(known)) > 2:
        return None
    found = _distance(word, known)
    swapped = sorted(word) == sorted(known)
    if found > (2 if len(known) >= _LONG else 1) or (len(known) <= _SHORTEST and not swapped):
        return None
    # A letter before a name makes another name (PReLU, SELU); one that got lost does not.
    if word[0] != known[0] and not swapped and (word != known[1:] or len(known) < _LOSES):
        return None
    return found


def _distance(one: str, two: str) -> int:
    """Optimal string alignment: insertions, deletions, substitutions, neighbours swapped."""
    before: list[int] = []
    last = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(two, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == two[j - 2] and b == one[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
