"""Caffe-to-ONNX converters on the shared models, beside ``caffefold export``.

Each converts the pair as somebody has it, and what it writes is run: ONNX in onnxruntime, what
X2Paddle writes in Paddle. "Right" is within 1e-4 of real Caffe's largest value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import caffefold
from tests.consumers.consumers import Consumer, environment
from tests.consumers.harness import Answer, ask
from tests.consumers.models import Model, writers

RIGHT = 1e-4  # of the largest value
OURS = "caffefold export"


class Found(NamedTuple):
    """One model in one converter: how far off, or why there is no answer."""

    model: Model
    error: float | None
    why: str = ""


class Peer(NamedTuple):
    """One converter."""

    name: str
    version: str
    found: Sequence[Found] | None


def compare(
    peers: dict[str, Consumer], chosen: Sequence[Model], envs: Path, jobs: int
) -> Iterator[Peer]:
    """One row for each converter, as it comes; the last is ours."""
    for name, consumer in peers.items():
        made = environment(name, consumer, envs / name)
        python = made.python
        if python is None:
            yield Peer(name, made.version, None)
            continue
        with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(jobs) as pool:
            folders = [Path(scratch) / str(at) for at in range(len(chosen))]

            def one(
                model: Model, folder: Path, python: Path = python, runner: str = consumer.runner
            ) -> Found:
                made = writers(model.prototxt)
                wanted = {blob: made[blob] for blob in made if blob in model.wanted}
                pair = model.prototxt, model.caffemodel
                return _judged(model, ask(python, runner, pair, model.inputs, wanted, folder))

            yield Peer(name, made.version, list(pool.map(one, chosen, folders)))
    with tempfile.TemporaryDirectory() as scratch:
        ours = [_exported(model, Path(scratch)) for model in chosen]
        yield Peer(OURS, f"{OURS} {caffefold.__version__}", ours)


def _judged(model: Model, answer: Answer) -> Found:
    if answer.why:
        return Found(model, None, answer.why)
    error = max(model.error(blob, value) for blob, value in answer.outputs.items())
    return Found(model, error, "" if error <= RIGHT else f"off by {error:.2g}")


def _exported(model: Model, folder: Path) -> Found:
    import onnxruntime

    path = folder / "net.onnx"
    try:
        shapes = {name: value.shape for name, value in model.inputs.items()}
        for heads in ({}, {"*": "none"}):  # where Caffe answered with a prediction, it ends there
            given: dict[str, Any] = {"input_shapes": shapes, "heads": heads}
            with caffefold.load(model.prototxt, model.caffemodel) as net:
                caffefold.export(net, path, force=True, **given)
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            if set(model.wanted) <= {each.name for each in session.get_outputs()}:
                break
        feeds = {each.name: model.inputs[each.name] for each in session.get_inputs()}
        found = session.run(list(model.wanted), feeds)
    except caffefold.CaffefoldError as error:
        return Found(model, None, str(error))
    return _judged(model, Answer(dict(zip(model.wanted, found, strict=True))))


def table(rows: Sequence[Peer], groups: Sequence[tuple[str, Sequence[Model]]]) -> str:
    """The comparison, in Markdown; ``groups`` are counted apart."""
    titles = ["converter"]
    for name, models in groups:
        titles += [f"{len(models)} {name}: converted", "right"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        if row.found is None:
            lines.append(f"| {row.name} | skipped: {row.version} |" + " |" * (len(titles) - 2))
            continue
        cells = [row.version]
        for _, models in groups:
            own = [each for each in row.found if any(each.model is model for model in models)]
            cells.append(str(sum(each.error is not None for each in own)))
            right = sum(each.error is not None and each.error <= RIGHT for each in own)
            cells.append(str(right))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def details(row: Peer) -> str:
    """What is not right, and why."""
    return "\n".join(f"  {each.model.name:<24} {each.why}" for each in row.found or () if each.why)
