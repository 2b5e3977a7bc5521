"""zoo.toml: pairs and options that discovery can not know; and a plan printed as such a file.

discover = true                     # look for further models (the default)
[options]                           # of every model: keyword options of caffefold.convert
fold = "output"
[[model]]
caffemodel = "ssd/net_iter_9000.caffemodel"
prototxt = "ssd/train.prototxt"     # or a list: the next is tried when one is refused
name = "ssd/net"                    # results below DST; by default as the caffemodel
skip = false                        # true: leave this caffemodel out
[model.options]
input_shapes = { data = [1, 3, 300, 300] }
"""

from __future__ import annotations

import json
import os
import posixpath
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from caffefold.errors import InputError, UsageError
from caffefold.options import ConvertOptions, read
from caffefold.zoo.values import Model, Orphan, Plan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "zoo.toml"
_TOP = frozenset({"discover", "options", "model"})
_MODEL = frozenset({"name", "caffemodel", "prototxt", "options", "skip", "title", "sha1"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """A zoo.toml. ``models`` have options of their own only; ``options`` are everybody's."""

    models: tuple[Model, ...] = ()
    skipped: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    discover: bool = True


def parse(data: bytes, path: str) -> Manifest:
    """Read a manifest; paths in it are relative to the zoo's source.

    Raises:
        InputError: it is no TOML, with line and column.
        UsageError: a key or value that a manifest has not, or two models of one name.
    """
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    _only(document, _TOP, path)
    shared = _table(document.get("options", {}), f"{path}: options")
    read(ConvertOptions, shared, f"{path}: options")
    entries = document.get("model", [])
    if not isinstance(entries, list):
        raise UsageError(f"{path}: model is one table; write [[model]], one for each")
    models, skipped = [], []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: model {number}"
        model = _model(_table(entry, where), where)
        if entry.get("skip"):
            skipped.append(model.caffemodel)
        else:
            models.append(model)
    names: dict[str, int] = {}
    for number, model in enumerate(models, 1):
        if names.setdefault(model.name.lower(), number) != number:
            raise UsageError(f"{path}: two models are called '{model.name}'; give each its name")
    discover = document.get("discover", True)
    if not isinstance(discover, bool):
        raise UsageError(f"{path}: discover is {discover!r}, expected true or false")
    return Manifest(tuple(models), tuple(skipped), shared, discover)


def _model(entry: dict[str, Any], where: str) -> Model:
    _only(entry, _MODEL, where)
    caffemodel = _string(entry, "caffemodel", where)
    if not caffemodel:
        raise UsageError(f"{where}: caffemodel is missing; name the weights")
    where += f" ({caffemodel})"
    named = entry.get("prototxt", [])
    prototxts = [named] if isinstance(named, str) else named
    if not isinstance(prototxts, list) or not all(isinstance(p, str) for p in prototxts):
        raise UsageError(f"{where}: prototxt is {named!r}, expected a path or a list of paths")
    options = _table(entry.get("options", {}), f"{where}: options")
    read(ConvertOptions, options, f"{where}: options")
    name = _string(entry, "name", where) or default_name(caffemodel)
    inside = posixpath.normpath(name)
    if inside.startswith(("/", "..")) or inside in (".", "") or (os.sep != "/" and os.sep in name):
        raise UsageError(f"{where}: name is '{name}', expected a path below the target")
    return Model(
        inside,
        caffemodel,
        tuple(prototxts),
        options,
        title=_string(entry, "title", where),
        sha1=_string(entry, "sha1", where).lower(),
    )


def default_name(caffemodel: str) -> str:
    """The results of ``a/b.caffemodel`` go to ``a/b.*``; nothing leaves the target."""
    name = caffemodel.removesuffix(".h5").removesuffix(".caffemodel")
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "model"


def _only(table: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"{where}: unknown key '{key}'; known are {', '.join(sorted(known))}")


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} is {value!r}, expected a table")
    return value


def _string(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f"{where}: {key} is {value!r}, expected a string")
    return value


# ------------------------------------------------------------------------------------ printing


def to_toml(plan: Plan) -> str:
    """``plan`` as a manifest that makes the same plan again."""
    lines = [
        f"# {len(plan.models)} models of {_comment(plan.source)}, planned by caffefold zoo.",
        f"# Edit this, save it as {NAME} in the zoo, or give it with --manifest.",
        "discover = false",
    ]
    for model in plan.models:
        lines += ["", *_entry(model)]
    for orphan in plan.orphans:
        lines += [f"# {orphan.kind}: {_comment(orphan.path)}: {_comment(orphan.reason)}"]
    return "\n".join(lines) + "\n"


def _entry(model: Model) -> Iterator[str]:
    if model.problem:
        yield f"# {_comment(model.problem)}"
    yield "[[model]]"
    yield f"caffemodel = {_value(model.caffemodel)}"
    if model.prototxts:
        one = len(model.prototxts) == 1
        yield f"prototxt = {_value(model.prototxts[0] if one else list(model.prototxts))}"
    yield f"name = {_value(model.name)}"
    if model.title:
        yield f"title = {_value(model.title)}"
    if model.sha1:
        yield f"sha1 = {_value(model.sha1)}"
    if model.options:
        yield f"options = {_value(model.options)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_value(str(key))} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    """One line without control characters, which TOML forbids in comments."""
    plain = text.encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() else " " for char in plain)


def orphans_of(manifest: Manifest, path: str) -> tuple[Orphan, ...]:
    """What the manifest leaves out on purpose."""
    return tuple(Orphan(name, "skipped", f"skip = true in {path}") for name in manifest.skipped)
