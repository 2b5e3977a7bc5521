"""The page of a conversion says what happened, loads nothing, and nothing in a net is markup."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import caffefold
from caffefold.conversion import convert
from caffefold.page import page
from caffefold.testing import RandomLayers, input_layer, relu, write_pair

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
HOSTILE = "<img/src=x/onerror=alert(1)>"
SHAPES = Path(__file__).resolve().parents[1] / "sample_models/mobilenet_ssd_shapes"


def write(folder: Path, name: str = "conv") -> Path:
    """The page of a small net, in which a branch of a BatchNorm cannot be folded."""
    make = RandomLayers()
    layers = [
        input_layer(1, 3, 8, 8),
        make.conv(name, "data", 3, 4),
        make.batch_norm("bn", name, 4, top=name),
        relu("relu", name),
        make.batch_norm("late", name, 4, top="late"),
    ]
    prototxt, caffemodel = write_pair(folder, layers)
    convert(prototxt, caffemodel, folder / "out", html=folder / "page.html")
    return folder / "page.html"


def test_it_says_what_happened(tmp_path: Path) -> None:
    content = write(tmp_path).read_text(encoding="utf-8")
    for text in (
        "<tr><td>layers</td>",
        "1 layer into 1: BatchNorm into Convolution",
        "1 BatchNorm became one Scale: ",
        'class="gone"><summary title="bn: BatchNorm 1x4x6x6; into conv">',
        '<dt>went into</dt><dd><a href="#l1">conv</a></dd>',
        '<span class="code">NOT_LINEAR</span>',
        "BatchNorm health <span>2 layers",
        "<h2>Next</h2>",
        "cv2.dnn.readNetFromCaffe(",
    ):
        assert text in content, text
    assert len(re.findall("<details id=", content)) == 5


def test_it_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    content = write(tmp_path, HOSTILE).read_text(encoding="utf-8")
    assert "<script" not in content
    assert "<img" not in content
    assert not re.search(r"https?://|@import|url\(", content)
    assert "default-src 'none'" in content


def test_the_page_does_not_replace_what_is_there(tmp_path: Path) -> None:
    there = tmp_path / "page.html"
    there.write_text("mine", encoding="utf-8")
    with pytest.raises(caffefold.ExistingOutput):
        write(tmp_path)
    assert there.read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "out.prototxt").exists()


def test_a_net_of_a_thousand_layers(tmp_path: Path) -> None:
    """It is one page of a few kilobytes for a hundred layers."""
    make, layers, last = RandomLayers(), [input_layer(1, 3, 8, 8)], "data"
    for number in range(500):
        layers += [make.conv(f"c{number}", last, 3, 3, kernel=1), relu(f"r{number}", f"c{number}")]
        last = f"c{number}"
    report = convert(*write_pair(tmp_path, layers), tmp_path / "out")
    content = page(replace(report, weights=False))
    assert len(re.findall("<details id=", content)) == 1001
    assert len(content) < 1_500_000


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: put one on the PATH to run this")
@pytest.mark.parametrize("width", [400, 1200])
def test_it_fits_the_window(tmp_path: Path, width: int) -> None:
    """Nothing is wider than the screen, and each row of the drawing is as high as its lines."""
    convert(
        SHAPES / "train_template.prototxt",
        SHAPES / "shapes_iter_9000.caffemodel",
        tmp_path / "out",
        html=tmp_path / "page.html",
    )
    probe = """<script>
    const frame = document.createElement("iframe");
    frame.width = WIDTH; frame.height = 800; frame.src = "page.html";
    frame.onload = function () {
      const root = frame.contentDocument.documentElement;
      const rows = Array.from(frame.contentDocument.querySelectorAll(".rails summary"));
      const heights = new Set(rows.map(row => row.getBoundingClientRect().height));
      document.title = [root.scrollWidth, root.clientWidth, Array.from(heights)].join(" ");
    };
    document.body.appendChild(frame);
    </script>""".replace("WIDTH", str(width))
    (tmp_path / "probe.html").write_text(f"<!doctype html><body>{probe}</body>", encoding="utf-8")
    done = subprocess.run(
        [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--virtual-time-budget=5000", (tmp_path / "probe.html").as_uri()),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"<title>(\d+) (\d+) ([\d.,]+)</title>", done.stdout.decode())
    assert found is not None, done.stdout
    assert int(found[1]) <= int(found[2])
    assert found[3] == "26"
