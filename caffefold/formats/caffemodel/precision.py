"""What numbers are stored as, and what rounding to it may do: IEEE 754 single, and half."""

from __future__ import annotations

from typing import NamedTuple


class Precision(NamedTuple):
    """A type of stored number.

    A finite ``x`` that fits is stored as ``x'`` with ``|x' - x| <= max(unit * |x|, tiny)``.
    """

    name: str
    """What the command line and reports call it."""
    dtype: str
    """numpy's name of the little-endian type."""
    unit: float
    """Half a unit in the last place, relative."""
    tiny: float
    """Half the distance of the smallest numbers, or a little more."""
    largest: float

    @property
    def itemsize(self) -> int:
        """Bytes per number."""
        return int(self.dtype[-1])


FLOAT32 = Precision("fp32", "<f4", 2.0**-24, 2.0**-149, (2 - 2.0**-23) * 2.0**127)
FLOAT16 = Precision("fp16", "<f2", 2.0**-11, 2.0**-25, 65504.0)
PRECISIONS = {precision.name: precision for precision in (FLOAT32, FLOAT16)}

# Statistics of a training run are sums over batches, often beyond a half's range; NVCaffe computes
# with them in float32 whatever the net is stored as (batch_norm_layer.cpp).
_ALWAYS_FLOAT32 = frozenset({"BatchNorm", "BN"})


def of_layer(kind: str, asked: Precision) -> Precision:
    """What the blobs of a layer of this type are stored as."""
    return FLOAT32 if kind in _ALWAYS_FLOAT32 else asked
