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

from caffefold.zoo.records import Orphan
from caffefold.zoo.storage import Storage

NAME = "readme.md"
_LINE = re.compile(r"([A-Za-z_][\w-]*)\s*:\s*(.*?)\s*\Z")
_SHA1 = re.compile(r"[0-9a-fA-F]{40}\Z")


def read_all(
    storage: Storage, paths: Iterable[str]
) -> tuple[dict[str, tuple[str, str]], list[Orphan]]:
    """By caffemodel its name and SHA-1 (40 lower-case digits, or empty); and what is wrong."""
    known = set(paths)
    found: dict[str, tuple[str, str]] = {}
    orphans: list[Orphan] = []
    for path in sorted(known):
        folder, name = posixpath.split(path)
        if name.lower() != NAME:
            continue
        front = _parse((storage.read(path) or b"").decode("utf-8", "replace"))
        if not front.get("caffemodel"):
            continue
        sha1 = front.get("sha1", "")
        if sha1 and not _SHA1.match(sha1):
            reason = f"sha1 is '{sha1}', expected 40 hexadecimal digits"
            orphans.append(Orphan(path, "readme", reason))
            sha1 = ""
        target = posixpath.normpath(posixpath.join(folder, front["caffemodel"]))
        if target in known:
            found[target] = front.get("name", ""), sha1.lower()
        else:
            url = front.get("caffemodel_url")
            where = f"; it is at {url}" if url else ""
            reason = f"names {front['caffemodel']}, which is not there{where}"
            orphans.append(Orphan(path, "readme", reason))
    return found, orphans


def _parse(text: str) -> dict[str, str]:
    """The front matter of a readme; empty when it has none."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    values: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() in ("---", "..."):
            return values
        match = _LINE.match(line)
        if match:
            values.setdefault(match[1], _plain(match[2]))
    return {}  # never closed: a rule across the page


def _plain(value: str) -> str:
    """A YAML scalar: quotes and a comment behind it taken off."""
    if value[:1] in ("'", '"'):
        end = value.find(value[0], 1)
        return value[1:end] if end > 0 else value
    return re.split(r"\s#", value)[0].strip()
