"""Where the one result of a command goes: never onto its input, nor onto a file unasked."""

from __future__ import annotations

from pathlib import Path

from caffefold.errors import ExistingOutput, OutputError
from caffefold.formats import detect, groups


def check_target(source: Path, target: Path, force: bool) -> None:
    """Refuse a place that ``target`` must not be written to.

    Raises:
        ExistingOutput: a file is there, without ``force``.
        OutputError: it is a directory, or the input.
    """
    if not target.name or target.is_dir():
        raise OutputError(f"{target}: a directory; give the file to write")
    groups.mend(target)
    if target.exists():
        if not detect.is_stream(source) and target.samefile(source):
            raise OutputError(f"{target}: this is the input; choose another output")
        if not force:
            raise ExistingOutput(str(target))
