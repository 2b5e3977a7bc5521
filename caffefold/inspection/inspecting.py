"""Look at a net without converting it: shapes, parameters, MACs, memory, BatchNorm statistics."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from math import prod

from caffefold.analysis import fit, health, spelling
from caffefold.analysis.channels import channels_of
from caffefold.analysis.cost import Totals, layer_costs, totals
from caffefold.analysis.input_size import input_size
from caffefold.analysis.shapes import Shapes, infer
from caffefold.errors import InputError, Text, UnknownInput, UsageError
from caffefold.extraction import net_of_caffemodel
from caffefold.files import pair
from caffefold.formats import detect
from caffefold.formats.caffemodel.index import WeightsFile
from caffefold.formats.caffemodel.open import open_snapshot
from caffefold.formats.prototxt.open import net_of
from caffefold.formats.prototxt.parse import read, read_if_text
from caffefold.formats.prototxt.tree import Field, Scalar, quote
from caffefold.formats.schema import OURS
from caffefold.inspection.result import BlobShape, Inspection, LayerRow
from caffefold.ir.net import Net
from caffefold.ops.shape import Known, Shape, show
from caffefold.options import PathLike
from caffefold.passes.view.phase import State, lent_makers, select, state_of
from caffefold.passes.view.placeholders import FillPlaceholders


def inspect(
    net: Net | PathLike | tuple[PathLike, PathLike | None],
    weights: PathLike | None = None,
    *,
    classes: int | None = None,
    values: Mapping[str, str] | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    phase: str = "TEST",
    level: int = 0,
    stages: Iterable[str] = (),
    allow_unknown: bool = False,
    strict: bool = False,
    threshold: float = health.THRESHOLD,
) -> Inspection:
    """What is in a net: the shape, parameters, MACs and memory of every layer, and in all.

    Input sizes that the text leaves open are inferred from the weights where those determine them.

    Args:
        net: a net in memory, a (prototxt, caffemodel) pair, or a path: a train, train_val or deploy
            prototxt, a template, a solver; or a caffemodel alone, which holds its net (of an
            HDF5 one, names and blobs are known).
        weights: the caffemodel, where ``net`` is the path of a prototxt.
        classes: number of classes for ``clsNx`` placeholders; by default inferred from the weights.
        values: values of other placeholders, by name.
        input_shapes: shapes of inputs by blob, such as ``{"data": (1, 3, 300, 300)}``.
        phase: what include and exclude rules are matched against, TEST or TRAIN;
        level: their level;
        stages: the stages that are on.
        allow_unknown: pass unknown fields and layer types, even those that look like a slip.
        strict: refuse every unknown field, layer type and enum value.
        threshold: |gamma| below which a BatchNorm channel counts as small.

    Returns:
        The rows, the totals, and warnings about what Caffe would refuse.

    Raises:
        InputError: a file is missing, broken, or not what it should be.
        UsageError: an option contradicts the files.
    """
    if isinstance(net, (Net, tuple)) and weights is not None:
        raise UsageError("weights go with the path of a prototxt; a net or a pair brings its own")
    if isinstance(net, tuple):
        net, weights = net
    alone = False
    files: tuple[str | None, str | None]
    if isinstance(net, Net):
        files = (net.document.path, net.weights.path if net.weights is not None else None)
        opened: AbstractContextManager[Net] = nullcontext(net)
    else:
        path = os.fspath(net)
        text = read_if_text(path, "net") if weights is None else read(path)
        if text is not None:
            found = net_of(text)
            opened = pair(found, weights)
            files = (found.document.path, None if weights is None else os.fspath(weights))
        elif detect.is_hdf5(path):
            with open_snapshot(path) as file:
                return _weights_alone(file, threshold)
        else:
            opened = net_of_caffemodel(path, OURS)
            files, alone = (None, path), True
    with opened as given:
        filled = FillPlaceholders(dict(values or {}), classes).run(given).net
        # The layers of a snapshot are those of one phase already.
        asked = State(phase, level, frozenset(stages))
        viewed, lent = (filled, {}) if alone else _viewed(filled, asked)
        unknown = spelling.check(filled, viewed, allow_unknown=allow_unknown, strict=strict)
        known, notes = _input_shapes(viewed, input_shapes or {}, lent)
        shapes = infer(viewed, known)
        problems = [*shapes.graph.problems, *(_misfits(viewed) or shapes.problems)]
        sinks = (
            (shapes.graph.versions[sink].blob, shapes.versions[sink]) for sink in shapes.graph.sinks
        )
        left_out = [note for note in given.notes if isinstance(note, Text)]
        return Inspection(
            given.name,
            files[0],
            files[1],
            tuple(map(BlobShape, shapes.inputs, shapes.of_inputs(shapes.inputs))),
            tuple(itertools.starmap(BlobShape, sinks)),
            _rows(viewed, shapes),
            totals(viewed, shapes),
            threshold,
            health.norms(viewed, threshold),
            (*left_out, *unknown, *(problem.as_warning() for problem in problems)),
            (*(note for note in given.notes if note not in left_out), *notes),
        )


def _viewed(net: Net, asked: State) -> tuple[Net, dict[str, Known]]:
    """The net that Caffe would build, and shapes of inputs it lacks: what it reads and only data
    layers of the other phase or stage make."""
    state = state_of(net, asked)
    kept = select(net, state)
    places = sorted((*kept, *lent_makers(net, kept, state)))
    wider = net.without(set(range(len(net.layers))).difference(places))
    lent = [
        i for i, layer in enumerate(wider.layers) if not layer.bottoms and places[i] not in kept
    ]
    if not lent:
        return wider, {}
    shapes = infer(wider)
    made = [version for i in lent for version in shapes.graph.writes[i]]
    read = [version for version in made if shapes.graph.versions[version].readers]
    blobs = {shapes.graph.versions[version].blob: shapes.versions[version] for version in read}
    viewed = wider.without(lent)
    inputs = [Field("input", Scalar(quote(blob))) for blob in blobs]
    known = {blob: shape for blob, shape in blobs.items() if shape is not None}
    return replace(viewed, items=(*inputs, *viewed.items)), known


def _rows(net: Net, shapes: Shapes) -> tuple[LayerRow, ...]:
    rows = []
    for i, (layer, cost) in enumerate(zip(net.layers, layer_costs(net, shapes), strict=True)):
        tops = tuple(map(BlobShape, layer.tops, shapes.tops(i)))
        blobs = tuple(blob.shape for blob in layer.blobs)
        rows.append(LayerRow(layer.name, layer.type, layer.bottoms, tops, blobs, *cost))
    return tuple(rows)


def _misfits(net: Net) -> list[InputError]:
    """What Caffe would say of weights that do not belong to the net."""
    if net.weights is not None:
        try:
            fit.check(net)
        except InputError as error:
            return [error]
    return []


def _input_shapes(
    net: Net, given: Mapping[str, tuple[int, ...]], lent: Mapping[str, Known]
) -> tuple[dict[str, Known], list[str]]:
    """Shapes of inputs that are not the net's own: those given, and what follows from the weights
    for the rest, with a note for each."""
    shapes: dict[str, Known] = {**lent, **given}
    known = infer(net, shapes)
    unknown = sorted(set(given) - set(known.inputs))
    if unknown:
        raise UnknownInput(unknown[0], known.inputs)
    notes = []
    if any(layer.blobs for layer in net.layers):
        for blob in known.inputs:
            own = known.of_input(blob)
            if blob not in given and (own is None or (len(own) == 4 and None in own)):
                solved, why = _solved(net, blob, own, shapes)
                if solved is not None:
                    shapes[blob] = solved
                    notes.append(f"input '{blob}' inferred as {show(solved)}: {why}")
    return shapes, notes


def _solved(
    net: Net, blob: str, own: Shape, others: Mapping[str, Known]
) -> tuple[Known | None, str]:
    """The shape that weights give an input, and by what; batch 1 unless the net has one."""
    batch, channels, height, width = own or (None, None, None, None)
    read = channels or channels_of(net, blob)
    found = input_size(net, blob, read, others)
    if height is None or width is None:
        height, width = found.size or (height, width)
    made = (batch or 1, read or found.channels, height, width)
    if made == own or made[1:] == (None, None, None):
        return None, ""
    return made, found.why if found.size else "its channels are those of the first weights"


def _weights_alone(file: WeightsFile, threshold: float) -> Inspection:
    rows = []
    for record in file.layers:
        shapes = tuple(blob.shape for blob in record.blobs)
        parameters = sum(map(prod, shapes))
        rows.append(LayerRow(record.name, record.type, (), (), shapes, parameters, None, None))
    parameters = sum(row.parameters or 0 for row in rows)
    sums = Totals(len(rows), parameters, 0, 0, 0, len(rows), len(rows))
    return Inspection(
        file.name, None, file.path, (), (), tuple(rows), sums, threshold, norms=(), warnings=()
    )
