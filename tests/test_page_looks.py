"""Pages in the dark, and without a mouse."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from caffefold.conversion import convert

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / "caffefold/templates"
LENET = ROOT / "sample_models/lenet_bn"
BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
PAIRS = {  # text on what
    "page.css": (
        *product(("ink", "soft", "accent"), ("page", "card")),
        *(("ok", "ok-bg"), ("no", "no-bg"), ("bad", "bad-bg")),
    ),
    "diff.css": (
        *product(("ink", "soft"), ("bg", "card")),
        *(("red", "red-bg"), ("green", "green-bg"), ("amber", "amber-bg"), ("blue", "blue-bg")),
    ),
}


def colours(sheet: str) -> tuple[dict[str, str], dict[str, str]]:
    """The colours by name, in light and in dark."""
    css = (TEMPLATES / sheet).read_text(encoding="utf-8")
    dark = re.search(r"@media \(prefers-color-scheme: dark\) \{(.*?)\n\}", css, re.DOTALL)
    assert dark is not None
    light = css[: dark.start()]
    found = [dict(re.findall(r"--([\w-]+): (#\w+)", part)) for part in (light, dark[1])]
    return found[0], found[1]


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("sheet", PAIRS)
def test_text_is_readable_in_light_and_dark(sheet: str) -> None:
    """Every colour has its counterpart, and text the contrast that WCAG asks for (AA: 4.5)."""
    light, dark = colours(sheet)
    assert set(light) == set(dark)
    for scheme, (ink, ground) in product((light, dark), PAIRS[sheet]):
        low, high = sorted((luminance(scheme[ink]), luminance(scheme[ground])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground, scheme)


@pytest.mark.parametrize(
    "template",
    [*TEMPLATES.glob("*.html"), *(ROOT / "caffefold/zoo/pages/templates").iterdir()],
    ids=lambda path: path.name,
)
def test_nothing_needs_a_mouse(template: Path) -> None:
    """What can be clicked is a link, a button, an input or a summary, which keys reach by
    themselves; none is taken out of their order."""
    text = template.read_text(encoding="utf-8")
    assert not re.search(r"\son(?:click|mouse\w+)=", text)
    assert not re.search(r"tabindex=\"?-?[1-9]", text)
    assert "outline: none" not in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: put one on the PATH to run this")
@pytest.mark.parametrize("dark", [True, False])
def test_the_browser_shows_it_dark_and_lets_keys_through(tmp_path: Path, dark: bool) -> None:
    """Every layer can be focused, says so with an outline, and opens."""
    pair = LENET / "train_val.prototxt", LENET / "lenet_bn_iter_5000.caffemodel"
    convert(*pair, tmp_path / "out", html=tmp_path / "page.html")
    probe = """<script>
    const rows = Array.from(document.querySelectorAll(".rails summary"));
    const reached = rows.filter(row => { row.focus(); return document.activeElement === row; });
    // The rule, not the computed style: whether focus is "visible" hangs on the window's own focus.
    const rules = Array.from(document.styleSheets).flatMap(sheet => Array.from(sheet.cssRules));
    const shows = rules.filter(rule => (rule.selectorText || "").includes(":focus-visible"))
        .find(rule => rows[0].matches(rule.selectorText.replaceAll(":focus-visible", "")));
    const outline = shows && shows.style.outline.includes("solid") ? "solid" : "none";
    rows[0].click();
    const open = rows[0].parentElement.open;
    const ground = getComputedStyle(document.body).backgroundColor;
    document.title = [rows.length, reached.length, outline, open, ground].join("|");
    </script>"""
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(page.replace("</body>", probe + "</body>"))
    done = subprocess.run(
        [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *(f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "page.html").as_uri()),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"<title>(.*?)</title>", done.stdout.decode())
    assert found is not None
    rows, reached, outline, is_open, ground = found[1].split("|")
    assert int(rows) == int(reached) > 20
    assert (outline, is_open) == ("solid", "true")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 128) == dark
