"""How healthy the statistics of BatchNorm layers are, and which channels they leave alive.

What BatchNorm hands on has variance 1 over the training data, so the |gamma| of the Scale behind it
is how much its channel varies: near 0, the channel is dead (it is beta whatever the picture is),
and under a threshold it is a candidate for slimming. Training with an L1 penalty on gamma drives
this share up.
"""

from __future__ import annotations

import numpy as np

from caffefold.formats.caffemodel.blob import array, size
from caffefold.frozen import dataclass
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
        roles = own.blob_roles(layer) if isinstance(own, Normalization) else None
        if roles is None:
            continue
        variance, factor = _vector(layer, roles.variance), None
        if roles.factor is not None:
            factor = float(_vector(layer, roles.factor)[0])
            variance = variance / factor if factor else variance * 0
        owner, gamma = _gamma(net, wiring, position, roles.gamma)
        health = Health(
            layer.name,
            variance.size,
            factor,
            float(variance.min()) if variance.size else 0.0,
            owner,
            None if gamma is None else int((gamma < DEAD).sum()),
            None if gamma is None else int((gamma < threshold).sum()),
        )
        found.append(health)
    return tuple(found)


def _gamma(
    net: Net, wiring: Graph, position: int, own: int | None
) -> tuple[str | None, Doubles | None]:
    """The layer that scales what a BatchNorm makes, and the sizes of its factors.

    That is the layer itself, if a blob of its ``own`` does, or a Scale behind it.
    """
    layer = net.layers[position]
    if own is not None:
        return layer.name, np.abs(_vector(layer, own))
    for made in wiring.writes[position][:1]:
        for reader in wiring.versions[made].readers:
            scale = net.layers[reader]
            if op(scale) is SCALE and len(scale.bottoms) == 1 and scale.blobs:
                gamma = np.abs(_vector(scale, 0))
                if gamma.size == size(layer.blobs[0]):
                    return scale.name, gamma
    return None, None


def _vector(layer: Layer, index: int) -> Doubles:
    numbers: Doubles = array(layer.blobs[index]).reshape(-1).astype(np.float64)
    return numbers
