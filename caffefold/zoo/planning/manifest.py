"""zoo.toml: pairs and options that discovery cannot know; and a plan printed as such a file.

discover = true                     # look for further models (the default)
onnx = false                        # true: write each model as ONNX as well; also of one model
verify = false                      # true: verify every model, as --verify does
[options]                           # of every model: keyword options of caffefold.convert
fold = "output"
[[model]]
caffemodel = "ssd/net_iter_9000.caffemodel"
prototxt = "ssd/train.prototxt"     # or a list: the next is tried when one is refused
name = "ssd/net"                    # results below DST; by default as the caffemodel
skip = false                        # true: leave this caffemodel out
verify = true                       # as --verify; or the name of a runtime, or false
[model.options]
input_shapes = { data = [1, 3, 300, 300] }
"""

from __future__ import annotations

import json
import os
import posixpath
import sys
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, TypeVar

from caffefold.errors import InputError, UsageError
from caffefold.frozen import dataclass
from caffefold.humanize import visible
from caffefold.options import ConvertOptions, read
from caffefold.zoo.records import Model, Plan
from caffefold.zoo.storage import STATE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "zoo.toml"
RESERVED = ("index", "zoo")  # index.html and zoo.json are the zoo's own
DEFAULT_RUNTIME = "onnxruntime"
_TOP = frozenset({"discover", "onnx", "options", "model", "verify"})
_MODEL = frozenset(
    {"name", "caffemodel", "prototxt", "options", "onnx", "skip", "title", "sha1", "verify"}
)
_SPOKEN = {bool: "true or false", str: "a string", dict: "a table"}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A zoo.toml. ``models`` have options of their own only; ``options`` are everybody's."""

    models: tuple[Model, ...] = ()
    skipped: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    discover: bool = True
    onnx: bool = False
    verify: str = ""
    """The runtime that models are verified in that do not say it themselves."""


def parse(data: bytes, path: str) -> Manifest:
    """Read a manifest; paths in it are relative to the zoo's source.

    Raises:
        InputError: it is not TOML; line and column are named.
        UsageError: an unknown key, a wrong value, or two models of one name.
    """
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    _only(document, _TOP, path)
    entries = document.get("model", [])
    if not isinstance(entries, list):
        raise UsageError(f"{path}: model is a single table; write one [[model]] for each")
    shared, onnx = _options(document, path), _get(document, "onnx", False, path)
    models: dict[str, Model] = {}
    skipped = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: model {number}"
        model = _model(_typed(entry, dict, where), where, onnx=onnx)
        if _get(entry, "skip", False, where):
            skipped.append(model.caffemodel)
        elif models.setdefault(model.name.lower(), model) is not model:
            raise UsageError(
                f"{path}: two models are called '{model.name}'; give each its own name"
            )
    discover = _get(document, "discover", True, path)
    verify = _runtime(document, path) or ""
    return Manifest(tuple(models.values()), tuple(skipped), shared, discover, onnx, verify)


def _model(entry: dict[str, Any], where: str, *, onnx: bool) -> Model:
    _only(entry, _MODEL, where)
    caffemodel = _get(entry, "caffemodel", "", where)
    if not caffemodel:
        raise UsageError(f"{where}: caffemodel is missing; name the weights")
    where += f" ({caffemodel})"
    named = entry.get("prototxt", [])
    prototxts = [named] if isinstance(named, str) else named
    if not isinstance(prototxts, list) or not all(isinstance(p, str) for p in prototxts):
        raise UsageError(f"{where}: prototxt is {named!r}, expected a path or a list of paths")
    name = _get(entry, "name", "", where) or default_name(caffemodel)
    inside = posixpath.normpath(name)
    if inside.startswith(("/", "..")) or inside in (".", "") or (os.sep != "/" and os.sep in name):
        raise UsageError(f"{where}: name is '{name}', expected a path below the target")
    if STATE in inside.split("/") or inside.lower() in RESERVED:
        raise UsageError(f"{where}: name is '{name}', which the zoo needs itself; choose another")
    return Model(
        inside,
        caffemodel,
        tuple(prototxts),
        _options(entry, where),
        title=_get(entry, "title", "", where),
        sha1=_get(entry, "sha1", "", where).lower(),
        onnx=_get(entry, "onnx", onnx, where),
        verify=_runtime(entry, where),
    )


def _runtime(table: Mapping[str, Any], where: str) -> str | None:
    """The runtime that ``verify`` names: the default one for true, "" for false."""
    given = table.get("verify")
    if given is None or isinstance(given, bool):
        return None if given is None else DEFAULT_RUNTIME if given else ""
    from caffefold.verification.runtimes.table import RUNTIMES  # seldom needed

    if given not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        raise UsageError(f"{where}: verify is {given!r}, expected true, false, or one of {known}")
    return str(given)


def default_name(caffemodel: str) -> str:
    """The results of ``a/b.caffemodel`` go to ``a/b.*``; nothing leaves the target."""
    name = caffemodel.removesuffix(".h5").removesuffix(".caffemodel")
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "model"


def _options(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    options: dict[str, Any] = _typed(table.get("options", {}), dict, f"{where}: options")
    read(ConvertOptions, options, f"{where}: options")
    return options


def _only(table: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(
                f"{where}: unknown key '{key}'; choose from {', '.join(sorted(known))}"
            )


def _get(table: Mapping[str, Any], key: str, default: _T, where: str) -> _T:
    return _typed(table.get(key, default), type(default), f"{where}: {key}")


def _typed(value: Any, kind: type[_T], where: str) -> _T:
    if not isinstance(value, kind):
        raise UsageError(f"{where} is {value!r}, expected {_SPOKEN[kind]}")
    return value


# ------------------------------------------------------------------------------------ printing


def to_toml(plan: Plan) -> str:
    """``plan`` as a manifest that makes the same plan again."""
    lines = [
        f"# {len(plan.models)} models of {visible(plan.source)}, planned by caffefold zoo.",
        f"# Edit this, save it as {NAME} in the zoo, or give it with --manifest.",
        "discover = false",
    ]
    for model in plan.models:
        lines += ["", *_entry(model)]
    for orphan in plan.orphans:
        lines += [f"# {orphan.kind}: {visible(orphan.path)}: {visible(orphan.reason)}"]
    return "\n".join(lines) + "\n"


def _entry(model: Model) -> Iterator[str]:
    if model.problem:
        yield f"# {visible(model.problem)}"
    yield "[[model]]"
    paths = model.prototxts
    for key, value in (
        ("caffemodel", model.caffemodel),
        ("prototxt", paths[0] if len(paths) == 1 else paths),
        ("name", model.name),
        ("title", model.title),
        ("sha1", model.sha1),
        ("onnx", model.onnx),
        ("options", model.options),
        ("verify", model.verify),
    ):
        if value or key == "caffemodel":
            yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    """Our own, not tomli-w's, which cannot write [[model]] for short tables, nor comments."""
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
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)
