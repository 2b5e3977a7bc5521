"""Names of classes: a labelmap of SSD, or a text file with a name in each line."""

from __future__ import annotations

import os

from caffefold.errors import InputError, TextError
from caffefold.formats.detect import read_text
from caffefold.formats.prototxt.parse import parse
from caffefold.formats.prototxt.tree import Scalar
from caffefold.ir.params import parse_int


def read_labels(given: str | os.PathLike[str]) -> dict[int, str]:
    """The name of each class by its number.

    Raises:
        InputError: the file cannot be read, or holds no names.
    """
    path = os.fspath(given)
    data = read_text(path, "label file")
    if data is None:
        raise InputError(f"{path}: not a text file; give a labelmap, or a name in each line")
    found = _labelmap(data, path)
    if found is None:
        lines = data.decode("utf-8-sig", "replace").splitlines()
        found = dict(enumerate(line.strip() for line in lines if line.strip()))
    if not found:
        raise InputError(f"{path}: there are no names in this file")
    return found


def _labelmap(data: bytes, path: str) -> dict[int, str] | None:
    """The names of a labelmap: ``display_name``, else ``name``; None for other text."""
    try:
        document = parse(data, path)
    except TextError:
        return None
    items = [field.body for field in document.fields if field.name == "item"]
    found: dict[int, str] = {}
    for item in items:
        label = item.last("label")
        number = parse_int(label.raw) if isinstance(label, Scalar) else None
        if number is not None:
            found[number] = item.string("display_name") or item.string("name")
    return found if items else None
