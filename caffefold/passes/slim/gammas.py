"""The factors of BatchNorms as they are shown: how many are how large."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffefold.ir.blob import Doubles
from caffefold.passes.slim.units import Mask

EDGES = (0.0, *(10.0 ** (power / 4) for power in range(-24, 5)), np.inf)
"""Of histograms of |gamma|: what is dead, then four bars a decade."""


class Histogram(NamedTuple):
    """How many |gamma| of a layer lie between two ``EDGES``."""

    layer: str
    stays: tuple[int, ...]
    goes: tuple[int, ...]


class Sizes(NamedTuple):
    """The sizes of the gammas of a layer, and which of them go."""

    layer: str
    sizes: Doubles
    gone: Mask

    @property
    def histogram(self) -> Histogram:
        """How many are how large."""
        stays, goes = (np.histogram(self.sizes[x], EDGES)[0] for x in (~self.gone, self.gone))
        return Histogram(self.layer, tuple(stays.tolist()), tuple(goes.tolist()))
