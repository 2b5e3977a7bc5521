"""Nets from text for tests of shapes."""

from __future__ import annotations

from caffefold.formats.text_parse import parse
from caffefold.model.net import Net
from caffefold.model.shape import Known, Shape
from caffefold.model.shapes import infer


def net(text: str) -> Net:
    """A net without weights."""
    return Net.of(parse(text, "net.prototxt"))


def layer(kind: str, text: str = "", *, bottoms: int = 1, tops: int = 1) -> str:
    """A layer 'it' of this type that reads b0, b1 ... and makes t0, t1 ..."""
    wires = "".join(f' bottom: "b{i}"' for i in range(bottoms))
    wires += "".join(f' top: "t{i}"' for i in range(tops))
    return f'layer {{ name: "it" type: "{kind}"{wires} {text} }}'


def tops(
    kind: str, text: str, *bottoms: Known, count: int = 1, weights: Net | None = None
) -> tuple[Shape, ...]:
    """The shapes a layer makes of its bottoms; raises what infer collects."""
    given = net(layer(kind, text, bottoms=len(bottoms), tops=count))
    found = infer(weights or given, {f"b{i}": shape for i, shape in enumerate(bottoms)})
    for problem in found.problems:
        raise problem
    return found.tops(0)
