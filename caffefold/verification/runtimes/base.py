"""What a runtime is: it starts a net, and runs it on a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from caffefold.ir.net import Net

Array: TypeAlias = NDArray[Any]


class Batch(NamedTuple):
    """What a net is fed with once."""

    values: Mapping[str, Array]
    """By input blob, float32, preprocessed."""
    pixels: Mapping[str, Array]
    """The same images before that, uint8 of (N, H, W, C), RGB; for those inputs that are images."""


class CannotRun(Exception):  # noqa: N818
    """A runtime does not take a net: ``layers`` says which of its layers, by name, and why.

    No layers: it does not take the net at all, for ``reason``.
    """

    def __init__(self, layers: Mapping[str, str], reason: str = "") -> None:
        super().__init__(reason or "; ".join(layers.values()))
        self.layers = dict(layers)
        self.reason = reason


class Session(Protocol):
    """A net that is ready to run."""

    about: str
    """The runtime and its version, as ``onnxruntime 1.19.2``."""
    how: str
    """Whether it fuses layers itself, and on how many threads it runs."""
    took: float | None
    """Seconds of the last forward pass, where a run is more than that."""

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """The numbers of the blobs that were wanted, by name; those it does not hand out lack.

        Raises:
            CannotRun: it stopped.
        """
        ...


class Runtime(Protocol):
    """Something that runs nets."""

    def start(self, net: Net, wanted: Sequence[str], folder: Path) -> Session:
        """Make a deploy net ready.

        Args:
            net: the net, with its weights.
            wanted: the blobs that ``run`` is to return: the last version of each name.
            folder: where files may be written, empty.

        Raises:
            CannotRun: some of its layers, or the whole net, cannot be run.
            UsageError: the runtime is not installed.
        """
        ...


def first_line(error: BaseException) -> str:
    """What an error of a runtime says first."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason")


def as_float(values: Array) -> Array:
    """Numbers in float64, to be compared."""
    return np.asarray(values, np.float64)
