"""The shape of one net input: the one place where it is decided.

In this order: what the user gives; crop, resize and declared sizes of the data layer, channels from
the weights that read it; height and width for which the fully connected layers fit
(analysis/input_size.py). Batch 1, unless asked for. Where that leaves something open, the shape is
required of the user.
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
    """The shape, a warning when a part of it is a guess, and what a size was solved from."""

    dims: tuple[int, ...]
    warning: str = ""
    why: str = ""


class DataTop(NamedTuple):
    """Where an input comes from: a top of a data layer, or a part cut from it."""

    layer: Layer
    top: int
    blob: str
    """What the deploy net calls it."""
    version: int
    """Its value in the training net."""
    part: int = 0
    """Channels of the part that was cut; 0: the whole."""

    @property
    def is_image(self) -> bool:
        """Whether it holds images."""
        return image.is_image_layer(self.layer) and self.top == 0

    def warning(self, before: str, after: str) -> str:
        """A warning with the option that sets another shape."""
        asked = Option("input_shapes", f"{self.blob}=...")
        return Text(f"layer '{self.layer.name}': {before} (", asked, after)


def decide(net: Net, wiring: Graph, source: DataTop, options: DeployOptions) -> Decided:
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
    if source.is_image:
        height, width = image.image_size(layer)
        channels = _weight_channels(net, wiring, source) or image.declared_channels(layer)
        if not channels and height and net.weights is None:
            channels = max(_COLOUR, _cut_channels(net, wiring, source.version))
            guess = f"nothing tells how many channels '{source.blob}' has; {channels} are assumed"
            warning = source.warning(guess, " sets them)")
    if channels and height and width:
        frames = image.clip_length(layer)
        clip = (frames,) if frames > 1 else ()
        return Decided((batch, channels, *clip, height, width), warning)
    why = ""
    if net.weights is not None:
        solved = _solved(net, wiring, source, batch, channels, options)
        if isinstance(solved, Decided):
            return solved
        why = f" ({solved})" if solved else ""
    missing = [n for n, v in (("channels", channels), ("height and width", height)) if not v]
    what = " and ".join(missing) if channels or height else "shape"
    where = layer.error(f"it does not tell the {what} of '{source.blob}'{why}")
    open_ends = (batch, channels or None, height or None, width or None)
    raise MissingShape(str(where), blob=source.blob, layer=layer.name, known=open_ends)


def _solved(
    net: Net, wiring: Graph, source: DataTop, batch: int, channels: int, options: DeployOptions
) -> Decided | str:
    """The shape for which the InnerProducts behind the input fit; else what speaks against one."""
    flat = 0 if source.is_image else _flat(net, wiring, source.version)
    if flat:
        return Decided((batch, flat), "", f"the weights take {flat} numbers")
    from caffefold.analysis.input_size import input_size  # seldom needed

    channels = channels or _weight_channels(net, wiring, source)
    blob = source.layer.tops[source.top]
    found = input_size(net, blob, channels or None, dict(options.input_shapes))
    channels = channels or found.channels or 0
    if found.size is None or not channels:
        return found.why
    dims = (batch, channels, *found.size)
    if found.certain:
        return Decided(dims, "", found.why)
    guess = f"'{source.blob}' is taken as {'x'.join(map(str, dims))}: {found.why}"
    return Decided(dims, source.warning(guess, " sets another shape)"))


def _flat(net: Net, wiring: Graph, version: int) -> int:
    """How many numbers InnerProducts, the only readers, read of each item; 0 when others do."""
    found = 0
    for reader in wiring.versions[version].readers:
        layer = net.layers[reader]
        if op(layer) is not INNER_PRODUCT or INNER_PRODUCT.params(layer).integer("axis") != 1:
            return 0
        found = INNER_PRODUCT.inputs(layer) or 0
        if not found:
            return 0
    return found


def _cut_channels(net: Net, wiring: Graph, version: int) -> int:
    """The fewest channels a blob can have that is cut along them; 0 when it is not."""
    readers = (net.layers[reader] for reader in wiring.versions[version].readers)
    flows = (op(layer).channels(layer, [None]) for layer in readers)
    cuts = (flow.points for flow in flows if isinstance(flow, Split))
    return max((point + 1 for points in cuts for point in points), default=0)


def _weight_channels(net: Net, wiring: Graph, source: DataTop) -> int:
    """Channels of the part that was cut, else as the weights fix them: of the first layers, or of
    any further behind; else 0."""
    near = source.part or _channels(net, wiring, source.version)
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
