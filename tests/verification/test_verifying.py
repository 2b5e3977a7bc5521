"""Two nets side by side: what is equal, what is not, and what nobody can say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.ir.net import Net
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair
from caffefold.verification.judging import Case, judge
from tests.verification.conftest import LAYERS, MAKE, Make

REFERENCE: dict[str, Any] = {"runtime": "reference"}


def changed(name: str, change: Callable[[LayerSpec], LayerSpec | None]) -> list[LayerSpec]:
    """The layers with one of them changed, or without it."""
    made = (change(each) if each.name == name else each for each in LAYERS)
    return [each for each in made if each is not None]


def with_blob(index: int, change: Callable[[Any], object]) -> Callable[..., LayerSpec]:
    """A change of one blob in place."""

    def make(layer: LayerSpec) -> LayerSpec:
        blobs = [np.array(blob, np.float32) for blob in layer.blobs]
        change(blobs[index])
        return layer._replace(blobs=blobs)

    return make


def test_a_fold_is_equal(net: Net, folded: Net) -> None:
    found = caffefold.verify(net, folded, **REFERENCE)
    assert found.verdict == "equal"
    (prob,) = found.outputs
    assert prob.blob == "prob"
    assert 0 < prob.error <= prob.budget < 1e-5
    assert prob.top1 == prob.top5 == 1
    assert prob.cosine == pytest.approx(1, abs=1e-9)
    assert (found.a.layers, found.b.layers) == (11, 7)


FAULTS = {
    "a channel 1 % off": changed("conv2", with_blob(0, lambda w: np.multiply(w[3], 1.01, w[3]))),
    "a bias dropped": changed("conv2", with_blob(1, lambda b: b.fill(0))),
    "two channels exchanged": changed(
        "conv1", with_blob(0, lambda w: np.copyto(w, w[::-1].copy()))
    ),
    "eps swapped": changed("bn2", lambda x: x._replace(params="batch_norm_param { eps: 0.01 }")),
    "factor ignored": changed("bn1", with_blob(2, lambda f: f.fill(1))),
    "an activation lost": changed("relu1", lambda _: None),
    "another activation": changed("relu2", lambda x: x._replace(type="Sigmoid")),
    "an output renamed": changed("prob", lambda x: x._replace(tops="probs")),
    "a scale lost": changed("small", lambda x: x._replace(params="power_param { scale: 0.0201 }")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, net: Net, net_of: Make) -> None:
    found = caffefold.verify(net, net_of(FAULTS[fault]), **REFERENCE)
    assert found.verdict == "different"


def test_where_a_difference_begins(net: Net, net_of: Make) -> None:
    wrong = net_of(FAULTS["a channel 1 % off"])
    found = caffefold.verify(net, wrong, **REFERENCE)
    assert found.begins == "conv2"
    assert found.layers == ()
    found = caffefold.verify(net, wrong, layers=True, **REFERENCE)
    assert [(each.blob, each.verdict) for each in found.layers] == [
        ("conv1@bn1", "equal"),
        ("conv1@scale1", "equal"),
        ("conv1@relu1", "equal"),
        ("conv1", "equal"),
        ("conv2", "different"),
        ("bn2@relu2", "different"),
        ("bn2", "different"),
        ("fc", "different"),
        ("small", "different"),
        ("prob", "different"),
    ]


def test_a_stride_is_a_shape(net_of: Make) -> None:
    made = [input_layer(1, 3, 9, 9), MAKE.conv("conv", "data", 3, 4)]
    other = [made[0], made[1]._replace(params=made[1].params.replace("}", "stride: 2 }"))]
    found = caffefold.verify(net_of(made), net_of(other), **REFERENCE)
    assert found.verdict == "different"
    assert found.outputs[0].reason == "shape 1x4x4x4 instead of 1x4x7x7"


def test_other_inputs_are_different(net: Net, net_of: Make) -> None:
    renamed = [input_layer(2, 3, 9, 9, name="image")]
    renamed += [x._replace(bottoms="image") if x.bottoms == "data" else x for x in LAYERS[1:]]
    found = caffefold.verify(net, net_of(renamed), **REFERENCE)
    assert found.verdict == "different"
    assert found.outputs[0].reason == "the inputs are 'image', not 'data'"


def test_an_output_more_is_different(net: Net, net_of: Make) -> None:
    more = [*LAYERS, LayerSpec("more", "ReLU", "fc", "more")]
    found = caffefold.verify(net, net_of(more), **REFERENCE)
    assert [(each.blob, each.verdict) for each in found.outputs] == [
        ("prob", "equal"),
        ("more", "different"),
    ]


# ------------------------------------------------------------------------------ inconclusive


def ends_in(*layers: LayerSpec) -> list[LayerSpec]:
    return [input_layer(2, 3, 9, 9), MAKE.conv("conv", "data", 3, 4), *layers]


NOTHING = {
    "all zero": [LayerSpec("end", "Power", "conv", params="power_param { scale: 0 }")],
    "constant": [LayerSpec("end", "Power", "conv", params="power_param { scale: 0 shift: 3 }")],
    "saturated": [
        LayerSpec("much", "Power", "conv", params="power_param { scale: 1e6 }"),
        LayerSpec("end", "Softmax", "much"),
    ],
    "NaN or infinite in the first net": [LayerSpec("end", "Log", "conv")],
}


@pytest.mark.parametrize("why", NOTHING)
def test_what_says_nothing_is_inconclusive(why: str, net_of: Make) -> None:
    layers = ends_in(*NOTHING[why])
    (end,) = caffefold.verify(net_of(layers), net_of(layers), **REFERENCE).outputs
    assert (end.verdict, end.reason) == ("inconclusive", why)


def test_what_is_in_front_decides(net_of: Make) -> None:
    """A layer that is alike in both nets makes the same of the same; one that is not does not."""
    layers = ends_in(*NOTHING["all zero"])
    found = caffefold.verify(net_of(layers), net_of(layers), **REFERENCE)
    assert found.verdict == "equal"
    assert found.outputs[0].by == ("conv",)
    other = [*layers[:2], layers[2]._replace(params="power_param { scale: 0 power: 2 }")]
    found = caffefold.verify(net_of(layers), net_of(other), **REFERENCE)
    assert found.verdict == "inconclusive"
    assert found.outputs[0].by == ()


def test_a_difference_in_front_of_nothing(net_of: Make) -> None:
    """Both end in zeros; what was made them differs."""
    layers = ends_in(*NOTHING["all zero"])
    other = [layers[0], RandomLayers(seed=9).conv("conv", "data", 3, 4), layers[2]]
    found = caffefold.verify(net_of(layers), net_of(other), **REFERENCE)
    assert found.verdict == "different"
    assert found.outputs[0].reason == "all zero; 'conv' in front of it differs"


def test_a_difference_that_no_output_shows(net_of: Make) -> None:
    """Behind a dead ReLU in place, a channel may be anything; what the ReLU reads says so."""
    layers = ends_in(
        relu("relu", "conv"),
        MAKE.inner_product("fc", "conv", 196, 5),
    )
    layers[1] = with_blob(1, lambda b: np.put(b, 2, -1e3))(layers[1])
    other = [layers[0], with_blob(0, lambda w: np.multiply(w[2], 1.5, w[2]))(layers[1])]
    found = caffefold.verify(net_of(layers), net_of([*other, *layers[2:]]), **REFERENCE)
    assert [(each.blob, each.verdict) for each in found.outputs] == [("fc", "equal")]
    assert [each.blob for each in found.inside] == ["conv@relu"]
    assert (found.verdict, found.begins) == ("different", "conv@relu")


def test_a_name_for_another_blob_is_no_difference(net_of: Make, tmp_path: Path) -> None:
    """An author's merged net may call the normalised blob what the convolution's was called."""
    layers = [
        input_layer(1, 3, 9, 9),
        MAKE.conv("conv", "data", 3, 4),
        MAKE.batch_norm("bn", "conv", 4),
        MAKE.conv("next", "bn", 4, 2),
    ]
    net = net_of(layers)
    text, weights = caffefold.save(caffefold.fold(net).net, tmp_path / "folded")
    text.write_text(text.read_text().replace('"bn"', '"conv"'))
    assert caffefold.verify(net, caffefold.load(text, weights), **REFERENCE).verdict == "equal"


def test_numbers_that_are_none_are_never_equal(net_of: Make) -> None:
    layers = ends_in(*NOTHING["NaN or infinite in the first net"])
    assert caffefold.verify(net_of(layers), net_of(layers), **REFERENCE).verdict == "inconclusive"


def test_an_inner_blob_that_is_the_same_for_every_input(net_of: Make) -> None:
    """What stands behind a dead ReLU proves nothing in place of the output; what is in front does.
    The batch has one item: another one is looked at."""
    down = LayerSpec("down", "Power", "conv", params="power_param { shift: -1e4 }")
    dead = [down, LayerSpec("relu", "ReLU", "down"), MAKE.inner_product("fc", "relu", 196, 5)]
    layers = ends_in(*dead, LayerSpec("end", "Softmax", "fc"))
    layers[0] = input_layer(1, 3, 9, 9)
    found = caffefold.verify(net_of(layers), net_of(layers), layers=True, **REFERENCE)
    told = {each.blob: (each.verdict, each.reason) for each in found.layers}
    assert told["fc"] == told["end"] == ("inconclusive", "the same for every input")
    assert told["conv"] == ("equal", "")
    (end,) = found.outputs
    assert (end.verdict, end.by) == ("inconclusive", ("down",))


def test_prior_boxes_are_the_same_for_every_input(net_of: Make) -> None:
    prior = "prior_box_param { min_size: 4 aspect_ratio: 2 variance: 0.1 }"
    layers = ends_in(
        LayerSpec("prior", "PriorBox", "conv data", params=prior),
        LayerSpec("all", "Concat", "prior prior", params="concat_param { axis: 2 }"),
    )
    (end,) = caffefold.verify(net_of(layers), net_of(layers), **REFERENCE).outputs
    assert (end.verdict, end.reason) == ("equal", "")


def test_the_same_for_every_input(net_of: Make) -> None:
    """A dead ReLU, then a bias for each class: numbers that differ, and say nothing."""
    down = LayerSpec("down", "Power", "conv", params="power_param { shift: -1e4 }")
    layers = ends_in(down, relu("relu", "down"), MAKE.inner_product("fc", "down", 196, 5))
    (fc,) = caffefold.verify(net_of(layers), net_of(layers), **REFERENCE).outputs
    assert (fc.verdict, fc.reason) == ("inconclusive", "the same for every input")


# ------------------------------------------------------------------------------------ the noise


def test_an_ill_conditioned_net_is_not_failed_for_noise(net_of: Make, tmp_path: Path) -> None:
    """What is left of 1e5 where 1e5 is taken away has few digits, before and after the fold."""
    layers = ends_in(
        MAKE.batch_norm("bn", "conv", 4),
        LayerSpec("up", "Power", "bn", params="power_param { shift: 300 }"),
        MAKE.conv("next", "up", 4, 4),
        LayerSpec("down", "Power", "next", params="power_param { shift: -300 }"),
    )
    net = net_of(layers)
    files = caffefold.save(caffefold.fold(net).net, tmp_path / "folded")
    found = caffefold.verify(net, caffefold.load(*files), **REFERENCE)
    assert found.verdict == "equal"


def test_noise_that_hides_everything_passes_nothing(net_of: Make) -> None:
    layers = ends_in(
        LayerSpec("up", "Power", "conv", params="power_param { scale: 1e-9 shift: 1 }"),
        LayerSpec("log", "Log", "up"),
    )
    layers[0] = input_layer(1, 3, 9, 9)
    sharp = LayerSpec("sharp", "Power", "log", params="power_param { scale: 1e9 }")
    layers.append(sharp)
    found = caffefold.verify(net_of(layers), net_of(layers), **REFERENCE)
    assert found.verdict == "equal"  # float64 does not lose them


# ------------------------------------------------------------------------------------- inputs


def test_arrays_are_fed(net: Net, folded: Net, tmp_path: Path) -> None:
    path = tmp_path / "given.npy"
    np.save(path, np.random.default_rng(1).normal(size=(5, 3, 9, 9)))
    found = caffefold.verify(net, folded, inputs=[path], **REFERENCE)
    assert (found.verdict, found.batches) == ("equal", 3)
    named = tmp_path / "given.npz"
    np.savez(named, data=np.zeros((2, 9, 9, 3), np.uint8) + np.arange(3, dtype=np.uint8))
    assert caffefold.verify(net, folded, inputs=[named], **REFERENCE).batches == 1


def test_images_are_fed(net: Net, folded: Net, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 30, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), pixels)
    found = caffefold.verify(net, folded, inputs=[tmp_path], scale=0.01, **REFERENCE)
    assert (found.verdict, found.batches) == ("equal", 2)
    assert found.fed == "3 files: 0.png to 2.png"
    found = caffefold.verify(net, folded, inputs=[str(tmp_path / "[01].png")], **REFERENCE)
    assert found.fed == "2 files: 0.png to 1.png"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.npy", b"no array", "not an array of numpy"),
        ("a.png", b"no image", "not an image that OpenCV reads"),
        ("a.png", b"", "not an image that OpenCV reads"),
    ],
)
def test_bad_files_are_told(
    name: str, content: bytes, complaint: str, net: Net, folded: Net, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(caffefold.InputError, match=complaint):
        caffefold.verify(net, folded, inputs=[tmp_path / name], **REFERENCE)


def test_arrays_of_other_shapes_are_told(net: Net, folded: Net, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1, 3, 8, 8)))
    with pytest.raises(caffefold.InputError, match=r"array for 'data' has the shape 1x3x8x8"):
        caffefold.verify(net, folded, inputs=[tmp_path / "a.npy"], **REFERENCE)
    with pytest.raises(caffefold.InputError, match="no such file, folder or pattern"):
        caffefold.verify(net, folded, inputs=[tmp_path / "none.png"], **REFERENCE)
    with pytest.raises(caffefold.UsageError, match="2 numbers for the 3 channels"):
        caffefold.verify(net, folded, mean=(1, 2), **REFERENCE)


# ----------------------------------------------------------------------------------- the rest


def test_the_same_run_says_the_same(net: Net, folded: Net) -> None:
    first, second = (caffefold.verify(net, folded, layers=True, **REFERENCE) for _ in range(2))
    assert first.to_json() == second.to_json()
    other = caffefold.verify(net, folded, seed=2, layers=True, **REFERENCE)
    assert other.to_json() != first.to_json()


def test_json_has_everything(net: Net, folded: Net) -> None:
    document = json.loads(caffefold.verify(net, folded, time=True, **REFERENCE).to_json())
    assert document["schema"] == 1
    assert document["verdict"] == document["outputs"][0]["verdict"] == "equal"
    assert document["timing"]["runs"] == 21
    assert document["timing"]["memory"] == [7664, 6008]
    assert document["timing"]["how"] == "plain numpy"
    assert document["timing"]["unknown"] == 0


def test_classes_that_are_as_certain_are_in_no_order() -> None:
    """Which of them comes first is decided by the last bit."""
    expected = np.array([[0.4, 0.4 - 1e-9, 0.2, 0, 0, 0], [0.7, 0.3, 0, 0, 0, 0]])
    found = np.array([[0.4, 0.4 + 1e-9, 0.2, 0, 0, 0], [0.3, 0.7, 0, 0, 0, 0]])
    made = judge(Case("prob", "prob", "Softmax", [expected], [[expected]], [found]))
    assert (made.verdict, made.top1, made.top5) == ("different", 0.5, 1.0)


def test_wrong_options_are_told(net: Net, folded: Net) -> None:
    with pytest.raises(caffefold.UsageError, match="not a runtime; choose from onnxruntime"):
        caffefold.verify(net, folded, runtime={"*": "tensorflow"})
    with pytest.raises(caffefold.UsageError, match="a side is before or after"):
        caffefold.verify(net, folded, runtime={"left": "reference"})


def test_nets_without_weights_are_refused(net: Net) -> None:
    bare = caffefold.load(net.document.path)
    with pytest.raises(caffefold.InputError, match="blob 0 is not stored"):
        caffefold.verify(bare, bare, **REFERENCE)


def test_another_batch_size_is_no_difference(net: Net, tmp_path: Path) -> None:
    one = caffefold.load(*write_pair(tmp_path, [input_layer(1, 3, 9, 9), *LAYERS[1:]], "one"))
    assert caffefold.verify(net, one, **REFERENCE).verdict == "equal"
