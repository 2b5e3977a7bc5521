"""Do these weights belong to this net? Caffe checks counts and shapes; a missing layer it ignores.

Caffe leaves a layer that the caffemodel does not name at its random filler: the commonest way to a
net that runs and detects nothing. Here it is refused, with the names.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from caffefold.errors import ModelError, TextError
from caffefold.model import graph
from caffefold.model.extent import extents
from caffefold.model.net import Layer, Net

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
_SHOWN = 5


def check(net: Net) -> None:
    """Refuse weights that do not fit the net.

    Raises:
        ModelError: layers without weights, or shapes that differ; the first few are named.
    """
    missing = [layer for layer in net.layers if wants_blobs(layer) and not layer.blobs]
    _refuse(net, missing, [text for layer in net.layers for text in _differences(layer)])
    _check_channels(net)


def _check_channels(net: Net) -> None:
    """Refuse inputs whose channels the weights of a convolution do not take."""
    wiring = graph.build(net)
    sizes = extents(net, wiring)
    for position, layer in enumerate(net.layers):
        if not layer.blobs or layer.type not in _CONVOLUTIONS | {"Deconvolution"}:
            continue
        shape = layer.blobs[0].shape
        groups = layer.params("convolution_param").integer("group")
        if layer.type not in ("Convolution", "Deconvolution") and shape[1] == 1:
            groups = shape[0]
        wanted = shape[0] if layer.type == "Deconvolution" else shape[1] * groups
        found = {sizes[v].channels for v in wiring.reads[position] if v >= 0} - {None}
        if found - {wanted}:
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
    expected = _expected(layer)
    if expected is None:
        return
    names = ("weights", "bias", "blob 2")
    if layer.type == "BatchNorm":
        names = ("mean", "variance", "factor")
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
    if layer.type == "BatchNorm" and len(layer.blobs) == 3:
        channels = prod(layer.blobs[0].shape)
        return [(channels,), (channels,), (1,)]
    if layer.type == "Scale" and len(layer.bottoms) == 1:
        bias = layer.params("scale_param").flag("bias_term")
        shape = layer.blobs[0].shape
        return [shape, shape] if bias else [shape]
    return None


def _convolution(layer: Layer) -> list[tuple[int, ...]]:
    params = layer.params("convolution_param")
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
