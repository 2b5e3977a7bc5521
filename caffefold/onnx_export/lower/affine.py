"""Affine maps that no linear layer has absorbed: Mul and Add, rounded once from float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from caffefold.onnx_export.site import Site
from caffefold.ops.affine import Normalization, Scale, affine_map
from caffefold.ops.base import Refusal, SkipCode
from caffefold.ops.shape import canonical


def normalization(site: Site) -> None:
    """BatchNorm and BN of any dialect: by stored statistics, or by those of the batch."""
    own, layer = site.op, site.layer
    assert isinstance(own, Normalization)
    found = affine_map(own, layer, site.rank)
    if not isinstance(found, Refusal):
        _affine(site, found.scale, found.shift)
    elif found.code is SkipCode.BATCH_STATISTICS and len(layer.blobs) in (0, 3):
        _by_batch(site, site.params.number("eps"))
    elif found.code is SkipCode.NO_STATISTICS and len(layer.blobs) == 3:
        # mean and variance count as 0 (batch_norm_layer.cpp)
        _affine(site, np.array([1 / np.sqrt(site.params.number("eps"))]), np.zeros(1))
    else:
        raise site.error(found.message)


def _affine(site: Site, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> None:
    around = (1,) * (site.rank - 2)
    value = site.x
    plain = not shift.any()
    factor = site.const(scale.reshape(-1, *around), "scale")
    value = site.add("Mul", value, factor, top=0 if plain else None)
    if not plain:
        site.add("Add", value, site.const(shift.reshape(-1, *around), "shift"), top=0)


def _by_batch(site: Site, eps: float) -> None:
    apart = site.add("Sub", site.x, _mean(site, site.x))
    variance = _mean(site, site.add("Mul", apart, apart))
    deviation = site.add("Sqrt", site.add("Add", variance, site.const(eps, "eps")))
    site.add("Div", apart, deviation, top=0)


def _mean(site: Site, value: str) -> str:
    """The mean of each channel, in two steps: OpenCV 5 reduces three axes wrongly that are not the
    last ones."""
    if site.rank > 2:
        value = site.reduce("ReduceMean", value, range(2, site.rank))
    return site.reduce("ReduceMean", value, [0])


def scale(site: Site) -> None:
    """Scale and Bias: by stored numbers or by a second bottom, laid along ``axis`` and on."""
    own, layer, params = site.op, site.layer, site.params
    assert isinstance(own, Scale)
    gate = len(site.bottoms) > 1
    covered = site.rank_known(1) if gate else _stored(site)
    axis = canonical(layer, params.integer("axis"), site.rank) if covered else 0
    laid = (*covered, *(1,) * (site.rank - axis - len(covered))) if covered else ()
    specs = own.weights(layer, site.shapes) or ()
    known = tuple(dim for dim in laid if dim is not None)
    factors = [site.reshape(site.bottoms[1], laid, like=covered)] if gate else []
    if len(known) < len(laid) and specs:
        raise site.unknown(layer.bottoms[-1], site.shapes[-1])
    factors += (site.weight(index, known, spec.role) for index, spec in enumerate(specs))
    kinds = ("Mul", "Add")[-len(factors) :] if _adds(site) else ("Mul", "Add")
    value = site.x
    for i, (kind, factor) in enumerate(zip(kinds, factors, strict=False)):
        value = site.add(kind, value, factor, top=0 if i == len(factors) - 1 else None)


def _adds(site: Site) -> bool:
    """Whether the layer adds alone (Bias)."""
    return site.op.name == "Bias"


def _stored(site: Site) -> tuple[int, ...]:
    """What the stored numbers cover, without the leading ones of old files."""
    own = site.op
    assert isinstance(own, Scale)
    specs = own.weights(site.layer, site.shapes)
    shape = specs[0].shape if specs else ()
    if None in shape:
        raise site.unknown(site.layer.bottoms[0], site.shapes[0])
    return tuple(dim for dim in shape if dim is not None)


def power(site: Site) -> None:
    """Mul, Add and Pow in this order; neutral ones are left out."""
    params = site.params
    scale, shift, exponent = map(params.number, ("scale", "shift", "power"))
    value = site.x
    last = 2 if exponent != 1 else 1 if shift else 0
    value = site.scaled(value, scale, top=0 if last == 0 else None)
    if last:
        value = site.moved(value, shift, top=0 if last == 1 else None)
    if exponent != 1:
        site.add("Pow", value, site.const(exponent, "power"), top=0)
