"""What the system has no more of is no bug of ours: one line, exit 3."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from caffefold.cli import main
from tests.support.zoo import model


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "error: not enough memory for this; nothing more was written\n"),
        (OSError(errno.EMFILE, "Too many open files"), "error: this system: Too many open files\n"),
        (FileNotFoundError(2, "No such file", "a/b"), "error: a/b: No such file\n"),
    ],
)
def test_errors_of_the_system(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(main.cli, "main", fail)
    assert main.run([]) == 3
    assert capsys.readouterr().err == said


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("free", range(5))
def test_few_open_files(tmp_path: Path, free: int) -> None:
    """Enough to start, not to work: said so, whatever the file was that could not be opened."""
    model(tmp_path)
    code = (
        "import os, resource, sys\nfrom caffefold.cli.main import main\n"
        "import caffefold.conversion\n"
        "first = os.open('/dev/null', os.O_RDONLY)\n"
        "limit = first + int(sys.argv.pop(1))\n"
        "os.close(first)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(free), "convert", str(tmp_path / "net.prototxt"),
         str(tmp_path / "net.caffemodel"), "-o", str(tmp_path / "out/net")],
        env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "bug" not in done.stderr
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
