"""Input sizes from the weights of InnerProduct layers: known nets, doubt, no answer."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caffefold.analysis.input_size import Solution, contradiction, input_size
from caffefold.analysis.shapes import infer
from tests.support.shapes import chain, net, weighed

HEAD = 'input: "data"\n'


def solved(layers: str, *, k: int, channels: int | None = 3) -> Solution:
    """The size of a chain that ends in an InnerProduct of ``k`` inputs."""
    text = HEAD + chain(f"{layers}, fc 10")
    last = f"fc{layers.count(',') + 1}"
    return input_size(weighed(net(text), {last: (10, k)}), "data", channels)


LENET = "conv 20 5, max 2/2, conv 50 5, max 2/2"
CIFAR10 = "conv 32 5+2, max 3/2, conv 32 5+2, ave 3/2, conv 64 5+2, ave 3/2"
ALEXNET = "conv 96 11/4, max 3/2, conv 256 5+2, max 3/2, conv 384 3+1, conv 256 3+1, max 3/2"
VGG = ", ".join(f"conv {n} 3+1, conv {n} 3+1, max 2/2" for n in (64, 128, 256, 512, 512))
RESNET = "conv 64 7/2+3, max 3/2, conv 128 1/2, conv 256 1/2, conv 2048 1/2, ave 7/1"
GOOGLENET = "conv 64 7/2+3, max 3/2, max 3/2, max 3/2, conv 1024 3+1, max 3/2, ave 7/1"
INCEPTION3 = (
    "conv 32 3/2, conv 32 3, conv 64 3+1, max 3/2, conv 192 3, max 3/2, max 3/2, max 3/2, "
    "conv 2048 1, ave 8/1"
)
RNET = "conv 28 3, max 3/2, conv 48 3, max 3/2, conv 64 2"
ONET = "conv 32 3, max 3/2, conv 64 3, max 3/2, conv 64 3, max 2/2, conv 128 2"


@pytest.mark.parametrize(
    ("layers", "k", "size"),
    [
        (LENET, 800, 28),
        (CIFAR10, 1024, 32),
        (ALEXNET, 9216, 227),
        (VGG, 25088, 224),
        (RESNET, 2048, 224),
        (GOOGLENET, 1024, 224),
        (INCEPTION3, 2048, 299),
        (RNET, 576, 24),
        (ONET, 1152, 48),
    ],
    ids=["lenet", "cifar10", "alexnet", "vgg", "resnet", "googlenet", "inception3", "rnet", "onet"],
)
def test_known_nets(layers: str, k: int, size: int) -> None:
    found = solved(layers, k=k)
    assert found.size == (size, size)
    assert found.size in found.candidates
    assert f"'fc{layers.count(',') + 1}' takes {k} inputs" in found.why


def test_one_size_fits() -> None:
    found = solved("conv 4 3, ReLU, Dropout", k=4 * 7 * 7)
    assert (found.size, found.certain) == ((9, 9), True)
    assert found.why == "'fc3' takes 196 inputs: only 9x9 fits"


def test_candidates_are_all_that_fit() -> None:
    found = solved(LENET, k=800)
    assert [size for size, _ in found.candidates] == [25, 26, 27, 28]
    assert not found.certain
    assert "25 to 28 fit (height = width), at 28 every stride divides evenly" in found.why


def test_no_choice_between_equals() -> None:
    """Two sizes, each with one even stride and one that leaves nothing over."""
    found = solved("conv 4 3, max 3/2, max 4/3", k=4 * 3 * 3)
    assert found.size is None
    assert [size for size, _ in found.candidates] == [18, 19, 20, 21, 22, 23]
    assert found.why == "'fc3' takes 36 inputs: 18 to 23 fit (height = width)"


def test_oblong_pictures_are_listed_not_chosen() -> None:
    found = solved("conv 4 3+1, max 2/2", k=4 * 3 * 5)
    assert found.size is None
    assert {(6, 10), (10, 6), (2, 30)} <= set(found.candidates)
    assert "no square size fits" in found.why


def test_nothing_fits() -> None:
    found = solved("conv 4 3", k=4 * 7 + 1)
    assert (found.size, found.candidates) == (None, ())
    assert "no square size fits" in found.why


@pytest.mark.parametrize("k", [784, 3072])
def test_products_that_read_the_picture_itself(k: int) -> None:
    found = solved("Flatten", k=k, channels=None)
    channels, side = {784: (1, 28), 3072: (3, 32)}[k]
    assert (found.channels, found.size) == (channels, (side, side))
    assert not found.certain
    assert found.why == f"any shape of {k} numbers fits, {channels}x{side}x{side} is a square image"
    assert solved("Flatten", k=20, channels=None).size is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (chain("conv 4 3, max 2/2"), "no InnerProduct with weights depends on"),
        (chain("conv 4 3, New, fc 10"), "no shape is known after layer 'New1' (New)"),
        (chain("conv 4 3, ReLU, conv x 3, fc 10"), "num_output is x"),
    ],
)
def test_why_there_is_no_answer(text: str, why: str) -> None:
    given = net(HEAD + text)
    names = [layer.name for layer in given.layers if layer.type == "InnerProduct"]
    found = input_size(weighed(given, dict.fromkeys(names, (10, 100))), "data", 3)
    assert found.size is None
    assert why in found.why


def test_an_unknown_blob_is_no_input() -> None:
    assert "'image' is not an input" in input_size(net(HEAD + chain("conv 4 3")), "image", 3).why


def test_a_blob_that_nothing_makes() -> None:
    text = chain("conv 4 3, fc 10")
    found = input_size(weighed(net(text), {"fc1": (10, 4 * 7 * 7)}), "data", 3)
    assert found.size == (9, 9)


def test_global_pooling_leaves_the_size_open() -> None:
    text = HEAD + chain("conv 4 3, max 2/2, fc 10")
    text = text.replace("kernel_size: 2 stride: 2", "global_pooling: true")
    found = input_size(weighed(net(text), {"fc2": (10, 4)}), "data", 3)
    assert found.size is None
    assert "no InnerProduct" in found.why


def test_every_product_must_fit() -> None:
    """Two heads: one alone allows 25 to 28, the other 27 and 28."""
    text = HEAD + chain(f"{LENET}, fc 10")
    text += chain("max 2/2, fc 10", source="conv0").replace("max0", "aux0").replace("fc1", "aux1")
    given = weighed(net(text), {"fc4": (10, 800), "aux1": (10, 20 * 12 * 12)})
    found = input_size(given, "data", 1)
    assert [size for size, _ in found.candidates] == [27, 28]


def test_branches_must_have_one_size_where_they_meet() -> None:
    """Down and up again: only even sizes come back to what they were."""
    text = (
        HEAD
        + chain("conv 4 1, max 2/2")
        + (
            'layer { name: "up" type: "Deconvolution" bottom: "max1" top: "up" '
            "convolution_param { num_output: 4 kernel_size: 2 stride: 2 } }\n"
            'layer { name: "sum" type: "Eltwise" bottom: "conv0" bottom: "up" top: "sum" }\n'
            'layer { name: "p" type: "Pooling" bottom: "sum" top: "p" '
            "pooling_param { kernel_size: 8 stride: 8 } }\n"
            'layer { name: "fc" type: "InnerProduct" bottom: "p" top: "fc" '
            "inner_product_param { num_output: 2 } }\n"
        )
    )
    found = input_size(weighed(net(text), {"fc": (2, 4 * 4)}), "data", 3)
    assert [size for size, _ in found.candidates] == [10, 12, 14, 16]
    assert found.size == (16, 16)


@given(
    st.lists(
        st.sampled_from(["conv 4 3", "conv 4 3+1", "max 2/2", "max 3/2", "conv 4 5/2+2", "ReLU"]),
        max_size=5,
    ),
    st.integers(40, 90),
)
def test_the_true_size_is_among_the_candidates(layers: list[str], size: int) -> None:
    stem = HEAD + chain(", ".join(["conv 4 3", *layers]))
    shape = infer(net(stem), {"data": (1, 3, size, size)}).versions[-1]
    assume(shape is not None)  # a window may be larger than what is left
    assert shape is not None
    assert shape[2] is not None
    found = solved(", ".join(["conv 4 3", *layers]), k=4 * shape[2] ** 2)
    assert (size, size) in found.candidates
    for candidate in found.candidates:
        again = infer(net(stem), {"data": (1, 3, *candidate)}).versions[-1]
        assert again == shape


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((1, 3, 28, 28), None),
        ((1, 3, 25, 25), None),
        ((1, 3, None, None), None),
        ((1, 3, 29, 29), "layer 'fc4': its weights expect 800 inputs, its input has 1250"),
        ((1, 3, 6, 6), "layer 'conv2': its window of 5 is larger than its input of 1"),
        ((1, 1, 28, 28), "layer 'conv0': its weights expect 3 channels, its input has 1"),
    ],
)
def test_contradiction(shape: tuple[int | None, ...], reason: str | None) -> None:
    text = HEAD + chain(f"{LENET}, fc 10")
    text += 'layer { name: "bad" type: "Convolution" bottom: "x" top: "bad" }\n'
    given = weighed(net(text), {"fc4": (10, 800), "conv0": (20, 3, 5, 5)})
    found = contradiction(given, {"data": shape})
    assert (found is None) if reason is None else (found is not None and reason in found)
