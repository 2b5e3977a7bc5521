"""What both nets are fed with: seeded random numbers, images, or arrays."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from caffefold.analysis.shapes import infer
from caffefold.check import feeds
from caffefold.check.reference import uniform
from caffefold.errors import InputError, ModelError, Option, UsageError
from caffefold.formats import dataset
from caffefold.formats.caffemodel.index import read_blob
from caffefold.formats.dataset import Truth
from caffefold.humanize import counted
from caffefold.ir.net import Net
from caffefold.ops.shape import show
from caffefold.ops.table import op
from caffefold.options import VerifyOptions
from caffefold.passes.deploy.preprocessing import find_mean
from caffefold.verification import items as items_of
from caffefold.verification.items import Items, Known, Shapes
from caffefold.verification.runtimes.base import Array, Batch

_RANDOM, _COMPARED = 2, 32
"""Batches that are compared: of random numbers; of files, where there are as many."""
_NUDGE = 2.0**-22
_COLOURS = {1: "GRAY", 3: "BGR"}
_EXACT = frozenset(
    {"BatchReindex", "DetectionOutput", "Filter", "LSTM", "LSTMUnit", "PSROIPooling", "Proposal"}
    | {"RNN", "ROIPooling", "Upsample"}
)
"""Types that read an index, a marker or a region at their second or later bottoms."""


class Fed(NamedTuple):
    """A batch, and what is in its items; it may be filled up with the last of them."""

    batch: Batch
    truths: tuple[Truth | None, ...]


class Feed(NamedTuple):
    """Batches, and what they are."""

    batches: tuple[Batch, ...]
    """Those that are compared."""
    about: str
    warnings: tuple[str, ...] = ()
    items: int = 0
    """Of which somebody says what is in them; 0: nobody does."""
    size: int = 1
    """Items of a batch."""
    stream: Callable[[], Iterator[Fed]] = lambda: iter(())
    """All batches, one by one."""


def feed(a: Net, net: Net, stated: Sequence[Mapping[str, Any]], options: VerifyOptions) -> Feed:
    """The batches for a deploy net.

    Args:
        a: the net it was made of, which may state its data set.
        net: the first net, which says how large its inputs are.
        stated: the preprocessing that its training net states, per input.
        options: the files, and what replaces the preprocessing.

    Raises:
        InputError: a file cannot be read, or holds something of another shape.
        ModelError: the shape of an input is not known.
        UsageError: files are given that no input takes.
    """
    shapes = _shapes(net)
    prototxt = Path(net.document.path)
    known = _preprocessing(shapes, stated, options, prototxt)
    warnings = tuple(_remarks(known))
    if not options.inputs and not options.dataset:
        if options.labels is not None:
            raise UsageError(Option("labels"), ": give the images with ", Option("inputs", "DIR"))
        count = options.batches or _RANDOM
        made = (_random(net, shapes, known, options.seed + 1000 * i) for i in range(count))
        about = f"{counted(count, 'batch')} of random input, seed {options.seed}"
        return Feed(tuple(made), about, warnings)
    items = _items(a, shapes, known, options, prototxt)
    size = max(shapes[blob][0] for blob in next(items.each()).arrays)
    stream = partial(_stream, net, shapes, known, items, size, options)
    count = min(items.total, options.samples or items.total)
    limit = options.batches or _COMPARED
    batches = tuple(each.batch for each in islice(stream(), limit))
    about = items.about
    if items.total > size * len(batches):
        compared = f"the first {counted(size * len(batches), 'item')} of {items.total}"
        about += f", {compared} compared"
    labelled = count if items.labelled else 0
    return Feed(batches, about, warnings, labelled, size, stream)


def _items(
    a: Net, shapes: Shapes, known: Sequence[Known], options: VerifyOptions, prototxt: Path
) -> Items:
    """What the options name."""
    if options.dataset:
        if options.inputs or options.labels:
            other = Option("inputs") if options.inputs else Option("labels")
            raise UsageError(other, ": not together with ", Option("dataset"))
        source = items_of.stated(a, options, tuple(shapes))
        given = os.fspath(options.dataset)
        return items_of.data_set(given, source, prototxt, shapes, known)
    paths = [path for given in options.inputs for path in _files(str(given))]
    are_arrays = {path.suffix in (".npy", ".npz") for path in paths}
    if len(are_arrays) > 1:
        raise UsageError(Option("inputs"), ": give images or arrays, not both")
    if True in are_arrays:
        if options.labels is not None:
            raise UsageError(
                Option("labels"), ": arrays say it themselves: an array 'labels' in the .npz"
            )
        return items_of.arrays(paths, shapes)
    truths = None if options.labels is None else _truths(Path(options.labels), paths)
    return items_of.pictures(paths, shapes, known, truths)


def _truths(labels: Path, paths: Sequence[Path]) -> list[Truth]:
    """What a list says of images, which are known by their names without folders."""
    found = {PurePosixPath(name).name: truth for name, truth in dataset.labels(labels).items()}
    missing = [path.name for path in paths if path.name not in found]
    if missing:
        raise InputError(f"{labels}: there is no line for {missing[0]}")
    truths = [found[path.name] for path in paths]
    if len({isinstance(truth, float) for truth in truths}) > 1:
        raise InputError(f"{labels}: some lines have a box and some have none")
    return truths


def _stream(
    net: Net, shapes: Shapes, known: Sequence[Known], items: Items, size: int,
    options: VerifyOptions,
) -> Iterator[Fed]:  # fmt: skip
    """The items in batches of the net's size; inputs that they say nothing of are random."""
    stated = {each["blob"]: each for each in known}
    rest = islice(items.each(), options.samples)
    while part := list(islice(rest, size)):
        batch = _random(net, shapes, known, options.seed)
        values, pixels = dict(batch.values), dict(batch.pixels)
        for blob in part[0].arrays:
            rows = [part[min(i, len(part) - 1)].arrays[blob] for i in range(shapes[blob][0])]
            stacked = np.stack(rows)
            pixels.pop(blob, None)
            if blob in part[0].pixels:
                values[blob] = feeds.preprocessed(stacked, stated.get(blob, {})).astype(np.float32)
                if stacked.dtype == np.uint8:
                    pixels[blob] = stacked
            else:
                values[blob] = stacked.astype(np.float32)
        yield Fed(Batch(values, pixels), tuple(item.truth for item in part))


def nudged(net: Net, batch: Batch, seed: int) -> Batch:
    """The batch with its last bits changed: what float32 cannot tell apart.

    Indices, markers and regions stay as they are.
    """
    moved: dict[str, Array] = {}
    for blob, values in batch.values.items():
        if _is_exact(net, blob):
            moved[blob] = values
            continue
        by = 1 + _NUDGE * uniform(seed, values.size).reshape(values.shape)
        moved[blob] = (values * by).astype(np.float32)
    return Batch(moved, batch.pixels)


def _is_exact(net: Net, blob: str) -> bool:
    for layer in net.layers:
        for at, bottom in enumerate(layer.bottoms):
            if bottom == blob:
                kind = op(layer).name
                return kind == "Embed" or (at > 0 and kind in _EXACT)
    return False


def _shapes(net: Net) -> dict[str, tuple[int, ...]]:
    found = infer(net)
    shapes: dict[str, tuple[int, ...]] = {}
    for blob in net.inputs:
        shape = found.of_input(blob)
        if shape is None or None in shape:
            error = ModelError(
                f"{net.document.path}: the shape of input '{blob}' is not known ({show(shape)})"
            )
            raise error.advised("; give ", Option("input_shapes", f"{blob}=N,C,H,W"))
        shapes[blob] = tuple(dim for dim in shape if dim is not None)
    return shapes


def _preprocessing(
    shapes: Mapping[str, tuple[int, ...]],
    stated: Sequence[Mapping[str, Any]],
    options: VerifyOptions,
    prototxt: Path,
) -> tuple[dict[str, Any], ...]:
    """What is known of each image input, options first."""
    known = {each["blob"]: dict(each) for each in stated}
    given: dict[str, Any] = {}
    if options.mean:
        given["mean_value"] = list(options.mean)
    if options.scale is not None:
        given["scale"] = options.scale
    if options.channel_order:
        given["color_order"] = options.channel_order
    for blob, shape in shapes.items():
        image = len(shape) == 4 and shape[1] in _COLOURS
        if blob not in known and image and (given or options.inputs or options.dataset):
            known[blob] = {"blob": blob, "color_order": _COLOURS[shape[1]]}
        if blob in known and len(shape) == 4:
            known[blob] |= given
            if "mean_file" in known[blob] and "mean_value" not in known[blob]:
                known[blob] |= _mean_image(known[blob]["mean_file"], prototxt, shape)
            means = known[blob].get("mean_value", ())
            if len(means) not in (0, 1, shape[1]):
                raise UsageError(
                    Option("mean"),
                    f": {len(means)} numbers for the {shape[1]} channels of '{blob}'",
                )
    return tuple(known.values())


def _mean_image(name: str, prototxt: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    """The middle of a mean image, as large as the input; {} where there is none that fits."""
    path = find_mean(name, prototxt)
    if path is None:
        return {}
    try:
        numbers = read_blob(path)
        image = numbers.reshape(numbers.shape[-3:]).transpose(1, 2, 0)
        return {"mean_image": items_of.middle(image, shape[2:])} if len(image.T) == shape[1] else {}
    except (InputError, OSError, ValueError, IndexError):
        return {}


def _remarks(known: Sequence[Known]) -> Iterator[str]:
    """What data layers do that is not done here."""
    for each in known:
        if "mean_file" in each and "mean_value" not in each and "mean_image" not in each:
            less = "less the channel means of" if "mean_file_channels" in each else "without"
            yield f"input '{each['blob']}' is fed {less} {each['mean_file']}, not less that image"
        if each.get("resize_mode", "WARP") != "WARP":
            yield f"input '{each['blob']}': images are stretched, not {each['resize_mode']}"


def _random(
    net: Net, shapes: Mapping[str, tuple[int, ...]], known: Sequence[Mapping[str, Any]], seed: int
) -> Batch:
    stated = {each["blob"]: each for each in known}
    values = feeds.numbers(net, shapes, known, seed)
    pixels: dict[str, Array] = {}
    for i, (blob, shape) in enumerate(shapes.items()):
        if blob in stated and len(shape) == 4:  # the same as feeds.numbers makes
            pixels[blob] = feeds.images(shape, seed + i)
    return Batch(values, pixels)


# ------------------------------------------------------------------------------------- files


def _files(given: str) -> list[Path]:
    """The files that an argument stands for: itself, those of a folder, or of a glob.

    Raises:
        InputError: there are none.
    """
    path = Path(given)
    if path.is_dir():
        found = items_of.images_of(path)
        if not found:
            raise InputError(f"{given}: there are no images in this folder")
        return found
    if path.exists():
        return [path]
    found = sorted(Path(each) for each in glob.glob(given, recursive=True))  # noqa: PTH207
    if not found:
        raise InputError(f"{given}: no such file, folder or pattern")
    return [each for each in found if each.is_file()]
