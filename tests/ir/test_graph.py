"""Versions of blobs: who writes and who reads which numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffefold.errors import TextError
from caffefold.ir.graph import OUTSIDE, Graph, Version, build, validate
from tests.support.formats_model import wires


def problems(graph: Graph) -> list[str]:
    return [str(problem) for problem in graph.problems]


def test_a_chain() -> None:
    graph = validate(wires("in: > data", "conv: data > conv", "relu: conv > relu"))
    assert graph.versions == (
        Version("data", 0, (1,)),
        Version("conv", 1, (2,)),
        Version("relu", 2, ()),
    )
    assert graph.reads == ((), (0,), (1,))
    assert graph.writes == ((0,), (1,), (2,))
    assert graph.outputs == ("relu",)


def test_every_write_in_place_makes_a_version() -> None:
    graph = validate(
        wires("conv: data > x", "relu: x > x", "bn: x > x", "ip: x > y", inputs="data")
    )
    assert [v for v in graph.versions if v.blob == "x"] == [
        Version("x", 0, (1,)),
        Version("x", 1, (2,)),
        Version("x", 2, (3,)),
    ]
    assert graph.reads == ((0,), (1,), (2,), (3,))
    assert graph.outputs == ("y",)


def test_readers_before_and_after_an_in_place_layer_read_different_numbers() -> None:
    graph = validate(wires("a: > x", "early: x > e", "relu: x > x", "late: x > l"))
    (before,), (written,) = graph.reads[1], graph.writes[2]
    assert graph.versions[before].readers == (1, 2)
    assert graph.reads[3] == (written,)
    assert graph.versions[written].readers == (3,)


def test_caffe_refuses_to_overwrite_what_others_read() -> None:
    """It splits such a blob, and then the layer's top is made twice (insert_splits.cpp)."""
    assert not validate(wires("a: > x", "relu: x > x", "b: x > b", "c: x > c")).clashes
    clashes = validate(wires("a: > x", "early: x > e", "relu: x > x", "late: x > l")).clashes
    assert [str(clash).split(": ", 1)[1] for clash in clashes] == [
        "layer 'relu': works in place on 'x', which layer 'early' reads too"
    ]
    (twice,) = validate(wires("a: > x", "sum: x x > x")).clashes
    assert str(twice).endswith("layer 'sum': works in place on 'x', which it reads too")


def test_several_readers() -> None:
    graph = validate(wires("a: > x", "b: x > b", "c: x > c", "sum: b c > s"))
    assert graph.versions[0].readers == (1, 2)
    assert graph.sole_reader(0) is None
    assert graph.sole_reader(graph.writes[1][0]) == 3
    assert graph.sole_reader(graph.writes[3][0]) is None


def test_a_layer_that_reads_a_blob_twice_is_two_readers() -> None:
    graph = validate(wires("a: > x", "sum: x x > s"))
    assert graph.versions[0].readers == (1, 1)
    assert graph.sole_reader(0) is None


def test_inputs_of_the_net_come_from_outside() -> None:
    graph = validate(wires("conv: data > c", inputs="data im_info"))
    assert graph.versions[:2] == (Version("data", OUTSIDE, (0,)), Version("im_info", OUTSIDE, ()))
    assert graph.outputs == ("im_info", "c")


def test_sinks_are_versions_nobody_reads() -> None:
    graph = validate(wires("a: > x label", "split: x > p q", "relu: p > p"))
    assert [(graph.versions[i].blob, graph.versions[i].producer) for i in graph.sinks] == [
        ("label", 0),
        ("q", 1),
        ("p", 2),
    ]


def test_layers_without_bottoms_or_tops() -> None:
    graph = validate(wires("a: > x", "silence: x >"))
    assert (graph.writes[1], graph.sinks, graph.outputs) == ((), (), ())
    assert build(wires()).versions == ()


def test_unknown_bottom() -> None:
    net = wires("a: > x", "b: x y > z", "c: z > w")
    graph = build(net)
    assert graph.reads[1] == (0, -1)
    assert graph.versions[0].readers == (1,)
    assert problems(graph) == [
        "net.prototxt:2:1: layer 'b': bottom 'y' is not made by any earlier layer; check the name"
    ]
    with pytest.raises(TextError, match="layer 'b': bottom 'y' is not made by any earlier layer"):
        validate(net)


def test_a_bottom_made_later_is_unknown() -> None:
    assert "bottom 'y'" in problems(build(wires("a: y > x", "b: > y")))[0]


def test_duplicate_top() -> None:
    net = wires("a: > x", "b: > x", "c: x > y")
    graph = build(net)
    assert problems(graph) == [
        "net.prototxt:2:1: layer 'b': top 'x' is already made by layer 'a'; rename one of them"
    ]
    assert graph.reads[2] == graph.writes[1]
    with pytest.raises(TextError, match="already made by layer 'a'"):
        validate(net)


def test_top_that_is_a_net_input() -> None:
    (problem,) = problems(build(wires("a: > data", inputs="data")))
    assert "top 'data' is already made by a net input" in problem


def test_top_written_twice_by_one_layer() -> None:
    (problem,) = problems(build(wires("a: > x x")))
    assert "top 'x' is already made by layer 'a'" in problem


def test_net_input_declared_twice() -> None:
    (problem,) = problems(build(wires("a: data > x", inputs="data data")))
    assert "'data'" in problem


def test_in_place_goes_by_position() -> None:
    """Caffe compares top j with bottom j only (net.cpp, AppendTop)."""
    assert not build(wires("a: > x y", "b: x y > x y")).problems
    (problem,) = problems(build(wires("a: > x y", "b: x y > y")))
    assert "top 'y' is already made by layer 'a'" in problem


def test_all_problems_are_collected_and_the_first_is_raised() -> None:
    net = wires("a: no > x", "b: > x", "c: nothing > y")
    assert [p.split(": ")[1] for p in problems(build(net))] == [
        "layer 'a'",
        "layer 'b'",
        "layer 'c'",
    ]
    with pytest.raises(TextError, match="bottom 'no'"):
        validate(net)


NAMES = st.lists(st.sampled_from("abcd"), max_size=3).map(" ".join)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=6), NAMES)
def test_reads_and_readers_agree(layers: list[tuple[str, str]], inputs: str) -> None:
    net = wires(*(f"l{i}: {b} > {t}" for i, (b, t) in enumerate(layers)), inputs=inputs)
    graph = build(net)
    for i, version in enumerate(graph.versions):
        assert version.readers == tuple(
            position for position, read in enumerate(graph.reads) for v in read if v == i
        )
        assert all(reader > version.producer for reader in version.readers)
        if version.producer != OUTSIDE:
            layer = net.layers[version.producer]
            assert layer.tops[graph.writes[version.producer].index(i)] == version.blob
    for layer, read in zip(net.layers, graph.reads, strict=True):
        assert [graph.versions[v].blob for v in read if v >= 0] == [
            name for name, v in zip(layer.bottoms, read, strict=True) if v >= 0
        ]
