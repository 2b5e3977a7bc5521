"""Every layer type and every alias is asked for all its answers, and they must agree.

One sample for each type: its text, and the shapes of its inputs. What a type says of its shapes,
the weights it wants, where its channels come from, what it costs, how its weights lie and what
stands in for them describes one and the same computation.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
import pytest

from caffefold.analysis.fit import known_differences
from caffefold.analysis.stand_in import with_stand_ins
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.affine import Affine
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import affine_map
from caffefold.ops.base import (
    AffineOp,
    Category,
    Joined,
    LinearLayout,
    LinearOp,
    Mixed,
    Op,
    Same,
    Split,
)
from caffefold.ops.shape import Known, Shape, total
from caffefold.ops.table import OPS, TABLE, op, op_of

IMAGE = (2, 8, 9, 11)
SEQUENCE = (5, 2, 3)


class Sample(NamedTuple):
    """A layer of a type: its parameters, what it reads, how many tops it has."""

    text: str = ""
    bottoms: tuple[Known, ...] = (IMAGE,)
    tops: int = 1


_CONV = "convolution_param {{ num_output: 16 kernel_size: 3 stride: 2 {} }}"
_REGIONS, _SMALLER = (IMAGE, (7, 5)), (IMAGE, (2, 3, 5, 5))
_RECURRENT = Sample("recurrent_param { num_output: 4 }", (SEQUENCE, (5, 2)))
SAMPLES: dict[str, tuple[Sample, ...]] = {
    "Convolution": (
        Sample(_CONV.format("")),
        Sample(_CONV.format("group: 4 bias_term: false")),
        Sample(_CONV.format("pad_h: 1 pad_w: 0 dilation: 2")),
        Sample("convolution_param { num_output: 8 kernel_size: 2 }", ((2, 8, 9),)),
        Sample("convolution_param { num_output: 16 kernel_size: 1 group: 8 }"),
        Sample("convolution_param { num_output: 16 kernel_size: 1 }", ((2, 8),)),
    ),
    "Deconvolution": (Sample(_CONV.format("")), Sample(_CONV.format("group: 4 bias_term: false"))),
    "InnerProduct": (
        Sample("inner_product_param { num_output: 5 }"),
        Sample("inner_product_param { num_output: 5 transpose: true bias_term: false }"),
        Sample("inner_product_param { num_output: 5 axis: 2 }"),
    ),
    "LOCAL": (Sample("local_param { num_output: 5 kernel_size: 3 }"),),
    "Embed": (Sample("embed_param { num_output: 5 input_dim: 7 }", ((2, 3),)),),
    "Im2col": (Sample("convolution_param { kernel_size: 3 }"),),
    "Scale": (
        Sample(),
        Sample("scale_param { bias_term: true axis: -3 }"),
        Sample("scale_param { num_axes: 2 }"),
        Sample("scale_param { axis: 0 }", (IMAGE, (2, 8))),
    ),
    "Bias": (Sample(), Sample("bias_param { axis: 0 }", (IMAGE, (2,)))),
    "PReLU": (Sample(), Sample("prelu_param { channel_shared: true }")),
    "Normalize": (Sample("norm_param { channel_shared: false }"), Sample()),
    "BatchNorm": (Sample(), Sample("", ((2, 8),))),
    "BN": (Sample("bn_param { frozen: true }"), Sample("bn_param { bn_mode: INFERENCE }")),
    "LSTM": (_RECURRENT, Sample(_RECURRENT.text, (*_RECURRENT.bottoms, (2, 6)))),
    "RNN": (_RECURRENT,),
    "LSTMUnit": (Sample("", ((1, 2, 3), (1, 2, 12), (1, 2)), 2),),
    "Split": (Sample(tops=2),),
    "Slice": (
        Sample("slice_param { slice_point: 3 }", tops=2),
        Sample(tops=4),
        Sample("slice_param { axis: -1 slice_point: 3 }", tops=2),
    ),
    "Concat": (
        Sample("", (IMAGE, (2, 3, 9, 11))),
        Sample("concat_param { axis: -1 }", (IMAGE, (2, 8, 9, 1))),
    ),
    "Eltwise": (Sample("", (IMAGE, IMAGE, IMAGE)),),
    "Axpy": (Sample("", ((2, 8, 1, 1), IMAGE, IMAGE)),),
    "Reshape": (Sample("reshape_param { shape { dim: 0 dim: -1 } }"),),
    "Transpose": (Sample("transpose_param { dim: 0 dim: 2 dim: 3 dim: 1 }"),),
    "Permute": (Sample("permute_param { order: 0 order: 2 order: 3 order: 1 }"),),
    "Crop": (Sample("", _SMALLER), Sample("crop_param { axis: 1 }", _SMALLER)),
    "Tile": (Sample("tile_param { tiles: 3 }"),),
    "BatchReindex": (Sample("", (IMAGE, (3,))),),
    "Filter": (Sample("", (IMAGE, (2,))),),
    "ShuffleChannel": (Sample("shuffle_channel_param { group: 4 }"),),
    "Pooling": (
        Sample("pooling_param { kernel_size: 3 stride: 2 }"),
        Sample("pooling_param { global_pooling: true }", tops=2),
    ),
    "SPP": (Sample("spp_param { pyramid_height: 2 }"),),
    "ROIPooling": (Sample("roi_pooling_param { pooled_h: 3 pooled_w: 2 }", _REGIONS),),
    "PSROIPooling": (
        Sample("psroi_pooling_param { output_dim: 2 group_size: 2 }", _REGIONS),
    ),
    "Interp": (Sample("interp_param { height: 20 width: 30 }"),),
    "Reorg": (Sample("reorg_param { stride: 2 }", ((2, 8, 4, 6),)),),
    "PriorBox": (Sample("prior_box_param { min_size: 4 }", (IMAGE, (2, 3, 90, 110))),),
    "Input": (Sample("input_param { shape { dim: 2 dim: 3 } }", (), 2),),
    "DummyData": (Sample("dummy_data_param { shape { dim: 2 dim: 3 } }", (), 2),),
    "Parameter": (Sample("parameter_param { shape { dim: 2 dim: 3 } }", ()),),
    "Const": (Sample("", ()),),
    "ContinuationIndicator": (Sample("", ()),),
    "SoftmaxWithLoss": (Sample("", ((2, 8), (2,)), 2),),
    "Accuracy": (Sample("", ((2, 8), (2,)), 2),),
    "Silence": (Sample(tops=0),),
    "HDF5Output": (Sample(tops=0),),
}  # fmt: skip
ALL = [
    pytest.param(kind, sample, id=f"{kind}-{number}")
    for kind in sorted(TABLE)
    for number, sample in enumerate(SAMPLES.get(op_of(kind).name, (Sample(),)))
]


def built(kind: str, sample: Sample) -> Net:
    """Inputs and one layer."""
    text = ""
    for i, shape in enumerate(sample.bottoms):
        dims = " ".join(f"dim: {dim}" for dim in shape)
        text += f'input: "b{i}" input_shape {{ {dims} }}\n'
    wires = "".join(f' bottom: "b{i}"' for i in range(len(sample.bottoms)))
    wires += "".join(f' top: "t{i}"' for i in range(sample.tops))
    return Net.of(parse(f'{text}layer {{ name: "it" type: "{kind}"{wires} {sample.text} }}'))


def shapes_of(layer: Layer, sample: Sample) -> tuple[Shape, ...]:
    found = tuple(op(layer).shapes(layer, sample.bottoms))
    return found + (None,) * (len(layer.tops) - len(found))


@pytest.mark.parametrize("op_", OPS, ids=repr)
def test_an_alias_is_its_type(op_: Op) -> None:
    assert op_.name in op_.types
    assert all(op_of(kind) is op_ for kind in op_.types)
    assert sum(op_.name in other.types for other in OPS) == 1


@pytest.mark.parametrize(("kind", "sample"), ALL)
def test_answers_agree(kind: str, sample: Sample) -> None:
    net = built(kind, sample)
    layer = net.layers[0]
    own = op(layer)
    tops = shapes_of(layer, sample)
    check_flow(own, layer, sample, tops)
    wanted = own.weights(layer, sample.bottoms)
    macs = own.macs(layer, sample.bottoms, tops)
    assert (macs is None) <= (not own.known or None in tops)
    if own.wants_weights(layer):
        assert wanted
        assert own.is_learned(layer)
    if isinstance(own, (AffineOp, LinearOp)):
        stored = with_stand_ins(net).layers[0]
        if wanted and len(layer.bottoms) == 1:
            assert [blob.shape for blob in stored.blobs] == [spec.shape for spec in wanted]
        check_stored(own, stored, sample, tops)
    if isinstance(own, LinearOp):
        check_linear(own, with_stand_ins(net).layers[0], sample, tops, macs)


def check_flow(own: Op, layer: Layer, sample: Sample, tops: tuple[Shape, ...]) -> None:
    """Channels flow as shapes say."""
    counts = [None if top is None or len(top) < 2 else top[1] for top in tops]
    inputs = [shape[1] if len(shape) > 1 else None for shape in sample.bottoms]
    match own.channels(layer, sample.bottoms):
        case Same(bottoms):
            found = {inputs[i] for i in bottoms}
            assert len(found) == 1
            assert all(count in (None, *found) for count in counts)
        case Joined():
            assert counts == [sum(count or 0 for count in inputs)]
        case Split(points, ranges):
            assert ranges is not None
            assert [stop - start for start, stop in ranges] == counts
            assert not points or points == tuple(start for start, _ in ranges)[1:]
        case Mixed(taken, made):
            assert counts == [made]
            assert taken in (inputs[0], total(sample.bottoms[0][1:]))


def check_stored(own: Op, stored: Layer, sample: Sample, tops: tuple[Shape, ...]) -> None:
    """With numbers in place, a layer says of itself what it said without."""
    assert shapes_of(stored, sample) == tops
    assert own.weights(stored, sample.bottoms) == own.weights(stored.with_blobs(()), sample.bottoms)
    assert known_differences(stored) == []
    channels = own.input_channels(stored, len(sample.bottoms[0]), sample.bottoms[0][1])
    assert channels in (None, sample.bottoms[0][1])
    if isinstance(own, AffineOp) and len(stored.bottoms) == 1 and stored.blobs:
        found = affine_map(own, stored, len(sample.bottoms[0]))
        if isinstance(found, Affine):
            assert found.channels in (1, sample.bottoms[0][1])
            assert np.isfinite(found.scale).all()


def check_linear(
    own: LinearOp, stored: Layer, sample: Sample, tops: tuple[Shape, ...], macs: int | None
) -> None:
    """How weights lie, what they cost and what ``num_output`` is: one answer."""
    assert own.category is Category.LINEAR
    assert not own.empty_field(stored)
    outputs, numbers = own.output_channels(stored), total(stored.blobs[0].shape)
    assert numbers is not None
    assert outputs is not None
    layout = own.layout(stored, sample.bottoms[0][1])
    if not isinstance(layout, LinearLayout):  # along another axis
        assert own.params(stored).integer("axis") != 1
        return
    assert prod(layout.view) == numbers
    groups, rows, columns, _ = layout.view
    per_group = (rows, columns) if layout.outputs_are_rows else (columns, rows)
    assert layout.outputs == outputs == groups * per_group[0]
    assert layout.inputs == groups * per_group[1]
    flow = own.channels(stored, sample.bottoms)
    assert isinstance(flow, Mixed)
    assert (layout.inputs, layout.outputs) == flow
    assert tops[0] is not None
    moved = tops[0] if layout.outputs_are_rows or len(tops[0]) < 3 else sample.bottoms[0]
    pixels = prod(dim or 0 for dim in (moved[0], *moved[2:]))
    assert macs == numbers * (pixels if len(tops[0]) > 2 else tops[0][0] or 0)


def test_every_type_with_weights_has_a_sample() -> None:
    """A type without one would be asked with no parameters, and could agree by knowing nothing."""
    learned = {each.name for each in OPS if each.learned and each.known}
    assert learned - set(SAMPLES) == set()


def test_a_convolution_without_spatial_axes_has_weights_without_a_kernel() -> None:
    """The shape of weights goes on with kernels of as many axes as there are (base_conv_layer)."""
    sample = Sample("convolution_param { num_output: 16 kernel_size: 1 }", ((2, 8),))
    layer = built("Convolution", sample).layers[0]
    weights, _ = op(layer).weights(layer, sample.bottoms) or ()
    assert weights.shape == (16, 8)
