"""Single-fault mutants of what happens before the fold: each must be caught by the second walk.

A mutant patches one condition or one step of a pass that makes the deploy net; a net that shows the
fault is converted. Without the fault the net converts; with it, and without the second walk, it
converts as well: the proof of the fold compares the deploy net with what was written, so that it
cannot see how that deploy net came about. The second walk (check/origins.py) sees it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import caffefold
from caffefold.check import origins
from caffefold.errors import ProofError
from caffefold.formats.prototxt.tree import quote, set_scalar
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.net import Layer, Net
from caffefold.passes.deploy.training import Helper
from caffefold.passes.infra import PassResult
from caffefold.testing import (
    LayerSpec,
    RandomLayers,
    input_layer,
    net_weights,
    relu,
    write_pair,
)

N = RandomLayers(7)
Layers = list[LayerSpec]


class Mutant(NamedTuple):
    """One fault: what it replaces, and a net and options that show it."""

    fault: str
    target: str
    """``module:Class.method`` or ``module:function``, below ``passes``."""
    mutate: Callable[[Any], Any]
    net: Callable[[], Layers]
    told: str
    """What the error says."""
    options: Mapping[str, Any] = {}


# ------------------------------------------------------------------------------------- the nets

DATA = LayerSpec("data", "Data", "", "data label", "transform_param { crop_size: 6 }")
LOSS = LayerSpec("loss", "SoftmaxWithLoss", "fc label")


def net_plain() -> Layers:
    """A classifier with two convolutions and a loss."""
    return [
        DATA,
        N.conv("c1", "data", 4, 4, kernel=1),
        N.batch_norm("bn", "c1", 4, eps=1e-3),
        relu("r1", "bn", "r1"),
        N.conv("c2", "r1", 4, 4, kernel=1),
        LayerSpec("sum", "Eltwise", "c2 r1", params="eltwise_param { operation: MAX }"),
        LayerSpec("drop", "Dropout", "sum", params="dropout_param { dropout_ratio: 0.4 }"),
        N.inner_product("fc", "drop", 144, 5),
        LOSS,
    ]


def net_twins() -> Layers:
    """Layers of TRAIN and of TEST under one name, which differ in a parameter."""
    pool = "pooling_param {{ pool: {} kernel_size: 2 }} include {{ phase: {} }}"
    return [
        *net_plain()[:4],
        LayerSpec("p", "Pooling", "r1", "p", pool.format("AVE", "TRAIN")),
        LayerSpec("p", "Pooling", "r1", "p", pool.format("MAX", "TEST")),
        N.inner_product("fc", "p", 100, 5),
        LOSS,
    ]


def net_excluded() -> Layers:
    """A layer that TEST has not, one of another level, and one that a stage takes out."""
    rules = ("exclude { phase: TEST }", "include { min_level: 1 }", "include { stage: 'extra' }")
    return [
        *net_plain()[:4],
        *(
            LayerSpec(f"x{i}", "Power", "r1", "r1", f"power_param {{ power: 2 }} {rule}")
            for i, rule in enumerate(rules)
        ),
        N.inner_product("fc", "r1", 144, 5),
        LOSS,
    ]


def net_two_results() -> Layers:
    """Two classifiers on one trunk, against different labels."""
    data = DATA._replace(tops="data label other")
    return [
        data,
        *net_plain()[1:-1],
        N.inner_product("gc", "drop", 144, 3),
        LOSS,
        LayerSpec("more", "SigmoidCrossEntropyLoss", "gc other"),
    ]


def net_auxiliary() -> Layers:
    """A classifier in the middle that weighs less."""
    return [
        *net_plain()[:4],
        N.inner_product("aux", "r1", 144, 5),
        LayerSpec("side", "SoftmaxWithLoss", "aux label", params="loss_weight: 0.3"),
        *net_plain()[4:],
    ]


def net_branch() -> Layers:
    """A result that no loss judges."""
    return [*net_plain()[:-1], N.conv("map", "sum", 4, 2, kernel=1), LOSS]


def net_axis() -> Layers:
    """A loss along the rows of a map; behind no layer that resizes."""
    param = "softmax_param { axis: 2 }"
    return [DATA, N.conv("fc", "data", 4, 4), LOSS._replace(params=param)]


def net_ssd() -> Layers:
    """The end of an SSD: one map, three classes, two boxes at each place."""
    permute, flat = "permute_param { order: 0 order: 2 order: 3 order: 1 }", "flatten_param {}"
    branches: Layers = []
    for name, outputs in (("loc", 8), ("conf", 6)):
        branches += [
            N.conv(f"{name}_conv", "r", 4, outputs, kernel=1),
            LayerSpec(f"{name}_perm", "Permute", f"{name}_conv", params=permute),
            LayerSpec(name, "Flatten", f"{name}_perm", params=flat),
        ]
    priors = "prior_box_param { min_size: 3 aspect_ratio: 2 flip: false }"
    loss = (
        "multibox_loss_param { num_classes: 3 background_label_id: 0 code_type: CENTER_SIZE "
        "share_location: true encode_variance_in_target: true }"
    )
    annotated = "transform_param { resize_param { prob: 1 resize_mode: WARP height: 6 width: 6 } }"
    return [
        LayerSpec("data", "AnnotatedData", "", "data label", annotated),
        N.conv("c", "data", 4, 4, kernel=1),
        relu("r", "c", "r"),
        *branches,
        LayerSpec("prior", "PriorBox", "r data", params=priors),
        LayerSpec("mbox", "MultiBoxLoss", "loc conf prior label", params=loss),
    ]


def net_template() -> Layers:
    """Numbers that neither weights nor types tell."""
    pool = "pooling_param { pool: MAX kernel_size: ${size} stride: ${step} }"
    return [
        *net_plain()[:4],
        LayerSpec("p", "Pooling", "r1", params=pool),
        N.inner_product("fc", "p", 36, 5),
        LOSS,
    ]


def net_detector() -> Layers:
    """A detector whose number of classes is that of its scores."""
    *layers, _ = net_ssd()
    detects = "detection_output_param { num_classes: ${classes} nms_param { top_k: 9 } }"
    return [
        input_layer(1, 4, 6, 6),
        *layers[1:],
        LayerSpec("out", "DetectionOutput", "loc conf prior", params=detects),
    ]


def net_two_inputs() -> Layers:
    """Two images in, told apart by nothing but their names."""
    tops = DATA._replace(tops="data more label")
    layers = net_plain()
    layers[4] = N.conv("c2", "more", 4, 4, kernel=1)
    return [tops, *layers[1:]]


def net_wide() -> Layers:
    """Images that are not square."""
    resize = "transform_param { resize_param { prob: 1 resize_mode: WARP height: 4 width: 9 } }"
    return [DATA._replace(type="AnnotatedData", params=resize), *net_plain()[1:]]


def net_given() -> Layers:
    """A deploy net, with an input of its own."""
    return [input_layer(1, 4, 6, 6), *net_plain()[1:-1]]


def net_namesakes() -> Layers:
    """Two layers of one name."""
    return [*net_given(), LayerSpec("fc", "Softmax", "fc", "prob")]


def net_enlarged() -> Layers:
    """A layer that enlarges its map, with numbers that no file has."""
    fields = "num_output: 4 group: 4 kernel_size: 4 stride: 2 pad: 1 bias_term: false"
    text = f"convolution_param {{ {fields} weight_filler {{ type: 'bilinear' }} }}"
    up = LayerSpec("up", "Deconvolution", "r1", params=f"{text} param {{ lr_mult: 0 }}")
    return [*net_given()[:4], up]


def net_constant() -> Layers:
    """A constant beside the input."""
    filler = (
        "dummy_data_param { data_filler { value: 0.75 } shape { dim: 1 dim: 4 dim: 6 dim: 6 } }"
    )
    layers = net_given()
    layers[5] = LayerSpec("sum", "Eltwise", "c2 half")
    return [layers[0], LayerSpec("half", "DummyData", params=filler), *layers[1:]]


def net_shared() -> Layers:
    """Two layers with one weight."""
    layers = net_given()
    for at in (1, 4):
        shared = 'param { name: "w" lr_mult: 1 } param { name: "b" }'
        layers[at] = layers[at]._replace(params=f"{layers[at].params} {shared}")
    layers[4] = layers[4]._replace(blobs=layers[1].blobs)
    return layers


def net_sampled() -> Layers:
    """R-CNN's proposals are sampled against the labels."""
    proposal = LayerSpec("proposal", "Python", "c1 r1", "rpn_rois scores", PYTHON.format("P", ""))
    sample = LayerSpec(
        "roi", "Python", "rpn_rois label", "rois", PYTHON.format("ProposalTargetLayer", "")
    )
    pool = "roi_pooling_param { pooled_w: 2 pooled_h: 2 spatial_scale: 1 }"
    return [
        *net_plain()[:4],
        proposal,
        sample,
        LayerSpec("pool", "ROIPooling", "r1 rois", params=pool),
        N.inner_product("fc", "pool", 16, 5),
        LOSS,
    ]


PYTHON = 'python_param {{ module: "rpn" layer: "{}" param_str: "{}" }}'


def net_python() -> Layers:
    layer = LayerSpec(
        "py", "Python", "r1", "r2", PYTHON.format("Crop", "{'phase': 'TRAIN', 'n': 2}")
    )
    return [*net_plain()[:4], layer, N.inner_product("fc", "r2", 144, 5), LOSS]


def net_assisted() -> Layers:
    """A layer in the trunk that looks at the label."""
    assists = LayerSpec("help", "Helper", "r1 label", "r1h")
    layers = net_plain()
    layers[4] = N.conv("c2", "r1h", 4, 4, kernel=1)
    return [*layers[:4], assists, *layers[4:]]


def net_assisted_short() -> Layers:
    """The same, with less behind it."""
    return [*net_assisted()[:6], N.inner_product("fc", "c2", 144, 5), LOSS]


def net_sequence() -> Layers:
    """An LSTM over 4 steps of 2 streams."""
    shape = "reshape_param { shape { dim: 4 dim: 2 dim: 5 } }"
    lstm = "recurrent_param { num_output: 3 }"
    source = "data_param { batch_size: 8 } transform_param { crop_size: 6 }"
    return [
        DATA._replace(tops="data", params=source),
        input_layer(4, 2, name="cont")._replace(params="input_param { shape { dim: 4 dim: 2 } }"),
        N.inner_product("fc", "data", 144, 5),
        LayerSpec("cut", "Reshape", "fc", params=shape),
        LayerSpec("lstm", "LSTM", "cut cont", params=lstm,
                  blobs=[N.normal(12, 5), N.normal(12), N.normal(12, 3)]),
    ]  # fmt: skip


# -------------------------------------------------------------------------------- the mutations


def spoiled(change: Callable[[Net, Callable[[str], int]], Net]) -> Callable[[Any], Any]:
    """A mutation of a pass: what it makes is spoiled, what it says stays."""

    def mutate(original: Any) -> Any:
        def run(self: Any, net: Net) -> PassResult:
            result: PassResult = original(self, net)
            names = [layer.name for layer in result.net.layers]
            return result._replace(net=change(result.net, names.index))

        return run

    return mutate


def edited(name: str, edit: Callable[[Layer], Layer]) -> Callable[[Any], Any]:
    """One layer edited."""
    return spoiled(lambda net, at: net.substitute({at(name): (edit(net.layers[at(name)]),)}))


def rewired(name: str, bottoms: str = "", tops: str = "") -> Callable[[Any], Any]:
    """A layer between other blobs."""
    return edited(
        name,
        lambda layer: layer.with_wiring(
            tuple(bottoms.split()) or layer.bottoms, tuple(tops.split()) or layer.tops
        ),
    )


def cut(name: str, reader: str, bottoms: str) -> Callable[[Any], Any]:
    """A layer gone; its reader reads something else."""

    def change(net: Net, at: Callable[[str], int]) -> Net:
        behind = net.layers[at(reader)]
        wired = behind.with_wiring(tuple(bottoms.split()), behind.tops)
        return net.substitute({at(name): (), at(reader): (wired,)})

    return spoiled(change)


def param(message: str, name: str, raw: str) -> Callable[[Layer], Layer]:
    """A layer with another value of one parameter."""

    def edit(layer: Layer) -> Layer:
        fields = tuple(
            f.with_body(set_scalar(f.body, name, raw)) if f.name == message else f
            for f in layer.body.fields
        )
        return layer.edited(replace(layer.body, fields=fields))

    return edit


def without(*names: str) -> Callable[[Layer], Layer]:
    """A layer without some of its fields, or of those of its messages."""

    def edit(layer: Layer) -> Layer:
        fields = tuple(
            f.with_fields(x for x in f.body.fields if x.name not in names)
            for f in layer.body.fields
            if f.name not in names
        )
        plain = {f.name: f for f in layer.body.fields}
        kept = (f if f.body.fields or f.name.endswith("_param") else plain[f.name] for f in fields)
        wires = [f for f in layer.body.fields if f.name in ("bottom", "top")]
        rest = [f for f in kept if f.name not in ("bottom", "top")]
        return layer.edited(replace(layer.body, fields=(*rest[:2], *wires, *rest[2:])))

    return edit


def wrap(change: Callable[..., Any]) -> Callable[[Any], Any]:
    """A mutation that replaces a function's result by a changed one."""
    return lambda original: lambda *args, **kwargs: change(original(*args, **kwargs), *args)


def shared_numbers(net: Net, at: Callable[[str], int]) -> Net:
    """The numbers of one layer in another, which has as many."""
    first, second = net.layers[at("c1")], net.layers[at("c2")]
    return net.substitute({at("c2"): (second.with_blobs(first.blobs),)})


def undeclared(original: Any) -> Any:
    """A pass that keeps silent about what it did."""
    return lambda self, net: original(self, net)._replace(changes=())


def input_like(net: Net, blob: str) -> Layer:
    """An input of that name and the shape of the first one."""
    first = net.layers[0]
    named = first.edited(set_scalar(first.body, "name", quote(blob)))
    return named.with_wiring((), (blob,))


def resized(layer: Layer, dims: str) -> Any:
    """The text of a Reshape to other numbers."""
    left = dims.split()

    def shaped(field: Any) -> Any:
        if field.name == "dim":
            return replace(field, value=replace(field.value, raw=left.pop(0)))
        return field.with_fields(map(shaped, field.body.fields)) if field.body.fields else field

    return replace(layer.body, fields=tuple(map(shaped, layer.body.fields)))


def with_slope(layer: Layer) -> Layer:
    spec = LayerSpec("r", "ReLU", params="relu_param { negative_slope: 0.1 }")
    (field,) = Net.from_text(spec.prototxt()).layers[0].body.fields[-1:]
    return layer.edited(replace(layer.body, fields=(*layer.body.fields, field)))


def batch_statistics(layers: Layers) -> Layers:
    layers[2] = layers[2]._replace(params="batch_norm_param { use_global_stats: false }")
    return layers


def scaling(layers: Layers) -> Layers:
    """A Dropout of DeepLab's fork, which scales in TEST instead."""
    layers[6] = layers[6]._replace(params="dropout_param { scale_train: false }")
    return layers


HEADS = "deploy.heads:ConvertHeads.run"
INPUTS = "deploy.inputs:ConvertInputs.run"
STRIP = "deploy.strip:Strip.run"
PHASE = "view.phase:SelectPhase.run"

PLACEHOLDERS = [
    Mutant(
        "a value off by one", "view.placeholders:placeholder.fill",
        wrap(lambda r, raw, *_: "3" if raw == "${size}" else r), net_template,
        "'p': pooling_param/kernel_size", {"values": {"size": "2", "step": "2"}},
    ),
    Mutant(
        "values exchanged", "view.placeholders:placeholder.fill",
        lambda original: lambda raw, values, classes: original(
            {"${size}": "${step}", "${step}": "${size}"}.get(raw, raw), values, classes
        ),
        net_template, "'p': pooling_param/", {"values": {"size": "3", "step": "2"}},
    ),
    Mutant(
        "classes off by one", "view.placeholders:_detector_classes",
        wrap(lambda r, *_: r + 1), net_detector, "'out': num_classes is 4, the weights have 3",
    ),
    Mutant(
        "a field beside it", "view.placeholders:FillPlaceholders.run",
        edited("p", param("pooling_param", "pool", "AVE")), net_template,
        "'p': pooling_param/pool was MAX, is AVE", {"values": {"size": "3", "step": "2"}},
    ),
]  # fmt: skip
PHASES = [
    Mutant(
        "the TRAIN twin stays", PHASE,
        spoiled(lambda net, at: net.substitute(
            {at("p"): (param("pooling_param", "pool", "AVE")(net.layers[at("p")]),)}
        )),
        net_twins, "'p': pooling_param/pool was MAX, is AVE",
    ),
    Mutant(
        "exclude rules are forgotten", "view.phase:included",
        lambda original: lambda layer, state: layer.name == "x0" or original(layer, state),
        net_excluded, "'x0': is no part of the net in this phase",
    ),
    Mutant(
        "levels are forgotten", "view.phase:included",
        lambda original: lambda layer, state: layer.name == "x1" or original(layer, state),
        net_excluded, "'x1': is no part of the net in this phase",
    ),
    Mutant(
        "stages are forgotten", "view.phase:included",
        lambda original: lambda layer, state: layer.name == "x2" or original(layer, state),
        net_excluded, "'x2': is no part of the net in this phase",
    ),
    Mutant(
        "a layer of TEST goes", "view.phase:included",
        lambda original: lambda layer, state: layer.name != "map" and original(layer, state),
        net_branch, "'map': its result 'map' is lost",
    ),
]  # fmt: skip
NAMES = [
    Mutant(
        "a renamed layer is wired anew", "view.names:SeparateNames.run",
        rewired("fc_softmax", "drop"), net_namesakes, "'fc_softmax': reads 'drop' in place of 'fc'",
    ),
]  # fmt: skip
TRUNK = [
    Mutant(
        "another top of the layer is sampled", "deploy.unpair:Unpair.run",
        rewired("pool", "r1 scores"), net_sampled, "'pool': reads 'scores' in place of",
    ),
    Mutant(
        "the bypass ends too early", "deploy.bypass:Bypass.run",
        rewired("c2", "bn"), net_assisted, "'c2': reads 'bn' in place of 'r1h'",
        {"bypass": ["help"]},
    ),
    Mutant(
        "another layer is bypassed as well", "deploy.bypass:Bypass.run",
        cut("r1", "c2", "bn"), net_assisted_short,
        "'c2': reads 'bn' in place of", {"bypass": ["help"]},
    ),
    Mutant(
        "more than the phase of a Python layer", "deploy.python_phase:PythonPhase.run",
        edited("py", param("python_param", "param_str", quote("{'phase': 'TEST', 'n': 3}"))),
        net_python, "'py': python_param/param_str was",
    ),
]  # fmt: skip
HEAD = [
    Mutant(
        "over another blob", HEADS, rewired("prob", "sum"), net_branch,
        "'prob': is not in the given net, and not what a loss",
    ),
    Mutant(
        "over the other loss's blob", HEADS, rewired("prob", "gc"), net_two_results,
        "'prob': is not in the given net, and not what a loss",
    ),
    Mutant(
        "of another kind", HEADS,
        edited("prob", lambda layer: layer.edited(set_scalar(layer.body, "type", '"Sigmoid"'))),
        net_plain, "'prob': is not in the given net, and not what a loss",
    ),
    Mutant(
        "without the axis of its loss", "deploy.heads:_softmax_params",
        lambda original: lambda loss: {}, net_axis,
        "'prob': is not in the given net, and not what a loss",
    ),
    Mutant(
        "a branch cut", "deploy.heads:_results", lambda original: lambda *args: [],
        net_branch, "'map': its result 'map' is lost",
    ),
    Mutant(
        "a loss forgotten", "deploy.heads:HeadMaker.head",
        lambda original: lambda self, position: type(original(self, position))()
        if self.net.layers[position].name == "more" else original(self, position),
        net_two_results, "'more': its Sigmoid over 'gc' is lost",
    ),
    Mutant(
        "the main loss taken for an auxiliary one", "deploy.heads:auxiliary",
        lambda original: lambda training, state: {
            i: Helper("auxiliary") for i, x in enumerate(training.net.layers) if x.name == "loss"
        },
        net_auxiliary, "'loss': 'fc', which it judges, is lost",
    ),
    Mutant(
        "a layer of the trunk cut", HEADS, cut("r1", "c2", "bn"),
        lambda: [*net_plain()[:5], N.inner_product("fc", "c2", 144, 5), LOSS],
        "'c2': reads 'bn' in place of 'r1'",
    ),
    Mutant(
        "a reader wired to another blob", HEADS, rewired("sum", "c2 bn"), net_plain,
        "'sum': reads 'bn' in place of 'r1'",
    ),
    Mutant(
        "bottoms exchanged", HEADS, rewired("sum", "r1 c2"), net_plain,
        "'sum': reads 'r1' in place of 'c2'",
    ),
    Mutant(
        "names of results exchanged", HEADS,
        spoiled(lambda net, at: net.substitute({
            at("fc"): (net.layers[at("fc")].with_wiring(("drop",), ("gc",)),),
            at("gc"): (net.layers[at("gc")].with_wiring(("drop",), ("fc",)),),
            at("prob"): (net.layers[at("prob")].with_wiring(("gc",), ("prob",)),),
        })),
        lambda: [*net_two_results()[:-1],
                 LayerSpec("more", "EuclideanLoss", "gc other")],
        "'fc': its top 'gc' was called 'fc'",
    ),
    Mutant(
        "numbers of another layer", HEADS, spoiled(shared_numbers), net_plain,
        "'c2': has other numbers",
    ),
    Mutant(
        "a detector's boxes and scores exchanged", HEADS,
        rewired("detection_out", "loc conf_flatten loc"), net_ssd, "'detection_out': is not in",
    ),
    Mutant(
        "a detector's code type", HEADS,
        edited("detection_out", param("detection_output_param", "code_type", "CORNER")),
        net_ssd, "'detection_out': is not in",
    ),
    Mutant(
        "a detector's variances", HEADS,
        edited("detection_out", without("variance_encoded_in_target")),
        net_ssd, "'detection_out': is not in",
    ),
    Mutant(
        "a detector's thresholds", HEADS,
        edited("detection_out", param("detection_output_param", "keep_top_k", "99")),
        net_ssd, "'detection_out': is not in",
    ),
    Mutant(
        "the Softmax in front of a detector along another axis", HEADS,
        edited("conf_softmax", param("softmax_param", "axis", "1")), net_ssd, "is not in",
    ),
    Mutant("nothing is said", HEADS, undeclared, net_plain, "'loss': is gone, and no change says"),
]  # fmt: skip
INPUT = [
    Mutant(
        "wired to the wrong reader", INPUTS, rewired("c2", "data"), net_two_inputs,
        "'c2': reads 'data' in place of 'more'", {"input_shapes": {"more": [1, 4, 6, 6]}},
    ),
    Mutant(
        "readers of two inputs exchanged", INPUTS,
        spoiled(lambda net, at: net.substitute({
            at("c1"): (net.layers[at("c1")].with_wiring(("more",), ("c1",)),),
            at("c2"): (net.layers[at("c2")].with_wiring(("data",), ("c2",)),),
        })),
        net_two_inputs, "'c1': reads 'more' in place of 'data'",
        {"input_shapes": {"more": [1, 4, 6, 6]}},
    ),
    Mutant(
        "height and width exchanged", "deploy.inputs:image.image_size",
        wrap(lambda r, *_: r[::-1]), net_wide, "input 'data': is 1x4x9x4, was given as",
    ),
    Mutant(
        "the shape that was asked for is forgotten", INPUTS,
        edited("data", lambda layer: layer.edited(resized(layer, "1 4 6 6"))), net_given,
        "input 'data': is 1x4x6x6, was given as 2x4x6x6",
        {"input_shapes": {"data": [2, 4, 6, 6]}},
    ),
    Mutant(
        "another batch than was asked for", INPUTS,
        edited("data", lambda layer: layer.edited(resized(layer, "3 4 6 6"))), net_given,
        "input 'data': is 3x4x6x6, was given as 2x4x6x6", {"batch": 2},
    ),
    Mutant(
        "the other style has another shape", "deploy.inputs:input_shapes",
        wrap(lambda r, *_: {name: (3, *dims[1:]) for name, dims in r.items()}), net_given,
        "input 'data': is 3x4x6x6, was given as 1x4x6x6", {"input_style": "legacy"},
    ),
    Mutant(
        "what a layer makes becomes an input", INPUTS,
        spoiled(lambda net, at: net.substitute({
            at("r1"): (input_like(net, "r1"),), at("c1"): (), at("bn"): (),
        })),
        net_given, "input 'r1': is neither an input of the given net nor data",
    ),
]  # fmt: skip
FILLED = [
    Mutant(
        "filled with twice the numbers", "deploy.filling:FillWeights.run",
        edited("up", lambda layer: layer.with_blobs(
            (ArrayBlob(2 * np.asarray(layer.blobs[0], np.float64)),)
        )),
        net_enlarged, "'up': ",
    ),
]  # fmt: skip
SEQUENCES = [
    Mutant(
        "more than time and streams", "deploy.sequences:FitSequences.run",
        edited("cut", lambda layer: layer.edited(resized(layer, "1 1 -1"))), net_sequence,
        "'cut': reshape_param/shape/dim", {"input_shapes": {"cont": [1, 1]}},
    ),
    Mutant(
        "another number of images", "deploy.sequences:FitSequences.run",
        edited("cut", lambda layer: layer.edited(resized(layer, "-1 1 5"))), net_sequence,
        "'cut': reshape_param/shape/dim", {"input_shapes": {"cont": [1, 1]}},
    ),
]  # fmt: skip
STRIPPED = [
    Mutant(
        "the filler of a constant", STRIP, edited("half", without("data_filler")), net_constant,
        "'half': dummy_data_param/data_filler was { value: 0.75 }, is not there",
    ),
    Mutant(
        "the names of shared weights", "deploy.strip:_SHARING", lambda original: frozenset(),
        net_shared, "'c1': param was w/, b/, is not there",
    ),
    Mutant(
        "eps", "deploy.strip:_SWITCHES", lambda original: original | {"eps"}, net_plain,
        "'bn': batch_norm_param was { eps: 0.001 }, is not there",
    ),
    Mutant(
        "all parameters of a type", "deploy.strip:LAYER_FIELDS",
        lambda original: original | {"eltwise_param"}, net_plain,
        "'sum': eltwise_param was { operation: MAX }, is not there",
    ),
    Mutant(
        "what an Eltwise does", STRIP,
        edited("sum", param("eltwise_param", "operation", "SUM")), net_plain,
        "'sum': eltwise_param/operation was MAX, is SUM",
    ),
    Mutant(
        "a parameter is added", STRIP,
        edited("r1", with_slope), net_plain,
        "'r1': relu_param was not there, is { negative_slope: 0.1 }",
    ),
    Mutant(
        "use_global_stats of a deploy net", "pipeline:is_training_net",
        lambda original: lambda net: True, lambda: batch_statistics(net_given()),
        "'bn': batch_norm_param was { use_global_stats: false }, is not there",
    ),
    Mutant(
        "what a Dropout does in TEST", "deploy.strip:LAYER_FIELDS",
        lambda original: original | {"dropout_param"},
        lambda: scaling(net_plain()), "'drop': dropout_param was",
    ),
]  # fmt: skip
MUTANTS = [*PLACEHOLDERS, *PHASES, *NAMES, *TRUNK, *HEAD, *INPUT, *FILLED, *SEQUENCES, *STRIPPED]


# ------------------------------------------------------------------------------------- the tests


def held(target: str) -> tuple[Any, str]:
    """Where ``module:path`` stands: the object that holds it, and its name there."""
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    holder = importlib.import_module(f"caffefold.passes.{module}")
    for owner in owners:
        holder = getattr(holder, owner)
    return holder, name


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.fault for mutant in MUTANTS])
def test_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    layers = mutant.net()
    pair = write_pair(tmp_path, layers)
    pair[1].write_bytes(net_weights([layer for layer in layers if layer.blobs]))
    caffefold.convert(*pair, tmp_path / "sound", **mutant.options)

    holder, name = held(mutant.target)
    monkeypatch.setattr(holder, name, mutant.mutate(getattr(holder, name, None)))
    with monkeypatch.context() as patch:
        patch.setattr(origins, "check", lambda *args: None)
        caffefold.convert(*pair, tmp_path / "accepted", **mutant.options)
    sound, accepted = (
        [(tmp_path / f"{stem}.{kind}").read_bytes() for kind in ("prototxt", "caffemodel")]
        for stem in ("sound", "accepted")
    )
    assert (accepted == sound) == (mutant.fault == "nothing is said")

    with pytest.raises(ProofError) as caught:
        caffefold.convert(*pair, tmp_path / "faulty", **mutant.options)
    message = str(caught.value)
    assert mutant.told in message
    assert message.endswith("; no output was written")
    assert caught.value.layer
    assert not list(tmp_path.glob("faulty*"))


def test_every_pass_has_one() -> None:
    """Every pass that makes the deploy net is mutated; those that do most, several times."""
    modules = [mutant.target.partition(":")[0] for mutant in MUTANTS]
    counts: dict[str, int] = {name: modules.count(name) for name in modules}
    assert set(counts) >= {
        *("view.placeholders", "view.phase", "view.names", "deploy.unpair", "deploy.bypass"),
        *("deploy.heads", "deploy.inputs", "deploy.sequences", "deploy.strip"),
        *("deploy.python_phase", "deploy.filling"),
    }
    assert all(counts[f"deploy.{name}"] >= 6 for name in ("heads", "inputs", "strip"))
