"""The eighteen nets, each with two eps: every one right, and only what must stay stays."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.numeric.eighteen import EPSILONS, LIMIT, Case, cases, fold

ALL = [(eps, case) for eps in EPSILONS for case in cases(eps)]


@pytest.mark.parametrize(("eps", "case"), ALL, ids=[f"{c.name}, eps {e:g}" for e, c in ALL])
def test_right(tmp_path: Path, eps: float, case: Case) -> None:
    error, left = fold(case, tmp_path)
    assert error <= LIMIT
    assert left == case.left


def test_the_list_is_complete() -> None:
    assert [case.name[:2] for case in cases(1e-5)] == [f"{i:02}" for i in range(1, 19)]
