"""Nets as text, for tests of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from numpy.typing import ArrayLike

from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, net_text

Loaded: TypeAlias = Callable[[str, Mapping[str, Sequence[ArrayLike]]], Net]


def wires(*layers: str, inputs: str = "") -> Net:
    """A net of layers of which only the wiring matters, such as ``"conv: data > conv"``."""
    parts = (layer.replace(">", ":").split(":") for layer in layers)
    made = [LayerSpec(name, "T", bottoms, tops) for name, bottoms, tops in parts]
    head = "".join(f'input: "{name}"\n' for name in inputs.split())
    return Net.of(parse(net_text(made, head), "net.prototxt"))
