"""The proof of an export: the model runs in onnxruntime, and every blob is as it should be.

What it should be comes from ``check/forward``, which knows neither the fold nor the lowerings: the
deploy net before folding, in float64. Two questions are asked:

1. from end to end: how far is each blob off, having gone through everything before it;
2. only where that is more than float32 allows: each layer by itself, fed with what the model
   computed. A net may be ill-conditioned; a layer that is off by itself is wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from caffefold.check import feeds
from caffefold.check.agreement import Agreement, BlobAgreement
from caffefold.check.forward.evaluate import CANDIDATES, Made, evaluate, type_of
from caffefold.errors import ProofError, Text
from caffefold.extras import install
from caffefold.formats import onnx
from caffefold.ir import graph
from caffefold.ir.net import Layer, Net

SEED = 20_261_121
LIMITS = {"fp32": 1e-4, "fp16": 2e-2}
"""What a blob may be off by, relative to its largest number; real models show 1e-6 to 3e-5."""
DYNAMIC = 2
"""How many items a dynamic batch is checked with."""
_GROWS, _NOISE = 10, 1e-6
_INLINE = 64 << 20  # bytes; a larger model is checked through a file that refers to it
_LISTED = 4
_NEW_OPSET, _RUNS_IT = 22, (1, 21)
"""The opset that the oldest onnxruntime of pyproject.toml does not run, and the first that does."""
_MANY, _ALONE = 20, 0.02
"""Of this many boxes, this share may be others than expected."""
_ROUNDED, _ROUNDING = ("Sigmoid", "LSTM", "LSTMUnit"), 2.0**-22
"""Types whose rounding is absolute: a sigmoid is 0.5 + 0.5 tanh(x / 2) in Caffe too, which cannot
tell the numbers next to 0."""
Array = NDArray[Any]


class Case(NamedTuple):
    """What is checked, and how."""

    staged: Path
    """The model as it will be put in place."""
    model: onnx.Model
    data: tuple[str, str] | None
    """The file of weights: what the model calls it, and what it is called now."""
    net: Net
    """The deploy net before folding."""
    blobs: Mapping[str, str]
    """The values of the model that are blobs of the net."""
    instead: Mapping[str, tuple[str, ...]]
    """Boxes and scores: the outputs in place of a detector's detections, by its layer."""
    preprocessing: Sequence[Mapping[str, Any]]
    raw: bool
    dtype: str


def missing() -> str:
    """What a check needs and is not installed, with how to install it; "" for nothing."""
    from importlib.util import find_spec

    name = next((name for name in ("onnx", "onnxruntime") if find_spec(name) is None), "")
    return f"{name} is not installed; {install('onnx', 'onnxruntime')}" if name else ""


def too_old(opset: int) -> str:
    """Why the installed onnxruntime cannot run models of ``opset``; "" when it can."""
    installed = version("onnxruntime")
    numbers = tuple(int(part) for part in installed.split(".")[:2])
    if opset >= _NEW_OPSET and numbers < _RUNS_IT:
        return f"onnxruntime {installed} does not run opset {opset}"
    return ""


def check(case: Case) -> tuple[Agreement, tuple[str | Text, ...]]:
    """Run the staged model and compare; what was found, and what to warn of.

    Raises:
        ProofError: the model is not valid, does not run, or does not compute what the net does.
    """
    limit = LIMITS[case.dtype]
    fed, given = _feeds(case)
    observed = _observed(case, fed)
    found, skipped = _compare(case, given, observed)
    agreement = _agreement(case, found, skipped)
    bad = [each for each in found.values() if not each.error <= limit]
    if not bad:
        return agreement, ()
    local, _ = _compare(case, given, observed, locally=True)
    wrong = [each for each in local.values() if not each.error <= limit]
    if wrong:
        raise ProofError(_verdict(wrong, agreement))
    worst = agreement.worst
    noisy = f"'{worst.blob}' is {worst.error:.1e} off in float32, though no layer is by itself"
    return agreement, (f"the net is ill-conditioned: {noisy}",)


def _verdict(wrong: Sequence[BlobAgreement], agreement: Agreement) -> str:
    first = wrong[0]
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return (
        f"the model does not compute what the net does: layer '{first.layer}' makes '{first.blob}' "
        f"{first.error:.1e} off in {agreement.runtime}{more}; no output was written"
    )


def _agreement(
    case: Case, found: Mapping[str, BlobAgreement], skipped: tuple[str, ...]
) -> Agreement:
    outputs = {value.name for value in case.model.outputs}
    names = {blob for blob, value in case.blobs.items() if value in outputs}
    names.update(*case.instead.values())
    none = BlobAgreement("", "", 0.0, 0.0)
    return Agreement(
        runtime=f"onnxruntime {version('onnxruntime')}",
        seed=SEED,
        outputs=tuple(each for blob, each in found.items() if blob in names),
        blobs=len(found),
        worst=max(found.values(), key=_rank, default=none),
        grows=_grows(case, found),
        skipped=skipped,
    )


def _rank(found: BlobAgreement) -> float:
    return float("inf") if np.isnan(found.error) else found.error


def _grows(case: Case, found: Mapping[str, BlobAgreement]) -> str:
    """The first layer that makes the error much larger than it finds it."""
    for layer in case.net.layers:
        before = max((found[b].error for b in layer.bottoms if b in found), default=0.0)
        tops = (found[top].error for top in layer.tops if top in found)
        if max(tops, default=0.0) > _GROWS * max(before, _NOISE):
            return layer.name
    return ""


# ---------------------------------------------------------------------------------- the model


def _feeds(case: Case) -> tuple[dict[str, Array], dict[str, Array]]:
    """What the model is fed with, and what that is to the net."""
    shapes: dict[str, tuple[int, ...]] = {}
    raw: dict[str, Array] = {}
    stated = {each["blob"]: each for each in case.preprocessing}
    given: dict[str, Array] = {}
    for i, value in enumerate(case.model.inputs):
        extents = tuple(d if isinstance(d, int) else DYNAMIC for d in value.shape or ())
        if value.kind == onnx.UINT8:
            items, height, width, channels = extents
            shape = items, channels, height, width
            raw[value.name] = feeds.images(shape, SEED + i)
            given[value.name] = feeds.preprocessed(raw[value.name], stated[value.name])
        else:
            shapes[value.name] = extents
    made = feeds.numbers(case.net, shapes, case.preprocessing, SEED)
    return {**made, **raw}, {**made, **given}


def _observed(case: Case, fed: Mapping[str, Array]) -> dict[str, Array]:
    """What the model computes for each blob.

    Raises:
        ProofError: it is not valid, or does not run.
    """
    import onnx as package  # 0.2 s

    small = onnx.size(case.model) <= _INLINE and case.data is None
    probe = case.staged.with_name(f".{case.staged.name}.{os.getpid()}.check")
    try:
        shown = _probe(case, inline=small)
        with probe.open("wb") as out:
            onnx.write(out, shown)
        try:
            package.checker.check_model(str(case.staged if small else probe), full_check=True)
        except Exception as error:
            raise ProofError(f"onnx.checker refuses the model: {_first_line(str(error))}") from None
        whole = _run(probe, shown, fed)
        if case.data is None:
            _check_optimised(case.model, _run(case.staged, case.model, fed), whole)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    values = {**case.blobs, **{name: name for names in case.instead.values() for name in names}}
    return {blob: whole[value] for blob, value in values.items() if value in whole}


def _check_optimised(
    model: onnx.Model, found: Mapping[str, Array], whole: Mapping[str, Array]
) -> None:
    """Hold the outputs of the model itself against those of the one that shows every blob, which a
    runtime may optimise less. How many boxes are found depends on the last bit."""
    for value in model.outputs:
        name = value.name
        if value.shape is None or None in value.shape:
            continue
        if not np.allclose(found[name], whole[name], rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ProofError(f"onnxruntime optimises '{name}' into something else")


def _probe(case: Case, *, inline: bool) -> onnx.Model:
    """The model with every blob as an output; a large one refers to the staged file."""
    model = case.model if inline else onnx.within(case.model, case.staged.name)
    if case.data is not None:
        old, new = case.data
        tensors = tuple(
            t._replace(stored=t.stored._replace(location=new))
            if t.stored is not None and t.stored.location == old
            else t
            for t in model.tensors
        )
        model = model._replace(tensors=tensors)
    wanted = set(case.blobs.values())
    more = tuple(value for value in model.values if value.name in wanted)
    return model._replace(
        outputs=(*model.outputs, *more),
        values=tuple(value for value in model.values if value.name not in wanted),
    )


_IN_RUNTIME = """
import sys
sys.path[:] = [p for p in sys.path if p]  # not from the folder it runs in, which is the user's
import numpy, onnxruntime
path, given, made = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
try:
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    with numpy.load(given) as arrays:
        fed = {each.name: arrays[f"arr_{i}"] for i, each in enumerate(session.get_inputs())}
    numpy.savez(made, *session.run(None, fed))
except Exception as error:
    sys.exit(str(error))
"""


def _run(path: Path, model: onnx.Model, fed: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of the model in ``path``, in a process of its own: a runtime may die.

    Raises:
        ProofError: it does not run.
    """
    with tempfile.TemporaryDirectory(prefix="caffefold-check-") as folder:
        given, made = Path(folder, "given.npz"), Path(folder, "made.npz")
        np.savez(given, *(fed[value.name] for value in model.inputs))
        done = subprocess.run(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-c", _IN_RUNTIME, str(path), str(given), str(made)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode < 0:
            raise ProofError(f"onnxruntime dies of the model, of signal {-done.returncode}")
        if done.returncode:
            raise ProofError(f"onnxruntime does not run the model: {_first_line(done.stderr)}")
        with np.load(made) as arrays:
            return {value.name: arrays[f"arr_{i}"] for i, value in enumerate(model.outputs)}


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


# ---------------------------------------------------------------------------------- comparing


def _compare(
    case: Case,
    given: Mapping[str, Array],
    observed: Mapping[str, Array],
    *,
    locally: bool = False,
) -> tuple[dict[str, BlobAgreement], tuple[str, ...]]:
    """How far each blob is off, and which could not be compared."""
    versions = graph.build(case.net).versions
    last = {version.blob: i for i, version in enumerate(versions)}
    seen = {last[blob]: values for blob, values in observed.items() if blob in last}
    found: dict[str, BlobAgreement] = {}
    skipped: list[str] = []
    for made in evaluate(case.net, given, seen, locally=locally):
        blob = versions[made.version].blob
        if made.version not in seen or made.layer is None or made.layer.is_input:
            continue
        if made.values is None:
            skipped.append(f"{blob}: {made.why}")
            continue
        found[blob] = _apart(blob, made, seen[made.version])
    for layer in case.net.layers:
        if layer.name in case.instead:
            known = {**given, **observed}
            missing = [blob for blob in layer.bottoms if blob not in known]
            if missing:
                skipped.append(f"{layer.tops[0]}: '{missing[0]}' is not in the model")
            else:
                found.update(_candidates(layer, case.instead[layer.name], known))
    return found, tuple(skipped[:_LISTED])


def _candidates(
    layer: Layer, names: Sequence[str], known: Mapping[str, Array]
) -> Iterator[tuple[str, BlobAgreement]]:
    """How far boxes and scores are off that the model puts out; of the numbers that it found."""
    inputs = [known[blob].astype(np.float64) for blob in layer.bottoms]
    for name, wanted in zip(names, CANDIDATES[type_of(layer)](layer, inputs), strict=True):
        found = known[name]
        same = wanted.reshape(found.shape) if wanted.size == found.size else wanted
        yield name, _numbers_apart(name, layer, same, found)


def _is_rows(made: Made) -> bool:
    """Whether the numbers are boxes, a row each, whose order the last bit of a score decides."""
    assert made.layer is not None
    assert made.values is not None
    lists = ("DetectionOutput", "Proposal", "YoloDetectionOutput", "Yolov3DetectionOutput")
    return type_of(made.layer) in lists and made.values.shape[-1] in (5, 7)


def _rows_apart(found: Array, wanted: Array) -> tuple[float, float]:
    """(how far rows are from the nearest of the others, the largest number).

    A few may have no partner: boxes whose overlap is the threshold, but for the last bit.
    """
    a = found.reshape(-1, found.shape[-1]).astype(np.float64)
    b = wanted.reshape(-1, wanted.shape[-1])
    largest = float(np.abs(b).max(initial=0.0))
    if not len(a) or not len(b):
        return (0.0 if len(a) == len(b) else float("inf")), largest
    worst = []
    for rows, others in ((a, b), (b, a)):
        nearest = np.array([np.abs(others - row).max(1).min() for row in rows])
        alone = max(1, int(_ALONE * len(rows))) if len(rows) >= _MANY else 0
        worst.append(float(np.sort(nearest)[: len(rows) - alone].max(initial=0.0)))
    return max(worst) / max(largest, 1e-30), largest


def _apart(blob: str, made: Made, found: Array) -> BlobAgreement:
    assert made.layer is not None
    assert made.values is not None
    if _is_rows(made):
        return BlobAgreement(blob, made.layer.name, *_rows_apart(found, made.values))
    return _numbers_apart(blob, made.layer, made.values, found)


def _numbers_apart(blob: str, layer: Layer, wanted: Array, found: Array) -> BlobAgreement:
    name = layer.name
    if found.shape != wanted.shape:
        return BlobAgreement(blob, name, float("inf"), 0.0)
    edge = np.finfo(np.float32).max  # of an empty window: beside it, all errors would be small
    finite = np.abs(wanted) < edge
    largest = float(np.abs(wanted[finite]).max(initial=0.0))
    same = np.isnan(found) == np.isnan(wanted)
    clipped = np.clip(wanted, -edge, edge)
    with np.errstate(all="ignore"):
        apart = np.abs(found.astype(np.float64) - wanted)[finite]
        beyond = np.clip(found, -edge, edge)[~finite] == clipped[~finite]
    beyond |= np.isnan(wanted[~finite])
    if not same.all() or not beyond.all():
        return BlobAgreement(blob, name, float("inf"), largest)
    error = float(apart.max(initial=0.0))
    if type_of(layer) in _ROUNDED:
        error = max(error - _ROUNDING, 0.0)
    return BlobAgreement(blob, name, error / largest if largest else error, largest)
