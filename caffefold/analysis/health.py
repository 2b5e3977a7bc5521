"""How healthy the statistics of BatchNorm layers are, and which channels they leave alive.

What BatchNorm hands on has variance 1 over the training data, so the |gamma| of the Scale behind it
is how much its channel varies: near 0, the channel is dead (it says beta whatever the picture is),
and under a threshold it is a candidate for slimming. Training with an L1 penalty on gamma drives
this share up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caffefold.formats.caffemodel.blob import array, size
from caffefold.ir import graph
from caffefold.ir.blob import Doubles
from caffefold.ir.graph import Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import SCALE, Normalization
from caffefold.ops.table import op

DEAD = 1e-6  # |gamma| below which float32 sees a constant
THRESHOLD = 1e-3


@dataclass(frozen=True, slots=True)
class Health:
    """The statistics of one BatchNorm or BN layer, as Caffe uses them."""

    layer: str
    channels: int
    factor: float | None
    """What the stored mean and variance are divided by; None in dialects that have none."""
    smallest_variance: float
    """After that division; 0 when the factor is 0."""
    gamma: str | None
    """The layer whose gamma scales the result; None when nothing does."""
    dead: int | None
    """Channels with |gamma| < 1e-6; None without a gamma."""
    small: int | None
    """Channels with |gamma| under the threshold, the dead ones among them."""

    @property
    def share(self) -> float | None:
        """``small`` as a part of all channels."""
        return None if self.small is None else self.small / max(self.channels, 1)


def norms(net: Net, threshold: float = THRESHOLD) -> tuple[Health, ...]:
    """The health of every BatchNorm and BN layer of ``net`` that has statistics, in file order."""
    wiring = graph.build(net)
    found = []
    for position, layer in enumerate(net.layers):
        own = op(layer)
        if isinstance(own, Normalization) and own.blob_roles(layer) is not None:
            owner, gamma = _gamma(net, wiring, position)
            found.append(of_layer(layer, owner, gamma, threshold))
    return tuple(found)


def of_layer(
    layer: Layer, owner: str | None, gamma: Doubles | None, threshold: float = THRESHOLD
) -> Health:
    """The health of a layer with known statistics; ``gamma`` is that of the layer ``owner``."""
    own = op(layer)
    assert isinstance(own, Normalization)
    found = own.blob_roles(layer)
    assert found is not None
    variance = _vector(layer, found.variance)
    factor = None if found.factor is None else float(_vector(layer, found.factor)[0])
    if factor is not None:
        variance = variance / factor if factor else variance * 0
    size_of = np.abs(gamma) if gamma is not None else None
    return Health(
        layer.name,
        variance.size,
        factor,
        float(variance.min()) if variance.size else 0.0,
        owner,
        None if size_of is None else int((size_of < DEAD).sum()),
        None if size_of is None else int((size_of < threshold).sum()),
    )


def _gamma(net: Net, wiring: Graph, position: int) -> tuple[str | None, Doubles | None]:
    """The layer that scales what a BatchNorm makes, and its factors: itself, or a Scale behind."""
    layer = net.layers[position]
    own = op(layer)
    found = own.blob_roles(layer) if isinstance(own, Normalization) else None
    if found is not None and found.gamma is not None:
        return layer.name, _vector(layer, found.gamma)
    if not wiring.writes[position]:
        return None, None
    made = wiring.versions[wiring.writes[position][0]]
    for reader in made.readers:
        scale = net.layers[reader]
        if op(scale) is SCALE and len(scale.bottoms) == 1 and scale.blobs:
            gamma = _vector(scale, 0)
            if gamma.size == size(layer.blobs[0]):
                return scale.name, gamma
    return None, None


def _vector(layer: Layer, index: int) -> Doubles:
    numbers: Doubles = array(layer.blobs[index]).reshape(-1).astype(np.float64)
    return numbers
