"""Tables: columns in line, names shortened only when a terminal is narrow."""

from __future__ import annotations

import pytest

from caffefold.inspection.result import Column, Number, Table

COLUMNS = (Column("layer", flexible=True), Column("type"), Column("count", right=True))


def lines(*rows: tuple[str, ...], room: int | None = None) -> list[str]:
    return Table(COLUMNS, rows).lines(room)


def test_columns_are_in_line() -> None:
    assert lines(("a", "Convolution", "1,000"), ("longer", "ReLU", "0")) == [
        "layer   type         count",
        "a       Convolution  1,000",
        "longer  ReLU             0",
    ]


def test_no_room_is_no_limit() -> None:
    name = "inception_4e/" * 20
    assert lines((name, "ReLU", "1"))[1] == f"{name}  ReLU      1"


def test_the_flexible_column_gives_way_and_keeps_both_ends() -> None:
    found = lines(("inception_4e/" * 5 + "relu_3x3", "ReLU", "1"), room=40)
    assert {len(line) for line in found} <= {38, 39, 40}
    assert found[1].startswith("incepti")
    assert "..." in found[1]
    assert "relu_3x3  ReLU" in found[1]


def test_names_keep_a_readable_length() -> None:
    found = lines(("x" * 50, "ReLU", "1"), room=10)
    assert found[1].partition("  ")[0] == "xx...xxx"


WIDE = (
    Column("layer", flexible=True),
    Column("parameters", right=True, brief="params"),
    Column("memory", right=True, spare=1),
    Column("factor", right=True, spare=2),
)
ROW = ("inception_4e/relu_proj", Number(11_059_200), "1.6 MB", "999.888")


@pytest.mark.parametrize(
    ("room", "row"),
    [
        (52, "inception_4e/relu_proj  11,059,200  1.6 MB  999.888"),
        (50, "inception_4e/relu_proj  11.06M  1.6 MB  999.888"),
        (46, "incept...4e/relu_proj  11.06M  1.6 MB  999.888"),
        (43, "incep.../relu_proj  11.06M  1.6 MB  999.888"),
        (42, "inception_4e/relu_proj  11.06M  999.888"),
        (37, "incept...e/relu_proj  11.06M  999.888"),
        (34, "inception_4e/relu_proj  11.06M"),
        (19, "inc..._proj  11.06M"),
        (10, "in...roj  11.06M"),
    ],
)
def test_what_gives_way_and_in_which_order(room: int, row: str) -> None:
    """Numbers are given in brief, names lose their middle, columns go."""
    found = Table(WIDE, (ROW,)).lines(room)
    assert found[1] == row
    assert len(found[0]) == len(row)


def test_numbers_in_brief() -> None:
    assert [str(n) for n in (Number(None), Number(1_234_567, more=True))] == ["?", "1,234,567 + ?"]
    assert Number(1_234_567, more=True).brief == "1.235M + ?"
