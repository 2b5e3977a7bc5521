"""What both nets are fed with: seeded random numbers, images, or arrays."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from caffefold.analysis.shapes import infer
from caffefold.check import feeds
from caffefold.check.reference import uniform
from caffefold.errors import InputError, ModelError, Option, UsageError
from caffefold.humanize import counted
from caffefold.ir.net import Net
from caffefold.ops.shape import show
from caffefold.ops.table import op
from caffefold.options import VerifyOptions
from caffefold.verification.runtimes.base import Array, Batch, first_line

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_LABELS = "labels"
"""The array of a .npz that says what is in the items."""
_NUDGE = 2.0**-22
_COLOURS = {1: "GRAY", 3: "BGR"}
_EXACT = frozenset(
    {"BatchReindex", "DetectionOutput", "Filter", "LSTM", "LSTMUnit", "PSROIPooling", "Proposal"}
    | {"RNN", "ROIPooling", "Upsample"}
)
"""Types that read an index, a marker or a region at their second or later bottoms."""


class Feed(NamedTuple):
    """Batches, and what they are."""

    batches: tuple[Batch, ...]
    about: str
    warnings: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """The names of the images, in order."""
    labels: Array | None = None
    """The class of each item, where the file of the items says it."""


def feed(net: Net, stated: Sequence[Mapping[str, Any]], options: VerifyOptions) -> Feed:
    """The batches for a deploy net.

    Args:
        net: the first net, which says how large its inputs are.
        stated: the preprocessing that its training net states, per input.
        options: the files, and what replaces the preprocessing.

    Raises:
        InputError: a file cannot be read, or holds something of another shape.
        ModelError: the shape of an input is not known.
        UsageError: files are given that no input takes.
    """
    shapes = _shapes(net)
    known = _preprocessing(shapes, stated, options)
    warnings = tuple(
        f"input '{each['blob']}' is fed less the channel means of {each['mean_file']}, "
        "not less the mean image"
        for each in known
        if "mean_file" in each and "mean_value" not in each
    )
    if not options.inputs:
        made = tuple(
            _random(net, shapes, known, options.seed + 1000 * i) for i in range(options.batches)
        )
        about = f"{counted(options.batches, 'batch')} of random input, seed {options.seed}"
        return Feed(made, about.replace("batchs", "batches"), warnings)
    paths = [path for given in options.inputs for path in _files(str(given))]
    arrays = [path for path in paths if path.suffix in (".npy", ".npz")]
    pictures = [path for path in paths if path.suffix not in (".npy", ".npz")]
    if arrays and pictures:
        raise UsageError(Option("inputs"), ": give images or arrays, not both")
    if arrays:
        given = _joined([_arrays(path, shapes) for path in arrays])
        labels = given.pop(_LABELS, None)
        made = tuple(_batches(net, shapes, known, given, options.seed))
    else:
        labels = None
        made = tuple(_pictured(net, shapes, known, pictures, options.seed))
    about = f"{counted(len(paths), 'file')}: {paths[0].name}{_more(paths)}"
    return Feed(made, about, warnings, tuple(path.name for path in pictures), labels)


def _more(paths: Sequence[Path]) -> str:
    return "" if len(paths) == 1 else f" to {paths[-1].name}"


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
        if blob not in known and image and (given or options.inputs):
            known[blob] = {"blob": blob, "color_order": _COLOURS[shape[1]]}
        if blob in known and len(shape) == 4:
            known[blob] |= given
            means = known[blob].get("mean_value", ())
            if len(means) not in (0, 1, shape[1]):
                raise UsageError(
                    Option("mean"),
                    f": {len(means)} numbers for the {shape[1]} channels of '{blob}'",
                )
    return tuple(known.values())


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
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in IMAGES)
        if not found:
            raise InputError(f"{given}: there are no images in this folder")
        return found
    if path.exists():
        return [path]
    found = sorted(Path(each) for each in glob.glob(given, recursive=True))  # noqa: PTH207
    if not found:
        raise InputError(f"{given}: no such file, folder or pattern")
    return [each for each in found if each.is_file()]


def _arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Arrays by input: of .npz by their names, of .npy for the first input.

    Raises:
        InputError: the file is no such file, or holds another kind of values.
        UsageError: an array is for no input.
    """
    try:
        with np.load(path, allow_pickle=False) as loaded:
            found = {name: loaded[name] for name in loaded.files}
    except (AttributeError, TypeError):  # a single array
        found = {next(iter(shapes)): np.load(path, allow_pickle=False)}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not an array of numpy: {first_line(error)}") from None
    labels = found.pop(_LABELS, None)
    if len(found) == 1 and not found.keys() & shapes.keys():
        found = {next(iter(shapes)): next(iter(found.values()))}
    known = {blob: found[blob] for blob in shapes if blob in found}
    if not known:
        raise UsageError(
            Option("inputs", str(path)),
            f": none of its arrays is called like an input: {', '.join(shapes)}",
        )
    for blob, values in known.items():
        if values.dtype.kind not in "fiub":
            raise InputError(f"{path}: '{blob}' holds {values.dtype}, not numbers")
    return known if labels is None else {**known, _LABELS: labels}


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {
        blob: np.concatenate([part[blob] for part in parts])
        for blob in parts[0]
        if all(blob in part for part in parts)
    }


def _batches(
    net: Net, shapes: Mapping[str, tuple[int, ...]], known: Sequence[Mapping[str, Any]],
    given: Mapping[str, Array], seed: int,
) -> Iterator[Batch]:  # fmt: skip
    """Arrays cut to the batch size of the net; the last batch is filled up with its last item."""
    stated = {each["blob"]: each for each in known}
    pixels: dict[str, Array] = {}
    values: dict[str, Array] = {}
    for blob, numbers in given.items():
        shape = shapes[blob]
        if numbers.ndim == len(shape) - 1:
            numbers = numbers[None]  # noqa: PLW2901
        if numbers.dtype == np.uint8 and numbers.ndim == 4 and numbers.shape[1:] == (
            *shape[2:], shape[1],
        ):  # fmt: skip
            pixels[blob] = numbers
            values[blob] = feeds.preprocessed(numbers, stated.get(blob, {})).astype(np.float32)
        else:
            values[blob] = numbers.astype(np.float32)
        if values[blob].shape[1:] != shape[1:]:
            raise InputError(
                f"the array for '{blob}' has the shape {show(numbers.shape)}, items of "
                f"{show(shape[1:])} are due, or images of height x width x channels in uint8"
            )
    total = max(len(each) for each in values.values())
    size = max(shapes[blob][0] for blob in values)
    for first in range(0, total, size):
        batch = _random(net, shapes, known, seed)
        fed, seen = dict(batch.values), dict(batch.pixels)
        for blob, each in values.items():
            rows = np.minimum(np.arange(first, first + shapes[blob][0]), len(each) - 1)
            fed[blob] = each[rows]
            seen.pop(blob, None)
            if blob in pixels:
                seen[blob] = pixels[blob][rows]
        yield Batch(fed, seen)


def _pictured(
    net: Net, shapes: Mapping[str, tuple[int, ...]], known: Sequence[Mapping[str, Any]],
    paths: Sequence[Path], seed: int,
) -> Iterator[Batch]:  # fmt: skip
    blob = next((each["blob"] for each in known if len(shapes.get(each["blob"], ())) == 4), None)
    if blob is None:
        raise UsageError(Option("inputs"), ": this net has no input of images; give .npy or .npz")
    _, channels, height, width = shapes[blob]
    size = shapes[blob][0]
    for first in range(0, len(paths), size):
        part = [picture(path, channels, height, width) for path in paths[first : first + size]]
        yield from _batches(net, shapes, known, {blob: np.stack(part)}, seed)


def picture(path: Path, channels: int, height: int, width: int) -> Array:
    """An image file as uint8 of (height, width, channels), RGB or grey, resized bilinearly.

    Raises:
        InputError: the file is no image.
        UsageError: nothing that reads images is installed.
    """
    try:
        import cv2
    except ImportError:
        raise UsageError(
            Option("inputs", str(path)),
            ": images are read by OpenCV, which is not installed; "
            "pip install 'caffefold[verify]', or give .npy",
        ) from None
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    mode = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        found = cv2.imdecode(data, mode) if data.size else None
    except cv2.error:
        found = None
    if found is None:
        raise InputError(f"{path}: not an image that OpenCV reads")
    if found.shape[:2] != (height, width):
        found = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    if channels == 1:
        return np.asarray(found)[..., None]
    return np.ascontiguousarray(np.asarray(found)[..., ::-1])
