"""``frozen.dataclass`` is the library's: each claim is made of both."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass as library
from dataclasses import field
from typing import Any, get_type_hints

import pytest

from caffefold.frozen import dataclass as ours


def _made(decorator: Any, slots: bool) -> dict[str, Any]:
    """The same classes by one decorator."""

    @decorator(frozen=True, slots=slots)
    class Point:
        """A point."""

        x: int
        y: int = 2
        marks: list[str] = field(default_factory=list)
        note: str = field(default="", repr=False, compare=False)

    @decorator(frozen=True, kw_only=True)
    class Named:
        """Keywords only, and a look at what was given."""

        name: str
        size: int = 1

        def __post_init__(self) -> None:
            if self.size < 0:
                raise ValueError(self.size)

    @decorator(frozen=True)
    class Both(Point, Named):
        """What both have, and one more."""

        more: str = ""

    @decorator(frozen=True, slots=slots, eq=False, repr=False)
    class Plain:
        """Equal to itself alone."""

        x: int
        twice: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "twice", 2 * self.x)

        def __repr__(self) -> str:
            return "plain"

    return {kind.__name__: kind for kind in (Point, Named, Both, Plain)}


@ours(frozen=True, slots=True)
class Travels:
    """A class that pickle finds."""

    x: int
    y: tuple[int, ...] = ()


@pytest.fixture(params=["library", "ours"])
def decorator(request: pytest.FixtureRequest) -> Any:
    return {"library": library, "ours": ours}[request.param]


@pytest.fixture(params=[False, True], ids=["dict", "slots"])
def kinds(decorator: Any, request: pytest.FixtureRequest) -> dict[str, Any]:
    return _made(decorator, request.param)


def test_an_object_is_made_as_by_any_function(kinds: dict[str, Any]) -> None:
    point = kinds["Point"](1, marks=["a"])
    assert (point.x, point.y, point.marks, point.note) == (1, 2, ["a"], "")
    assert kinds["Point"](1).marks is not kinds["Point"](1).marks
    assert kinds["Plain"](3).twice == 6
    for given, named in (((), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((1, 2, [], "", 5), {})):
        with pytest.raises(TypeError, match=r"__init__\(\) (missing|got|takes)"):
            kinds["Point"](*given, **named)


def test_keywords_and_a_last_look(kinds: dict[str, Any]) -> None:
    assert kinds["Named"](name="a").size == 1
    with pytest.raises(TypeError):
        kinds["Named"]("a")
    with pytest.raises(ValueError, match="-1"):
        kinds["Named"](name="a", size=-1)
    both = kinds["Both"](1, more="m", name="n")
    assert (both.x, both.more, both.name, both.size) == (1, "m", "n", 1)


def test_nothing_changes(kinds: dict[str, Any]) -> None:
    point = kinds["Point"](1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x
    assert point.x == 1


def test_equal_is_what_has_equal_fields(kinds: dict[str, Any]) -> None:
    point = kinds["Point"](1, note="a")
    assert point == kinds["Point"](1, note="b")
    assert point != kinds["Point"](2)
    assert point != (1, 2, [])
    assert kinds["Named"](name="a") != kinds["Both"](1, name="a")
    assert hash(kinds["Named"](name="a")) == hash(kinds["Named"](name="a"))
    with pytest.raises(TypeError, match="unhashable"):
        hash(point)
    assert kinds["Plain"](1) != kinds["Plain"](1)


def test_it_is_shown_with_its_fields(kinds: dict[str, Any]) -> None:
    name = kinds["Point"].__qualname__
    assert repr(kinds["Point"](1)) == f"{name}(x=1, y=2, marks=[])"
    assert repr(kinds["Plain"](1)) == "plain"


def test_the_library_knows_it(kinds: dict[str, Any]) -> None:
    point = kinds["Point"](1)
    assert hasattr(point, "__dataclass_fields__")
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "marks": [], "note": ""}
    assert dataclasses.replace(point, y=3) == kinds["Point"](1, 3)
    assert [each.name for each in dataclasses.fields(kinds["Both"])] == [
        *("name", "size", "x", "y", "marks", "note", "more")
    ]
    assert kinds["Point"].__match_args__ == ("x", "y", "marks", "note")
    assert copy.deepcopy(point) == point


@pytest.mark.parametrize("before", [False, True])
def test_help_shows_what_it_takes(kinds: dict[str, Any], before: bool) -> None:
    """Whether or not there is an object yet."""
    if before:
        kinds["Named"](name="a")
    shown = inspect.signature(kinds["Named"])
    assert str(shown) == "(*, name: 'str', size: 'int' = 1) -> None"


def test_it_travels() -> None:
    assert pickle.loads(pickle.dumps(Travels(1, (2,)))) == Travels(1, (2,))


def test_a_class_without_objects_has_no_functions_of_its_own() -> None:
    """That they cost nothing until there is one is all there is to it."""
    kinds = _made(ours, slots=True)
    assert kinds["Point"].__init__ is kinds["Named"].__init__
    kinds["Point"](1)
    assert kinds["Point"].__init__ is not kinds["Named"].__init__
    assert get_type_hints(kinds["Point"].__init__) == {
        "x": int,
        "y": int,
        "marks": list[str],
        "note": str,
        "return": type(None),
    }


def test_others_are_refused() -> None:
    with pytest.raises(TypeError, match="only frozen classes"):
        ours(frozen=False)
