"""The HTML page in a real browser: headless Chromium lays it out and runs nothing."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

import caffefold
from caffefold.compare.render.markup import page as html_page

pytestmark = pytest.mark.slow
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def _chromium(folder: Path, page: Path, *options: str) -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    command = [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


@pytest.fixture
def page(samples: Path, tmp_path: Path) -> Path:
    folder = samples / "mobilenet_ssd_shapes"
    given = (folder / "train_template.prototxt", folder / "shapes_iter_9000.caffemodel")
    caffefold.convert(*given, tmp_path / "out")
    made = (tmp_path / "out.prototxt", tmp_path / "out.caffemodel")
    found = caffefold.diff(given[0], made[0], weights=(given[1], made[1]))
    path = tmp_path / "page.html"
    path.write_text(html_page(found.summary), encoding="utf-8")
    return path


def test_the_browser_keeps_the_page_as_it_is(page: Path, tmp_path: Path) -> None:
    """What it parsed is what was written: nothing unclosed was moved, every row is there."""
    dom = _chromium(tmp_path, page, "--dump-dom")
    source = page.read_text(encoding="utf-8")
    for tag in ("div", "details", "section", "table", "code"):
        assert len(re.findall(f"<{tag}[ >]", dom)) == len(re.findall(f"<{tag}[ >]", source))
    assert dom.count('class="row removed"') == 71
    assert dom.count('class="row added"') == 4
    assert "folded into conv13/dw" in dom
    assert "<script" not in dom


def test_the_browser_draws_it(page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    _chromium(tmp_path, page, f"--screenshot={picture}", "--window-size=1200,1600")
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert struct.unpack(">II", head[16:]) == (1200, 1600)
    assert picture.stat().st_size > 50_000  # an empty page is far smaller


def test_the_largest_change_comes_first() -> None:
    from caffefold.compare.render import markup

    rows = [("a", "0", "3", "9", change, "1") for change in ("0.01", "1e-07", "nan", "inf", "0.5")]
    ordered = sorted(rows, key=markup._change, reverse=True)
    assert [row[4] for row in ordered] == ["nan", "inf", "0.5", "0.01", "1e-07"]
