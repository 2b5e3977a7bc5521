"""The files of a pair: how they are read, where the results go, and how those are staged.

What happens to the net in between stands in ``conversion``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from caffefold.analysis import fit
from caffefold.analysis.shapes import infer
from caffefold.errors import ExistingOutput, Option, OutputError, UsageError
from caffefold.formats import detect, groups
from caffefold.formats.atomic import Staging
from caffefold.formats.caffemodel.index import LayerRecord, WeightsFile
from caffefold.formats.caffemodel.open import open_snapshot
from caffefold.formats.caffemodel.precision import PRECISIONS, Precision, of_layer
from caffefold.formats.caffemodel.write import NewLayer, write_weights
from caffefold.formats.disk import output_error
from caffefold.formats.prototxt.open import NetText, read_net, schema_of
from caffefold.formats.schema import Schema
from caffefold.ir.net import Net
from caffefold.ir.record import layer_fields, net_fields
from caffefold.ops.activation import SPLIT
from caffefold.ops.table import op_of
from caffefold.options import ConvertOptions, PathLike, SaveOptions
from caffefold.report import ConvertReport, SlimResult

SUFFIXES = (".prototxt", ".caffemodel", ".report.json")


# ------------------------------------------------------------------------------------- reading


def load_pair(schema: Schema, prototxt: PathLike, caffemodel: PathLike | None = None) -> Net:
    """A net and its weights, or that of a caffemodel alone.

    Raises:
        InputError: a file is missing, broken, or not what it should be.
    """
    if caffemodel is None and _is_alone(prototxt):
        from caffefold.extraction import net_of_caffemodel  # seldom needed

        return net_of_caffemodel(os.fspath(prototxt), schema, certain=True)
    return pair(read_net(os.fspath(prototxt), schema), caffemodel)


def _is_alone(prototxt: PathLike) -> bool:
    """Whether this is no prototxt but a caffemodel, which holds its net."""
    return detect.is_caffemodel(os.fspath(prototxt))


def pair(text: NetText, caffemodel: PathLike | None) -> Net:
    """The net of a prototxt that was read, with its weights when a caffemodel is given."""
    weights = None if caffemodel is None else open_snapshot(os.fspath(caffemodel), text.document)
    return replace(Net.of(text.document, weights), notes=text.notes)


def strangers(net: Net) -> tuple[LayerRecord, ...]:
    """Records that no layer of the prototxt that was read has the name of."""
    if net.weights is None:
        return ()
    return tuple(
        record
        for record in net.weights.layers
        if record.name not in net.listed and op_of(record.type) is not SPLIT
    )


def size_of(path: Path, net: Net) -> int:
    """The size of an input; of one that cannot be read again, of the text that came from it."""
    if detect.is_stream(path):
        return len(net.document.source.encode("utf-8", "surrogateescape"))
    return path.stat().st_size


# ------------------------------------------------------------------------- where results go


class Job(NamedTuple):
    """A pair of files that is read, and where its results go."""

    net: Net
    sources: tuple[Path, ...]
    """The files that were given."""
    staging: Staging
    targets: tuple[Path, ...]
    html: PathLike | None

    def put(self, report: ConvertReport | SlimResult) -> None:
        """Put what is staged in place, with the report, and the report as a page."""
        self.staging.write(self.targets[2], report.to_json().encode("utf-8", "backslashreplace"))
        with Staging() as pages:
            if self.html is not None:
                from caffefold.page import page

                pages.write(Path(self.html), page(report).encode("utf-8", "backslashreplace"))
                pages.finish()
            self.staging.commit()
            pages.commit()


@contextmanager
def opened(
    options: ConvertOptions, prototxt: PathLike, caffemodel: PathLike | None,
    output: PathLike | None, suffixes: tuple[str, ...], html: PathLike | None, *, force: bool,
) -> Iterator[Job]:  # fmt: skip
    """Read a pair, and see to it that its results can be written.

    Raises:
        InputError: as ``load``.
        OutputError: a result exists (without ``force``), equals an input, or cannot be written.
        UsageError: what comes from standard input has no name for its results.
    """
    if output is None and detect.is_stream(Path(prototxt)):
        raise UsageError("standard input has no name; give ", Option("prefix", "PREFIX"))
    weights = prototxt if caffemodel is None and _is_alone(prototxt) else caffemodel
    sources = tuple(Path(p) for p in (prototxt, weights, options.proto) if p is not None)
    with load_pair(schema_of(options.proto), prototxt, caffemodel) as net, Staging() as staging:
        files = (*(path for path in sources if not detect.is_stream(path)), *sources_of(net))
        targets = targets_of(_prefix(output, net, Path(prototxt)), files, suffixes, force)
        if html is not None:
            targets_of(Path(html), files, ("",), force)
            if Path(html) in targets:
                raise OutputError(f"{html}: another result goes there; choose another name")
        yield Job(net, sources, staging, targets, html)


def _prefix(output: PathLike | None, net: Net, prototxt: Path) -> Path:
    """Where the results go: as asked for, into a folder, or beside the prototxt.

    A name from a file becomes one of a file only if it is no path and hides nothing.
    """
    if output is not None:
        path, asked = Path(output), os.fspath(output)
        into = asked.endswith((os.sep, "/")) or path.name in ("", "..") or path.is_dir()
        if not asked or not into:
            return path
        plain = re.fullmatch(r"\w[\w.+ -]*", net.name) and net.name
        return path / (plain or ("net" if detect.is_stream(prototxt) else prototxt.stem))
    return prototxt.with_name(f"{prototxt.stem}.deploy")


def sources_of(net: Net) -> tuple[Path, ...]:
    """The files that a net was read from; of a solver, also the net that it names."""
    paths = [net.document.path] + ([net.weights.path] if net.weights is not None else [])
    return tuple(Path(path) for path in paths if Path(path).exists())


def targets_of(
    output: Path, sources: tuple[Path, ...], suffixes: tuple[str, ...], force: bool
) -> tuple[Path, ...]:
    """``output`` with each of the suffixes; torn groups there are mended first.

    Raises:
        OutputError: one is a folder or an input, exists (without ``force``), or cannot be read.
    """
    try:
        folder = output.name in ("", "..") or output.is_dir()
        if folder or output.name in SUFFIXES:
            what = "a directory" if folder else "no file name"
            raise OutputError(f"{output}: {what}; give a prefix such as {output / 'deploy'}")
        name = output.name
        for suffix in SUFFIXES:  # a known one at its end is no part of the prefix
            name = name.removesuffix(suffix)
        targets = tuple(output.with_name(name + suffix) for suffix in suffixes)
        for target in targets:
            groups.mend(target)
            if target.is_dir():
                raise OutputError(f"{target}: this is a directory; choose another output prefix")
            if target.exists() and any(target.samefile(source) for source in sources):
                raise OutputError(f"{target}: this is an input; choose another output prefix")
        for target in targets:
            if target.exists() and not force:
                raise ExistingOutput(str(target))
    except OSError as error:
        raise output_error(output, error) from None
    return targets


# ------------------------------------------------------------------------------------- staging


def stage(
    staging: Staging, net: Net, targets: tuple[Path, ...], options: SaveOptions
) -> tuple[Path, ...]:
    """Stage the text and, if there are any, the weights; the targets that are used."""
    staging.write(targets[0], net.to_document().encode())
    if net.weights is None:
        return targets[:1]
    layers = _records(net, net.weights, PRECISIONS[options.dtype])
    kept = strangers(net) if options.keep_records else ()
    with staging.open(targets[1]) as out:
        write_weights(out, net.weights, layers, head=net_fields(net, net.weights), strangers=kept)
    return targets[:2]


def _records(net: Net, weights: WeightsFile, precision: Precision) -> Iterator[NewLayer]:
    """The layers as the caffemodel has them."""
    shapes = infer(net)
    for layer, bottoms in zip(net.layers, shapes.bottoms, strict=True):
        yield NewLayer(
            *(layer.name, layer.type, layer.bottoms, layer.tops),
            layer_fields(layer, weights.source),
            layer.blobs,
            fit.modern_shapes(layer, bottoms),
            of_layer(layer.type, precision),
        )
