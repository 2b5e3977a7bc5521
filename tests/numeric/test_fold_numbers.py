"""Every folded number is the float32 nearest to the exact value; checked with exact fractions."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import caffefold
from caffefold.testing import LayerSpec, RandomLayers, input_layer, write_pair

FLOAT32 = NDArray[np.float32]


def exact_root(value: Fraction) -> Fraction:
    """The square root to 60 digits."""
    scale = 10**60
    return Fraction(int_root(value.numerator * scale * scale // value.denominator), scale)


def int_root(value: int) -> int:
    root = int(value**0.5) if value < 1 << 52 else 1 << ((value.bit_length() + 1) // 2)
    while True:
        better = (root + value // root) // 2
        if better >= root:
            return root
        root = better


def nearest(value: Fraction) -> np.float32:
    """The float32 nearest to an exact value."""
    guess = np.float32(float(value))
    infinity = np.float32(np.inf)
    around = (guess, np.nextafter(guess, infinity), np.nextafter(guess, -infinity))
    return min(around, key=lambda f: abs(Fraction(float(f)) - value))


def exact(array: object) -> list[Fraction]:
    return [Fraction(float(v)) for v in np.asarray(array, np.float32).reshape(-1)]


def fold(folder: Path, layers: list[LayerSpec]) -> caffefold.Net:
    pair = write_pair(folder, layers)
    caffefold.convert(*pair, folder / "out")
    return caffefold.load(folder / "out.prototxt", folder / "out.caffemodel")


Case = tuple[str, int, bool, str, float, float, bool]
CASES: list[Case] = [
    case
    for case in itertools.product(
        ("Convolution", "Deconvolution", "InnerProduct"),
        (1, 2, 4),  # groups; 4 is depthwise
        (True, False),  # bias of the linear layer
        ("scale with bias", "scale", "none"),
        (1e-5, 1e-3),  # eps
        (999.98, 1.0, 0.0),  # scale factor of the statistics
        (True, False),  # in place
    )
    if case[0] != "InnerProduct" or case[1] == 1
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_rounded_once_from_the_exact_value(tmp_path: Path, case: Case) -> None:
    kind, group, bias, scale, eps, factor, in_place = case
    n = RandomLayers(CASES.index(case))
    if kind == "InnerProduct":
        linear = n.inner_product("f", "data", 4 * 5 * 5, 4, bias=bias)
    else:
        linear = n.conv("f", "data", 4, 4, bias=bias, group=group, kind=kind)
    norm = n.batch_norm(
        "bn", "f", 4, top="f" if in_place else "bn", factor=factor,
        eps=eps,
    )  # fmt: skip
    layers = [input_layer(1, 4, 5, 5), linear, norm]
    last = "f" if in_place else "bn"
    if scale != "none":
        layers.append(n.scale("sc", last, 4, top=last if in_place else "sc", bias=scale != "scale"))
    net = fold(tmp_path, layers)
    assert [layer.name for layer in net.layers] == ["data", "f"]
    assert net.layers[1].tops == (layers[-1].tops or layers[-1].name,)

    gamma, beta = [Fraction(1)] * 4, [Fraction(0)] * 4
    if scale != "none":
        gamma = exact(layers[-1].blobs[0])
        beta = exact(layers[-1].blobs[1]) if scale != "scale" else beta
    mean, variance = exact(norm.blobs[0]), exact(norm.blobs[1])
    used = Fraction(0) if factor == 0 else 1 / exact(norm.blobs[2])[0]
    epsilon = Fraction(float(np.float32(eps)))  # a float field
    alpha = [g / exact_root(v * used + epsilon) for g, v in zip(gamma, variance, strict=True)]
    old = exact(linear.blobs[1]) if bias else [Fraction(0)] * 4
    wanted_bias = [
        a * (b - m * used) + s for a, b, m, s in zip(alpha, old, mean, beta, strict=True)
    ]
    weights = np.asarray(linear.blobs[0])
    found = np.asarray(net.layers[1].blobs[0])
    assert found.shape == weights.shape
    for index in itertools.islice(np.ndindex(*weights.shape), 0, None, 7):
        channel = output_of(kind, index, group, 4)
        wanted = nearest(alpha[channel] * Fraction(float(weights[index])))
        assert found[index] == wanted, index
    if len(net.layers[1].blobs) > 1:
        assert list(np.asarray(net.layers[1].blobs[1])) == [nearest(w) for w in wanted_bias]
    else:
        assert not any(wanted_bias)


def output_of(kind: str, index: tuple[int, ...], group: int, outputs: int) -> int:
    """The output channel a weight belongs to, by Caffe's layouts."""
    if kind != "Deconvolution":
        return index[0]
    inputs_per_group, outputs_per_group = 4 // group, outputs // group
    return index[0] // inputs_per_group * outputs_per_group + index[1]
