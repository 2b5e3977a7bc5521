"""docs/author-pairs.md names everything that differs between our deploy nets and their authors'."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import caffefold
from tests.golden.pairs import converted, deploy_net
from tests.golden.test_pairs import SHARED

CORPUS = SHARED / "corpus"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/author-pairs.md"
_KEPT = {"BatchNorm", "BN", "Dropout"}  # whoever has these wrote a net that is not folded
_EQUAL = "nothing"


def author_pairs() -> Iterator[tuple[str, Path, Path]]:
    """(name, training net, deploy net of the same author), in order."""
    for wanted in sorted(CORPUS.glob("*/*/*.prototxt")):
        trained = [wanted.with_name(f"{stem}.prototxt") for stem in ("train", "train_val")]
        train = next((path for path in trained if path.exists()), None)
        deploys = wanted.stem == "deploy" or wanted.with_name("deploy.prototxt").exists()
        if wanted.stem in ("deploy", "merged") and deploys and train is not None:
            folder = wanted.parent.relative_to(CORPUS)
            yield f"{folder}{' (merged)' if wanted.stem == 'merged' else ''}", train, wanted


def told(train: Path, wanted: Path) -> Iterator[str]:
    """What ``caffefold diff`` says of our net and the author's, rates and fillers left out."""
    author = deploy_net(wanted)
    kept = any(layer.type in _KEPT for layer in author)
    made = converted(train, author, "none" if kept and wanted.stem != "merged" else "all")
    found = caffefold.diff(made, author, ignore_training=True)
    for section in found.summary.sections:
        for item in section.items:
            text = f"{section.title}: {item.subject}{': ' if item.text else ''}{item.text}"
            yield "; ".join((text, *item.more))
    if not found:
        yield _EQUAL


def table() -> list[tuple[str, str]]:
    """(pair, difference) for every row of the document."""
    lines = DOCUMENT.read_text("utf-8").splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| `")]
    assert all(len(row) == 4 and all(cell.strip() for cell in row) for row in rows)
    return [(row[0].strip(" `"), row[1].strip(" `")) for row in rows]


@pytest.mark.once
@pytest.mark.skipif(not CORPUS.exists(), reason="CAFFEFOLD_SHARED is not there")
def test_every_difference_is_named() -> None:
    found = [(name, line) for name, train, wanted in author_pairs() for line in told(train, wanted)]
    assert table() == found
