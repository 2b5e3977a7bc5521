"""One side of the comparison: whatever was given, as layers that can be compared.

    prototxt (of any age, template, solver) | caffemodel | folder with a pair
        -> net in today's form -> one phase -> Input layers alike -> LayerInfo

What the phase leaves out is not lost: those layers come behind the others, with their rule.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from caffefold.analysis.channels import legacy_shapes
from caffefold.compare.canonical import Settings, is_training, net_settings, settings
from caffefold.compare.entries import Given, LayerInfo
from caffefold.conversion import load
from caffefold.errors import InputError
from caffefold.formats import detect
from caffefold.formats.caffemodel import describe as weights_text
from caffefold.formats.caffemodel.open import open_current
from caffefold.formats.prototxt import parse as text_parse
from caffefold.formats.prototxt.tree import Field, Message, block, quote, scalar
from caffefold.formats.upgrade.solver import is_solver
from caffefold.ir import graph
from caffefold.ir.graph import Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.kinds import is_data, is_loss, measures
from caffefold.passes.view.phase import SelectPhase, State, included
from caffefold.passes.view.placeholders import FillPlaceholders

PathLike = str | os.PathLike[str]
_LEGACY = frozenset({"input", "input_dim", "input_shape"})
_UPGRADED_NAME = "input"  # what upgrade_net_proto_text calls the layer it makes of `input:` fields


@dataclass(frozen=True, slots=True)
class Source:
    """What a path stands for: the files behind it."""

    path: str
    kind: str
    prototxt: str | None
    caffemodel: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One net, ready to be compared. ``layers`` and ``infos`` are parallel."""

    given: Given
    net: Net
    """Only the layers of the compared phase."""
    wiring: Graph
    layers: tuple[Layer, ...]
    """The layers of ``net``, then those of other phases."""
    infos: tuple[LayerInfo, ...]
    settings: Settings
    """Those of the net itself."""

    @property
    def in_phase(self) -> int:
        """How many of the layers are in the compared phase."""
        return len(self.wiring.reads)

    def close(self) -> None:
        """Close the caffemodel."""
        self.net.close()


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at of each layer."""

    phase: str | None = None
    stages: tuple[str, ...] = ()
    structure: bool = False
    ignore_training: bool = False
    parameters: bool = True
    """Whether settings are compared: not when one side is a caffemodel alone."""
    both_weights: bool = False


def find(path: PathLike, weights: PathLike | None) -> Source:
    """The files that ``path`` stands for.

    Raises:
        InputError: it is missing, or a folder that holds no one pair.
    """
    name = os.fspath(path)
    given = None if weights is None else os.fspath(weights)
    if Path(name).is_dir():
        return _folder(name, given)
    head = detect.head_of(name, "file")
    if detect.is_text(head):
        detect.expect_prototxt(name)
        return Source(name, "prototxt", name, given)
    if given is not None:
        raise InputError(f"{name}: this is a caffemodel itself; give a prototxt with --weights")
    return Source(name, "caffemodel", None, name)


def _folder(name: str, weights: str | None) -> Source:
    models = sorted(Path(name).glob("*.caffemodel"))
    texts = [path for path in sorted(Path(name).glob("*.prototxt")) if _is_net(path)]
    if len(texts) > 1 and len(models) == 1:
        texts = [path for path in texts if path.stem == models[0].stem] or texts
    if len(models) > 1 and len(texts) == 1 and weights is None:
        models = [path for path in models if path.stem == texts[0].stem] or models
    for found, what in ((texts, "prototxt of a net"), (models, "caffemodel")):
        if len(found) > 1 and (found is texts or weights is None):
            names = ", ".join(path.name for path in found[:5])
            raise InputError(
                f"{name}: more than one {what} in this folder ({names}); give the file"
            )
    if not texts:
        if models and weights is None:
            return Source(name, "folder", None, str(models[0]))
        raise InputError(f"{name}: no prototxt of a net in this folder; give the file itself")
    model = weights or (str(models[0]) if models else None)
    return Source(name, "folder", str(texts[0]), model)


def _is_net(path: Path) -> bool:
    """Whether a prototxt holds layers: a solver or a label map beside a net does not count."""
    try:
        detect.expect_prototxt(path)
        fields = {field.name for field in text_parse.read(path).fields}
    except InputError:
        return True  # it is refused with its own message when it is read
    return bool(fields & {"layer", "layers"})


def open_side(source: Source, view: View) -> Side:
    """Read and normalise one side.

    Raises:
        InputError: a file is broken, or not what it was given as.
    """
    if source.prototxt is None:
        assert source.caffemodel is not None
        if detect.is_hdf5(source.caffemodel):
            raise InputError(
                f"{source.caffemodel}: an HDF5 snapshot names neither types nor order of its "
                "layers; give the prototxt, and this file with --weights"
            )
        file = open_current(source.caffemodel)
        try:
            document = weights_text.to_document(file, parameters=view.parameters)
            return _normalised(Net.of(document, file), source, view)
        except BaseException:
            file.close()
            raise
    net = load(source.prototxt, source.caffemodel)
    try:
        return _normalised(net, source, view)
    except BaseException:
        net.close()
        raise


def _normalised(net: Net, source: Source, view: View) -> Side:
    notes = list(net.notes)
    if net.weights is not None and source.prototxt is not None:
        filled = FillPlaceholders().run(net)
        if filled.changes:
            values = ", ".join(change.detail for change in filled.changes)
            notes.append(f"{source.path}: a template, filled by the weights: {values}")
        net = filled.net
    net = _with_input_layers(net)
    state = State(view.phase or "TEST", stages=frozenset(view.stages))
    snapshot = source.prototxt is None  # its layers are those of one phase already
    selected = net if snapshot else SelectPhase(state).run(net).net
    kept = {id(layer.field.value) for layer in selected.layers}
    others = [layer for layer in net.layers if id(layer.field.value) not in kept]
    if view.phase is not None:
        others = []
    if view.ignore_training:
        others = [layer for layer in others if not _only_trains(layer)]
    wiring = graph.build(selected)
    notes += [str(problem) for problem in wiring.problems if not snapshot]
    inside = len(selected.layers)
    layers = (*selected.layers, *others)
    infos = tuple(
        _info(layer, i, "" if i < inside else _rule(layer, state), view)
        for i, layer in enumerate(layers)
    )
    fields = Message(tuple(item for item in net.items if isinstance(item, Field)))
    own = {} if view.structure else net_settings(fields)
    if view.ignore_training:
        own = {path: value for path, value in own.items() if path == "name"}
    given = Given(
        source.path,
        _kind(source, net),
        net.name,
        inside,
        selected.inputs,
        tuple(dict.fromkeys(wiring.outputs)),
        source.caffemodel or "",
        tuple(notes),
    )
    return Side(given, selected, wiring, layers, infos, own)


def _kind(source: Source, net: Net) -> str:
    if source.kind == "prototxt" and source.prototxt is not None and net.notes:
        return "solver" if is_solver(text_parse.read(source.prototxt)) else "prototxt"
    return source.kind


def _only_trains(layer: Layer) -> bool:
    return is_data(layer) or is_loss(layer) or measures(layer.type)


def _rule(layer: Layer, state: State) -> str:
    """Why a layer is not in the compared phase: the other phase, or a level or stage."""
    other = "TRAIN" if state.phase == "TEST" else "TEST"
    return other if included(layer, replace(state, phase=other)) else "other"


def _info(layer: Layer, position: int, phase: str, view: View) -> LayerInfo:
    found: Settings = {}
    if view.parameters and not view.structure:
        found = settings(layer.body, layer.type)
        if view.ignore_training or view.phase is not None:
            found = {p: v for p, v in found.items() if _wanted(p, v, view)}
    shapes = tuple(blob.shape for blob in layer.blobs) if view.both_weights else ()
    return LayerInfo(
        layer.name,
        layer.type,
        layer.bottoms,
        layer.tops,
        tuple(sorted(found.items(), key=lambda item: item[0])),
        shapes if not view.structure else (),
        position,
        phase,
    )


def _wanted(path: str, value: object, view: View) -> bool:
    if view.ignore_training:
        return not is_training(path, value)  # type: ignore[arg-type]
    return path.partition("[")[0] not in ("include", "exclude")  # they were matched already


# ------------------------------------------------------------------------------ Input layers


def _with_input_layers(net: Net) -> Net:
    """The net with one Input layer for each blob from outside, however that was written."""
    items: list[Field | Layer] = []
    shapes = legacy_shapes(net)
    for name in net.legacy_inputs:
        items.append(_input(net, name, name, shapes.get(name)))
    for item in net.items:
        if isinstance(item, Layer) and item.type == "Input":
            items += _one_each(net, item)
        elif isinstance(item, Layer) or item.name not in _LEGACY:
            items.append(item)
    return replace(net, items=tuple(items))


def _one_each(net: Net, layer: Layer) -> Iterator[Layer]:
    if len(layer.tops) == 1 and layer.name != _UPGRADED_NAME:
        yield layer
        return
    params = layer.params("input_param")
    shapes = [params.nested("shape", m).integers("dim") for m in params.messages("shape")]
    for index, top in enumerate(layer.tops):
        shape = shapes[min(index, len(shapes) - 1)] if shapes else None
        yield _input(net, top, top, shape)


def _input(net: Net, name: str, top: str, shape: tuple[int, ...] | None) -> Layer:
    fields = [
        scalar("name", quote(name), "  "),
        scalar("type", '"Input"', "  "),
        scalar("top", quote(top), "  "),
    ]
    if shape is not None:
        dims = [scalar("dim", str(dim), "      ") for dim in shape]
        fields.append(block("input_param", [block("shape", dims, "    ")], "  "))
    return Layer.of(block("layer", fields, ""), net.document)
