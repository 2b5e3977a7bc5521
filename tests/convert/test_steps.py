"""A conversion in steps, on nets in memory: the same bytes, and what each step hands back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.ir import graph
from caffefold.passes.infra import ChangeKind

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
SAMPLES = [
    (ROOT / "sample_models/lenet_bn/train_val.prototxt", "lenet_bn_iter_5000.caffemodel"),
    (ROOT / "sample_models/mobilenet_ssd/train_template.prototxt", ""),
    (
        ROOT / "sample_models/mobilenet_ssd_shapes/train_template.prototxt",
        "shapes_iter_9000.caffemodel",
    ),
]
FOREIGN = [
    (folder / name, weights.name)
    for weights in sorted(SHARED.glob("**/*.caffemodel"))
    for folder in [weights.parent]
    for name in ("net.prototxt", "train.prototxt", "train_val.prototxt", "deploy.prototxt")
    if (folder / name).exists()
]
TEXT = """
name: "tiny"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 5 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 3 bias_term: false } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
"""
BLOBS: dict[str, Any] = {
    "conv": [np.linspace(-1, 1, 54).reshape(2, 3, 3, 3)],
    "bn": [[0.5, -0.5], [1.0, 4.0], [1.0]],
}


def _pairs() -> list[Any]:
    found = []
    for prototxt, name in (*SAMPLES, *FOREIGN):
        weights = prototxt.with_name(name) if name else None
        found.append(pytest.param(prototxt, weights, id=f"{prototxt.parent.name}-{prototxt.stem}"))
    return found


@pytest.mark.once
@pytest.mark.parametrize(("prototxt", "weights"), _pairs())
def test_steps_write_what_convert_writes(
    tmp_path: Path, prototxt: Path, weights: Path | None
) -> None:
    options: dict[str, Any] = {}
    for _ in range(3):
        try:
            caffefold.convert(prototxt, weights, tmp_path / "whole", **options)
            break
        except caffefold.MissingShape as error:
            options.setdefault("input_shapes", {})[error.blob] = (1, 3, 224, 224)
        except caffefold.CaffefoldError:
            pytest.skip("it is refused")
    with caffefold.load(prototxt, weights) as net:
        deploy = caffefold.to_deploy(net, **options)
        folded = caffefold.fold(deploy.net)
        proof = caffefold.prove(deploy.net, folded.net)
        caffefold.save(folded.net, tmp_path / "steps")
        for made in (deploy.net, folded.net):
            assert sorted(made.outputs) == sorted(graph.build(made).outputs)
    assert set(proof.outputs) == set(folded.net.outputs)
    for suffix in (".prototxt", ".caffemodel")[: 1 if weights is None else 2]:
        whole, steps = (tmp_path / f"{name}{suffix}" for name in ("whole", "steps"))
        assert steps.read_bytes() == whole.read_bytes()
    assert (tmp_path / "steps.caffemodel").exists() == (weights is not None)


def test_a_net_from_text_and_arrays(tmp_path: Path) -> None:
    net = caffefold.Net.from_text(TEXT, BLOBS)
    assert (len(net), net.name, net.inputs, net.outputs) == (4, "tiny", ("data",), ("conv",))
    assert [layer.name for layer in net] == ["data", "conv", "bn", "relu"]
    assert "bn" in net
    assert "fc" not in net
    assert net["conv"].type == "Convolution"
    with pytest.raises(KeyError, match="fc"):
        net["fc"]
    folded = caffefold.fold(net)
    assert [layer.name for layer in folded.net] == ["data", "conv", "relu"]
    assert [change.kind for change in folded.changes] == [ChangeKind.FOLDED]
    assert folded.skips == ()
    caffefold.prove(net, folded.net)
    scale = 1 / np.sqrt(np.array([1.0, 4.0]) + 1e-5)
    weights, bias = (np.asarray(blob, np.float64) for blob in folded.net["conv"].blobs)
    np.testing.assert_allclose(weights, BLOBS["conv"][0] * scale[:, None, None, None])
    np.testing.assert_allclose(bias, [-0.5 * scale[0], 0.5 * scale[1]])
    caffefold.save(folded.net, tmp_path / "net", dtype="fp16")
    read = caffefold.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    np.testing.assert_allclose(np.asarray(read["conv"].blobs[0]), weights, rtol=1e-3)


def test_a_wrong_fold_is_not_proven() -> None:
    net = caffefold.Net.from_text(TEXT, BLOBS)
    folded = caffefold.fold(net).net
    other = caffefold.Net.from_text(TEXT, {**BLOBS, "bn": [[0.5, -0.5], [1.0, 4.1], [1.0]]})
    with pytest.raises(caffefold.ProofError, match="the fold of bn is wrong in channel 1"):
        caffefold.prove(other, folded)


def test_a_net_without_weights_is_only_structure(tmp_path: Path) -> None:
    net = caffefold.Net.from_text(TEXT)
    folded = caffefold.fold(net)
    caffefold.prove(net, folded.net)
    assert caffefold.save(folded.net, tmp_path / "net") == (tmp_path / "net.prototxt",)


def test_weights_of_a_layer_that_is_not_there() -> None:
    with pytest.raises(caffefold.ModelError, match="weights for layer 'fc', which"):
        caffefold.Net.from_text(TEXT, {"fc": [[1.0]]})


def test_saving_replaces_nothing_unless_asked(tmp_path: Path) -> None:
    net = caffefold.Net.from_text(TEXT, BLOBS)
    first = caffefold.save(net, tmp_path / "a/net")
    assert [path.name for path in first] == ["net.prototxt", "net.caffemodel"]
    with pytest.raises(caffefold.ExistingOutput, match=r"net\.prototxt: already exists") as caught:
        caffefold.save(net, tmp_path / "a/net")
    assert caught.value.path == str(first[0])
    caffefold.save(net, tmp_path / "a/net", force=True)
    with caffefold.load(*first) as read, pytest.raises(caffefold.OutputError, match="an input"):
        caffefold.save(read, tmp_path / "a/net", force=True)
    with pytest.raises(caffefold.UsageError, match="dtype is 'fp8', expected one of fp32, fp16"):
        caffefold.save(net, tmp_path / "b", dtype="fp8")  # type: ignore[arg-type]


def test_what_errors_carry() -> None:
    rest = TEXT.partition('layer { name: "conv"')[2]
    train = caffefold.Net.from_text(
        'layer { name: "d" type: "Data" top: "data" } layer { name: "conv"' + rest
    )
    with pytest.raises(caffefold.MissingShape) as missing:
        caffefold.to_deploy(train)
    assert (missing.value.blob, missing.value.layer) == ("data", "d")
    assert missing.value.known == (1, None, None, None)
    assert "--" not in str(missing.value)
    net = caffefold.Net.from_text(TEXT)
    with pytest.raises(caffefold.UnknownInput) as unknown:
        caffefold.to_deploy(net, input_shapes={"image": (1, 3, 5, 5)})
    assert (unknown.value.blob, unknown.value.known) == ("image", ("data",))
    with pytest.raises(caffefold.UnknownName) as stage:
        caffefold.to_deploy(net, stages="val")
    assert (stage.value.option, stage.value.value, stage.value.known) == ("stages", "val", ())


def test_values_print_in_one_line(tmp_path: Path) -> None:
    net = caffefold.Net.from_text(TEXT, BLOBS)
    assert repr(net) == "<Net tiny: 4 layers, 59 parameters>"
    assert repr(caffefold.Net.from_text(TEXT)) == "<Net tiny: 4 layers, no weights>"
    assert repr(net["conv"]) == "<Layer conv: Convolution, data -> conv, 54 parameters>"
    assert repr(net["data"]) == "<Layer data: Input, -> data>"
    deploy, folded = caffefold.to_deploy(net), caffefold.fold(net)
    assert repr(folded) == ("<FoldResult 1 change, 0 skips: <Net tiny: 3 layers, 56 parameters>>")
    assert str(folded) == "folded    1 layer into 1: BatchNorm into Convolution"
    assert repr(deploy).startswith("<DeployResult ")
    assert str(deploy) == "net       tiny: 4 layers -> 4"
    proof = caffefold.prove(net, folded.net)
    assert repr(proof).startswith("<Proof: 1 fold checked, largest error ")
    caffefold.save(net, tmp_path / "in")
    report = caffefold.convert(
        tmp_path / "in.prototxt", tmp_path / "in.caffemodel", tmp_path / "out"
    )
    assert repr(report) == "<ConvertReport tiny: 4 layers -> 3, 1 fold>"
    assert str(report).splitlines()[:3] == [
        "net       tiny: 4 layers -> 3",
        "cost                      before      after",
        "          layers               4          3",
    ]


def test_values_render_as_html(tmp_path: Path) -> None:
    odd = caffefold.Net.from_text(TEXT.replace('"tiny"', '"<b>"'), BLOBS)
    page = odd._repr_html_()
    assert "<caption>&lt;b&gt;: 4 layers, 59 parameters</caption>" in page
    assert "<td>Convolution</td>" in page
    caffefold.save(odd, tmp_path / "in")
    report = caffefold.convert(
        tmp_path / "in.prototxt", tmp_path / "in.caffemodel", tmp_path / "out"
    )
    assert "<tr><th>net</th><td>&lt;b&gt;: 4 layers -&gt; 3</td></tr>" in report._repr_html_()
