"""The exceptions caffefold raises, one tree:

    CaffefoldError                 everything caffefold raises on purpose
    ├── UsageError        exit 2   the call is wrong: contradicting or missing options
    │   ├── UnknownName            an option names a blob, a layer or a stage that the net lacks
    │   └── MissingShape           the shape of an input is neither in the net nor given
    ├── InputError        exit 3   a file given to us is missing, broken or does not fit
    │   ├── TextError              a prototxt: path:line:column and the line itself
    │   ├── WeightsError           a caffemodel: path and byte offset
    │   ├── TornGroup              files that a killed run replaced only in part
    │   └── ModelError             well-formed files whose content makes no valid net
    │       └── ForeignWeights     a caffemodel that belongs to another prototxt
    ├── OutputError       exit 3   a result cannot be written to its place
    │   └── ExistingOutput         it already exists
    └── ProofError        exit 1   the written pair does not compute what the input computes

Every message is one line: where, what, and what to do about it. Options in it are
``Option`` values, so that the command line can spell them its own way (``Text.spelled``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from caffefold.humanize import visible

LONGEST = 2_000  # characters of a message: names come from files, and a file may name a megabyte
_E = TypeVar("_E", bound="CaffefoldError")


class Option(NamedTuple):
    """An option in a message: its name in ``caffefold.options``, and a value if there is one."""

    name: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.value}".rstrip()


class Text(str):
    """A message or warning; its ``parts`` keep the options in it apart."""

    __slots__ = ("parts",)
    parts: tuple[str | Option, ...]

    def __new__(cls, *parts: str | Option) -> Text:
        text = super().__new__(cls, "".join(map(str, parts)))
        text.parts = parts
        return text

    def spelled(self, spell: Callable[[Option], str]) -> str:
        """The text with each option spelled by ``spell``."""
        return "".join(spell(p) if isinstance(p, Option) else p for p in self.parts)


class CaffefoldError(Exception):
    """Root of the tree; ``exit_code`` is what the command line returns for it.

    Whatever a file puts into a message, it stays one line of at most ``LONGEST`` characters.
    """

    exit_code = 4

    def __init__(self, *message: str | Option) -> None:
        self.text = Text(*message)
        super().__init__(_line(self.text))

    def __reduce__(self) -> tuple[object, ...]:
        """For pickling: errors come back from worker processes with all they carry."""
        return _rebuilt, (type(self), self.args, self.__dict__)

    def advised(self: _E, *advice: str | Option) -> _E:
        """This error with more at the end of its message: what to do about it."""
        self.text = Text(*self.text.parts, *advice)
        self.args = (_line(self.text),)
        return self

    def spelled(self, spell: Callable[[Option], str]) -> str:
        """The message with each option spelled by ``spell``."""
        return _line(self.text.spelled(spell))

    def as_warning(self) -> Text:
        """The message in one line, for what goes on regardless; options are kept apart."""
        return Text(*(p if isinstance(p, Option) else _line(p) for p in self.text.parts))


def _rebuilt(kind: type[_E], args: tuple[object, ...], data: dict[str, object]) -> _E:
    error = kind.__new__(kind, *args)
    error.__dict__.update(data)
    return error


def _line(message: str) -> str:
    """``message`` as it can be shown; a long one without its middle."""
    if len(message) > LONGEST:
        message = f"{message[: LONGEST // 2]} ... {message[5 - LONGEST // 2 :]}"
    return visible(message)


class UsageError(CaffefoldError):
    """Options that contradict each other, or that the given files do not allow."""

    exit_code = 2


class UnknownName(UsageError):  # noqa: N818
    """``option`` names something that the net does not have; ``known`` is what it has."""

    def __init__(self, option: str, value: str, reason: str, known: tuple[str, ...]) -> None:
        super().__init__(Option(option, value), f": {reason} {', '.join(known) or 'none'}")
        self.option = option
        self.value = value
        self.known = known


class UnknownInput(UnknownName):
    """A shape was given for ``blob``, which is not an input of the net; ``known`` are those."""

    def __init__(self, blob: str, known: tuple[str, ...]) -> None:
        reason = f"'{blob}' is not an input of this net; its inputs are"
        super().__init__("input_shapes", f"{blob}=...", reason, known)
        self.blob = blob


class MissingShape(UsageError):  # noqa: N818
    """Neither the net nor the options give the shape of the input ``blob``.

    ``layer`` makes it in the training net; ``known`` are the sizes that are known, None the others,
    and ``axes`` a letter for each.
    """

    def __init__(
        self,
        message: str,
        *,
        blob: str,
        layer: str,
        known: tuple[int | None, ...],
        axes: str = "NCHW",
    ) -> None:
        shown = ",".join(axes[i] if dim is None else str(dim) for i, dim in enumerate(known))
        super().__init__(f"{message}; give ", Option("input_shapes", f"{blob}={shown}"))
        self.blob = blob
        self.layer = layer
        self.known = known


class InputError(CaffefoldError):
    """An input file is missing, unreadable, broken, or of the wrong kind."""

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


class TornGroup(InputError):  # noqa: N818
    """``path`` is one of ``names``, files of one folder of which a killed run replaced only some.

    ``reason`` says why a run that still lives could not put them back.
    """

    def __init__(self, path: str, names: tuple[str, ...], reason: str = "") -> None:
        why = f"cannot write: {reason}" if reason else "the run that wrote it was ended half way"
        super().__init__(
            f"{path}: {why}: {', '.join(names)} are partly old, partly new; 'caffefold convert' "
            "(or whatever wrote them) to the same place puts the old ones back first"
        )
        self.path = path
        self.names = names


class ModelError(InputError):
    """The files are readable, but together they make no valid net."""


class ForeignWeights(ModelError):  # noqa: N818
    """The caffemodel ``weights``, whose net is called ``called``, belongs to another prototxt."""

    def __init__(self, message: str, *, weights: str, called: str) -> None:
        super().__init__(message)
        self.weights = weights
        self.called = called


class OutputError(CaffefoldError):
    """A result cannot be written: already exists, no permission, disk full, equals an input."""

    exit_code = 3


class ExistingOutput(OutputError):  # noqa: N818
    """A result already exists, and replacing it was not requested; ``path`` is its place."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: already exists; use ", Option("force"), " to replace it")
        self.path = path


class ProofError(CaffefoldError):
    """The proof failed: no output was written. ``layer`` is the layer, or the blob, it failed at;
    "" where it was the net as a whole."""

    exit_code = 1

    def __init__(self, message: str, *, layer: str = "") -> None:
        super().__init__(message)
        self.layer = layer
