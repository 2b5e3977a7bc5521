"""The table of docs/export.md: what each layer type becomes, and how far that is from Caffe.

``python -m tests.onnx_export.table`` writes it anew; it needs onnxruntime and CAFFEFOLD_SHARED.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from caffefold.errors import CaffefoldError
from caffefold.formats import onnx
from caffefold.onnx_export.build import build
from caffefold.onnx_export.lower.table import LOWERINGS
from caffefold.onnx_export.site import Settings
from caffefold.ops.table import op
from tests.onnx_export.cases import Case, all_cases
from tests.support.onnx_models import difference, run

PAGE = Path(__file__).resolve().parents[2] / "docs/export.md"
START, END = "<!-- table: python -m tests.onnx_export.table -->\n", "<!-- end of table -->\n"


class Measured(NamedTuple):
    """A type in one case."""

    type: str
    operators: frozenset[str]
    error: float
    by_caffe: bool


def measure(case: Case) -> Iterator[Measured]:
    """The layer types of a case; nothing of one that is refused."""
    try:
        model = build(case.net, Settings()).model
    except CaffefoldError:
        return
    file = io.BytesIO()
    onnx.write(file, model)
    found = run(file.getvalue(), case.inputs)
    error = max(
        difference(found[name if name in found else next(iter(found))], wanted)
        for name, wanted in case.outputs.items()
    )
    for layer in case.net.layers:
        starts = (layer.name, f"{layer.name}/")
        own = {
            node.type
            for node in model.nodes
            if node.name.startswith(starts) and node.doc.split(",")[0] == layer.type
        }
        if own:
            yield Measured(op(layer).name, frozenset(own), error, case.by_caffe)


def rows() -> list[str]:
    """The lines of the table, with errors rounded up to a power of ten."""
    found = [each for case in all_cases() for each in measure(case)]
    lines = ["| layer type | ONNX operators | error | against |", "|---|---|---|---|"]
    for kind in LOWERINGS:
        own = [each for each in found if each.type == kind]
        operators = ", ".join(sorted(frozenset().union(*(each.operators for each in own))))
        worst = max((each.error for each in own), default=math.nan)
        error = "exact" if worst == 0 else f"{10.0 ** math.ceil(math.log10(worst)):.0e}"
        against = "Caffe" if any(each.by_caffe for each in own) else "reference"
        lines.append(f"| {kind} | {operators} | {error} | {against} |")
    return lines


def page(text: str, lines: list[str]) -> str:
    """``text`` with the table in it."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    table = "\n".join(lines) + "\n"
    return f"{before}{START}\n{table}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), rows()), encoding="utf-8")
