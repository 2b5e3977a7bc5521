"""Small nets as text, compared in a folder of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import caffefold
from caffefold.compare.diff import NetDiff
from caffefold.testing import LayerSpec, net_text, write_pair

Compare = Callable[..., NetDiff]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Compares two nets given as text or as layers (with their weights, if some have any)."""

    def run(a: str | Sequence[LayerSpec], b: str | Sequence[LayerSpec], **options: Any) -> NetDiff:
        paths: list[Path] = []
        weights: list[Path | None] = []
        for stem, given in (("a", a), ("b", b)):
            folder = tmp_path / stem
            folder.mkdir(exist_ok=True)
            if isinstance(given, str):
                paths.append(folder / "net.prototxt")
                paths[-1].write_text(given)
                weights.append(None)
            elif any(layer.blobs for layer in given):
                prototxt, caffemodel = write_pair(folder, given)
                paths.append(prototxt)
                weights.append(caffemodel)
            else:
                paths.append(folder / "net.prototxt")
                paths[-1].write_text(net_text(given))
                weights.append(None)
        return caffefold.diff(*paths, weights=(weights[0], weights[1]), **options)

    return run


def layer(name: str, kind: str, bottoms: str = "", tops: str | None = None, body: str = "") -> str:
    """One layer as text."""
    return LayerSpec(name, kind, bottoms, tops or None, body).prototxt()


def conv(name: str, bottom: str, outputs: int = 8, body: str = "") -> str:
    """A convolution as text; ``body`` goes into its parameters."""
    params = f"convolution_param {{ num_output: {outputs} kernel_size: 3 {body} }}"
    return layer(name, "Convolution", bottom, "", params)


DATA = layer("data", "Input", "", "data", "input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } }")
