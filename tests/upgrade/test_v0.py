"""V0 -> V1 -> V2 on text: every rule on a net of its own, and what stays as it was written."""

from __future__ import annotations

import pytest

from caffefold._proto import caffe_pb2 as pb
from caffefold.errors import TextError
from caffefold.formats.upgrade.tables import V0_TYPES, v0_target
from tests.upgrade.by_message import upgrade
from tests.upgrade.helpers import message, strictly, upgraded


def v0(kind: str, fields: str = "", wiring: str = "") -> str:
    return f'layers {{ layer {{ name: "x" type: "{kind}" {fields} }} {wiring} }}\n'


def test_every_type() -> None:
    text = "".join(v0(kind) for kind in V0_TYPES)
    result, _ = upgraded(text)
    assert strictly(result) == upgrade(message(text))
    assert len(V0_TYPES) == 24
    assert {layer.type for layer in strictly(result).layer} >= {"ImageData", "SoftmaxWithLoss"}


VALUES = {
    "num_output": "96",
    "biasterm": "false",
    "weight_filler": '{ type: "gaussian" std: 0.01 }',
    "bias_filler": '{ type: "constant" value: 1. }',
    "pad": "2",
    "kernelsize": "11",
    "group": "2",
    "stride": "4",
    "pool": "STOCHASTIC",
    "dropout_ratio": "0.2",
    "local_size": "3",
    "alpha": "1e-4",
    "beta": ".7",
    "k": "2",
    "source": '"/a/path"',
    "batchsize": "64",
    "scale": "0.0039",
    "meanfile": '"mean.binaryproto"',
    "cropsize": "227",
    "mirror": "true",
    "rand_skip": "5",
    "shuffle_images": "true",
    "new_height": "256",
    "new_width": "255",
    "concat_dim": "0",
    "det_fg_threshold": "0.4",
    "det_bg_threshold": "0.3",
    "det_fg_fraction": "0.2",
    "det_context_pad": "16",
    "det_crop_mode": '"square"',
    "new_num": "3",
    "new_channels": "4",
}


def test_the_values_are_for_every_field() -> None:
    elsewhere = {"name", "type", "blobs", "blobs_lr", "weight_decay", "hdf5_output_param"}
    assert set(VALUES) == set(pb.V0LayerParameter.DESCRIPTOR.fields_by_name) - elsewhere


@pytest.mark.parametrize("field", VALUES)
def test_every_field_with_every_type(field: str) -> None:
    value = VALUES[field]
    sign = "" if value.startswith("{") else ":"
    text = "".join(v0(kind, f"{field}{sign} {value}") for kind in V0_TYPES)
    result, notes = upgraded(text)
    assert strictly(result) == upgrade(message(text))
    lost = sum(f"'{field}' dropped" in note for note in notes)
    assert lost == sum(v0_target(field, kind) is None for kind in V0_TYPES)


def test_hdf5_output_and_blobs() -> None:
    text = (
        v0("hdf5_output", 'hdf5_output_param { file_name: "out.h5" }')
        + v0("relu", 'hdf5_output_param { file_name: "out.h5" }')
        + v0("conv", "blobs { num: 1 data: 2 }", 'top: "c"')
    )
    result, notes = upgraded(text)
    assert strictly(result) == upgrade(message(text))
    assert sum(" dropped" in note for note in notes) == 1


def test_net_level_fields_that_a_v0_net_loses() -> None:
    text = 'name: "n"\nforce_backward: true\ndebug_info: true\n' + v0("relu")
    result, notes = upgraded(text)
    assert strictly(result) == upgrade(message(text))
    assert notes[0] == "line 3: the net: 'debug_info' dropped; Caffe drops it from a V0 net"


def test_outer_fields_that_a_v0_layer_loses() -> None:
    text = v0("relu", wiring='top: "x" include { phase: TRAIN } blobs_lr: 3 ours: 1')
    result, notes = upgraded(text)
    assert message(result) == upgrade(message(text))
    assert "ours: 1" in result
    assert [note for note in notes if "include" in note]


LAYOUT = """\
name: "n"  # net

# the data,
# as we had it
layers {
  layer {  # inner
    name: "data"
    type: "data"  # LevelDB
    source: "db"
    # subtracted
    meanfile: "mean"
    batchsize: 3
    fork_field { a: 1 }
    # behind all
  }
  top: "data"
}

layers {
  layer {
    name: "conv1"
    type: "conv"
    num_output: 9
    weight_filler {
      type: "gaussian"  # how
    }
    # rates
    blobs_lr: 1.  # weights
    blobs_lr: 2.
    weight_decay: 1
    weight_decay: 0
  }
  bottom: "data"
  top: "conv1"
}
layers { layer { name: 'fc' type: 'innerproduct' num_output: 3 blobs_lr: 1 } bottom: 'conv1' }
"""
LAID_OUT = """\
name: "n"  # net

# the data,
# as we had it
layer {  # inner
  name: "data"
  type: "Data"  # LevelDB
  data_param {
    source: "db"
    batch_size: 3
  }
  # subtracted
  transform_param {
    mean_file: "mean"
  }
  fork_field { a: 1 }
    # behind all
  top: "data"
}

layer {
  name: "conv1"
  type: "Convolution"
  convolution_param {
    num_output: 9
    weight_filler {
      type: "gaussian"  # how
    }
  }
  # rates
  param {
    lr_mult: 1.  # weights
    decay_mult: 1
  }
  param {
    lr_mult: 2.
    decay_mult: 0
  }
  bottom: "data"
  top: "conv1"
}
layer { name: 'fc' type: "InnerProduct" inner_product_param { num_output: 3 } \
param { lr_mult: 1 } bottom: 'conv1' }
"""


def test_comments_and_layout_stay() -> None:
    assert upgraded(LAYOUT)[0] == LAID_OUT


def test_crlf_stays() -> None:
    text = LAYOUT.replace("\n", "\r\n")
    assert upgraded(text)[0] == LAID_OUT.replace("\n", "\r\n")


PADDED = """\
input: "image"
input_dim: 1 input_dim: 1 input_dim: 9 input_dim: 9
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "image" top: "padded" }
layers { layer { name: "a" type: "conv" num_output: 1 kernelsize: 3 } bottom: "padded" top: "a" }
layers { layer { name: "b" type: "conv" num_output: 1 pad: 7 } bottom: "padded" top: "b" }
layers { layer { name: "pad2" type: "padding" } bottom: "a" top: "a2" }
layers { layer { name: "p" type: "pool" kernelsize: 3 } bottom: "a2" top: "p" }
layers { layer { name: "c" type: "concat" } bottom: "a" bottom: "b" top: "c" }
"""


def test_padding_goes_to_all_it_feeds() -> None:
    result, notes = upgraded(PADDED)
    net = strictly(result)
    assert net == upgrade(message(PADDED))
    assert [layer.name for layer in net.layer] == ["input", "a", "b", "p", "c"]
    assert [list(layer.convolution_param.pad) for layer in net.layer[1:3]] == [[2], [2]]
    assert net.layer[3].pooling_param.HasField("pad")
    assert [layer.bottom[0] for layer in net.layer[1:]] == ["image", "image", "a", "a"]
    assert "padding layers merged into the layers they feed: pad1, pad2" in notes


def test_a_later_writer_of_the_padded_blob_counts() -> None:
    text = (
        'input: "i"\n'
        'layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "i" top: "t" }\n'
        'layers { layer { name: "w" type: "conv" } bottom: "i" top: "t" }\n'
        'layers { layer { name: "r" type: "conv" } bottom: "t" top: "r" }\n'
    )
    net = strictly(upgraded(text)[0])
    assert net == upgrade(message(text))
    assert net.layer[1].bottom[0] == "t"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (v0("conv", wiring='bottom: "nowhere"'), 1, "'nowhere', which no earlier layer writes"),
        (
            'input: "i"\n'
            + v0("padding", wiring='bottom: "i" top: "t"')
            + v0("relu", wiring='bottom: "t"'),
            3,
            "'relu' takes no pad",
        ),
        (
            'input: "i"\n'
            + v0("padding", wiring='bottom: "i" top: "t"')
            + v0("conv", wiring='bottom: "t" bottom: "i"'),
            3,
            "only one bottom",
        ),
        (
            'input: "i"\n'
            + v0("padding", wiring='bottom: "i" top: "t" top: "u"')
            + v0("conv", wiring='bottom: "t"'),
            2,
            "exactly one bottom and one top",
        ),
        (v0("relu") + 'layers {\n layer { layer { name: "z" } } }', 2, "holds one 'layer { ... }'"),
    ],
)
def test_where_caffe_stops(text: str, line: int, what: str) -> None:
    with pytest.raises(TextError, match=what) as caught:
        upgraded(text)
    assert caught.value.line == line


def test_the_last_of_a_repeated_singular_field_counts() -> None:
    net = strictly(upgraded(v0("conv", "pad: 1 pad: 2 stride: 3"))[0])
    assert list(net.layer[0].convolution_param.pad) == [2]


def test_unknown_types_are_read() -> None:
    result, notes = upgraded(v0("memory_data") + v0("data_blob"))
    assert [layer.type for layer in strictly(result).layer] == ["MemoryData", "data_blob"]
    assert notes[1] == "line 1: layer 'x': unknown V0 type 'memory_data' read as V1's MEMORY_DATA"
    assert notes[2] == "line 2: layer 'x': unknown V0 type 'data_blob' kept unchanged"


def test_a_layer_inside_a_layer_counts_as_v0() -> None:
    result, _ = upgraded('layer { layer { name: "x" type: "relu" } top: "y" }')
    assert result == 'layer { name: "x" type: "ReLU" top: "y" }'


def test_a_layer_in_a_short_list() -> None:
    result, _ = upgraded('layers: [{ layer: [{ name: "x" type: "relu" }] top: "y" }]')
    net = strictly(result)
    assert [(layer.name, layer.type, *layer.top) for layer in net.layer] == [("x", "ReLU", "y")]


def test_v1_layers_beside_v0_layers_stay_whole() -> None:
    net = strictly(upgraded(v0("relu") + 'layers { name: "y" type: TANH }')[0])
    assert [(layer.name, layer.type) for layer in net.layer] == [("x", "ReLU"), ("y", "TanH")]


def test_notes_name_the_line_of_each_field() -> None:
    text = 'layers {\n layer {\n a: 1\n\n type: "odd" b: 2 } }\nlayers { type: ODD }\n'
    _, notes = upgraded(text)
    assert [note.split(": ")[0] for note in notes if "kept unchanged" in note] == [
        "line 3",
        "line 5",
        "line 5",
        "line 6",
    ]
