"""Bring one file up to date: prototxt, solver or caffemodel, recognised by content.

What ``caffefold upgrade`` does. The result appears complete or not at all.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from caffefold.analysis import spelling
from caffefold.errors import InputError
from caffefold.formats import detect
from caffefold.formats.atomic import Staging
from caffefold.formats.caffemodel.wire import ByteSource, Range, write_parts
from caffefold.formats.prototxt.parse import read_if_text
from caffefold.formats.prototxt.tree import Document
from caffefold.formats.target import check_target
from caffefold.formats.upgrade.binary import WeightsUpgrade
from caffefold.formats.upgrade.solver import is_solver
from caffefold.formats.upgrade.text import Doubt, upgrade_document
from caffefold.frozen import dataclass
from caffefold.humanize import json_text
from caffefold.ir.net import Net

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class UpgradeReport:
    """What became of one file. No ``changes``: it was up to date, the result is a plain copy."""

    source: str
    target: str
    kind: str
    """``prototxt``, ``solver`` or ``caffemodel``."""
    bytes: int
    changes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    """What Caffe refuses in the result: unknown fields and layer types, which are kept."""

    @property
    def up_to_date(self) -> bool:
        """Whether there was nothing to do."""
        return not self.changes and not any(isinstance(each, Doubt) for each in self.warnings)

    def to_json(self) -> str:
        """The report as a JSON document."""
        document = {"schema": 1, "up_to_date": self.up_to_date, **asdict(self)}
        return json_text(document)


def upgrade(source: PathLike, target: PathLike, *, force: bool = False) -> UpgradeReport:
    """Write ``source`` in Caffe's current format to ``target``.

    Does what Caffe's upgrade_net_proto_text, upgrade_net_proto_binary and
    upgrade_solver_proto_text do. In a prototxt, comments, order and unknown fields are kept; the
    blobs of a caffemodel are copied as they are.

    Args:
        source: a prototxt, a solver prototxt or a caffemodel of any age.
        target: where to write the result.
        force: replace an existing ``target``.

    Raises:
        InputError: ``source`` is missing, broken, or cannot be upgraded.
        OutputError: ``target`` exists (without ``force``), is ``source``, or cannot be written.
    """
    given, wanted = Path(source), Path(target)
    text = _upgraded(given, wanted, force)
    return _weights(given, wanted) if text is None else _write(text, given, wanted)


class _Text(NamedTuple):
    """A prototxt in the current format; the one it came from may be forgotten."""

    document: Document
    notes: tuple[str, ...]
    solver: bool
    data: bytes


def _upgraded(source: Path, target: Path, force: bool) -> _Text | None:
    """A prototxt that was read and upgraded; None: ``source`` is a caffemodel."""
    document = read_if_text(source)
    check_target(source, target, force)
    if document is None:
        return None
    solver = is_solver(document)
    if not solver and not {field.name for field in document.fields} & {"layer", "layers", "input"}:
        raise InputError(f"{source}: no layers in this prototxt; is it a Caffe net or solver?")
    upgraded, notes = upgrade_document(document)
    # Nothing to do: the very bytes that were read, even where they were no UTF-8.
    data = upgraded.encode() if notes else document.source.encode("utf-8", "surrogateescape")
    return _Text(upgraded, notes, solver, data)


def _write(text: _Text, source: Path, target: Path) -> UpgradeReport:
    changes, warnings = _parted(text.notes)
    if not text.solver:
        net = Net.of(text.document, None)
        unknown = spelling.check(net, net, allow_unknown=True, strict=False)
        warnings = (*warnings, *map(str, unknown))
    with Staging() as staging:
        staging.write(target, text.data)
        staging.commit()
    kind = "solver" if text.solver else "prototxt"
    path = text.document.path
    return UpgradeReport(path, str(target), kind, len(text.data), changes, warnings)


def _parted(notes: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What was done, and what is to be doubted."""
    doubts = tuple(note for note in notes if isinstance(note, Doubt))
    return tuple(note for note in notes if not isinstance(note, Doubt)), doubts


def _weights(source: Path, target: Path) -> UpgradeReport:
    if detect.is_hdf5(source):
        raise InputError(f"{source}: HDF5 weights have no layer format; nothing can be upgraded")
    detect.expect_caffemodel(source)
    with ByteSource(source) as file, Staging() as staging:
        work = WeightsUpgrade(file)
        parts = work.parts() if work.needed else [Range(0, file.size)]
        with staging.open(target) as out:
            write_parts(out, file, parts)
            written = out.tell()
        changes, warnings = _parted(work.notes() if work.needed else ())
        staging.commit()
    return UpgradeReport(str(source), str(target), "caffemodel", written, changes, warnings)
