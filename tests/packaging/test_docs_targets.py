"""docs/targets.md holds the table of targets: ``python -m tests.packaging.test_docs_targets``
writes it again."""

from __future__ import annotations

import re
from pathlib import Path

from caffefold.targets import TARGETS

PAGE = Path(__file__).parents[2] / "docs" / "targets.md"
MARKS = re.compile(r"(<!-- targets -->\n).*(<!-- /targets -->)", re.DOTALL)


def table() -> str:
    lines = ["| target | written | known |", "|---|---|---|"]
    for name, row in TARGETS.items():
        facts = "; ".join(f"{fact} ({source})" for fact, source in row.facts)
        lines.append(f"| `{name}`: {row.title} | {row.forms()} | {facts} |")
    return "\n".join(lines) + "\n"


def test_the_table_is_that_of_the_package() -> None:
    found = MARKS.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == f"{found[1]}{table()}{found[2]}"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARKS.sub(lambda m: f"{m[1]}{table()}{m[2]}", text), encoding="utf-8")
