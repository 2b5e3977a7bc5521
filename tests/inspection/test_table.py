"""Tables: columns in line, names shortened only when a terminal is narrow."""

from __future__ import annotations

from caffefold.inspection.result import Column, Table

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
    assert found[1].partition("  ")[0] == "xxxxx...xxxxxxxxxx"
