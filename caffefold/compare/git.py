"""``caffefold diff`` as git's external diff driver.

git calls it with seven arguments (nine for a renamed file): path, old file, old hash, old mode,
new file, new hash, new mode, then the new path and how alike they are (git, GIT_EXTERNAL_DIFF).
A file that is no net (a solver whose net is elsewhere, a label map, a broken file) is compared as
text, so that ``git diff`` shows every change.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from caffefold.compare.diff import NetDiff, diff
from caffefold.errors import InputError
from caffefold.formats import detect
from caffefold.humanize import visible

_NOTHING = ("/dev/null", "nul")


class GitCall(NamedTuple):
    """What git asks for."""

    path: str
    old_file: str
    new_file: str
    new_path: str

    @classmethod
    def of(cls, arguments: tuple[str, ...]) -> GitCall:
        """The call that git's seven or nine arguments are."""
        path, old_file, _, _, new_file, _, _, *rest = arguments
        return cls(path, old_file, new_file, rest[0] if rest else path)

    @property
    def names(self) -> tuple[str, str]:
        """What both sides are called."""
        old = f"a/{self.path}" if self.old_file not in _NOTHING else "/dev/null"
        return old, f"b/{self.new_path}" if self.new_file not in _NOTHING else "/dev/null"

    def compare(self) -> NetDiff:
        """The difference, under the names that git shows.

        Raises:
            InputError: one of the files is no net.
        """
        found = diff(self.old_file, self.new_file)
        old, new = self.names
        notes = tuple(
            note.replace(self.old_file, old).replace(self.new_file, new) for note in found.notes
        )
        a = replace(found.a, path=old, weights="")
        b = replace(found.b, path=new, weights="")
        return replace(found, a=a, b=b, notes=notes)

    @property
    def one_sided(self) -> bool:
        """Whether the file came or went."""
        return "/dev/null" in self.names

    def as_text(self, why: str) -> Iterator[str]:
        """A plain diff of the files, or one line where they are binary; ``why`` it is one."""
        old, new = map(visible, self.names)
        if why:
            for file, name in ((self.old_file, old), (self.new_file, new)):
                why = why.replace(visible(file), name)
            yield f"cannot compare as nets: {why}"
        texts = [_text(self.old_file), _text(self.new_file)]
        if texts[0] is None or texts[1] is None:
            yield f"Binary files {old} and {new} differ"
            return
        for line in difflib.unified_diff(texts[0], texts[1], old, new, lineterm=""):
            yield visible(line, keep="\t")


def _text(file: str) -> list[str] | None:
    """The lines of a text file; None for other files."""
    if file in _NOTHING:
        return []
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot read this file: {error.strerror}") from None
    if data and (b"\0" in data[:4096] or not detect.is_text(data[:4096])):
        return None
    return data.decode("utf-8", "surrogateescape").splitlines()
