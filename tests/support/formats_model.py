"""Nets as text, for tests of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from numpy.typing import ArrayLike

from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net

Loaded: TypeAlias = Callable[[str, Mapping[str, Sequence[ArrayLike]]], Net]


def wires(*layers: str, inputs: str = "") -> Net:
    """A net of layers such as ``"conv: data > conv"``: name, bottoms, tops."""
    text = "".join(f'input: "{name}"\n' for name in inputs.split())
    for layer in layers:
        name, wiring = layer.split(":")
        bottoms, tops = wiring.split(">")
        text += f'layer {{ name: "{name}" type: "T"'
        text += "".join(f' bottom: "{bottom}"' for bottom in bottoms.split())
        text += "".join(f' top: "{top}"' for top in tops.split()) + " }\n"
    return Net.of(parse(text, "net.prototxt"))
