"""index.html in a real browser, from a file: it sorts, filters and shows what it should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest

from caffefold import zoo
from tests.support.nets import weights
from tests.support.zoo import body, deploy, model, put

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium"),
]
SHOWN = "&lt;img src=x onerror=document.title='owned'&gt;"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of a zoo of five: one is refused, one has a name to be careful of."""
    folder = tmp_path_factory.mktemp("pages")
    source = folder / "zoo"
    model(source / "a", seed=1)
    model(source / "b", seed=2, channels=16)
    model(source / "c", seed=3, channels=8)
    put(source / "bad/net.caffemodel", weights(body(prefix="x_", channels=6)))
    put(source / "bad/net.prototxt", deploy(body(prefix="x_")))
    model(source / "d", "<img src=x onerror=document.title='owned'>", 4)
    zoo.run(zoo.plan(source, folder / "out", jobs=1), engine="threads")
    return folder / "out"


def browse(url: str, tmp_path: Path, *arguments: str) -> str:
    assert BROWSER is not None
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [BROWSER, *FLAGS, profile, *arguments, url], capture_output=True, timeout=120, check=True
    )
    return done.stdout.decode()


def rows(dom: str) -> list[str]:
    """Names of the models that are shown, in order."""
    body = dom.split("<tbody>")[1].split("</tbody>")[0]
    shown = re.findall(r"<tr(?![^>]*hidden)[^>]*>(.*?)</tr>", body, re.DOTALL)
    return [re.sub(r"<[^>]+>", "", re.findall(r"<a [^>]*>(.*?)</a>", row)[0]) for row in shown]


@pytest.mark.parametrize(("state", "wanted"), [
    ("", ["a/net", "b/net", "bad/net", "c/net", f"d/{SHOWN}"]),
    ("#sort=-size&status=converted", ["b/net", "c/net", "a/net"]),
    ("#sort=size&status=converted&q=net", ["a/net", "c/net", "b/net"]),
    ("#sort=status", ["bad/net", "a/net", "b/net", "c/net"]),
    ("#status=refused", ["bad/net"]),
    ("#q=X_CONV+6x3", ["bad/net"]),
    ("#q=nothing+has+this", []),
])  # fmt: skip
def test_it_sorts_and_filters(pages: Path, tmp_path: Path, state: str, wanted: list[str]) -> None:
    dom = browse(f"{(pages / 'index.html').as_uri()}{state}", tmp_path, "--dump-dom")
    assert [name for name in rows(dom) if not name.startswith("d/") or not state] == wanted
    assert "owned" not in re.findall(r"<title>(.*?)</title>", dom)[0]
    assert "<img" not in dom
    hidden = re.search(r'<p id="none" class="none"( hidden="")?>', dom) is not None
    assert hidden


def test_clicks(pages: Path, tmp_path: Path) -> None:
    """On a header twice and on a card, typing into the filter."""
    clicks = """<script>
    const size = document.querySelector("th[data-name=size] button");
    size.click(); size.click();
    document.querySelector("button.card[data-status=converted]").click();
    const search = document.getElementById("search");
    search.value = "NET"; search.dispatchEvent(new Event("input"));
    </script>"""
    copy = pages / "clicked.html"
    copy.write_text((pages / "index.html").read_text().replace("</body>", f"{clicks}</body>"))
    dom = browse(copy.as_uri(), tmp_path, "--dump-dom")
    assert rows(dom)[:3] == ["b/net", "c/net", "a/net"]
    assert "of 5 models" in dom
    assert 'aria-sort="descending"' in dom


@pytest.mark.parametrize("page", ["index.html", "a/net.html", "bad/net.html"])
def test_there_is_something_to_see(pages: Path, tmp_path: Path, page: str) -> None:
    shot = tmp_path / "shot.png"
    browse((pages / page).as_uri(), tmp_path, f"--screenshot={shot}", "--window-size=1200,900")
    image = cv2.imread(str(shot))
    assert image is not None
    assert image.shape[:2] == (900, 1200)
    assert image.std() > 5
