"""The package's source, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import caffefold

PACKAGE = Path(str(caffefold.__file__)).resolve().parent


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    """Dotted, below the package: ``formats.text``; the package itself is ``__init__``."""
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """The part of the house it belongs to."""
        return self.name.split(".")[0]

    def imports(self, *, at_start: bool = False) -> tuple[tuple[int, str], ...]:
        """(line, full name) of all that is imported; ``at_start``: while the module loads."""
        return _imports(self.tree, at_start)

    def where(self, line: int) -> str:
        """How a complaint calls a place."""
        return f"{self.path.relative_to(PACKAGE.parent)}:{line}"


@cache
def _imports(tree: ast.Module, at_start: bool) -> tuple[tuple[int, str], ...]:
    """See ``Module.imports``; many tests ask for it."""
    found: list[tuple[int, str]] = []
    for node in _loading(tree) if at_start else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
    return tuple(found)


def _loading(tree: ast.Module) -> Iterator[ast.AST]:
    """What runs when the module is imported: no bodies of functions, nothing for type checkers."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            if not typing and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                todo.append(child)


@pytest.fixture(scope="session")
def modules() -> tuple[Module, ...]:
    """Every module that people wrote; the generated bindings are not among them."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "_proto":
            name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
            found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    assert len(found) > 20
    return tuple(found)
