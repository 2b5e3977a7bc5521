"""The proof catches every single fault of a fold; then nothing is put in place.

The fold of the package is replaced by one that is written out here, right or with one fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

import caffefold
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.net import Net

if TYPE_CHECKING:
    from tests.convert.conftest import Tamper, Workshop

Array = NDArray[Any]


@dataclass(frozen=True)
class Kind:
    """A linear layer on 4x6x6 inputs with 4 outputs."""

    type: str
    params: str
    shape: tuple[int, ...]
    bias: bool
    groups: int = 1

    def outputs_first(self, stored: Array) -> Array:
        """Weights as (outputs, inputs of one output, taps)."""
        made: Array = stored.reshape(*self.shape[:2], -1)
        if self.type == "Deconvolution":  # [Cin, Cout/g, taps]
            made = self._exchanged(made).reshape(4, 4 // self.groups, -1)
        elif "transpose" in self.params:
            made = made.transpose(1, 0, 2)
        return made

    def stored(self, weights: Array) -> Array:
        """The inverse of ``outputs_first``."""
        made: Array = weights
        if self.type == "Deconvolution":
            made = self._exchanged(weights)
        elif "transpose" in self.params:
            made = weights.transpose(1, 0, 2)
        stored: Array = made.reshape(self.shape)
        return stored

    def _exchanged(self, weights: Array) -> Array:
        """Inputs and outputs of every group change places; there are as many of both."""
        each = 4 // self.groups
        made: Array = weights.reshape(self.groups, each, each, -1).transpose(0, 2, 1, 3)
        return made

    def text(self) -> str:
        """The layer, called conv1."""
        field = "inner_product_param" if self.type == "InnerProduct" else "convolution_param"
        bias = "" if self.bias else " bias_term: false"
        return (
            f'layer {{ name: "conv1" type: "{self.type}" bottom: "data" top: "conv1"\n'
            f"  {field} {{ num_output: 4 {self.params}{bias} }} }}\n"
        )


KINDS = {
    "convolution": Kind("Convolution", "kernel_size: 3", (4, 4, 3, 3), bias=False),
    "with bias": Kind("Convolution", "kernel_size: 3 pad: 1", (4, 4, 3, 3), bias=True),
    "grouped": Kind("Convolution", "kernel_size: 3 group: 2", (4, 2, 3, 3), True, 2),
    "depthwise": Kind("Convolution", "kernel_size: 3 group: 4", (4, 1, 3, 3), True, 4),
    "deconvolution": Kind("Deconvolution", "kernel_size: 2", (4, 4, 2, 2), bias=True),
    "grouped deconvolution": Kind(
        "Deconvolution", "kernel_size: 2 stride: 2 group: 2", (4, 2, 2, 2), True, 2
    ),
    "inner product": Kind("InnerProduct", "", (4, 144), bias=True),
    "transposed product": Kind("InnerProduct", "transpose: true", (144, 4), bias=True),
}


@dataclass(frozen=True)
class Parts:
    """All that goes into a fold; weights are (outputs, inputs of one output, taps)."""

    weights: Array
    bias: Array
    mean: Array
    variance: Array
    factor: float
    gamma: Array
    beta: Array
    eps: float = 1e-3

    @property
    def scale(self) -> Array:
        return self.gamma / np.sqrt(self.variance / self.factor + self.eps)

    def fold(self) -> tuple[Array, Array]:
        """Weights and bias of the folded layer."""
        shift = self.beta - self.mean / self.factor * self.scale
        return self.weights * self.scale[:, None, None], self.bias * self.scale + shift


def _parts(kind: Kind) -> Parts:
    rng = np.random.default_rng(11)
    vectors = [rng.normal(size=4) for _ in range(3)]
    return Parts(
        kind.outputs_first(rng.normal(size=kind.shape)),
        vectors[0] if kind.bias else np.zeros(4),
        mean=vectors[1],
        variance=rng.uniform(1, 9, size=4),
        factor=4.0,
        gamma=rng.uniform(0.5, 2, size=4),
        beta=vectors[2],
    )


def _wrong_axis(p: Parts) -> tuple[Array, Array]:
    along_inputs = np.resize(p.scale, p.weights.shape[1])
    return p.weights * along_inputs[:, None], p.fold()[1]


def _transposed(p: Parts) -> tuple[Array, Array]:
    weights, bias = p.fold()
    return np.ascontiguousarray(weights.swapaxes(0, 1)).reshape(weights.shape), bias


def _mirrored(p: Parts) -> tuple[Array, Array]:
    return p.fold()[0][:, :, ::-1], p.fold()[1]


def _one_weight(p: Parts) -> tuple[Array, Array]:
    weights, bias = p.fold()
    weights = weights.copy()
    weights[3, -1, -1] *= 1.0001
    return weights, bias


Fault = Callable[[Parts], "tuple[Array, Array]"]
FAULTS: dict[str, Fault] = {
    "wrong eps": lambda p: replace(p, eps=1e-5).fold(),
    "eps forgotten": lambda p: replace(p, eps=0.0).fold(),
    "eps before the factor": lambda p: replace(p, eps=p.eps / p.factor).fold(),
    "eps behind the root": lambda p: replace(
        p, variance=(np.sqrt(p.variance / p.factor) + p.eps) ** 2 * p.factor, eps=0.0
    ).fold(),
    "root forgotten": lambda p: replace(
        p, variance=(p.variance / p.factor + p.eps) ** 2 * p.factor, eps=0.0
    ).fold(),
    "factor forgotten": lambda p: replace(p, factor=1.0).fold(),
    "factor upside down": lambda p: replace(p, factor=1 / p.factor).fold(),
    "factor forgotten for the mean": lambda p: replace(p, mean=p.mean * p.factor).fold(),
    "factor forgotten for the variance": lambda p: replace(
        p, variance=p.variance * p.factor
    ).fold(),
    "factor taken as 999.98": lambda p: replace(p, factor=999.98).fold(),
    "mean forgotten": lambda p: replace(p, mean=0 * p.mean).fold(),
    "mean with the wrong sign": lambda p: replace(p, mean=-p.mean).fold(),
    "mean not scaled": lambda p: replace(p, mean=p.mean / p.scale).fold(),
    "gamma forgotten": lambda p: replace(p, gamma=np.ones(4)).fold(),
    "beta forgotten": lambda p: replace(p, beta=np.zeros(4)).fold(),
    "beta scaled too": lambda p: replace(p, beta=p.beta * p.scale).fold(),
    "bias forgotten": lambda p: replace(p, bias=np.zeros(4)).fold(),
    "bias not scaled": lambda p: replace(p, bias=p.bias / p.scale).fold(),
    "bias only": lambda p: (p.weights, p.fold()[1]),
    "weights only": lambda p: (p.fold()[0], p.bias),
    "scaled twice": lambda p: (p.fold()[0] * p.scale[:, None, None], p.fold()[1]),
    "divided instead": lambda p: (p.weights / p.scale[:, None, None], p.fold()[1]),
    "scale of one channel for all": lambda p: (p.weights * p.scale[0], p.fold()[1]),
    "channels shifted": lambda p: replace(p, gamma=np.roll(p.gamma, 1)).fold(),
    "channels reversed": lambda p: replace(p, mean=p.mean[::-1]).fold(),
    "scale on the wrong axis": _wrong_axis,
    "layout transposed": _transposed,
    "kernel mirrored": _mirrored,
    "one weight a little off": _one_weight,
    "nothing folded": lambda p: (p.weights, p.bias),
}


def _cases() -> Iterator[tuple[str, str]]:
    """Kind and fault, where the fault makes a difference (no bias: none can be forgotten)."""
    for name, kind in KINDS.items():
        right = _parts(kind).fold()
        for fault, fold in FAULTS.items():
            wrong = fold(_parts(kind))
            if not all(np.array_equal(a, b) for a, b in zip(right, wrong, strict=True)):
                yield name, fault


def _convert(workshop: Workshop, tamper: Tamper, kind: Kind, fold: Fault) -> None:
    parts = _parts(kind)
    text = workshop.chain[workshop.chain.index('layer {\n  name: "bn1"') :].replace(
        'type: "BatchNorm"', 'type: "BatchNorm"\n  batch_norm_param { eps: 0.001 }'
    )
    blobs = {
        "conv1": [kind.stored(parts.weights), *([parts.bias] if kind.bias else [])],
        "bn1": [parts.mean, parts.variance, np.array([parts.factor])],
        "scale1": [parts.gamma, parts.beta],
    }
    pair = workshop.make(workshop.head + kind.text() + text, blobs)
    # What the files hold: the numbers above, rounded to float32.
    weights, *bias = pair.blobs("conv1")
    mean, variance, _ = pair.blobs("bn1")
    gamma, beta = pair.blobs("scale1")
    found = replace(
        parts,
        weights=kind.outputs_first(weights),
        bias=bias[0] if bias else parts.bias,
        mean=mean,
        variance=variance,
        gamma=gamma,
        beta=beta,
        eps=float(np.float32(parts.eps)),
    )
    folded, shift = fold(found)

    def spoil(net: Net) -> Net:
        at = [layer.name for layer in net.layers].index("conv1")
        made = net.layers[at].with_blobs((ArrayBlob(kind.stored(folded)), ArrayBlob(shift)))
        return net.substitute({at: (made,)})

    tamper(spoil)
    workshop.convert(pair)


@pytest.mark.parametrize("name", KINDS)
def test_the_fold_without_fault_passes(workshop: Workshop, tamper: Tamper, name: str) -> None:
    _convert(workshop, tamper, KINDS[name], Parts.fold)
    assert "out.caffemodel" in workshop.listing()


@pytest.mark.parametrize(("name", "fault"), list(_cases()))
def test_a_fault_is_caught(workshop: Workshop, tamper: Tamper, name: str, fault: str) -> None:
    with pytest.raises(caffefold.ProofError, match=r"layer 'conv1': .*no output was written"):
        _convert(workshop, tamper, KINDS[name], FAULTS[fault])
    assert set(workshop.listing()) == {"net.prototxt", "net.caffemodel"}


def test_the_cases_are_not_few() -> None:
    assert len(list(_cases())) > 200
