"""The recipes of CONTRIBUTING are real diffs: they apply, they are short, and they work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.conftest import PACKAGE

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DIFFS = re.findall(r"```diff\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)
SHORT = 40
NET = """
input: "data" input_shape { dim: 1 dim: 8 dim: 4 dim: 4 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 8 kernel_size: 1 } }
"""
NORMED = (
    NET
    + """
layer { name: "up" type: "Upsample" bottom: "c" top: "up" upsample_param { scale: 2 } }
layer { name: "bn" type: "BatchNorm" bottom: "up" top: "bn" }
"""
)
TRIED = {
    "a layer type": f"""
from caffefold.analysis.shapes import infer
layer = 'layer {{ name: "l" type: "PixelShuffle" bottom: "c" top: "y" '
layer += 'pixel_shuffle_param {{ upscale_factor: 2 }} }}'
assert infer(caffefold.Net.from_text({NET!r} + layer)).of("y") == (1, 2, 8, 8)
""",
    "a fold rule": f"""
net = caffefold.Net.from_text({NORMED!r})
folded = caffefold.fold(net)
assert [layer.name for layer in folded.net] == ["c", "up"]
caffefold.prove(net, folded.net)
""",
    "a loss head": f"""
loss = 'layer {{ name: "l" type: "MultiLabelLoss" bottom: "c" bottom: "label" }}'
net = caffefold.Net.from_text({NET!r} + 'input: "label" ' + loss)
assert [layer.type for layer in caffefold.to_deploy(net).net] == ["Convolution", "Sigmoid"]
""",
    "an output format": """
import pathlib
from caffefold.cli.main import run
for name, kind in (("a", "ReLU"), ("b", "TanH")):
    text = 'input: "x" layer { name: "r" type: "%s" bottom: "x" top: "y" }' % kind
    pathlib.Path(f"{name}.prototxt").write_text(text)
assert run(["diff", "a.prototxt", "b.prototxt", "--format", "csv"]) == 1
""",
}


@pytest.mark.skipif(
    shutil.which("git") is None, reason="git, which applies the diffs, is not installed"
)
@pytest.mark.parametrize(("diff", "tried"), [*zip(DIFFS, TRIED.values(), strict=True)], ids=TRIED)
def test_a_recipe(tmp_path: Path, diff: str, tried: str) -> None:
    assert len(diff.splitlines()) < SHORT
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "caffefold", ignore=ignored)
    shutil.copytree(
        ROOT / "tests" / "architecture", tmp_path / "tests" / "architecture", ignore=ignored
    )
    (tmp_path / "recipe.diff").write_text(diff)
    applying = ["git", "apply", "recipe.diff"]
    # Away from any repository around: git would take the paths from its top.
    apart = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent), "GIT_DIR": "none"}
    subprocess.run(applying, cwd=tmp_path, check=True, env=apart)
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport caffefold\n{tried}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if "csv" in tried:
        assert done.stdout.splitlines() == ["symbol,layer,type,why", "~,r,ReLU -> TanH,"]
