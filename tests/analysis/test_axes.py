"""How many axes an input must have, by what reads it."""

from __future__ import annotations

import pytest

from caffefold.analysis.axes import wanted_axes
from caffefold.errors import MissingShape
from caffefold.formats.prototxt.parse import parse
from caffefold.ir import graph
from caffefold.ir.net import Net
from tests.support.deploy import net, passes

LSTM = "lstm LSTM seq cont -> lstm { recurrent_param { num_output: 2 } }\n"

VOLUMES = (
    "d HDF5Data -> data\nc Convolution data -> c { convolution_param { kernel_size: [3, 3, 3] } }\n"
)


def axes(lines: str) -> str:
    """What is wanted of the first blob of a net."""
    found = Net.of(parse(net("data HDF5Data -> x\n" + lines)))
    return wanted_axes(found, graph.build(found), 0)


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("ip InnerProduct x -> ip", "NC"),
        ("ip InnerProduct x -> ip { inner_product_param { axis: 2 } }", ""),
        ("c Convolution x -> c { convolution_param { kernel_size: 3 } }", "NCHW"),
        ("c Convolution x -> c { convolution_param { kernel_size: [1, 2, 3] } }", "NCDHW"),
        ("c Convolution x -> c { convolution_param { axis: 2 } }", ""),
        ("c Deconvolution x -> c { convolution_param { kernel_h: 3 kernel_w: 1 } }", "NCHW"),
        ("p Pooling x -> p", "NCHW"),
        ("r ReLU x -> x\nbn BatchNorm x -> bn\nip InnerProduct bn -> ip", "NC"),
        ("cut Slice x -> a b\nip InnerProduct b -> ip", "NC"),
        ("l Python -> l\ne Eltwise x l -> e\np Pooling e -> p", "NCHW"),
        (LSTM.replace("seq", "x"), "TNC"),
        (LSTM.replace("cont", "x"), "TN"),
        ("cm Reshape x -> cont\n" + LSTM, "N"),
        ("fc Reshape x -> seq\n" + LSTM, "NC"),
        ("r Reshape x -> y\nip InnerProduct y -> ip", ""),
        ("f Flatten x -> y\nip InnerProduct y -> ip", ""),
        ("loss EuclideanLoss x x -> loss", ""),
    ],
)
def test_wanted(lines: str, wanted: str) -> None:
    assert axes(lines) == wanted


@pytest.mark.parametrize(
    ("lines", "advice"),
    [
        ("d HDF5Data -> data label\nip InnerProduct data -> ip", "data=1,C"),
        (
            VOLUMES,
            "data=1,C,D,H,W",
        ),
        ("d HDF5Data -> data\np Pooling data -> p", "data=1,C,H,W"),
        ("d HDF5Data -> data cont\n" + LSTM.replace("seq", "data"), "data=T,1,C"),
        (
            "d Python -> cm\nx Input -> seq { input_param { shape { dim: [4, 1, 2] } } }\n"
            "r Reshape cm -> cont { reshape_param { shape { dim: [4, 1] } } }\n" + LSTM,
            "cm=1",
        ),
        ("d Python -> data\ny Riddle data -> y", "data=1,C,H,W"),
        ("d Data -> data\nip InnerProduct data -> ip", "data=1,C,H,W"),
    ],
)
def test_the_advice_has_as_many(lines: str, advice: str) -> None:
    with pytest.raises(MissingShape) as caught:
        passes(net(lines))
    assert str(caught.value).endswith(f"; give input_shapes {advice}")
