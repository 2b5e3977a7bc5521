"""``caffefold.zoo`` as a library: names, types, what importing it costs, events."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import caffefold
from caffefold import zoo
from caffefold.errors import UsageError
from tests.support.zoo import many, model


def test_public_names() -> None:
    assert sorted(zoo.__all__) == zoo.__all__
    assert set(zoo.__all__) == {
        "Event", "Facts", "Model", "Orphan", "Outcome", "Plan", "Result", "Verified", "plan", "run",
    }  # fmt: skip
    for name in zoo.__all__:
        assert (inspect.getdoc(getattr(zoo, name)) or "").endswith("."), name
    assert caffefold.zoo is zoo


@pytest.mark.parametrize("function", [zoo.plan, zoo.run])
def test_functions_are_typed_and_documented(function: typing.Callable[..., object]) -> None:
    parameters = inspect.signature(function).parameters
    assert set(typing.get_type_hints(function)) == {*parameters, "return"}
    for name in parameters:
        assert f"    {name}: " in (inspect.getdoc(function) or "")


def test_it_is_loaded_when_it_is_used() -> None:
    code = (
        "import sys, caffefold\n"
        "assert 'caffefold.zoo' not in sys.modules\n"
        "assert callable(caffefold.zoo.plan)\n"
        "assert not {'numpy', 'rich', 'fsspec', 'multiprocessing'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_events(source: Path, target: Path) -> None:
    many(source, 3)
    events: list[zoo.Event] = []
    zoo.run(zoo.plan(source, target), events.append, jobs=2)
    assert [e.kind for e in events].count("started") == 3
    finished = [e for e in events if e.kind == "finished"]
    assert [(e.done, e.total) for e in finished] == [(1, 3), (2, 3), (3, 3)]
    assert all(e.outcome is not None and e.outcome.status == "converted" for e in finished)
    events.clear()
    zoo.run(zoo.plan(source, target), events.append)
    assert [e.kind for e in events] == ["unchanged"] * 3


def test_large_models_start_first(source: Path, target: Path) -> None:
    for name, channels in (("a", 2), ("b", 16), ("c", 8)):
        model(source / name, channels=channels)
    started: list[str] = []

    def watch(event: zoo.Event) -> None:
        if event.kind == "started":
            started.append(event.model.name)

    zoo.run(zoo.plan(source, target), watch, jobs=1)
    assert started == ["b/net", "c/net", "a/net"]


def test_a_plan_without_a_target_is_to_look_at(source: Path) -> None:
    model(source)
    with pytest.raises(UsageError, match="no target"):
        zoo.run(zoo.plan(source))
