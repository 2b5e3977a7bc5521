"""V1 -> V2 on text: types, ParamSpec, transformations, and what stays as it was written."""

from __future__ import annotations

import pytest

from caffefold._proto import caffe_pb2 as pb
from caffefold.errors import TextError
from caffefold.formats.upgrade.tables import FORK_TYPES, v1_types
from caffefold.ops.base import Category
from caffefold.ops.table import TABLE, op_of
from tests.upgrade.by_message import upgrade, v2_type
from tests.upgrade.helpers import message, strictly, upgraded

NUMBERS = dict(pb.V1LayerParameter.LayerType.items())


def test_the_table_of_types_is_the_schema() -> None:
    """Every V1 type has a V2 type, and these are the same words, but for two."""
    assert v1_types().keys() == NUMBERS.keys()
    renamed = {"NONE": "", "SOFTMAX_LOSS": "SoftmaxWithLoss"}
    for name, kind in v1_types().items():
        assert kind == renamed.get(name, kind)
        assert kind.upper() == renamed.get(name, name).upper().replace("_", "")


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_every_type_by_name_and_by_number(name: str, number: int) -> None:
    for word in (name, str(number)):
        text = f"layers {{ type: {word} }}"
        net = strictly(upgraded(text)[0])
        assert net == upgrade(message(text))
        assert net.layer[0].type == v2_type(number) == v1_types()[name]


@pytest.mark.parametrize("kind", sorted({*v1_types().values(), *FORK_TYPES.split()} - {""}))
def test_every_type_is_one_of_today(kind: str) -> None:
    """The table of layer types has it, or knows by its name what it is."""
    own = op_of(kind)
    assert kind in TABLE or own.learned or own.category is not Category.OTHER


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("CROP", "Crop"),
        ("ROI_POOLING", "ROIPooling"),
        ("BATCH_NORM", "BatchNorm"),
        ("PRELU", "PReLU"),
        ("SMOOTH_L1_LOSS", "SmoothL1Loss"),
    ],
)
def test_types_that_forks_added(word: str, kind: str) -> None:
    text, notes = upgraded(f'layers {{ name: "a" type: {word} }}')
    assert text == f'layer {{ name: "a" type: "{kind}" }}'
    assert not any("unknown" in note for note in notes)


@pytest.mark.parametrize("word", ["Crop", "MY_LAYER"])
def test_other_words_are_kept(word: str) -> None:
    """V1 has no type ``Crop`` without quotes: whoever wrote it meant something else."""
    text, notes = upgraded(f'layers {{ name: "a" type: {word} }}')
    assert text == f'layer {{ name: "a" type: "{word}" }}'
    assert any(f"unknown V1 type {word} kept" in note for note in notes)


def test_parameter_messages_stay() -> None:
    special = {"layer", "type", "param", "blob_share_mode", "blobs_lr", "weight_decay"}
    names = [
        field.name
        for field in pb.V1LayerParameter.DESCRIPTOR.fields
        if field.message_type is not None and field.name not in special
    ]
    text = "layers {\n" + "".join(f"  {name} {{ }}\n" for name in names) + "}\n"
    result, _ = upgraded(text)
    assert result == text.replace("layers", "layer")
    assert strictly(result) == upgrade(message(text))


@pytest.mark.parametrize(
    "fields",
    [
        "blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0",
        "blobs_lr: 1 weight_decay: 1 blobs_lr: 2 weight_decay: 0",
        "weight_decay: 3",
        'param: "w" param: "b" blobs_lr: 0',
        'blob_share_mode: STRICT blob_share_mode: PERMISSIVE param: "w"',
        "blob_share_mode: 1",
        "blobs_lr: [1, 2] weight_decay: [ .5 ]",
        'loss_weight: 1 loss_weight: 0 include { phase: TEST stage: "a" } exclude { max_level: 1 }',
        'loss_weight: 2 bottom: "a" bottom: "b" top: "c" loss_param { ignore_label: 3 }',
    ],
)
def test_fields_of_a_layer(fields: str) -> None:
    text = f'layers {{ name: "x" type: CONVOLUTION {fields} }}'
    result, _ = upgraded(text)
    assert strictly(result) == upgrade(message(text))


LAYOUT = """\
# first
layers: {
  name: "conv1"  # a name
  type: CONVOLUTION
  # the rates
  blobs_lr: 1  # weights
  blobs_lr: 2
  # the decays
  weight_decay: 1
  weight_decay: 0
  convolution_param { num_output: 5 };  # as it is
  param: "w"
  fork_param: FORK
  top: "conv1"
}

layers{type:RELU,blobs_lr:3}
"""
LAID_OUT = """\
# first
layer: {
  name: "conv1"  # a name
  type: "Convolution"
  # the rates
  param {
    lr_mult: 1  # weights
    # the decays
    decay_mult: 1
    name: "w"
  }
  param {
    lr_mult: 2
    decay_mult: 0
  }
  convolution_param { num_output: 5 };  # as it is
  fork_param: FORK
  top: "conv1"
}

layer{type:"ReLU", param { lr_mult:3 }}
"""


def test_comments_and_layout_stay() -> None:
    assert upgraded(LAYOUT)[0] == LAID_OUT
    assert upgraded(LAYOUT.replace("\n", "\r\n"))[0] == LAID_OUT.replace("\n", "\r\n")


@pytest.mark.parametrize("kind", ["DATA", "IMAGE_DATA", "WINDOW_DATA"])
@pytest.mark.parametrize("given", ["", "transform_param { mirror: false crop_size: 9 }"])
def test_transformations_move(kind: str, given: str) -> None:
    name = f"{kind.lower()}_param"
    old = 'source: "s" scale: 0.5 mean_file: "m" batch_size: 2 crop_size: 7 mirror: true'
    text = f"layers {{ type: {kind} {name} {{ {old} }} {given} }}"
    result, notes = upgraded(text)
    assert strictly(result) == upgrade(message(text))
    assert notes[0] == "transformations moved to transform_param in 1 data layer"


def test_transformations_of_other_layers_and_of_v2_stay() -> None:
    for text in (
        'layers { type: DATA data_param { source: "s" } image_data_param { scale: 2 } }',
        "layers { type: HDF5_DATA data_param { scale: 2 } }",
        'layer { type: "Data" data_param { scale: 2 } }',
    ):
        result, _ = upgraded(text)
        assert strictly(result) == upgrade(message(text))
        assert "transform_param" not in result


def test_one_old_data_layer_gives_all_of_them_a_transform_param() -> None:
    text = (
        "layers { type: DATA data_param { scale: 2 } }\n"
        'layers {\n  type: DATA\n  top: "x"\n}\n'
        "layers { type: IMAGE_DATA image_data_param { is_color: false } }\n"
    )
    result, notes = upgraded(text)
    assert strictly(result) == upgrade(message(text))
    assert 'top: "x"\n  data_param { }\n  transform_param { }\n}' in result
    assert notes[0].endswith("in 1 data layer")


def test_moved_transformations_keep_their_comments() -> None:
    text = """\
layers {
  type: DATA
  data_param {
    source: "s"  # where
    # pixels
    scale: 0.5  # 1/2
  }
}
"""
    assert (
        upgraded(text)[0]
        == """\
layer {
  type: "Data"
  data_param {
    source: "s"  # where
  }
  transform_param {
    # pixels
    scale: 0.5  # 1/2
  }
}
"""
    )


def test_a_mixed_net_keeps_the_order_of_the_file() -> None:
    text = 'layer { name: "a" type: "ReLU" }\nlayers { name: "b" type: "Softmax" }\n'
    result, notes = upgraded(text)
    assert result == text.replace("layers", "layer")
    assert "which Caffe refuses" in notes[1]
    first = 'layers { name: "b" type: SOFTMAX }\nlayer { name: "a" type: "ReLU" }\n'
    assert [layer.name for layer in strictly(upgraded(first)[0]).layer] == ["b", "a"]


def test_a_param_message_takes_up_the_rates() -> None:
    text = 'layers { type: RELU param { name: "w" } blobs_lr: 1 blobs_lr: 2 }'
    specs = strictly(upgraded(text)[0]).layer[0].param
    assert [(spec.name, spec.lr_mult) for spec in specs] == [("w", 1), ("", 2)]


def test_unknown_types() -> None:
    result, notes = upgraded('\nlayers { name: "x" type: MY_LAYER }')
    assert strictly(result).layer[0].type == "MY_LAYER"
    assert notes[1] == "line 2: layer 'x': unknown V1 type MY_LAYER kept unchanged"
    with pytest.raises(TextError, match="V1 has no layer type 40") as caught:
        upgraded('\nlayers { name: "x" type: 40 }')
    assert (caught.value.line, caught.value.column) == (2, 20)


def test_layers_in_a_list_and_layers_that_are_none() -> None:
    result, _ = upgraded('layers: [ { name: "a" type: RELU }, { name: "b" type: TANH } ]')
    assert [layer.type for layer in strictly(result).layer] == ["ReLU", "TanH"]
    with pytest.raises(TextError, match="needs braces"):
        upgraded("layers: 5")


def test_offsets_still_point_into_the_source() -> None:
    from caffefold.formats.prototxt import parse as text_parse
    from caffefold.formats.upgrade.text import upgrade_document

    document, _ = upgrade_document(text_parse.parse(LAYOUT))
    for layer in document.fields:
        assert LAYOUT.startswith("layers", layer.offset)
    spec = document.fields[0].body.message("param")
    assert spec is not None
    assert LAYOUT.startswith("blobs_lr: 2", spec.fields[0].offset)


def test_more_rates_than_any_layer_has() -> None:
    fits = "layers { name: 'a' " + "blobs_lr: 1 " * 4096
    assert upgraded(fits + "}")[0].count("lr_mult") == 4096
    with pytest.raises(TextError, match="layer 'a': more than 4096 rates in one layer"):
        upgraded(fits + "blobs_lr: 1 }")
