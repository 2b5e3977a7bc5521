"""What README.md and docs/ show is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import caffefold
from caffefold.cli.main import COMMANDS
from caffefold.ops.base import SkipCode

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_the_quick_start_prints_what_is_shown(tmp_path: Path) -> None:
    command, shown = re.search(  # type: ignore[union-attr]
        r"bin/caffefold (convert [^\n]*)\n.*?and prints:\n\n```\n(.*?)```", README, re.DOTALL
    ).groups()
    words = [word.replace("sample_models", str(ROOT / "sample_models")) for word in command.split()]
    run = [sys.executable, "-m", "caffefold", *words]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == shown


def test_verify_says_what_is_shown(tmp_path: Path) -> None:
    """But for the digits, which are the runtime's."""
    pytest.importorskip("onnxruntime")
    command, shown = re.search(  # type: ignore[union-attr]
        r"bin/caffefold (verify [^\n]*)\n```\n\n```\n(.*?)```", README, re.DOTALL
    ).groups()
    words = [word.replace("sample_models", str(ROOT / "sample_models")) for word in command.split()]
    caffefold.convert(words[1], words[2], tmp_path / "out/mobilenet_ssd")
    run = [sys.executable, "-m", "caffefold", *words]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert _without_digits(done.stdout) == _without_digits(shown)


def _without_digits(text: str) -> str:
    return re.sub(r"\d[\d.e-]*", "0", " ".join(text.split()))


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)) == {p.name for p in PAGES}


@pytest.mark.parametrize("code", list(SkipCode))
def test_every_reason_is_documented(code: SkipCode) -> None:
    assert f"| `{code.value}` |" in (ROOT / "docs/convert.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    text = README + "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert f"caffefold {command}" in text
