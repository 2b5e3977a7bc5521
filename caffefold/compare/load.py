"""One side of the comparison: whatever was given, as layers that can be compared.

    Net | prototxt (of any age, template, solver) | caffemodel | folder with a pair
        -> net in today's form -> one phase -> Input layers alike -> LayerInfo

What the phase leaves out is not lost: those layers come behind the others, with their rule.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from caffefold.analysis import spelling
from caffefold.analysis.shapes import input_shapes
from caffefold.compare.entries import LayerInfo, NetInfo
from caffefold.compare.settings import SettingMap, is_training, net_settings, settings
from caffefold.errors import InputError, UsageError
from caffefold.files import pair
from caffefold.formats import detect
from caffefold.formats.caffemodel import describe
from caffefold.formats.caffemodel.open import open_current
from caffefold.formats.prototxt.open import net_of
from caffefold.formats.prototxt.parse import read, read_if_text
from caffefold.formats.prototxt.tree import Document, Field, Message
from caffefold.frozen import dataclass
from caffefold.humanize import counted
from caffefold.ir import graph
from caffefold.ir.graph import Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import AffineOp, Category
from caffefold.ops.table import op, op_of
from caffefold.options import PathLike
from caffefold.passes.deploy.newlayer import Parameters, new_layer
from caffefold.passes.view.phase import SelectPhase, State, included
from caffefold.passes.view.placeholders import FillPlaceholders

NetLike = Net | PathLike | tuple[PathLike, PathLike | None]
"""A net in memory, a path, or a prototxt with its caffemodel."""
_NAMED = 3  # records without a layer that are named
_LEGACY = frozenset({"input", "input_dim", "input_shape"})
_UPGRADED_NAME = "input"  # what upgrade_net_proto_text calls the layer it makes of `input:` fields


class Given(NamedTuple):
    """What was given for one side, and the files behind it."""

    path: str
    kind: str
    document: Document | None = None
    """The prototxt as it was read; None: there is only a caffemodel."""
    caffemodel: str | None = None
    net: Net | None = None
    """The net itself, when it was given in memory."""

    @property
    def is_snapshot(self) -> bool:
        """Whether this is a caffemodel alone."""
        return self.document is None

    @property
    def has_weights(self) -> bool:
        """Whether there are numbers to compare."""
        in_memory = self.net is not None and any(layer.blobs for layer in self.net.layers)
        return self.caffemodel is not None or in_memory


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared of each layer."""

    phase: str | None = None
    stages: tuple[str, ...] = ()
    structure: bool = False
    ignore_training: bool = False
    parameters: bool = True
    """Whether settings are compared: not when one side is a caffemodel alone."""
    numbers: bool = False
    """Whether numbers and their shapes are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class ComparedNet:
    """One net, ready to be compared. ``layers`` and ``infos`` are parallel."""

    info: NetInfo
    net: Net
    """Only the layers of the compared phase."""
    wiring: Graph
    layers: tuple[Layer, ...]
    """The layers of ``net``, then those of other phases."""
    infos: tuple[LayerInfo, ...]
    settings: SettingMap
    """Those of the net itself."""

    @property
    def in_phase(self) -> int:
        """How many of the layers are in the compared phase."""
        return len(self.wiring.reads)

    def maker(self, version: int) -> int:
        """Position of the layer that makes a version; -1 when none does."""
        return self.wiring.versions[version].producer if version >= 0 else -1

    def maker_name(self, version: int) -> str:
        """Name of the layer that makes a version; empty when none does."""
        maker = self.maker(version)
        return self.layers[maker].name if maker >= 0 else ""


def find(given: NetLike, weights: PathLike | None = None) -> Given:
    """The files that ``given`` stands for; the prototxt among them is read.

    Raises:
        InputError: a file is missing or broken, or a folder does not hold exactly one pair.
        UsageError: ``weights`` for what has its own.
    """
    if isinstance(given, (Net, tuple)) and weights is not None:
        raise UsageError("weights go with the path of a prototxt; a net or a pair brings its own")
    if isinstance(given, Net):
        file = given.weights.path if given.weights is not None else None
        return Given(given.document.path, "net", given.document, file, given)
    if isinstance(given, tuple):
        given, weights = given
    name = os.fspath(given)
    model = None if weights is None else os.fspath(weights)
    if Path(name).is_dir():
        return _folder(name, model)
    document = read_if_text(name)
    if document is not None:
        return Given(document.path, "prototxt", document, model)
    if model is not None:
        raise InputError(f"{name}: this is a caffemodel itself; weights go with a prototxt")
    return Given(name, "caffemodel", None, name)


def _folder(name: str, weights: str | None) -> Given:
    text, model = pair_in(name, weights)
    return Given(name, "folder", read(text) if text else None, model)


def pair_in(name: str, weights: str | None = None) -> tuple[str | None, str | None]:
    """(prototxt, caffemodel) of a folder that holds one net; ``weights`` when they are given.

    Raises:
        InputError: the folder holds no net, or several.
    """
    models = _given(name, "*.caffemodel")
    texts = [path for path in _given(name, "*.prototxt") if _may_be_net(Path(path))]
    if len(texts) > 1 and len(models) == 1:
        texts = [path for path in texts if Path(path).stem == Path(models[0]).stem] or texts
    if len(models) > 1 and len(texts) == 1 and weights is None:
        models = [path for path in models if Path(path).stem == Path(texts[0]).stem] or models
    for found, what in ((texts, "prototxt of a net"), (models, "caffemodel")):
        if len(found) > 1 and (found is texts or weights is None):
            names = ", ".join(Path(path).name for path in found[:5])
            raise InputError(
                f"{name}: more than one {what} in this folder ({names}); give the file"
            )
    if not texts:
        if models and weights is None:
            return None, models[0]
        raise InputError(f"{name}: no prototxt of a net in this folder; give the file itself")
    return texts[0], models[0] if weights is None and models else weights


def _given(folder: str, pattern: str) -> list[str]:
    """The files of that pattern, those apart that a conversion left beside them."""
    found = sorted(Path(folder).glob(pattern))
    given = [path for path in found if not path.with_suffix(".report.json").exists()]
    return [str(path) for path in given or found]


def _may_be_net(path: Path) -> bool:
    """Whether a prototxt holds layers: a solver or a label map beside a net does not count."""
    try:
        return any(field.name in ("layer", "layers") for field in read(path).fields)
    except InputError:
        return True  # it is refused with its own message when it is read


@contextmanager
def opened(given: Given, scope: Scope) -> Iterator[ComparedNet]:
    """The net that was found, normalised; its caffemodel is open meanwhile.

    Raises:
        InputError: a file is broken, or not what it was given as.
    """
    if given.net is not None:
        yield _normalised(given.net, given, scope)
        return
    if given.document is not None:
        text = net_of(given.document)
        net = pair(text, given.caffemodel)
        if text.is_solver and given.kind == "prototxt":
            given = given._replace(kind="solver")
    else:
        assert given.caffemodel is not None
        net = _net_of_caffemodel(given.caffemodel, parameters=scope.parameters)
    with net:
        yield _normalised(net, given, scope)


def _net_of_caffemodel(path: str, *, parameters: bool) -> Net:
    if detect.is_hdf5(path):
        raise InputError(
            f"{path}: an HDF5 snapshot has neither the types nor the order of its layers; "
            "give its prototxt, with this file as the weights"
        )
    snapshot = open_current(path)
    return Net.of(describe.to_document(snapshot, parameters=parameters), snapshot)


def _normalised(net: Net, given: Given, scope: Scope) -> ComparedNet:
    notes, as_given = list(net.notes), net
    snapshot = given.is_snapshot  # its layers are those of one phase already
    if given.has_weights and not snapshot:
        filled = FillPlaceholders().run(net)
        if filled.changes:
            values = ", ".join(change.detail for change in filled.changes)
            notes.append(f"{given.path}: a template, filled in from the weights: {values}")
        net = filled.net
    net = _with_input_layers(net)
    state = State(scope.phase or "TEST", stages=frozenset(scope.stages))
    selected = net if snapshot else SelectPhase(state).run(net).net
    kept = {id(layer.field.value) for layer in selected.layers}
    others = [
        layer
        for layer in (net.layers if scope.phase is None else ())
        if id(layer.field.value) not in kept and not (scope.ignore_training and _only_trains(layer))
    ]
    if not snapshot:
        unknown = spelling.check(as_given, selected, allow_unknown=True, strict=False)
        notes += map(str, unknown)
    wiring = graph.build(selected)
    notes += [str(problem) for problem in wiring.problems if not snapshot]
    if not snapshot:
        notes += _left_over(net, given)
    inside = len(selected.layers)
    layers = (*selected.layers, *others)
    infos = tuple(
        _info(layer, i, "" if i < inside else _rule(layer, state), scope)
        for i, layer in enumerate(layers)
    )
    fields = Message(tuple(item for item in net.items if isinstance(item, Field)))
    own = {} if scope.structure else net_settings(fields)
    if scope.ignore_training:
        own = {path: value for path, value in own.items() if path == "name"}
    ends = (selected.inputs, tuple(dict.fromkeys(wiring.outputs)))
    files = (given.caffemodel or "", tuple(notes))
    info = NetInfo(given.path, given.kind, net.name, inside, *ends, *files)
    return ComparedNet(info, selected, wiring, layers, infos, own)


def _left_over(net: Net, given: Given) -> Iterator[str]:
    """What to say of records in the caffemodel that the prototxt has no layers for."""
    records = net.weights.layers if net.weights is not None else ()
    left = [record for record in records if record.blobs and record.name not in net.listed]
    merged = [record for record in left if isinstance(op_of(record.type), AffineOp)]
    for group, why in (
        (merged, "left behind by a merge that did not take them out; "),
        ([record for record in left if record not in merged], ""),
    ):
        if group:
            counts = Counter(record.type for record in group)
            kinds = ", ".join(f"{number} {kind}" for kind, number in counts.items())
            names = ", ".join(record.name for record in group[:_NAMED])
            more = ", ..." if len(group) > _NAMED else ""
            yield (
                f"{given.caffemodel}: {counted(len(group), 'layer')} of the caffemodel ({kinds}: "
                f"{names}{more}) are not in {given.path}: {why}no layer uses their numbers"
            )


def _only_trains(layer: Layer) -> bool:
    """Whether it reads a data set, is a loss, or measures."""
    own = op(layer)
    return own.is_data(layer) or own.is_loss(layer) or own.category is Category.MEASURE


def _rule(layer: Layer, state: State) -> str:
    """Why a layer is not in the compared phase: the other phase, or a level or stage."""
    other = "TRAIN" if state.phase == "TEST" else "TEST"
    return other if included(layer, replace(state, phase=other)) else "other"


def _info(layer: Layer, position: int, phase: str, scope: Scope) -> LayerInfo:
    found: SettingMap = {}
    if scope.parameters and not scope.structure:
        found = settings(layer.body, layer.type)
        if scope.ignore_training:
            found = {path: v for path, v in found.items() if not is_training(path, v)}
        elif scope.phase is not None:  # its rules were matched already
            rules = ("include", "exclude")
            found = {path: v for path, v in found.items() if path.partition("[")[0] not in rules}
    shapes = tuple(blob.shape for blob in layer.blobs) if scope.numbers else ()
    in_order = tuple((path, found[path]) for path in sorted(found))
    text = (layer.name, layer.type, layer.bottoms, layer.tops)
    return LayerInfo(*text, in_order, shapes, position, phase)


def _with_input_layers(net: Net) -> Net:
    """The net with one Input layer for each blob from outside, however that was written."""
    shapes = input_shapes(net)

    def layer_of(blob: str) -> Layer:
        shape: Parameters = {"shape": {"dim": shapes[blob]}}
        params: Parameters = {"input_param": shape} if shapes[blob] else {}
        return new_layer(net.document, "Input", blob, (), blob, params, "")

    items: list[Field | Layer] = [layer_of(blob) for blob in net.legacy_inputs]
    for item in net.items:
        if not isinstance(item, Layer):
            items += [item] if item.name not in _LEGACY else []
        elif not item.is_input or (len(item.tops) == 1 and item.name != _UPGRADED_NAME):
            items.append(item)
        else:
            items += map(layer_of, item.tops)
    return replace(net, items=tuple(items))
