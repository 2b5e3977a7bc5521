"""A mean image (mean.binaryproto): found where the net says, and reduced to its channel means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from caffefold.errors import InputError
from caffefold.formats.caffemodel.index import read_blob

_LARGEST = 64 << 20  # bytes; a mean image is far smaller
_LEVELS = 8  # folders upwards from the prototxt: paths are relative to Caffe's root


def find(name: str, prototxt: Path) -> Path | None:
    """The file ``name`` of a ``mean_file`` field: at its path, from a folder above the prototxt,
    or beside it; None when it is in none of these places."""
    for candidate in _candidates(name, prototxt):
        try:
            if candidate.is_file() and candidate.stat().st_size <= _LARGEST:
                return candidate
        except (OSError, ValueError):
            continue
    return None


def _candidates(name: str, prototxt: Path) -> Iterator[Path]:
    given = Path(name)
    yield given
    folders = list(prototxt.absolute().parents)[:_LEVELS]
    if not given.is_absolute():
        for folder in folders:
            yield folder / given
    if folders:
        yield folders[0] / given.name


def channel_means(path: Path) -> tuple[float, ...]:
    """The mean of each channel of a BlobProto of C x H x W or 1 x C x H x W numbers; () when the
    file is none."""
    try:
        numbers = read_blob(path)
    except (InputError, OSError):
        return ()
    while numbers.ndim > 3 and numbers.shape[0] == 1:
        numbers = numbers[0]
    if numbers.ndim != 3 or not numbers.size:
        return ()
    return tuple(float(v) for v in numbers.mean(axis=(1, 2), dtype="float64"))
