"""``caffefold extract`` and commands that are given a caffemodel alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair


def test_it_is_written(cli: Cli, pair: Pair) -> None:
    ran = cli("extract", pair.caffemodel, "-o", "train.prototxt")
    assert ran.err == ""
    assert ran.out.splitlines() == [
        f"read      {pair.caffemodel}",
        "net       tiny, 6 layers",
        "wrote     train.prototxt",
    ]
    again = cli("extract", pair.caffemodel, "-o", "train.prototxt", expect=3)
    assert again.err == "error: train.prototxt: already exists; use --force to replace it\n"
    assert cli("diff", "train.prototxt", pair.prototxt).code == 0


def test_it_is_printed(cli: Cli, pair: Pair) -> None:
    ran = cli("extract", pair.caffemodel)
    assert ran.out.startswith('name: "tiny"\nlayer {\n  name: "data"\n  type: "Input"\n')
    document = json.loads(cli("extract", pair.caffemodel, "--json").out)
    assert document["text"].splitlines() == ran.out.splitlines()
    assert (document["schema"], document["layers"]) == (1, 6)


def test_a_caffemodel_alone_is_converted_and_shown(cli: Cli, pair: Pair) -> None:
    ran = cli("convert", pair.caffemodel, "-o", "net")
    assert "net       tiny: 6 layers -> 4" in ran.out
    assert "conv1" in cli("inspect", pair.caffemodel).out
    refused = cli("convert", pair.caffemodel, "--no-weights", "-o", "other", expect=2)
    assert "--no-weights goes with a prototxt, and this is a caffemodel" in refused.err


def test_numbers_that_follow_from_blobs_are_notes(cli: Cli, pair: Pair) -> None:
    net = pair.read()
    net.layer[-1].ClearField("inner_product_param")
    pair.write(net)
    ran = cli("extract", pair.caffemodel, "-o", "train.prototxt")
    assert ran.err == "note: layer 'fc': num_output 3 by its blobs\n"


def test_what_is_neither_is_named(cli: Cli) -> None:
    (cli.folder / "net.onnx").write_bytes(b"\x08\x08\x12\x07pytorch\x3a\x05\x12\x03abc")
    ran = cli("convert", "net.onnx", "-o", "out", expect=3)
    assert "net.onnx: this is an ONNX model, not a prototxt; " in ran.err
    ran = cli("convert", "https://example.org/net.caffemodel", "-o", "out", expect=3)
    assert "this is a URL; download the prototxt first" in ran.err
