"""Do these weights belong to this net? Caffe checks counts and shapes; a missing layer it ignores.

Caffe leaves a layer that the caffemodel does not name at its random filler: the commonest way to a
net that runs and detects nothing. Here it is refused, with the names.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from caffefold.analysis.shapes import infer, input_shapes
from caffefold.errors import ForeignWeights, ModelError, TextError
from caffefold.humanize import some
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import Normalization, Scale
from caffefold.ops.base import AffineOp, LinearOp, WeightSpec
from caffefold.ops.filler import fillers
from caffefold.ops.linear import CONVOLUTION
from caffefold.ops.shape import LARGEST, ShapeList, show, too_large
from caffefold.ops.table import op


def check(net: Net) -> None:
    """Refuse weights that do not fit the net.

    Raises:
        ForeignWeights: layers without weights, or shapes that differ; the first few are named.
        ModelError: an input, or the channels of a layer, have a size that nothing fits.
    """
    check_inputs(net)
    missing = [layer for layer in net.layers if wants_blobs(layer) and not layer.blobs]
    _refuse(net, missing, [text for layer in net.layers for text in _differences(layer)])
    _check_channels(net)


def check_inputs(net: Net) -> None:
    """Refuse inputs of sizes that no blob has.

    Raises:
        ModelError: naming the input and its shape.
    """
    for name, shape in input_shapes(net).items():
        if any(dim < 0 for dim in shape) or too_large(shape):
            shown = ", ".join(map(str, shape))
            raise ModelError(
                f"{net.document.path}: input '{name}' has the shape {shown}; sizes must be "
                f"0 or more, with at most {LARGEST} elements"
            )


def _check_channels(net: Net) -> None:
    """Refuse inputs whose channels the weights of a layer do not take."""
    shapes = infer(net)
    for position, layer in enumerate(net.layers):
        reads = shapes.graph.reads[position]
        counts = sorted({c for version in reads if (c := shapes.channels(version)) is not None})
        rank = shapes.rank(reads[0]) if reads else None
        wanted = op(layer).input_channels(layer, rank, counts[0] if counts else None)
        least = next((count for count in counts if count != wanted), None)
        if wanted is None or least is None:
            continue
        if isinstance(op(layer), LinearOp):
            raise ModelError(
                f"{layer.error(f'its weights expect {wanted} channels')}, its input has {least}; "
                "check the input shape, or the weights"
            )
        raise layer.error(
            f"it has {wanted} channels, its input {least}; the caffemodel belongs to another net"
        )


def check_related(net: Net) -> None:
    """Refuse weights that know less than half of the net's layers, before using their numbers.

    A few missing layers may still be dropped on the way to the deploy net.

    Raises:
        ForeignWeights: naming the first few layers without weights.
    """
    wanting = [layer for layer in net.layers if wants_blobs(layer)]
    missing = [layer for layer in wanting if layer.record is None]
    if 2 * sum(not _filler(layer, known=True) for layer in missing) > len(wanting):
        _refuse(net, missing, [text for layer in wanting for text in known_differences(layer)])


def known_differences(layer: Layer) -> list[str]:
    """Where a layer's blobs contradict its text, in sentences; what still is a placeholder fits."""
    try:
        return list(_differences(layer))
    except TextError:
        return []


def _refuse(net: Net, missing: list[Layer], wrong: list[str]) -> None:
    assert net.weights is not None
    if not missing and not wrong:
        return
    parts = [some(wrong)] if wrong else []
    hint = ""
    if missing:
        names = some([f"'{layer.name}'{_filler(layer, known=False)}" for layer in missing])
        parts.insert(0, f"no weights for {len(missing)} layers ({names})")
        known = {record.name for record in net.weights.layers}
        if all(isinstance(op(layer), (Normalization, Scale)) for layer in missing):
            hint = "; is this caffemodel already merged? give the prototxt that was written with it"
        elif not known.intersection(layer.name for layer in net.layers):
            hint = "; no layer name matches"
    called = net.weights.name
    if called and called != net.name:
        hint += f"; the net of this caffemodel is called '{called}'"
    raise ForeignWeights(
        f"{net.weights.path}: does not belong to {net.document.path}: {'; '.join(parts)}{hint}",
        weights=net.weights.path,
        called=called,
    )


def _filler(layer: Layer, *, known: bool) -> str:
    """The filler of a layer's weights in brackets, if the text has one and its numbers are
    ``known``, or are random."""
    own = op(layer)
    try:
        how = fillers(own, layer, list(own.fillers)[:1])
    except TextError:
        return ""
    return f" ({how[0]} filler)" if how and how[0].known == known else ""


def wants_blobs(layer: Layer) -> bool:
    """Whether a layer of this type holds learned numbers."""
    return op(layer).wants_weights(layer)


def _differences(layer: Layer) -> Iterator[str]:
    if not layer.blobs:
        return
    own = op(layer)
    if isinstance(own, LinearOp) and (field := own.empty_field(layer)):
        yield f"'{layer.name}' has {field} 0"
        return
    empty = [i for i, blob in enumerate(layer.blobs) if not prod(blob.shape)]
    if empty and (isinstance(own, AffineOp) or own.wants_weights(layer)):
        yield f"'{layer.name}' blob {empty[0]} holds no numbers"
        return
    expected = own.weights(layer, [None] * len(layer.bottoms))
    if not expected:
        return
    if len(layer.blobs) != len(expected):
        merged = own is CONVOLUTION and (len(layer.blobs), len(expected)) == (2, 1)
        yield (
            f"'{layer.name}' needs {len(expected)} blobs, the caffemodel has {len(layer.blobs)}"
            + (" (it has a bias: already merged?)" if merged else "")
        )
        return
    for spec, blob in zip(expected, layer.blobs, strict=True):
        if not _fits(blob.shape, spec):
            found, wanted = show(blob.shape), show(spec.shape)
            yield f"'{layer.name}' {spec.role} is {found}, the prototxt requires {wanted}"


def modern_shapes(layer: Layer, bottoms: ShapeList) -> tuple[tuple[int, ...] | None, ...]:
    """The shape of each blob as Caffe holds it, which files of V1 pad to four axes; None where
    the text does not say."""
    if not any(blob.stored is not None and blob.stored.legacy for blob in layer.blobs):
        return tuple(blob.shape for blob in layer.blobs)
    try:
        wanted = op(layer).weights(layer, bottoms) or ()
    except TextError:  # a layer that is passed through as it is
        wanted = ()
    if len(wanted) != len(layer.blobs):
        return (None,) * len(layer.blobs)
    return tuple(_modern(blob.shape, spec) for blob, spec in zip(layer.blobs, wanted, strict=True))


def _modern(found: tuple[int, ...], spec: WeightSpec) -> tuple[int, ...] | None:
    padding = max(0, len(found) - len(spec.shape))
    rest = found[padding:]
    fits = prod(found[:padding]) == 1 and len(rest) == len(spec.shape)
    same = fits and all(want in (None, have) for want, have in zip(spec.shape, rest, strict=True))
    return rest if same else None


def _fits(found: tuple[int, ...], spec: WeightSpec) -> bool:
    """Shapes agree; None is any size, and legacy 4-D shapes may have leading ones."""
    wanted = spec.shape
    while len(found) > len(wanted) and found[0] == 1:
        found = found[1:]
    if len(found) != len(wanted):
        known = [dim for dim in wanted if dim is not None]
        return len(known) == len(wanted) and prod(found) == prod(known)
    return all(want in (None, have) for want, have in zip(wanted, found, strict=True))
