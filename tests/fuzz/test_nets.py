"""Random nets against an evaluator that knows nothing of this package: torch, in float64.

What must hold is that of ``tests/property/test_fold_random_nets.py``; here it is asked of many
nets, some of them large; the default run has its slice there.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("torch")

from tests.property.test_fold_random_nets import check
from tests.reference.random_nets import RandomNet, nets

MANY = int(os.environ.get("CAFFEFOLD_EXAMPLES", "200000")) // 20
PARTS = 10


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_many_nets(part: int) -> None:
    @settings(
        deadline=None, suppress_health_check=list(HealthCheck), max_examples=max(MANY // PARTS, 1)
    )
    @given(nets(max_layers=12 + 2 * part))
    def each(net: RandomNet) -> None:
        check(net, {})

    each()
