"""What all tests share: the checkout behind the installed package, and the material outside it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Workers share the cores: torch and BLAS use one thread in each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Every pass of every test is held to its contract, in processes that tests start as well.
os.environ.setdefault("CAFFEFOLD_DEBUG", "1")

# Machines are busy; how long an example takes is no property of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parent.parent
# At the end, so that `tests.support` is found there but `caffefold` is still the installed one.
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from tests.support.loaded import loaded  # noqa: E402

__all__ = ["loaded"]


def pytest_configure(config: pytest.Config) -> None:
    """Beside the markers of pyproject.toml, one that only tox reads."""
    once = (
        "once: goes through many files and asks nothing of Python or of a dependency; on 3.11 alone"
    )
    config.addinivalue_line("markers", once)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The sample models of the repository."""
    return ROOT / "sample_models"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Models and prototxts that are not part of the repository; the test is skipped without."""
    path = Path(os.environ.get("CAFFEFOLD_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip("CAFFEFOLD_SHARED is not there")
    return path
