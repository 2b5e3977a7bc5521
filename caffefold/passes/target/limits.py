"""What a consumer is known to refuse, said before a file is written."""

from __future__ import annotations

from caffefold.analysis.shapes import Shapes, infer
from caffefold.errors import Option, UsageError
from caffefold.ir.net import Layer, Net
from caffefold.ops.activation import SOFTMAX
from caffefold.ops.affine import SCALE
from caffefold.ops.linear import DECONVOLUTION, Convolution
from caffefold.ops.shape import ShapeList, canonical
from caffefold.ops.table import in_caffe, op
from caffefold.passes.target.windows import REPEATED, has_two_values
from caffefold.targets import Target

_IMAGE = 4  # axes of the weights of a convolution that has two spatial ones


def check(net: Net, target: Target, dtype: str) -> None:
    """Refuse what ``target`` cannot take.

    Raises:
        TextError: a layer that it does not take; the layer is named, and what to do.
        UsageError: weights of a type that it does not read.
    """
    if dtype not in target.dtypes:
        raise UsageError(
            Option("dtype", dtype), f": {target.title} reads {' and '.join(target.dtypes)} alone"
        )
    shapes = infer(net)
    made: dict[str, int] = {}
    for position, layer in enumerate(net.layers):
        _check_type(layer, target)
        _check_fields(layer, target)
        _check_scale(layer, target)
        _check_groups(layer, target)
        _check_windows(layer, target)
        _check_shapes(layer, position, shapes, target)
        if target.flat_softmax and op(layer) is SOFTMAX:
            _check_softmax(layer, shapes.bottoms[position], target)
        for top in layer.tops:
            if target.static and top in made and top not in layer.bottoms:
                raise layer.error(f"blob '{top}' is made twice, which {target.title} refuses")
            made[top] = position


def _check_type(layer: Layer, target: Target) -> None:
    if target.takes and not layer.is_input and not op(layer).types & target.takes:
        raise layer.error(
            f"{target.title} does not take layer type {layer.type}; it takes "
            f"{', '.join(sorted(target.takes))}"
        )
    if target.upstream_only and not in_caffe(layer) and not op(layer).types & target.types:
        raise layer.error(
            f"{target.title} has no layer type {layer.type}; choose another target, or replace it"
        )


def _check_scale(layer: Layer, target: Target) -> None:
    if target.learned_scale and op(layer) is SCALE and len(layer.bottoms) > 1:
        raise layer.error(
            f"{target.title} does not take a Scale with two bottoms; choose another target, or use "
            "caffefold export"
        )


def _check_groups(layer: Layer, target: Target) -> None:
    """A grouped Deconvolution, unless each group is one channel in and one out."""
    if target.grouped_deconvolution or op(layer) is not DECONVOLUTION:
        return
    groups = DECONVOLUTION.groups(layer)
    inputs = layer.blobs[0].shape[0] if layer.blobs else groups
    if groups > 1 and (
        groups < inputs or groups < DECONVOLUTION.params(layer).integer("num_output")
    ):
        raise layer.error(
            f"{target.title} does not take a Deconvolution of {groups} groups of several channels; "
            "choose another target, or use caffefold export"
        )


def _check_fields(layer: Layer, target: Target) -> None:
    for path, advice in target.refused_fields.items():
        message, _, name = path.partition(".")
        found = layer.body.message(message)
        if found is not None and found.last(name) is not None:
            raise layer.error(f"{target.title} does not read {name} of {message}; {advice}")


def _check_windows(layer: Layer, target: Target) -> None:
    weights = layer.blobs[0].shape if layer.blobs and isinstance(op(layer), Convolution) else ()
    if target.planar and len(weights) > _IMAGE:
        raise layer.error(
            f"{target.title} takes convolutions with two spatial axes, this has {len(weights) - 2}"
        )
    if target.plain_windows and has_two_values(layer):
        raise layer.error(
            f"{target.title} misreads {', '.join(REPEATED)} with a value for each axis; write "
            "kernel_h, kernel_w, pad_h, pad_w, stride_h, stride_w, and one dilation"
        )


def _check_softmax(layer: Layer, bottoms: ShapeList, target: Target) -> None:
    """A Softmax whose blob has more than one number behind each of its axis's."""
    shape = bottoms[0] if bottoms else None
    if shape is None:
        return
    axis = canonical(layer, SOFTMAX.params(layer).integer("axis"), len(shape))
    if set(shape[axis + 1 :]) - {1}:
        shown = "x".join("?" if dim is None else str(dim) for dim in shape)
        raise layer.error(
            f"{target.title} misreads a Softmax along axis {axis} of {shown}: it runs over the "
            "axes behind as well; end the net before it, or use caffefold export"
        )


def _check_shapes(layer: Layer, position: int, shapes: Shapes, target: Target) -> None:
    for top, shape in zip(layer.tops, shapes.tops(position), strict=True):
        if target.static and (shape is None or None in shape):
            raise layer.error(
                f"the shape of '{top}' is not known, and {target.title} needs static shapes"
            )
        if target.most_axes and shape is not None and len(shape) > target.most_axes:
            raise layer.error(
                f"'{top}' has {len(shape)} axes, {target.title} takes {target.most_axes} at most"
            )
