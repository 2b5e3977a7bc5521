"""Every shared model in every consumer, the original and our pair; ``tox -e consumers``.

    python tests/consumers/run.py [--only NAME]... [--corpus] [--envs FOLDER] [--docs] [--json FILE]
    python tests/consumers/run.py --peers [--corpus] [--envs FOLDER] [--docs]

Each consumer is installed into an environment of its own, converts the pair as somebody has it and
the pair that ``caffefold convert --target`` writes for it, and runs both. "Right" is within 1e-2 of
real Caffe's largest value. ``--docs`` writes the matrix into docs/targets.md. Converters to ONNX
(peers.py) follow, into docs/export.md; ``--peers`` for these alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, cast

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

import caffefold  # noqa: E402
from caffefold.ir import graph  # noqa: E402
from caffefold.options import TargetName  # noqa: E402
from tests.consumers import peers  # noqa: E402
from tests.consumers.consumers import CONSUMERS, PEERS, Consumer, environment  # noqa: E402
from tests.consumers.harness import Answer, ask  # noqa: E402
from tests.consumers.models import Model, models, writers  # noqa: E402

SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
PAGES = {"consumers": ROOT / "docs" / "targets.md", "peers": ROOT / "docs" / "export.md"}
RIGHT = 1e-2  # of the largest value
REFUSED = "caffefold: "
NOISE = 1e-6  # float32's own error, below which a ratio of errors says nothing


class Side(NamedTuple):
    """What became of one pair."""

    taken: bool
    error: float | None = None
    why: str = ""

    @property
    def right(self) -> bool:
        """Whether it is taken, and answers as Caffe does."""
        return self.error is not None and self.error <= RIGHT

    @property
    def refused(self) -> bool:
        """Whether caffefold did not write it, and said why."""
        return self.why.startswith(REFUSED)


class Cell(NamedTuple):
    """One model in one consumer."""

    model: str
    original: Side
    ours: Side

    @property
    def ratio(self) -> float | None:
        """Our error over the original's, where both are right."""
        if self.original.error is None or self.ours.error is None or not self.original.right:
            return None
        return max(self.ours.error, NOISE) / max(self.original.error, NOISE)

    @property
    def worse(self) -> bool:
        """Whether the original was the better file to hand on; one that is misread is not."""
        misread = self.original.taken and not self.original.right and self.ours.refused
        lost = self.original.taken and not self.ours.taken and not misread
        return lost or (self.original.right and (not self.ours.right or (self.ratio or 0) > 2))


class Row(NamedTuple):
    """One consumer."""

    name: str
    version: str
    cells: Sequence[Cell] | None


def _side(python: Path, runner: str, model: Model, pair: tuple[Path, Path], folder: Path) -> Side:
    made = writers(pair[0])
    missing = [blob for blob in model.wanted if blob not in made]
    if missing:
        return Side(False, None, f"the pair has no blob {', '.join(missing)}")
    wanted = {blob: made[blob] for blob in made if blob in model.wanted}
    answer: Answer = ask(python, runner, pair, model.inputs, wanted, folder)
    if answer.why:
        return Side(False, None, answer.why)
    error = max(model.error(blob, value) for blob, value in answer.outputs.items())
    return Side(True, error, "" if error <= RIGHT else f"off by {error:.2g}")


def _cell(python: Path, consumer: Consumer, model: Model, folder: Path) -> Cell:
    original = _side(
        python, consumer.runner, model, (model.prototxt, model.caffemodel), folder / "original"
    )
    prefix = folder / "out"
    target = cast(TargetName, consumer.target)
    shapes = {name: value.shape for name, value in model.inputs.items()}
    pair = Path(f"{prefix}.prototxt"), Path(f"{prefix}.caffemodel")
    try:
        # Where Caffe answered with a prediction, the net ends there.
        for heads in ({}, {"*": "none"}):
            given: dict[str, Any] = {"target": target, "input_shapes": shapes, "heads": heads}
            caffefold.convert(model.prototxt, model.caffemodel, prefix, force=True, **given)
            if set(model.wanted) <= set(graph.validate(caffefold.load(*pair)).outputs):
                break
    except caffefold.CaffefoldError as error:
        return Cell(model.name, original, Side(False, None, f"{REFUSED}{error}"))
    return Cell(model.name, original, _side(python, consumer.runner, model, pair, folder / "ours"))


def measure(names: Sequence[str], chosen: Sequence[Model], envs: Path, jobs: int) -> Iterator[Row]:
    """One row for each consumer, printed as it comes."""
    for name in names:
        consumer = CONSUMERS[name]
        made = environment(name, consumer, envs / name)
        python = made.python
        if python is None:
            yield Row(name, made.version, None)
            continue
        with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(jobs) as pool:
            futures = [
                pool.submit(_cell, python, consumer, model, Path(scratch) / str(at))
                for at, model in enumerate(chosen)
            ]
            yield Row(name, made.version, [future.result() for future in futures])


def table(rows: Sequence[Row]) -> str:
    """The matrix, in Markdown."""
    titles = (
        *("consumer", "taken, original", "right, original", "taken, ours", "right, ours"),
        *("largest ratio of errors", "worse with ours"),
    )
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        if row.cells is None:
            lines.append(f"| {row.name} | skipped: {row.version} | | | | | |")
            continue
        ratios = [cell.ratio for cell in row.cells if cell.ratio is not None]
        counts = [
            sum(cell.original.taken for cell in row.cells),
            sum(cell.original.right for cell in row.cells),
            sum(cell.ours.taken for cell in row.cells),
            sum(cell.ours.right for cell in row.cells),
        ]
        worse = ", ".join(cell.model for cell in row.cells if cell.worse) or "none"
        largest = f"{max(ratios):.2g}" if ratios else "-"
        lines.append(f"| {row.version} | {' | '.join(map(str, counts))} | {largest} | {worse} |")
    return "\n".join(lines) + "\n"


def details(row: Row) -> str:
    """What is not right, and why."""
    lines = []
    cells = row.cells or ()
    reasons = {side.why for cell in cells for side in (cell.original, cell.ours)}
    if len(cells) > 1 and len(reasons) == 1 and "" not in reasons:
        return f"  every pair: {reasons.pop()}"
    for cell in cells:
        for who, side in (("original", cell.original), ("ours", cell.ours)):
            if not side.right:
                lines.append(f"  {cell.model:<24} {who:<8}  {side.why}")
        if cell.worse:
            lines.append(f"  {cell.model:<24} WORSE     ratio {cell.ratio}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", action="append", choices=tuple(CONSUMERS))
    parser.add_argument("--model", action="append", help="only the models of these names")
    parser.add_argument("--peers", action="store_true", help="only the converters to ONNX")
    parser.add_argument("--corpus", action="store_true", help="other people's models as well")
    parser.add_argument("--envs", type=Path, default=ROOT / ".tox" / "consumers-envs")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="every single answer")
    parser.add_argument("--docs", action="store_true", help="write docs/targets.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = list(models(SHARED, asked.corpus, Path(scratch)))
        chosen = [x for x in found if not asked.model or x.name in asked.model]
        return _measured(asked, chosen)


def _measured(asked: argparse.Namespace, chosen: Sequence[Model]) -> int:
    rows = []
    names = [] if asked.peers else asked.only or list(CONSUMERS)
    for row in measure(names, chosen, asked.envs, asked.jobs):
        print(f"{row.name}: {row.version}", details(row), sep="\n", flush=True)
        rows.append(row)
    if rows:
        _publish("consumers", table(rows), chosen, asked)
    if asked.json:
        asked.json.write_text(json.dumps([_plain(row) for row in rows], indent=1))
    if not asked.only:
        converters = []
        for peer in peers.compare(PEERS, chosen, asked.envs, asked.jobs):
            print(f"{peer.name}: {peer.version}", peers.details(peer), sep="\n", flush=True)
            converters.append(peer)
        _publish("peers", peers.table(converters, _groups(chosen)), chosen, asked)
    return int(any(cell.worse for row in rows for cell in row.cells or ()))


def _groups(chosen: Sequence[Model]) -> list[tuple[str, list[Model]]]:
    """The models that somebody uses, and those that are there for one thing each."""
    small = [model for model in chosen if model.prototxt.parent.parent.name == "edge"]
    real = [model for model in chosen if model not in small]
    return [(name, group) for name, group in (("real nets", real), ("small nets", small)) if group]


def _publish(mark: str, text: str, chosen: Sequence[Model], asked: argparse.Namespace) -> None:
    """Print a table; with ``--docs``, put it between its marks."""
    day = datetime.now(timezone.utc).date()
    print(f"\n{len(chosen)} models, {day}, caffefold {caffefold.__version__}\n\n{text}", flush=True)
    if asked.docs:
        option = " -- --corpus" if asked.corpus else ""
        head = f"{len(chosen)} models, {day}, `tox -e consumers{option}`:\n\n"
        page = PAGES[mark].read_text(encoding="utf-8")
        marks = re.compile(rf"(<!-- {mark} -->\n).*(<!-- /{mark} -->)", re.DOTALL)
        made = marks.sub(lambda m: f"{m[1]}{head}{text}{m[2]}", page)
        PAGES[mark].write_text(made, encoding="utf-8")


def _plain(row: Row) -> dict[str, Any]:
    cells = [
        {"model": c.model, "original": c.original._asdict(), "ours": c.ours._asdict()}
        for c in row.cells or ()
    ]
    return {"consumer": row.name, "version": row.version, "models": cells}


if __name__ == "__main__":
    sys.exit(main())
