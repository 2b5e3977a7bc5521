"""Backwards from the outputs."""

from __future__ import annotations

from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.passes.deploy.heads import prune
from tests.support.deploy import net


def left(text: str, *wanted: str) -> list[str]:
    found, gone = prune(Net.of(parse(net(text))), wanted)
    names = [layer.name for layer in found.layers]
    assert set(names).isdisjoint(gone)
    return names


NET = """
data Input -> data
conv Convolution data -> conv
relu ReLU conv -> conv
a Convolution conv -> a
b Convolution conv -> b
cut Slice b -> b1 b2
"""


def test_only_what_an_output_needs_stays() -> None:
    assert left(NET, "a") == ["data", "conv", "relu", "a"]


def test_a_name_means_its_last_value() -> None:
    assert left(NET, "conv") == ["data", "conv", "relu"]


def test_one_top_of_several() -> None:
    assert left(NET, "b1") == ["data", "conv", "relu", "b", "cut"]


def test_a_silence_keeps_quiet_what_would_be_an_output() -> None:
    text = NET + "quiet Silence b2 a\n"
    found, _ = prune(Net.of(parse(net(text))), ["b1"])
    assert found.layers[-1].bottoms == ("b2",)


def test_a_silence_of_nothing_goes() -> None:
    assert left(NET + "quiet Silence b2\n", "a") == ["data", "conv", "relu", "a"]


def test_layers_without_bottoms_stay() -> None:
    assert left("p Parameter -> p\ndata Input -> data\nfc InnerProduct data -> fc", "fc") == [
        "p",
        "data",
        "fc",
    ]
