"""``zoo --verify``: the verdict of each model, and what is different fails."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from caffefold import zoo
from caffefold.errors import InputError, UsageError
from caffefold.testing import LayerSpec, net_weights
from caffefold.zoo import Result
from caffefold.zoo.planning import manifest
from caffefold.zoo.running import worker
from tests.support.zoo import body, deploy, model, put

REFERENCE = 'verify = "reference"\n'


def run(source: Path, target: Path, text: str = REFERENCE, **how: Any) -> Result:
    """A run in a runtime that is always there."""
    put(source / "zoo.toml", text)
    return zoo.run(zoo.plan(source, target, jobs=1, **how), engine="threads")


def endless(source: Path) -> None:
    """A model whose numbers say nothing."""
    layers = [*body(seed=3, prefix="c_"), LayerSpec("end", "Log", "c_fc")]
    put(source / "log.prototxt", deploy(layers))
    put(source / "log.caffemodel", net_weights(layers))


def test_verdicts_stand_everywhere(source: Path, target: Path) -> None:
    model(source, "a", seed=1)
    endless(source)
    result = run(source, target)
    assert result.ok
    assert [outcome.verified.verdict for outcome in result.outcomes if outcome.verified] == [
        "equal", "inconclusive",
    ]  # fmt: skip
    document = json.loads((target / "zoo.json").read_text())
    schema = json.loads((files("caffefold.zoo") / "zoo.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert document["verified"] == {
        "equal": 1, "inconclusive": 1, "different": 0, "unverified": 0,
    }  # fmt: skip
    assert document["models"][0]["verified"]["reason"].startswith("equal on 2 batches")
    with (target / "zoo.csv").open(newline="") as file:
        assert [row["verified"] for row in csv.DictReader(file)] == ["equal", "inconclusive"]
    index = (target / "index.html").read_text()
    assert "1</b><span>verified equal, 1 inconclusive" in index
    assert ">inconclusive</span>" in index
    assert "NaN or infinite in the first net" in (target / "log.html").read_text()
    report = json.loads((target / "a.report.json").read_text())
    assert report["verification"]["verdict"] == "equal"
    assert run(source, target).worked == 0


def test_what_is_different_fails(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(source, "a", seed=1)
    ran = worker._verified

    def wrong(*given: Any) -> Any:
        found, report = ran(*given)
        return replace(found, verdict="different", reason=f"different: {found.reason}"), report

    monkeypatch.setattr(worker, "_verified", wrong)
    result = run(source, target)
    (outcome,) = result.outcomes
    assert not result.ok
    assert (outcome.status, outcome.code) == ("failed", "Different")
    assert "the written net is different" in outcome.reason
    document = json.loads((target / "zoo.json").read_text())
    schema = json.loads((files("caffefold.zoo") / "zoo.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert document["summary"]["failed"] == document["verified"]["different"] == 1
    assert not (target / "a.caffemodel").exists()
    assert ">different</span>" in (target / "index.html").read_text()
    monkeypatch.undo()
    assert run(source, target).ok  # it is tried again


def test_what_does_not_run_is_converted(source: Path, target: Path) -> None:
    first, *others = body(seed=2)
    layers = [LayerSpec("odd", "Elsewhere", "data"), first._replace(bottoms="odd"), *others]
    put(source / "odd.prototxt", deploy(layers))
    put(source / "odd.caffemodel", net_weights(layers))
    (outcome,) = run(source, target).outcomes
    assert outcome.status == "converted", outcome.reason
    assert outcome.verified is not None
    assert outcome.verified.verdict == "unverified"
    assert "Elsewhere" in outcome.verified.reason
    assert "unverified: " in (target / "odd.html").read_text()


def test_the_manifest_says_it_of_each(source: Path, target: Path) -> None:
    for number, name in enumerate(("a", "b", "c")):
        model(source, name, seed=number, prefix=f"{name}_")
    text = f"""{REFERENCE}
        [[model]]
        caffemodel = "a.caffemodel"
        verify = false
        [[model]]
        caffemodel = "b.caffemodel"
        verify = true
        """
    put(source / "zoo.toml", text)
    plan = zoo.plan(source, target, jobs=1)
    assert [each.verify for each in plan.models] == ["", "onnxruntime", "reference"]
    again = manifest.parse(manifest.to_toml(plan).encode(), "zoo.toml")
    assert [each.verify for each in again.models] == [None, "onnxruntime", "reference"]
    put(source / "zoo.toml", "")
    plan = zoo.plan(source, target, jobs=1, verify=True)
    assert {each.verify for each in plan.models} == {"onnxruntime"}


@pytest.mark.parametrize("text", ['verify = "tensorflow"', "verify = 1"])
def test_a_wrong_key_is_told(text: str, source: Path, target: Path) -> None:
    model(source, "a")
    with pytest.raises(UsageError, match="expected true, false, or one of onnxruntime, opencv"):
        run(source, target, text)


def test_nobody_asked(source: Path, target: Path) -> None:
    model(source, "a")
    run(source, target, "")
    document = json.loads((target / "zoo.json").read_text())
    assert document["verified"] is None
    assert document["models"][0]["verified"] is None
    assert "verified" not in (target / "index.html").read_text()


def test_what_is_not_installed_is_said_once(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    model(source, "a")
    plan = zoo.plan(source, target, jobs=1, verify=True)
    monkeypatch.setattr("caffefold.verification.runtimes.onnx.find_spec", lambda name: None)
    assert importlib.util.find_spec("caffefold") is not None
    with pytest.raises(UsageError, match="onnxruntime is not installed"):
        zoo.run(plan, engine="threads")
    assert not (target / "zoo.json").exists()


def test_input_that_is_not_known_verifies_nothing(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(source, "a")

    def refuse(*given: Any, **options: Any) -> Any:
        raise InputError("the shape of input 'data' is not known")

    monkeypatch.setattr("caffefold.verification.verifying.verify", refuse)
    (outcome,) = run(source, target).outcomes
    assert outcome.status == "converted"
    assert str(outcome.verified) == "unverified: the shape of input 'data' is not known"
