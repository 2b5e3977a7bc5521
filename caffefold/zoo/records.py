"""The records of a zoo: models to convert, files that belong to none, and what became of each.

Plain data that survives JSON: plans are cached and printed, outcomes are journalled and travel
between processes and machines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from caffefold._version import VERSION

Status = Literal["converted", "refused", "failed"]
Kind = Literal["started", "finished", "unchanged"]
CONVERTED: Status = "converted"
REFUSED: Status = "refused"
FAILED: Status = "failed"


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

    def fingerprint(self) -> str:
        """Changes whenever the result might, the content of the files aside."""
        asked = [self.caffemodel, self.prototxts, self.options, self.title, self.sha1, self.problem]
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
class Plan:
    """What ``run`` does: every model of ``source``, converted into ``target``."""

    source: str
    target: str
    models: tuple[Model, ...]
    orphans: tuple[Orphan, ...] = ()
    key: str = field(default="", repr=False, compare=False)
    """A digest of all it was made from; the same again needs no planning. Empty: never cached."""

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return asdict(self)

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that ``to_json`` wrote."""
        models = tuple(
            Model(**{**each, "prototxts": tuple(each["prototxts"])}) for each in data["models"]
        )
        orphans = tuple(Orphan(**each) for each in data["orphans"])
        return cls(**{**data, "models": models, "orphans": orphans})


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was: content and the stamp that tells whether to read it again."""

    path: str
    bytes: int
    stamp: str
    sha256: str


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one model."""

    name: str
    status: Status
    reason: str = ""
    """One sentence, unless it was converted."""
    code: str = ""
    """``InputError``, ``ProofError`` ... ; ``Crashed``, ``TimedOut``, ``OutOfMemory``, ``Bug``."""
    prototxt: str = ""
    """The one that was used."""
    facts: Facts | None = None
    notes: tuple[str, ...] = ()
    inputs: tuple[FileState, ...] = ()
    outputs: tuple[FileState, ...] = ()
    fingerprint: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain data."""
        return asdict(self)

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Outcome:
        """The outcome that ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        given = dict(data)
        facts = given.get("facts")
        if facts is not None:
            given["facts"] = Facts(**{**facts, "warnings": tuple(facts["warnings"])})
        for key in ("inputs", "outputs"):
            given[key] = tuple(FileState(**each) for each in given.get(key, ()))
        given["notes"] = tuple(given.get("notes", ()))
        if given["status"] not in (CONVERTED, REFUSED, FAILED):
            raise ValueError(given["status"])
        return cls(**given)


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
        done = sum(outcome.status == CONVERTED for outcome in self.outcomes)
        return done == len(self.plan.models)
