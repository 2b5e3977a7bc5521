"""Where a zoo lies: a tree of files in a local folder, or behind a URL that fsspec reaches.

Also files as they were, and whether they still are what they were.

Local files do not go through fsspec: its local file system reports no ctime and has no locks, so
little would be shared, and an optional package (100 ms to import) would become a required one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from pathlib import Path
from typing import Any, NamedTuple

from caffefold.errors import CaffefoldError, InputError, Option, OutputError, UsageError
from caffefold.extras import install
from caffefold.formats import disk
from caffefold.formats.atomic import write_file
from caffefold.frozen import dataclass

STATE = ".caffefold-zoo"
TEMPORARY = "caffefold-zoo-"  # what names of temporary folders begin with
_CHUNK = 1 << 20
UNREADABLE = -1  # size of what cannot be read; its stamp is then the reason
_PASSWORD = re.compile(r"(\w://[^\s/:@]*:)[^\s/]*@")
_TOKEN = re.compile(
    r"([?&][^\s=&]*(?:token|signature|sig|secret|password|key|credential)[^\s=&]*=)[^\s&]*",
    re.IGNORECASE,
)
_SYSTEM = ("/proc/", "/sys/", "/dev/")  # reading there may wait forever, or never end
# Object stores: an object appears whole when its upload is complete.
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "r2", "memory"})
_STAMPS = ("ETag", "etag", "md5Hash", "crc32c", "mtime", "LastModified", "last_modified", "created")


class Entry(NamedTuple):
    """A file that ``walk`` found. ``stamp`` changes when its content may have changed."""

    path: str
    size: int
    stamp: str


def need(package: str, why: str | Option, error: ImportError) -> UsageError:
    """The error for a package that is not installed."""
    return UsageError(why, f" needs {package} ({error}); {install(package)}")


@contextmanager
def failing(kind: type[CaffefoldError], place: object, what: str) -> Iterator[None]:
    """Turn what the system reports into one of our errors: ``PLACE: cannot WHAT: reason``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise kind(f"{place}: cannot {what}: {reason}") from None


@contextmanager
def _failing_remotely(
    kind: type[CaffefoldError], store: RemoteStorage, path: str, what: str
) -> Iterator[None]:
    """``failing`` for a store, whose client may raise anything, and show the password."""
    try:
        yield
    except (CaffefoldError, MemoryError):
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = public(reason.replace(store.url, store.root))
        raise kind(f"{store.shown(path)}: cannot {what}: {reason}") from None


def public(text: str) -> str:
    """``text`` without the passwords and tokens in its URLs."""
    text = _PASSWORD.sub(r"\1***@", text)
    return _TOKEN.sub(r"\1***", text)


def opened(path: Path, flags: int = 0) -> int:
    """A handle for reading and writing a file of this machine, which is made if need be."""
    with failing(OutputError, path, "write"):
        disk.make_folders(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | disk.PLAIN | disk.NONBLOCK | flags, 0o666)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "not a plain file")
        return handle


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """A folder of this machine, or one that several machines mount at the same path.

    All methods raise InputError when the zoo cannot be read, OutputError for everything else.
    """

    root: str
    local: bool = True
    """Whether files have paths of their own, to be read in place and renamed."""
    shared: bool = True
    """Whether other processes see the same files."""

    @property
    def address(self) -> str:
        """What ``open_storage`` takes."""
        return self.root

    def walk(self, skip: str = "") -> Iterator[Entry]:
        """Every file, sorted; without folders that hold a zoo's results, and without ``skip``.

        Links are followed, each folder is visited once.
        """
        if not Path(self.root).is_dir():
            raise InputError(f"{self.root}: no such directory; give the folder of the zoo")
        yield from self._below("", os.path.realpath(skip) if skip else "", set())

    def _below(self, prefix: str, skip: str, seen: set[tuple[int, int]]) -> Iterator[Entry]:
        folder = self.shown(prefix)
        try:
            status = os.stat(folder)  # noqa: PTH116
            with os.scandir(folder) as listing:
                found = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            reason = f"cannot read this folder: {error.strerror}"
            if not prefix:
                raise InputError(f"{folder}: {reason}") from None
            yield Entry(prefix, UNREADABLE, reason)
            return
        here = (status.st_dev, status.st_ino)
        if here in seen or (prefix and any(entry.name == STATE for entry in found)):
            return
        seen.add(here)
        for entry in found:
            name = prefix + entry.name
            with suppress(OSError):  # gone meanwhile, or a link to nowhere
                if entry.is_symlink() and f"{os.path.realpath(entry.path)}/".startswith(_SYSTEM):
                    yield Entry(name, UNREADABLE, "a link to a file of the system")
                    continue
                if entry.is_file():
                    yield _local_entry(name, entry.stat())
                    continue
                inner = entry.is_dir() and entry.name not in (".git", "__pycache__", STATE)
                if not inner or (skip and os.path.realpath(entry.path) == skip):
                    continue
                yield from self._below(name + "/", skip, seen)

    def stat(self, path: str) -> Entry | None:
        """The file as it is now; None when it is not there."""
        try:
            status = os.stat(self.shown(path))  # noqa: PTH116
        except OSError:
            return None
        return None if stat.S_ISDIR(status.st_mode) else _local_entry(path, status)

    def shown(self, path: str) -> str:
        """The path for people; joined as strings, for it happens thousands of times."""
        return os.path.join(self.root, path)  # noqa: PTH118

    def place(self, path: str) -> Path:
        """Where a file of ours goes.

        Raises:
            OutputError: a folder on the way to it is a link, or a file.
        """
        at = self.root
        for part in path.split("/")[:-1]:
            at = f"{at}/{part}"
            try:
                mode = os.lstat(at).st_mode
            except OSError:
                break  # not there yet, or it cannot be: whoever writes will say so
            if not stat.S_ISDIR(mode):
                what = "a symbolic link" if stat.S_ISLNK(mode) else "a file"
                raise OutputError(f"{at}: {what}, where a folder of results belongs; remove it")
        return Path(self.shown(path))

    def store(self, source: Path, path: str) -> None:
        """Put a file of the same file system in place, complete or not at all: it is renamed."""
        target = self.place(path)
        with failing(OutputError, target, "write"):
            disk.make_folders(target.parent)
            source.replace(target)

    def read(self, path: str) -> bytes | None:
        """The content; None when there is no such file, or a pipe or a device in its place."""
        missing = suppress(FileNotFoundError, NotADirectoryError)
        with failing(OutputError, self.shown(path), "read"), missing:
            handle = os.open(self.shown(path), os.O_RDONLY | disk.NONBLOCK)
            with os.fdopen(handle, "rb") as file:
                return file.read() if stat.S_ISREG(os.fstat(handle).st_mode) else None
        return None

    def write(self, path: str, data: bytes) -> None:
        """Replace the content, complete or not at all, through a temporary file."""
        target = self.place(path)
        with failing(OutputError, target, "write"):
            write_file(target, data)

    def remove(self, path: str) -> None:
        """Remove a file; it need not be there. What cannot be removed now, the next run clears."""
        with suppress(OSError):
            Path(self.shown(path)).unlink()

    def names(self, folder: str) -> list[str]:
        """Paths of the files below a folder, sorted; none when it is not there."""
        found = self.place(f"{folder}/").rglob("*")
        return sorted(path.relative_to(self.root).as_posix() for path in found if path.is_file())

    def clear(self, folder: str) -> None:
        """Remove a folder with all that is in it."""
        shutil.rmtree(self.place(f"{folder}/"), ignore_errors=True)


def _local_entry(path: str, status: os.stat_result) -> Entry:
    """ctime belongs to the stamp: it moves even when somebody sets mtime back."""
    return Entry(path, status.st_size, f"{status.st_mtime_ns}:{status.st_ctime_ns}")


@dataclass(frozen=True, slots=True)
class RemoteStorage:
    """A tree of files that fsspec reaches: ``s3://``, ``gs://``, ``memory://``, ``sftp://`` ...

    Credentials and endpoints come from where fsspec and the store's own client take them
    (environment, configuration files); the URL names only the place. Methods as in LocalStorage.
    """

    url: str = field(repr=False)
    """With the password in it, if there is one: for the client of the store alone."""
    local: bool = False

    @property
    def root(self) -> str:
        """The URL for everybody to see."""
        return public(self.url)

    @property
    def address(self) -> str:
        """What ``open_storage`` takes."""
        return self.url

    @property
    def shared(self) -> bool:
        """``memory://`` belongs to one process."""
        return not self.url.startswith("memory:")

    def walk(self, skip: str = "") -> Iterator[Entry]:
        """As ``LocalStorage``, from one listing."""
        system, base = self._open()
        with _failing_remotely(InputError, self, "", "list this"):
            if not system.isdir(base):
                raise InputError(f"{self.root}: no such folder; give the folder of the zoo")
            found = system.find(base, detail=True)
        start = base.rstrip("/") + "/"
        paths = {str(path).removeprefix(start): info for path, info in found.items()}
        zoos = {p.split(STATE)[0] for p in paths if STATE in p.split("/")} - {""}
        below = skip.removeprefix(self.root).strip("/") + "/" if skip else "\0"
        for path in sorted(paths):
            if not path.startswith((*zoos, below, f"{STATE}/")):
                yield _remote_entry(path, paths[path])

    def stat(self, path: str) -> Entry | None:
        """The file as it is now, not as a cached listing has it."""
        system, target = self._open(path)
        with _failing_remotely(OutputError, self, path, "read"), suppress(FileNotFoundError):
            system.invalidate_cache(posixpath.dirname(target))
            return _remote_entry(path, system.info(target))
        return None

    def shown(self, path: str) -> str:
        """The URL."""
        return f"{self.root}/{path}" if path else self.root

    def fetch(self, path: str, folder: Path) -> Path:
        """A copy in ``folder``."""
        system, source = self._open(path)
        target = folder / posixpath.basename(path)
        with _failing_remotely(InputError, self, path, "read"):
            try:
                system.get_file(source, str(target))
            except FileNotFoundError:
                raise InputError(f"{self.shown(path)}: no such file") from None
        return target

    def store(self, source: Path, path: str) -> None:
        """Upload; where an upload is not atomic, beside its place and then renamed."""
        system, target = self._open(path)
        with _failing_remotely(OutputError, self, path, "write"):
            if self._whole:
                system.put_file(str(source), target)
                return
            folder, name = posixpath.split(target)
            part = posixpath.join(folder, f".{name}.{source.stem}")
            system.makedirs(folder, exist_ok=True)
            system.put_file(str(source), part)
            with suppress(FileNotFoundError):
                system.rm_file(target)
            system.mv(part, target)

    def read(self, path: str) -> bytes | None:
        system, source = self._open(path)
        with _failing_remotely(OutputError, self, path, "read"), suppress(FileNotFoundError):
            return bytes(system.cat_file(source))
        return None

    def write(self, path: str, data: bytes) -> None:
        system, target = self._open(path)
        with _failing_remotely(OutputError, self, path, "write"):
            if not self._whole:
                system.makedirs(posixpath.dirname(target), exist_ok=True)
            system.pipe_file(target, data)

    def remove(self, path: str) -> None:
        system, target = self._open(path)
        with suppress(FileNotFoundError):
            system.rm_file(target)

    def names(self, folder: str) -> list[str]:
        """Paths of the files below a folder, from a fresh listing."""
        system, base = self._open()
        system.invalidate_cache()
        with suppress(FileNotFoundError):
            start = base.rstrip("/") + "/"
            found = system.find(posixpath.join(base, folder))
            return sorted(str(path).removeprefix(start) for path in found)
        return []

    def clear(self, folder: str) -> None:
        for path in self.names(folder):
            self.remove(path)

    @property
    def _whole(self) -> bool:
        return self.root.partition(":")[0] in _WHOLE

    def _open(self, path: str = "") -> tuple[Any, str]:
        """The file system and the path in it. fsspec keeps file systems, one for each process."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise need("fsspec", self.root, error) from None
        try:
            system, base = url_to_fs(self.url)
        except ImportError as error:
            scheme = self.root.partition(":")[0]
            raise UsageError(f"{self.root}: {scheme}:// needs a package: {error}") from None
        except ValueError as error:
            raise UsageError(f"{self.root}: {public(str(error))}") from None
        except Exception as error:  # each file system has its own ways to refuse a URL
            reason = public(str(error)) or type(error).__name__
            raise InputError(f"{self.root}: cannot be opened: {reason}") from None
        return system, posixpath.join(str(base), path) if path else str(base)


def _remote_entry(path: str, info: dict[str, Any]) -> Entry:
    stamps = [f"{key}={info[key]}" for key in _STAMPS if info.get(key) is not None]
    return Entry(path, int(info.get("size") or 0), " ".join(stamps))


Storage = LocalStorage | RemoteStorage
"""A tree of files; paths inside are relative to its root and use ``/``. Travels by pickle."""


def open_storage(root: str) -> Storage:
    """The storage at a path, or at a URL that fsspec reaches (``s3://bucket/zoo``)."""
    scheme, sign, rest = root.partition("://")
    if sign and scheme not in ("file", "local"):
        if "dask" in scheme.split("::"):
            raise UsageError(
                f"{public(root)}: dask:: would wait for a cluster; give the URL behind it"
            )
        return RemoteStorage(root.rstrip("/"))
    return LocalStorage(str(Path(rest if sign else root).absolute()))


@dataclass(frozen=True, slots=True)
class Copies:
    """Files of a storage on the local disk; in ``folder`` where they have no paths of their own."""

    storage: Storage
    folder: Path
    _known: dict[str, Path] = field(default_factory=dict)

    def of(self, path: str) -> Path:
        """The file, copied when it is first needed."""
        if isinstance(self.storage, LocalStorage):
            return Path(self.storage.shown(path))
        if path not in self._known:
            folder = self.folder / f"f{len(self._known)}"
            folder.mkdir()
            self._known[path] = self.storage.fetch(path, folder)
        return self._known[path]

    def named(self, text: str) -> str:
        """A message, with the paths of files in the zoo in place of where they lie."""
        if isinstance(self.storage, LocalStorage):
            return text.replace(f"{self.storage.root}/", "")
        for path, place in self._known.items():
            text = text.replace(str(place), path)
        return text


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was: content and the stamp that shows whether to read it again."""

    path: str
    bytes: int
    stamp: str
    sha256: str


def digest(path: Path, kind: str = "sha256") -> str:
    """The digest of a file, in hexadecimal digits."""
    made = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            made.update(chunk)
    return made.hexdigest()


def unchanged(storage: Storage, files: tuple[FileState, ...]) -> tuple[FileState, ...] | None:
    """The files with their present stamps when their content is the same, else None."""
    found = []
    for file in files:
        entry = storage.stat(file.path)
        if entry is None or entry.size != file.bytes:
            return None
        if entry.stamp != file.stamp:
            if not storage.local or not file.sha256:
                return None
            if digest(Path(storage.shown(file.path))) != file.sha256:
                return None
        found.append(replace(file, stamp=entry.stamp))
    return tuple(found)


def stamped(storage: Storage, files: tuple[FileState, ...]) -> tuple[FileState, ...]:
    """The files with their present stamps, where they are there."""
    entries = [storage.stat(file.path) for file in files]
    return tuple(
        replace(file, stamp=entry.stamp) if entry else file
        for file, entry in zip(files, entries, strict=True)
    )
