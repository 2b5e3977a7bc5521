"""The main job: read two files, rewrite the net, write two files, prove them equal.

Nothing is put in place before the proof has passed on the files as they were written.
"""

from __future__ import annotations

import os
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from caffefold.analysis import fit
from caffefold.analysis.cost import totals
from caffefold.analysis.shapes import carried
from caffefold.check.proof import prove
from caffefold.check.runnable import runnable
from caffefold.errors import ModelError, OutputError
from caffefold.formats.atomic import Staging, output_error
from caffefold.formats.caffemodel.blob import quiet
from caffefold.formats.caffemodel.open import open_snapshot
from caffefold.formats.caffemodel.precision import PRECISIONS, Precision, of_layer
from caffefold.formats.caffemodel.write import NewLayer, write_weights
from caffefold.formats.prototxt.open import read_net, schema_of
from caffefold.formats.prototxt.tree import Field
from caffefold.formats.schema import Schema
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net
from caffefold.options import ConvertOptions, DeployOptions, FoldOptions, PathLike, takes
from caffefold.passes import infra, pipeline
from caffefold.passes.deploy.preprocessing import comment, preprocessing
from caffefold.passes.infra import Step
from caffefold.passes.view import placeholders
from caffefold.report import ConvertReport, FileSize

SUFFIXES = (".prototxt", ".caffemodel", ".report.json")


def load(
    prototxt: PathLike, caffemodel: PathLike | None = None, *, proto: PathLike | None = None
) -> Net:
    """Read a net, with its weights when a caffemodel is given.

    Weights stay in their file until they are asked for::

        with caffefold.load("deploy.prototxt", "net.caffemodel") as net:
            for layer in net.layers:
                print(layer.name, layer.type, [numpy.asarray(blob).shape for blob in layer.blobs])

    The file is closed by ``with``, by ``net.close()``, or when the net is no longer used.
    ``caffemodel`` may be binary or HDF5. ``proto`` is a fork's ``caffe.proto`` to read fields by.

    Raises:
        InputError: a file is missing, broken, or not what it should be.
    """
    return _load(prototxt, caffemodel, schema_of(proto))


def _load(prototxt: PathLike, caffemodel: PathLike | None, schema: Schema) -> Net:
    text = read_net(os.fspath(prototxt), schema)
    weights = None if caffemodel is None else open_snapshot(os.fspath(caffemodel), text.document)
    return replace(Net.of(text.document, weights), notes=text.notes)


@takes(ConvertOptions)
def convert(
    prototxt: PathLike,
    caffemodel: PathLike | None,
    output: PathLike,
    *,
    force: bool = False,
    **given: Any,
) -> ConvertReport:
    """Turn a training net and its snapshot into a folded deploy pair, proven equal.

    Args:
        prototxt: the train, train_val or deploy prototxt; templates are fine.
        caffemodel: the snapshot, binary or HDF5; it must belong to the prototxt. None: only the
            structure is converted and folded, and no caffemodel is written.
        output: prefix of the results: ``PREFIX.prototxt``, ``.caffemodel``, ``.report.json``.
        force: replace existing results.
        {options}

    Returns:
        What was changed, what was left alone and why, and the proof.

    Raises:
        InputError: an input is missing, broken, or does not fit the other one.
        OutputError: a result exists (without ``force``), equals an input, or cannot be written.
        ProofError: the written pair does not compute the same; nothing was put in place.
        UsageError: an option has a wrong value, or contradicts the files.
    """
    options = ConvertOptions(**given)
    proto = options.proto
    sources = tuple(Path(p) for p in (prototxt, caffemodel, proto) if p is not None)
    precision = PRECISIONS[options.dtype]
    schema = schema_of(proto)
    with _load(prototxt, caffemodel, schema) as net, Staging() as staging, quiet():
        targets = _targets(Path(output), sources, force)
        _reject_unfit(net)
        if targets[0].exists() and targets[0].samefile(net.document.path):  # named by a solver
            raise OutputError(f"{targets[0]}: this is an input; choose another output prefix")
        deploy, known, steps = _to_deploy(net, options)
        shapes, misfits = runnable(deploy, options.input_shapes)
        if net.weights is None:
            from caffefold.analysis.stand_in import with_blobs_of, with_stand_ins  # seldom needed

            deploy = with_stand_ins(deploy)
        folded, fold_steps = infra.run(pipeline.fold_passes(options), deploy)
        steps += fold_steps
        result = _with_comment(folded, comment(known))
        text = staging.write(targets[0], result.to_document().encode())
        if net.weights is not None:
            with staging.open(targets[1]) as out:
                write_weights(out, net.weights, _new_layers(net, folded, precision))
        results = targets[:1] if net.weights is None else targets[:2]
        weights = None if net.weights is None else staging.path_of(targets[1])
        with _load(text, weights, schema) as reread:
            written = with_blobs_of(reread, folded) if weights is None else reread
            folds = [change for step in fold_steps for change in step.changes]
            proof = prove(deploy, written, folds, precision)
        report = ConvertReport(
            net=net.name,
            inputs=tuple(FileSize(str(p), p.stat().st_size) for p in sources),
            outputs=tuple(FileSize(str(t), staging.path_of(t).stat().st_size) for t in results),
            layers_before=len(net.layers),
            layers_after=len(folded.layers),
            passes=steps,
            proof=proof,
            dtype=precision.name,
            preprocessing=known,
            costs=(totals(deploy, shapes), totals(folded, carried(shapes, deploy, folded))),
            weights=net.weights is not None,
            warnings=(
                *net.notes,
                *(w for step in steps for w in step.warnings),
                *misfits,
                *_strangers(net),
                *_idle(net, options),
            ),
        )
        staging.write(targets[2], report.to_json().encode("utf-8", "backslashreplace"))
        staging.commit()
    return report


def _to_deploy(
    net: Net, options: DeployOptions
) -> tuple[Net, tuple[dict[str, Any], ...], tuple[Step, ...]]:
    """The deploy net, not yet folded; what the data layers knew; what the passes did."""
    net, steps = infra.run(pipeline.view_passes(options), net)
    if net.weights is not None:
        fit.check_related(net)
    deploy, more = infra.run(pipeline.deploy_passes(net, options), net)
    known = preprocessing(net, deploy)
    if not any(layer.bottoms for layer in deploy.layers):
        raise ModelError(f"{net.document.path}: nothing is left of this net once training is gone")
    placeholders.check(deploy)
    graph.validate(deploy)
    if net.weights is not None:
        fit.check(deploy)
    return deploy, known, steps + more


def _new_layers(net: Net, result: Net, precision: Precision) -> dict[str, NewLayer | None]:
    """What becomes of each record: by name, for every layer the given prototxt knows."""
    new: dict[str, NewLayer | None] = {layer.name: None for layer in net.layers}
    assert net.weights is not None
    new.update((r.name, None) for r in net.weights.layers if r.type == "Split")
    for layer in reversed(result.layers):
        record = layer.record
        as_scale = layer.type == "Scale" and record is not None and layer.blobs != record.blobs
        stored = of_layer(layer.type, precision)
        new[layer.name] = NewLayer(layer.bottoms, layer.tops, layer.blobs, as_scale, stored)
    return new


def _strangers(net: Net) -> tuple[str, ...]:
    """A warning for each layer with weights that the prototxt does not name."""
    if net.weights is None:
        return ()
    known = {layer.name for layer in net.layers}
    return tuple(
        f"layer '{record.name}': in the caffemodel but not in the prototxt; carried along unchanged"
        for record in net.weights.layers
        if record.blobs and record.name not in known
    )


def _idle(net: Net, options: FoldOptions) -> tuple[str, ...]:
    """A warning for each pattern of layers to leave alone that fits none."""
    names = [layer.name for layer in net.layers]
    return tuple(
        f"--keep {pattern}: no effect; no layer has such a name"
        for pattern in options.keep
        if not any(fnmatchcase(name, pattern) for name in names)
    )


# ------------------------------------------------------------------------- inputs, outputs


def _reject_unfit(net: Net) -> None:
    for layer in net.layers:
        if not layer.name or not layer.type:
            missing = "name" if not layer.name else "type"
            raise layer.error(f"the layer has no {missing}; add one")


def output_paths(output: Path) -> tuple[Path, Path, Path]:
    """The three result files of a prefix; a known suffix at its end is taken off first."""
    name = output.name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    first, second, third = (output.with_name(name + suffix) for suffix in SUFFIXES)
    return first, second, third


def _targets(output: Path, sources: tuple[Path, ...], force: bool) -> tuple[Path, Path, Path]:
    try:
        folder = output.name in ("", "..") or output.is_dir()
        if folder or output.name in SUFFIXES:
            what = "a directory" if folder else "no file name"
            raise OutputError(f"{output}: {what}; give a prefix such as {output / 'deploy'}")
        targets = output_paths(output)
        for target in targets:
            if target.is_dir():
                raise OutputError(f"{target}: this is a directory; choose another output prefix")
            if target.exists() and any(target.samefile(source) for source in sources):
                raise OutputError(f"{target}: this is an input; choose another output prefix")
        for target in targets:
            if target.exists() and not force:
                raise OutputError(f"{target}: exists already; use --force to replace it")
    except OSError as error:
        raise output_error(output, error) from None
    return targets


def _with_comment(net: Net, comment: str) -> Net:
    if not comment or not net.items:
        return net
    first = net.items[0]
    if isinstance(first, Layer):
        item: Field | Layer = replace(first, field=_led(first.field, comment))
    else:
        item = _led(first, comment)
    return replace(net, items=(item, *net.items[1:]))


def _led(field: Field, comment: str) -> Field:
    return replace(field, lead=comment + field.lead.lstrip("\n"))
