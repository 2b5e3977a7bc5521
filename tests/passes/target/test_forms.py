"""The forms that consumers take, the proof of each, and what is refused by name."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.check import proof
from caffefold.ir.blob import ArrayBlob, TransposedBlob
from caffefold.ir.net import Net
from caffefold.next_step import next_step
from caffefold.options import TargetName
from caffefold.passes import infra
from caffefold.passes.pipeline import target_passes
from caffefold.passes.target import plain, standalone
from caffefold.targets import TARGETS, aimed

HEAD = """input: "data" input_shape { dim: 1 dim: 4 dim: 5 dim: 5 }
layer { name: "relu" type: "ReLU" bottom: "data" top: "r" }
"""
SCALE = 'layer { name: "s" type: "Scale" bottom: "r" top: "s" scale_param { bias_term: true } }'
BIAS = 'layer { name: "s" type: "Bias" bottom: "r" top: "s" }'
NORM = 'layer { name: "s" type: "BatchNorm" bottom: "r" top: "s" }'
NUMBERS = np.array([1.5, -2.0, 0.25, 3.0])


def net_of(layer: str, *blobs: Any) -> Net:
    return Net.from_text(HEAD + layer, {"s": blobs})


def converted(net: Net, **options: Any) -> tuple[Net, caffefold.TargetResult]:
    folded = caffefold.fold(net, collapse=options.get("standalone") != "bn")
    result = caffefold.retarget(folded.net, **options)
    caffefold.prove(net, result.net)
    return result.net, result


@pytest.mark.parametrize(
    ("layer", "blobs"),
    [(SCALE, (NUMBERS, NUMBERS)), (BIAS, (NUMBERS,)), (NORM, (NUMBERS, NUMBERS**2, [2.0]))],
    ids=["Scale", "Bias", "BatchNorm"],
)
@pytest.mark.parametrize("form", ["scale", "conv"])
def test_an_affine_layer_takes_a_form(layer: str, blobs: tuple[Any, ...], form: str) -> None:
    net, _ = converted(net_of(layer, *blobs), standalone=form)
    made = net["s"]
    weights, bias = (np.asarray(blob, np.float64) for blob in made.blobs)
    if layer is NORM:
        scale = 1 / np.sqrt(NUMBERS**2 / 2 + 1e-5)
        wanted = scale, -NUMBERS / 2 * scale
    else:
        wanted = (NUMBERS if layer is SCALE else np.ones(4)), NUMBERS
    np.testing.assert_allclose(weights.ravel(), wanted[0], rtol=1e-6)
    np.testing.assert_allclose(bias, wanted[1], rtol=1e-6)
    if form == "conv":
        params = made.params("convolution_param")
        assert made.type == "Convolution"
        assert [params.integer(n) for n in ("num_output", "group")] == [4, 4]
        assert params.integers("kernel_size") == (1,)
        assert weights.shape == (4, 1, 1, 1)
    else:
        assert made.type == "Scale"


def test_batch_norm_stays_with_its_statistics() -> None:
    net, result = converted(net_of(NORM, NUMBERS, NUMBERS**2, [2.0]), standalone="bn")
    assert net["s"].type == "BatchNorm"
    assert net["s"].params("batch_norm_param").flag("use_global_stats")
    assert [change.modified for change in result.changes] == [("s",)]


@pytest.mark.parametrize("layer", [SCALE, BIAS])
def test_what_is_no_image_stays_a_scale(layer: str) -> None:
    """Convolutions want four axes."""
    text = HEAD.replace("dim: 5 dim: 5", "") + layer
    net = Net.from_text(text, {"s": (NUMBERS, NUMBERS) if layer is SCALE else (NUMBERS,)})
    assert converted(net, standalone="conv")[0]["s"].type == "Scale"


def test_kept_layers_stay() -> None:
    passes = standalone.Standalone("conv", lambda name: name == "s")
    net = net_of(SCALE, NUMBERS, NUMBERS)
    assert passes.run(net).net["s"].type == "Scale"


@pytest.mark.parametrize("wrong", ["scale", "shift", "order"])
def test_a_wrong_form_is_not_proven(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    real = standalone.as_convolution

    def faulty(layer: Any, affine: Any) -> Any:
        made = real(layer, affine)
        weights, bias = (np.array(np.asarray(blob, np.float64)) for blob in made.blobs)
        if wrong == "scale":
            weights[2] *= 1 + 1e-6
        elif wrong == "shift":
            bias[0] += 1e-6
        else:
            weights, bias = weights[::-1].copy(), bias[::-1].copy()
        return made.with_blobs((ArrayBlob(weights), ArrayBlob(bias)))

    monkeypatch.setattr(standalone, "as_convolution", faulty)
    with pytest.raises(caffefold.ProofError):
        converted(net_of(SCALE, NUMBERS, NUMBERS), standalone="conv")


PRODUCT = """layer { name: "s" type: "InnerProduct" bottom: "r" top: "s"
  inner_product_param { num_output: 3 transpose: true } }"""


def product() -> Net:
    return net_of(PRODUCT, np.arange(300.0).reshape(100, 3) / 100, [1.0, 2.0, 3.0])


def test_transpose_is_undone_in_the_weights() -> None:
    net, _ = converted(product(), plain_types=True)
    assert not net["s"].params("inner_product_param").has("transpose")
    wanted = np.arange(300.0).reshape(100, 3).T / 100
    np.testing.assert_allclose(np.asarray(net["s"].blobs[0]), wanted.astype(np.float32))


def test_a_wrong_transpose_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unturned(TransposedBlob):
        def read(self, start: int, stop: int) -> Any:
            return self.source.read(start, stop)

    monkeypatch.setattr(plain, "TransposedBlob", Unturned)
    with pytest.raises(caffefold.ProofError):
        converted(product(), plain_types=True)


@pytest.mark.parametrize("rows", [1, 3, 7])
@pytest.mark.parametrize("block", [1, 10, 1 << 22])
def test_a_matrix_is_turned_block_by_block(
    monkeypatch: pytest.MonkeyPatch, rows: int, block: int
) -> None:
    monkeypatch.setattr("caffefold.ir.blob._BLOCK", block)
    source = np.arange(5.0 * rows).reshape(5, rows)
    blob = TransposedBlob(ArrayBlob(source), rows)
    wanted = source.T.ravel()
    assert blob.shape == (rows, 5)
    assert blob.step % 5 == 0
    for start in range(wanted.size + 1):
        for stop in range(start, wanted.size + 1):
            np.testing.assert_array_equal(blob.read(start, stop), wanted[start:stop])


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise", "DepthwiseConv"])
@pytest.mark.parametrize("group", ["", "group: 4"])
def test_depthwise_types_become_convolutions(kind: str, group: str) -> None:
    layer = f"""layer {{ name: "s" type: "{kind}" bottom: "r" top: "s"
      convolution_param {{ num_output: 4 kernel_size: 3 bias_term: false {group} }} }}"""
    net, _ = converted(net_of(layer, np.arange(36.0).reshape(4, 1, 3, 3)), plain_types=True)
    assert net["s"].type == "Convolution"
    assert net["s"].params("convolution_param").integer("group") == 4


@pytest.mark.parametrize("wrong", ["group: 2", ""])
@pytest.mark.parametrize("kind", ["Convolution", "DepthwiseConv"])
def test_a_lost_group_is_not_proven(kind: str, wrong: str) -> None:
    layer = f"""layer {{ name: "s" type: "{kind}" bottom: "r" top: "s"
      convolution_param {{ num_output: 4 kernel_size: 3 bias_term: false group: 4 }} }}"""
    blobs = [np.arange(36.0).reshape(4, 1, 3, 3)]
    net = Net.from_text(HEAD + layer, {"s": blobs})
    text = layer.replace("group: 4", wrong).replace(kind, "Convolution")
    with pytest.raises(caffefold.ProofError, match="parameters were changed"):
        caffefold.prove(net, Net.from_text(HEAD + text, {"s": blobs}))


def test_each_input_has_a_layer_of_its_own() -> None:
    net = Net.from_text(
        """layer { name: "in" type: "Input" top: "data" top: "info" input_param {
             shape { dim: 1 dim: 4 dim: 5 dim: 5 } shape { dim: 1 dim: 3 } } }
           layer { name: "s" type: "ReLU" bottom: "data" top: "s" }
           layer { name: "t" type: "ReLU" bottom: "info" top: "t" }""",
        {},
    )
    made, _ = converted(net, plain_types=True)
    assert [layer.tops for layer in made][:2] == [("data",), ("info",)]
    assert len({layer.name for layer in made}) == len(made) == 4
    assert made.inputs == ("data", "info")
    dims = [layer.params("input_param").messages("shape") for layer in made.layers[:2]]
    assert [[s.integers("dim") for s in each] for each in dims] == [[(1, 4, 5, 5)], [(1, 3)]]


FORKS = (
    HEAD
    + """layer { name: "s" type: "Convolution" bottom: "r" top: "s"
  forward_type: FLOAT16 nobody_knows: 3
  convolution_param { num_output: 4 kernel_size: 1 engine: MKLDNN
    weight_filler { type: "msra" } } }"""
)


def test_fields_of_forks_are_dropped_and_named() -> None:
    net = Net.from_text(FORKS, {"s": [np.ones((4, 4, 1, 1)), np.ones(4)]})
    made, result = converted(net, drop_fork_fields=True)
    assert sorted(change.fields for change in result.changes) == [
        ("/convolution_param/engine",),
        ("/forward_type",),
        ("/nobody_knows",),
    ]
    text = str(made.to_document())
    for word in ("FLOAT16", "MKLDNN", "nobody_knows"):
        assert word not in text
    assert "msra" in text


def test_fields_of_layer_types_of_forks_stay() -> None:
    text = (
        HEAD
        + """layer { name: "s" type: "Interp" bottom: "r" top: "s"
      interp_param { height: 9 width: 9 } }"""
    )
    made, _ = converted(Net.from_text(text, {}), drop_fork_fields=True)
    assert "interp_param" in str(made.to_document())


@pytest.mark.parametrize(("value", "passes"), [("true", True), ("false", False)])
def test_a_field_that_decides_is_refused(value: str, passes: bool) -> None:
    text = (
        HEAD
        + f"""layer {{ name: "s" type: "Pooling" bottom: "r" top: "s"
      pooling_param {{ kernel_size: 2 stride: 2 ceil_mode: {value} }} }}"""
    )
    net = Net.from_text(text, {})
    if passes:
        caffefold.retarget(net, drop_fork_fields=True)
    else:
        with pytest.raises(caffefold.TextError, match="layer 's': ceil_mode is a fork's"):
            caffefold.retarget(net, drop_fork_fields=True)


# ------------------------------------------------------------------------------- the targets


def test_every_target_is_an_option() -> None:
    assert {"", *TARGETS} == set(TargetName.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", TARGETS)
def test_every_fact_has_a_source(target: str) -> None:
    row = TARGETS[target]
    assert row.facts
    assert all(fact and source for fact, source in row.facts)


@pytest.mark.parametrize(
    "target", [name for name, row in TARGETS.items() if "fp16" not in row.dtypes]
)
def test_half_precision_is_refused_by_name(tmp_path: Path, target: Any) -> None:
    (tmp_path / "net.prototxt").write_text(HEAD.replace("dim: 4", "dim: 3") + SCALE)
    net = caffe_pb2.NetParameter()
    layer = net.layer.add(name="s", type="Scale")
    for _ in range(2):
        layer.blobs.add(data=NUMBERS[:3]).shape.dim.append(3)
    (tmp_path / "net.caffemodel").write_bytes(net.SerializeToString())
    given = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    with pytest.raises(caffefold.UsageError, match=r"dtype fp16: .* reads fp32 alone"):
        caffefold.convert(*given, tmp_path / "out", target=target, dtype="fp16")
    assert not (tmp_path / "out.prototxt").exists()
    caffefold.convert(*given, tmp_path / "out", target=target)


@pytest.mark.parametrize(
    ("target", "layer", "message"),
    [
        ("caffe", 'layer { name: "s" type: "Mish" bottom: "r" top: "s" }', "no layer type Mish"),
        (
            "armnn",
            'layer { name: "s" type: "Softmax" bottom: "r" top: "s" softmax_param { axis: 2 } }',
            "does not read axis of softmax_param",
        ),
        (
            "atc",
            """layer { name: "s" type: "Reshape" bottom: "r" top: "s"
            reshape_param { shape { dim: 1 dim: 2 dim: 2 dim: 5 dim: 5 } } }""",
            "'s' has 5 axes, Ascend ATC .* takes 4 at most",
        ),
        (
            "atc",
            'layer { name: "s" type: "NobodyKnows" bottom: "r" top: "s" }',
            "the shape of 's' is not known",
        ),
    ],
)
def test_what_a_target_refuses_is_named(target: Any, layer: str, message: str) -> None:
    with pytest.raises(caffefold.TextError, match=f"layer 's': .*{message}"):
        caffefold.retarget(Net.from_text(HEAD + layer, {}), target=target)


def test_options_win_over_the_target() -> None:
    options = aimed(caffefold.ConvertOptions(target="rknn", standalone="conv"))
    assert (options.standalone, options.collapse, options.plain_types) == ("conv", True, True)
    assert not aimed(caffefold.ConvertOptions(target="rknn")).collapse
    assert aimed(caffefold.ConvertOptions()) == caffefold.ConvertOptions()


UNREAD = (
    'layer { name: "c" type: "Convolution" bottom: "r" top: "c" convolution_param '
    "{ num_output: 2 kernel_size: 1 bias_term: false %s } }"
)


@pytest.mark.parametrize(
    "said", ["axis: 1", "dilation: 1", "dilation: 1 dilation: 1", "force_nd_im2col: false"]
)
def test_what_a_consumer_does_not_read_goes_where_it_says_nothing(said: str) -> None:
    """PPQ's parser stops at axis and dilation, even at their defaults."""
    net = Net.from_text(HEAD + UNREAD % said, {"c": (np.ones((2, 4, 1, 1)),)})
    made, result = converted(net, target="ppq")
    assert said.partition(":")[0] not in made.to_document().encode().decode()
    assert "it is the default" in result.changes[-1].detail


@pytest.mark.parametrize("said", ["dilation: 2", "dilation: 1 dilation: 2"])
def test_what_a_consumer_does_not_read_is_refused_where_it_says_something(said: str) -> None:
    net = Net.from_text(HEAD + UNREAD % said, {"c": (np.ones((2, 4, 1, 1)),)})
    with pytest.raises(caffefold.InputError, match=r"layer 'c': PPQ .* does not read dilation"):
        caffefold.retarget(net, target="ppq")


def test_transpose_goes_where_it_is_false() -> None:
    text = HEAD + (
        'layer { name: "c" type: "InnerProduct" bottom: "r" top: "c" inner_product_param '
        "{ num_output: 2 transpose: false bias_term: false } }"
    )
    made, _ = converted(Net.from_text(text, {"c": (np.ones((2, 100)),)}), plain_types=True)
    assert "transpose" not in made.to_document().encode().decode()


@pytest.mark.parametrize("target", ["ppq", "tpu-mlir"])
def test_types_outside_of_a_known_list_are_refused(target: TargetName) -> None:
    net = Net.from_text(HEAD + 'layer { name: "e" type: "AbsVal" bottom: "r" top: "e" }')
    with pytest.raises(caffefold.InputError, match=r"layer 'e': .* does not take .* AbsVal"):
        caffefold.retarget(net, target=target)


def test_outputs_are_not_written_in_place() -> None:
    """tpu-mlir stops at the first layer that writes an output's name."""
    text = HEAD + "".join(
        f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}" }}'
        for name, kind, bottom, top in (
            *(("a", "Sigmoid", "r", "y"), ("b", "TanH", "y", "y"), ("side", "ReLU", "y", "z")),
            *(("c", "ReLU", "y", "y"), ("own", "ReLU", "r", "r")),
        )
    )
    net = Net.from_text(text)
    made, result = converted(net, target="tpu-mlir")
    assert sorted(made.outputs) == sorted(net.outputs) == ["r", "y", "z"]
    wires = {name: (made[name].bottoms, made[name].tops) for name in ("a", "b", "side", "c", "own")}
    assert wires == {
        "a": (("r2",), ("y2",)),
        "b": (("y2",), ("y2",)),
        "side": (("y2",), ("z",)),
        "c": (("y2",), ("y",)),
        "own": (("r2",), ("r",)),
    }
    assert "outputs are not written in place" in [change.detail for change in result.changes]


def test_an_input_keeps_its_name() -> None:
    text = """input: "data" input_shape { dim: 1 dim: 4 }
    layer { name: "a" type: "ReLU" bottom: "data" top: "data" }"""
    made, result = converted(Net.from_text(text), target="tpu-mlir")
    assert made["a"].bottoms == ("data",)
    assert result.changes == ()


@pytest.mark.parametrize(("target", "frozen"), [("amct", True), ("atc", False)])
def test_a_norm_that_is_kept_is_frozen_for_amct(target: TargetName, frozen: bool) -> None:
    deploy = net_of(NORM, NUMBERS, NUMBERS**2, [2.0])
    passes = target_passes(aimed(caffefold.ConvertOptions(target=target)), lambda name: name == "s")
    made, steps = infra.run(passes, deploy)
    assert made["s"].type == "BatchNorm"
    assert made["s"].params("batch_norm_param").has("use_global_stats") is frozen
    proof.prove(deploy, made, [change for step in steps for change in step.changes])


def test_the_next_step_names_input_and_output() -> None:
    lines = next_step("armnn", "out/net", {"data": (1, 3, 8, 8)}, (), ("prob",))
    assert "-i data -s 1,3,8,8 -o prob -p net.armnn" in lines[0]
    assert "-m out/net.caffemodel" in lines[0]
    (line,) = next_step("ncnn", "my nets/it's", {}, ())
    assert shlex.split(line)[1:3] == ["my nets/it's.prototxt", "my nets/it's.caffemodel"]
    (call,) = next_step("ppq", "my nets/net", {}, ())
    assert "('my nets/net.prototxt', 'my nets/net.caffemodel')" in call
    assert all(TARGETS[x].next_step or x == "opencv" for x in TARGETS)


@pytest.mark.parametrize(
    ("bottom", "said", "passes"),
    [("r", "", False), ("r", "axis: 3", True), ("r", "axis: -2", False), ("flat", "", True)],
)
def test_softmax_over_other_axes_is_refused(bottom: str, said: str, passes: bool) -> None:
    """caffe2onnx writes opset 11, whose Softmax runs over all axes from its own on."""
    flat = 'layer { name: "f" type: "Flatten" bottom: "r" top: "flat" }'
    text = f"""layer {{ name: "s" type: "Softmax" bottom: "{bottom}" top: "s"
      softmax_param {{ {said} }} }}"""
    net = Net.from_text(HEAD + flat + text)
    caffefold.retarget(net, target="mnn")
    if passes:
        caffefold.retarget(net, target="caffe2onnx")
        return
    with pytest.raises(caffefold.TextError, match=r"layer 's': .* misreads a Softmax along axis"):
        caffefold.retarget(net, target="caffe2onnx")


@pytest.mark.parametrize("target", ["mnn", "caffe2onnx"])
def test_a_scale_with_two_bottoms_is_refused(target: TargetName) -> None:
    """A gate, as of SENet."""
    gate = 'layer { name: "s" type: "Scale" bottom: "data" bottom: "r" top: "s" }'
    net = Net.from_text(HEAD + gate)
    caffefold.retarget(net, target="openvino")
    with pytest.raises(caffefold.TextError, match=r"layer 's': .* Scale with two bottoms"):
        caffefold.retarget(net, target=target)


@pytest.mark.parametrize(("outputs", "passes"), [(4, False), (2, True)])
def test_grouped_deconvolutions_are_refused(outputs: int, passes: bool) -> None:
    """RKNN crashes on them, tpu-mlir misreads them; each channel by itself is taken."""
    layer = f"""layer {{ name: "up" type: "Deconvolution" bottom: "data" top: "up"
      convolution_param {{ num_output: {outputs} group: 2 kernel_size: 2 stride: 2 }} }}"""
    net = Net.from_text(
        'layer { name: "data" type: "Input" top: "data"\n'
        "  input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }\n" + layer
    )
    caffefold.retarget(net, target="mnn")
    for target in ("rknn", "tpu-mlir"):
        if passes:
            caffefold.retarget(net, target=target)
            continue
        with pytest.raises(caffefold.TextError, match=r"layer 'up': .* of 2 groups of several"):
            caffefold.retarget(net, target=target)
