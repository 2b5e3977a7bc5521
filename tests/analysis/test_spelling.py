"""Unknown fields, layer types and enum values: warned of, or refused where they are slips."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from caffefold.analysis import spelling
from caffefold.errors import InputError, TextError
from caffefold.formats import forks, schema
from caffefold.formats.fork_schema import compile_schema
from caffefold.formats.prototxt.open import net_of, read_net
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net

INPUT = (
    'layer { name: "data" type: "Input" top: "data"\n'
    "  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n"
)


def layer(text: str, kind: str = "Convolution") -> Net:
    """A net of an input and a layer, with ``text`` on a line of its own (the fourth)."""
    return Net.from_text(
        f'{INPUT}layer {{ name: "x" type: "{kind}" bottom: "data" top: "x"\n{text}\n}}\n',
        path="net.prototxt",
    )


def warnings(net: Net, *, allow_unknown: bool = False, strict: bool = False) -> list[str]:
    """What is said of ``net`` when nothing is refused."""
    return [*map(str, spelling.check(net, net, allow_unknown=allow_unknown, strict=strict))]


def refused(net: Net, *, strict: bool = False) -> str:
    """The message with which ``net`` is refused."""
    with pytest.raises(TextError) as caught:
        spelling.check(net, net, allow_unknown=False, strict=strict)
    return str(caught.value)


def test_a_slip_is_refused_with_place_and_suggestion() -> None:
    net = layer("  convolution_param { num_output: 8 kernel_size: 3 stirde: 2 }")
    assert refused(net) == (
        "net.prototxt:4:52: layer 'x': unknown field 'stirde' in convolution_param; "
        "did you mean 'stride'? If not, give allow_unknown"
    )


def test_allowed_it_is_a_warning() -> None:
    net = layer("  convolution_param { num_output: 8 kernel_size: 3 stirde: 2 }")
    (warning,) = warnings(net, allow_unknown=True)
    assert warning == (
        "net.prototxt:4:52: layer 'x': unknown field 'stirde' in convolution_param; "
        "did you mean 'stride'?"
    )


@pytest.mark.parametrize(
    ("kind", "text", "meant"),
    [
        ("BatchNorm", "batch_norm_param { epsilon: 0.1 }", "'eps'"),
        ("BatchNorm", "batchnorm_param { eps: 0.1 }", "'batch_norm_param'"),
        ("Convolution", "convolution_parm { num_output: 8 }", "'convolution_param'"),
        ("Convolution", "conv_param { num_output: 8 }", "'convolution_param'"),
        ("Convolution", "convolution_param { num_outputs: 8 }", "'num_output'"),
        ("Convolution", "convolution_param { kernal_size: 8 }", "'kernel_size'"),
        ("Convolution", "convolution_param { kernel: 8 }", "'kernel_size'"),
        ("Convolution", "convolution_param { padding: 8 }", "'pad'"),
        ("Convolution", "convolution_param { Stride: 8 }", "'stride'"),
        ("Convolution", "convolution_param { tride: 8 }", "'stride'"),
        ("Convolution", "convolution_param { biasterm: false }", "'bias_term'"),
        ("Scale", "scale_param { bias: true }", "'bias_term'"),
        ("Convolution", "stride: 2", "'stride' in convolution_param"),
        ("Convolution", 'bottm: "data"', "'bottom'"),
        ("Convolution", "inculde { phase: TEST }", "'include'"),
        ("Input", "input_param { shpae { dim: 1 } }", "'shape'"),
    ],
)
def test_slips_that_decide_arithmetic(kind: str, text: str, meant: str) -> None:
    assert f"did you mean {meant}?" in refused(layer(text, kind))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("convolution_param { weight_filer { type: 'msra' } }", "'weight_filler'"),
        ("convolution_param { weight_filler { tpye: 'msra' } }", "'type'"),
        ("convolution_param { engin: CUDNN }", "'engine'"),
        ("param { lr_mutl: 1 }", "'lr_mult'"),
        ("loss_wieght: 1", "'loss_weight'"),
        ("transform_param { sclae: 2 }", "'scale'"),
        ("data_param { bacth_size: 2 }", "'batch_size'"),
        ("convolution_param { pooled_h: 3 }", "'pooled_h' in roi_pooling_param"),
        ("convolution_param { hole_size: 3 }", ""),
        ("my_param { stirde: 3 }", ""),
    ],
)
def test_what_decides_nothing_is_a_warning(text: str, meant: str) -> None:
    (warning,) = warnings(layer(text))
    assert warning.endswith(f"did you mean {meant}?" if meant else ("_param", "'my_param'"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Convolutoin", "Convolution"),
        ("Convoltion", "Convolution"),
        ("INNER_PRODUCT", "InnerProduct"),
        ("relu", "ReLU"),
        ("BatchNormalization", "BatchNorm"),
        ("Concatenate", "Concat"),
        ("Softmaxwithloss", "SoftmaxWithLoss"),
    ],
)
def test_slips_in_types_are_refused(written: str, meant: str) -> None:
    assert refused(layer("", written)) == (
        f"net.prototxt:3:19: layer 'x': unknown layer type '{written}'; "
        f"did you mean '{meant}'? If not, give allow_unknown"
    )


@pytest.mark.parametrize(
    "kind", ["CReLU", "BatchRenorm", "Convolution3D", "UnPooling", "GroupNorm", "MyLoss"]
)
def test_other_types_are_warned_of_without_a_suggestion(kind: str) -> None:
    assert warnings(layer("", kind)) == [
        f"net.prototxt:3:19: layer 'x': unknown layer type '{kind}'"
    ]


def test_measures_and_data_layers_decide_nothing() -> None:
    assert "did you mean 'Accuracy'?" in warnings(layer("", "Acuracy"))[0]
    assert "did you mean 'ImageData'?" in warnings(layer("", "ImgeData"))[0]


def test_strict_refuses_what_is_near_to_nothing() -> None:
    assert refused(layer("  my_param { x: 1 }"), strict=True) == (
        "net.prototxt:4:3: layer 'x': unknown field 'my_param'; it may pass without strict"
    )


def test_net_level_fields_count_too() -> None:
    net = Net.from_text("inptu: 'data'\n" + INPUT, path="net.prototxt")
    assert refused(net).startswith("net.prototxt:1:1: unknown field 'inptu'; did you mean 'input'?")
    net = Net.from_text("force_bakward: true\n" + INPUT, path="net.prototxt")
    assert len(warnings(net)) == 1


def test_layers_outside_of_the_phase_change_no_numbers() -> None:
    net = layer("convolution_param { stirde: 2 } include { phase: TRAIN }")
    view = net.without([1])
    (found,) = spelling.check(net, view, allow_unknown=False, strict=False)
    assert str(found).endswith(
        "unknown field 'stirde' in convolution_param; did you mean 'stride'?"
    )


def test_like_names_are_one_warning() -> None:
    each = 'layer { name: "%s" type: "ReLU" bottom: "data" top: "%s" own: 1 }\n'
    net = Net.from_text(INPUT + "".join(each % (n, n) for n in "abc"), path="net.prototxt")
    assert warnings(net) == [
        "net.prototxt:3:56: layer 'a': unknown field 'own' (and in 2 other layers)"
    ]


def test_enum_values_are_warned_of() -> None:
    assert warnings(layer("pooling_param { pool: AVE_EXC_PAD }", "Pooling")) == [
        "net.prototxt:4:17: layer 'x': unknown value AVE_EXC_PAD of pooling_param.pool"
    ]
    (warning,) = warnings(layer("pooling_param { pool: MXA }", "Pooling"))
    assert warning.endswith("unknown value MXA of pooling_param.pool; did you mean MAX?")
    for known in ("AVE", "1", '"AVE"', "${kind}"):
        assert warnings(layer(f"pooling_param {{ pool: {known} }}", "Pooling")) == []


def test_a_plain_value_in_place_of_a_message() -> None:
    assert warnings(layer("convolution_param: 3")) == [
        "net.prototxt:4:1: layer 'x': convolution_param is 3, where Caffe has a message { }"
    ]


def test_a_second_value_where_caffe_takes_one() -> None:
    (warning,) = warnings(layer("convolution_param { num_output: 8 num_output: 9 pad: 1 pad: 1 }"))
    assert warning == (
        "net.prototxt:4:35: layer 'x': 'num_output' again in convolution_param, "
        "where Caffe takes one; the last counts"
    )
    assert warnings(layer("transform_param { resize_param { } resize_param { } }")) == []


def test_lists_of_messages_are_looked_into() -> None:
    net = layer("param: [{ lr_mult: 1 }, { lr_mutl: 1 }]")
    assert "unknown field 'lr_mutl'" in warnings(net)[0]


@pytest.mark.parametrize("fork", forks.FORKS, ids=lambda fork: fork.source.split(",")[0])
def test_names_of_forks_are_known(fork: forks.Fork) -> None:
    """At the level of the layer, as elsewhere, nobody is warned."""
    layers = fork.fields.get("LayerParameter", "").split()
    assert warnings(layer("\n".join(f"{name} {{ x: 1 }}" for name in layers))) == []
    for kind in fork.types.split():
        assert warnings(layer("", kind)) == []


def test_names_of_forks_are_no_slips_of_one_another() -> None:
    """What forks call their own must not look like a slip, or unknown forks would be refused."""
    alike = {
        (name, near)
        for fork in forks.FORKS
        for message, names in fork.fields.items()
        for name in names.split()
        if (near := spelling.nearest_field(name, schema.message(message).fields_by_name))
    }
    assert alike == set()


def test_names_of_old_formats_are_upgraded_first() -> None:
    text = (
        "input: 'data' input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n"
        "layers { name: 'x' type: CONVOLUTION bottom: 'data' top: 'x' blobs_lr: 1\n"
        "  convolution_param { num_output: 8 kernel_size: 3 stirde: 2 } }\n"
    )
    net = Net.of(net_of(parse(text, "net.prototxt")).document)
    assert refused(net).startswith("net.prototxt:3:52: layer 'x': unknown field 'stirde'")


def test_a_forks_own_schema_makes_its_fields_known(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    proto = tmp_path / "caffe.proto"
    proto.write_text(
        'syntax = "proto2"; package caffe;\n'
        "message LayerParameter { optional Conv convolution_param = 106; }\n"
        "message Conv { optional uint32 stirde = 50; }\n"
    )
    text = str(layer("convolution_param { num_output: 8 stirde: 2 dilatoin: 2 }").to_document())
    net = Net.of(net_of(parse(text, "net.prototxt"), compile_schema(proto)).document)
    assert "unknown field 'dilatoin'" in refused(net)


def test_thousands_of_unknown_names_take_no_time() -> None:
    """Names are looked up once each, and no more of them than any net has."""
    net = layer("\n".join(f"convolution_parx{chr(97 + i % 26)}{i}: 1" for i in range(20_000)))
    found = warnings(net, allow_unknown=True)
    assert len(found) < 1_000
    assert found[-1] == f"net.prototxt: {20_001 - len(found)} more unknown names"
    net = layer("\n".join(f"convolution_parx{chr(97 + i % 26)}{i}: 1" for i in range(21_000)))
    found = warnings(net, allow_unknown=True)
    assert found[-1] == "net.prototxt: at least 20000 more unknown names"


def test_thousands_of_unknown_types_are_not_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    real = spelling._type_slip

    def counted(name: str, other: str) -> int:
        compared.append(name)
        return real(name, other)

    monkeypatch.setattr(spelling, "_type_slip", counted)
    text = "".join(f'layer {{ name: "l{i}" type: "Odd{i}" }}\n' for i in range(2_000))
    found = warnings(Net.from_text(text))
    assert 100 < len(set(compared)) < 1_000
    assert found[-1].endswith(f"{2_001 - len(found)} more unknown names")


def test_a_name_as_long_as_a_file_is_no_slip(monkeypatch: pytest.MonkeyPatch) -> None:
    known = list(forks.all_fields())
    assert spelling.nearest_field("kernel_sise", ("kernel_size",)) == "kernel_size"
    monkeypatch.setattr(spelling, "_slip", None)  # nothing is compared
    assert spelling.nearest_field("x" * 1_000_000, known) == ""


SHARED = Path(os.environ.get("CAFFEFOLD_SHARED", "-"))


@pytest.mark.once
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared models")
def test_no_false_alarm_in_real_nets() -> None:
    """Published nets of 30 repositories: all their fields, types and values are known."""
    alarms = []
    for path in sorted(SHARED.glob("*/**/*.prototxt")):
        if path.is_relative_to(SHARED / "cases"):
            continue
        try:
            net = Net.of(read_net(path).document)
        except InputError:
            continue
        alarms += warnings(net)
    assert alarms == []
