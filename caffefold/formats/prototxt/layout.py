"""Moving fields to another depth of a prototxt without losing their comments or their layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from dataclasses import replace

from caffefold.formats.prototxt.tree import Field, ListValue, Message, Scalar

INLINE = " "  # the lead of a field that stands on the line of the one before


def indent_of(lead: str) -> str | None:
    """The white space in front of a field that begins its line; None when it does not."""
    return lead[lead.rfind("\n") + 1 :] if "\n" in lead else None


def fresh(lead: str) -> str:
    """``lead`` without its comments: the line break and the indent, or a space."""
    indent = indent_of(lead)
    return INLINE if indent is None else "\n" + indent


def deeper(lead: str) -> str:
    """A lead without comments, one level further in."""
    start = fresh(lead)
    return start if start == INLINE else start + "  "


def block(name: str, fields: Iterable[Field], lead: str) -> Field:
    """A new ``name { ... }`` at ``lead``; the closing brace stands below the name."""
    return Field(name, Message(tuple(fields), close=fresh(lead) + "}"), lead=lead, sep=" ")


def moved(field: Field, old: str | None, new: str | None) -> Field:
    """``field`` with everything in it indented by ``new`` where it was indented by ``old``."""
    if old is None or new is None or old == new:
        return field
    pattern = re.compile(rf"\n{re.escape(old)}")
    return respaced(field, lambda space: pattern.sub("\n" + new, space))


def respaced(field: Field, change: Callable[[str], str]) -> Field:
    """``field`` with all that stands between its words, in it too, as ``change`` gives it."""
    value = field.value
    if isinstance(value, Message):
        value = Message(
            tuple(respaced(inner, change) for inner in value.fields),
            change(value.open),
            change(value.close),
        )
    elif "\n" in value.raw:
        value = replace(value, raw=change(value.raw))
    return replace(
        field,
        value=value,
        lead=change(field.lead),
        sep=change(field.sep),
        trail=change(field.trail),
    )


def before(comment: str, lead: str) -> str:
    """``lead`` with the comments of ``comment`` in front of it."""
    if "#" not in comment:
        return lead
    if "\n" in lead:
        return comment.rstrip() + lead
    return comment if "\n" in comment[comment.rfind("#") :] else comment + "\n"


def messages_apart(fields: Iterable[Field]) -> tuple[Field, ...]:
    """The fields, at every depth each list of messages ``name: [{...}, {...}]`` taken apart."""
    found: list[Field] = []
    for field in fields:
        value = field.value
        if isinstance(value, ListValue) and any(isinstance(v, Message) for v in value.items):
            found += messages_apart(taken_apart((field,), (field.name,)))
        elif isinstance(value, Message):
            inner = messages_apart(value.fields)
            found.append(field.with_fields(inner) if inner != value.fields else field)
        else:
            found.append(field)
    return tuple(found)


def taken_apart(fields: Iterable[Field], names: Container[str]) -> tuple[Field, ...]:
    """The fields; of those in ``names``, each ``name: [a, b]`` as one field per value."""
    found: list[Field] = []
    for field in fields:
        if field.name not in names or not isinstance(field.value, ListValue):
            found.append(field)
            continue
        for index, item in enumerate(field.value.items):
            last = index == len(field.value.items) - 1
            found.append(
                replace(
                    field,
                    value=item,
                    lead=field.lead if index == 0 else fresh(field.lead),
                    sep=": " if isinstance(item, Scalar) else " ",
                    trail=field.trail if last else "",
                )
            )
    return tuple(found)
