"""A fork's own schema: its fields and defaults count, ours stand in, nothing meets in a pool."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from caffefold.errors import InputError
from caffefold.extras import install
from caffefold.formats import fork_schema, schema
from caffefold.formats.fork_schema import compile_schema
from caffefold.formats.prototxt.parse import parse
from caffefold.formats.schema import OURS, Schema
from caffefold.ir.params import Params

Compile: TypeAlias = Callable[..., Schema]


def params(fork: Schema, field: str, text: str = "") -> Params:
    document = parse(text)
    return Params(document, document.root, fork.parameter(field), "layer 'x'")  # type: ignore[arg-type, unused-ignore]


def test_the_forks_defaults_count(compiled: Compile) -> None:
    fork = compiled()
    assert params(fork, "batch_norm_param").number("eps") == pytest.approx(1e-3)
    assert OURS.parameter("batch_norm_param").fields_by_name["eps"].default_value < 1e-4
    assert params(fork, "convolution_param").integer("group") == 2


def test_the_forks_own_messages(compiled: Compile) -> None:
    read = params(compiled(), "shiny_param", "inner { on: false } gloss: .25")
    assert read.number("gloss") == 0.25
    assert not read.sub("inner").flag("on")
    assert params(compiled(), "shiny_param").sub("inner").flag("on")


def test_what_the_fork_lacks_comes_from_ours(compiled: Compile) -> None:
    fork = compiled()
    assert params(fork, "convolution_param").flag("bias_term") is True
    assert not params(fork, "scale_param").flag("bias_term")
    assert params(fork, "convolution_param").sub("weight_filler").string("type") == "constant"
    with pytest.raises(KeyError):
        fork.parameter("no_such_param")
    with pytest.raises(KeyError):
        fork.parameter("name")
    with pytest.raises(KeyError):
        fork.message("NoSuchParameter")
    assert fork.message("NetStateRule").name == "NetStateRule"
    assert fork.message("ShinyParameter").name == "ShinyParameter"
    assert fork.message("LayerParameter") is fork.message("LayerParameter")


def test_the_forks_enum(compiled: Compile) -> None:
    fork = compiled()
    assert params(fork, "pooling_param").enum("pool") == "SUM"
    assert params(fork, "pooling_param", "pool: AVE").enum("pool") == "AVE"
    assert params(fork, "pooling_param", "pool: 7").enum("pool") == "SUM"


def test_a_field_made_repeated(compiled: Compile) -> None:
    """Its last value counts, and our default when there is none."""
    fork = compiled()
    assert (
        params(fork, "convolution_param", "num_output: 3 num_output: 4").integer("num_output") == 4
    )
    assert params(fork, "convolution_param").integer("num_output") == 0
    assert params(fork, "convolution_param", "kernel_size: 3").integers("kernel_size") == (3,)


def test_a_field_of_another_kind_is_read_as_ours(compiled: Compile) -> None:
    fork = compiled()
    assert params(fork, "pooling_param", "kernel_size: 3").integer("kernel_size") == 3
    assert params(fork, "power_param").number("power") == 1


def test_imports_from_its_folder(compiled: Compile) -> None:
    inner = (
        'syntax = "proto2"; package other; message Inner { optional int32 x = 1 [default = 5]; }'
    )
    text = (
        'syntax = "proto2"; package caffe; import "inner.proto"; '
        'import "google/protobuf/descriptor.proto"; '
        "message LayerParameter { optional other.Inner inner_param = 1; }"
    )
    assert params(compiled(text, inner=inner), "inner_param").integer("x") == 5


@pytest.mark.parametrize("head", ["", "package caffe;", "package a.b.c;", 'syntax = "proto3";'])
def test_any_head(compiled: Compile, head: str) -> None:
    label = "" if "proto3" in head else "optional "
    text = head + " message LayerParameter { %sP p_param = 1; } message P { %sint32 x = 1; }"
    assert params(compiled(text % (label, label)), "p_param", "x: 4").integer("x") == 4


def test_our_own_schema_as_a_fork() -> None:
    pytest.importorskip("grpc_tools")
    fork = compile_schema(Path(__file__).resolve().parents[3] / "proto" / "caffe.proto")
    for message in ("LayerParameter", "NetParameter", "ConvolutionParameter"):
        fields = schema.message(message).fields_by_name
        assert fork.message(message).fields_by_name.keys() == set(fields)
        for name, field in fork.message(message).fields_by_name.items():
            if field.message_type is None:
                assert field.default_value == fields[name].default_value


# ------------------------------------------------------------------------------------- one process


def test_schemas_share_nothing(compiled: Compile) -> None:
    """Two forks that disagree, both with upstream's names, beside a pycaffe in the default pool."""
    text = "package caffe; message LayerParameter { optional P p_param = 1; } message P { %s }"
    one = compiled(text % "optional int32 x = 1 [default = 1];")
    two = compiled(text % "optional float x = 1 [default = 2.5];")
    assert params(one, "p_param").integer("x") == 1
    assert params(two, "p_param").number("x") == 2.5


def test_the_default_pool_stays_as_it_is(fork_file: Path) -> None:
    pytest.importorskip("grpc_tools")
    code = f"""
from google.protobuf import descriptor_pb2, descriptor_pool
from caffefold.formats.fork_schema import compile_schema
pycaffe = descriptor_pb2.FileDescriptorProto(name="fork.proto", package="caffe")
pycaffe.message_type.add(name="LayerParameter").field.add(name="mine", number=1, type=9, label=1)
pool = descriptor_pool.Default()
before = compile_schema({str(fork_file)!r})
pool.AddSerializedFile(pycaffe.SerializeToString())
after = compile_schema({str(fork_file)!r})
assert list(pool.FindMessageTypeByName("caffe.LayerParameter").fields_by_name) == ["mine"]
assert "shiny_param" in before.message("LayerParameter").fields_by_name
assert "shiny_param" in after.message("LayerParameter").fields_by_name
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_users_folder_is_not_imported_from(
    fork_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("grpc_tools")
    for name in ("grpc_tools", "google", "argparse"):
        (fork_file.parent / f"{name}.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(fork_file.parent)
    assert compile_schema("fork.proto").message("ShinyParameter").name == "ShinyParameter"


# ------------------------------------------------------------------------------------------ errors


def test_without_grpcio_tools(fork_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_schema, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        compile_schema(fork_file)
    assert str(caught.value) == (
        f"{fork_file}: compiling a schema needs grpcio-tools; {install('grpcio-tools')}"
    )


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path / "no.proto", tmp_path):
        with pytest.raises(InputError, match="no such file; give the fork's"):
            compile_schema(path)


BROKEN = [
    ("message LayerParameter {\n  optional strin g name = 1;\n}", "2:20: Missing field number."),
    ("message LayerParameter { optional Nothing x = 1; }", '"Nothing" is not defined'),
    ('import "gone.proto"; message LayerParameter {}', "gone.proto"),
    ("message LayerParameter { optional int32 a = 1; optional int32 b = 1; }", "already been used"),
    ("layer { name: 'x' }", "Expected top-level statement"),
    ("\0\xff\xfe", ""),
    ("message Other {}", "no message LayerParameter in this schema; is it a caffe.proto?"),
    ("", "no message LayerParameter in this schema; is it a caffe.proto?"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_broken_schemas(compiled: Compile, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        compiled(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'fork.proto'}:")
    assert "\n" not in str(caught.value)


def test_protoc_that_never_ends(fork_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc_tools")
    monkeypatch.setattr(fork_schema, "_RUN_PROTOC", "import time; time.sleep(60)")
    monkeypatch.setattr(fork_schema, "_SECONDS", 0.5)
    with pytest.raises(InputError, match=r"protoc took more than 0\.5 s"):
        compile_schema(fork_file)
