"""A blob name that is left holds what it held; what holds another value gets a new name."""

from __future__ import annotations

from pathlib import Path

import pytest

import caffefold
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

N = RandomLayers(41)
AVERAGE = "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"
DATA = input_layer(1, 4, 6, 6)
SUM = LayerSpec("sum", "Eltwise", "data data", "sum")


def wiring(folder: Path, *layers: LayerSpec) -> tuple[list[str], tuple[str, ...]]:
    """``bottoms > tops`` of every layer after folding, and the names that are gone."""
    report = caffefold.convert(*write_pair(folder, [DATA, *layers]), folder / "out")
    net = caffefold.load(folder / "out.prototxt")
    wires = [f"{' '.join(x.bottoms)} > {' '.join(x.tops)}" for x in net if x.bottoms]
    return wires, report.gone


def test_up_the_joined_blob_is_called_what_it_holds(tmp_path: Path) -> None:
    found = wiring(
        tmp_path,
        N.conv("f", "data", 4, 4),
        N.batch_norm("bn", "f", 4),
        N.scale("sc", "bn", 4),
        relu("r", "sc", "r"),
    )
    assert found == (["data > sc", "sc > r"], ("f", "bn"))


def test_down_the_layer_in_front_keeps_its_name(tmp_path: Path) -> None:
    found = wiring(tmp_path, SUM, N.batch_norm("bn", "sum", 4), N.conv("f", "bn", 4, 3))
    assert found == (["data data > sum", "sum > f"], ("bn",))


def test_down_from_in_place_the_blob_gets_a_new_name(tmp_path: Path) -> None:
    """``sum`` was the normalised value, which no blob holds any more."""
    norm = N.batch_norm("bn", "sum", 4)._replace(tops="sum")
    found = wiring(tmp_path, SUM, norm, N.conv("f", "sum", 4, 3))
    assert found == (["data data > sum_folded", "sum_folded > f"], ("sum",))


def test_an_in_place_layer_behind_a_fold_makes_the_name_true(tmp_path: Path) -> None:
    found = wiring(
        tmp_path,
        N.conv("f", "data", 4, 4),
        N.batch_norm("bn", "f", 4)._replace(tops="f"),
        relu("r", "f"),
    )
    assert found == (["data > f", "f > f"], ())


def test_branches_of_a_concat_that_hold_mapped_values(tmp_path: Path) -> None:
    found = wiring(
        tmp_path,
        N.conv("f", "data", 4, 4),
        N.conv("g", "data", 4, 4),
        LayerSpec("cat", "Concat", "f g"),
        N.batch_norm("bn", "cat", 8),
        relu("r", "bn", "r"),
    )
    joined = ["data > f_folded", "data > g_folded", "f_folded g_folded > bn", "bn > r"]
    assert found == (joined, ("f", "g", "cat"))


def test_a_pooling_that_a_map_moves_up_through(tmp_path: Path) -> None:
    pool = LayerSpec("pool", "Pooling", "f", params=AVERAGE)
    up = (N.conv("f", "data", 4, 4), pool, N.batch_norm("bn", "pool", 4), relu("r", "bn", "r"))
    assert wiring(tmp_path, *up) == (["data > f_folded", "f_folded > bn", "bn > r"], ("f", "pool"))


def test_a_pooling_that_a_map_moves_down_through(tmp_path: Path) -> None:
    pool = LayerSpec("pool", "Pooling", "bn", params=AVERAGE)
    down = (SUM, N.batch_norm("bn", "sum", 4), pool, N.conv("f", "pool", 4, 3, kernel=1))
    assert wiring(tmp_path, *down) == (
        ["data data > sum", "sum > pool_folded", "pool_folded > f"],
        ("bn", "pool"),
    )


def test_a_new_name_is_nobodys(tmp_path: Path) -> None:
    layers = [relu("r", "data", "sum_folded"), SUM._replace(bottoms="sum_folded data")]
    norm = N.batch_norm("bn", "sum", 4)._replace(tops="sum")
    wires, gone = wiring(tmp_path, *layers, norm, N.conv("f", "sum", 4, 3))
    assert wires[1:] == ["sum_folded data > sum_folded2", "sum_folded2 > f"]
    assert gone == ("sum",)


def test_a_scale_in_place_of_a_chain_keeps_the_names_around_it(tmp_path: Path) -> None:
    found = wiring(
        tmp_path,
        SUM,
        N.batch_norm("bn", "sum", 4),
        N.scale("sc", "bn", 4),
        LayerSpec("p", "Power", "sc", params="power_param { scale: 2 }"),
        relu("r", "p", "r"),
    )
    assert found == (["data data > sum", "sum > p", "p > r"], ("bn", "sc"))


def test_the_name_of_an_input_is_not_given_to_another_value(tmp_path: Path) -> None:
    """In place on the input: without the BatchNorm, ``data`` would hold what was fed."""
    norm = N.batch_norm("bn", "data", 4)._replace(tops="data")
    given = write_pair(tmp_path, [DATA, norm, N.conv("f", "data", 4, 3)])
    report = caffefold.convert(*given, tmp_path / "out")
    assert [(skip.layers, skip.code.value) for skip in report.skips] == [(("bn",), "NET_OUTPUT")]
    assert report.gone == ()


@pytest.mark.parametrize("kind", ["Dropout", "Power", "Split"])
def test_what_changes_nothing_leaves_a_true_name(tmp_path: Path, kind: str) -> None:
    idle = LayerSpec("idle", kind, "f")
    found = wiring(tmp_path, N.conv("f", "data", 4, 4), idle, relu("r", "idle", "r"))
    assert found == (["data > idle", "idle > r"], ("f",))


def test_the_report_names_what_is_gone(tmp_path: Path) -> None:
    layers = [DATA, SUM, N.batch_norm("bn", "sum", 4), N.conv("f", "bn", 4, 3)]
    report = caffefold.convert(*write_pair(tmp_path, layers), tmp_path / "out")
    assert ("gone", "1 blob name: bn") in list(report.rows())
    assert '"gone": [\n      "bn"\n    ]' in report.to_json()
