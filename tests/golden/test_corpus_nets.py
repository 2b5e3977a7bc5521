"""Every net of the corpus of prototxts becomes a deploy net, or is refused for a right reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import caffefold
from caffefold.ir import graph
from caffefold.ops.table import op

SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or Path(__file__).resolve().parents[3] / "shared")
FOLDER = SHARED / "corpus/prototxts"
KINDS = ("net-v0", "net-v1", "net-v2", "mixed")
REFUSED = {
    # A top written by two layers, the second not in place: Caffe refuses it, too.
    "BVLC__models-jhlim_googlenet_bn-deploy@4433a54e.prototxt": "is already made by layer",
}


def nets() -> list[str]:
    """File names of all nets."""
    if not FOLDER.exists():
        return []
    index = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    return [item["file"] for item in index if item["kind"] in KINDS]


pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="CAFFEFOLD_SHARED is not there")


@pytest.mark.once
@pytest.mark.parametrize("name", nets())
def test_net(tmp_path: Path, name: str) -> None:
    path = FOLDER / name
    template = "cls3x" in path.read_text(encoding="utf-8", errors="replace")
    shapes: dict[str, tuple[int, ...]] = {}
    for _ in range(4):
        try:
            caffefold.convert(
                path, None, tmp_path / "net", input_shapes=shapes, classes=5 if template else None
            )
            break
        except caffefold.MissingShape as error:  # nothing gives a shape: exactly that is asked for
            blob = error.blob
            if f"{path}:" not in str(error) or blob in shapes:
                raise
            wish = zip(error.known, (1, 3, 224, 224), strict=False)
            shapes[blob] = tuple(size or other for size, other in wish)
        except caffefold.InputError as error:
            if name not in REFUSED or REFUSED[name] not in str(error):
                raise
            return
    assert name not in REFUSED
    deploy = caffefold.load(tmp_path / "net.prototxt")
    wiring = graph.validate(deploy)
    assert not any(op(layer).is_data(layer) or op(layer).is_loss(layer) for layer in deploy.layers)
    assert set(wiring.outputs) - set(deploy.inputs)
