"""Single-fault mutants of the fold: each must be caught by the proof that every convert runs.

A mutant patches one formula, one condition or one step; a net that shows the fault is converted.
Without the fault the same net converts, so it is the fault that is caught.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import caffefold
from caffefold.errors import ProofError
from caffefold.ir.affine import Affine
from caffefold.ir.blob import ArrayBlob, ScaledBlob
from caffefold.ir.net import Net
from caffefold.ops.base import LinearLayout
from caffefold.testing import LayerSpec, RandomLayers, input_layer, layers_from, relu, write_pair

N = RandomLayers(3)
Layers = list[LayerSpec]


class Mutant(NamedTuple):
    """One fault: what it replaces, and a net of 1x4x6x6 inputs that shows it."""

    fault: str
    target: str
    """``module:Class.method`` or ``module:function``, below the package."""
    mutate: Callable[[Any], Any]
    net: Callable[[], Layers]


def net_conv() -> Layers:
    return [N.conv("f", "data", 4, 4), N.batch_norm("bn", "f", 4, eps=1e-3), N.scale("sc", "bn", 4)]


def net_nobias() -> Layers:
    return [
        N.conv("f", "data", 4, 4, bias=False),
        N.batch_norm("bn", "f", 4),
        N.scale("sc", "bn", 4),
    ]


def net_deconv() -> Layers:
    return [N.conv("f", "data", 4, 4, group=2, kind="Deconvolution"), N.batch_norm("bn", "f", 4)]


def net_group() -> Layers:
    return [N.batch_norm("bn", "data", 4), N.conv("f", "bn", 4, 4, group=2)]


def net_input() -> Layers:
    return [N.batch_norm("bn", "data", 4), N.scale("sc", "bn", 4), N.conv("f", "sc", 4, 4)]


def net_padded() -> Layers:
    return [N.batch_norm("bn", "data", 4), N.conv("f", "bn", 4, 4, params="pad: 1")]


def net_product() -> Layers:
    return [N.batch_norm("bn", "data", 4), N.inner_product("f", "bn", 4 * 36, 5, transpose=True)]


def net_concat() -> Layers:
    join = LayerSpec("cat", "Concat", "f g")
    return [
        N.conv("f", "data", 4, 4),
        N.conv("g", "data", 4, 4),
        join,
        N.batch_norm("bn", "cat", 8),
    ]


def net_relu() -> Layers:
    return [N.conv("f", "data", 4, 4), relu("r", "f"), N.batch_norm("bn", "f", 4)]


def net_readers() -> Layers:
    chain = [N.conv("f", "data", 4, 4), N.batch_norm("bn", "f", 4), relu("end", "bn")]
    return [*chain, relu("side", "f", "side")]


def net_window_behind() -> list[LayerSpec]:
    """The second window begins at 4, behind the 4 pixels of the map: Caffe gives 0 there."""
    pool = LayerSpec(
        "p", "Pooling", "f", params="pooling_param { pool: AVE stride: 4 kernel_size: 1 }"
    )
    return [N.conv("f", "data", 4, 4), pool, N.batch_norm("bn", "p", 4)]


def net_pool() -> Layers:
    pool = LayerSpec("p", "Pooling", "f", params="pooling_param { pool: MAX kernel_size: 2 }")
    return [N.conv("f", "data", 4, 4), pool, N.batch_norm("bn", "p", 4)]


def net_collapse() -> Layers:
    return [
        relu("r", "data", "r"),
        N.batch_norm("bn", "r", 4),
        N.scale("sc", "bn", 4),
        relu("e", "sc"),
    ]


def net_square_product() -> Layers:
    pool = LayerSpec("p", "Pooling", "data", params="pooling_param { global_pooling: true }")
    return [pool, N.inner_product("f", "p", 4, 4, bias=False), N.batch_norm("bn", "f", 4)]


def net_product_axis() -> Layers:
    """A product of rows, whose outputs lie along the height, with as many channels."""
    text = "inner_product_param { num_output: 4 axis: 2 bias_term: false }"
    product = LayerSpec("f", "InnerProduct", "data", params=text, blobs=[N.normal(4, 36)])
    return [product, N.scale("sc", "f", 4)]


def net_slice_down() -> Layers:
    """A map in front of a Slice goes into what reads its parts."""
    chain = [relu("r", "data", "r"), N.batch_norm("bn", "r", 4), slice_of("bn")]
    return [*chain, N.conv("f", "a", 2, 3), N.conv("g", "b", 2, 3)]


def net_slice_up() -> Layers:
    """A map behind a Slice goes into what makes its input."""
    chain = [N.conv("f", "data", 4, 4), slice_of("f"), N.batch_norm("bn", "a", 2)]
    return [*chain, relu("r", "bn"), relu("s", "b", "s")]


def net_slice_width() -> Layers:
    """A Slice along the width, of which no part is a part of the channels."""
    chain = [relu("r", "data", "r"), N.batch_norm("bn", "r", 4), slice_of("bn", "axis: -1")]
    return [*chain, N.inner_product("f", "a", 72, 3), N.inner_product("g", "b", 72, 3)]


def net_concat_width() -> Layers:
    """A Concat along the width; behind it 8 channels as in front of it."""
    join = LayerSpec("cat", "Concat", "f g", params="concat_param { axis: -1 }")
    power = LayerSpec("pw", "Power", "r", params="power_param { scale: 2 shift: 1 }")
    head = [N.conv("f", "data", 4, 4), relu("r", "data", "r"), power]
    tail = join._replace(bottoms="f pw"), N.inner_product("ip", "cat", 4 * 6 * 10, 3)
    return [
        head[0]._replace(
            params="convolution_param { num_output: 4 kernel_h: 1 kernel_w: 3 }",
            blobs=[N.normal(4, 4, 1, 3), N.normal(4)],
        ),
        *head[1:],
        *tail,
    ]


def net_concat_down() -> Layers:
    """A map in front of a Concat goes into the layer behind it; branches of 4 and 2 channels."""
    power = LayerSpec("pw", "Power", "r", params="power_param { scale: 2 shift: 0.5 }")
    other = [N.conv("g", "data", 4, 2, kernel=1), relu("h", "g", "h")]
    join = LayerSpec("cat", "Concat", "pw h")
    return [relu("r", "data", "r"), power, *other, join, N.conv("f", "cat", 6, 3)]


def net_slices_swapped() -> Layers:
    """A map behind two halves that changed places goes into what makes them."""
    join = LayerSpec("cat", "Concat", "b a", "cat")
    chain = [N.conv("f", "data", 4, 4), slice_of("f"), join, N.batch_norm("bn", "cat", 4)]
    return [*chain, relu("r", "bn")]


def net_two_norms() -> Layers:
    """Two folds into one layer each."""
    first = [N.conv("f", "data", 4, 4), N.batch_norm("bn", "f", 4), relu("r", "bn")]
    return [*first, N.conv("g", "bn", 4, 4), N.batch_norm("bm", "g", 4), relu("s", "bm")]


def net_end() -> Layers:
    """A ReLU of its own behind a fold."""
    return [N.conv("f", "data", 4, 4), N.batch_norm("bn", "f", 4), relu("r", "bn", "r")]


def net_alias() -> Layers:
    """The Dropout's result must not get the name that a ReLU writes in place."""
    return layers_from(
        """
        f Convolution data -> a { convolution_param { num_output: 4 kernel_size: 1 } }
        d Dropout a -> b
        r ReLU a -> a
        p Pooling b -> p { pooling_param { pool: MAX kernel_size: 2 } }
        """,
        {"f": [N.normal(4, 4, 1, 1), N.normal(4)]},
    )


def normed(params: str, *blobs: Any, kind: str = "BatchNorm") -> Callable[[], Layers]:
    """A convolution and a normalization with these numbers, of whatever dialect."""
    norm = LayerSpec("bn", kind, "f", params=params, blobs=blobs)
    return lambda: [N.conv("f", "data", 4, 4), norm, relu("end", "bn")]


def behind_conv(line: str, *blobs: Any, outputs: int = 4) -> Callable[[], Layers]:
    """A convolution and the layer of one line, which reads it; then a normalization."""
    (layer,) = layers_from(line, {line.split()[0]: list(blobs)} if blobs else None)
    conv, last = N.conv("f", "data", 4, outputs, kernel=1), layer.top_names[-1]
    return lambda: [conv, layer, N.batch_norm("bn", last, outputs), relu("end", "bn")]


def net_deconv_input(params: str = "", kernel: int = 3) -> Callable[[], Layers]:
    """A map with a shift in front of a deconvolution."""
    deconv = N.conv("f", "bn", 4, 4, kernel=kernel, params=params, kind="Deconvolution")
    return lambda: [relu("r", "data", "r"), N.batch_norm("bn", "r", 4), deconv]


def net_shared() -> Layers:
    """Two layers with one weight, of which one is normalized."""
    first, second = N.conv("f", "data", 4, 4), N.conv("g", "data", 4, 4)
    shared = 'param { name: "w" } param { name: "b" }'
    both = [x._replace(params=f"{x.params} {shared}", blobs=first.blobs) for x in (first, second)]
    return [*both, N.batch_norm("bn", "f", 4), relu("r", "bn", "r"), relu("s", "g", "s")]


def net_slice_point() -> Layers:
    """A Slice into unequal parts in front of what absorbs them."""
    chain = [relu("r", "data", "r"), N.batch_norm("bn", "r", 4), slice_of("bn", "slice_point: 1")]
    return [*chain, N.conv("f", "a", 1, 3), N.conv("g", "b", 3, 3)]


def slice_of(blob: str, params: str = "") -> LayerSpec:
    """A Slice into two equal parts, a and b."""
    return LayerSpec("sl", "Slice", blob, "a b", f"slice_param {{ {params} }}")


def wrap(change: Callable[..., Any]) -> Callable[[Any], Any]:
    """A mutation that replaces a function's result by a changed one."""

    def mutate(original: Any) -> Any:
        return lambda *args, **kwargs: change(original(*args, **kwargs), *args)

    return mutate


def eps_forgotten(result: Affine, mean: Any, variance: Any, eps: float) -> Affine:
    scale = 1 / np.sqrt(variance + 1e-5)
    return Affine(scale, -mean * scale)


def deviation_without_root(result: Affine, mean: Any, variance: Any, eps: float) -> Affine:
    return Affine(1 / (variance + eps), result.shift)


def mean_added(result: Affine, *_: Any) -> Affine:
    return Affine(result.scale, -result.shift)


def rows_for_columns(result: LinearLayout, *_: Any) -> LinearLayout:
    return result._replace(outputs_are_rows=not result.outputs_are_rows)


def interleaved(original: Any) -> Any:
    def absorb(layer: Any, layout: LinearLayout, affine: Affine) -> Any:
        order = np.arange(layout.outputs).reshape(layout.view[0], -1).T.reshape(-1)
        return original(layer, layout, Affine(affine.scale[order], affine.shift[order]))

    return absorb


def reversed_factors(original: Any) -> Any:
    def times(self: ScaledBlob, *, row: Any = None, column: Any = None) -> Any:
        flipped = None if row is None else row[:, ::-1]
        return original(self, row=flipped, column=column)

    return times


def reversed_reads(original: Any) -> Any:
    """A step of the propagation that sees the branches of a Concat in the wrong order."""

    def go(self: Any, position: int, *args: Any) -> Any:
        reads = self.editor.reads[position]
        reads.reverse()
        try:
            return original(self, position, *args)
        finally:
            reads.reverse()

    return go


def spoiled(change: Callable[[Net, Callable[[str], int]], Net]) -> Callable[[Any], Any]:
    """A mutation of the last pass, which spoils what all passes made of a net."""

    def mutate(original: Any) -> Any:
        def run(self: Any, net: Net) -> Any:
            result = original(self, net)
            names = [layer.name for layer in result.net.layers]
            return result._replace(net=change(result.net, names.index))

        return run

    return mutate


def rewired(name: str, bottoms: str = "", tops: str = "") -> Callable[[Any], Any]:
    """A layer between other blobs."""

    def change(net: Net, at: Callable[[str], int]) -> Net:
        layer = net.layers[at(name)]
        wired = layer.with_wiring(
            tuple(bottoms.split()) or layer.bottoms, tuple(tops.split()) or layer.tops
        )
        return net.substitute({at(name): (wired,)})

    return spoiled(change)


def exchanged(one: str, other: str) -> Callable[[Any], Any]:
    """Two layers in each other's place."""

    def change(net: Net, at: Callable[[str], int]) -> Net:
        first, second = net.layers[at(one)], net.layers[at(other)]
        return net.substitute({at(one): (second,), at(other): (first,)})

    return spoiled(change)


def reads_first(original: Any) -> Any:
    """Taking a layer out wires its readers to the first blob of the net."""

    def bypass(self: Any, position: int, taker: int | None) -> Any:
        before = self.reads[position][0]
        done = original(self, position, taker)
        for reader in self.readers[before] if done else ():
            self.reads[reader] = [0 if v == before else v for v in self.reads[reader]]
        return done

    return bypass


def _unit_factor(layer: Any) -> Any:
    return layer.with_blobs((*layer.blobs[:2], ArrayBlob(np.ones(1))))


def _default(layer: Any) -> Any:
    """A layer without its parameters."""
    kept = (f for f in layer.body.fields if not f.name.endswith("_param"))
    return layer.edited(replace(layer.body, fields=tuple(kept)))


def _bias_not_scaled(original: Any, layer: Any, layout: Any, affine: Affine) -> Any:
    folded = original(layer, layout, affine)
    weights, bias = folded.blobs
    old = np.asarray(layer.blobs[1], np.float64)
    fault = old * (1 - affine.over(old.size).scale)
    return folded.with_blobs((weights, type(bias)(bias.numbers + fault)))


FORMULAS = [
    Mutant(
        "eps is 1e-5 whatever the net says",
        "ops.affine:_normalise", wrap(eps_forgotten), net_conv,
    ),
    Mutant(
        "no root of the variance",
        "ops.affine:_normalise", wrap(deviation_without_root), net_conv,
    ),
    Mutant("the mean is added", "ops.affine:_normalise", wrap(mean_added), net_conv),
    Mutant(
        "the scale factor is forgotten", "ops.affine:BatchNorm.affine",
        lambda original: lambda self, layer, rank: original(self, _unit_factor(layer), rank),
        net_conv,
    ),
    Mutant(
        "gamma is forgotten", "ops.affine:Scale.affine",
        wrap(lambda r, *_: Affine(np.ones(4), r.shift)), net_conv,
    ),
    Mutant(
        "beta is forgotten", "ops.affine:Scale.affine",
        wrap(lambda r, *_: Affine(r.scale, np.zeros(4))), net_conv,
    ),
    Mutant(
        "the layer's own bias is forgotten", "passes.fold.absorb:_bias",
        wrap(lambda r, *_: np.zeros_like(r)), net_conv,
    ),
    Mutant(
        "the bias is not scaled", "passes.fold.fold:absorb_output",
        lambda original: lambda *args: _bias_not_scaled(original, *args), net_conv,
    ),
    Mutant(
        "maps compose the wrong way round", "ir.affine:Affine.then",
        lambda original: lambda self, after: original(after, self), net_conv,
    ),
    Mutant(
        "a collapsed Scale loses its bias", "passes.fold.collapse:as_scale",
        lambda original: lambda layer, affine: original(
            layer, Affine(affine.scale, np.zeros_like(affine.shift))
        ),
        net_collapse,
    ),
]  # fmt: skip
LAYOUTS = [
    Mutant("channels are reversed", "ir.blob:ScaledBlob.times", reversed_factors, net_nobias),
    Mutant(
        "deconvolution read as convolution",
        "ops.linear:Deconvolution.layout", wrap(rows_for_columns), net_deconv,
    ),
    Mutant(
        "convolution read as deconvolution",
        "ops.linear:Convolution.layout", wrap(rows_for_columns), net_nobias,
    ),
    Mutant(
        "product read as transposed",
        "ops.linear:InnerProduct.layout", wrap(rows_for_columns), net_square_product,
    ),
    Mutant(
        "groups of a deconvolution interleaved",
        "passes.fold.fold:absorb_output", interleaved, net_deconv,
    ),
    Mutant(
        "groups of the inputs shifted", "passes.fold.absorb:_response",
        wrap(lambda r, *_: (np.roll(r[0], 2), r[1])), net_group,
    ),
    Mutant(
        "the shift of an input map is lost", "passes.fold.absorb:_response",
        wrap(lambda r, *_: (np.zeros_like(r[0]), r[1])), net_input,
    ),
    Mutant(
        "padding does not stop an input map", "passes.fold.propagate:refuse_input",
        lambda original: lambda *args: None, net_padded,
    ),
    Mutant(
        "pixels and channels of a product mixed up", "passes.fold.fold:absorb_input",
        lambda original: lambda layer, layout, affine: original(
            layer, layout, Affine(np.tile(affine.scale, 36), np.tile(affine.shift, 36))
        ),
        net_product,
    ),
]  # fmt: skip
CHANNEL_FLOW = [
    Mutant(
        "outputs of a product along another axis", "ops.linear:_off_channels",
        lambda original: lambda *args: None, net_product_axis,
    ),
    Mutant(
        "ranges of a Slice exchanged, map in front", "ops.wiring:Slice.ranges",
        wrap(lambda r, *_: r[::-1]), net_slice_down,
    ),
    Mutant(
        "ranges of a Slice exchanged, map behind", "ops.wiring:Slice.ranges",
        wrap(lambda r, *_: r[::-1]), net_slice_up,
    ),
    Mutant(
        "ranges of a Slice shifted", "ops.wiring:Slice.ranges",
        wrap(lambda r, *_: tuple((a - (a > 0), b - (a > 0)) for a, b in r)), net_slice_down,
    ),
    Mutant(
        "a negative axis of a Slice is the channels", "ops.wiring:Slice.axis",
        wrap(lambda r, self, layer, rank=None: r if rank is None else 1), net_slice_width,
    ),
    Mutant(
        "a negative axis of a Concat is the channels", "ops.wiring:Concat.axis",
        wrap(lambda r, self, layer, rank=None: r if rank is None else 1), net_concat_width,
    ),
    Mutant(
        "every branch of a Concat gets the first part", "ir.affine:Affine.part",
        lambda original: lambda self, start, stop: original(self, 0, stop - start), net_concat,
    ),
    Mutant(
        "branches of a Concat exchanged, map behind",
        "passes.fold.propagate:Propagation._up_branches", reversed_reads, net_concat,
    ),
    Mutant(
        "the map of a branch goes to another one", "passes.fold.propagate:_joined",
        lambda original: lambda parts, affine: original(
            [(start + 2, stop + 2, pieces) for start, stop, pieces in parts], affine
        ),
        net_concat_down,
    ),
    Mutant(
        "pieces of a map exchanged", "passes.fold.propagate:_joined",
        wrap(
            lambda r, *_: tuple(
                p._replace(start=q.start, stop=q.stop) for p, q in zip(r, r[::-1], strict=True)
            )
        ),
        net_slices_swapped,
    ),
    Mutant(
        "a ReLU is taken for an identity", "ops.base:Op.commutes",
        lambda original: lambda self, *given: self.name == "ReLU" or original(self, *given),
        net_relu,
    ),
    Mutant(
        "other readers do not matter", "passes.fold.propagate:Propagation.up",
        lambda original: lambda self, version, affine, asking, *asked: original(
            self, version, affine, set(self.editor.readers[version]), *asked
        ),
        net_readers,
    ),
    Mutant(
        "maximum pooling is taken for an average", "ops.pooling:Pooling.commutes",
        lambda original: lambda *_: True, net_pool,
    ),
    Mutant(
        "a window behind the input does not matter", "ops.shape:Window.starts_inside",
        lambda original: lambda *_: True, net_window_behind,
    ),
]  # fmt: skip
_LAST = "passes.fold.collapse:Collapse.run"
STRUCTURE = [
    Mutant(
        "readers wired to another blob", "ir.edit:Editor._bypass", reads_first, net_end,
    ),
    Mutant(
        "names given out without a look at who has them", "ir.edit:Editor._free_for",
        lambda original: lambda *args: True, net_alias,
    ),
    Mutant("wrong bottom", _LAST, rewired("g", "data"), net_two_norms),
    Mutant(
        "layer dropped", _LAST,
        spoiled(lambda net, at: net.without([at("r")])), net_two_norms,
    ),
    Mutant(
        "last layer dropped", _LAST,
        spoiled(lambda net, at: net.without([at("s")])), net_two_norms,
    ),
    Mutant(
        "in-place layer behind a reader", _LAST, exchanged("r", "g"), net_two_norms,
    ),
    Mutant("outputs swapped", _LAST, rewired("sl", "", "b bn"), net_slice_up),
    Mutant("branches swapped", _LAST, rewired("cat", "g_folded f_folded"), net_concat),
    Mutant(
        "names kept by other values", "ir.edit:Editor._lies", lambda original: lambda *_: False,
        net_concat,
    ),
    Mutant("output renamed", _LAST, rewired("g", "", "other"), net_slice_down),
    Mutant(
        "a claim for other channels", "passes.fold.fold:_claim",
        wrap(lambda r, *_: type(r)(r.layer, r.chain, r.start, r.stop - 1, r.at + 1)), net_conv,
    ),
    Mutant(
        "a claim for half of the chain", "passes.fold.fold:_claim",
        wrap(lambda r, *_: type(r)(r.layer, r.chain[:1], r.start, r.stop, r.at)), net_conv,
    ),
    Mutant(
        "a claim in another layer's name", "passes.fold.fold:_claim",
        wrap(lambda r, *_: type(r)(r.chain[0], r.chain, r.start, r.stop, r.at)), net_conv,
    ),
]  # fmt: skip
FIVE = (N.normal(4), N.positive(4), [3.0], N.normal(4), N.normal(4))
SMALL = (N.normal(4), N.positive(4) * 1e-6, [1.0], N.normal(4), N.normal(4))
ROLES = "ops.affine:BatchNorm.blob_roles"
# Facts of Caffe that fold and proof both state: wrong in the fold, the proof has to know better.
BELIEFS = [
    Mutant(
        "a factor of 0 is taken for 1", "ops.affine:BatchNorm.affine",
        lambda original: lambda self, layer, rank: original(self, _unit_factor(layer), rank),
        lambda: [N.conv("f", "data", 4, 4), N.batch_norm("bn", "f", 4, factor=0)],
    ),
    Mutant(
        "batch statistics are taken for stored ones", "ops.affine:BatchNorm.affine",
        lambda original: lambda self, layer, rank: original(self, _default(layer), rank),
        normed("batch_norm_param { use_global_stats: false }", *N.statistics(4)),
    ),
    Mutant(
        "Intel's gamma and beta exchanged", ROLES,
        wrap(lambda r, *_: r._replace(gamma=r.beta, beta=r.gamma)), normed("", *FIVE),
    ),
    Mutant(
        "Intel's gamma and beta are always used", ROLES,
        wrap(lambda r, *_: r._replace(gamma=3, beta=4)),
        normed("batch_norm_param { use_weight_bias: false }", *FIVE),
    ),
    Mutant(
        "NVCaffe's third blob is taken for a factor", ROLES,
        wrap(lambda r, *_: r._replace(factor=2)),
        normed("batch_norm_param { scale_bias: true }", *FIVE),
    ),
    Mutant(
        "NVCaffe's smallest eps is forgotten", ROLES,
        wrap(lambda r, *_: r._replace(smallest_eps=0.0)),
        normed("batch_norm_param { scale_bias: true eps: 1e-9 }", *SMALL),
    ),
    Mutant(
        "blobs of NVCaffe 0.15 in the order of later ones", ROLES,
        wrap(lambda r, *_: r._replace(mean=0, variance=1, gamma=2, beta=3)),
        normed("", N.positive(4), N.positive(4), N.positive(4), N.positive(4), [0.0]),
    ),
    Mutant(
        "PSPNet's slope and bias exchanged", "ops.affine:ForkBN.blob_roles",
        wrap(lambda r, *_: r._replace(gamma=1, beta=0)),
        normed("", N.normal(4), N.normal(4), N.normal(4), N.positive(4), kind="BN"),
    ),
    Mutant(
        "SegNet's BN is folded in LEARN mode", "ops.affine:ForkBN.affine",
        lambda original: lambda self, layer, rank: Affine(
            np.asarray(layer.blobs[0], np.float64), np.asarray(layer.blobs[1], np.float64)
        ),
        normed("", N.normal(4), N.normal(4), kind="BN"),
    ),
    Mutant(
        "a Scale along rows is taken for one along channels", "ops.affine:Scale._axis_refusal",
        lambda original: lambda *args: None,
        behind_conv("sc Scale f -> sc { scale_param { axis: 2 } }", N.normal(6), outputs=6),
    ),
    Mutant(
        "a Bias is subtracted", "ops.affine:Bias.affine",
        wrap(lambda r, *_: Affine(r.scale, -r.shift)), behind_conv("b Bias f -> b", N.normal(4)),
    ),
    Mutant(
        "the shift of a Power is forgotten", "ops.affine:Power.affine",
        wrap(lambda r, *_: Affine(r.scale, np.zeros(1))),
        behind_conv("p Power f -> p { power_param { scale: 2 shift: 3 } }"),
    ),
    Mutant(
        "a square is taken for a map", "ops.affine:Power.affine",
        lambda original: lambda *args: Affine(np.array([2.0]), np.array([3.0])),
        behind_conv("p Power f -> p { power_param { power: 2 scale: 2 shift: 3 } }"),
    ),
    Mutant(
        "a Dropout that scales in TEST is taken for an identity",
        "ops.activation:Dropout.is_identity", lambda original: lambda *args: True,
        behind_conv("d Dropout f -> d { dropout_param { scale_train: false } }"),
    ),
    Mutant(
        "a Dropout that samples in TEST is taken for an identity",
        "ops.activation:Dropout.is_identity", lambda original: lambda *args: True,
        behind_conv("d Dropout f -> d { dropout_param { sample_weights_test: true } }"),
    ),
    Mutant(
        "padding does not count in averages", "ops.pooling:Pooling.commutes",
        lambda original: lambda *args: True,
        behind_conv("p Pooling f -> p { pooling_param { pool: AVE kernel_size: 3 pad: 1 } }"),
    ),
    Mutant(
        "the border of a deconvolution is forgotten", "ops.linear:Deconvolution.border",
        lambda original: lambda *args: "", net_deconv_input(),
    ),
    Mutant(
        "the gaps of a deconvolution are forgotten", "ops.linear:Deconvolution.border",
        lambda original: lambda *args: "", net_deconv_input("stride: 2", kernel=1),
    ),
    Mutant(
        "padding of one side is forgotten", "ops.linear:Convolution.border",
        lambda original: lambda *args: "",
        lambda: [net_padded()[0], N.conv("f", "bn", 4, 4, params="pad_h: 1 pad_w: 0")],
    ),
    Mutant(
        "slice points are off by one", "ops.wiring:Slice.ranges",
        wrap(lambda r, *_: ((0, 2), (2, 4)) if r else r), net_slice_point,
    ),
    Mutant(
        "weights that another layer shares are folded into", "passes.fold.fold:shared_weights",
        lambda original: lambda layers: {}, net_shared,
    ),
]  # fmt: skip
MUTANTS = [*FORMULAS, *LAYOUTS, *CHANNEL_FLOW, *STRUCTURE, *BELIEFS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.fault for mutant in MUTANTS])
def test_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    pair = write_pair(tmp_path, [input_layer(1, 4, 6, 6), *mutant.net()])
    caffefold.convert(*pair, tmp_path / "sound")

    module, _, path = mutant.target.partition(":")
    *owners, name = path.split(".")
    holder = importlib.import_module(f"caffefold.{module}")
    for owner in owners:
        holder = getattr(holder, owner)
    monkeypatch.setattr(holder, name, mutant.mutate(getattr(holder, name)))
    with pytest.raises(ProofError, match="no output was written"):
        caffefold.convert(*pair, tmp_path / "faulty")
    assert not list(tmp_path.glob("faulty*"))
    assert not list(tmp_path.glob(".*.part"))


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 60
