"""Every folded number is the float32 nearest to the exact value; checked with exact fractions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

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


# ------------------------------------------------------------------------ sums that cancel


class Sums(NamedTuple):
    """A net, and the exact biases of the layer that is left."""

    layers: list[LayerSpec]
    wanted: list[Fraction]


def mapped(norm: LayerSpec, scale: LayerSpec) -> tuple[list[Fraction], list[Fraction]]:
    """Factor and shift of BatchNorm and Scale, exactly."""
    mean, variance, (factor,) = map(exact, norm.blobs)
    gamma, beta = map(exact, scale.blobs)
    eps = Fraction(float(np.float32(1e-5)))
    alpha = [g / exact_root(v / factor + eps) for g, v in zip(gamma, variance, strict=True)]
    shift = [s - a * m / factor for s, a, m in zip(beta, alpha, mean, strict=True)]
    return alpha, shift


def vanishing(layer: LayerSpec, wanted: list[Fraction]) -> tuple[LayerSpec, list[Fraction]]:
    """The layer with another bias, which takes all but the last bits away of what is ``wanted``."""
    old = exact(layer.blobs[1])
    new = [nearest(b - w) for b, w in zip(old, wanted, strict=True)]
    changed = layer._replace(blobs=[layer.blobs[0], np.array(new)])
    pairs = zip(wanted, old, exact(new), strict=True)
    return changed, [w - b + n for w, b, n in pairs]


def behind(n: RandomLayers) -> Sums:
    conv, norm, scale = (
        n.conv("f", "data", 4, 32),
        n.batch_norm("bn", "f", 32),
        n.scale("sc", "bn", 32),
    )
    alpha, shift = mapped(norm, scale)
    wanted = [a * b + s for a, b, s in zip(alpha, exact(conv.blobs[1]), shift, strict=True)]
    scale, wanted = vanishing(scale, wanted)
    return Sums([conv, norm, scale], wanted)


def in_front(n: RandomLayers, kind: str = "Convolution", group: int = 2) -> Sums:
    norm, scale = n.batch_norm("bn", "data", 4), n.scale("sc", "bn", 4)
    if kind == "InnerProduct":
        last = n.inner_product("f", "sc", 100, 32, transpose=bool(group))
    else:
        last = n.conv("f", "sc", 4, 32, kernel=1, group=group, kind=kind)
    shift = mapped(norm, scale)[1]
    weights, wanted = np.asarray(last.blobs[0]), exact(last.blobs[1])
    for index in np.ndindex(*weights.shape):
        output, channel = ends(kind, index, group)
        wanted[output] += Fraction(float(weights[index])) * shift[channel]
    last, wanted = vanishing(last, wanted)
    return Sums([norm, scale, last], wanted)


def ends(kind: str, index: tuple[int, ...], group: int) -> tuple[int, int]:
    """Output and input channel of a weight; of a product, ``group`` says that it is transposed."""
    if kind == "InnerProduct":
        row, column = index
        return (column, row // 25) if group else (row, column // 25)
    if kind == "Deconvolution":
        return index[0] // (4 // group) * (32 // group) + index[1], index[0]
    return index[0], index[0] // (32 // group) * (4 // group) + index[1]


def on_both_sides(n: RandomLayers) -> Sums:
    first = in_front(n, group=1)
    norm, scale = n.batch_norm("bn2", "f", 32), n.scale("sc2", "bn2", 32)
    alpha, shift = mapped(norm, scale)
    wanted = [a * b + s for a, b, s in zip(alpha, first.wanted, shift, strict=True)]
    scale, wanted = vanishing(scale, wanted)
    return Sums([*first.layers, norm, scale], wanted)


def joined(n: RandomLayers) -> Sums:
    one, other = n.conv("g", "data", 4, 12), n.conv("f", "data", 4, 20)
    join = LayerSpec("cat", "Concat", "g f")
    norm, scale = n.batch_norm("bn", "cat", 32), n.scale("sc", "bn", 32)
    alpha, shift = mapped(norm, scale)
    biases = [*exact(one.blobs[1]), *exact(other.blobs[1])]
    wanted = [a * b + s for a, b, s in zip(alpha, biases, shift, strict=True)]
    scale, wanted = vanishing(scale, wanted)
    return Sums([one, other, join, norm, scale], wanted[12:])


def left_alone(n: RandomLayers) -> Sums:
    norm, scale = n.batch_norm("bn", "r", 4), n.scale("f", "bn", 4)
    scale, wanted = vanishing(scale, mapped(norm, scale)[1])
    return Sums([LayerSpec("r", "ReLU", "data", "r"), norm, scale], wanted)


CANCELLING: dict[str, Callable[[RandomLayers], Sums]] = {
    "behind": behind,
    "in front": in_front,
    "in front of a deconvolution": partial(in_front, kind="Deconvolution"),
    "in front of a product": partial(in_front, kind="InnerProduct"),
    "in front of a product, not transposed": partial(in_front, kind="InnerProduct", group=0),
    "on both sides": on_both_sides,
    "behind a Concat": joined,
    "left as a Scale": left_alone,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CANCELLING)
def test_sums_that_cancel(tmp_path: Path, case: str, seed: int) -> None:
    layers, wanted = CANCELLING[case](RandomLayers(seed))
    net = fold(tmp_path, [input_layer(1, 4, 5, 5), *layers])
    found = next(layer for layer in net.layers if layer.name == "f")
    assert list(np.asarray(found.blobs[1])) == [nearest(w) for w in wanted]
