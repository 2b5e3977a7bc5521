"""Every command that README.md and docs/ show is run, on small nets under the names they use."""

from __future__ import annotations

import html
import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.cli import man
from caffefold.cli.main import run
from tests.packaging import recording

ROOT = Path(__file__).parents[2]
LENET = ROOT / "sample_models/lenet_bn"
TRAIN, SNAPSHOT = LENET / "train_val.prototxt", LENET / "lenet_bn_iter_5000.caffemodel"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
MAY_DIFFER = ("diff", "verify")  # their exit code 1 is an answer


def shown() -> Iterator[tuple[str, str]]:
    """(page, command) of every line in a block of code that calls caffefold and nothing else."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for kind, text in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in text.replace("\\\n", " ").splitlines():
                command = line.removeprefix("$ ").partition("  #")[0].strip()
                called = kind in ("", "sh", "console") and command.startswith("caffefold ")
                if called and not re.search(r"[<|]", command):
                    yield page.name, command


COMMANDS = sorted(set(shown()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages speak of."""
    made = tmp_path_factory.mktemp("shown")
    for name in ("train_val", "train", "train_template", "old", "new"):
        shutil.copy(TRAIN, made / f"{name}.prototxt")
    for name in ("snapshot", "old", "new", "net"):
        shutil.copy(SNAPSHOT, made / f"{name}.caffemodel")
    (made / "models/lenet").mkdir(parents=True)
    shutil.copy(TRAIN, made / "models/lenet")
    shutil.copy(SNAPSHOT, made / "models/lenet")
    for pair in ("out/net", "out/mobilenet_ssd"):
        caffefold.convert(TRAIN, SNAPSHOT, made / pair)
    shutil.copy(made / "out/net.prototxt", made / "deploy.prototxt")
    shutil.copy(made / "out/net.caffemodel", made / "net.caffemodel")
    if ONNX:
        with caffefold.load(TRAIN, SNAPSHOT) as net:
            caffefold.export(net, made / "out/net.onnx")
    shutil.copytree(ROOT / "sample_models/mobilenet_ssd_shapes", made / "ssd")
    caffefold.convert(
        made / "ssd/train_template.prototxt",
        made / "ssd/shapes_iter_9000.caffemodel",
        made / "ssd/out/shapes",
    )
    (made / "photos").mkdir()
    for image in (ROOT / "sample_models/mobilenet_ssd_shapes/images").glob("*_0.png"):
        shutil.copy(image, made / "photos")
    digits = np.load(LENET / "test_digits.npz")
    np.savez(made / "digits.npz", **{name: digits[name][:20] for name in digits.files})
    return made


def test_some_are_shown() -> None:
    assert len(COMMANDS) > 10
    called = {command.split()[1] for _, command in COMMANDS}
    assert {"convert", "diff", "export", "extract", "inspect", "slim", "verify", "zoo"} <= called


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[" ".join(each) for each in COMMANDS])
def test_it_runs(
    page: str,
    command: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, *words = shlex.split(command)[1:]
    if name in ("export", "verify") and not ONNX:
        pytest.skip("runs the net in onnxruntime: pip install onnx onnxruntime")
    if "--dataset" in words:
        pytest.skip("reads the data set of the training: make digits_test_lmdb beside the net")
    monkeypatch.chdir(folder / "ssd" if "shapes_iter_9000" in command else folder)
    words += ["--force"] if name in ("convert", "export", "extract", "slim") else []
    code = run([name, *words])
    assert code in ((0, 1) if name in MAY_DIFFER else (0,)), f"{page}: {capsys.readouterr().err}"


def test_the_manual_page_is_what_the_commands_say() -> None:
    """``python -m caffefold.cli.man > docs/caffefold.1`` writes it anew."""
    assert (ROOT / "docs/caffefold.1").read_text(encoding="utf-8") == man.page()


def test_the_recording_is_what_the_commands_print(tmp_path: Path) -> None:
    """``python -m tests.packaging.recording`` draws it anew."""
    svg = recording.PICTURE.read_text(encoding="utf-8")
    cells = re.findall(r"<text[^>]*>(.*?)</text>", svg)
    drawn = "".join(html.unescape(cell) for cell in cells).replace("\N{NO-BREAK SPACE}", "")
    text = re.sub(r"\x1b\[[0-9;]*m", "", recording.session(tmp_path))
    for line in text.splitlines():
        assert line.replace(" ", "") in drawn, line
    assert "http" not in re.sub(r'xmlns="[^"]*"|<!--.*?-->', "", svg)
