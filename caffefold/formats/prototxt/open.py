"""The one door for a net in text: whatever kind of prototxt is given, its net in today's format.

A prototxt may be a net of any age (V0, V1, V2), a solver that names or holds its net, or a net with
its layers in brackets. Each file is opened and read once, so a pipe will do.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from caffefold.errors import InputError
from caffefold.formats.prototxt.parse import read
from caffefold.formats.prototxt.tree import Document
from caffefold.formats.schema import OURS, Schema


class NetText(NamedTuple):
    """A net in today's format, and how it was found."""

    document: Document
    """Of a solver: the net it names; ``document.path`` is then that file."""
    notes: tuple[str, ...] = ()
    """A sentence for each detour: the solver it was found through, the upgrades it took."""
    is_solver: bool = False
    """Whether the file given was a solver."""


def read_net(path: str | Path, schema: Schema = OURS) -> NetText:
    """Read the net that the prototxt at ``path`` stands for; its fields are read by ``schema``.

    Raises:
        TextError: the text is not a prototxt, or a net that Caffe cannot upgrade, with the place.
        InputError: a file is missing or something else, which is named, or has no layers.
    """
    return net_of(read(path), schema)


def net_of(document: Document, schema: Schema = OURS) -> NetText:
    """``read_net`` for a prototxt that is in memory; ``document.path`` is where it came from.

    Raises:
        TextError, InputError: as ``read_net``.
    """
    document = _unbracketed(document)
    found = NetText(document)
    names = {field.name for field in document.fields}
    if "layer" not in names or "layers" in names or _has_v0_layers(document):
        found = _modernised(document)
    document = found.document
    if not any(field.name == "layer" for field in document.fields):
        raise InputError(f"{document.path}: no layers in this prototxt; is it a Caffe net?")
    return found._replace(document=replace(document, schema=schema))


def schema_of(proto: str | os.PathLike[str] | None) -> Schema:
    """The schema of a fork's ``caffe.proto``; ours when there is none.

    Raises:
        InputError: the file cannot be compiled.
    """
    if proto is None:
        return OURS
    from caffefold.formats.fork_schema import compile_schema  # seldom needed

    return compile_schema(os.fspath(proto))


# The imports below are made when they are needed: few files need them, and converting should
# start at once.


def _modernised(document: Document) -> NetText:
    """The net a solver names, or a net of an older format, as today's net."""
    from caffefold.formats.upgrade.solver import is_solver, net_of_solver
    from caffefold.formats.upgrade.text import upgrade_document

    notes: tuple[str, ...] = ()
    solver = is_solver(document)
    if solver:
        net, found = net_of_solver(document)
        document, notes = _unbracketed(net), (found,)
    document, upgrades = upgrade_document(document, layers_only=True)
    notes += tuple(f"{document.path}: upgraded: {note}" for note in upgrades)
    return NetText(document, notes, solver)


def _unbracketed(document: Document) -> Document:
    """``layer: [{...}, {...}]`` and lists of messages inside layers, as one field each."""
    if "[" not in document.source:
        return document
    from caffefold.formats.prototxt.layout import messages_apart

    return replace(document, fields=messages_apart(document.fields))


def _has_v0_layers(document: Document) -> bool:
    return any(f.body.message("layer") is not None for f in document.fields if f.name == "layer")
