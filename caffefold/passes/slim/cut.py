"""Layers without some of their channels: text and weights.

A layer that sums over a gone channel gets what it added, as a bias: ``b' = b + W k`` for the
constant ``k``, in float64, rounded once by the writer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from caffefold.formats.caffemodel.blob import Blob, Floats, array, size
from caffefold.formats.prototxt.tree import (
    Field,
    Message,
    block,
    drop,
    line_break,
    set_scalar,
    set_values,
)
from caffefold.frozen import dataclass
from caffefold.ir.blob import ArrayBlob, Doubles
from caffefold.ir.net import Layer
from caffefold.ops.base import LinearLayout
from caffefold.ops.linear import Convolution
from caffefold.ops.shape import Known
from caffefold.ops.table import op
from caffefold.passes.slim.flow import weight_blocks
from caffefold.passes.slim.units import Mask

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SelectedBlob(Blob):
    """Some rows and columns of ``source``, seen as rows of ``columns`` entries of ``inner``."""

    source: Blob
    shape: tuple[int, ...]
    rows: Places
    """Which rows of the source, of all groups one after another."""
    columns: Places
    """For each of these rows, which columns: (rows, columns)."""
    inner: int
    width: int
    """Numbers of a row of the source."""

    @property
    def step(self) -> int:
        """Elements to read at a time: whole rows, 2 MiB of float32."""
        each = max(1, int(self.columns.shape[1]) * self.inner)
        return max(1, (1 << 19) // each) * each

    def read(self, start: int, stop: int) -> Floats:
        """The elements ``start:stop``."""
        each = self.columns.shape[1] * self.inner
        if stop <= start:
            return np.empty(0, np.float32)
        first, last = start // each, -(-stop // each)
        found = []
        at = first
        while at < last:  # runs of rows that lie together
            end = at + 1
            while end < last and self.rows[end] == self.rows[end - 1] + 1:
                end += 1
            begin = int(self.rows[at]) * self.width
            block = self.source.read(begin, begin + (end - at) * self.width)
            block = block.reshape(end - at, -1, self.inner)
            picked = np.take_along_axis(block, self.columns[at:end, :, None], axis=1)
            found.append(picked.reshape(-1))
            at = end
        flat: Floats = np.concatenate(found)
        return flat[start - first * each : stop - first * each]


class Linear(NamedTuple):
    """What becomes of a linear layer: masks of (groups, inputs) and (groups, outputs) of a group
    that stay, and the constants of the inputs that go."""

    layout: LinearLayout
    inputs: Mask
    outputs: Mask
    constants: Doubles


def cut_linear(layer: Layer, plan: Linear) -> Layer:
    """A linear layer without some inputs and outputs, with what the inputs added."""
    layout, (keep_in, keep_out) = plan.layout, (plan.inputs, plan.outputs)
    groups = np.flatnonzero(keep_out.any(1))
    bias = _with_constants(layer, plan)
    rows, columns, inner = layout.view[1:]
    row_mask, column_mask = (keep_out, keep_in) if layout.outputs_are_rows else (keep_in, keep_out)
    kept_rows = [group * rows + np.flatnonzero(row_mask[group]) for group in groups]
    kept_columns = [
        np.tile(np.flatnonzero(column_mask[group]), (int(row_mask[group].sum()), 1))
        for group in groups
    ]
    own = op(layer)
    shape = list(layer.blobs[0].shape)
    lead = len(shape) - 2 if not isinstance(own, Convolution) else 0  # legacy 1 x 1 x N x K
    shape[lead] = sum(map(len, kept_rows))
    shape[lead + 1] = kept_columns[0].shape[1] * (1 if isinstance(own, Convolution) else inner)
    weights = SelectedBlob(
        layer.blobs[0],
        tuple(shape),
        np.concatenate(kept_rows),
        np.concatenate(kept_columns),
        inner,
        columns * inner,
    )
    made = _resized(layer, int(keep_out.sum()), layout.view[0], len(groups))
    changed = keep_in.all() and keep_out.all()
    return _with_bias(made, layer.blobs[0] if changed else weights, bias, keep_out)


def _with_constants(layer: Layer, plan: Linear) -> Doubles | None:
    """What to add to each output, (groups, outputs of a group); None for nothing."""
    constants = np.where(plan.inputs, 0.0, plan.constants)
    if not constants.any():
        return None
    added = np.zeros(plan.outputs.shape)
    for group, outs, ins, numbers in weight_blocks(layer, plan.layout):
        added[group, outs] += numbers.sum(2) @ constants[group, ins]
    return added if (added * plan.outputs).any() else None


def _with_bias(layer: Layer, weights: Blob, added: Doubles | None, keep: Mask) -> Layer:
    kept = keep.reshape(-1)
    if len(layer.blobs) > 1:
        old = layer.blobs[1]
        if added is None and kept.all():
            return layer.with_blobs((weights, *layer.blobs[1:]))
        numbers = array(old).reshape(-1)
        if added is not None:
            numbers = numbers.astype(np.float64) + added.reshape(-1)
        shape = (*(1,) * (len(old.shape) - 1), int(kept.sum()))
        return layer.with_blobs((weights, ArrayBlob(numbers[kept].reshape(shape))))
    if added is None:
        return layer.with_blobs((weights,))
    layer = _edited(layer, lambda own: replace(own, fields=drop(own.fields, _is_bias_term)))
    return layer.with_blobs((weights, ArrayBlob(added.reshape(-1)[kept])))


def _is_bias_term(field: Field) -> bool:
    return field.name == "bias_term"


def _resized(layer: Layer, outputs: int, before: int, groups: int) -> Layer:
    """The text with other numbers of outputs and of groups."""
    params = op(layer).params(layer)
    if params.integer("num_output") != outputs:
        layer = _edited(layer, lambda own: set_scalar(own, "num_output", str(outputs)))
    if groups != before and params.has("group"):
        layer = _edited(layer, lambda own: set_scalar(own, "group", str(groups)))
    return layer


def _edited(layer: Layer, change: Callable[[Message], Message]) -> Layer:
    """The layer with its parameter message changed."""
    name = op(layer).param
    fields = (f.with_body(change(f.body)) if f.name == name else f for f in layer.body.fields)
    return layer.edited(replace(layer.body, fields=tuple(fields)))


def cut_numbers(layer: Layer, keep: Mask) -> Layer:
    """A layer with numbers for each channel, without those of some."""
    made = []
    for blob in layer.blobs:
        if size(blob) != keep.size:
            made.append(blob)
            continue
        shape = tuple(int(keep.sum()) if extent == keep.size else extent for extent in blob.shape)
        made.append(ArrayBlob(array(blob).reshape(-1)[keep].reshape(shape)))
    return layer.with_blobs(tuple(made))


def cut_points(layer: Layer, extents: list[int]) -> Layer:
    """A Slice whose tops have other extents."""
    name = op(layer).param
    if len(set(extents)) == 1 and not op(layer).params(layer).has("slice_point"):
        return layer
    points = tuple(str(point) for point in np.cumsum(extents)[:-1].tolist())
    if layer.body.message(name) is None:
        indent = line_break(layer.body.fields[-1].lead) or " "
        new = replace(block(name, (), indent), lead=indent)
        layer = layer.edited(replace(layer.body, fields=(*layer.body.fields, new)))
    return _edited(layer, lambda own: set_values(own, "slice_point", points))


def cut_dims(layer: Layer, before: Known, after: Known) -> Layer:
    """A Reshape that makes other extents: of axes from ``axis`` on, where the text has numbers."""
    params = op(layer).params(layer)
    dims = list(params.sub("shape").integers("dim"))
    start = params.integer("axis")
    start += len(before) + 1 if start < 0 else 0
    for i, dim in enumerate(dims):
        extent = after[start + i]
        if dim > 0 and extent is not None and before[start + i] != extent:
            dims[i] = extent

    def changed(own: Message) -> Message:
        shape = own.message("shape")
        if shape is None:
            return own
        made = set_values(shape, "dim", tuple(map(str, dims)))
        fields = (f.with_body(made) if f.name == "shape" else f for f in own.fields)
        return replace(own, fields=tuple(fields))

    return _edited(layer, changed)
