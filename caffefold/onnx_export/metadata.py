"""What a model says of itself, the digests of the files it was made of among it."""

from __future__ import annotations

import hashlib
import json
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from caffefold._version import VERSION
from caffefold.errors import InputError
from caffefold.ir.net import Net
from caffefold.report import DeployResult

_HASHED = 32 << 20  # bytes; a larger file is told by a checksum, which costs a tenth
_BLOCK = 1 << 20


class Digest(threading.Thread):
    """The digest of a file, computed beside everything else."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self._found: str | OSError = ""
        self.start()

    def run(self) -> None:
        """Read the file."""
        try:
            self._found = digest(self.path)
        except OSError as error:
            self._found = error

    def text(self) -> str:
        """The name of the file and its digest.

        Raises:
            InputError: the file can no longer be read.
        """
        self.join()
        if isinstance(self._found, OSError):
            raise InputError(f"{self.path}: cannot read: {self._found.strerror}")
        return f"{self.path.name} {self._found}"


def digest(path: Path) -> str:
    """``sha256:...`` of a file; of one beyond 32 MB ``crc32:...``, with its size."""
    large = path.stat().st_size > _HASHED
    crc, sha = 0, hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            if large:
                crc = zlib.crc32(block, crc)
            else:
                sha.update(block)
    return f"crc32:{crc:08x} bytes:{path.stat().st_size}" if large else f"sha256:{sha.hexdigest()}"


class Metadata(Mapping[str, str]):
    """What a model says of itself: nothing that depends on when or where it was made.

    Digests are waited for when they are read: a model is written while its sources are.
    """

    def __init__(
        self, net: Net, digests: Iterable[Digest], deploy: DeployResult, names: Mapping[int, str]
    ) -> None:
        self._found: dict[str, str | Digest] = {"caffefold": VERSION}
        for each in digests:
            kind = "prototxt" if str(each.path) == net.document.path else "caffemodel"
            self._found[f"source_{kind}"] = each
        if deploy.preprocessing:
            self._found["preprocessing"] = json.dumps(deploy.preprocessing, sort_keys=True)
        if names:
            self._found["labels"] = json.dumps(names, ensure_ascii=False)

    def __getitem__(self, key: str) -> str:
        value = self._found[key]
        return value.text() if isinstance(value, Digest) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
