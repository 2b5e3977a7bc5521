"""``slim``: what both nets are run on, the proof of what was written, other results, the page."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold import reduction
from caffefold.check import slimmed
from caffefold.cli.main import run
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.net import Layer, Net
from caffefold.options import SlimPairOptions
from caffefold.passes.slim import slim
from caffefold.slimming import slim_files
from caffefold.testing import LayerSpec, write_pair
from tests.passes.slim.structures import DATA, SAME, N, block
from tests.passes.slim.test_options import NET, TRAIN, files

DEAD = [DATA, *block("a", "data", 3, 6, {1: -1.0, 4: -2.0}), N.conv("b", "a", 6, 4, **SAME)]  # type: ignore[arg-type]
Shown = pytest.CaptureFixture[str]


def pair_of(folder: Path) -> list[str]:
    return [str(path) for path in write_pair(folder, NET)]


def test_both_run_on_arrays_that_are_given_as_well(tmp_path: Path, capsys: Shown) -> None:
    """float32 as it is; the difference is that of the outputs, computed here once more."""
    images = np.random.default_rng(2).normal(size=(2, 3, 9, 9)).astype(np.float32)
    np.save(tmp_path / "some.npy", images)
    pair = pair_of(tmp_path)
    arguments = ["slim", *pair, "-o", str(tmp_path / "x"), "--ratio", "0.3"]
    assert run([*arguments, "--input", str(tmp_path / "some.npy")]) == 0
    shown = capsys.readouterr().out
    (seeded, given) = re.findall(r"'b' ([\d.]+)", shown)
    assert f"seeded inputs: 'b' {seeded}; on 1 file: some.npy: 'b' {given}" in shown
    report = json.loads((tmp_path / "x.report.json").read_text())
    (found,) = report["slimmed"]["proof"]["fed_outputs"]

    torch = pytest.importorskip("torch")
    del torch
    from tests.reference.caffe_torch import run as reference

    def outputs(text: str, weights: str) -> list[np.ndarray]:
        return [reference(Path(text), Path(weights), {"data": each[None]}, ["b"])["b"] for each in images]  # fmt: skip  # noqa: E501

    wanted = outputs(*pair)
    cut = outputs(str(tmp_path / "x.prototxt"), str(tmp_path / "x.caffemodel"))
    largest = max(np.abs(a - b).max() / np.abs(a).max() for a, b in zip(wanted, cut, strict=True))
    assert found["error"] == pytest.approx(largest, rel=1e-4)


def test_exactly_the_same_on_what_is_given(tmp_path: Path) -> None:
    np.save(tmp_path / "some.npy", np.full((3, 9, 9), 7, np.float32))
    net = caffefold.load(*write_pair(tmp_path, DEAD))
    result = caffefold.slim(net, inputs=[tmp_path / "some.npy"])
    assert result.channels[1] == 2
    assert "side by side in float64, also on 1 file: some.npy; largest" in str(result)
    assert result.proof.fed_outputs[0].error < 1e-12


def test_images_are_preprocessed_as_the_training_net_says(tmp_path: Path) -> None:
    np.save(tmp_path / "some.npy", np.full((1, 9, 9, 3), 100, np.uint8))
    pair = files(tmp_path, (TRAIN % "").replace("crop_size: 9 }", "crop_size: 9 scale: 0.5 }"))
    seen: list[np.ndarray] = []

    def compare(*given: object, fed: slimmed.Fed, **options: object) -> slimmed.SlimProof:
        seen.extend(batch["data"] for batch in fed.batches)
        return slimmed.SlimProof(1, None, ())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slimmed, "compare", compare)
        net = caffefold.load(*pair)
        caffefold.slim(net, inputs=[tmp_path / "some.npy"], allow_unknown=True)
    np.testing.assert_array_equal(np.unique(seen), 50)


def wrong(cut: Callable[..., Any]) -> Callable[..., Any]:
    """Cuts a training net, and loses the last bias."""

    def cuts(plan: object, net: Net) -> tuple[Net, object]:
        made, changes = cut(plan, net)

        def spoiled(layer: Layer) -> Layer:
            if layer.name != "fc":
                return layer
            return layer.with_blobs((layer.blobs[0], ArrayBlob(np.zeros(4, np.float32))))

        new = {i: (spoiled(layer),) for i, layer in enumerate(made.layers)}
        return made.substitute(new), changes

    return cuts


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_the_training_pair_is_proven_as_it_was_written(
    tmp_path: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    pair = files(tmp_path, TRAIN % "")
    arguments = ["slim", *pair, "-o", str(tmp_path / "out"), "--keep-training", "--allow-unknown"]
    arguments += ["--dtype", dtype]
    assert run(arguments) == 0
    assert "side by side in float64; largest relative" in capsys.readouterr().out
    monkeypatch.setattr(reduction, "cut", wrong(slim.cut))
    assert run([*arguments, "--force"]) == 1
    error = capsys.readouterr().err
    assert "layer 'fc': without the channels that were taken out, 'fc' is" in error
    assert "no output was written" in error
    with pytest.raises(caffefold.ProofError):
        caffefold.slim(caffefold.load(*pair), keep_training=True, allow_unknown=True)


def test_the_page_has_histograms_and_a_table(tmp_path: Path) -> None:
    arguments = ["slim", *pair_of(tmp_path), "-o", str(tmp_path / "x"), "--threshold", "0.2"]
    for more in ([], ["--keep-training", "--force"]):
        page = tmp_path / "page.html"
        assert run([*arguments, *more, "--html", str(page)]) == 0
        text = page.read_text()
        found = re.findall(r"<b>([^<]+)</b> <span>([^<]+)</span></figcaption>", text)
        assert found == [("all layers", "12 → 9"), ("a/scale", "8 → 6"), ("c/scale", "4 → 3")]
        assert "<title>0.18 to 0.32: 2 channels, 1 taken out</title>" in text  # 0.2 and 0.3
        assert '<td class="mono">a</td><td>Convolution</td><td class="n">8 → 6</td>' in text


def test_what_else_is_made_of_the_pair(tmp_path: Path, capsys: Shown) -> None:
    pytest.importorskip("onnxruntime")
    pair = [str(path) for path in write_pair(tmp_path, DEAD)]
    assert run(["slim", *pair, "-o", str(tmp_path / "x"), "--onnx", "--verify"]) == 0
    assert "verified  equal on 2 batches" in capsys.readouterr().out
    assert (tmp_path / "x.onnx").exists()
    # What goes does something: that is said, and no reason to stop.
    pair = pair_of(tmp_path)
    for more in ([], ["--keep-training"]):
        arguments = ["slim", *pair, "-o", str(tmp_path / "y"), "--ratio", "0.3", "--force", *more]
        assert run([*arguments, "--verify"]) == 0
        assert "verified  different on 2 batches" in capsys.readouterr().out


def test_a_training_net_has_no_model(tmp_path: Path, capsys: Shown) -> None:
    arguments = ["slim", *pair_of(tmp_path), "-o", str(tmp_path / "x"), "--keep-training"]
    assert run([*arguments, "--onnx"]) == 2
    assert "--onnx contradicts --keep-training: a model needs" in capsys.readouterr().err


def test_a_folder_stands_for_its_pair(tmp_path: Path, capsys: Shown) -> None:
    write_pair(tmp_path, DEAD)
    assert run(["slim", str(tmp_path), "-o", str(tmp_path / "out" / "x"), "--dry-run"]) == 0
    assert "slimmed   2 of 6 channels" in capsys.readouterr().out
    assert run(["slim", str(tmp_path / "net.prototxt")]) == 2
    assert "give the CAFFEMODEL" in capsys.readouterr().err


def test_options_are_typed() -> None:
    parameters = inspect.signature(slim_files).parameters
    assert {each.name for each in fields(SlimPairOptions)} <= set(parameters)
    assert parameters["ratio"].annotation == float | None


def test_of_a_detector_the_numbers_are_told_that_it_decides_by(tmp_path: Path) -> None:
    """Which class is the largest jumps, and so does how many boxes there are."""
    layers = [*NET, LayerSpec("most", "ArgMax", "b", params="argmax_param { axis: 1 }")]
    net = caffefold.load(*write_pair(tmp_path, layers))
    result = caffefold.slim(net, ratio=0.3)
    (told,) = result.proof.outputs
    assert told.blob == "b"
    assert 0 < told.error < 10
