"""Do these weights belong to this net? Caffe checks counts and shapes; a missing layer it ignores.

Caffe leaves a layer that the caffemodel does not name at its random filler: the commonest way to a
net that runs and detects nothing. Here it is refused, with the names.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from caffefold.analysis.channels import extents, input_shapes, weight_channels
from caffefold.errors import ModelError, TextError
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net

_CONVOLUTIONS = frozenset({"Convolution", "ConvolutionDepthwise", "DepthwiseConvolution"})
_WITH_BLOBS = _CONVOLUTIONS | {
    "Deconvolution",
    "InnerProduct",
    "BatchNorm",
    "Scale",
    "Bias",
    "PReLU",
    "Normalize",
    "Embed",
    "LSTM",
    "RNN",
}
_AFFINE = frozenset({"BatchNorm", "BN", "Scale", "Bias"})
_SHOWN = 5
_PARAMS = "convolution_param"


def check(net: Net) -> None:
    """Refuse weights that do not fit the net.

    Raises:
        ModelError: layers without weights, or shapes that differ; the first few are named.
    """
    _check_inputs(net)
    missing = [layer for layer in net.layers if wants_blobs(layer) and not layer.blobs]
    _refuse(net, missing, [text for layer in net.layers for text in _differences(layer)])
    _check_channels(net)


def _check_inputs(net: Net) -> None:
    """Refuse input shapes that Caffe's Blob::Reshape refuses (blob.cpp)."""
    for name, shape in input_shapes(net):
        if any(dim < 0 for dim in shape) or prod(shape) >= 1 << 31:
            shown = ", ".join(map(str, shape))
            raise ModelError(
                f"{net.document.path}: input '{name}' has the shape {shown}; sizes are 0 or more, "
                "and at most 2147483647 numbers"
            )


def _check_channels(net: Net) -> None:
    """Refuse inputs whose channels the weights of a layer do not take."""
    wiring = graph.build(net)
    sizes = extents(net, wiring)
    for position, layer in enumerate(net.layers):
        inputs = [sizes[v] for v in wiring.reads[position] if v >= 0]
        wanted = weight_channels(layer, inputs[0].rank if inputs else None)
        found = {extent.channels for extent in inputs} - {None}
        if wanted is not None and found - {wanted} and layer.type in _AFFINE:
            raise layer.error(
                f"it has {wanted} channels, its input {min(c for c in found if c is not None)}; "
                "the caffemodel belongs to another net"
            )
        if wanted is not None and found - {wanted}:
            raise ModelError(
                f"{layer.error(f'its weights take {wanted} channels')}, its input has "
                f"{min(c for c in found if c is not None)}; check the input shape, or the weights"
            )


def check_related(net: Net) -> None:
    """Refuse weights that know less than half of the net's layers, before using their numbers.

    A few missing layers may still be dropped on the way to the deploy net.

    Raises:
        ModelError: naming the first few layers without weights.
    """
    wanting = [layer for layer in net.layers if wants_blobs(layer)]
    missing = [layer for layer in wanting if layer.record is None]
    if 2 * len(missing) > len(wanting):
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
    parts = []
    if missing:
        names = _some([f"'{layer.name}'" for layer in missing])
        parts.append(f"no weights for {len(missing)} layers ({names})")
    parts += [_some(wrong)] if wrong else []
    raise ModelError(
        f"{net.weights.path}: does not belong to {net.document.path}: {'; '.join(parts)}"
        + _hint(net, missing)
    )


def wants_blobs(layer: Layer) -> bool:
    """Whether a layer of this type holds learned numbers."""
    if layer.type == "Scale" and len(layer.bottoms) > 1:
        return layer.params("scale_param").flag("bias_term")
    if layer.type == "Bias" and len(layer.bottoms) > 1:
        return False
    return layer.type in _WITH_BLOBS


def _some(names: list[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _hint(net: Net, missing: list[Layer]) -> str:
    known = {record.name for record in net.weights.layers} if net.weights is not None else set()
    if missing and all(layer.type in ("BatchNorm", "Scale") for layer in missing):
        return "; is this caffemodel already merged? give the prototxt that was written with it"
    if missing and not known.intersection(layer.name for layer in net.layers):
        return "; not one layer name agrees"
    return ""


def _differences(layer: Layer) -> Iterator[str]:
    if not layer.blobs:
        return
    zero = _zero(layer)
    if zero:
        yield f"'{layer.name}' has {zero} 0"
        return
    empty = [i for i, blob in enumerate(layer.blobs) if not prod(blob.shape)]
    if empty and layer.type in _AFFINE | _WITH_BLOBS:
        yield f"'{layer.name}' blob {empty[0]} holds no numbers"
        return
    expected = _expected(layer)
    if expected is None:
        return
    names: tuple[str, ...] = ("weights", "bias", "blob 2")
    if layer.type == "BatchNorm" and len(expected) == 3:
        names = ("mean", "variance", "factor")
    elif layer.type in ("BatchNorm", "BN"):
        names = tuple(f"blob {i}" for i in range(len(expected)))
    if len(layer.blobs) != len(expected):
        merged = ""
        if len(layer.blobs) == 2 and len(expected) == 1 and layer.type in _CONVOLUTIONS:
            merged = " (it has a bias: already merged?)"
        yield (
            f"'{layer.name}' wants {len(expected)} blobs, the caffemodel has "
            f"{len(layer.blobs)}{merged}"
        )
        return
    for name, blob, want in zip(names, layer.blobs, expected, strict=False):
        if not _fits(blob.shape, want):
            shown = "x".join(str(d) if d else "?" for d in want)
            found = "x".join(map(str, blob.shape))
            yield f"'{layer.name}' {name} is {found}, the prototxt says {shown}"


def _zero(layer: Layer) -> str:
    """A size that Caffe wants to be 1 or more, and that is 0 (base_conv_layer.cpp)."""
    if layer.type == "InnerProduct":
        return "" if layer.params("inner_product_param").integer("num_output") else "num_output"
    if layer.type not in _CONVOLUTIONS | {"Deconvolution"}:
        return ""
    params = layer.params(_PARAMS)
    if 0 in params.integers("kernel_size"):
        return "kernel_size"
    return next((name for name in ("num_output", "group") if not params.integer(name)), "")


def _fits(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Shapes agree; 0 is any size, and legacy 4-D shapes may have leading ones."""
    while len(found) > len(wanted) and found[0] == 1:
        found = found[1:]
    if len(found) != len(wanted):
        return not any(d == 0 for d in wanted) and prod(found) == prod(wanted)
    return all(w in (0, f) for f, w in zip(found, wanted, strict=True))


def _expected(layer: Layer) -> list[tuple[int, ...]] | None:
    """Shapes the prototxt implies, 0 where it depends on the input; None when not known here."""
    if layer.type in _CONVOLUTIONS or layer.type == "Deconvolution":
        return _convolution(layer)
    if layer.type == "InnerProduct":
        params = layer.params("inner_product_param")
        outputs = params.integer("num_output")
        weights = (0, outputs) if params.flag("transpose") else (outputs, 0)
        return [weights, (outputs,)] if params.flag("bias_term") else [weights]
    if layer.type in ("BatchNorm", "BN"):
        return _statistics(layer)
    if layer.type == "Scale" and len(layer.bottoms) == 1:
        bias = layer.params("scale_param").flag("bias_term")
        shape = layer.blobs[0].shape
        return [shape, shape] if bias else [shape]
    return None


def _statistics(layer: Layer) -> list[tuple[int, ...]] | None:
    """One number per channel in each blob but the factor, which is third, or last (DIGITS)."""
    count = len(layer.blobs)
    found: list[tuple[int, ...]] = [(prod(layer.blobs[0].shape),)] * count
    if layer.type == "BatchNorm" and count in (3, 5):
        last = count == 5 and prod(layer.blobs[4].shape) == 1
        found[4 if last else 2] = (1,)
        return found
    return found if layer.type == "BN" and count in (2, 4) else None


def _convolution(layer: Layer) -> list[tuple[int, ...]]:
    params = layer.params(_PARAMS)
    outputs, groups = params.integer("num_output"), params.integer("group")
    shape = layer.blobs[0].shape
    kernel = params.integers("kernel_size")
    if params.has("kernel_h") or params.has("kernel_w"):
        kernel = (params.integer("kernel_h"), params.integer("kernel_w"))
    axes = max(len(shape) - 2, 0)
    kernel = kernel * axes if len(kernel) == 1 else kernel
    per_group = outputs // max(groups, 1)
    channels = (0, per_group) if layer.type == "Deconvolution" else (outputs, 0)
    weights = (*channels, *(kernel or (0,) * axes))
    return [weights, (outputs,)] if params.flag("bias_term") else [weights]
