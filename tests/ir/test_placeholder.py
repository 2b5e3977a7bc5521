"""Placeholders of templates: recognised, filled, explained."""

from __future__ import annotations

import pytest

from caffefold.ir import placeholder


@pytest.mark.parametrize(
    ("raw", "multiple"),
    [
        ("cls6x", 6),
        ("cls1x", 1),
        ("cls12x", 12),
        ("clsx", None),
        ("xcls6x", None),
        ("cls6xy", None),
    ],
)
def test_class_multiple(raw: str, multiple: int | None) -> None:
    assert placeholder.class_multiple(raw) == multiple


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("${n}", "n"),
        ("${ n }", "n"),
        ("@N_1@", "N_1"),
        ("$n", "n"),
        ("{{n}}", "n"),
        ("{{ n }}", "n"),
        ("LMDB", "LMDB"),
        ("cls6x", "cls6x"),
        ("2${n}", None),
        ("64", None),
        ('"${n}"', None),
        ("-1", None),
    ],
)
def test_name_of(raw: str, name: str | None) -> None:
    assert placeholder.name_of(raw) == name


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("${n}", True),
        ('"a/${n}/b"', True),
        ("@N@", True),
        ("{{ n }}", True),
        ("cls3x", True),
        ("MAX", False),
        ('"cls3x"', False),
        ('"user@host"', False),
        ("64", False),
    ],
)
def test_present(raw: str, wanted: bool) -> None:
    assert placeholder.present(raw) is wanted


@pytest.mark.parametrize(
    ("raw", "values", "classes", "filled"),
    [
        ("cls6x", {}, 21, "126"),
        ("cls1x", {}, None, "cls1x"),
        ("cls6x", {"cls6x": "7"}, 21, "7"),
        ("${n}", {"n": "5"}, None, "5"),
        ("@N@", {"N": "5"}, None, "5"),
        ("{{ n }}", {"n": "5"}, None, "5"),
        ("${n}", {}, 21, "${n}"),
        ("${num_classes}", {}, 21, "21"),
        ("@NUM_CLASSES@", {}, 21, "21"),
        ("${num_classes}", {"num_classes": "3"}, 21, "3"),
        ("${num_classes}", {}, None, "${num_classes}"),
        ("N", {"N": "5"}, None, "5"),
        ("MAX", {"N": "5"}, 21, "MAX"),
        ("num_classes", {}, 21, "num_classes"),
        ('"${dir}/${name}.txt"', {"dir": "a", "name": "b"}, None, '"a/b.txt"'),
        ('"${dir}/${name}.txt"', {"dir": "a"}, None, '"a/${name}.txt"'),
        ("2${n}", {"n": "5"}, None, "25"),
        ("64", {"64": "5"}, 21, "64"),
    ],
)
def test_fill(raw: str, values: dict[str, str], classes: int | None, filled: str) -> None:
    assert placeholder.fill(raw, values, classes) == filled


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("cls6x", "a placeholder for 6 x the number of classes; give classes N"),
        ("${n}", "a placeholder without a value; give values n=VALUE"),
        ("${num_classes}", "a placeholder; give classes N or values num_classes=VALUE"),
        ("N", "a placeholder without a value; give values N=VALUE"),
        ("2${n}", "a placeholder without a value; give values n=VALUE"),
    ],
)
def test_advice(raw: str, words: str) -> None:
    assert placeholder.advice(raw) == words


@pytest.mark.parametrize("raw", ["64", "1.5", "-1", '"text"'])
def test_no_advice_for_what_is_no_placeholder(raw: str) -> None:
    assert placeholder.advice(raw) == ""


def test_names() -> None:
    assert placeholder.names('"${a}/@B@/{{ c }}/${a}"') == ("a", "B", "c", "a")
    assert placeholder.names("cls6x") == ()
    assert placeholder.names("64") == ()


def test_a_multiple_of_thousands_of_digits_is_a_name() -> None:
    assert placeholder.class_multiple("cls" + "1" * 5_000 + "x") is None
    assert placeholder.class_multiple("cls999999999x") == 999_999_999
