"""Fixtures: caffemodels from bytes."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from caffefold.formats.caffemodel.index import WeightsFile, open_weights
from tests.support.formats_weights import Opened


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Opens bytes, or a message, as a caffemodel; its file stays only as long as it is open."""
    path = tmp_path_factory.mktemp("weights") / "net.caffemodel"

    def open_content(content: bytes | Message) -> WeightsFile:
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        weights = open_weights(path)
        path.unlink()
        return weights

    return open_content
