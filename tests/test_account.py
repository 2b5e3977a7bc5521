"""What was folded, merged and left is said once for layers alike."""

from __future__ import annotations

from caffefold.account import account
from caffefold.ops.base import SkipCode
from caffefold.passes.infra import Absorbed, Change, ChangeKind, LayerRef, Skip

CLAIM = (Absorbed(LayerRef("c", "Convolution"), (), 0, 1, 0),)
TYPES = {"c": "Convolution", "d": "Deconvolution", "e": "Eltwise", "p": "Pooling"} | {
    f"{kind}{number}": {"b": "BatchNorm", "s": "Scale"}[kind]
    for number in range(20)
    for kind in "bs"
}


def _merged(number: int) -> Change:
    return Change(ChangeKind.COLLAPSED, (f"b{number}",), (f"s{number}",))


def _left(number: int, message: str, code: SkipCode = SkipCode.NOT_LINEAR) -> list[Skip]:
    return [Skip("fold", (f"{kind}{number}",), code, message) for kind in "bs"]


def test_of_nothing_nothing_is_said() -> None:
    assert list(account((), (), TYPES)) == []


def test_folds_by_what_went_into_what() -> None:
    up = [Change(ChangeKind.FOLDED, (f"b{n}", f"s{n}"), ("c",), "", CLAIM) for n in range(3)]
    down = Change(ChangeKind.FOLDED, ("s9",), ("d",))
    assert list(account(up, (), TYPES)) == [
        ("folded", "6 layers into 1: BatchNorm + Scale into Convolution")
    ]
    assert list(account((*up, down), (), TYPES)) == [
        ("folded", "7 layers into 2"),
        ("", "3 BatchNorm + Scale into Convolution"),
        ("", "1 Scale into the input of Deconvolution"),
    ]


def test_merged_by_reason() -> None:
    skips = [
        *(skip for n in range(12) for skip in _left(n, "its input comes from 'e' (Eltwise)")),
        *(
            skip
            for n in range(12, 17)
            for skip in _left(
                n, f"the output of 'p' is also read by 'b{n}'", SkipCode.SEVERAL_READERS
            )
        ),
    ]
    assert list(account([_merged(n) for n in range(17)], skips, TYPES)) == [
        ("merged", "17 BatchNorm + Scale became one Scale each:"),
        ("", "  12: its input comes from an Eltwise [NOT_LINEAR]"),
        ("", "  5: the output of a Pooling is also read by a BatchNorm [SEVERAL_READERS]"),
    ]


def test_left_by_type_and_reason() -> None:
    skips = [
        *_left(1, "its input comes from 'e' (Eltwise)"),
        *_left(2, "its input comes from 'p' (Eltwise)"),
        Skip("fold", ("s3",), SkipCode.KEPT, "it is kept as requested"),
    ]
    assert list(account((), skips, TYPES)) == [
        ("left", "2 BatchNorm (b1, b2): its input comes from an Eltwise [NOT_LINEAR]"),
        ("", "2 Scale (s1, s2): its input comes from an Eltwise [NOT_LINEAR]"),
        ("", "1 Scale (s3): it is kept as requested [KEPT]"),
    ]


def test_units_are_dropped() -> None:
    assert list(account([Change(ChangeKind.UNIT_DROPPED, ("s1", "s2"))], (), TYPES)) == [
        ("dropped", "2 layers that changed nothing: s1, s2")
    ]


def test_a_long_list_ends() -> None:
    skips = [Skip("fold", (f"s{n}",), SkipCode.KEPT, f"reason {n}") for n in range(12)]
    said = list(account((), skips, TYPES))
    assert len(said) == 9
    assert said[-1] == ("", "... and 4 more, see the report")
