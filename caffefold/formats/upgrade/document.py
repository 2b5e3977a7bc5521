"""Prototxt of any age -> today's: V0, V1, old transformations, inputs, BatchNorm, solver types.

In the order of Caffe's UpgradeNetAsNeeded (src/caffe/util/upgrade_proto.cpp), on the lossless
tree: what needs no upgrade prints as it was written, comments and unknown fields stay.

Where Caffe stops and this goes on, because the file is readable: a net with both ``layer`` and
``layers`` keeps the order of the file; a layer type that neither V0 nor V1 has keeps its word.
"""

from __future__ import annotations

from dataclasses import replace

from caffefold.formats.prototxt.layout import respaced, taken_apart
from caffefold.formats.prototxt.tree import Document, Field, Message
from caffefold.formats.upgrade.net import upgrade_batch_norm, upgrade_inputs
from caffefold.formats.upgrade.solver import NETS, is_solver, upgrade_solver_type
from caffefold.formats.upgrade.v0 import is_v0, upgrade_v0
from caffefold.formats.upgrade.v1 import upgrade_transformations, upgrade_v1

_Fields = tuple[Field, ...]


def upgrade_document(
    document: Document, *, layers_only: bool = False
) -> tuple[Document, tuple[str, ...]]:
    """``document`` in today's format, and what was done, as sentences; none: it is the same.

    ``layers_only`` leaves net-level ``input`` fields and BatchNorm ``param`` as they are: deploy
    nets are still written so, and every Caffe reads them. A solver gets today's ``type``, and the
    nets inside it are upgraded.

    Raises:
        TextError: the net is one that Caffe can not upgrade, with the place.
    """
    if layers_only and not any(map(_is_old, document.fields)):
        return document, ()
    notes: list[str] = []
    fields = document.fields
    crlf = _ends_lines_with_crlf(document.source)
    if crlf:
        fields = tuple(respaced(field, lambda space: space.replace("\r", "")) for field in fields)
    if is_solver(document):
        fields = tuple(
            _net_inside(field, document, layers_only, notes) if field.name in NETS else field
            for field in fields
        )
        fields = upgrade_solver_type(fields, document, notes)
    else:
        fields = _net(fields, document, layers_only, notes)
    if not notes:
        return document, ()
    if crlf:
        fields = tuple(
            respaced(field, lambda space: space.replace("\n", "\r\n")) for field in fields
        )
    return replace(document, fields=fields), tuple(notes)


def _is_old(field: Field) -> bool:
    """Whether this top-level field is, or may hold, a V0 or V1 layer."""
    return field.name in ("layers", "solver_type", *NETS) or is_v0(field)


def _ends_lines_with_crlf(source: str) -> bool:
    """Whether every line does; of mixed line ends, new lines get the plain one."""
    return "\r\n" in source and source.count("\n") == source.count("\r\n") == source.count("\r")


def _net(fields: _Fields, document: Document, layers_only: bool, notes: list[str]) -> _Fields:
    if any(field.name == "layers" or is_v0(field) for field in fields):
        fields = taken_apart(fields, "layers")
        fields = upgrade_v0(fields, document, notes)
        fields = upgrade_transformations(fields, notes)
        fields = upgrade_v1(fields, document, notes)
    if not layers_only:
        fields = upgrade_inputs(fields, document, notes)
        fields = upgrade_batch_norm(fields, notes)
    return fields


def _net_inside(field: Field, document: Document, layers_only: bool, notes: list[str]) -> Field:
    if not isinstance(field.value, Message):
        return field
    inner: list[str] = []
    fields = _net(field.body.fields, document, layers_only, inner)
    notes += [f"{field.name}: {note}" for note in inner]
    return field.with_body(replace(field.body, fields=fields)) if inner else field
