"""A consumer that crashes, hangs, lies or refuses is one line of the matrix, no more."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.consumers import harness, peers
from tests.consumers.models import Model
from tests.consumers.run import Cell, Row, Side, details, table

X = np.arange(6, dtype=np.float32).reshape(1, 6)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``run_toy.py``, beside a copy of ``serve.py``."""
    serve = tmp_path / "runners" / "serve.py"
    serve.parent.mkdir()
    serve.write_bytes(harness.SERVE.read_bytes())
    monkeypatch.setattr(harness, "SERVE", serve)
    return serve.parent / "run_toy.py"


def ask(runner: Path, body: str, tmp_path: Path, seconds: float = 60) -> harness.Answer:
    lines = f"def run(prototxt, caffemodel, inputs, outputs):\n    {body}\n"
    runner.write_text(f"import os, time\n{lines}", encoding="utf-8")
    pair = tmp_path / "a.prototxt", tmp_path / "a.caffemodel"
    python = Path(sys.executable)
    wanted = {"y": "conv"}
    return harness.ask(python, "toy", pair, {"x": X}, wanted, tmp_path / "work", seconds)


@pytest.mark.parametrize("name", ["y", "conv", "whatever"])
def test_an_output_is_called_after_blob_or_layer_or_is_the_only_one(
    runner: Path, tmp_path: Path, name: str
) -> None:
    answer = ask(runner, f"return {{{name!r}: 2 * inputs['x']}}", tmp_path)
    assert answer.why == ""
    np.testing.assert_array_equal(answer.outputs["y"], 2 * X)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("os.abort()", "crashed: SIGABRT"),
        ("raise ValueError('no Bias layer')", "ValueError: no Bias layer"),
        ("raise SystemExit('error: load_caffe failed')", "error: load_caffe failed"),
        ("os._exit(0)", "it ended without a word"),
        ("return {'a': 1, 'b': 2}", "KeyError: \"no output 'y', but a, b\""),
    ],
)
def test_what_went_wrong_is_said(runner: Path, tmp_path: Path, body: str, why: str) -> None:
    assert ask(runner, body, tmp_path).why == why


def test_one_that_hangs_is_ended(runner: Path, tmp_path: Path) -> None:
    assert ask(runner, "time.sleep(600)", tmp_path, seconds=2).why == "no answer in 2 s"


def test_errors_are_relative_and_detections_have_no_order() -> None:
    rows = np.array([[0, 1, 0.9, 0, 0, 1, 1], [0, 2, 0.8, 0, 0, 1, 1]], np.float32)
    padded = np.concatenate([rows[::-1], np.zeros((3, 7), np.float32)])[None, None]
    wanted = {"y": 2 * X, "detection_out": rows}
    model = Model("m", Path("p"), Path("c"), {}, wanted)
    assert model.error("y", 2 * X + 0.1) == pytest.approx(0.01, rel=1e-4)
    assert model.error("y", X[:, :5]) == float("inf")
    assert model.error("y", X * np.float32("nan")) == float("inf")
    assert model.error("detection_out", padded) == 0
    assert model.error("detection_out", rows[:1]) == float("inf")
    mnn = padded[..., 1:]  # without the image
    assert model.error("detection_out", mnn) == 0
    assert model.error("detection_out", mnn[..., :5]) == float("inf")


def test_the_matrix_says_where_the_original_was_better() -> None:
    right, refused = Side(True, 1e-5), Side(False, None, "no Bias")
    cells = [
        Cell("same", right, right),
        Cell("noise", Side(True, 1e-8), Side(True, 9e-7)),
        Cell("gained", refused, right),
        Cell("lost", right, refused),
        Cell("off", right, Side(True, 3e-5)),
        Cell("misread", Side(True, 0.5), Side(False, None, "no")),
        Cell("told", Side(True, 0.5), Side(False, None, "caffefold: layer 'c': MNN misreads it")),
        Cell("refused", right, Side(False, None, "caffefold: layer 'c': no Bias")),
    ]
    assert [cell.model for cell in cells if cell.worse] == ["lost", "off", "misread", "refused"]
    row = Row("toy", "toy 1.0", cells)
    assert table([row]).splitlines()[-1] == (
        "| toy 1.0 | 7 | 5 | 4 | 4 | 3 | lost, off, misread, refused |"
    )
    assert "gained" in details(row)
    same = Row("toy", "toy", [Cell(x, refused, refused) for x in "ab"])
    assert details(same) == "  every pair: no Bias"
    assert "skipped: no Python 3.7 here" in table([Row("toy", "no Python 3.7 here", None)])


def test_converters_are_counted_by_kind_of_net() -> None:
    real, small = (Model(x, Path(), Path(), {}, {}) for x in ("real", "small"))
    found = [peers.Found(real, 1e-6), peers.Found(small, 0.5, "off by 0.5")]
    rows = [
        peers.Peer("a", "a 1.0", found),
        peers.Peer("b", "b 2.0", [found[0], peers.Found(small, None, "no Bias")]),
        peers.Peer("c", "no Python 3.7 here", None),
    ]
    lines = peers.table(rows, [("real nets", [real]), ("small nets", [small])]).splitlines()
    assert lines[0].startswith("| converter | 1 real nets: converted | right | 1 small nets:")
    assert lines[2:4] == ["| a 1.0 | 1 | 1 | 1 | 0 |", "| b 2.0 | 1 | 1 | 0 | 0 |"]
    assert lines[4] == "| c | skipped: no Python 3.7 here | | | |"
    assert "small" in peers.details(rows[1])
    assert "real" not in peers.details(rows[1])
