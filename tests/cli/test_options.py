"""Options that contradict the files are usage errors; open placeholders name what sets them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from caffefold._proto import caffe_pb2
from caffefold.cli.convert import convert
from caffefold.cli.options import given, spelled
from caffefold.errors import Option
from caffefold.options import ConvertOptions, DetectionOptions
from caffefold.testing import LayerSpec, RandomLayers, write_pair

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair, Refused

SHAPES = Path(__file__).resolve().parents[2] / "sample_models/mobilenet_ssd_shapes"
TEMPLATE = SHAPES / "train_template.prototxt"
SNAPSHOT = SHAPES / "shapes_iter_9000.caffemodel"

# (what stands in the template, what the error says of it)
OPEN = [
    ("${stride}", "a placeholder without a value; give --set stride=VALUE"),
    ("@STRIDE@", "a placeholder without a value; give --set STRIDE=VALUE"),
    ("{{stride}}", "a placeholder without a value; give --set stride=VALUE"),
    ("{{ stride }}", "a placeholder without a value; give --set stride=VALUE"),
    ("cls2x", "a placeholder for 2 x the number of classes; give --classes N"),
    ("${num_classes}", "a placeholder; give --classes N or --set num_classes=VALUE"),
    ("wide", "a placeholder without a value; give --set wide=VALUE"),
]


@pytest.mark.parametrize(("token", "advice"), OPEN)
def test_open_placeholder(pair: Pair, refused: Refused, token: str, advice: str) -> None:
    """The weights do not tell a group: line, column, field and the option are named."""
    pair.replace("kernel_size: 3 bias", f"kernel_size: 3\n    group: {token}\n    bias")
    message = refused(pair.prototxt, pair.caffemodel, caret=True)
    assert f"net.prototxt:9:5: layer 'conv1': group is {token}, {advice}\n" in message


@pytest.mark.parametrize("token", ["${stride}", "@STRIDE@", "{{stride}}"])
def test_open_placeholder_that_nothing_reads(pair: Pair, refused: Refused, token: str) -> None:
    """A field of a layer that caffefold never looks at must not reach the deploy net open."""
    pair.replace('type: "ReLU"', f'type: "ReLU"\n  relu_param {{\n    engine: {token}\n  }}\n ')
    message = refused(pair.prototxt, pair.caffemodel, caret=True)
    assert "net.prototxt:17:5: layer 'relu1': engine is " in message
    assert "give --set " in message


@pytest.mark.parametrize(
    ("token", "option"),
    [
        ("${g}", ("--set", "g=1")),
        ("@g@", ("--set", "g=1")),
        ("{{ g }}", ("--set", "g=1")),
        ("g", ("--set", "g=1")),
        ("cls1x", ("--classes", "1")),
        ("${classes}", ("--classes", "1")),
        ("${classes}", ("--set", "classes=1")),
    ],
)
def test_the_option_fills_it(cli: Cli, pair: Pair, token: str, option: tuple[str, str]) -> None:
    pair.replace("kernel_size: 3 bias", f"kernel_size: 3 group: {token} bias")
    cli("convert", pair.prototxt, pair.caffemodel, "-o", "net", *option)
    text = (cli.folder / "net.prototxt").read_text(encoding="utf-8")
    assert "kernel_size: 3 group: 1 " in text


# ----------------------------------------------------------------------------- contradictions


def test_classes_that_contradict_the_weights(refused: Refused) -> None:
    message = refused(TEMPLATE, SNAPSHOT, "--classes", "21", code=2)
    assert "--classes 21: the weights of layer 'conv11_mbox_conf_new' give 4" in message


def test_classes_that_contradict_the_prototxt(refused: Refused) -> None:
    message = refused(SHAPES / "deploy_bn.prototxt", SNAPSHOT, "--classes", "21", code=2)
    assert "--classes 21: layer 'detection_out' sets num_classes: 4" in message


@pytest.mark.parametrize("token", ["${wide}", "@wide@", "{{wide}}", "wide"])
def test_set_that_contradicts_the_weights(pair: Pair, refused: Refused, token: str) -> None:
    pair.replace("num_output: 2", f"num_output: {token}")
    message = refused(pair.prototxt, pair.caffemodel, "--set", "wide=4", code=2)
    assert "--set wide=4: the weights of layer 'conv1' give 2" in message


def test_set_of_an_unknown_name(pair: Pair, refused: Refused) -> None:
    message = refused(pair.prototxt, pair.caffemodel, "--set", "wide=4", code=2)
    assert "--set wide=4: no placeholder of that name" in message


def test_weights_that_contradict_each_other(pair: Pair, refused: Refused) -> None:
    """One name, two numbers: no option can repair that."""
    pair.replace("num_output: 2", "num_output: ${n}")
    pair.replace("num_output: 3", "num_output: ${n}")
    message = refused(pair.prototxt, pair.caffemodel)
    assert "makes n 3 by its weights" in message
    assert "layer 'conv1' makes it 2" in message


def test_weights_that_are_no_multiple_of_the_classes(pair: Pair, refused: Refused) -> None:
    pair.replace("num_output: 3", "num_output: cls2x")
    message = refused(pair.prototxt, pair.caffemodel)
    assert "num_output is cls2x, the weights give 3, which is not a multiple of 2" in message


@pytest.mark.parametrize("name", ["dada", "conv1", "fc"])
def test_shape_of_an_unknown_input(pair: Pair, refused: Refused, name: str) -> None:
    shape = f"{name}=1,1,4,4"
    message = refused(pair.prototxt, pair.caffemodel, "--input-shape", shape, code=2)
    assert f"--input-shape {name}=...: '{name}' is not an input of this net" in message
    assert "its inputs are data" in message


def test_shape_that_the_weights_tell(pair: Pair, cli: Cli) -> None:
    """A Data layer reads a database; the fully connected layer takes images of one size."""
    pair.replace('type: "Input"', 'type: "Data"')
    pair.replace("input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } }", "")
    ran = cli("convert", pair.prototxt, pair.caffemodel, "-o", "out/net")
    assert "Data -> Input data 1x1x4x4 ('fc' takes 8 inputs: only 4x4 fits)" in ran.out


def test_shape_that_nobody_knows(cli: Cli, refused: Refused) -> None:
    """Nothing behind the database needs images of one size."""
    layers = [LayerSpec("data", "Data"), RandomLayers().conv("conv", "data", 1, 2)]
    message = refused(*write_pair(cli.folder, layers), code=2)
    assert (
        "net.prototxt:2:1: layer 'data': its text does not give the height and width of" in message
    )
    assert "give --input-shape data=1,1,H,W" in message


# --------------------------------------------------------------------------------- they work


@pytest.mark.parametrize("shape", ["data=2,1,4,4", "data=2x1x4x4", "data= 2, 1, 4, 4"])
def test_input_shape(cli: Cli, pair: Pair, shape: str) -> None:
    """It overrides what the net says, whether an Input layer or a data layer says it."""
    cli("convert", pair.prototxt, pair.caffemodel, "-o", "net", "--input-shape", shape)
    text = (cli.folder / "net.prototxt").read_text(encoding="utf-8")
    dims = text[text.index("shape") : text.index("}")].replace("dim:", " ").split()
    assert dims == ["shape", "{", "2", "1", "4", "4"]


def test_detection_options(cli: Cli) -> None:
    options = {
        "--nms-threshold": "0.5",
        "--top-k": "400",
        "--keep-top-k": "200",
        "--confidence-threshold": "0.01",
    }
    flags = [word for option in options.items() for word in option]
    cli("convert", TEMPLATE, SNAPSHOT, "-o", "net", "--classes", "4", *flags)
    text = (cli.folder / "net.prototxt").read_text(encoding="utf-8")
    values = " ".join(text[text.index("detection_output_param") :].split())
    assert "nms_param { nms_threshold: 0.5 top_k: 400 }" in values
    assert "keep_top_k: 200" in values
    assert "confidence_threshold: 0.01" in values
    written = caffe_pb2.NetParameter.FromString((cli.folder / "net.caffemodel").read_bytes())
    assert "mbox_loss" not in {layer.name for layer in written.layer}


def test_input_shape_with_other_channels(pair: Pair, refused: Refused) -> None:
    """Caffe would refuse the net; the weights say how many channels there are."""
    message = refused(pair.prototxt, pair.caffemodel, "--input-shape", "data=1,3,4,4")
    assert "layer 'conv1': its weights expect 1 channels, its input has 3" in message


def test_every_option_of_a_conversion_has_its_flag() -> None:
    """Which are derived, so that none can be forgotten; messages spell them the same way."""
    flags = {str(option.name): option.opts[0] for option in convert.params}
    options = {*vars(ConvertOptions()), *vars(DetectionOptions())} - {"detection"}
    assert options < set(flags)
    assert {name: spelled(Option(name)) for name in options} == {n: flags[n] for n in options}
    assert spelled(Option("input_shapes", "data=1,3")) == "--input-shape data=1,3"
    assert spelled(Option("force")) == "--force"


def test_what_the_command_line_sets_is_what_is_given() -> None:
    arguments = ["a", "-o", "b", "--classes", "3", "--top-k", "7", "--keep", "x", "--no-collapse"]
    with convert.make_context("convert", arguments) as context:
        assert given(context, ConvertOptions) == {
            "classes": 3,
            "detection": {"top_k": 7},
            "collapse": False,
            "keep": ("x",),
        }


@pytest.mark.parametrize(
    "command",
    [
        ("convert", "net.prototxt", "-o", "out/net", "--nms-threshold"),
        ("diff", "a.prototxt", "b.prototxt", "--rtol"),
    ],
)
def test_a_decimal_comma(cli: Cli, command: tuple[str, ...]) -> None:
    ran = cli(*command, "0,45", expect=2)
    assert "'0,45' is not a valid number; write 0.45, with a point" in ran.err
