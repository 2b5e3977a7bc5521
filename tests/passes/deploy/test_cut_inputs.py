"""Inputs that are cut from a data layer's blob: their size is solved from the weights behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.analysis.shapes import input_shapes
from caffefold.testing import layers_from, write_pair

CONV = "{ convolution_param { num_output: 4 kernel_size: 5 } }"
SHARED = '{ convolution_param { num_output: 4 kernel_size: 5 } param { name: "w" } }'
FC = "{ inner_product_param { num_output: 3 } }"
SHARED_FC = '{ inner_product_param { num_output: 3 } param { name: "fw" } }'


def filters(channels: int) -> list[np.ndarray]:
    return [np.zeros((4, channels, 5, 5)), np.zeros(4)]


def matrix(inputs: int) -> list[np.ndarray]:
    return [np.zeros((3, inputs)), np.zeros(3)]


def deployed(folder: Path, lines: str, **weights: list[np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The inputs of the deploy net."""
    pair = write_pair(folder, layers_from(lines, weights))
    with caffefold.load(*pair) as net:
        return input_shapes(caffefold.to_deploy(net).net)


@pytest.mark.parametrize("channels", [1, 3])
def test_siamese_twins(tmp_path: Path, channels: int) -> None:
    """mnist_siamese: two images stand in the channels of one blob; one of them is the input."""
    lines = f"""
    pair Data -> pair sim
    cut Slice pair -> data data_p {{ slice_param {{ slice_dim: 1 slice_point: {channels} }} }}
    c Convolution data -> c {SHARED}
    fc InnerProduct c -> fc {SHARED_FC}
    c_p Convolution data_p -> c_p {SHARED}
    fc_p InnerProduct c_p -> fc_p {SHARED_FC}
    loss ContrastiveLoss fc fc_p sim -> loss
    """
    conv, ip = filters(channels), matrix(4 * 24 * 24)
    found = deployed(tmp_path, lines, c=conv, fc=ip, c_p=conv, fc_p=ip)
    assert found == {"data": (1, channels, 28, 28)}


def test_the_last_part(tmp_path: Path) -> None:
    """How many channels it has, only its weights say."""
    lines = f"""
    all Data -> all label
    cut Slice all -> a b {{ slice_param {{ slice_point: 2 }} }}
    c Convolution b -> c {CONV}
    fc InnerProduct c -> fc {FC}
    loss SoftmaxWithLoss fc label -> loss
    """
    found = deployed(tmp_path, lines, c=filters(3), fc=matrix(4 * 20 * 20))
    assert found == {"b": (1, 3, 24, 24)}


def test_both_parts_are_read(tmp_path: Path) -> None:
    """Then the whole is the input, with the channels of both."""
    lines = f"""
    all Data -> all label
    cut Slice all -> a b {{ slice_param {{ slice_point: 1 }} }}
    c Convolution a -> c {CONV}
    d Convolution b -> d {CONV}
    cat Concat c d -> cat
    fc InnerProduct cat -> fc {FC}
    loss SoftmaxWithLoss fc label -> loss
    """
    found = deployed(tmp_path, lines, c=filters(1), d=filters(3), fc=matrix(8 * 24 * 24))
    assert found == {"all": (1, 4, 28, 28)}


def test_parts_of_the_batch(tmp_path: Path) -> None:
    lines = f"""
    all Data -> all sim
    cut Slice all -> a p {{ slice_param {{ axis: 0 }} }}
    c Convolution a -> c {SHARED}
    fc InnerProduct c -> fc {SHARED_FC}
    c_p Convolution p -> c_p {SHARED}
    fc_p InnerProduct c_p -> fc_p {SHARED_FC}
    loss ContrastiveLoss fc fc_p sim -> loss
    """
    conv, ip = filters(3), matrix(4 * 24 * 24)
    assert deployed(tmp_path, lines, c=conv, fc=ip, c_p=conv, fc_p=ip) == {"a": (1, 3, 28, 28)}
