"""Inputs of the deploy net: what they stand for in the given net, and whether their shapes fit.

Sizes are from data_transformer.cpp, and from the SSD branch's im_transforms.cpp for
``resize_param``: cropped images have the size of the crop, resized ones that they are resized to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from caffefold.check.given import Given
from caffefold.check.placeholders import Filled
from caffefold.errors import ProofError
from caffefold.formats.prototxt.tree import Field, Message
from caffefold.ir.graph import OUTSIDE
from caffefold.ir.net import Layer, Net
from caffefold.ir.params import parse_int
from caffefold.ops.table import op
from caffefold.options import DeployOptions

# They make numbers of the net's own, and read no data (parameter_layer.hpp; forks).
_OWN = ("Parameter", "Const", "ContinuationIndicator")
Dims = tuple[str, ...]


def check_shapes(
    before: Given, deploy: Net, options: DeployOptions, filled: Filled, values: Sequence[int]
) -> dict[str, int]:
    """By input of ``deploy``, the version of the given net that it stands for.

    Raises:
        ProofError: it stands for none, or has neither its shape nor the one that was asked for.
    """
    sources = _sources(before, values)
    declared = _declared(before.net)
    found = {}
    for blob, dims in _declared(deploy).items():
        if blob not in sources:
            raise ProofError(
                f"input '{blob}': is neither an input of the given net nor data", layer=blob
            )
        found[blob] = version = sources[blob]
        maker = before.graph.maker(version)
        asked = options.input_shapes.get(blob)
        wanted: tuple[str | None, ...]
        if asked is not None:
            wanted = tuple(map(str, asked))
        elif blob in declared:
            wanted = declared[blob]
        else:
            wanted = _of_data(before.layers[maker], len(dims))
        allowed = [wanted]
        if options.batch and wanted and asked is None:
            # First axes that are no batch stay, with a warning: recurrent layers have time there.
            allowed.insert(0, (str(options.batch), *wanted[1:]))
        if not any(
            len(dims) == len(each)
            and all(
                new == old or old is None or filled.fits(blob, "shape", old, new)
                for old, new in zip(each, dims, strict=True)
            )
            for each in allowed
        ):
            shown = "x".join("?" if dim is None else dim for dim in allowed[0])
            raise ProofError(
                f"input '{blob}': is {'x'.join(dims)}, was given as {shown}", layer=blob
            )
    return found


def _sources(before: Given, values: Sequence[int]) -> dict[str, int]:
    """By name, what comes from outside: inputs, tops of data layers, parts cut from those, and
    what hands one of these on. ``values`` are the versions that the versions hold."""
    found: dict[str, int] = {}
    known: set[int] = set()
    for version, made in enumerate(before.graph.versions):
        maker = made.producer
        if maker != OUTSIDE:
            layer = before.layers[maker]
            reads = before.graph.reads[maker]
            cut = op(layer).name == "Slice" and before.graph.maker(reads[0]) != OUTSIDE
            cut = cut and not before.layers[before.graph.maker(reads[0])].bottoms
            own = bool(layer.blobs) or op(layer).name in _OWN
            if own or (layer.bottoms and not cut):
                if values[version] != version and values[version] in known:
                    found.setdefault(made.blob, values[version])
                continue
        found.setdefault(made.blob, version)
        known.add(version)
    return found


def _declared(net: Net) -> dict[str, Dims]:
    """The inputs of a net and their shapes as written (input_layer.cpp; upgrade_proto.cpp)."""
    fields = Message(tuple(item for item in net.items if isinstance(item, Field)))
    names = fields.strings("input")
    shapes = [m.strings("dim") for m in fields.all("input_shape") if isinstance(m, Message)]
    if not shapes:
        plain = fields.strings("input_dim")
        shapes = [plain[at : at + 4] for at in range(0, len(plain), 4)]
    shapes += [()] * (len(names) - len(shapes))
    found = dict(zip(names, shapes, strict=False))
    for layer in net.layers:
        if layer.is_input:
            params = layer.body.message("input_param") or Message(())
            own = [m.strings("dim") for m in params.all("shape") if isinstance(m, Message)]
            own = own * len(layer.tops) if len(own) == 1 else own or [()] * len(layer.tops)
            found.update(zip(layer.tops, own, strict=False))
    return found


def _of_data(layer: Layer, axes: int) -> tuple[str | None, ...]:
    """What the text of a data layer says of the shape of its images, from the end: height and
    width where it crops or resizes; None for what it does not say."""
    size: tuple[str | None, ...] = ()
    if axes >= 4:
        size = next(_sizes(layer), ())
    return (*(None,) * (axes - len(size)), *size)


def _sizes(layer: Layer) -> Iterator[tuple[str, str]]:
    messages = [f.body for f in layer.body.fields if f.name.endswith("_param")]
    for message in messages:
        crop = parse_int(message.string("crop_size", "0"))
        if crop:
            yield str(crop), str(crop)
    for message in messages:
        resize = message.message("resize_param")
        if resize is None or resize.string("resize_mode") in ("FIT_SMALL_SIZE", "2"):
            continue
        height, width = (parse_int(resize.string(name, "0")) for name in ("height", "width"))
        if height and width:
            yield str(height), str(width)
