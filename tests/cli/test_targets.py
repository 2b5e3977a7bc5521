"""``caffefold targets``, and what ``convert`` says for one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from caffefold.targets import TARGETS

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair


def test_the_list(cli: Cli) -> None:
    lines = cli("targets").out.splitlines()
    assert [line.split()[0] for line in lines] == list(TARGETS)
    assert any("1x1 Convolution" in line for line in lines if line.startswith("caffe2onnx"))


@pytest.mark.parametrize("name", TARGETS)
def test_one_with_its_sources(cli: Cli, name: str) -> None:
    out = cli("targets", name).out
    for fact, source in TARGETS[name].facts:
        assert f"{fact} ({source})" in out


def test_json(cli: Cli) -> None:
    document = json.loads(cli("targets", "--json").out)
    assert document["schema"] == 1
    assert list(document["targets"]) == list(TARGETS)
    assert document["targets"]["ppq"]["input_style"] == "legacy"


def test_a_name_that_is_not_there(cli: Cli) -> None:
    ran = cli("targets", "tensorflow", expect=2)
    assert "no target 'tensorflow'" in ran.err
    assert "opencv" in ran.err


def test_the_next_step_of_a_target(cli: Cli, pair: Pair) -> None:
    ran = cli("convert", pair.prototxt, pair.caffemodel, "-o", "net", "--target", "ncnn")
    command = "caffe2ncnn net.prototxt net.caffemodel net.param net.bin"
    assert command in " ".join(ran.out.split())
    assert json.loads((cli.folder / "net.report.json").read_text())["next_step"] == [command]
    assert json.loads((cli.folder / "net.report.json").read_text())["target"] == "ncnn"


def test_types_of_forks_in_the_next_step(cli: Cli, pair: Pair) -> None:
    """OpenCV takes a pair as it is, unless a layer is one that it may not know."""
    cli("convert", pair.prototxt, pair.caffemodel, "-o", "net")
    plain = json.loads((cli.folder / "net.report.json").read_text())["next_step"]
    assert plain[0].startswith("net = cv2.dnn.readNetFromCaffe(")
    text = (cli.folder / "net.prototxt").read_text()
    (cli.folder / "fork.prototxt").write_text(
        text + '\nlayer { name: "m" type: "Mish" bottom: "data" top: "m" }\n'
    )
    cli("convert", "fork.prototxt", "net.caffemodel", "-o", "fork.out")
    said = json.loads((cli.folder / "fork.out.report.json").read_text())["next_step"]
    assert said[0] == "# OpenCV may not know Mish; give --target opencv"
    assert said[1].startswith("net = cv2.dnn.readNetFromCaffe(")
