"""The records of a zoo: models to convert, files that belong to none, and what became of each.

Plain data that survives JSON: plans are cached and printed, outcomes are journalled and passed
between processes and machines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, field, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from caffefold._version import VERSION
from caffefold.frozen import dataclass
from caffefold.zoo.storage import FileState

Status = Literal["converted", "refused", "failed"]
Kind = Literal["started", "finished", "unchanged"]
Verdict = Literal["equal", "inconclusive", "different", "unverified"]
_R = TypeVar("_R", bound="_Record")


class _Record:
    """A dataclass to and from JSON."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """The record as plain data."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    @classmethod
    def of_json(cls: type[_R], data: Mapping[str, Any]) -> _R:
        """The record that ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        found: _R = _read(cls, data)
        return found


_types = cache(get_type_hints)


def _read(kind: Any, data: Any) -> Any:
    """``data`` of JSON as the type ``kind`` of a field."""
    inner = get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        types = _types(kind)
        return kind(**{name: _read(types[name], value) for name, value in dict(data).items()})
    if get_origin(kind) is tuple:
        return tuple(_read(inner[0], each) for each in data)
    if get_origin(kind) is UnionType:
        return None if data is None else _read(inner[0], data)
    return inner[inner.index(data)] if get_origin(kind) is Literal else data


@dataclass(frozen=True, slots=True)
class Model:
    """One conversion to do. Paths are relative to the plan's source, with ``/``."""

    name: str
    """Prefix of the results below the plan's target; unique."""
    caffemodel: str
    prototxts: tuple[str, ...] = ()
    """The prototxt to use, then those to try when it is refused."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword options of ``caffefold.convert`` in their JSON form."""
    size: int = 0
    """Bytes of the caffemodel: large models start first."""
    title: str = ""
    """The name that a model zoo's readme.md gives it."""
    sha1: str = ""
    """The SHA-1 of the caffemodel according to that readme.md."""
    problem: str = ""
    """Why it cannot be converted, if planning found that out."""
    onnx: bool = False
    """Whether its ONNX model is written beside the pair."""
    verify: str | None = None
    """The runtime that it is run in before and after; empty: none. None: as the zoo says."""

    def fingerprint(self) -> str:
        """Changes whenever the result might, the content of the files aside."""
        asked: list[Any] = [
            self.caffemodel,
            self.prototxts,
            self.options,
            self.title,
            self.sha1,
            self.problem,
        ]
        asked += ["onnx"] if self.onnx else []
        asked += ["verify", self.verify] if self.verify else []
        text = json.dumps([VERSION, *asked], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file of a zoo that is converted with no model, and why."""

    path: str
    kind: str
    """``prototxt``, ``solver``, ``snapshot``, ``readme``, ``skipped`` or ``folder``."""
    reason: str


@dataclass(frozen=True, slots=True)
class Plan(_Record):
    """What ``run`` does: every model of ``source``, converted into ``target``."""

    source: str
    target: str
    models: tuple[Model, ...]
    orphans: tuple[Orphan, ...] = ()
    key: str = field(default="", repr=False, compare=False)
    """A digest of all it was made from; the same again needs no planning. Empty: never cached."""
    urls: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Source and target with the passwords in them, where they are URLs; never written anywhere."""

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        document = asdict(self)
        del document["urls"]
        return document

    @property
    def places(self) -> tuple[str, str]:
        """Source and target, to be opened."""
        source, target = self.urls or (self.source, self.target)
        return source, target


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """What became of the ONNX model that was asked for beside a pair."""

    reason: str = ""
    """Why there is none, in one sentence; "" when there is one."""
    nodes: int = 0
    error: float | None = None
    """The largest error of the check, relative to the blob's largest number; None: not checked."""

    def __str__(self) -> str:
        if self.reason:
            return f"refused: {self.reason}"
        return "not checked" if self.error is None else f"{self.error:.1e}"


@dataclass(frozen=True, slots=True)
class Verified:
    """What running a net before and after found."""

    verdict: Verdict
    """``unverified``: it does not run there."""
    reason: str = ""
    """The verdict with its numbers, in one sentence; or why there is none."""

    def __str__(self) -> str:
        return f"unverified: {self.reason}" if self.verdict == "unverified" else self.verdict


@dataclass(frozen=True, slots=True)
class Facts:
    """What a conversion achieved: the columns of the result."""

    net: str
    layers_before: int
    layers_after: int
    folds: int
    """Layers that absorbed others."""
    folded: int
    """Layers that were absorbed."""
    largest_error: float
    """The largest error of the proof, relative to the layer's largest output."""
    bytes_before: int
    bytes_after: int
    left: Mapping[str, int]
    """How many layers were left alone, by the code of the reason."""
    warnings: tuple[str, ...] = ()
    onnx: OnnxFacts | None = None
    """None: no ONNX model was asked for."""


@dataclass(frozen=True, slots=True)
class Outcome(_Record):
    """What became of one model."""

    name: str
    status: Status
    reason: str = ""
    """One sentence, unless it was converted."""
    code: str = ""
    """``InputError``, ``ProofError`` ... ; ``Different``, ``Crashed``, ``TimedOut``, ``Bug`` ..."""
    prototxt: str = ""
    """The one that was used."""
    facts: Facts | None = None
    verified: Verified | None = None
    """None: nobody asked, or it did not come to that."""
    notes: tuple[str, ...] = ()
    inputs: tuple[FileState, ...] = ()
    outputs: tuple[FileState, ...] = ()
    fingerprint: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, model: Model, status: Status, code: str, reason: str) -> Outcome:
        """The outcome of a model that was not converted."""
        return cls(model.name, status, reason, code, fingerprint=model.fingerprint())


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a run."""

    kind: Kind
    model: Model
    done: int
    """Models that are finished, this one included."""
    total: int
    outcome: Outcome | None = None
    """None when the model has only started."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of every model of the plan, old and new, in the plan's order."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    worked: int = 0
    """How many models this run worked on; the others were up to date."""
    stopped: bool = False
    """Whether the first failure ended the run, as ``fail_fast`` asks for."""
    stale: tuple[str, ...] = ()
    """Models in the journal that the plan no longer has; their results are still there."""

    @property
    def pairs(self) -> list[tuple[Model, Outcome]]:
        """Each outcome with its model."""
        models = {model.name: model for model in self.plan.models}
        return [(models[outcome.name], outcome) for outcome in self.outcomes]

    @property
    def ok(self) -> bool:
        """Whether every model of the plan is converted."""
        done = sum(outcome.status == "converted" for outcome in self.outcomes)
        return done == len(self.plan.models)
