"""Files that are replaced together: the journal that says so, and how it is read after a crash.

While a group is replaced, ``.NAME.commit`` stands beside each of its files: one file under several
names, which lists them all, as they were and as they will be. The one beside the first file is
the head: the group is old until it is there, and new as soon as it is gone (docs/files.md).

    journal    the list is written and synced under all names, the head's last
    aside      what stands in a place gets a second name, ``.NAME.PID.old``
    replaced   each new file is renamed to its place
    done       the head is removed, then the other names, then what was set aside

Whoever commits holds a lock on the journal. A journal without a living holder is left by a run that
was killed: ``check`` tells readers whether its files belong together, ``mend`` puts what was set
aside back. Readers never write.
"""

# As in ``disk``: the functions of ``os``, which tests make fail one by one.
# ruff: noqa: PTH105, PTH108, PTH119

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from caffefold.errors import TornGroup
from caffefold.formats import disk

_PATIENCE = 10.0  # seconds that a reader or writer waits for a living commit, which takes a few ms
_LARGEST = 1 << 20  # bytes of a journal
_JOURNAL, _OLD, _PART = "commit", "old", "part"
_LEFT = re.compile(r".*\.([0-9]+\.(?:old|part))", re.DOTALL)


class Member(NamedTuple):
    """A file of a group, by name, and what is known to be, or to have been, in its place."""

    name: str
    new: int
    """Identity of the new file (inode)."""
    old: int | None
    """Identity of the file that is replaced; None: there was none."""
    aside: str
    """The second name of the file that is replaced."""


Group = tuple[Member, ...]


def part_of(target: Path) -> Path:
    """Where ``target`` is made, beside its place."""
    return disk.beside(target, f"{os.getpid()}.{_PART}")


def _journal_of(target: Path) -> Path:
    return disk.beside(target, _JOURNAL)


# ------------------------------------------------------------------------------------ committing


def replace_all(files: Sequence[tuple[Path, Path]]) -> None:
    """Rename each made file to its target, all of which lie in one folder: all or none.

    Raises:
        OSError: one cannot be replaced; every target holds what it held before.
        TornGroup: one cannot be replaced, and those before it cannot be put back: as after a crash.
    """
    folder = files[0][1].parent
    if len(files) == 1:
        os.replace(*files[0])
        disk.sync_folder(folder)
        return
    group = tuple(_member(made, target) for made, target in files)
    with _journalled(folder, group):
        moved = _set_aside(folder, group)
        disk.sync_folder(folder)
        for (made, target), member in zip(files, group, strict=True):
            if member in moved:
                os.replace(target, folder / member.aside)
            os.replace(made, target)
        disk.sync_folder(folder)


def finish(files: Sequence[tuple[Path, Path]]) -> None:
    """Rename what a killed ``replace_all`` of the same files has not renamed: those still made.

    Raises:
        OSError: a file cannot be replaced; the group stays torn.
        OutputError: another process is writing to one of the targets.
    """
    left = [(made, target) for made, target in files if os.path.lexists(made)]
    if len(left) < len(files):
        for made, target in left:
            os.replace(made, target)
        disk.sync_folder(files[0][1].parent)
    for _, target in files:
        mend(target)
    if len(left) == len(files):
        replace_all(files)


def _member(made: Path, target: Path) -> Member:
    if target.is_dir() and not target.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    new = os.lstat(made).st_ino
    aside = disk.beside(target, f"{os.getpid()}.{_OLD}").name
    return Member(target.name, new, disk.identity(target), aside)


@contextmanager
def _journalled(folder: Path, group: Group) -> Iterator[None]:
    """With the journal in place, and the head's removal as the moment at which all is done."""
    head, *others = (_journal_of(folder / member.name) for member in group)
    data = json.dumps({"schema": 1, "group": group}).encode()
    handles: list[int] = []
    names: list[Path] = []
    try:
        for journal in (*others, head):
            if not (names and _linked(names[0], journal)):
                handles.append(_written(journal, data))
            names.append(journal)
        yield
        os.unlink(head)
    except BaseException as error:
        try:
            if head in names:
                _put_back(folder, group)
        except OSError as why:
            reason = f"{_reason(error)}, nor can it be put back: {_reason(why)}"
            raise TornGroup(str(folder / group[0].name), _names(group), reason) from None
        _forget(folder, group, reversed(names))
        raise
    else:
        _forget(folder, group, others)
    finally:
        for handle in handles:
            os.close(handle)


def _linked(journal: Path, name: Path) -> bool:
    """Whether the journal has a further name now; False: the file system has no links."""
    try:
        os.link(journal, name)
    except FileExistsError:
        raise BlockingIOError(errno.EBUSY, "another process is replacing it") from None
    except OSError:
        return False
    return True


def _written(journal: Path, data: bytes) -> int:
    """A new journal, on the disk and locked; everybody who sees the files may read it."""
    handle = disk.create(journal)
    try:
        disk.set_mode(handle, 0o644)
        disk.write_all(handle, data)
        os.fsync(handle)
    except BaseException:
        os.close(handle)
        with suppress(OSError):
            os.unlink(journal)
        raise
    return handle


def _set_aside(folder: Path, group: Group) -> set[Member]:
    """Give what is replaced a second name; those for which that is not possible."""
    failed = set()
    for member in group:
        if member.old is None:
            continue
        aside = folder / member.aside
        with suppress(FileNotFoundError):
            os.unlink(aside)
        try:
            os.link(folder / member.name, aside, follow_symlinks=False)
        except (OSError, NotImplementedError):
            failed.add(member)
    return failed


def _put_back(folder: Path, group: Group) -> None:
    """Give every place what it held before; once more does no harm."""
    for member in reversed(group):
        target, aside = folder / member.name, folder / member.aside
        if os.path.lexists(aside):
            os.replace(aside, target)
            with suppress(FileNotFoundError):
                os.unlink(aside)  # two names of one file: nothing was renamed
        elif member.old is None and disk.identity(target) == member.new:
            os.unlink(target)
        elif member.old is not None and disk.identity(target) != member.old:
            raise FileNotFoundError(errno.ENOENT, f"{aside.name} is gone")
    disk.sync_folder(folder)


def _forget(folder: Path, group: Group, journals: Iterable[Path]) -> None:
    """Remove the journal, the head first, and what was set aside. What stays, the next run clears.

    Only of a group that is whole, so that it does not matter where this ends.
    """
    asides = (folder / member.aside for member in group if member.old is not None)
    for path in 2 * (*journals, *asides):  # a disk that failed once may do it now
        with suppress(OSError):
            os.unlink(path)


# --------------------------------------------------------------------------------- after a crash


def check(path: Path) -> None:
    """Refuse a file of a group that a killed run replaced only in part. One look at the folder.

    Raises:
        TornGroup: its files do not belong together.
        OSError: the journal cannot be read.
    """
    handle = disk.open_plain(_journal_of(path))
    if handle is None:
        return
    try:
        if not _await(handle, shared=True):
            raise BlockingIOError(errno.EBUSY, "another process is replacing it")
        group = _read(handle)
    finally:
        os.close(handle)
    if group and _is_begun(path.parent, group) and not _is_whole(path.parent, group):
        raise TornGroup(str(path), _names(group))


def mend(target: Path, *, parts: bool = True) -> None:
    """Bring a group that a killed run left half replaced back to what it was.

    Args:
        target: a file that is going to be written.
        parts: also remove files of dead runs beside it.

    Raises:
        OutputError: another process is writing it, or it cannot be brought back.
    """
    journal, folder = _journal_of(target), target.parent
    try:
        while (handle := disk.open_plain(journal, os.O_RDWR)) is not None:
            try:
                if not _await(handle):
                    raise BlockingIOError(errno.EBUSY, "another process is writing it")
                if not disk.is_at(handle, journal):
                    continue  # it was done meanwhile
                group = _read(handle)
                if group and _is_begun(folder, group) and not _is_whole(folder, group):
                    _put_back(folder, group)
                names = [_journal_of(folder / member.name) for member in group or ()]
                _forget(folder, group or (), names)
                if os.path.lexists(journal):
                    os.unlink(journal)
            finally:
                os.close(handle)
        if os.path.lexists(journal):  # a link or a pipe in its place
            os.unlink(journal)
        if parts:
            _clear(target)
    except OSError as error:
        raise disk.output_error(target, error) from None


def _clear(target: Path) -> None:
    """Remove parts and what was set aside by runs that are dead: parts of the living are locked."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(target.parent) as listing:
        for entry in listing:
            left = _LEFT.fullmatch(entry.name)
            if left and entry.name == disk.beside(target, left[1]).name:
                path = target.with_name(entry.name)
                if not disk.is_in_use(path):
                    with suppress(FileNotFoundError):
                        os.unlink(path)


def _await(handle: int, *, shared: bool = False) -> bool:
    """Wait until no living process holds the journal; False when that takes too long."""
    deadline = time.monotonic() + _PATIENCE
    while not disk.lock(handle, shared=shared):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _read(handle: int) -> Group | None:
    """The group that a journal lists; None: it was never finished, so nothing was replaced."""
    data = os.pread(handle, _LARGEST, 0)
    with suppress(ValueError, KeyError, TypeError):
        group = tuple(Member(*each) for each in json.loads(data)["group"])
        if group and all(map(_is_sane, group)):
            return group
    return None


def _is_sane(member: Member) -> bool:
    """Whether it names files of its own folder only: anybody may have written the journal."""
    plain = os.path.basename(member.name) == member.name not in ("", ".", "..")
    left = _LEFT.fullmatch(member.aside)
    return bool(
        plain and left and disk.beside(Path(member.name), left[1]).name == member.aside
    ) and all(isinstance(number, (int, type(None))) for number in (member.new, member.old))


def _is_begun(folder: Path, group: Group) -> bool:
    """Whether the head of the group says the same: else it was not begun, or is done."""
    handle = disk.open_plain(_journal_of(folder / group[0].name))
    if handle is None:
        return False
    try:
        return _read(handle) == group
    finally:
        os.close(handle)


def _is_whole(folder: Path, group: Group) -> bool:
    """Whether all files are the old ones, or all the new ones."""
    now = [disk.identity(folder / member.name) for member in group]
    return now in ([member.old for member in group], [member.new for member in group])


def _names(group: Group) -> tuple[str, ...]:
    return tuple(member.name for member in group)


def _reason(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
