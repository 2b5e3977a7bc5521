"""The front matter of a model zoo's readme.md: which caffemodel, which name, which SHA-1.

    ---
    name: BVLC CaffeNet Model
    caffemodel: bvlc_reference_caffenet.caffemodel
    sha1: 4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46
    ---

The form of Caffe's own models/*/readme.md, which scripts/download_model_binary.py reads. It is
YAML, of which zoos use plain ``key: value`` lines only.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from caffefold.zoo.records import Orphan
from caffefold.zoo.storage import Storage

NAME = "readme.md"
_LINE = re.compile(r"([A-Za-z_][\w-]*)\s*:\s*(.*?)\s*\Z")
_SHA1 = re.compile(r"[0-9a-fA-F]{40}\Z")


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """What a readme says of the caffemodel beside it."""

    name: str
    caffemodel: str
    sha1: str = ""
    """Empty, or 40 lower-case hexadecimal digits."""
    url: str = ""
    problem: str = ""
    """What is wrong with it, if anything."""


def read_all(storage: Storage, paths: Iterable[str]) -> tuple[dict[str, FrontMatter], list[Orphan]]:
    """The front matter in a zoo by the caffemodel it describes, and what is wrong with it."""
    known = set(paths)
    found: dict[str, FrontMatter] = {}
    orphans: list[Orphan] = []
    for path in sorted(known):
        folder, name = posixpath.split(path)
        if name.lower() != NAME:
            continue
        front = parse((storage.read(path) or b"").decode("utf-8", "replace"))
        if front is None:
            continue
        if front.problem:
            orphans.append(Orphan(path, "readme", front.problem))
        target = posixpath.normpath(posixpath.join(folder, front.caffemodel))
        if target in known:
            found[target] = front
        else:
            where = f"; it is at {front.url}" if front.url else ""
            reason = f"names {front.caffemodel}, which is not there{where}"
            orphans.append(Orphan(path, "readme", reason))
    return found, orphans


def parse(text: str) -> FrontMatter | None:
    """The front matter of a readme; None when it has none, or one that names no caffemodel."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    values: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() in ("---", "..."):
            break
        match = _LINE.match(line)
        if match:
            values.setdefault(match[1], _plain(match[2]))
    else:
        return None  # never closed: a rule across the page
    if not values.get("caffemodel"):
        return None
    sha1 = values.get("sha1", "")
    problem = ""
    if sha1 and not _SHA1.match(sha1):
        problem = f"sha1 is '{sha1}', expected 40 hexadecimal digits"
        sha1 = ""
    return FrontMatter(
        values.get("name", ""),
        values["caffemodel"],
        sha1.lower(),
        values.get("caffemodel_url", ""),
        problem,
    )


def _plain(value: str) -> str:
    """A YAML scalar: quotes and a comment behind it taken off."""
    if value[:1] in ("'", '"'):
        end = value.find(value[0], 1)
        return value[1:end] if end > 0 else value
    return re.split(r"\s#", value)[0].strip()
