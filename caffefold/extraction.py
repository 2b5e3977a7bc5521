"""The training net that a caffemodel holds, as a prototxt: ``caffefold extract``.

Caffe saves with the weights what it was told of each layer: type, wiring, parameters (net.cpp,
ToProto). Only comments, order of fields and layers of the other phase are gone. What a tool has
stripped, the blobs tell as far as they can: outputs, kernels, groups, whether there is a bias.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from caffefold.analysis.shapes import input_shapes
from caffefold.errors import InputError, Option, Text, TextError
from caffefold.formats import detect
from caffefold.formats.atomic import Staging
from caffefold.formats.caffemodel.describe import Unread, described
from caffefold.formats.caffemodel.open import open_current
from caffefold.formats.prototxt.open import net_of, schema_of
from caffefold.formats.prototxt.parse import parse
from caffefold.formats.prototxt.tree import Message, scalar
from caffefold.formats.schema import Schema
from caffefold.formats.target import check_target
from caffefold.frozen import dataclass
from caffefold.humanize import counted, json_text, some
from caffefold.ir.net import Layer, Net
from caffefold.ops.base import Category
from caffefold.ops.linear import Convolution
from caffefold.ops.shape import Shape, ShapeList, axis_of, first
from caffefold.ops.source import dims
from caffefold.ops.table import is_in_caffe, op, op_of
from caffefold.options import PathLike
from caffefold.passes.deploy.newlayer import message

_ANY_TYPE = frozenset({"transform_param", "loss_param"})
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """The net of one caffemodel."""

    source: str
    target: str
    """The file that was written; "" where none was asked for."""
    net: str
    """What the net is called."""
    layers: int
    text: str
    """The prototxt."""
    inferred: tuple[str, ...]
    """What was not in the file and follows from the blobs, by layer."""
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """The report as a JSON document, without the text where that was written to a file."""
        own = {name: getattr(self, name) for name in self.__slots__}
        if self.target:
            del own["text"]
        return json_text({"schema": 1, **own})


def extract(
    caffemodel: PathLike,
    output: PathLike | None = None,
    *,
    proto: PathLike | None = None,
    force: bool = False,
) -> ExtractReport:
    """Write the prototxt of the net that a caffemodel holds.

    It is the net of the phase that was saved, TRAIN mostly, in today's format whatever the age of
    the file, without the Split layers that Caffe puts in.

    Args:
        caffemodel: the snapshot, binary.
        output: where the prototxt goes; None: nowhere, it is in the report alone.
        proto: the ``caffe.proto`` of the fork that wrote the file, to read its fields by.
        force: replace an existing ``output``.

    Returns:
        The text, and what of it was inferred or left out.

    Raises:
        InputError: the file is missing, broken, something else, or HDF5, which holds no net.
        OutputError: ``output`` exists (without ``force``), is an input, or cannot be written.
    """
    source = os.fspath(caffemodel)
    schema = schema_of(proto)
    target = None if output is None else Path(output)
    if target is not None:
        check_target(Path(source), target, force)
    with net_of_caffemodel(source, schema) as net:
        text = str(net.document)
        warnings = tuple(note for note in net.notes if isinstance(note, Text))
        inferred = tuple(note for note in net.notes if not isinstance(note, Text))
        if target is not None:
            with Staging() as staging:
                staging.write(target, text.encode("utf-8", "surrogateescape"))
                staging.commit()
        shown = "" if target is None else str(target)
        return ExtractReport(source, shown, net.name, len(net), text, inferred, warnings)


def net_of_caffemodel(path: str, schema: Schema, *, certain: bool = False) -> Net:
    """The net that a binary caffemodel holds, with its weights; ``notes`` say what was inferred,
    and as ``Text`` what was left out.

    Raises:
        InputError: the file is missing, broken, something else, or HDF5; or, with ``certain``, a
            layer may compute something else than the text says: what decides it is left out.
    """
    if detect.is_hdf5(path):
        raise InputError(
            f"{path}: an HDF5 snapshot has neither the types nor the order of its layers; "
            "give its prototxt, with this file as the weights"
        )
    weights = open_current(path)
    try:
        text, unread = described(weights, schema, belongs)
        found = net_of(parse(text, path), schema)
        net, inferred = _completed(Net.of(found.document, weights))
        if certain:
            _check_certain(net, unread, inferred)
    except BaseException:
        weights.close()
        raise
    notes = (*found.notes, *inferred, *_left_out(path, unread))
    return replace(net, notes=notes)


def _check_certain(net: Net, unread: Sequence[Unread], inferred: Sequence[str]) -> None:
    """Refuse a net of which it is not known what one of its layers computes."""
    path = net.document.path
    for each in unread:
        if not each.layer:
            continue
        own = op_of(each.type)
        aside = own.category in (Category.DATA, Category.LOSS, Category.MEASURE)
        extra = is_in_caffe(each.type) and "." not in each.field  # beside its own parameters
        if not aside and not extra:
            raise InputError(
                f"{path}: layer '{each.layer}': its field {each.field} is of a fork, so what the "
                f"{each.type} computes is not known; give ",
                Option("proto", "caffe.proto"),
                " of the Caffe that wrote the file, or the prototxt",
            )
    lost = next((note for note in inferred if note.endswith(_GUESS)), None)
    if lost is not None:
        raise InputError(
            f"{path}: {lost}: its parameters were stripped; give the prototxt, or see what is left "
            "with 'caffefold extract'"
        )


def belongs(kind: str, field: str) -> bool:
    """Whether layers of type ``kind`` have the parameter ``field``: forks number their own
    parameters like others of ours, and what they wrote would be read as those."""
    name, flat = field.removesuffix("_param").replace("_", ""), kind.lower()
    if field in _ANY_TYPE or op_of(kind).param == field or flat.startswith(name):
        return True
    data = name.endswith("data") and flat.endswith("data")
    return data and (name == "data" or not is_in_caffe(kind))


def _left_out(path: str, unread: Sequence[Unread]) -> list[Text]:
    if not unread:
        return []
    fields = Counter(each.field for each in unread)
    shown = some([f"{field} ({_of(unread, field)})" for field in fields], _SHOWN)
    layers = counted(len({each.layer for each in unread if each.layer}), "layer")
    return [
        Text(
            f"{path}: fields of {layers} are of a fork and left out: {shown}; give ",
            Option("proto", "caffe.proto"),
            " of the Caffe that wrote the file",
        )
    ]


def _of(unread: Sequence[Unread], field: str) -> str:
    types = dict.fromkeys(each.type or "the net" for each in unread if each.field == field)
    return some([*types], 3)


# ------------------------------------------------------------------------- what blobs imply


def _completed(net: Net) -> tuple[Net, list[str]]:
    """The net with what the text lacks and the blobs imply, and a sentence for each layer."""
    shapes: dict[str, Shape] = {x: dims(shape) for x, shape in input_shapes(net).items() if shape}
    new: dict[int, tuple[Layer, ...]] = {}
    said = []
    for position, layer in enumerate(net.layers):
        bottoms = [shapes.get(blob) for blob in layer.bottoms]
        implied = _implied(layer, bottoms)
        made = layer
        if implied:
            made = _with(layer, implied)
            new[position] = (made,)
            values = ", ".join(f"{k} {' '.join(map(str, v))}" for k, v in implied.items())
            lost = "" if layer.body.message(op(layer).param) else _LOST.get(op(layer).param, "")
            said.append(f"layer '{layer.name}': {values} by its blobs{lost}")
        tops = _tops(made, bottoms)
        for blob, shape in zip(layer.tops, (*tops, *[None] * len(layer.tops)), strict=False):
            shapes[blob] = shape
    if not new:
        return net, []
    document = parse(str(net.substitute(new).to_document()), net.document.path)
    return Net.of(replace(document, schema=net.document.schema), net.weights), said


_GUESS = "stride, pad and dilation are in no blob, and taken as 1, 0, 1"
_LOST = {"convolution_param": f"; {_GUESS}"}


def _implied(layer: Layer, bottoms: ShapeList) -> dict[str, Sequence[int | str]]:
    own = op(layer)
    if not layer.blobs:
        return {}
    try:
        found = own.stated_by_blobs(layer)
        if isinstance(own, Convolution):
            groups = own.missing_groups(layer, axis_of(first(bottoms), 1))
            return found if groups is None else {**found, "group": (groups,)}
    except TextError:  # a value that only a fork knows
        return {}
    return found


def _with(layer: Layer, values: dict[str, Sequence[int | str]]) -> Layer:
    """The layer with more in its parameter message."""
    name, body = op(layer).param, layer.body
    old = body.message(name)
    if old is None:
        made = message(name, values, "  ")
        return layer.edited(replace(body, fields=(*body.fields, made)))
    more = (scalar(key, str(value), "    ") for key, each in values.items() for value in each)
    inner: Message = replace(old, fields=(*old.fields, *more))
    fields = tuple(field.with_body(inner) if field.value is old else field for field in body.fields)
    return layer.edited(replace(body, fields=fields))


def _tops(layer: Layer, bottoms: ShapeList) -> ShapeList:
    try:
        return op(layer).shapes(layer, bottoms) if layer.tops else ()
    except TextError:  # reported where the net is used
        return ()
