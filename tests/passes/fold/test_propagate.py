"""Maps travel as runs of channels: each layer is passed once, whatever is joined and parted."""

from __future__ import annotations

import numpy as np
import pytest

import caffefold
from caffefold.ir.net import Net
from caffefold.passes.fold import propagate
from caffefold.testing import net_text

CONV = "f Convolution {} -> f {{ convolution_param {{ num_output: 4 kernel_size: 1 }} }}"
POWER = "p Power {} -> p {{ power_param {{ scale: 2 shift: 1 }} }}"
NORM = "n BatchNorm {} -> n"


def net(*lines: str) -> Net:
    weights: dict[str, list[object]] = {
        "f": [np.arange(16.0).reshape(4, 4, 1, 1), np.arange(4.0)],
        "n": [np.arange(4.0), np.arange(1.0, 5.0), np.ones(1)],
    }
    text = net_text("\n".join(lines), head="")
    made = Net.from_text('input: "x" input_shape { dim: 1 dim: 4 dim: 2 dim: 2 }\n' + text)
    blobs = {name: numbers for name, numbers in weights.items() if name in made}
    return Net.from_text(made.to_document().encode().decode(), blobs)


def swapped(times: int, blob: str, points: str = "") -> tuple[list[str], str]:
    """Slice and Concat in another order, so often; and what the last one makes."""
    lines = []
    for i in range(times):
        lines.append(f"s{i} Slice {blob} -> a{i} b{i} {{ slice_param {{ {points} }} }}")
        lines.append(f"c{i} Concat b{i} a{i} -> y{i}")
        blob = f"y{i}"
    return lines, blob


def names(net: Net) -> list[str]:
    return [layer.name for layer in net]


@pytest.mark.parametrize("points", ["", "slice_point: 1"])
@pytest.mark.parametrize("times", [1, 2, 3, 400])
def test_up_through_swapped_channels(times: int, points: str) -> None:
    ways, last = swapped(times, "f", points)
    given = net(CONV.format("x"), *ways, NORM.format(last), "r ReLU n -> n")
    found = caffefold.fold(given)
    assert names(found.net) == [name for name in names(given) if name != "n"]
    assert not found.skips
    caffefold.prove(given, found.net)


@pytest.mark.parametrize("times", [1, 2, 3, 400])
def test_down_through_swapped_channels(times: int) -> None:
    ways, last = swapped(times, "n", "slice_point: 1")
    given = net("q ReLU x -> q", NORM.format("q"), *ways, CONV.format(last))
    found = caffefold.fold(given)
    assert "n" not in names(found.net)
    caffefold.prove(given, found.net)


def test_one_number_for_all_channels_stays_one() -> None:
    """Of 2^30 channels nothing is written out."""
    joins = [f"c{i} Concat y{i} y{i} -> y{i + 1}" for i in range(28)]
    given = net(POWER.format("x").replace("-> p", "-> y0"), *joins, "r ReLU y28 -> r")
    found = caffefold.fold(given)
    assert [skip.layers for skip in found.skips] == [("p",)]


def test_a_map_in_too_many_pieces_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagate, "_MOST_PIECES", 40)
    joins = [f"c{i} Concat y{i} y{i} -> y{i + 1}" for i in range(9)]
    front = ["q ReLU x -> q", NORM.format("q").replace("-> n", "-> y0")]
    given = net(*front, *joins, "r ReLU y9 -> r")
    (skip,) = caffefold.fold(given).skips
    assert "too many pieces" in skip.message
