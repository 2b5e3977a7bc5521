"""``caffefold export``: what it prints, what it writes, its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from caffefold.cli.main import cli, run
from caffefold.testing import LayerSpec, RandomLayers, input_layer, write_pair

MAKE = RandomLayers(seed=2)
NET = [
    input_layer(1, 3, 6, 6),
    MAKE.conv("conv", "data", 3, 4),
    MAKE.batch_norm("bn", "conv", 4),
    LayerSpec("prob", "Softmax", "bn"),
]


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    return list(map(str, write_pair(tmp_path, NET)))


def test_what_is_printed(pair: list[str], tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    done = CliRunner().invoke(cli, ["export", *pair, "-o", str(target), "--no-check"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[:6] == [
        "net       net: 3 layers",
        "folded    1 layer",
        "model     2 nodes, opset 13",
        "inputs    data 1x3x6x6",
        "outputs   prob 1x4x4x4",
        "check     not done: as asked",
    ]
    assert lines[6].startswith(f"wrote     {target} (")
    assert target.exists()


def test_what_no_check_needs_is_not_loaded(pair: list[str], tmp_path: Path) -> None:
    arguments = ["export", *pair, "-o", str(tmp_path / "net.onnx"), "--no-check"]
    code = (
        "import sys; from caffefold.cli.main import run; code = run(sys.argv[1:]);"
        "print(*(name for name in ('onnx', 'caffefold.check.forward', 'importlib.metadata')"
        " if name in sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == ""


def test_json(pair: list[str], tmp_path: Path) -> None:
    arguments = ["export", *pair, "-o", str(tmp_path / "net.onnx"), "--no-check", "--json"]
    found = json.loads(CliRunner().invoke(cli, [*arguments, "--batch", "dynamic"]).stdout)
    assert found["schema"] == 1
    assert found["takes"] == [{"name": "data", "shape": ["N", 3, 6, 6], "type": "float32"}]
    assert found["check"] is None
    assert found["types"] == {"Convolution": 1, "Softmax": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--batch", "some"], 2, "'some' is not a number of at least 1, nor dynamic"),
        (["--weights-in", "moon"], 2, "'moon' is not one of"),
        (["--raw-input"], 2, "--raw-input: the net does not state how its images"),
        (["--labels", "/no/such"], 3, "/no/such: no such file"),
    ],
)
def test_bad_options(
    arguments: list[str], code: int, message: str, pair: list[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    target = tmp_path / "net.onnx"
    assert run(["export", *pair, "-o", str(target), *arguments]) == code
    assert message in capsys.readouterr().err
    assert not target.exists()


def test_a_failed_check_is_exit_1(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from caffefold.onnx_export.lower import activation

    monkeypatch.setattr(activation, "canonical", lambda *_: 2)
    target = tmp_path / "net.onnx"
    assert run(["export", *pair, "-o", str(target)]) == 1
    assert "layer 'prob' makes 'prob'" in capsys.readouterr().err
    assert not target.exists()


def test_beside_the_pair(pair: list[str], tmp_path: Path) -> None:
    prefix = tmp_path / "out/net"
    done = CliRunner().invoke(cli, ["convert", *pair, "-o", str(prefix), "--onnx"])
    assert done.exit_code == 0
    assert f"\nwrote     {prefix}.onnx (" in done.stdout
    names = ["net.caffemodel", "net.onnx", "net.prototxt", "net.report.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_all_or_nothing(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A net without a model has no pair either; an existing model is not replaced."""
    prototxt = Path(pair[0])
    text = prototxt.read_text()
    last = 'layer { name: "odd" type: "GRU" bottom: "bn" top: "odd" }\n'
    prototxt.write_text(text + last)
    prefix = tmp_path / "out/net"
    assert run(["convert", *pair, "-o", str(prefix), "--onnx"]) == 3
    told = capsys.readouterr().err
    assert "without an ONNX lowering: GRU ('odd'); use --allow-custom" in told
    assert "custom nodes (an option of 'caffefold export')" in told
    assert not prefix.parent.exists()
    prototxt.write_text(text)
    prefix.parent.mkdir()
    Path(f"{prefix}.onnx").write_bytes(b"mine")
    assert run(["convert", *pair, "-o", str(prefix), "--onnx"]) == 3
    assert "net.onnx: already exists; use --force" in capsys.readouterr().err
    assert [path.name for path in prefix.parent.iterdir()] == ["net.onnx"]
