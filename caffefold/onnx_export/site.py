"""Where a layer becomes operators: its blobs under their names in the model, and what it adds.

Names are users' own: a node that makes a top is called like its layer, a value like its blob. What
lies between is ``LAYER/OPERATOR``; weights are ``LAYER/ROLE``.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from caffefold.errors import Option, TextError
from caffefold.formats import onnx
from caffefold.formats.caffemodel.blob import Blob, size
from caffefold.formats.caffemodel.precision import FLOAT32
from caffefold.formats.caffemodel.write import Numbers
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import Params
from caffefold.ops.base import Op
from caffefold.ops.shape import Dim, Known, Shape, show
from caffefold.ops.table import op

Target: TypeAlias = Literal["ort", "opencv5", "openvino", "tensorrt"]
Attributes: TypeAlias = Mapping[str, onnx.Attribute]
Suppression: TypeAlias = Literal["inside", "outside"]
AXES_ARE_INPUTS = 18
"""From this opset on, all reductions take their axes as an input; before, only ReduceSum does."""
LARGEST_CONSTANT = 1 << 26
LONGEST_SEQUENCE = 4096
"""Steps of a recurrent layer: each becomes a dozen nodes."""
_KINDS = {"float32": onnx.FLOAT, "int64": onnx.INT64, "bool": onnx.BOOL, "uint8": onnx.UINT8}


class Settings(NamedTuple):
    """What lowering depends on beside the net."""

    opset: int = 13
    nms: Suppression = "inside"
    target: Target = "ort"
    allow_custom: bool = False


class Output(NamedTuple):
    """An output in place of a top: boxes and scores in place of detections."""

    name: str
    shape: Known


class Parts:
    """The nodes and tensors of a model being made."""

    def __init__(self, settings: Settings, values: Iterable[str], net: Net) -> None:
        self.settings = settings
        self._source = net.document.source
        self._breaks = [match.start() for match in re.finditer("\n", self._source)]
        self.nodes: list[onnx.Node] = []
        self.tensors: list[onnx.Tensor] = []
        self.replaced: dict[str, tuple[Output, ...]] = {}
        """What stands in place of a value that is not made."""
        self._values = set(values)
        self._nodes = {layer.name for layer in net.layers}
        self._owners: set[str] = set()

    def line(self, layer: Layer) -> int:
        """The line of the prototxt that a layer starts in; 0 for one that was made."""
        offset = layer.field.offset
        if offset < 0 or layer.document.source is not self._source:
            return 0
        return bisect_left(self._breaks, offset) + 1

    def value(self, name: str) -> str:
        """``name``, or with a number behind it where another value has it."""
        return _unique(name, self._values)

    def node(self, name: str) -> str:
        """``name``, or with a number behind it where another node has it."""
        return _unique(name, self._nodes)

    def owned(self, layer: str) -> str:
        """The layer's own name for its first node, further names for the others."""
        if layer in self._owners:
            return self.node(layer)
        self._owners.add(layer)
        return layer


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


class Site:
    """One layer, with its blobs as values of the model. Its operators are added in order."""

    def __init__(
        self, parts: Parts, layer: Layer, bottoms: Sequence[str], shapes: Sequence[Shape],
        tops: Sequence[str], made: Sequence[Shape],
    ) -> None:  # fmt: skip
        self._parts = parts
        self.layer = layer
        self.bottoms = tuple(bottoms)
        self.shapes = tuple(shapes)
        """What the bottoms look like; where a lowering asks for it, known."""
        self.tops = tuple(tops)
        self.made = tuple(made)
        """What the tops look like."""
        self.settings = parts.settings
        line = parts.line(layer)
        self._doc = f"{layer.type}, line {line}" if line else layer.type

    # --------------------------------------------------------------------------- what is known

    @property
    def op(self) -> Op:
        """What the layer is."""
        return op(self.layer)

    @property
    def params(self) -> Params:
        """The layer's parameters."""
        return self.op.params(self.layer)

    @property
    def x(self) -> str:
        """The first bottom."""
        return self.bottoms[0]

    @property
    def shape(self) -> Known:
        """What the first bottom looks like.

        Raises:
            TextError: not even its number of axes is known.
        """
        return self.rank_known(0)

    @property
    def rank(self) -> int:
        """How many axes the first bottom has."""
        return len(self.shape)

    def rank_known(self, bottom: int) -> Known:
        """The shape of a bottom; extents in it may be unknown.

        Raises:
            TextError: not even its number of axes is known.
        """
        found = self.shapes[bottom]
        if found is None:
            raise self.unknown(self.layer.bottoms[bottom], found)
        return found

    def extents(self, bottom: int, start: int = 0) -> tuple[int, ...]:
        """The extents of a bottom from axis ``start`` on.

        Raises:
            TextError: one of them is not known.
        """
        found = self.rank_known(bottom)[start:]
        if None in found:
            raise self.unknown(self.layer.bottoms[bottom], self.shapes[bottom])
        return tuple(dim for dim in found if dim is not None)

    def unknown(self, blob: str, shape: Shape) -> TextError:
        """The error for a blob whose shape has to be known."""
        error = self.error(f"the shape of its input '{blob}' is not known ({show(shape)})")
        first = shape is not None and shape[:1] == (None,) and None not in shape[1:]
        if first:
            return error.advised("; give ", Option("batch", "N"), " instead of a dynamic batch")
        return error.advised("; give ", Option("input_shapes", "BLOB=N,C,H,W"))

    def error(self, message: str) -> TextError:
        """An error that names the layer."""
        return self.layer.error(message)

    # ------------------------------------------------------------------------------ operators

    def add(
        self, kind: str, *inputs: str, top: int | None = None, **attributes: onnx.Attribute
    ) -> str:
        """Add an operator with one output; the value it makes, which may be a top."""
        return self.add_many(kind, inputs, (top,), **attributes)[0]

    def add_many(
        self,
        kind: str,
        inputs: Sequence[str],
        tops: Sequence[int | None],
        **attributes: onnx.Attribute,
    ) -> tuple[str, ...]:
        """Add an operator; the values it makes, each a top or a value in between."""
        return self._add(kind, inputs, tops, attributes)

    def add_custom(self, domain: str, inputs: Sequence[str], attributes: Attributes) -> None:
        """Add a node of another domain than ONNX's that makes all tops, called like the type."""
        self._add(self.layer.type, inputs, range(len(self.tops)), attributes, domain)

    def _add(
        self, kind: str, inputs: Sequence[str], tops: Sequence[int | None],
        attributes: Attributes, domain: str = "",
    ) -> tuple[str, ...]:  # fmt: skip
        inner = f"{self.layer.name}/{kind}"
        made = tuple(self._parts.value(inner) if at is None else self.tops[at] for at in tops)
        own = any(at is not None for at in tops)
        name = self._parts.owned(self.layer.name) if own else self._parts.node(inner)
        self._parts.nodes.append(
            onnx.Node(name, kind, tuple(inputs), made, attributes, self._doc, domain)
        )
        return made

    def const(self, numbers: ArrayLike, name: str = "const", kind: str = "float32") -> str:
        """Numbers as a constant: rounded once to float32, or of another kind."""
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.ascontiguousarray(numbers, dtype=kind).reshape(np.shape(numbers))
        data = values.astype(values.dtype.newbyteorder("<")).tobytes()
        made = self._parts.value(f"{self.layer.name}/{name}")
        self._parts.tensors.append(onnx.Tensor(made, values.shape, _KINDS[kind], data))
        return made

    def afford(self, *extents: int) -> None:
        """Refuse constants of a size that only numbers in the text ask for, before they are made.

        Raises:
            TextError: they would hold more than 2^26 numbers.
        """
        if prod(extents) > LARGEST_CONSTANT:
            raise self.error(f"it would take a constant of {prod(extents)} numbers")

    def ints(self, numbers: ArrayLike, name: str = "ints") -> str:
        """Integers as a constant of int64."""
        return self.const(numbers, name, "int64")

    def weight(self, index: int, shape: Sequence[int], role: str) -> str:
        """A stored blob as a tensor of ``shape``: its numbers stay in their file.

        Raises:
            TextError: there is no such blob, or it has another number of elements.
        """
        shape = tuple(shape)
        if index >= len(self.layer.blobs):
            error = self.error(f"there are no numbers for its {role}; give the CAFFEMODEL")
            raise error if not self.layer.blobs else self.error(f"its {role} is not stored")
        blob = self.layer.blobs[index]
        if size(blob) != prod(shape):
            raise self.error(f"its {role} holds {size(blob)} numbers, it needs {show(shape)}")
        return self.tensor(blob, shape, role, f"layer '{self.layer.name}': blob {index}")

    def tensor(self, blob: Blob, shape: tuple[int, ...], role: str, what: str) -> str:
        """The numbers of a blob as a tensor."""
        made = self._parts.value(f"{self.layer.name}/{role}")
        numbers = Numbers(blob, what, FLOAT32)
        self._parts.tensors.append(onnx.Tensor(made, shape, onnx.FLOAT, numbers))
        return made

    def vector(self, index: int, role: str) -> NDArray[np.float64]:
        """A stored blob as float64 numbers, for what is computed now.

        Raises:
            TextError: there is no such blob.
        """
        if index >= len(self.layer.blobs):
            raise self.error(f"there are no numbers for its {role}; give the CAFFEMODEL")
        blob = self.layer.blobs[index]
        return blob.read(0, size(blob)).astype(np.float64)

    # ------------------------------------------------------------------------ what often comes

    def reshape(self, value: str, shape: Known, top: int | None = None, like: Shape = None) -> str:
        """``value`` in another shape; an unknown extent is copied from ``like``, or inferred.

        Raises:
            TextError: more extents are unknown than can be inferred.
        """
        source = self.shapes[0] if like is None and self.shapes else like
        dims: list[int] = []
        for axis, dim in enumerate(shape):
            if dim is not None:
                dims.append(dim)
            elif source is not None and axis < len(source) and source[axis] is None:
                dims.append(0)
            else:
                dims.append(-1)
        if dims.count(-1) > 1:
            raise self.error(f"the shape of its output is not known ({show(shape)})").advised(
                "; give ", Option("input_shapes", "BLOB=N,C,H,W")
            )
        return self.add("Reshape", value, self.ints(dims, "shape"), top=top)

    def slice(
        self, value: str, axes: Sequence[int], starts: Sequence[int], ends: Sequence[int],
        top: int | None = None,
    ) -> str:  # fmt: skip
        """``value`` cut along some axes."""
        limits = (self.ints(starts, "starts"), self.ints(ends, "ends"), self.ints(axes, "axes"))
        return self.add("Slice", value, *limits, top=top)

    def reduce(
        self, kind: str, value: str, axes: Sequence[int], *, keep: bool = True,
        top: int | None = None,
    ) -> str:  # fmt: skip
        """A reduction along ``axes``; all axes of a value without axes."""
        if kind == "ReduceSum" or self.settings.opset >= AXES_ARE_INPUTS:
            inner = self.ints(list(axes), "axes")
            return self.add(kind, value, inner, top=top, keepdims=int(keep))
        return self.add(kind, value, top=top, axes=list(axes), keepdims=int(keep))

    def scaled(self, value: str, factor: float, top: int | None = None) -> str:
        """``value`` times a number; without a node for 1, unless it is a top."""
        if factor == 1:
            return value if top is None else self.add("Identity", value, top=top)
        return self.add("Mul", value, self.const(factor, "factor"), top=top)

    def moved(self, value: str, shift: float, top: int | None = None) -> str:
        """``value`` plus a number; without a node for 0, unless it is a top."""
        if shift == 0:
            return value if top is None else self.add("Identity", value, top=top)
        return self.add("Add", value, self.const(shift, "shift"), top=top)

    def padded(
        self, value: str, begins: Sequence[int], ends: Sequence[int], fill: float = 0.0,
        top: int | None = None, lead: int = 2,
    ) -> str:  # fmt: skip
        """``value`` with ``fill`` around its axes from ``lead`` on."""
        before, after = (*(0,) * lead, *begins), (*(0,) * lead, *ends)
        if not any((*before, *after)):
            return value if top is None else self.add("Identity", value, top=top)
        inputs = [value, self.ints([*before, *after], "pads")]
        if fill:
            inputs.append(self.const(fill, "fill"))
        return self.add("Pad", *inputs, top=top, mode="constant")

    def joined(self, values: Sequence[str], axis: int, top: int | None = None) -> str:
        """``values`` one after another along an axis."""
        if len(values) == 1:
            return values[0] if top is None else self.add("Identity", values[0], top=top)
        return self.add("Concat", *values, top=top, axis=axis)

    def extent(self, value: str, axis: int, known: Dim) -> str:
        """The extent of an axis as a vector of one int64; a constant where it is known."""
        if known is not None:
            return self.ints([known], "extent")
        whole = self.add("Shape", value)
        return self.slice(whole, [0], [axis], [axis + 1])

    def batch(self) -> Dim:
        """The extent of the first axis of the first bottom."""
        return self.shape[0] if self.shape else 1

    def instead(self, top: int, *outputs: Output) -> None:
        """Say that these values stand in place of a top, which is not made."""
        self._parts.replaced[self.tops[top]] = outputs

    def named(self, name: str) -> str:
        """A value of this name that no other has, to be made by ``add_as``."""
        return self._parts.value(name)

    def add_as(self, name: str, kind: str, *inputs: str, **attributes: onnx.Attribute) -> None:
        """Add an operator whose output is called ``name``."""
        node = self._parts.node(f"{self.layer.name}/{kind}")
        self._parts.nodes.append(onnx.Node(node, kind, inputs, (name,), attributes, self._doc))
