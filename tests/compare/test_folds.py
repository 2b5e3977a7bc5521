"""Folds are explained, and checked where there are weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import caffefold
from caffefold.compare.diff import NetDiff
from caffefold.compare.entries import FoldMatch
from caffefold.compare.fold_check import TRANSFORM, USUAL_EPS
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair
from tests.compare.conftest import DATA, conv, layer

if TYPE_CHECKING:
    from tests.compare.conftest import Compare

BN = layer("conv1/bn", "BatchNorm", "conv1", "conv1")
SCALE = layer("conv1/scale", "Scale", "conv1", "conv1", "scale_param { bias_term: true }")
BARE = conv("conv1", "data", 8, "bias_term: false")
RELU = layer("relu", "ReLU", "conv1", "conv1")


def _train(random: RandomLayers, eps: float = 1e-5) -> list[LayerSpec]:
    return [
        input_layer(1, 3, 8, 8),
        random.conv("conv1", "data", 3, 4, bias=False),
        random.batch_norm("conv1/bn", "conv1", 4, top="conv1", eps=eps),
        random.scale("conv1/scale", "conv1", 4, top="conv1"),
        relu("relu1", "conv1"),
        random.inner_product("fc", "conv1", 4 * 36, 5),
    ]


def _converted(folder: Path, layers: list[LayerSpec], **options: object) -> NetDiff:
    """The difference between a net and what ``convert`` makes of it."""
    prototxt, caffemodel = write_pair(folder, layers)
    out = folder / "out"
    caffefold.convert(prototxt, caffemodel, out, **options)  # type: ignore[arg-type]
    made = (f"{out}.prototxt", f"{out}.caffemodel")
    return caffefold.diff(prototxt, made[0], weights=(caffemodel, made[1]))


def test_a_fold_without_weights(compare: Compare) -> None:
    (fold,) = compare(DATA + BARE + BN + SCALE + RELU, DATA + conv("conv1", "data") + RELU).folds
    assert fold == FoldMatch(("conv1/bn", "conv1/scale"), ("conv1",), "output", bias_added=True)


def test_reasons_and_net_of_a_fold(compare: Compare) -> None:
    found = compare(DATA + BARE + BN + SCALE + RELU, DATA + conv("conv1", "data") + RELU)
    assert [(row.layer.name, row.reason) for row in found.removed] == [
        ("conv1/bn", "fold"),
        ("conv1/scale", "fold"),
    ]
    (entry,) = found.changed
    assert (entry.before.name, entry.reason) == ("conv1", "fold")


def test_the_other_way_round_it_is_undone(compare: Compare) -> None:
    (fold,) = compare(DATA + conv("conv1", "data") + RELU, DATA + BARE + BN + SCALE + RELU).folds
    assert fold.inverse
    assert (fold.layers, fold.into) == (("conv1/bn", "conv1/scale"), ("conv1",))


def test_without_a_bias_it_is_no_fold(compare: Compare) -> None:
    (fold,) = compare(DATA + BARE + BN + SCALE + RELU, DATA + BARE + RELU).folds
    assert fold.problem == "'conv1' has no bias that could hold the shift"


def test_another_reader_would_see_it(compare: Compare) -> None:
    """No exact fold: the convolution's own output is read, too."""
    bn = layer("bn", "BatchNorm", "conv1", "bn")
    both = layer("sum", "Eltwise", "conv1 bn", "sum")
    after = layer("sum", "Eltwise", "conv1 conv1", "sum")
    one, two = DATA + BARE + bn + both, DATA + conv("conv1", "data") + after
    (fold,) = compare(one, two).folds
    assert fold.problem == "'sum' also reads 'conv1', and its input would change"


def test_behind_a_nonlinearity_it_goes_down_or_nowhere(compare: Compare) -> None:
    bn = layer("bn", "BatchNorm", "relu", "relu")
    head = DATA + BARE + layer("r", "ReLU", "conv1", "relu")
    into = conv("conv2", "relu", 8)
    (fold,) = compare(head + bn + into, head + into).folds
    assert (fold.way, fold.into, fold.problem) == ("input", ("conv2",), "")
    pool = layer("pool", "Pooling", "relu", "pool")
    (fold,) = compare(head + bn + pool, head + pool).folds
    assert fold.into == ()
    assert fold.problem == "no linear layer of the other net could absorb it"


def test_through_a_concat(compare: Compare) -> None:
    def net(tail: str, bias: str) -> str:
        branches = conv("a", "data", 4, bias) + conv("b", "data", 4, bias)
        return DATA + branches + layer("cat", "Concat", "a b", "cat") + tail

    bn = layer("bn", "BatchNorm", "cat", "cat")
    (fold,) = compare(net(bn, "bias_term: false"), net("", "")).folds
    assert (fold.layers, fold.into, fold.bias_added) == (("bn",), ("a", "b"), True)


def test_what_convert_folds_is_confirmed(tmp_path: Path) -> None:
    found = _converted(tmp_path, _train(RandomLayers()))
    (fold,) = found.folds
    assert fold.bias_added
    assert [(c.layer, c.verdict, c.max_abs) for c in fold.checks] == [("conv1", "equal", 0.0)]
    assert found.weights_compared


def test_what_convert_collapses_is_confirmed(tmp_path: Path) -> None:
    """Padding keeps the map out of the convolution: one Scale stands for both."""
    random = RandomLayers()
    layers = [
        input_layer(1, 4, 8, 8),
        random.batch_norm("bn", "data", 4, top="n"),
        random.scale("scale", "n", 4, top="n"),
        random.conv("conv1", "n", 4, 4, params="pad: 1"),
    ]
    (fold,) = _converted(tmp_path, layers).folds
    assert (fold.way, fold.layers, fold.into) == ("scale", ("bn",), ("scale",))
    assert [c.verdict for c in fold.checks] == ["equal"]


def test_what_convert_folds_into_inputs_is_confirmed(tmp_path: Path) -> None:
    random = RandomLayers()
    layers = [
        input_layer(1, 4, 8, 8),
        random.batch_norm("bn", "data", 4, top="n"),
        random.conv("conv1", "n", 4, 4),
    ]
    (fold,) = _converted(tmp_path, layers).folds
    assert fold.way == "input"
    assert [c.verdict for c in fold.checks] == ["equal"]


def test_a_loss_without_its_labels_does_not_hide_the_fold(tmp_path: Path) -> None:
    """A training net in its TEST view: the labels belong to TRAIN."""
    layers = [
        *_train(RandomLayers()),
        LayerSpec("d", "DummyData", "", "label", "include { phase: TRAIN }"),
        LayerSpec("loss", "SoftmaxWithLoss", "fc label", "loss"),
    ]
    (fold,) = _converted(tmp_path, layers).folds
    assert [c.verdict for c in fold.checks] == ["equal"]


@pytest.mark.parametrize("eps", [1e-3, 1e-2])
def test_a_fold_with_a_wrong_eps_is_reported(compare: Compare, tmp_path: Path, eps: float) -> None:
    """The commonest mistake of merge scripts: eps 1e-5 although the net sets another."""
    layers = _train(RandomLayers(), eps)
    wrong = _train(RandomLayers(), 1e-5)  # the same numbers
    prototxt, caffemodel = write_pair(tmp_path, wrong)
    caffefold.convert(prototxt, caffemodel, tmp_path / "out")
    (tmp_path / "given").mkdir()
    given = write_pair(tmp_path / "given", layers)
    made = (tmp_path / "out.prototxt", tmp_path / "out.caffemodel")
    found = caffefold.diff(given[0], made[0], weights=(given[1], made[1]))
    (check,) = found.folds[0].checks
    assert check.verdict == "different"
    assert check.relative is not None
    assert 1e-5 < check.relative < 1
    assert check.message == USUAL_EPS


def test_one_wrong_weight_is_reported(tmp_path: Path) -> None:
    layers = _train(RandomLayers())
    given = write_pair(tmp_path, layers)
    caffefold.convert(*given, tmp_path / "out")
    with caffefold.load(tmp_path / "out.prototxt", tmp_path / "out.caffemodel") as net:
        blobs = [np.asarray(blob).copy() for blob in net.layers[1].blobs]
    blobs[0][2, 1, 0, 0] += 0.25
    folded = [
        layers[0],
        layers[1]._replace(params=layers[1].params.replace("bias_term: false", ""), blobs=blobs),
        *layers[4:],
    ]
    (tmp_path / "bad").mkdir()
    bad = write_pair(tmp_path / "bad", folded)
    (fold,) = caffefold.diff(given[0], bad[0], weights=(given[1], bad[1])).folds
    (check,) = fold.checks
    assert check.verdict == "different"
    assert check.message == ""
    assert check.max_abs == pytest.approx(0.25, rel=1e-3)


def test_batch_statistics_are_refused(compare: Compare) -> None:
    """`use_global_stats: false` in a deploy net uses each batch: no fold exists."""
    random = RandomLayers()
    plain = _train(random)
    plain[2] = plain[2]._replace(params="batch_norm_param { use_global_stats: false }")
    folded = [plain[0], random.conv("conv1", "data", 3, 4), *plain[4:]]
    (fold,) = compare(plain, folded).folds
    (check,) = fold.checks
    assert check.verdict == "refused"
    assert "use_global_stats" in check.message


def test_weights_of_another_net_are_refused_not_folded(compare: Compare) -> None:
    """The check says why; the comparison itself goes on."""
    random = RandomLayers()
    plain = _train(random)
    plain[3] = plain[3]._replace(blobs=[np.zeros(0), np.zeros(0)])
    folded = [plain[0], random.conv("conv1", "data", 3, 4), *plain[4:]]
    (fold,) = compare(plain, folded).folds
    (check,) = fold.checks
    assert check.verdict == "refused"
    assert "blob 0 holds no numbers" in check.message
    plain = _train(random)
    plain[1] = random.conv("conv1", "data", 3, 6, bias=False)  # its text is right, 4 are wanted
    plain[1] = plain[1]._replace(params=plain[1].params.replace("num_output: 6", "num_output: 4"))
    (check,) = compare(plain, folded).folds[0].checks
    assert "does not belong to" in check.message


def test_the_mean_of_the_data_layer_folded_in_is_recognised(tmp_path: Path) -> None:
    """Some merge scripts let the first convolution take raw pixels."""
    random = RandomLayers()
    plain = _train(random)
    transform = "transform_param { scale: 0.017 mean_value: 104 mean_value: 117 mean_value: 123 }"
    plain[0] = LayerSpec("data", "Data", "", "data label", transform)
    given = write_pair(tmp_path, plain)
    shape = {"data": (1, 3, 8, 8)}
    caffefold.convert(*given, tmp_path / "out", input_shapes=shape)
    with caffefold.load(tmp_path / "out.prototxt", tmp_path / "out.caffemodel") as net:
        weights, bias = (np.asarray(b, np.float64).copy() for b in net.layers[1].blobs)
    mean = np.array([104.0, 117.0, 123.0])
    bias -= (weights.sum(axis=(2, 3)) * mean * 0.017).sum(axis=1)
    conv1 = plain[1]._replace(params=plain[1].params.replace("bias_term: false", ""))
    merged = [input_layer(1, 3, 8, 8), conv1._replace(blobs=[weights * 0.017, bias]), *plain[4:]]
    (tmp_path / "merged").mkdir()
    made = write_pair(tmp_path / "merged", merged)
    (fold,) = caffefold.diff(given[0], made[0], weights=(given[1], made[1])).folds
    (check,) = fold.checks
    assert (check.verdict, check.message) == ("different", TRANSFORM)
