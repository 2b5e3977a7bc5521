"""What is no difference: defaults, spelling, order of fields, layout, age of the format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.compare.conftest import DATA, conv, layer

if TYPE_CHECKING:
    from tests.compare.conftest import Compare


def _net(params: str, kind: str = "Convolution") -> str:
    return DATA + layer("x", kind, "data", "x", params)


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        ("Convolution", "num_output: 8", "num_output: 8 bias_term: true"),
        ("Convolution", "kernel_size: 3", "kernel_h: 3 kernel_w: 3"),
        ("Convolution", "kernel_size: 3", "kernel_size: 3 kernel_size: 3"),
        ("Convolution", "kernel_size: [1, 3]", "kernel_h: 1 kernel_w: 3"),
        ("Convolution", "", "pad: 0 stride: 1 dilation: 1 group: 1 axis: 1"),
        ("Convolution", "", "pad_h: 0 pad_w: 0 stride_h: 1 stride_w: 1"),
        ("Convolution", "pad: 1 num_output: 8", "num_output: 8, pad: 1;"),
        ("Convolution", "engine: CAFFE", "engine: 1"),
        ("Convolution", "engine: CAFFE", 'engine: "CAFFE"'),
        ("Convolution", "", "engine: DEFAULT"),
        ("Pooling", "pool: MAX kernel_size: 2", "kernel_h: 2 kernel_w: 2"),
        ("Pooling", "pool: AVE", "pool: 1 global_pooling: false"),
        ("BatchNorm", "eps: 0.001", "eps: 1e-3"),
        ("BatchNorm", "eps: 0.00001", ""),
        ("BatchNorm", "eps: .10", "eps: 0.1000000001"),
        ("Scale", "bias_term: True", "bias_term: 1"),
        ("Dropout", "dropout_ratio: 0.5", ""),
        ("Dropout", "dropout_ratio: 0.9 dropout_ratio: 0.5", ""),
        ("Reshape", "shape { dim: 0 dim: -1 }", "shape: < dim: [0, -1] >"),
        ("Forked", "on: 1 ratio: 2.0", "on: true ratio: 2"),
        ("Forked", "ratio: 0.50 on: true", "on: True # a comment\n ratio: .5"),
    ],
)
def test_spellings_of_one_net(compare: Compare, kind: str, one: str, two: str) -> None:
    name = {"BatchNorm": "batch_norm", "Forked": "some_fork"}.get(kind, kind.lower())
    nets = [_net(f"{name}_param {{ {params} }}", kind) for params in (one, two)]
    found = compare(*nets)
    assert list(found.entries) == []
    assert not found


@pytest.mark.parametrize(
    ("kind", "one", "two", "path", "before", "after"),
    [
        ("Convolution", "num_output: 8", "num_output: 9", "num_output", 8, 9),
        ("Convolution", "", "bias_term: false", "bias_term", None, False),
        ("Convolution", "kernel_size: 3", "kernel_h: 1 kernel_w: 3", "kernel_size", 3, (1, 3)),
        ("Convolution", "pad: 1", "pad_w: 1", "pad", 1, (0, 1)),
        ("Convolution", "", "stride: 2", "stride", None, 2),
        ("Convolution", "engine: CAFFE", "engine: 2", "engine", "CAFFE", "CUDNN"),
        ("Convolution", "num_output: cls6x", "num_output: 24", "num_output", "cls6x", 24),
        ("BatchNorm", "", "use_global_stats: false", "use_global_stats", None, False),
        ("BatchNorm", "eps: 1e-5", "eps: 1.1e-5", "eps", None, 1.1e-5),
        ("Forked", "ratio: 1", "ratio: 2", "ratio", 1, 2),
        ("Forked", "mode: 1", 'mode: "1"', "mode", 1, "1"),
    ],
)
def test_settings_that_differ(
    compare: Compare, kind: str, one: str, two: str, path: str, before: object, after: object
) -> None:
    name = {"BatchNorm": "batch_norm", "Forked": "some_fork"}.get(kind, kind.lower())
    (entry,) = compare(*(_net(f"{name}_param {{ {p} }}", kind) for p in (one, two))).changed
    (change,) = entry.fields
    assert (change.path, change.before, change.after) == (f"{name}_param.{path}", before, after)
    assert entry.symbol == "~"


def test_comments_and_layout(compare: Compare) -> None:
    one = DATA + conv("conv1", "data")
    two = "# exported\n\n" + one.replace("{", "{\n  ").replace('"', "'")
    assert not compare(one, two)


def test_legacy_inputs_are_input_layers(compare: Compare) -> None:
    body = conv("conv1", "data")
    legacy = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n' + body
    shaped = 'input: "data" input_shape { dim: [1, 3, 8, 8] }\n' + body
    upgraded = DATA.replace('name: "data"', 'name: "input"') + body  # upgrade_net_proto_text
    for net in (legacy, shaped, upgraded):
        assert not compare(net, DATA + body)


def test_v1_and_v0_nets_are_upgraded(compare: Compare) -> None:
    body = 'name: "conv1" {} bottom: "data" top: "conv1" {}'
    params = "convolution_param { num_output: 8 kernel_size: 3 }"
    v1 = DATA + f"layers {{ {body.format('type: CONVOLUTION', params)} }}"
    legacy = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'
    inner = 'name: "conv1" type: "conv" num_output: 8 kernelsize: 3'
    v0 = legacy + f'layers {{ layer {{ {inner} }} bottom: "data" top: "conv1" }}'
    new = DATA + conv("conv1", "data")
    assert not compare(v1.replace(DATA, legacy), new)
    assert not compare(v0, new)


def test_statistics_are_never_learned(compare: Compare) -> None:
    """BatchNorm sets the rates of its blobs to 0 itself, whatever the net says."""
    frozen = "param { lr_mult: 0 decay_mult: 0 } " * 3
    nets = (DATA + layer("bn", "BatchNorm", "data", "bn", body) for body in ("", frozen))
    assert not compare(*nets)


@pytest.mark.parametrize(
    "body",
    [
        "param { lr_mult: 10 }",
        "convolution_param { weight_filler { type: 'xavier' } }",
        "include { phase: TEST }",
        "loss_weight: 1",
        "propagate_down: false",
    ],
)
def test_training_settings(compare: Compare, body: str) -> None:
    plain = DATA + layer("c", "Convolution", "data", "c", "")
    other = DATA + layer("c", "Convolution", "data", "c", body)
    assert compare(plain, other)
    assert not compare(plain, other, level="structure")
    if "loss_weight" not in body:  # it makes a loss of the layer
        assert not compare(plain, other, ignore_training=True)


def test_names_of_shared_weights_are_no_training_setting(compare: Compare) -> None:
    plain = DATA + layer("c", "Convolution", "data", "c", "")
    shared = DATA + layer("c", "Convolution", "data", "c", "param { name: 'w' lr_mult: 2 }")
    (entry,) = compare(plain, shared, ignore_training=True).changed
    assert [change.path for change in entry.fields] == ["param[0].name"]


def test_the_name_of_the_net(compare: Compare) -> None:
    body = DATA + conv("conv1", "data")
    found = compare('name: "old"\n' + body, 'name: "new"\n' + body)
    assert [(c.path, c.before, c.after) for c in found.net_fields] == [("name", "old", "new")]
    assert found
    assert not compare('name: "old"\n' + body, body, level="structure")
    assert not compare('name: ""\n' + body, body)
