"""House rules that no linter checks: size, printing, state."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.architecture.conftest import Module

_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")
_MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_MAKERS = {"list", "dict", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter"}


def test_every_module_says_what_it_is(modules: tuple[Module, ...]) -> None:
    assert [module.where(1) for module in modules if not ast.get_docstring(module.tree)] == []


def test_only_the_command_line_prints(modules: tuple[Module, ...]) -> None:
    found = [
        module.where(node.lineno)
        for module in modules
        if module.room != "cli"
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Name) and node.id in ("print", "input", "breakpoint"))
        or (
            isinstance(node, ast.Attribute)
            and node.attr in ("stdout", "stderr", "stdin")
            and isinstance(node.value, ast.Name)
            and node.value.id == "sys"
        )
    ]
    assert found == []


def test_only_the_command_line_exits(modules: tuple[Module, ...]) -> None:
    found = [
        module.where(node.lineno)
        for module in modules
        if module.room not in ("cli", "__main__")
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr in ("exit", "_exit"))
        or (isinstance(node, ast.Name) and node.id in ("exit", "quit", "SystemExit"))
    ]
    assert found == []


def _mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        maker = value.func
        name = maker.attr if isinstance(maker, ast.Attribute) else getattr(maker, "id", "")
        return name in _MAKERS
    return isinstance(value, _MUTABLE)


def _module_level(body: list[ast.stmt]) -> Iterator[tuple[int, str, ast.expr | None]]:
    """(line, name, value) of everything that is assigned while a module loads."""
    for node in body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        yield node.lineno, name.id, node.value
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)) and isinstance(node.target, ast.Name):
            yield node.lineno, node.target.id, node.value
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            for block in ("body", "orelse", "finalbody"):
                yield from _module_level(getattr(node, block, []))


def test_frozen_classes_are_made_by_our_decorator(modules: tuple[Module, ...]) -> None:
    """The library's costs 0.5 ms a class at every start (caffefold/frozen.py)."""
    found = [
        module.where(node.lineno)
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        for made in node.decorator_list
        if isinstance(made, ast.Call) and ast.unparse(made.func).endswith("dataclass")
        if any(word.arg == "frozen" for word in made.keywords)
        if "caffefold.frozen.dataclass" not in (name for _, name in module.imports())
    ]
    assert found == []


def test_no_module_level_state(modules: tuple[Module, ...]) -> None:
    """Lists, dicts and sets of a module are constants, and are called so."""
    found = [
        f"{module.where(line)}: {name}"
        for module in modules
        for line, name, value in _module_level(module.tree.body)
        if _mutable(value) and name != "__all__" and not _CONSTANT.fullmatch(name)
    ]
    assert found == []


def test_constants_are_not_changed(modules: tuple[Module, ...]) -> None:
    """Nobody appends to, updates or assigns into what is called a constant, nor uses ``global``."""
    changing = {"append", "extend", "insert", "remove", "pop", "clear", "update", "setdefault"}
    changing |= {"add", "discard", "popitem", "sort", "reverse"}
    found = []
    for module in modules:
        for node in ast.walk(module.tree):
            name: ast.expr | None = None
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                found.append(module.where(node.lineno))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = node.func.value if node.func.attr in changing else None
            elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
                name = node.value
            if isinstance(name, ast.Name) and _CONSTANT.fullmatch(name.id) and len(name.id) > 2:
                found.append(module.where(name.lineno))
    assert found == []


def test_no_catch_all_but_at_the_top(modules: tuple[Module, ...]) -> None:
    """``except:`` and ``except Exception`` hide bugs; one handler in cli.main turns them into 4.

    ``except BaseException`` that raises again is clearing up, and fine.
    """
    found = []
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ExceptHandler) or module.name == "cli.main":
                continue
            caught = getattr(node.type, "id", "") if node.type is not None else "BaseException"
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            if caught in ("Exception", "BaseException") and not raises:
                found.append(module.where(node.lineno))
    assert found == []
