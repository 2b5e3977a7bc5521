"""Laws on random nets: nothing differs from itself, both ways agree, a diff can be applied."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import caffefold
from caffefold.compare.diff import NetDiff
from caffefold.compare.entries import LayerInfo
from caffefold.compare.load import Scope, find, opened
from caffefold.compare.match import match
from caffefold.compare.render import markup, text
from caffefold.testing import LayerSpec
from tests.compare.conftest import DATA

LAWS = settings(
    deadline=None,
    derandomize="CAFFEFOLD_EXAMPLES" not in os.environ,
    max_examples=int(os.environ.get("CAFFEFOLD_EXAMPLES", "80")),
    suppress_health_check=[HealthCheck.too_slow],
)
KINDS = ("Convolution", "ReLU", "BatchNorm", "Scale", "Dropout", "Concat", "Softmax", "Odd")
BODIES = {
    "Convolution": ("convolution_param {{ num_output: {n} }}", "param {{ lr_mult: {n} }}"),
    "BatchNorm": ("batch_norm_param {{ eps: 0.{n} }}",),
    "Scale": ("scale_param {{ bias_term: true axis: {n} }}",),
    "Odd": ("odd_param {{ n: {n} n: 1 }}", "include {{ phase: TRAIN }}"),
}


@st.composite
def layers(draw: st.DrawFn) -> list[LayerSpec]:
    """A net of up to 12 layers in which every bottom is made before; some in place."""
    blobs, made = ["data"], []
    for i in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(KINDS))
        count = 2 if kind == "Concat" else 1
        bottoms = [draw(st.sampled_from(blobs)) for _ in range(count)]
        top = bottoms[0] if count == 1 and draw(st.booleans()) else f"b{i}"
        body = draw(st.sampled_from(("", *BODIES.get(kind, ())))).format(n=draw(st.integers(1, 3)))
        made.append(LayerSpec(f"l{i}", kind, " ".join(bottoms), top, body))
        if "TRAIN" not in body and top not in blobs:
            blobs.append(top)
    return made


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[LayerSpec], list[LayerSpec]]:
    """A net, and what a few edits make of it; or two nets that have nothing in common."""
    one = draw(layers())
    if draw(st.integers(0, 4)) == 0:
        return one, draw(layers())
    two = list(one)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(two)))
        edit = draw(st.sampled_from(["drop", "add", "rename", "move", "body", "prefix", "retype"]))
        if edit == "add":
            two.insert(
                at, LayerSpec(draw(st.sampled_from(["new", "l3", "more"])), "ReLU", "data", "x")
            )
        elif edit == "prefix":
            two = [layer._replace(name=f"p/{layer.name}") for layer in two]
        elif at < len(two) and edit == "drop":
            del two[at]
        elif at < len(two) and edit == "rename":
            two[at] = two[at]._replace(name=draw(st.sampled_from(["other", "l1", "l2"])))
        elif at < len(two) and edit == "body":
            two[at] = two[at]._replace(params="convolution_param { pad: 1 }")
        elif at < len(two) and edit == "retype":
            two[at] = two[at]._replace(type=draw(st.sampled_from(KINDS)))
        elif at < len(two) and edit == "move":
            two.insert(draw(st.integers(0, len(two) - 1)), two.pop(at))
    return one, two


def _files(folder: str, nets: tuple[list[LayerSpec], list[LayerSpec]]) -> tuple[Path, Path]:
    paths = Path(folder) / "a.prototxt", Path(folder) / "b.prototxt"
    for path, net in zip(paths, nets, strict=True):
        path.write_text(DATA + "".join(layer.prototxt() for layer in net))
    return paths


def _infos(path: Path) -> tuple[LayerInfo, ...]:
    with opened(find(path), Scope()) as net:
        return net.infos


def _applied(layers: tuple[LayerInfo, ...], diff: NetDiff) -> tuple[LayerInfo, ...]:
    """The layers of B, made from those of A and what ``diff`` says of them."""
    changed = {row.before.position: row.after for row in diff.changed}
    placed = {row.layer.position: row.layer for row in diff.added}
    placed |= {row.after.position: row.after for row in diff.changed if row.moved}
    gone = {row.layer.position for row in diff.removed}
    gone |= {row.before.position for row in diff.changed if row.moved}
    stay = [changed.get(x.position, x) for x in layers if x.position not in gone]
    rest = iter(stay)
    made = [placed.get(i) or next(rest) for i in range(len(stay) + len(placed))]
    return tuple(replace(layer, position=i) for i, layer in enumerate(made))


def _content(diff: NetDiff) -> tuple[Any, ...]:
    """All that a diff says, without the order of rows."""
    rows = sorted(map(repr, diff.rows))
    return (rows, set(diff.folds), set(diff.replacements), diff.net_fields, bool(diff))


@given(pairs())
@settings(LAWS)
def test_nothing_differs_from_itself(nets: tuple[list[LayerSpec], list[LayerSpec]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, _ = _files(folder, (nets[0], nets[0]))
        found = caffefold.diff(one, one)
    assert not found
    assert found.entries == ()
    assert not found.folds


@given(pairs())
@settings(LAWS)
def test_both_ways_say_the_same(nets: tuple[list[LayerSpec], list[LayerSpec]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = _files(folder, nets)
        there, back = caffefold.diff(one, two), caffefold.diff(two, one)
    assert _content(there.mirrored()) == _content(back)
    assert there.mirrored().mirrored() == there


@given(pairs())
@settings(LAWS)
def test_a_diff_applied_to_a_gives_b(nets: tuple[list[LayerSpec], list[LayerSpec]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = _files(folder, nets)
        found = caffefold.diff(one, two)
        assert _applied(_infos(one), found) == _infos(two)


@given(pairs())
@settings(LAWS)
def test_each_layer_is_reported_once(nets: tuple[list[LayerSpec], list[LayerSpec]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = caffefold.diff(*_files(folder, nets))
    both = [(r.before, r.after) for r in found.changed]
    both += [(r.before, r.after) for r in found.same]
    before = [r.layer for r in found.removed] + [one for one, _ in both]
    after = [r.layer for r in found.added] + [two for _, two in both]
    assert sorted(x.position for x in before) == list(range(len(nets[0]) + 1))
    assert sorted(x.position for x in after) == list(range(len(nets[1]) + 1))


@given(pairs())
@settings(LAWS)
def test_matching_does_not_depend_on_who_is_a(
    nets: tuple[list[LayerSpec], list[LayerSpec]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = (opened(find(path), Scope()) for path in _files(folder, nets))
        with one as a, two as b:
            there = match(a.infos, b.infos, a.wiring, b.wiring)
            back = match(b.infos, a.infos, b.wiring, a.wiring)
    assert there.ab == back.ba
    assert {there.ab[i] for i in there.moved} == back.moved


@given(pairs())
@settings(LAWS)
def test_every_form_can_be_printed(nets: tuple[list[LayerSpec], list[LayerSpec]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = caffefold.diff(*_files(folder, nets))
    summary = found.summary
    for width in (40, 100):
        side_by_side = list(text.side_by_side(summary, width))
        for line in (*text.overview(summary, width), *side_by_side):
            assert "\n" not in line
        assert all(len(line) <= width for line in side_by_side)
    assert [*text.listing(summary), *text.counts(summary)]
    assert found.to_json()
    assert markup.markdown(summary)
    assert markup.page(summary)
    assert markup.body(summary)
