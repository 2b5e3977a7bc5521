"""Damaged texts: only our errors escape, and an upgraded net needs no upgrade."""

from __future__ import annotations

import random
import re

import pytest

from caffefold.errors import CaffefoldError
from tests.upgrade.helpers import corpus, real, upgraded
from tests.upgrade.test_solver import INLINE
from tests.upgrade.test_v0 import LAYOUT as V0
from tests.upgrade.test_v0 import PADDED
from tests.upgrade.test_v1 import LAYOUT as V1

TOKEN = re.compile(r'\w+|[{}:\[\],#"\n]')
ODD = ["[", "]", "{ ", "}", "\n", "# x\n", " ", "layer", "layers", "input", "param", "-1", "99", ""]


def mutant(text: str, dice: random.Random) -> str:
    for _ in range(dice.randint(1, 3)):
        tokens = list(TOKEN.finditer(text))
        place, other = dice.choice(tokens), dice.choice(tokens)
        new = dice.choice([other[0], place[0] * 2, *ODD])
        text = text[: place.start()] + new + text[place.end() :]
    return text


@pytest.mark.parametrize("seed", range(4))
def test_mutants(seed: int) -> None:
    dice = random.Random(seed)
    texts = [V0, V1, PADDED, INLINE]
    texts += [text for name in corpus("net-v0", "net-v1") if len(text := real(name)) < 6_000]
    read = 0
    for _ in range(250):
        text = mutant(dice.choice(texts), dice)
        try:
            result, notes = upgraded(text)
            again, more = upgraded(result)
        except CaffefoldError:
            continue
        read += 1
        assert (result == text) == (not notes)
        if not any("without a shape" in note for note in notes):  # what is left may be a solver
            assert (again, more) == (result, ())
    assert read > 10
