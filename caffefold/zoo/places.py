"""From a path or URL to the storage behind it."""

from __future__ import annotations

from pathlib import Path

from caffefold.zoo.local import LocalStorage
from caffefold.zoo.remote import RemoteStorage
from caffefold.zoo.storage import Storage


def open_storage(root: str) -> Storage:
    """The storage at a path, or at a URL that fsspec reaches (``s3://bucket/zoo``)."""
    scheme, sign, rest = root.partition("://")
    if not sign:
        return LocalStorage(str(Path(root).absolute()))
    if scheme in ("file", "local"):
        return LocalStorage(str(Path(rest).absolute()))
    return RemoteStorage(root.rstrip("/"))
