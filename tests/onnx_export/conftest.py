"""Nets as models, in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from caffefold.formats import onnx
from caffefold.ir.net import Net
from caffefold.onnx_export.build import build
from caffefold.onnx_export.site import Settings

Made = Callable[..., bytes]


def bytes_of(net: Net, *, dynamic: bool = False, **settings: Any) -> bytes:
    """The model of a net as it stands, not folded."""
    file = io.BytesIO()
    onnx.write(file, build(net, Settings(**settings), dynamic=dynamic).model)
    return file.getvalue()


@pytest.fixture
def model_of() -> Made:
    """The model of a net as it stands, not folded."""
    return bytes_of
