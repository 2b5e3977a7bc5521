"""Taking a field out changes nothing else: other fields read the same and keep their comments."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caffefold.errors import InputError
from caffefold.formats.prototxt.parse import parse
from caffefold.formats.prototxt.tree import Document, Field, Message, detached, drop
from caffefold.ir.net import Net
from tests.support.formats_text import Said, documents, said

SAMPLES = Path(__file__).parents[3] / "sample_models"
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED", "-"))
PER_FILE = 2
LARGEST = 100_000  # characters: each removal prints and parses the whole text again

Place = tuple[int, ...]
"""Where a field stands: its position in its message, with those of the fields around it."""


def places(fields: tuple[Field, ...], above: Place = ()) -> Iterator[Place]:
    """Every field of a document."""
    for position, field in enumerate(fields):
        yield (*above, position)
        yield from places(field.body.fields, (*above, position))


def removed(fields: tuple[Field, ...], place: Place) -> tuple[Field, ...]:
    """The fields without the one at ``place``, as passes take it out."""
    first, *rest = place
    field = fields[first]
    if not rest:
        return drop(fields, lambda each: each is field)
    inner = removed(field.body.fields, tuple(rest))
    changed = field.with_body(replace(field.body, fields=inner))
    return (*fields[:first], changed, *fields[first + 1 :])


def without(told: Said, place: Place) -> Said:
    """What the text says but for the field at ``place``."""
    first, *rest = place
    name, value = told[first]
    if not rest:
        return [*told[:first], *told[first + 1 :]]
    return [*told[:first], (name, without(value, tuple(rest))), *told[first + 1 :]]


def comments(message: Message, place: Place = ()) -> Iterator[str]:
    """The comments of a message in order, but for those of the field at ``place``, which go."""

    def of(text: str) -> Iterator[str]:
        yield from (found.strip() for found in re.findall("#[^\\n]*", text))

    yield from of(message.open)
    for position, field in enumerate(message.fields):
        if place == (position,):
            yield from of(detached(field.lead))
            continue
        inner = place[1:] if place[:1] == (position,) else ()
        yield from of(field.lead + field.sep)
        if isinstance(field.value, Message):
            yield from comments(field.value, inner)
        yield from of(field.trail)
    yield from of(message.close)


def check(document: Document, place: Place) -> None:
    """One field goes; nothing else does."""
    edited = replace(document, fields=removed(document.fields, place))
    again = parse(str(edited), document.path)
    assert said(again.fields) == without(said(document.fields), place)
    if len(place) == 1 and len(document.fields) == 1:
        return  # an empty text has nowhere to keep a comment that stood before its one field
    assert [*comments(again.root)] == [*comments(document.root, place)]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), st.data())
def test_of_any_document(generated: tuple[str, Said], data: st.DataObject) -> None:
    document = parse(generated[0])
    found = [*places(document.fields)]
    if found:
        place = data.draw(st.sampled_from(found))
        edited = replace(document, fields=removed(document.fields, place))
        again = parse(str(edited))
        assert said(again.fields) == without(said(document.fields), place)


@pytest.mark.once
@pytest.mark.parametrize("path", sorted(SAMPLES.glob("**/*.prototxt")), ids=lambda p: p.stem)
def test_of_the_sample_models(path: Path) -> None:
    document = parse(path.read_bytes(), str(path))
    found = [*places(document.fields)]
    for place in random.Random(path.name).sample(found, min(40, len(found))):
        check(document, place)


@pytest.mark.once
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared models")
def test_of_real_files() -> None:
    seen = 0
    for path in sorted(SHARED.glob("**/*.prototxt")):
        try:
            document = parse(path.read_bytes(), str(path))
        except InputError:
            continue
        if len(document.source) > LARGEST:
            continue
        found = [*places(document.fields)]
        for place in random.Random(path.name).sample(found, min(PER_FILE, len(found))):
            check(document, place)
            seen += 1
    assert seen > 500


@pytest.mark.parametrize(
    ("source", "name", "wanted"),
    [
        ("a: 1\nb: 2\nc { x: 1 }d { x: 2 }", "c", "a: 1\nb: 2\nd { x: 2 }"),
        ("a: 1 c { x: 1 }d { x: 2 }", "c", "a: 1 d { x: 2 }"),
        ("a: cls6x c { x: 1 }d { x: 2 }", "c", "a: cls6x d { x: 2 }"),
        ("a: ${n} c { x: 1 }d { x: 2 }", "c", "a: ${n} d { x: 2 }"),
        ("a: 'x' c { x: 1 }d { x: 2 }", "c", "a: 'x'd { x: 2 }"),
        ("a: 1 # of a\nc { x: 1 }d { x: 2 }", "c", "a: 1 # of a\nd { x: 2 }"),
        ("p { # of p\n c { x: 1 }d: 2 }", "", "p { # of p\n c { x: 1 }d: 2 }"),
    ],
)
def test_nothing_is_glued_or_swallowed(source: str, name: str, wanted: str) -> None:
    document = parse(source)
    kept = drop(document.fields, lambda field: field.name == name)
    assert str(replace(document, fields=kept)) == wanted
    bare = tuple(replace(field, lead="") for field in kept)  # whatever an edit leaves of layout
    assert said(parse(str(replace(document, fields=bare))).fields) == said(kept)


def test_a_net_without_some_of_its_own_fields() -> None:
    text = 'name: "n"\n# about the state\n\nstate { phase: TEST }layer { name: "a" type: "ReLU" }'
    net = Net.from_text(text)
    assert str(net.without_fields({"state"}).to_document()) == (
        'name: "n"\n# about the state\nlayer { name: "a" type: "ReLU" }'
    )
    assert net.without_fields({"other"}).items == net.items
