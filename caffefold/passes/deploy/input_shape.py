"""The shape of one net input: the one place where it is decided.

In this order: what the user gives; crop, resize and declared sizes of the data layer, channels from
the weights that read it; height and width for which the fully connected layers fit
(model/solve.py). Batch 1, unless asked for. What nothing tells is asked for, with its line.
"""

from __future__ import annotations

from typing import NamedTuple

from caffefold.errors import MissingShape, Option, Text
from caffefold.ir.graph import Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops import image
from caffefold.ops.base import Same, Split
from caffefold.ops.linear import INNER_PRODUCT
from caffefold.ops.source import DUMMY_DATA
from caffefold.ops.table import op
from caffefold.options import DeployOptions

# Blobs whose shape is the same in every net of the family (py-faster-rcnn, proposal_layer.py).
_KNOWN = {"im_info": (1, 3), "rois": (1, 5)}
_COLOUR = 3


class Decided(NamedTuple):
    """The shape, a warning when a part of it is a guess, and what the weights told of it."""

    dims: tuple[int, ...]
    warning: str = ""
    why: str = ""
    """What a size was solved from."""


class Source(NamedTuple):
    """Where an input comes from: a top of a data layer, or a part cut from it.

    ``blob`` is how the deploy net calls it, ``version`` its value in the training net.
    """

    layer: Layer
    top: int
    blob: str
    version: int
    channels: int = 0
    """Of the part that was cut; 0: the whole."""


def decide(net: Net, wiring: Graph, source: Source, options: DeployOptions) -> Decided:
    """The shape of the input ``source``.

    Raises:
        MissingShape: neither the net nor the options give it.
    """
    given = options.input_shapes.get(source.blob)
    if given is not None:
        return Decided(given)
    layer = source.layer
    batch = options.batch or 1
    if op(layer) is DUMMY_DATA:
        dims = DUMMY_DATA.dims(layer)[source.top]
        keeps = options.batch is None and any(op(x).recurrent for x in net.layers)
        if dims:  # in sequences the first axis is time, not images
            return Decided(dims if keeps else (batch, *dims[1:]))
    if source.blob in _KNOWN:
        known = _KNOWN[source.blob]
        return Decided((batch, *known[1:]) if source.blob == "im_info" else known)
    height = width = channels = 0
    warning = ""
    if image.is_image_layer(layer) and source.top == 0:
        height, width = image.image_size(layer)
        channels = source.channels or _weight_channels(net, wiring, source)
        channels = channels or image.declared_channels(layer)
        if not channels and height and net.weights is None:
            channels = max(_COLOUR, _cut_channels(net, wiring, source.version))
            warning = Text(
                f"layer '{layer.name}': nothing tells how many channels '{source.blob}' has; "
                f"{channels} are assumed (",
                Option("input_shapes", f"{source.blob}=..."),
                " sets them)",
            )
    if channels and height and width:
        frames = image.clip_length(layer)
        clip = (frames,) if frames > 1 else ()
        return Decided((batch, channels, *clip, height, width), warning)
    solved, why = _solved(net, wiring, source, batch, channels, options)
    if solved is not None:
        return solved
    raise _unknown(source, batch, channels, height, width, why)


def _solved(
    net: Net, wiring: Graph, source: Source, batch: int, channels: int, options: DeployOptions
) -> tuple[Decided | None, str]:
    """The shape for which the InnerProducts behind the input fit; else what speaks against one."""
    if net.weights is None:
        return None, ""
    flat = _flat(net, wiring, source)
    if flat:
        return Decided((batch, flat), "", f"the weights take {flat} numbers"), ""
    from caffefold.analysis.input_size import input_size  # seldom needed

    layer = source.layer
    channels = channels or source.channels or _weight_channels(net, wiring, source)
    found = input_size(net, layer.tops[source.top], channels or None, dict(options.input_shapes))
    if found.size is None or not (channels or found.channels):
        return None, found.why
    dims = (batch, channels or found.channels or 0, *found.size)
    shown = "x".join(map(str, dims))
    warning = Text(
        f"layer '{layer.name}': '{source.blob}' is taken as {shown}: {found.why} (",
        Option("input_shapes", f"{source.blob}=..."),
        " sets another shape)",
    )
    if not found.certain:
        return Decided(dims, warning), ""
    return Decided(dims, "", found.why), ""


def _flat(net: Net, wiring: Graph, source: Source) -> int:
    """How many numbers InnerProducts read of an input that holds no images; 0 for images."""
    if image.is_image_layer(source.layer) and source.top == 0:
        return 0
    found = 0
    for reader in wiring.versions[source.version].readers:
        layer = net.layers[reader]
        if op(layer) is not INNER_PRODUCT or INNER_PRODUCT.params(layer).integer("axis") != 1:
            return 0
        found = INNER_PRODUCT.inputs(layer) or 0
        if not found:
            return 0
    return found


def _unknown(
    source: Source, batch: int, channels: int, height: int, width: int, why: str
) -> MissingShape:
    if not (channels or height):
        what = "shape"
    else:
        missing = [n for n, v in (("channels", channels), ("height and width", height)) if not v]
        what = " and ".join(missing)
    reason = f" ({why})" if why else ""
    where = source.layer.error(f"it does not tell the {what} of '{source.blob}'{reason}")
    known = (batch, channels or None, height or None, width or None)
    return MissingShape(str(where), blob=source.blob, layer=source.layer.name, known=known)


def _cut_channels(net: Net, wiring: Graph, version: int) -> int:
    """The fewest channels a blob can have that is cut along them; 0 when it is not."""
    found = 0
    for reader in wiring.versions[version].readers:
        layer = net.layers[reader]
        flow = op(layer).channels(layer, [None])
        if isinstance(flow, Split):
            found = max(found, *(point + 1 for point in flow.points), 0)
    return found


def _weight_channels(net: Net, wiring: Graph, source: Source) -> int:
    """Channels as the weights fix them: of the first layers, else of any further behind; else 0."""
    near = _channels(net, wiring, source.version)
    if near or net.weights is None:
        return near
    from caffefold.analysis.channels import channels_of  # seldom needed

    return channels_of(net, source.blob) or 0


def _channels(net: Net, wiring: Graph, version: int) -> int:
    """Channels of a blob, from the weights of the first layers that read it; 0 when unknown."""
    seen: set[int] = set()
    queue = [version]
    while queue:
        current = queue.pop(0)
        if current in seen:
            continue
        seen.add(current)
        for reader in wiring.versions[current].readers:
            layer = net.layers[reader]
            wanted = op(layer).input_channels(layer)
            if wanted is not None:
                return wanted
            if len(layer.bottoms) == 1 and isinstance(op(layer).channels(layer, [None]), Same):
                queue += wiring.writes[reader]
    return 0
