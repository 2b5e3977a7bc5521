"""Layer types have one home: outside ``ops`` nobody compares ``layer.type`` or names an alias."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from caffefold.ops.table import OPS

if TYPE_CHECKING:
    from tests.architecture.conftest import Module

# The property that says which layer stands for a net-level ``input:`` field.
_ALLOWED = {("ir.net", "is_input")}
_ASKING = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
_ALIASES = {kind for op in OPS for kind in op.types} - {op.name for op in OPS}


def _is_type(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "type"


def _of_descriptor(node: ast.AST) -> bool:
    """``field.TYPE_BOOL`` and the like: protobuf's types of fields, not Caffe's of layers."""
    names = node.elts if isinstance(node, ast.Tuple) else [node]
    return all(isinstance(n, ast.Attribute) and n.attr.startswith("TYPE_") for n in names)


def compared(tree: ast.AST) -> Iterator[ast.expr]:
    """Comparisons of a ``.type`` with anything but another one, look-ups and matches by it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], _ASKING):
            sides = [node.left, *node.comparators]
            others = [side for side in sides if not _is_type(side)]
            if len(others) < len(sides) and others and not all(map(_of_descriptor, others)):
                yield node
        elif isinstance(node, ast.Subscript) and _is_type(node.slice):
            yield node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asks = node.func.attr in (
                "get",
                "match",
                "fullmatch",
                "search",
                "startswith",
                "endswith",
            )
            if asks and (any(map(_is_type, node.args)) or _is_type(node.func.value)):
                yield node


def _enclosing(tree: ast.Module, line: int) -> str:
    names = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return names[-1] if names else ""


def test_only_ops_compares_types(modules: tuple[Module, ...]) -> None:
    found = [
        f"{module.where(node.lineno)}: {ast.unparse(node)}"
        for module in modules
        if module.room not in ("ops", "formats")
        for node in compared(module.tree)
        if (module.name, _enclosing(module.tree, node.lineno)) not in _ALLOWED
    ]
    assert found == []


def test_aliases_stand_in_ops_alone(modules: tuple[Module, ...]) -> None:
    found = [
        f"{module.where(node.lineno)}: {node.value}"
        for module in modules
        if module.room != "ops"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and node.value in _ALIASES
    ]
    assert found == []


def test_it_would_be_seen() -> None:
    """Each way to ask for a type is found; equal types of two layers are no question."""
    asking = (
        'layer.type == "Scale"', 'x.type not in ("BN",)', "TABLE[layer.type]",
        "TABLE.get(layer.type)", "_LOSS.search(layer.type)", 'layer.type.endswith("Loss")',
    )  # fmt: skip
    assert all(len(list(compared(ast.parse(text)))) == 1 for text in asking)
    fine = ("a.type == b.type", "field.type == field.TYPE_BOOL", "f(layer.type)")
    assert not any(list(compared(ast.parse(text))) for text in fine)
