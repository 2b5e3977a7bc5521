"""Every lowering is measured, and the documentation says what is measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from caffefold.onnx_export.lower.table import LOWERINGS
from caffefold.ops.table import TABLE, op
from tests.onnx_export.cases import FOLDERS, OTHERS, of_caffe, of_reference
from tests.onnx_export.table import END, PAGE, START, rows
from tests.support.onnx_models import difference, run


@pytest.mark.parametrize("name", OTHERS)
def test_as_the_reference(name: str, model_of: Callable[..., bytes]) -> None:
    case = of_reference(name)
    found = run(model_of(case.net), case.inputs)
    assert case.outputs
    for blob, wanted in case.outputs.items():
        assert difference(found[blob], wanted) < 1e-5


def test_lowerings_are_of_known_types() -> None:
    assert set(LOWERINGS) <= {each.name for each in TABLE.values()}


@pytest.mark.skipif(not FOLDERS, reason="CAFFEFOLD_SHARED is not there")
def test_every_lowering_is_measured() -> None:
    cases = [*map(of_caffe, FOLDERS), *map(of_reference, OTHERS)]
    assert set(LOWERINGS) <= {op(layer).name for case in cases for layer in case.net.layers}


def _split(lines: list[str]) -> tuple[list[list[str]], list[float]]:
    """What stands in the lines beside errors, and the errors."""
    cells = [line.strip("| ").split(" | ") for line in lines[2:]]
    errors = [0.0 if error == "exact" else float(error) for _, _, error, _ in cells]
    return [[kind, operators, against] for kind, operators, _, against in cells], errors


@pytest.mark.skipif(not FOLDERS, reason="CAFFEFOLD_SHARED is not there")
def test_the_documentation_says_so() -> None:
    """Operators exactly; errors differ between processors, but not by much."""
    pytest.importorskip("onnxruntime")
    table = PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]
    written, measured = table.split("\n")[1:-2], rows()
    (texts, stated), (now, errors) = _split(written), _split(measured)
    assert texts == now, "run python -m tests.onnx_export.table"
    assert all(new <= max(10 * old, 1e-6) for old, new in zip(stated, errors, strict=True))
