"""How well a model that was made of a net agrees with it, blob by blob."""

from __future__ import annotations

from typing import Any, NamedTuple

from caffefold.humanize import counted


class BlobAgreement(NamedTuple):
    """One blob. ``error`` is the largest difference, relative to the largest magnitude."""

    blob: str
    layer: str
    """The layer that makes it."""
    error: float
    largest: float
    """The largest magnitude of what was expected."""


class Agreement(NamedTuple):
    """What a run found."""

    runtime: str
    seed: int
    outputs: tuple[BlobAgreement, ...]
    blobs: int
    """How many blobs were compared."""
    worst: BlobAgreement
    """The blob that is farthest off."""
    grows: str
    """The first layer whose result is much farther off than what it reads; "" for none."""
    skipped: tuple[str, ...] = ()
    """Blobs that could not be compared, and why."""

    def __str__(self) -> str:
        if not self.blobs:
            return f"{self.runtime}: it runs; nothing could be compared"
        error = max((each.error for each in self.outputs), default=0.0)
        return (
            f"{self.runtime}: outputs within {error:.1e}, "
            f"{counted(self.blobs, 'blob')} within {self.worst.error:.1e}"
        )

    def document(self) -> dict[str, Any]:
        """For JSON."""
        outputs = [each._asdict() for each in self.outputs]
        return {**self._asdict(), "outputs": outputs, "worst": self.worst._asdict()}
