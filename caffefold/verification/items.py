"""What nets are fed with, item by item: arrays, images, or a data set with what is in them.

Items are read when they are wanted: a data set of any size takes the memory of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from caffefold.errors import InputError, Option, UsageError
from caffefold.extras import install
from caffefold.formats import dataset
from caffefold.formats.dataset import Truth
from caffefold.humanize import counted, visible
from caffefold.ir.net import Net
from caffefold.ops import image
from caffefold.ops.shape import show
from caffefold.ops.table import op
from caffefold.options import DeployOptions
from caffefold.passes import infra, pipeline
from caffefold.passes.deploy.preprocessing import find
from caffefold.verification.runtimes import opencv
from caffefold.verification.runtimes.base import Array, first_line

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
STATED = "stated"
"""In place of the path of a data set: where the training net says it is."""
Known: TypeAlias = Mapping[str, Any]
"""The preprocessing of an input (``preprocessing`` of a deploy result)."""
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


class Item(NamedTuple):
    """One item of a batch."""

    arrays: Mapping[str, Array]
    """By input: preprocessed numbers of the input's shape without its first axis; or pixels."""
    pixels: frozenset[str] = frozenset()
    """The inputs whose arrays are pixels: (H, W, C), RGB or grey, of the input's size."""
    truth: Truth | None = None


class Items(NamedTuple):
    """Items, and what they are."""

    total: int
    about: str
    each: Callable[[], Iterator[Item]]
    """From the first one."""
    labelled: bool = False


# -------------------------------------------------------------------------------------- arrays


def arrays(paths: Sequence[Path], shapes: Shapes) -> Items:
    """The items of .npy and .npz files; ``labels`` in an .npz are their classes.

    Raises:
        InputError: a file is no such file, or holds values of another kind or shape.
        UsageError: an array is for no input.
    """
    given = _joined([_loaded(path, shapes) for path in paths])
    labels = given.pop(_LABELS, None)
    pixels = frozenset(
        blob for blob, values in given.items()
        if values.dtype == np.uint8 and values.ndim == 4 == len(shapes[blob])
        and values.shape[1:] == (*shapes[blob][2:], shapes[blob][1])
    )  # fmt: skip
    for blob, values in given.items():
        if blob not in pixels and values.shape[1:] != shapes[blob][1:]:
            raise InputError(
                f"the array for '{blob}' has the shape {show(values.shape)}, items of "
                f"{show(shapes[blob][1:])} are due, or images of height x width x channels in uint8"
            )
    count = max(len(each) for each in given.values())

    def each() -> Iterator[Item]:
        for i in range(count):
            row = {blob: values[min(i, len(values) - 1)] for blob, values in given.items()}
            yield Item(row, pixels, None if labels is None else float(labels[i]))

    return Items(count, _files(paths), each, labels is not None)


_LABELS = "labels"


def _loaded(path: Path, shapes: Shapes) -> dict[str, Array]:
    """Arrays by input: of .npz by their names, of .npy for the first input."""
    first = next(iter(shapes))
    try:
        with np.load(path, allow_pickle=False) as loaded:
            found = {name: loaded[name] for name in loaded.files}
    except (AttributeError, TypeError):  # a single array
        found = {first: np.load(path, allow_pickle=False)}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not an array of numpy: {first_line(error)}") from None
    labels = found.pop(_LABELS, None)
    if len(found) == 1 and not found.keys() & shapes.keys():
        found = {first: next(iter(found.values()))}
    known = {blob: found[blob] for blob in shapes if blob in found}
    if not known:
        raise UsageError(
            Option("inputs", str(path)),
            f": none of its arrays is called like an input: {', '.join(shapes)}",
        )
    for blob, values in known.items():
        if values.dtype.kind not in "fiub":
            raise InputError(f"{path}: '{blob}' holds {values.dtype}, not numbers")
        if values.ndim == len(shapes[blob]) - 1:
            known[blob] = values[None]
        if not known[blob].ndim or not len(known[blob]):
            raise InputError(f"{path}: there are no items for '{blob}'")
    if labels is None:
        return known
    rows = max(map(len, known.values()))
    if labels.dtype.kind not in "fiub" or labels.shape != (rows,):
        raise InputError(f"{path}: 'labels' are {show(labels.shape)}, a class for each item is due")
    return {**known, _LABELS: labels}


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {
        blob: np.concatenate([part[blob] for part in parts])
        for blob in parts[0]
        if all(blob in part for part in parts)
    }


def _files(paths: Sequence[Path]) -> str:
    last = "" if len(paths) == 1 else f" to {paths[-1].name}"
    return f"{counted(len(paths), 'file')}: {paths[0].name}{last}"


# -------------------------------------------------------------------------------------- images


def pictures(
    paths: Sequence[Path], shapes: Shapes, known: Sequence[Known], truths: Sequence[Truth] | None
) -> Items:
    """Image files for the first input that takes images.

    Raises:
        UsageError: no input does.
    """
    about = _image_input(shapes, known)
    if about is None:
        raise UsageError(Option("inputs"), ": this net has no input of images; give .npy or .npz")
    blob = about["blob"]
    shape = shapes[blob]

    def each() -> Iterator[Item]:
        for i, path in enumerate(paths):
            made = fitted(picture(path, shape[1]), about, shape[1:])
            yield Item({blob: made}, frozenset({blob}), None if truths is None else truths[i])

    return Items(len(paths), _files(paths), each, truths is not None)


def _image_input(shapes: Shapes, known: Sequence[Known]) -> Known | None:
    return next((each for each in known if len(shapes.get(each["blob"], ())) == 4), None)


def picture(path: Path, channels: int) -> Array:
    """An image file as uint8 of (height, width, channels), RGB or grey.

    Raises:
        InputError: the file is no image.
        UsageError: nothing that reads images is installed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    return _decoded(data, channels, str(path))


def _decoded(data: bytes, channels: int, where: str) -> Array:
    try:
        cv2 = opencv.loaded()
    except ImportError:
        raise UsageError(
            Option("inputs", where),
            ": images are read by OpenCV, which is not installed; "
            f"{install('opencv-python-headless')}, or give .npy",
        ) from None
    mode = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    except cv2.error:
        found = None
    if found is None:
        raise InputError(f"{where}: not an image that OpenCV reads, or one that is cut off")
    made: Array = np.asarray(found)
    return made[..., None] if channels == 1 else made[..., ::-1]


def fitted(found: Array, known: Known, shape: tuple[int, ...], *, whole: bool = False) -> Array:
    """Pixels of (H, W, C) as a data layer fits them to an input of (C, H, W)
    (data_transformer.cpp).

    Resized, where it says so, then cropped around the middle, as in test phase; else resized,
    unless they are ``whole`` records of a data set, which no data layer resizes unasked.

    Raises:
        ValueError: a record is of another shape, or smaller than the crop.
    """
    size = shape[1:]
    if found.shape[2] != shape[0]:
        raise ValueError(f"{found.shape[2]} channels")
    crop = known.get("crop_size", ())
    crop = (crop, crop) if isinstance(crop, int) else tuple(crop)
    resize = tuple(known[each] for each in ("resize_height", "resize_width") if each in known)
    if not crop and not resize:
        resize = tuple(known[each] for each in ("height", "width") if each in known)
    if resize:
        found = _resized(found, resize)
    if crop == size and (resize or whole):
        found = middle(found, size)
    if found.shape[:2] != size and whole and not resize:
        raise ValueError(f"{found.shape[0]} x {found.shape[1]}")
    return np.ascontiguousarray(_resized(found, size))


def middle(found: Array, size: tuple[int, ...]) -> Array:
    """The middle of (H, W, C); ValueError where it is smaller."""
    if found.shape[0] < size[0] or found.shape[1] < size[1]:
        raise ValueError(f"{found.shape[0]} x {found.shape[1]}")
    top, left = ((found.shape[i] - size[i]) // 2 for i in (0, 1))
    return found[top : top + size[0], left : left + size[1]]


def _resized(found: Array, size: tuple[int, ...]) -> Array:
    if found.shape[:2] == size:
        return found
    cv2 = opencv.loaded()
    made = cv2.resize(
        np.ascontiguousarray(found), (size[1], size[0]), interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(made).reshape(*size, found.shape[2])


# ----------------------------------------------------------------------------------- data sets


class Source(NamedTuple):
    """A data layer of the training net."""

    layer: str
    type: str
    path: str
    root: str
    """What the images of its list are relative to."""
    tops: tuple[str, ...]


def stated(net: Net, options: DeployOptions, inputs: Sequence[str]) -> Source | None:
    """The data layer that feeds one of ``inputs``, in the phase that is asked for."""
    view, _ = infra.run(pipeline.view_passes(options), net)
    for layer in view.layers:
        if op(layer).is_data(layer) and set(layer.tops) & set(inputs):
            root = image.raw(layer, "root_folder")
            path = image.raw(layer, "source")
            return Source(layer.name, layer.type, path, root, layer.tops)
    return None


def data_set(
    given: str, source: Source | None, prototxt: Path, shapes: Shapes, known: Sequence[Known]
) -> Items:
    """A data set: an LMDB, HDF5, a list of images, or a folder of them for each class.

    Args:
        given: its path; ``stated``: where the training net says.
        source: the data layer of the training net, where it has one.
        prototxt: that net: paths in it are relative to where Caffe is run.
        shapes: of the inputs.
        known: the preprocessing of the inputs.

    Raises:
        InputError: it is not there, or is no data set.
        UsageError: the training net states none.
    """
    path = _place(given, source, prototxt)
    if path.is_dir():
        if dataset.is_lmdb(path):
            return _of_lmdb(path, shapes, known)
        if dataset.is_leveldb(path):
            raise InputError(
                f"{path}: a LevelDB is not read; make an LMDB of it (Caffe's convert_imageset)"
            )
        return _of_folders(path, shapes, known)
    if dataset.is_hdf5(path):
        return _of_hdf5(path, (path,), source, shapes)
    files = dataset.hdf5_list(path)
    if files:
        return _of_hdf5(path, files, source, shapes)
    return _of_list(path, source, shapes, known)


def _place(given: str, source: Source | None, prototxt: Path) -> Path:
    if given != STATED:
        if not Path(given).exists():
            raise InputError(f"{given}: no such data set")
        return Path(given)
    if source is None or not source.path:
        raise UsageError(Option("dataset", STATED), f": {prototxt} names none; give its path")
    found = find(source.path, prototxt, Path.exists)
    if found is None:
        raise InputError(
            f"{prototxt}: layer '{source.layer}': its data set {visible(source.path)} is not there"
        ).advised("; give ", Option("dataset", "PATH"))
    return found


def _of_lmdb(path: Path, shapes: Shapes, known: Sequence[Known]) -> Items:
    about = _images_of(path, shapes, known)
    blob = about["blob"]
    shape = shapes[blob]

    def each() -> Iterator[Item]:
        for number, record in enumerate(dataset.lmdb_records(path), 1):
            where = f"{path}: record {number}"
            if record.array is None:
                found = _decoded(record.encoded, shape[1], where)
            else:
                found = record.array.transpose(1, 2, 0)
                found = found[..., ::-1] if found.shape[2] == 3 else found  # stored as BGR
            try:
                made = fitted(found, about, shape[1:], whole=True)
            except ValueError as error:
                raise InputError(f"{where}: {error}; input '{blob}' is {show(shape[1:])}") from None
            yield Item({blob: made}, frozenset({blob}), record.truth)

    first = next(dataset.lmdb_records(path), None)
    if first is None:
        raise InputError(f"{path}: this LMDB is empty")
    return Items(dataset.lmdb_length(path), f"LMDB {path.name}", each, first.truth is not None)


def _images_of(path: Path, shapes: Shapes, known: Sequence[Known]) -> Known:
    about = _image_input(shapes, known)
    if about is None:
        raise UsageError(Option("dataset", str(path)), ": this net has no input of images")
    return about


def _of_hdf5(path: Path, files: Sequence[Path], source: Source | None, shapes: Shapes) -> Items:
    others = () if source is None else [top for top in source.tops if top not in shapes]
    label = next(iter(others), dataset.LABEL)
    names = (*shapes, label)
    count = dataset.hdf5_length(files, names)
    if not count:
        raise InputError(f"{path}: there are no rows in it")

    def each() -> Iterator[Item]:
        for row in dataset.hdf5_rows(files, names):
            if row[label].size != 1:
                raise InputError(f"{path}: '{label}' is no class: {show(row[label].shape)} a row")
            for blob, shape in shapes.items():
                if row[blob].shape != shape[1:]:
                    raise InputError(
                        f"{path}: '{blob}' has rows of {show(row[blob].shape)}, "
                        f"{show(shape[1:])} are due"
                    )
            yield Item({blob: row[blob] for blob in shapes}, truth=float(row[label].reshape(())))

    return Items(count, f"HDF5 {path.name}", each, labelled=True)


def _of_list(path: Path, source: Source | None, shapes: Shapes, known: Sequence[Known]) -> Items:
    truths = dataset.labels(path)
    if not truths:
        raise InputError(f"{path}: there are no images in this list")
    roots = [path.parent, Path()]
    if source is not None and source.root:
        roots.insert(0, Path(source.root))
    first = next(iter(truths))
    root = next((each for each in roots if (each / first.lstrip("/")).is_file()), None)
    if root is None and not Path(first).is_file():
        raise InputError(f"{path}: {visible(first)} is not there, nor beside this list")
    paths = [Path(name) if root is None else root / name.lstrip("/") for name in truths]
    _images_of(path, shapes, known)
    found = pictures(paths, shapes, known, list(truths.values()))
    return found._replace(about=f"list {path.name}")


def _of_folders(path: Path, shapes: Shapes, known: Sequence[Known]) -> Items:
    """A folder for each class, which is called by its number."""
    folders = [each for each in path.iterdir() if each.is_dir() and each.name.isdecimal()]
    folders.sort(key=lambda each: int(each.name))
    paths = [file for folder in folders for file in images_of(folder)]
    if not paths:
        raise InputError(
            f"{path}: no LMDB, and no folders 0, 1, 2 ... with the images of each class"
        ).advised("; for a folder of images, give ", Option("inputs", str(path)), " and ",
                  Option("labels", "FILE"))  # fmt: skip
    _images_of(path, shapes, known)
    truths = [float(file.parent.name) for file in paths]
    found = pictures(paths, shapes, known, truths)
    return found._replace(about=f"folder {path.name} of {counted(len(folders), 'class')}")


def images_of(folder: Path) -> list[Path]:
    """The image files of a folder, by name."""
    return sorted(each for each in folder.iterdir() if each.suffix.lower() in IMAGES)
