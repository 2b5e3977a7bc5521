"""What kind of file was given, from its first bytes; wrong kinds are refused by name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from caffefold.errors import InputError
from caffefold.formats import groups, kinds
from caffefold.formats.kinds import HDF5

STDIN = "-"
"""In place of a path: the text on standard input."""
_HEAD = 4096
_URL = re.compile(r"(?:https?|ftp|s3|gs|hf):/+", re.IGNORECASE)
_CONTROL = bytes(set(range(32)) - {9, 10, 11, 12, 13, 27})


def shown(path: str | Path) -> str:
    """What messages call a path."""
    return "<stdin>" if os.fspath(path) == STDIN else str(path)


def is_stream(path: str | Path) -> bool:
    """Whether a path stands for what can only be read once: standard input, or a pipe."""
    try:
        return os.fspath(path) == STDIN or stat.S_ISFIFO(Path(path).stat().st_mode)
    except OSError:
        return False


def head_of(path: str | Path, role: str) -> bytes:
    """The first bytes of an existing, readable, non-empty file.

    Raises:
        InputError: one line that says what is wrong with the path; a stream has no head to read,
            since the rest could not be read at will.
    """
    if is_stream(path):
        raise InputError(
            f"{shown(path)}: a {role} cannot be read from a pipe; save it and give the file"
        )
    with _opened(path, role) as (_, head):
        return head


def read_prototxt(path: str | Path) -> bytes:
    """The content of a file that may be a prototxt, opened and read once.

    Raises:
        InputError: the file cannot be read, or is clearly something else, which is named.
    """
    with _opened(path, "prototxt") as (file, head):
        _expect_prototxt(path, head)
        return head + file.read()


def read_text(path: str | Path, role: str) -> bytes | None:
    """``read_prototxt``, but None when the file is not text; ``role`` is what errors call it.

    Raises:
        InputError: as ``read_prototxt``.
    """
    with _opened(path, role) as (file, head):
        if not is_text(head):
            return None
        _expect_prototxt(path, head)
        return head + file.read()


@contextmanager
def _opened(path: str | Path, role: str) -> Iterator[tuple[BinaryIO, bytes]]:
    """The file behind its head, and the head."""
    try:
        if os.fspath(path) == STDIN:
            with open(0, "rb", closefd=False) as file:
                yield file, _head(file, path, role)
            return
        if Path(path).is_dir():
            raise InputError(f"{path}: this is a directory; give the {role} file itself")
        groups.check(Path(path))
        with Path(path).open("rb") as file:
            yield file, _head(file, path, role)
    except FileNotFoundError:
        raise _absent(path, role) from None
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot read this {role}: {error.strerror}") from None


def _absent(path: str | Path, role: str) -> InputError:
    if _URL.match(str(path)):
        return InputError(f"{path}: this is a URL; download the {role} first, and give the file")
    link = kinds.annexed(path)
    if link is not None:
        return InputError(f"{path}: this is {link.what}; {link.advice}")
    return InputError(f"{path}: no such file; check the path of the {role}")


def _refuse_others(path: str | Path, head: bytes, role: str) -> None:
    """Refuse a file of another program."""
    kind = kinds.recognise(str(path), head)
    if kind is not None:
        advice = kind.advice.replace("{role}", role)
        raise InputError(f"{shown(path)}: this is {kind.what}, not a {role}; {advice}")


def _head(file: BinaryIO, path: str | Path, role: str) -> bytes:
    head = file.read(_HEAD)
    if not head:
        raise InputError(f"{shown(path)}: this {role} is empty; was the download or copy cut off?")
    return head


def is_hdf5(path: str | Path) -> bool:
    """Whether an existing file starts as an HDF5 file does.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    return head_of(path, "caffemodel").startswith(HDF5)


def is_caffemodel(path: str | Path) -> bool:
    """Whether an existing file is a binary caffemodel, by its first bytes."""
    try:
        head = head_of(path, "file")
    except InputError:
        return False
    text = is_text(head) and _mostly_ascii(head)
    return kinds.may_be_net(head) and not text and kinds.recognise(str(path), head) is None


def expect_caffemodel(path: str | Path) -> None:
    """Refuse what is clearly no binary caffemodel.

    Raises:
        InputError: the file cannot be read, or is clearly something else, which is named.
    """
    head = head_of(path, "caffemodel")
    _refuse_others(path, head, "caffemodel")
    if is_text(head) and _mostly_ascii(head):
        what = "a text file"
        if b"layer" in head or b"name:" in head or b"net:" in head:
            what = "a prototxt (text)"
        raise InputError(
            f"{path}: this is {what}, not a caffemodel; the order is PROTOTXT CAFFEMODEL"
        )


def _expect_prototxt(path: str | Path, head: bytes) -> None:
    _refuse_others(path, head, "prototxt")
    if b"\0" in head or not is_text(head):
        raise InputError(
            f"{shown(path)}: this is a binary file (a caffemodel?), not a prototxt; "
            "the order is PROTOTXT CAFFEMODEL"
        )


def _mostly_ascii(head: bytes) -> bool:
    """Floats may happen to hold no control character; text is not made of high bytes."""
    high = sum(byte >= 0x80 for byte in head)
    return high * 3 < len(head)


def is_text(head: bytes) -> bool:
    """Whether these bytes look like text: next to no control characters."""
    control = len(head) - len(head.translate(None, _CONTROL))
    return control * 200 <= len(head)
