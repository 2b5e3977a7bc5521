"""Options of convert that concern training nets, on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.deploy import net

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

TRAIN = net(
    """
    data ImageData -> data label { transform_param { crop_size: 8 } }
    fc InnerProduct data -> fc { inner_product_param { num_output: 2 } }
    top1 Accuracy fc label -> top1 { include { phase: TEST } }
    top5 Accuracy fc label -> top5 { include { phase: TEST } }
    loss SoftmaxWithLoss fc label -> loss
    """
)


@pytest.fixture
def train(cli: Cli) -> str:
    (cli.folder / "train.prototxt").write_text(TRAIN, encoding="utf-8")
    return "train.prototxt"


def test_summary_without_weights(cli: Cli, train: str) -> None:
    ran = cli("convert", train, "--no-weights", "-o", "out/net")
    assert ran.out.splitlines()[:5] == [
        "net       (no name): 5 layers -> 3",
        "heads     top1, top5: Accuracy -> nothing, it only measures",
        "heads     loss: SoftmaxWithLoss -> Softmax",
        "inputs    data: ImageData -> Input data 1x3x8x8",
        "cost                      before      after",
    ]
    assert "folded    nothing to fold\n" in ran.out
    assert "left" not in ran.out
    assert "proof     the wiring is checked, with made-up weights: there are none" in ran.out
    assert ran.err == ""


def test_options_arrive(cli: Cli, train: str) -> None:
    options = "--batch 4 --input-style legacy --prob-name p --head loss=Softmax --output p"
    cli("convert", train, "--no-weights", "-o", "net", *options.split())
    text = (cli.folder / "net.prototxt").read_text(encoding="utf-8")
    assert 'input: "data"\ninput_shape {\n  dim: 4\n' in text
    assert 'name: "p"\n  type: "Softmax"' in text


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--nms-threshold 0.5", "thresholds for a DetectionOutput: no effect"),
        ("--keep conv*", "--keep conv*: no effect; no layer has that name"),
        ("--head YoloDetectionOutput", "--head YoloDetectionOutput: no effect"),
        ("--head none --prob-name p", "--prob-name p: no effect"),
        ("--classes 3", "--classes 3: no effect; this net has no placeholder and no detector"),
        ("--level 2", "--level 2: no effect; no rule of this net has a level"),
        ("--unshare", "--unshare: no effect; no layers share weights"),
    ],
)
def test_options_without_effect_are_told(cli: Cli, train: str, option: str, told: str) -> None:
    ran = cli("convert", train, "--no-weights", "-o", "net", *option.split())
    assert ran.err.startswith(f"warning: {told}")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--output fd", "--output fd: the deploy net has no blob of that name"),
        ("--stage val", "--stage val: no rule in this net names it; its stages are none"),
        ("--input-shape dta=1,3,8,8", "'dta' is not an input of this net; its inputs are data"),
        ("--head lss=none", "'lss' is not a loss of this net; its losses are loss"),
        ("--bypass fd", "--bypass fd: no layer of that name has a bottom and a top"),
    ],
)
def test_names_that_nothing_has_are_refused(cli: Cli, train: str, option: str, told: str) -> None:
    ran = cli("convert", train, "--no-weights", "-o", "net", *option.split(), expect=2)
    assert told in ran.err
    assert ran.err.count("\n") == 1


def test_a_layer_in_the_trunk_that_needs_labels(cli: Cli) -> None:
    text = net(
        """
        data Data -> data label { transform_param { crop_size: 8 force_color: true } }
        conv Convolution data -> conv { convolution_param { num_output: 2 kernel_size: 1 } }
        lift Riddle conv label -> lift
        fc InnerProduct lift -> fc { inner_product_param { num_output: 2 } }
        loss SoftmaxWithLoss fc label -> loss
        """
    )
    (cli.folder / "train.prototxt").write_text(text, encoding="utf-8")
    command = ("convert", "train.prototxt", "--no-weights", "-o", "net")
    ran = cli(*command, expect=3)
    assert "train.prototxt:3:1: layer 'lift': Riddle reads 'label', which only" in ran.err
    assert "give --bypass lift if it passes its input on at test time, or --output BLOB" in ran.err
    ran = cli(*command, "--bypass", "lift")
    assert "heads     lift: Riddle -> nothing, 'conv' is passed on as it is" in ran.out
