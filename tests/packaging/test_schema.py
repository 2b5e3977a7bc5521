"""The schema says what Caffe's file formats say, and the installed bindings are the schema."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import text_format

from caffefold import _proto
from caffefold._proto import caffe_pb2

if TYPE_CHECKING:
    from types import ModuleType

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "proto" / "caffe.proto"
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED", ROOT.parent / "shared"))
CORPUS = SHARED / "corpus" / "prototxts"

REPEATED = object()  # a list: it has no default
UNSET = object()  # absent differs from every value: no default is declared

# (message.field, number, default). An enumeration's default is given by its name.
FACTS = [
    ("BlobProto.num", 1, 0),
    ("BlobProto.width", 4, 0),
    ("BlobProto.data", 5, REPEATED),
    ("BlobProto.diff", 6, REPEATED),
    ("BlobProto.shape", 7, UNSET),
    ("BlobProto.double_data", 8, REPEATED),
    ("BlobProto.raw_data_type", 10, UNSET),
    ("BlobProto.raw_data", 12, UNSET),
    ("NetParameter.layers", 2, REPEATED),
    ("NetParameter.input", 3, REPEATED),
    ("NetParameter.input_dim", 4, REPEATED),
    ("NetParameter.input_shape", 8, REPEATED),
    ("NetParameter.layer", 100, REPEATED),
    ("LayerParameter.name", 1, UNSET),
    ("LayerParameter.type", 2, UNSET),
    ("LayerParameter.bottom", 3, REPEATED),
    ("LayerParameter.top", 4, REPEATED),
    ("LayerParameter.loss_weight", 5, REPEATED),
    ("LayerParameter.param", 6, REPEATED),
    ("LayerParameter.blobs", 7, REPEATED),
    ("LayerParameter.include", 8, REPEATED),
    ("LayerParameter.exclude", 9, REPEATED),
    ("LayerParameter.phase", 10, UNSET),
    ("LayerParameter.batch_norm_param", 139, UNSET),
    ("LayerParameter.bias_param", 141, UNSET),
    ("LayerParameter.scale_param", 142, UNSET),
    ("LayerParameter.input_param", 143, UNSET),
    ("LayerParameter.swish_param", 147, UNSET),
    ("LayerParameter.clip_param", 148, UNSET),
    ("LayerParameter.annotated_data_param", 200, UNSET),
    ("LayerParameter.multibox_loss_param", 201, UNSET),
    ("LayerParameter.permute_param", 202, UNSET),
    ("LayerParameter.prior_box_param", 203, UNSET),
    ("LayerParameter.detection_output_param", 204, UNSET),
    ("LayerParameter.detection_evaluate_param", 205, UNSET),
    ("LayerParameter.norm_param", 206, UNSET),
    ("LayerParameter.video_data_param", 207, UNSET),
    ("NetState.phase", 1, "TEST"),
    ("NetState.level", 2, 0),
    ("BatchNormParameter.use_global_stats", 1, UNSET),
    ("BatchNormParameter.moving_average_fraction", 2, 0.999),
    ("BatchNormParameter.eps", 3, 1e-5),
    ("BatchNormParameter.scale_filler", 5, UNSET),
    ("BatchNormParameter.bias_filler", 6, UNSET),
    ("BatchNormParameter.scale_bias", 7, False),
    ("BatchNormParameter.engine", 15, "DEFAULT"),
    ("BNParameter.slope_filler", 1, UNSET),
    ("BNParameter.momentum", 3, 0.9),
    ("BNParameter.eps", 4, 1e-5),
    ("BNParameter.bn_mode", 5003, "LEARN"),
    ("ScaleParameter.axis", 1, 1),
    ("ScaleParameter.num_axes", 2, 1),
    ("ScaleParameter.bias_term", 4, False),
    ("BiasParameter.num_axes", 2, 1),
    ("ConvolutionParameter.bias_term", 2, True),
    ("ConvolutionParameter.group", 5, 1),
    ("ConvolutionParameter.axis", 16, 1),
    ("ConvolutionParameter.dilation", 18, REPEATED),
    ("InnerProductParameter.bias_term", 2, True),
    ("InnerProductParameter.axis", 5, 1),
    ("InnerProductParameter.transpose", 6, False),
    ("PoolingParameter.round_mode", 13, "CEIL"),
    ("MultiBoxLossParameter.conf_loss_type", 2, "SOFTMAX"),
    ("MultiBoxLossParameter.share_location", 5, True),
    ("MultiBoxLossParameter.code_type", 14, "CORNER"),
    ("MultiBoxLossParameter.encode_variance_in_target", 16, False),
    ("DetectionOutputParameter.num_classes", 1, UNSET),
    ("DetectionOutputParameter.keep_top_k", 7, -1),
    ("DetectionOutputParameter.variance_encoded_in_target", 8, False),
    ("DetectionOutputParameter.confidence_threshold", 9, UNSET),
    ("NonMaximumSuppressionParameter.nms_threshold", 1, 0.3),
    ("NonMaximumSuppressionParameter.top_k", 2, UNSET),
    ("NonMaximumSuppressionParameter.eta", 3, 1.0),
    ("PriorBoxParameter.min_size", 1, REPEATED),
    ("PriorBoxParameter.flip", 4, True),
    ("PriorBoxParameter.clip", 5, False),
    ("PriorBoxParameter.offset", 13, 0.5),
    ("NormalizeParameter.eps", 4, 1e-10),
    ("SolverParameter.layer_wise_reduce", 41, True),
    ("SolverParameter.weights", 42, REPEATED),
    ("V1LayerParameter.layer", 1, UNSET),
    ("V1LayerParameter.blobs_lr", 7, REPEATED),
    ("V1LayerParameter.param", 1001, REPEATED),
    ("V0LayerParameter.biasterm", 4, True),
]

ENUM_FACTS = [
    ("Phase", "TRAIN", 0),
    ("Phase", "TEST", 1),
    ("Type", "FLOAT", 1),
    ("Type", "FLOAT16", 2),
    ("PriorBoxParameter.CodeType", "CENTER_SIZE", 2),
    ("EltwiseParameter.EltwiseOp", "SUM", 1),
    ("V1LayerParameter.LayerType", "CONVOLUTION", 4),
    ("V1LayerParameter.LayerType", "DECONVOLUTION", 39),
]


def field(name: str) -> FieldDescriptor:
    message, field_name = name.split(".")
    return caffe_pb2.DESCRIPTOR.message_types_by_name[message].fields_by_name[field_name]


@pytest.mark.parametrize(("name", "number", "default"), FACTS, ids=[fact[0] for fact in FACTS])
def test_field(name: str, number: int, default: Any) -> None:
    found = field(name)
    assert found.number == number
    if default is REPEATED:
        assert isinstance(getattr(message_class(name)(), found.name).__len__(), int)
    elif default is UNSET:
        assert not found.has_default_value
    elif found.enum_type is not None:
        assert found.enum_type.values_by_number[found.default_value].name == default
    else:
        assert found.has_default_value
        assert found.default_value == pytest.approx(default, rel=1e-6)
        assert isinstance(found.default_value, bool) == isinstance(default, bool)


def message_class(name: str) -> type[Message]:
    loaded: type[Message] = getattr(caffe_pb2, name.split(".", maxsplit=1)[0])
    return loaded


@pytest.mark.parametrize(("name", "value", "number"), ENUM_FACTS)
def test_enumeration(name: str, value: str, number: int) -> None:
    scope: Any = caffe_pb2
    for part in name.split("."):
        scope = getattr(scope, part)
    assert scope.Value(value) == number


def test_packing() -> None:
    """What Caffe writes is packed; both forms are read."""
    blob = caffe_pb2.BlobProto(data=[1.0, 2.0])
    assert blob.SerializeToString() == bytes.fromhex("2a080000803f00000040")
    unpacked = bytes.fromhex("2d0000803f2d00000040")
    assert caffe_pb2.BlobProto.FromString(unpacked) == blob


def descriptors(messages: list[Descriptor]) -> list[Descriptor]:
    return messages + [
        inner for message in messages for inner in descriptors(list(message.nested_types))
    ]


def test_text_only_numbers_stay_out_of_the_way() -> None:
    """Ours start at 5001; no fork, upstream or SSD number may lie there."""
    ours = {
        f"{message.name}.{entry.name}"
        for message in descriptors(list(caffe_pb2.DESCRIPTOR.message_types_by_name.values()))
        for entry in message.fields
        if entry.number > 1002
    }
    assert {"LayerParameter.bn_param", "SolverParameter.eval_type"} <= ours
    assert all(field(name).number > 5000 for name in ours)


def test_nothing_is_required() -> None:
    """A missing field is for caffefold to report with a line number, not for protobuf to refuse."""
    for message in caffe_pb2.DESCRIPTOR.message_types_by_name:
        assert message_class(message)().IsInitialized()


def test_every_message_says_where_it_comes_from() -> None:
    lines = SCHEMA.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("message "):
            assert lines[number - 1].startswith("// "), line


def test_installed_bindings_are_those_of_the_schema() -> None:
    content = SCHEMA.read_bytes().replace(b"\r\n", b"\n")
    assert hashlib.sha256(content).hexdigest() == _proto.SCHEMA_SHA256, "reinstall the package"


def load_hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_hook", ROOT / "proto" / "build_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow  # needs grpcio-tools, which caps protobuf: not in the ordinary environments
def test_installed_bindings_are_what_protoc_makes(tmp_path: Path) -> None:
    load_hook().generate(tmp_path)
    for name in ("__init__.py", "caffe_pb2.py", "caffe_pb2.pyi"):
        installed = Path(str(_proto.__file__)).with_name(name)
        fresh = tmp_path / "caffefold" / "_proto" / name
        assert fresh.read_text(encoding="utf-8") == installed.read_text(encoding="utf-8")


@pytest.mark.skipif(not CORPUS.is_dir(), reason="CAFFEFOLD_SHARED has no corpus")
def test_real_files_parse() -> None:
    """Everything that the SSD branch's own schema accepts."""
    entries = json.loads((CORPUS / "index.json").read_text(encoding="utf-8"))
    strict = [entry for entry in entries if entry["strict_ssd"]]
    failures = {}
    for entry in strict:
        text = (CORPUS / entry["file"]).read_text(encoding="utf-8")
        try:
            text_format.Parse(text, message_class(entry["message"])())
        except text_format.ParseError as error:
            failures[entry["file"]] = str(error)
    assert failures == {}
    assert len(strict) > 50
