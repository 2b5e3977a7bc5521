"""A zoo behind a URL, through fsspec: ``s3://``, ``gs://``, ``memory://``, ``sftp://`` ...

Credentials and endpoints come from where fsspec and the store's own client take them (environment,
configuration files); the URL names only the place.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffefold.errors import InputError, OutputError, UsageError
from caffefold.zoo.storage import STATE, Entry, need

# Object stores: an object appears whole when its upload is complete.
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "r2", "memory"})
_STAMPS = ("ETag", "etag", "md5Hash", "crc32c", "mtime", "LastModified", "last_modified", "created")


@dataclass(frozen=True, slots=True)
class RemoteStorage:
    """A tree of files that fsspec reaches."""

    root: str
    local: bool = False

    @property
    def shared(self) -> bool:
        """``memory://`` belongs to one process."""
        return not self.root.startswith("memory:")

    def walk(self, skip: str = "") -> Iterator[Entry]:
        """Every file below the root, from one listing."""
        system, base = self._open()
        try:
            if not system.isdir(base):
                raise InputError(f"{self.root}: no such folder; give the folder of the zoo")
            found = system.find(base, detail=True)
        except OSError as error:
            raise InputError(f"{self.root}: cannot list this: {_said(error)}") from None
        start = base.rstrip("/") + "/"
        paths = {str(path).removeprefix(start): info for path, info in found.items()}
        zoos = {p.split(STATE)[0] for p in paths if STATE in p.split("/")} - {""}
        below = skip.removeprefix(self.root).strip("/") + "/" if skip else "\0"
        for path in sorted(paths):
            if not path.startswith((*zoos, below, f"{STATE}/")):
                yield _entry(path, paths[path])

    def stat(self, path: str) -> Entry | None:
        """The file as it is now, not as a cached listing has it."""
        system, base = self._open()
        target = posixpath.join(base, path)
        try:
            system.invalidate_cache(posixpath.dirname(target))
            info = system.info(target)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"{self.shown(path)}: cannot read: {_said(error)}") from None
        return _entry(path, info)

    def shown(self, path: str) -> str:
        """The URL."""
        return f"{self.root}/{path}" if path else self.root

    def fetch(self, path: str, folder: Path) -> Path:
        """A copy in ``folder``."""
        system, base = self._open()
        target = folder / posixpath.basename(path)
        try:
            system.get_file(posixpath.join(base, path), str(target))
        except FileNotFoundError:
            raise InputError(f"{self.shown(path)}: no such file") from None
        except OSError as error:
            raise InputError(f"{self.shown(path)}: cannot read: {_said(error)}") from None
        return target

    def store(self, source: Path, path: str) -> None:
        """Upload; where an upload is no atom, beside its place and then renamed."""
        system, base = self._open()
        target = posixpath.join(base, path)
        try:
            if self.root.partition(":")[0] in _WHOLE:
                system.put_file(str(source), target)
            else:
                system.makedirs(posixpath.dirname(target), exist_ok=True)
                part = posixpath.join(
                    posixpath.dirname(target), f".{posixpath.basename(target)}.{source.stem}"
                )
                system.put_file(str(source), part)
                with suppress(FileNotFoundError):
                    system.rm_file(target)
                system.mv(part, target)
        except OSError as error:
            raise OutputError(f"{self.shown(path)}: cannot write: {_said(error)}") from None

    def read(self, path: str) -> bytes | None:
        """The content."""
        system, base = self._open()
        try:
            return bytes(system.cat_file(posixpath.join(base, path)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"{self.shown(path)}: cannot read: {_said(error)}") from None

    def write(self, path: str, data: bytes) -> None:
        """Replace the content."""
        system, base = self._open()
        target = posixpath.join(base, path)
        try:
            if self.root.partition(":")[0] not in _WHOLE:
                system.makedirs(posixpath.dirname(target), exist_ok=True)
            system.pipe_file(target, data)
        except OSError as error:
            raise OutputError(f"{self.shown(path)}: cannot write: {_said(error)}") from None

    def remove(self, path: str) -> None:
        """Remove a file."""
        system, base = self._open()
        with suppress(FileNotFoundError):
            system.rm_file(posixpath.join(base, path))

    def names(self, path: str) -> list[str]:
        """Paths of the files below ``path``, from a fresh listing."""
        system, base = self._open()
        folder = posixpath.join(base, path)
        system.invalidate_cache()
        with suppress(FileNotFoundError):
            start = base.rstrip("/") + "/"
            return sorted(str(found).removeprefix(start) for found in system.find(folder))
        return []

    def _open(self) -> tuple[Any, str]:
        """fsspec keeps the instances of file systems, and makes new ones in new processes."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise need("fsspec", "remote", self.root, error) from None
        try:
            system, base = url_to_fs(self.root)
        except ImportError as error:
            scheme = self.root.partition(":")[0]
            raise UsageError(f"{self.root}: {scheme}:// needs a package: {error}") from None
        except ValueError as error:
            raise UsageError(f"{self.root}: {error}") from None
        return system, str(base)


def _entry(path: str, info: dict[str, Any]) -> Entry:
    stamps = [f"{key}={info[key]}" for key in _STAMPS if info.get(key) is not None]
    return Entry(path, int(info.get("size") or 0), " ".join(stamps))


def _said(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
