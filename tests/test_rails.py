"""Branches are lanes: each blob has one from where it is made to where it is read last."""

from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from caffefold.ir import graph
from caffefold.ir.net import Net
from caffefold.rails import HEIGHT, Rail, rails

ROW = re.compile(r"M([0-9.]+) 0V26")


def drawn(*layers: str) -> tuple[Rail, ...]:
    """Layers as ``a b -> c``; the blob ``x`` comes from outside."""
    text = 'input: "x" input_shape { dim: 1 }\n'
    for number, layer in enumerate(layers):
        reads, _, makes = layer.partition("->")
        wiring = [f'bottom: "{blob}"' for blob in reads.split()]
        wiring += [f'top: "{blob}"' for blob in makes.split()]
        text += f'layer {{ name: "l{number}" type: "T" {" ".join(wiring)} }}\n'
    return rails(graph.build(Net.from_text(text)))[1]


def test_a_chain_is_one_lane() -> None:
    rows = drawn("x -> a", "a -> a", "a -> b", "b -> c")
    assert [row.lane for row in rows] == [0, 0, 0, 0]
    assert [row.through for row in rows] == [((0, 8.5),)] * 3 + [()]


def test_a_branch_has_a_lane_until_it_is_joined() -> None:
    rows = drawn("x -> a", "a -> b", "a -> c", "b c -> d", "d -> e")
    assert [row.lane for row in rows] == [0, 1, 0, 0, 0]
    assert [lane for lane, _ in rows[1].through] == [0, 1]  # a goes on beside b
    assert any(ROW.fullmatch(path) for _, path in rows[1].paths)
    assert [lane for lane, _ in rows[3].through] == [0]
    bent = [path for lane, path in rows[3].paths if lane == 1]
    assert len(bent) == 1
    assert bent[0].endswith(f"{rows[3].x:g} {HEIGHT // 2}")


def test_what_nobody_reads_has_no_lane() -> None:
    rows = drawn("x -> a b", "a -> c")
    assert [lane for lane, _ in rows[0].through] == [0]


@given(st.lists(st.lists(st.integers(0, 6), max_size=3), min_size=1, max_size=12))
def test_lanes_meet_from_row_to_row(nets: list[list[int]]) -> None:
    """What goes on below a row is what comes in above the next one, and nothing is drawn twice."""
    layers = []
    for number, picks in enumerate(nets):
        known = ["x", *(f"t{each}" for each in range(number))]
        reads = sorted({known[pick % len(known)] for pick in picks})
        layers.append(f"{' '.join(reads)} -> t{number}")
    rows = drawn(*layers)
    for above, below in itertools.pairwise(rows):
        comes = {path.split()[0][1:] for _, path in below.paths if re.match("M[0-9.]+ 0[VC]", path)}
        assert comes == {f"{x:g}" for _, x in above.through}
    for row in rows:
        assert len(set(row.paths)) == len(row.paths)
    assert rows[-1].through == ()
