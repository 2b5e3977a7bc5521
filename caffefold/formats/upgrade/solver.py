"""Solver prototxts: the net they train, and their type in today's form.

What Caffe's Solver::InitTrainNet and UpgradeSolverType do (src/caffe/solver.cpp,
src/caffe/util/upgrade_proto.cpp): exactly one of ``net``, ``net_param``, ``train_net`` and
``train_net_param`` names the net; ``solver_type: ADAM`` became ``type: "Adam"``.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from caffefold.errors import InputError
from caffefold.formats.prototxt.layout import before, indent_of, moved
from caffefold.formats.prototxt.parse import read
from caffefold.formats.prototxt.tree import Document, Field, Message, Scalar, quote, unquote

NETS = ("net_param", "train_net_param", "test_net_param")
_FILES = ("net", "train_net", "test_net")
_TRAIN = ("net", "net_param", "train_net", "train_net_param")
_TEST = ("test_net", "test_net_param")
_SOLVER = frozenset(
    {*NETS, *_FILES, "base_lr", "lr_policy", "max_iter", "test_iter", "test_interval"}
    | {"snapshot_prefix", "solver_mode", "solver_type", "stepsize", "momentum"}
)
_NET = frozenset({"layer", "layers", "input"})

# SolverParameter.SolverType, by number -> the string that ``type`` has for it.
_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}


def is_solver(document: Document) -> bool:
    """Whether this prototxt is a solver: it has a solver's fields and no layers of its own."""
    names = {field.name for field in document.fields}
    return bool(names & _SOLVER) and not names & _NET


def net_of_solver(document: Document) -> tuple[Document, str]:
    """The net that this solver trains, or else tests, and a sentence that says where it was.

    A relative file name is looked for beside the solver, then from the current directory (where
    Caffe itself looks). The document of an inline net has the path and the source of the solver.

    Raises:
        TextError: no net, or several, as Caffe refuses it too.
        InputError: the file it names is not there.
    """
    path = Path(document.path)
    places = [field for field in document.fields if field.name in _TRAIN]
    if not places:
        places = [field for field in document.fields if field.name in _TEST][:1]
    if not places:
        first = document.fields[0].offset if document.fields else -1
        raise document.error(first, "this solver names no net; give the net itself")
    if len(places) > 1:
        names = ", ".join(field.name for field in places)
        raise document.error(places[1].offset, f"a solver has one net to train, this has {names}")
    place = places[0]
    if isinstance(place.value, Message):
        line, _ = document.position(place.offset)
        found = f"{path}: a solver; its net is inside it, {place.name} in line {line}"
        return _inline(place, document), found
    name = Message((place,)).string(place.name)
    target = _located(name, place, document, path)
    found = f"{path}: a solver; its {place.name} is {target}"
    return read(target), found


def _located(name: str, place: Field, document: Document, solver: Path) -> Path:
    if not name:
        raise document.error(place.offset, f"'{place.name}' is empty; give the net itself")
    tried = list(dict.fromkeys((solver.parent / name, Path(name))))
    beside = solver.parent / Path(name).name
    # Not Path.is_file: that fails for a name that no file can have.
    there = [place for place in (*tried, beside) if os.path.isfile(place)]  # noqa: PTH113
    if there and there[0] in tried:
        return there[0]
    advice = f"{beside} has that name; give it" if there else "give the net itself"
    where = " and ".join(str(candidate) for candidate in tried)
    line, _ = document.position(place.offset)
    raise InputError(
        f"{solver}:{line}: this is a solver, and its {place.name} was not found "
        f"(tried {where}); {advice}"
    )


def _inline(place: Field, document: Document) -> Document:
    """The fields of an inline net, indented as a file of their own."""
    body = place.body
    indent = next((i for f in body.fields if (i := indent_of(f.lead)) is not None), None)
    fields = [moved(field, indent, "") for field in body.fields]
    if fields:
        fields[0] = replace(fields[0], lead=before(body.open[1:], fields[0].lead).lstrip())
    tail = moved(Field("", Scalar(""), lead=body.close[:-1]), indent, "").lead.rstrip(" \t\r\n")
    tail += "\r\n" if body.close.startswith("\r\n") else "\n"
    return Document(document.path, document.source, tuple(fields), tail=tail)


def upgrade_solver_type(
    fields: tuple[Field, ...], document: Document, notes: list[str]
) -> tuple[Field, ...]:
    """The solver's fields with ``type: "Adam"`` for ``solver_type: ADAM``.

    Raises:
        TextError: both are there, or the type is none that Caffe had.
    """
    old = [field for field in fields if field.name == "solver_type"]
    if not old:
        return fields
    if any(field.name == "type" for field in fields):
        raise document.error(
            old[0].offset, "a solver has 'type' or the old 'solver_type', not both"
        )
    kinds = {**_TYPES, **{str(i): kind for i, kind in enumerate(_TYPES.values())}}
    value = old[-1].value
    word = unquote(value.raw) if isinstance(value, Scalar) else ""
    if word not in kinds:
        raise document.error(
            old[-1].offset, f"solver_type is {word}, expected one of {', '.join(_TYPES)}"
        )
    kind = kinds[word]
    notes.append(f"solver_type to type: {quote(kind)}")
    return tuple(
        replace(field, name="type", value=Scalar(quote(kind)))
        if field.name == "solver_type"
        else field
        for field in fields
    )
