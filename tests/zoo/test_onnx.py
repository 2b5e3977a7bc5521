"""``zoo --onnx``: the model appears with its pair, or the result says why there is none."""

from __future__ import annotations

import csv
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from caffefold import zoo
from caffefold.errors import ProofError
from caffefold.onnx_export.exporting import OnnxBeside
from caffefold.testing import LayerSpec, net_weights
from caffefold.zoo import Result
from tests.support.zoo import body, deploy, model, put

SUFFIXES = {".prototxt", ".caffemodel", ".onnx", ".html", ".report.json"}


def run(source: Path | str, target: Path | str, *, onnx: bool = True, **how: Any) -> Result:
    return zoo.run(zoo.plan(source, target, onnx=onnx, jobs=1), engine="threads", **how)


def made(target: Path, stem: str) -> set[str]:
    """The suffixes of the results of a model."""
    return {path.name.removeprefix(stem) for path in target.glob(f"{stem}.*")}


def without_lowering(source: Path) -> None:
    """A model whose last layer ONNX has nothing for."""
    layers = [*body(seed=2), LayerSpec("odd", "Elsewhere", "fc")]
    put(source / "odd.prototxt", deploy(layers))
    put(source / "odd.caffemodel", net_weights(layers))


def test_the_model_is_one_of_the_results(source: Path, target: Path) -> None:
    model(source, "a", seed=1)
    (outcome,) = run(source, target).outcomes
    assert made(target, "a") == SUFFIXES
    assert {file.path.removeprefix("a") for file in outcome.outputs} == SUFFIXES
    assert b"conv" in (target / "a.onnx").read_bytes()
    assert run(source, target).worked == 0
    assert 'href="./a.onnx"' in (target / "a.html").read_text()
    assert 'href="./a.onnx"' in (target / "index.html").read_text()


def test_what_has_no_lowering_keeps_its_pair_and_says_why(source: Path, target: Path) -> None:
    model(source, "a", seed=1)
    without_lowering(source)
    result = run(source, target)
    assert result.ok
    assert made(target, "odd") == SUFFIXES - {".onnx"}
    document = json.loads((target / "zoo.json").read_text())
    jsonschema.validate(
        document, json.loads((files("caffefold.zoo") / "zoo.schema.json").read_text())
    )
    first, second = (each["result"]["onnx"] for each in document["models"])
    assert (first["reason"], first["nodes"]) == ("", 4)
    assert "Elsewhere" in second["reason"]
    with (target / "zoo.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["onnx"]
    assert rows[1]["onnx"] == f"refused: {second['reason']}"
    for page in ("index.html", "odd.html"):
        content = (target / page).read_text()
        assert "Elsewhere" in content
        assert 'href="./odd.onnx"' not in content


def test_without_it_nothing_tells_of_onnx(source: Path, target: Path) -> None:
    model(source, "a", seed=1)
    run(source, target, onnx=False)
    assert made(target, "a") == SUFFIXES - {".onnx"}
    document = json.loads((target / "zoo.json").read_text())
    assert document["models"][0]["result"]["onnx"] is None
    assert "ONNX" not in (target / "index.html").read_text()


def test_a_model_that_is_wrong_fails(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(source, "a", seed=1)
    staged = OnnxBeside.stage

    def wrong(self: OnnxBeside, *given: Any) -> None:
        staged(self, *given)
        raise ProofError("the model does not compute what the net does")

    monkeypatch.setattr(OnnxBeside, "stage", wrong)
    (outcome,) = run(source, target).outcomes
    assert (outcome.status, outcome.code) == ("failed", "ProofError")
    assert made(target, "a") == {".html"}


def test_a_model_that_is_not_asked_for_any_more_goes(source: Path, target: Path) -> None:
    """It would lie beside a pair that it was not made of."""
    model(source, "a", seed=1)
    model(source, "b", seed=2, prefix="b_")
    run(source, target)
    (target / "b.onnx").write_bytes(b"by hand")
    assert run(source, target, onnx=False).worked == 2
    assert not (target / "a.onnx").exists()
    assert (target / "b.onnx").read_bytes() == b"by hand"


def test_a_model_of_somebody_else_stays(source: Path, target: Path) -> None:
    model(source, "a", seed=1)
    run(source, target, onnx=False)
    (target / "a.onnx").write_bytes(b"theirs")
    (outcome,) = run(source, target).outcomes
    assert outcome.status == "failed"
    assert "a.onnx: already exists" in outcome.reason
    assert (target / "a.onnx").read_bytes() == b"theirs"
    assert run(source, target, force=True).ok
    assert (target / "a.onnx").read_bytes() != b"theirs"


def test_a_half_staged_model_is_given_up(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is refused late: nothing of it is put in place, the pair is."""
    from caffefold.errors import UsageError

    model(source, "a", seed=1)
    staged = OnnxBeside.stage

    def refused(self: OnnxBeside, *given: Any) -> None:
        staged(self, *given)
        raise UsageError("not with this net")

    monkeypatch.setattr(OnnxBeside, "stage", refused)
    result = run(source, target)
    assert result.ok
    assert made(target, "a") == SUFFIXES - {".onnx"}
    assert not list((target / ".caffefold-zoo/work").glob("*"))


def test_behind_a_url(source: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    system.store.clear()
    model(source, "a", seed=1)
    assert run(source, "memory://onnx/out").ok
    assert system.cat_file("memory://onnx/out/a.onnx").count(b"conv")
    system.store.clear()
