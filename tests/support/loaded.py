"""Fixtures: nets from text and arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from numpy.typing import ArrayLike

from caffefold.formats.caffemodel.index import WeightsFile, open_weights
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.testing import net_weights
from tests.support.formats_model import Loaded


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Loaded]:
    """Nets from text and the blobs of their layers by name."""
    opened: list[WeightsFile] = []

    def load(text: str, blobs: Mapping[str, Sequence[ArrayLike]]) -> Net:
        path = tmp_path / f"net{len(opened)}.caffemodel"
        path.write_bytes(net_weights(blobs))
        opened.append(open_weights(path))
        return Net.of(parse(text, "net.prototxt"), opened[-1])

    yield load
    for weights in opened:
        weights.close()
