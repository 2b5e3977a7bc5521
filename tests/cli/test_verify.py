"""``caffefold verify``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import caffefold
from caffefold.testing import RandomLayers, input_layer, relu, write_pair
from tests.cli.conftest import Cli

MAKE = RandomLayers(seed=2)
LAYERS = [
    input_layer(1, 3, 9, 9),
    MAKE.conv("conv", "data", 3, 4),
    MAKE.batch_norm("bn", "conv", 4, top="conv"),
    relu("relu", "conv"),
]
REFERENCE = ("--runtime", "reference")


@pytest.fixture
def before(tmp_path: Path) -> tuple[str, str]:
    prototxt, caffemodel = write_pair(tmp_path, LAYERS)
    return str(prototxt), str(caffemodel)


@pytest.fixture
def after(before: tuple[str, str], tmp_path: Path) -> tuple[str, str]:
    caffefold.convert(*before, tmp_path / "folded")
    return str(tmp_path / "folded.prototxt"), str(tmp_path / "folded.caffemodel")


def test_an_equal_pair(cli: Cli, before: tuple[str, str], after: tuple[str, str]) -> None:
    done = cli("verify", *before, *after, *REFERENCE)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:3] == [
        "before    net, 4 layers, in float64 reference",
        "after     net, 3 layers, in float64 reference",
        "input     2 batches of random input, seed 1",
    ]
    assert lines[3].startswith("output    conv: equal, off by ")
    assert lines[4:] == ["verdict   equal"]


def test_a_different_pair(cli: Cli, before: tuple[str, str], tmp_path: Path) -> None:
    other = write_pair(tmp_path, [*LAYERS[:2], *LAYERS[3:]], "other")
    done = cli("verify", *before, *map(str, other), *REFERENCE, expect=1)
    assert done.out.splitlines()[-2:] == [
        "begins    'conv@relu' is the first shared blob that differs",
        "verdict   different",
    ]
    done = cli("verify", *before, *map(str, other), *REFERENCE, "--json", expect=1)
    assert json.loads(done.out)["verdict"] == "different"


def test_options_are_read(cli: Cli, before: tuple[str, str], after: tuple[str, str]) -> None:
    options = ("--mean", "104,117,123", "--scale", "0.017", "--batches", "3", "--seed", "4")
    done = cli("verify", *before, *after, *REFERENCE, *options, "--json")
    document = json.loads(done.out)
    assert (done.code, document["batches"], document["seed"]) == (0, 3, 4)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["a"], "give PROTOTXT CAFFEMODEL twice, or PROTOTXT CAFFEMODEL MODEL.onnx"),
        (["a", "b", "c"], "give PROTOTXT CAFFEMODEL twice"),
        (["a", "b", "c", "d", "--mean", "x"], "'x' is not a list of numbers"),
        (["a", "b", "c", "d", "--batches", "0"], "Invalid value for '--batches'"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: list[str], complaint: str) -> None:
    done = cli("verify", *arguments, expect=2)
    assert complaint in done.err


def test_a_wrong_runtime(cli: Cli, before: tuple[str, str], after: tuple[str, str]) -> None:
    done = cli("verify", *before, *after, "--runtime", "tf", expect=2)
    assert "--runtime tf: not a runtime; choose from onnxruntime, opencv" in done.err


def test_a_page(cli: Cli, before: tuple[str, str], after: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    done = cli("verify", *before, *after, *REFERENCE, "--html", path)
    assert "layer" not in [line.split()[0] for line in done.out.splitlines()]
    assert path.read_text().startswith("<!doctype html>")
    done = cli("verify", *before, *after, *REFERENCE, "--html", path, expect=3)
    assert "page.html" in done.err
    cli("verify", *before, *after, *REFERENCE, "--html", path, "--force")
