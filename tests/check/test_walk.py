"""The walk through two nets, side by side: on nets in memory, whatever their files would say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.check.proof import Proof, prove
from caffefold.errors import ProofError
from caffefold.formats.caffemodel.precision import FLOAT16, FLOAT32, Precision
from caffefold.ir.blob import ArrayBlob
from caffefold.ir.net import Layer, Net
from caffefold.passes import infra
from caffefold.passes.fold.collapse import Collapse
from caffefold.passes.fold.fold import Fold
from caffefold.passes.fold.tidy import Tidy
from caffefold.passes.infra import Change, ChangeKind
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

N = RandomLayers(5)
DATA = input_layer(1, 4, 6, 6)


def load(folder: Path, layers: Sequence[LayerSpec], head: str = 'name: "net"\n') -> Net:
    prototxt, caffemodel = write_pair(folder, layers)
    text = prototxt.read_text(encoding="utf-8")
    prototxt.write_text(head + text.partition("\n")[2], encoding="utf-8")
    return caffefold.load(prototxt, caffemodel)


def folded(net: Net, *, unshare: bool = False) -> tuple[Net, list[Change]]:
    """What folding makes of a net in memory, and what it says it did."""
    after, steps = infra.run((Tidy(), Fold(unshare=unshare), Collapse()), net)
    return after, [change for step in steps for change in step.changes]


def proven(net: Net, *, unshare: bool = False) -> Proof:
    return prove(net, *folded(net, unshare=unshare))


def edited(net: Net, name: str, edit: Callable[[Layer], Layer | None]) -> Net:
    """A net with one layer edited, or gone."""
    at = [layer.name for layer in net.layers].index(name)
    made = edit(net.layers[at])
    return net.substitute({at: () if made is None else (made,)})


def with_new_numbers(layer: Layer) -> Layer:
    """A layer with blobs of its own in memory, unlike those of the file."""
    return layer.with_blobs(
        tuple(ArrayBlob(np.asarray(blob, np.float64) * 1.5) for blob in layer.blobs)
    )


# ------------------------------------------------------------------------------ in memory


def net_folds(folder: Path) -> Net:
    chain = [N.conv("f", "data", 4, 4), N.batch_norm("bn", "f", 4), N.scale("sc", "bn", 4)]
    return load(folder, [DATA, *chain, relu("r", "sc"), N.conv("g", "sc", 4, 3, kernel=1)])


@pytest.mark.parametrize("precision", [FLOAT32, FLOAT16], ids=["fp32", "fp16"])
def test_nets_in_memory(tmp_path: Path, precision: Precision) -> None:
    """Folded numbers are float64 still: not rounded, whatever they will be stored as."""
    net = net_folds(tmp_path)
    after, changes = folded(net)
    proof = prove(net, after, changes, precision)
    assert [fold.layer for fold in proof.folds] == ["f"]
    assert proof.folds[0].error < 1e-14
    assert proof.unchanged_blobs == 2


def test_numbers_as_they_will_be_stored(tmp_path: Path) -> None:
    """With fp16, what is neither the number itself nor its half is a change."""
    net = net_folds(tmp_path)

    def halves(times: float) -> Callable[[Layer], Layer]:
        return lambda layer: layer.with_blobs(
            tuple(
                ArrayBlob((np.asarray(blob) * times).astype(np.float16).astype(np.float64))
                for blob in layer.blobs
            )
        )

    assert prove(net, edited(net, "g", halves(1)), (), FLOAT16).unchanged_blobs == 9
    with pytest.raises(ProofError, match="'g': blob 0 should not have changed, but did"):
        prove(net, edited(net, "g", halves(1.01)), (), FLOAT16)
    with pytest.raises(ProofError, match="'g': blob 0 should not have changed, but did"):
        prove(net, edited(net, "g", halves(1)), ())


def test_nothing_is_put_in_place_by_a_proof_alone(tmp_path: Path) -> None:
    net = net_folds(tmp_path)
    with pytest.raises(ProofError) as caught:
        prove(net, edited(net, "r", lambda layer: None), ())
    assert "no output was written" not in str(caught.value)


# ---------------------------------------------------------------------- layers of one name


def test_two_layers_of_one_name_and_two_types(tmp_path: Path) -> None:
    """The Softmax has the name, and so the record, of the product in front of it."""
    layers = [DATA, N.inner_product("fc", "data", 144, 4), LayerSpec("fc", "Softmax", "fc")]
    pair = write_pair(tmp_path, layers)
    for weights in (pair[1], None):
        report = caffefold.convert(pair[0], weights, tmp_path / "out", force=True)
        assert report.proof.outputs == ("fc",)


def test_a_layer_that_only_has_the_name_of_a_folded_one(tmp_path: Path) -> None:
    """The file has one record for both; what the ReLU does not use may change."""
    chain = [N.conv("x", "data", 4, 4), N.batch_norm("b", "x", 4), relu("x", "b", "y")]
    pair = write_pair(tmp_path, [DATA, chain[0], chain[1], chain[2]._replace(blobs=())])
    report = caffefold.convert(*pair, tmp_path / "out", unshare=True)
    assert list(report.folded()) == [("x", ("b",))]


def test_norms_that_share_a_record(tmp_path: Path) -> None:
    """One record, two layers: each is folded with its own eps."""
    first = [N.conv("f", "data", 4, 4), N.batch_norm("b", "f", 4, top="q", eps=1e-3)]
    second = [N.conv("g", "data", 4, 4), N.batch_norm("b", "g", 4, top="s", eps=0.5)]
    proof = proven(load(tmp_path, [DATA, *first, *second]))
    assert [(fold.layer, fold.folded) for fold in proof.folds] == [("f", ("b",)), ("g", ("b",))]


def test_a_fold_into_a_layer_that_shares_its_name(tmp_path: Path) -> None:
    layers = [DATA, N.conv("x", "data", 4, 4), N.batch_norm("x", "x", 4, top="y")]
    net = load(tmp_path, [*layers, relu("x", "y", "z")])
    net = edited_each(net, [(), N.conv("", "", 4, 4).blobs, N.statistics(4), ()])
    assert [fold.layer for fold in proven(net, unshare=True).folds] == ["x"]


def edited_each(net: Net, blobs: Sequence[Sequence[object]]) -> Net:
    """Each layer with blobs of its own, which no caffemodel gives to layers of one name."""
    return net.substitute(
        {
            at: (layer.with_blobs(tuple(ArrayBlob(np.asarray(b, np.float64)) for b in given)),)
            for at, (layer, given) in enumerate(zip(net.layers, blobs, strict=True))
        }
    )


def net_twins(folder: Path) -> Net:
    """Two convolutions x, each followed by its own BatchNorm b, with numbers of their own."""
    layers = [
        DATA,
        N.conv("x", "data", 4, 4, top="one"),
        N.batch_norm("b", "one", 4, top="two"),
        relu("r", "two"),
        N.conv("x", "two", 4, 4, top="three"),
        N.batch_norm("b", "three", 4, top="four"),
        relu("s", "four"),
    ]
    own = [(), N.conv("", "", 4, 4).blobs, N.statistics(4), ()]
    return edited_each(
        load(folder, layers), [*own, N.conv("", "", 4, 4).blobs, N.statistics(4), ()]
    )


def test_two_folds_with_the_same_names(tmp_path: Path) -> None:
    net = net_twins(tmp_path)
    after, changes = folded(net, unshare=True)
    proof = prove(net, after, changes)
    assert [fold.layer for fold in proof.folds] == ["x", "x"]
    assert proof.largest_error < 1e-14


def test_one_of_two_layers_of_one_name_is_folded(tmp_path: Path) -> None:
    """The first b stays, since its input is read elsewhere; the second goes."""
    layers = [
        DATA,
        LayerSpec("a", "ReLU", "data", "one"),
        N.batch_norm("b", "one", 4, top="two"),
        relu("r", "two"),
        relu("side", "one", "out"),
        N.conv("f", "two", 4, 4, top="three"),
        N.batch_norm("b", "three", 4, top="four"),
        relu("s", "four"),
    ]
    blobs: list[Sequence[object]] = [layer.blobs for layer in layers]
    net = edited_each(load(tmp_path, layers), blobs)
    after, changes = folded(net)
    assert [layer.name for layer in after.layers].count("b") == 1
    assert [fold.layer for fold in prove(net, after, changes).folds] == ["f"]


@pytest.mark.parametrize("which", [1, 4])
def test_a_fault_in_one_of_two_layers_of_one_name(tmp_path: Path, which: int) -> None:
    net = net_twins(tmp_path)
    after, changes = folded(net, unshare=True)
    at = [i for i, layer in enumerate(after.layers) if layer.name == "x"][which // 4]
    with pytest.raises(ProofError, match="layer 'x': the fold of b"):
        prove(net, after.substitute({at: (with_new_numbers(after.layers[at]),)}), changes)


def test_numbers_of_layers_of_one_name_exchanged(tmp_path: Path) -> None:
    net = net_twins(tmp_path)
    first, second = (i for i, layer in enumerate(net.layers) if layer.name == "x")
    one, two = net.layers[first], net.layers[second]
    swapped = net.substitute(
        {first: (one.with_blobs(two.blobs),), second: (two.with_blobs(one.blobs),)}
    )
    with pytest.raises(ProofError, match="layer 'x': blob 0 should not have changed"):
        prove(net, swapped, ())


@pytest.mark.parametrize(
    "change", [lambda w, b: (w.reshape(4, 2, 6, 3), b), lambda w, b: (w, b[:1])]
)
def test_folded_blobs_of_other_shapes(tmp_path: Path, change: Callable[..., Any]) -> None:
    net = net_folds(tmp_path)
    after, changes = folded(net)
    blobs = [np.asarray(blob, np.float64) for blob in after.layers[1].blobs]
    made = tuple(ArrayBlob(numbers) for numbers in change(*blobs))
    with pytest.raises(ProofError, match="'f': its blobs have different shapes"):
        prove(net, edited(after, "f", lambda layer: layer.with_blobs(made)), changes)


# ------------------------------------------------------------------------------- structure


def test_a_layer_without_tops_may_not_go(tmp_path: Path) -> None:
    layers = [DATA, N.conv("f", "data", 4, 4), relu("r", "f", "r")]
    net = load(tmp_path, [*layers, LayerSpec("quiet", "Silence", "f", "")])
    with pytest.raises(ProofError, match="'quiet': missing"):
        prove(net, edited(net, "quiet", lambda layer: None), ())


def test_declared_inputs_are_compared(tmp_path: Path) -> None:
    head = 'name: "net"\ninput: "data" input_dim: 1 input_dim: 4 input_dim: {} input_dim: 6\n'
    layers = [N.conv("f", "data", 4, 4)]
    (tmp_path / "other").mkdir()
    net = load(tmp_path, layers, head.format(6))
    assert prove(net, net, ()).outputs == ("f",)
    with pytest.raises(ProofError, match="different inputs"):
        prove(net, load(tmp_path / "other", layers, head.format(7)), ())


def test_joins_of_joins_take_no_time(tmp_path: Path) -> None:
    """Each Concat has twice the channels of the one before: nothing is written out."""
    layers = [DATA]
    layers += [
        LayerSpec(f"c{i}", "Concat", " ".join([f"c{i - 1}" if i else "data"] * 2))
        for i in range(26)
    ]
    net = load(tmp_path, [*layers, relu("r", "c25")])
    assert prove(net, net, ()).outputs == ("c25",)


# --------------------------------------------------- what hands maps on, and what does not


def pool(params: str, bottom: str = "bn") -> LayerSpec:
    return LayerSpec("p", "Pooling", bottom, params=f"pooling_param {{ {params} }}")


@pytest.mark.parametrize(
    ("params", "moves"),
    [
        ("pool: AVE kernel_size: 2 stride: 2", True),
        ("pool: AVE kernel_size: 2 stride: 2 pad: 1", False),
        ("pool: AVE kernel_h: 2 kernel_w: 3 stride: 2", True),
        ("pool: AVE global_pooling: true", True),
        ("pool: AVE kernel_size: 1 stride: 5", True),  # windows at 0 and 5 of 6
        ("pool: AVE kernel_size: 1 stride: 4", False),  # windows at 0, 4 and 8
        ("pool: AVE kernel_size: 1 stride: 4 round_mode: FLOOR", True),
        ("pool: AVE kernel_h: 2 kernel_w: 1 stride_h: 2 stride_w: 4", False),
        ("pool: MAX kernel_size: 2", False),
    ],
)
def test_pooling(tmp_path: Path, params: str, moves: bool) -> None:
    """A map in front of pooling and behind it: the same, if every window averages pixels alone.

    Source: pooling_layer.cpp. A last window that begins behind the input gives 0.
    """
    norm = N.batch_norm("bn", "r", 4)
    net = load(tmp_path, [DATA, relu("r", "data", "r"), norm, pool(params), relu("e", "p")])
    moved = net.substitute(
        {
            2: (net.layers[3].with_wiring(("r",), ("q",)),),
            3: (net.layers[2].with_wiring(("q",), ("p",)),),
        }
    )
    if moves:
        assert prove(net, moved, ()).outputs == ("p",)
    else:
        with pytest.raises(ProofError):
            prove(net, moved, ())


@pytest.mark.parametrize(
    ("params", "moves"),
    [
        ("", True),
        ("slice_point: 1", True),
        ("axis: -3", True),
        ("slice_dim: 1 slice_point: 3", True),
        ("axis: 2", False),
        ("axis: -1", False),
    ],
)
def test_slice(tmp_path: Path, params: str, moves: bool) -> None:
    """A Power in front of a Slice, and one behind each of its tops; all three have one name.

    Source: slice_layer.cpp.
    """
    power = "power_param { scale: 2 shift: 1 }"
    ends = [relu("s", "c", "s"), relu("t", "d", "t")]
    (tmp_path / "moved").mkdir()
    before, after = (
        [
            DATA,
            relu("r", "data", "r"),
            LayerSpec("pw", "Power", "r", "p", power),
            LayerSpec("sl", "Slice", "p", "c d", f"slice_param {{ {params} }}"),
            *ends,
        ],
        [
            DATA,
            relu("r", "data", "r"),
            LayerSpec("sl", "Slice", "r", "a b", f"slice_param {{ {params} }}"),
            LayerSpec("pw", "Power", "a", "c", power),
            LayerSpec("pw", "Power", "b", "d", power),
            *ends,
        ],
    )
    net, moved = load(tmp_path, before), load(tmp_path / "moved", after)
    if moves:
        assert prove(net, moved, ()).outputs == ("s", "t")
    else:
        with pytest.raises(ProofError, match="'sl': is fed different values"):
            prove(net, moved, ())


@pytest.mark.parametrize(
    ("params", "moves"),
    [
        ("", True),
        ("axis: -3", True),
        ("concat_dim: 1", True),
        ("axis: 2", False),
        ("axis: -1", False),
    ],
)
def test_concat(tmp_path: Path, params: str, moves: bool) -> None:
    """A Power in front of a Concat for one of its inputs, and a Scale behind it for all.

    Source: concat_layer.cpp.
    """
    power = LayerSpec("m", "Power", "r", "p", "power_param { scale: 2 shift: 1 }")
    blobs = [np.repeat([2.0, 1.0], 4), np.repeat([1.0, 0.0], 4)]
    scale = LayerSpec("m", "Scale", "k", "c", "scale_param { bias_term: true }", blobs)
    join = LayerSpec("cat", "Concat", "p r", "c", f"concat_param {{ {params} }}")
    head, end = [DATA, relu("r", "data", "r")], relu("e", "c", "e")
    (tmp_path / "moved").mkdir()
    net = load(tmp_path, [*head, power, join, end])
    behind = join._replace(bottoms="r r", tops="k")
    moved = load(tmp_path / "moved", [*head, behind, scale, end])
    change = (Change(ChangeKind.FOLDED, (), ("m",)),)
    if moves:
        assert prove(net, moved, change).outputs == ("e",)
    else:
        with pytest.raises(ProofError):
            prove(net, moved, change)


@pytest.mark.parametrize(
    ("kind", "tops"), [("Slice", "c d"), ("Slice", ""), ("Pooling", "c"), ("Concat", "c d")]
)
def test_layers_with_more_blobs_than_caffe_lets_them_have(
    tmp_path: Path, kind: str, tops: str
) -> None:
    """They hand nothing on: what goes in must be the same, and comes out as something new."""
    odd = LayerSpec("odd", kind, "data r", tops, "pooling_param { pool: AVE kernel_size: 1 }")
    net = load(tmp_path, [DATA, relu("r", "data", "r"), odd])
    assert prove(net, net, ()).outputs == tuple(tops.split())


# ------------------------------------------------------------------------- unknown shapes


@pytest.mark.parametrize("known", [True, False])
def test_inputs_of_unknown_shape(tmp_path: Path, known: bool) -> None:
    """Channels are those of the weights; what a map told of an input holds in both nets."""
    given = DATA if known else LayerSpec("data", "Input")
    layers = [
        given,
        N.batch_norm("b0", "data", 4),
        N.conv("f", "b0", 4, 4, kernel=1),
        N.batch_norm("b1", "f", 4),
        N.conv("g", "data", 4, 2, kernel=1),
        relu("r", "g"),
        LayerSpec("cat", "Concat", "b1 g"),
        N.conv("h", "cat", 6, 3),
        N.batch_norm("b2", "h", 3),
    ]
    proof = proven(load(tmp_path, layers))
    assert [fold.layer for fold in proof.folds] == ["f", "h"]
    assert proof.largest_error < 1e-13


@pytest.mark.parametrize("kind", ["DepthwiseConv", "DepthwiseConvolution", "Convolution"])
def test_depthwise_layers_of_forks(tmp_path: Path, kind: str) -> None:
    """Groups are as many as the input has channels, whether the text says so or not."""
    group = "group: 4" if kind == "Convolution" else ""
    text = f"convolution_param {{ num_output: 8 kernel_size: 3 {group} bias_term: false }}"
    conv = LayerSpec("f", kind, "b0", params=text, blobs=[N.normal(8, 1, 3, 3)])
    layers = [DATA, N.batch_norm("b0", "data", 4), conv, N.batch_norm("b1", "f", 8)]
    proof = proven(load(tmp_path, layers))
    assert [fold.folded for fold in proof.folds] == [("b0", "b1")]
    assert proof.largest_error < 1e-13


# ------------------------------------------------------------------------------ blob names


def test_a_name_that_another_value_takes_is_caught(tmp_path: Path) -> None:
    """Every layer computes what it shall; only the blob in front of ``g`` is called ``bn`` now."""
    layers = [DATA, relu("r", "data", "r"), N.batch_norm("bn", "r", 4), N.conv("g", "bn", 4, 3)]
    net = load(tmp_path, layers)
    after, changes = folded(net)
    assert prove(net, after, changes).gone == ("bn",)
    wrong = edited(after, "r", lambda layer: layer.with_wiring(("data",), ("bn",)))
    wrong = edited(wrong, "g", lambda layer: layer.with_wiring(("bn",), ("g",)))
    with pytest.raises(ProofError, match="blob 'bn' is not what the original net computes"):
        prove(net, wrong, changes)
