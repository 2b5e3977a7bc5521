"""What a successful run prints, where, and that pipes get plain text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair

SHAPES = Path(__file__).resolve().parents[2] / "sample_models/mobilenet_ssd_shapes"
ESCAPE, RETURN = "\x1b", "\r"


def test_summary(cli: Cli, pair: Pair) -> None:
    ran = cli("convert", pair.prototxt, pair.caffemodel, "-o", "out/net")
    rows = [line.split(maxsplit=1) for line in ran.out.splitlines()]
    labels = ["net", "cost", "layers", "parameters", "MACs", "weights", "activations", "folded"]
    labels += ["proof", "wrote", "wrote", "wrote", "next"]
    assert [label for label, *_ in rows][: len(labels)] == labels
    assert rows[12][1] == "net = cv2.dnn.readNetFromCaffe('out/net.prototxt', 'out/net.caffemodel')"
    said = dict(rows)
    assert said["net"] == "tiny: 6 layers -> 4"
    assert said["folded"] == "2 layers into 1: BatchNorm + Scale into Convolution"
    table = [line.split() for line in ran.out.splitlines()[1:7]]
    assert table[:4] == [
        ["cost", "before", "after"],
        ["layers", "6", "4"],
        ["parameters", "54", "47"],
        ["MACs", "112", "96"],
    ]
    assert said["proof"].startswith("1 fold checked, largest error ")
    assert ran.err == ""
    written = sorted(path.name for path in (cli.folder / "out").iterdir())
    assert written == ["net.caffemodel", "net.prototxt", "net.report.json"]


def test_summary_of_the_main_job(cli: Cli) -> None:
    template, snapshot = SHAPES / "train_template.prototxt", SHAPES / "shapes_iter_9000.caffemodel"
    ran = cli("convert", template, snapshot, "-o", "out/net")
    for line in (
        "net       MobileNet-SSD: 187 layers -> 120\n",
        "template  cls6x = 24\n",
        (
            "heads     mbox_loss: MultiBoxLoss -> Reshape, Softmax, Flatten, DetectionOutput with "
            "confidence_threshold 0.25, keep_top_k 100, nms_threshold 0.45, top_k 100\n"
        ),
        "inputs    data: AnnotatedData -> Input data 1x3x160x160\n",
        "          parameters      388.5K       379K\n",
        "          activations     3.0 MB     3.0 MB  without 1 layer of unknown shape\n",
        "folded    70 layers into 35: BatchNorm + Scale into Convolution\n",
        "proof     35 folds checked, ",
    ):
        assert line in ran.out
    assert ran.err == ""


def test_what_is_left_is_said_with_the_reason(cli: Cli, pair: Pair) -> None:
    pair.replace(
        'name: "bn1"',
        'name: "first" type: "ReLU" bottom: "conv1" top: "conv1" }\nlayer { name: "bn1"',
    )
    ran = cli("convert", pair.prototxt, pair.caffemodel, "-o", "net")
    merged = "1 BatchNorm + Scale became one Scale: its input comes from a ReLU, and its result is"
    assert f"\nmerged    {merged} read by a ReLU [NOT_LINEAR]\n" in ran.out
    assert "\nleft" not in ran.out
    assert "\nfolded" not in ran.out
    ran = cli("convert", pair.prototxt, pair.caffemodel, "-o", "other", "--no-collapse")
    why = "its input comes from 'first' (ReLU), and its result is read by 'relu1' (ReLU)"
    assert f"\nleft      1 BatchNorm (bn1): {why} [NOT_LINEAR]\n" in ran.out


def test_warnings_go_to_stderr(cli: Cli, pair: Pair) -> None:
    net = pair.read()
    extra = net.layer.add(name="stranger", type="Convolution")
    extra.blobs.add().data.append(1.0)
    extra.blobs[0].shape.dim.append(1)
    pair.write(net)
    ran = cli("convert", pair.prototxt, pair.caffemodel, "-o", "net")
    assert ran.err.startswith("warning: the caffemodel has weights for 1 layer ('stranger') that")
    assert "--keep-records keeps them" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert "warning" not in ran.out


def test_notes_are_no_warnings(cli: Cli, pair: Pair) -> None:
    """That the net was found through a solver is how it was read; nothing is wrong with it."""
    (cli.folder / "solver.prototxt").write_text(f'net: "{pair.prototxt}"\n', encoding="utf-8")
    ran = cli("convert", "solver.prototxt", pair.caffemodel, "-o", "net", "--json")
    document = json.loads(ran.out)
    (note,) = document["notes"]
    assert document["warnings"] == []
    assert ran.err == f"note: {note}\n"
    quiet = cli("-q", "convert", "solver.prototxt", pair.caffemodel, "-o", "other")
    assert quiet.err == ""


def test_json_is_one_document(cli: Cli, pair: Pair) -> None:
    ran = cli("convert", pair.prototxt, pair.caffemodel, "-o", "out/net", "--json")
    document = json.loads(ran.out)
    assert document["schema"] == 1
    assert ran.out == (cli.folder / "out/net.report.json").read_text(encoding="utf-8")
    assert document["layers"] == {"before": 6, "after": 4}
    assert [fold["folded"] for fold in document["proof"]["folds"]] == [["bn1", "scale1"]]
    assert ran.err == ""


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_quiet_prints_nothing(cli: Cli, pair: Pair, flags: tuple[str, ...]) -> None:
    ran = cli("-q", "convert", pair.prototxt, pair.caffemodel, "-o", "net", *flags)
    assert (ran.out, ran.err) == ("", "")
    assert (cli.folder / "net.caffemodel").exists()


def test_quiet_still_prints_errors(cli: Cli, pair: Pair) -> None:
    pair.caffemodel.unlink()
    ran = cli("-q", "convert", pair.prototxt, pair.caffemodel, "-o", "net", expect=3)
    assert ran.out == ""
    assert ran.err.startswith("error: ")


@pytest.mark.parametrize("flag", ["-v", "-vv"])
def test_verbose_leaves_the_result_as_it_is(cli: Cli, pair: Pair, flag: str) -> None:
    plain = cli("convert", pair.prototxt, pair.caffemodel, "-o", "net", "--json")
    told = cli(flag, "convert", pair.prototxt, pair.caffemodel, "-o", "net", "--json", "--force")
    assert told.out == plain.out


# ------------------------------------------------------------------------------------ colour


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, False),
        ({"NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": ""}, False),
    ],
)
@pytest.mark.parametrize("stream", ["out", "err"])
def test_colour(
    cli: Cli, pair: Pair, variables: dict[str, str], coloured: bool, stream: str
) -> None:
    """Pipes get none unless FORCE_COLOR says so; NO_COLOR has the last word."""
    run = replace(cli, variables=variables)
    if stream == "out":
        text = run("convert", pair.prototxt, pair.caffemodel, "-o", "net").out
    else:
        text = run("convert", "missing.prototxt", pair.caffemodel, "-o", "net", expect=3).err
    assert (ESCAPE in text) == coloured
    assert RETURN not in text


def test_json_is_never_coloured(cli: Cli, pair: Pair) -> None:
    run = replace(cli, variables={"FORCE_COLOR": "1"})
    ran = run("convert", pair.prototxt, pair.caffemodel, "-o", "net", "--json")
    assert ESCAPE not in ran.out


# --------------------------------------------------------------------------- names and signals


@pytest.mark.parametrize("name", ["Gewicht größer", "重み", "a b", "-dash"])
def test_any_name_will_do(cli: Cli, pair: Pair, name: str) -> None:
    cli("convert", pair.prototxt, pair.caffemodel, "-o", f"./{name}")
    assert (cli.folder / f"{name}.caffemodel").exists()


@pytest.mark.parametrize("variables", [{}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_a_name_that_is_not_utf8(cli: Cli, pair: Pair, variables: dict[str, str]) -> None:
    """File names are bytes; what the terminal can not show must not stop the work."""
    run = replace(cli, variables=variables)
    run("convert", pair.prototxt, pair.caffemodel, "-o", "n\udcff")
    assert (cli.folder / "n\udcff.caffemodel").exists()
    json.loads((cli.folder / "n\udcff.report.json").read_bytes())


def test_a_layer_name_that_is_not_utf8(cli: Cli, pair: Pair) -> None:
    """Old nets were written in many encodings."""
    for path in (pair.prototxt, pair.caffemodel):
        path.write_bytes(path.read_bytes().replace(b"scale1", b"scal\xe9\xe9"))
    cli("convert", pair.prototxt, pair.caffemodel, "-o", "net")
    document = json.loads((cli.folder / "net.report.json").read_bytes())
    assert document["proof"]["folds"][0]["folded"] == ["bn1", "scal\udce9\udce9"]


_INTERRUPTED = """
import os, signal, sys
import caffefold.conversion, caffefold.files
from caffefold.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs inherit it ignored
caffefold.{where} = lambda *_, **__: os.kill(os.getpid(), signal.{name})
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "where", ["conversion._to_deploy", "files.write_weights", "conversion._prove"]
)
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_interrupted(cli: Cli, pair: Pair, where: str, name: str, code: int) -> None:
    """Ctrl-C, or ``kill``, ``timeout`` and what stops containers: nothing is left behind."""
    before = sorted(cli.folder.rglob("*"))
    script = _INTERRUPTED.format(where=where, name=name)
    run = replace(cli, prefix=(*cli.prefix[:1], "-c", script))
    ran = run("convert", pair.prototxt, pair.caffemodel, "-o", "net", expect=code)
    assert ran.out == ""
    if name == "SIGINT":
        assert ran.err.lstrip() == "error: interrupted; no output was written\n"
    assert sorted(cli.folder.rglob("*")) == before
