"""The exceptions caffefold raises, one tree:

    CaffefoldError                 everything caffefold raises on purpose
    ├── UsageError        exit 2   the call is wrong: contradicting or missing options
    ├── InputError        exit 3   a file given to us is missing, broken or does not fit
    │   ├── TextError              a prototxt: path:line:column and the line itself
    │   ├── WeightsError           a caffemodel: path and byte offset
    │   └── ModelError             well-formed files whose content makes no valid net
    ├── OutputError       exit 3   a result cannot be written where it was asked for
    └── ProofError        exit 1   the written pair does not compute what the input computes

Every message is one line that says where, what, and what to do about it.
"""

from __future__ import annotations

LONGEST = 2_000  # characters of a message: names come from files, and a file may name a megabyte


class CaffefoldError(Exception):
    """Root of the tree; ``exit_code`` is what the command line returns for it.

    Whatever a file puts into a message, it stays one line of at most ``LONGEST`` characters.
    """

    exit_code = 4

    def __init__(self, message: str = "") -> None:
        super().__init__(_line(message))


def _line(message: str) -> str:
    """``message`` with control characters escaped; a long one without its middle."""
    if len(message) > LONGEST:
        message = f"{message[: LONGEST // 2]} ... {message[5 - LONGEST // 2 :]}"
    if message.isprintable():
        return message
    return "".join(c if c not in _BREAKS else c.encode("unicode_escape").decode() for c in message)


# What a terminal or str.splitlines takes for the end of a line, and the other C0 and C1 controls.
_BREAKS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)))


class UsageError(CaffefoldError):
    """Options that contradict each other, or that the given files do not allow."""

    exit_code = 2


class InputError(CaffefoldError):
    """An input file is missing, unreadable, broken, or not what it was given as."""

    exit_code = 3


class TextError(InputError):
    """A prototxt is wrong at one place.

    ``line`` and ``column`` count from 1; ``source_line`` is the offending line, shown under the
    message by the command line.
    """

    def __init__(
        self, message: str, *, path: str, line: int, column: int, source_line: str = ""
    ) -> None:
        super().__init__(f"{path}:{line}:{column}: {message}")
        self.path = path
        self.line = line
        self.column = column
        self.source_line = source_line


class WeightsError(InputError):
    """A caffemodel is damaged or refused; ``offset`` is the byte where it was noticed, if any."""

    def __init__(self, message: str, *, path: str, offset: int | None = None) -> None:
        where = path if offset is None else f"{path}: byte {offset}"
        super().__init__(f"{where}: {message}")
        self.path = path
        self.offset = offset


class ModelError(InputError):
    """The files are readable, but what they say together is not a valid net."""


class OutputError(CaffefoldError):
    """A result cannot be written: exists already, no permission, disk full, equals an input."""

    exit_code = 3


class ProofError(CaffefoldError):
    """The proof failed: nothing was put in place."""

    exit_code = 1
