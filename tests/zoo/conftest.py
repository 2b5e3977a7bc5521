"""What tests of the zoo share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty zoo."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where results go; not there yet."""
    return tmp_path / "out"
