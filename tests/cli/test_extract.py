"""``caffefold extract`` and commands that are given a caffemodel alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from google.protobuf import text_format

from caffefold._proto import caffe_pb2

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


def test_a_snapshot_of_the_oldest_format(cli: Cli, pair: Pair) -> None:
    """V0: each layer's parameters stand in one message, a kernel is ``kernelsize``."""
    old = caffe_pb2.NetParameter(name="old", input=["data"], input_dim=[1, 1, 4, 4])
    for name, kind, bottom in (
        ("pad", "padding", "data"),
        ("c", "conv", "pad"),
        ("r", "relu", "c"),
    ):
        made = old.layers.add(bottom=[bottom], top=["c" if name == "r" else name])
        made.layer.name, made.layer.type = name, kind
    pad, conv = old.layers[0].layer, old.layers[1].layer
    pad.pad = 1
    conv.num_output, conv.kernelsize, conv.stride, conv.biasterm = 2, 3, 2, False
    numbers = next(layer.blobs[0] for layer in pair.read().layer if layer.name == "conv1")
    conv.blobs.append(numbers)
    pair.caffemodel.write_bytes(old.SerializeToString())
    cli("extract", pair.caffemodel, "-o", "train.prototxt")
    found = text_format.Parse((cli.folder / "train.prototxt").read_text(), caffe_pb2.NetParameter())
    assert [(each.name, each.type) for each in found.layer if each.type != "Input"] == [
        ("c", "Convolution"),
        ("r", "ReLU"),
    ]
    wanted = caffe_pb2.ConvolutionParameter(
        num_output=2, kernel_size=[3], stride=[2], pad=[1], bias_term=False
    )
    assert next(each for each in found.layer if each.name == "c").convolution_param == wanted
    cli("convert", pair.caffemodel, "-o", "net")
    assert (
        "equal"
        in cli(
            "verify",
            "train.prototxt",
            pair.caffemodel,
            "net.prototxt",
            "net.caffemodel",
            "--runtime",
            "reference",
        ).out
    )


def test_what_is_neither_is_named(cli: Cli) -> None:
    (cli.folder / "net.onnx").write_bytes(b"\x08\x08\x12\x07pytorch\x3a\x05\x12\x03abc")
    ran = cli("convert", "net.onnx", "-o", "out", expect=3)
    assert "net.onnx: this is an ONNX model, not a prototxt; " in ran.err
    ran = cli("convert", "https://example.org/net.caffemodel", "-o", "out", expect=3)
    assert "this is a URL; download the prototxt first" in ran.err
