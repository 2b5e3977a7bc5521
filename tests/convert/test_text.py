"""Text on its way through a conversion: unknown names, enum values of forks, removed fields."""

from __future__ import annotations

from pathlib import Path

import pytest

import caffefold
from caffefold.errors import InputError, TextError, UsageError
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net

DATA = (
    'layer { name: "data" type: "Input" top: "data" '
    "input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n"
)
SLIP = DATA + (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c"\n'
    "  convolution_param { num_output: 4 kernel_size: 3 stirde: 2 } }\n"
)
FORK = DATA + (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c"\n'
    "  convolution_param { num_output: 4 kernel_size: 3 } forks_own { x: 2 } }\n"
)
# A pooling of a fork behind a BatchNorm that folds.
ENUM = DATA + (
    'layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" '
    "convolution_param { num_output: 8 kernel_size: 3 } }\n"
    'layer { name: "p" type: "Pooling" bottom: "c1" top: "p" '
    "pooling_param { pool: 1 kernel_size: 2 stride: 2 } }\n"
    'layer { name: "bn" type: "BatchNorm" bottom: "p" top: "p" }\n'
    'layer { name: "fork" type: "Pooling" bottom: "p" top: "q" '
    "pooling_param { pool: AVE_EXC_PAD kernel_size: 2 stride: 2 } }\n"
)
CONV = (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
    "convolution_param { num_output: 4 kernel_size: 1 } }"
)
INPUT = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8'
GLUED = {
    "a net-level field on the line of a layer": (
        f'name: "g"\n{INPUT}\ninput_dim: 8\nstate {{ phase: TEST }}{CONV}\n'
    ),
    "behind a comment": (
        f'name: "g"\n{INPUT}\ninput_dim: 8 # height\nstate {{ phase: TEST }}{CONV}\n'
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n'
    ),
    "before a layer in place": (
        f'name: "g"\n{INPUT}\ninput_dim: 8 # height\nstate {{ phase: TEST }}'
        f'layer {{ name: "r0" type: "ReLU" bottom: "data" top: "data" }}\n{CONV}\n'
    ),
    "fillers between fields": (
        f'name: "g"\n{INPUT} input_dim: 8\n'
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" # a comment\n'
        "  include { phase: TEST }convolution_param { num_output: 4 kernel_size: 1 # another\n"
        'weight_filler { type: "xavier" }pad: 1 } }\n'
    ),
}


def converted(text: str, **options: object) -> tuple[Net, tuple[str, ...]]:
    """The deploy net of ``text``, and the warnings."""
    result = caffefold.to_deploy(Net.from_text(text, path="net.prototxt"), **options)  # type: ignore[arg-type]
    return result.net, tuple(map(str, result.warnings))


def test_a_slip_is_refused_before_anything_else_is_said() -> None:
    with pytest.raises(TextError, match=r"unknown field 'stirde'.*did you mean 'stride'"):
        converted(SLIP)
    _, warnings = converted(SLIP, allow_unknown=True)
    assert len(warnings) == 1


def test_a_field_of_an_unknown_fork_passes_with_a_warning() -> None:
    net, warnings = converted(FORK)
    assert warnings == ("net.prototxt:3:54: layer 'c': unknown field 'forks_own'",)
    assert "forks_own { x: 2 }" in str(net.to_document())
    with pytest.raises(TextError, match="unknown field 'forks_own'; it may pass without strict"):
        converted(FORK, strict=True)


def test_both_options_at_once_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="strict contradicts allow_unknown"):
        converted(FORK, strict=True, allow_unknown=True)


def test_inspect_refuses_and_warns_alike() -> None:
    with pytest.raises(TextError, match="did you mean 'stride'"):
        caffefold.inspect(Net.from_text(SLIP))
    found = caffefold.inspect(Net.from_text(SLIP), allow_unknown=True)
    assert [warning for warning in found.warnings if "stirde" in warning]
    with pytest.raises(TextError, match="forks_own"):
        caffefold.inspect(Net.from_text(FORK), strict=True)


def test_an_enum_value_of_a_fork_stops_nobody(tmp_path: Path) -> None:
    source = tmp_path / "enum.prototxt"
    source.write_text(ENUM, encoding="utf-8")
    report = caffefold.convert(source, None, tmp_path / "out")
    assert [*map(str, report.warnings)] == [
        f"{source}:5:75: layer 'fork': unknown value AVE_EXC_PAD of pooling_param.pool"
    ]
    written = (tmp_path / "out.prototxt").read_text(encoding="utf-8")
    assert "pool: AVE_EXC_PAD" in written
    assert "BatchNorm" not in written  # it went through the pooling that is known


def test_a_map_does_not_move_through_a_pooling_nobody_knows(tmp_path: Path) -> None:
    source = tmp_path / "enum.prototxt"
    source.write_text(ENUM.replace("pool: 1", "pool: AVE_EXC_PAD"), encoding="utf-8")
    caffefold.convert(source, None, tmp_path / "out")
    written = (tmp_path / "out.prototxt").read_text(encoding="utf-8")
    assert 'type: "Scale"' in written  # the BatchNorm stays where it is


@pytest.mark.parametrize("text", GLUED.values(), ids=GLUED)
def test_what_is_removed_takes_nothing_along(text: str, tmp_path: Path) -> None:
    source = tmp_path / "net.prototxt"
    source.write_text(text, encoding="utf-8")
    caffefold.convert(source, None, tmp_path / "out")
    written = parse((tmp_path / "out.prototxt").read_bytes())
    names = {field.body.string("name") for field in parse(text).fields if field.name == "layer"}
    assert {f.body.string("name") for f in written.fields if f.name == "layer"} == names
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in str(written).splitlines() if "#" in line] == comments
    assert written.root.strings("input_dim") == ("1", "3", "8", "8")


def test_a_net_that_only_looks_like_one_is_refused() -> None:
    with pytest.raises(InputError, match="unknown field 'layr'; did you mean 'layer'"):
        converted(FORK + 'layr { name: "x" type: "ReLU" bottom: "c" top: "x" }')


SMALL = DATA.replace("data", "small").replace("dim: 8", "dim: 6")
UNEQUAL = 'layer { name: "joined" type: "Concat" bottom: "%s" bottom: "small" top: "joined" }\n'


def one(kind: str, text: str = "") -> str:
    """A layer that reads the data."""
    return f'layer {{ name: "x" type: "{kind}" bottom: "data" top: "x" {text} }}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            one("Permute", "permute_param { order: 4 }"),
            "layer 'x': order is 4, its input has 4 axes",
        ),
        (SMALL + UNEQUAL % "data", "layer 'joined': its inputs differ: 1x3x8x8 and 1x3x6x6"),
        (
            one("Reshape", "reshape_param { shape { dim: 0 dim: 5 } }"),
            "layer 'x': 1x3x8x8 has 192 elements, 1x5 has 5",
        ),
        (one("Slice", 'top: "y"'), "layer 'x': 3 cannot be cut into 2 equal parts"),
        (one("Pooling"), "layer 'x': kernel_size is missing"),
        (one("Eltwise"), "layer 'x': Eltwise takes at least 2 bottoms, it has 1"),
        (SMALL + one("ReLU", 'bottom: "small"'), "ReLU takes 1 bottom, it has 2"),
        (one("Softmax", 'top: "y"'), "Softmax takes 1 top, it has 2"),
        (
            one("Convolution", 'top: "y" convolution_param { num_output: 1 kernel_size: 1 }'),
            "Convolution takes as many tops as bottoms, it has 1 bottom and 2 tops",
        ),
        (one("DetectionOutput"), "DetectionOutput takes 3 or 4 bottoms, it has 1"),
    ],
)
def test_what_caffe_surely_refuses_is_refused(text: str, message: str) -> None:
    with pytest.raises(TextError) as caught:
        converted(DATA + text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "before",
    [
        one("Upsample"),
        one("ReLU", "forks_own: 1"),
        one("Pooling", "pooling_param { pool: AVE_EXC_PAD kernel_size: 2 }"),
    ],
)
def test_where_a_fork_has_a_say_it_is_a_warning(before: str) -> None:
    """What made the input may work otherwise there."""
    _, warnings = converted(DATA + before + SMALL + UNEQUAL % "x")
    assert "layer 'joined': its inputs differ" in warnings[-1]
    assert warnings[-1].endswith("; Caffe may refuse this net")


def test_what_caffe_would_split_is_warned_of() -> None:
    """The numbers have a meaning; Caffe stops at the net all the same (insert_splits.cpp)."""
    text = DATA + (
        'layer { name: "early" type: "Power" bottom: "data" top: "e" }\n'
        'layer { name: "late" type: "ReLU" bottom: "data" top: "data" }\n'
    )
    _, (warning,) = converted(text)
    assert warning == (
        "net.prototxt:3:1: layer 'late': works in place on 'data', which layer 'early' reads too; "
        "Caffe refuses that: give its top another name"
    )


def test_a_layer_of_forks_gets_a_warning() -> None:
    axpy = 'layer { name: "x" type: "Axpy" bottom: "data" bottom: "data" bottom: "small" top: "x" }'
    _, warnings = converted(DATA + SMALL + axpy)
    assert warnings[0].endswith("; Caffe may refuse this net")
