"""The command that is given for a missing package works for the way caffefold was installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys

import pytest

from caffefold.extras import install


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By pip, in the environment that is active, with what the metadata says of h5py."""
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    stated = ["numpy>=1.24", "h5py>=3.8; extra == 'hdf5'", "onnx>=1.17; extra == 'onnx'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: stated)


def test_in_the_active_environment() -> None:
    assert install("h5py") == "pip install 'h5py>=3.8'"


def test_several_packages() -> None:
    assert install("onnx", "onnxruntime") == "pip install 'onnx>=1.17' 'onnxruntime'"


def test_in_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/another")
    assert install("h5py") == f"{sys.executable} -m pip install 'h5py>=3.8'"


def test_without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert install("h5py") == f"uv pip install --python {sys.executable} 'h5py>=3.8'"


def test_in_pipx(monkeypatch: pytest.MonkeyPatch) -> None:
    home = os.path.join("home", "pipx", "venvs", "caffefold")  # noqa: PTH118 (a prefix, as sys has)
    monkeypatch.setattr(sys, "prefix", home)
    assert install("h5py") == "pipx inject caffefold 'h5py>=3.8'"


def test_from_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    assert install("h5py") == "pip install 'h5py'"
