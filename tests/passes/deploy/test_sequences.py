"""Reshape into time x streams follows the number of inputs."""

from __future__ import annotations

import pytest

from caffefold.options import DeployOptions
from tests.support.deploy import deploy

LRCN = """
data Python -> data label clip_markers
fc6 InnerProduct data -> fc6 { inner_product_param { num_output: 4096 } }
relu ReLU fc6 -> fc6
r Reshape fc6 -> r { reshape_param { shape { DIMS } } }
c Reshape clip_markers -> c { reshape_param { shape { dim: 16 dim: 24 } } }
lstm LSTM r c -> lstm
fc8 InnerProduct lstm -> fc8
loss SoftmaxWithLoss fc8 label -> loss { softmax_param { axis: 2 } }
"""


@pytest.mark.parametrize("dims", ["dim: 16 dim: 24 dim: 4096", "dim: [16, 24, 4096]"])
@pytest.mark.parametrize(("batch", "wanted"), [(160, (16, 10)), (384, (16, 24)), (5, (5, 1))])
def test_streams(dims: str, batch: int, wanted: tuple[int, int]) -> None:
    shapes = DeployOptions(input_shapes={"data": (batch, 3, 4, 4), "clip_markers": (batch, 1)})
    found = deploy(LRCN.replace("DIMS", dims), options=shapes)
    cut = {layer.name: layer for layer in found.layers}
    read = [cut[n].params("reshape_param").sub("shape").integers("dim") for n in ("r", "c")]
    assert read == [(*wanted, 4096), wanted]


def test_free_axes_stay_free() -> None:
    found = deploy(LRCN.replace("DIMS", "dim: -1 dim: 24 dim: 4096"), shape=(7, 3, 4, 4))
    shape = found.layers[4].params("reshape_param").sub("shape")
    assert shape.integers("dim") == (-1, 24, 4096)


def test_nets_without_memory_are_left_alone() -> None:
    text = """
    data ImageData -> data label { transform_param { crop_size: 4 } }
    r Reshape data -> r { reshape_param { shape { dim: 3 dim: 16 } } }
    fc InnerProduct r -> fc
    loss SoftmaxWithLoss fc label -> loss
    """
    shape = deploy(text).layers[1].params("reshape_param").sub("shape")
    assert shape.integers("dim") == (3, 16)


def test_columns_of_an_image_are_no_batch() -> None:
    """OCR: the width becomes time."""
    text = """
    data ImageData -> data label { transform_param { crop_size: 4 } }
    conv Convolution data -> conv
    r Reshape conv -> r { reshape_param { shape { dim: 26 dim: 1 dim: 512 } } }
    lstm LSTM r -> lstm
    ctc CtcLoss lstm label -> ctc
    """
    shape = deploy(text).layers[2].params("reshape_param").sub("shape")
    assert shape.integers("dim") == (26, 1, 512)
