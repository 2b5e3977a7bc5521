"""``caffefold inspect`` as a user meets it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import caffefold
from caffefold.analysis.health import THRESHOLD

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair

TABLE = """\
net       tiny
input     data 1x1x4x4
output    fc 1x3

layer   type          output   parameters  MACs  memory
data    Input         1x1x4x4           0     0    64 B
conv1   Convolution   1x2x2x2          18    72    32 B
bn1     BatchNorm     1x2x2x2           5     8       0
scale1  Scale         1x2x2x2           4     8       0
relu1   ReLU          1x2x2x2           0     0       0
fc      InnerProduct  1x3              27    24    12 B
total   6 layers                       54   112   108 B

statistics of     factor  min variance  gamma of  channels  dead  |gamma|<0.001
bn1                    4           0.5  scale1           2     0           0.0%
all with a gamma                                         2     0           0.0%
"""


def test_a_pair(cli: Cli, pair: Pair) -> None:
    ran = cli("inspect", pair.prototxt, pair.caffemodel)
    assert ran.out == TABLE
    assert ran.err == ""


def test_a_prototxt_alone(cli: Cli, pair: Pair) -> None:
    ran = cli("inspect", pair.prototxt)
    assert ran.out == TABLE.partition("\nstatistics")[0]


def test_a_caffemodel_alone(cli: Cli, pair: Pair) -> None:
    ran = cli("inspect", pair.caffemodel)
    assert "conv1   Convolution   2x1x3x3          18\n" in ran.out
    assert "bn1     BatchNorm     2, 2, 1           5\n" in ran.out
    assert "total   6 layers                       54\n" in ran.out
    assert "MACs" not in ran.out


def test_what_is_unknown_is_a_question_mark(cli: Cli, pair: Pair) -> None:
    pair.replace('"ReLU"', '"New"')
    ran = cli("inspect", pair.prototxt)
    assert "relu1   New           ?                 ?       ?         0\n" in ran.out
    assert "total   6 layers                   27 + ?  88 + ?  96 B + ?\n" in ran.out


def test_threshold(cli: Cli, pair: Pair) -> None:
    ran = cli("inspect", pair.prototxt, pair.caffemodel, "--threshold", "1")
    assert "|gamma|<1\n" in ran.out
    assert ran.out.endswith("2     0      50.0%\n")
    assert inspect.signature(caffefold.inspect).parameters["threshold"].default == THRESHOLD


def test_json(cli: Cli, pair: Pair) -> None:
    found = json.loads(cli("inspect", pair.prototxt, pair.caffemodel, "--json").out)
    assert found["schema"] == 1
    assert found["totals"]["macs"] == 112
    assert found["norms"]["threshold"] == THRESHOLD


def test_options_reach_the_library(cli: Cli, pair: Pair) -> None:
    pair.replace("num_output: 2", "num_output: ${width}")
    ran = cli("inspect", pair.prototxt, "--set", "width=7", "--input-shape", "data=2,1,9,9")
    assert "conv1   Convolution   2x7x7x7" in ran.out
    assert "bn1     BatchNorm     2x7x7x7" in ran.out


def test_advice_names_the_option_of_the_command(cli: Cli, pair: Pair) -> None:
    pair.replace("num_output: 3", "num_output: cls3x")
    ran = cli("inspect", pair.prototxt)
    assert "num_output is cls3x, a placeholder for 3 x the number of classes" in ran.err
    assert "give --classes N" in ran.err


def test_problems_are_warnings(cli: Cli, pair: Pair) -> None:
    ran = cli("inspect", pair.prototxt, pair.caffemodel, "--input-shape", "data=1,1,2,2")
    assert ran.err.startswith("warning: ")
    assert "layer 'conv1': its window of 3 is larger than its input of 2" in ran.err
    assert "conv1   Convolution   ?" in ran.out


def test_textconv(cli: Cli, pair: Pair) -> None:
    text = cli("inspect", "--textconv", pair.prototxt).out
    assert text.startswith('name: "tiny"\nlayer {\n  name: "data"\n')
    weights = cli("inspect", "--textconv", pair.caffemodel).out.splitlines()
    assert weights[:3] == ['caffemodel "tiny"', 'layer "data" Input', 'layer "conv1" Convolution']
    assert weights[3].startswith("  blob 0: 2 x 1 x 3 x 3 float32 sha256:")
    copy = pair.caffemodel.with_name("elsewhere")
    copy.write_bytes(pair.caffemodel.read_bytes())
    assert cli("inspect", "--textconv", copy).out.splitlines() == weights


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("inspect",), 2, "Missing argument 'NET'"),
        (("inspect", "net.prototxt", "--textconv", "--json"), 2, "--textconv takes one file"),
        (("inspect", "net.prototxt", "--threshold", "-1"), 2, "--threshold"),
        (("inspect", "missing.prototxt"), 3, "no such file"),
        (("inspect", "--textconv", "missing.prototxt"), 3, "no such file"),
    ],
)
def test_refusals(cli: Cli, arguments: tuple[str, ...], code: int, complaint: str) -> None:
    ran = cli(*arguments, expect=code)
    assert ran.out == ""
    assert complaint in ran.err


def test_an_unknown_input_is_a_usage_error(cli: Cli, pair: Pair) -> None:
    ran = cli("inspect", pair.prototxt, "--input-shape", "image=1,1,4,4", expect=2)
    assert ran.err == (
        "error: --input-shape image=...: 'image' is not an input of this net; its inputs are data\n"
    )


def test_the_table_fits_a_page(cli: Cli, samples: Path) -> None:
    folder = samples / "mobilenet_ssd_shapes"
    ran = cli("inspect", folder / "deploy_bn.prototxt", folder / "shapes_iter_9000.caffemodel")
    assert max(map(len, ran.out.splitlines())) <= 100
    assert "total" in ran.out
