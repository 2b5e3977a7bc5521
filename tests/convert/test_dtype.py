"""``dtype="fp16"``: NVCaffe's raw_data, one rounding after the fold, proven by half's own bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.errors import ModelError, ProofError, UsageError
from caffefold.formats.caffemodel import write as weights_writer
from caffefold.formats.caffemodel.blob import chunks
from caffefold.formats.caffemodel.precision import FLOAT16, FLOAT32, Precision
from caffefold.options import Directions
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

FLOAT16_TYPE = 2  # of NVCaffe's enum Type, in BlobProto.raw_data_type


def net(numbers: RandomLayers) -> list[LayerSpec]:
    """Folds at the output and at the input, a Scale made of two layers, a BatchNorm that stays."""
    return [
        input_layer(2, 3, 6, 6),
        numbers.conv("a", "data", 3, 4, bias=False),
        numbers.batch_norm("a/bn", "a", 4),
        numbers.scale("a/scale", "a/bn", 4),
        relu("a/relu", "a/scale"),
        numbers.batch_norm("mid/bn", "a/scale", 4, top="mid"),
        numbers.conv("b", "mid", 4, 4, group=2),
        relu("b/relu", "b"),
        numbers.batch_norm("c/bn", "b", 4, top="c"),
        numbers.scale("c/scale", "c", 4),
        relu("c/relu", "c/scale"),
        numbers.batch_norm("d/bn", "c/scale", 4, top="d"),
        numbers.conv("kept/conv", "d", 4, 2, params="pad: 1"),
    ]


def blobs(path: Path) -> dict[str, list[Any]]:
    found = caffe_pb2.NetParameter.FromString(path.read_bytes())
    return {layer.name: list(layer.blobs) for layer in found.layer if layer.blobs}


def halves(blob: Any) -> np.ndarray[Any, Any]:
    assert not blob.data
    assert blob.raw_data_type == FLOAT16_TYPE
    return np.frombuffer(blob.raw_data, "<f2").reshape(tuple(blob.shape.dim))


def test_every_number_is_the_nearest_half(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, net(RandomLayers(1)))
    report = caffefold.convert(*pair, tmp_path / "half", dtype="fp16")
    caffefold.convert(*pair, tmp_path / "single")
    assert report.dtype == "fp16"
    assert len(report.proof.folds) >= 2
    found, wanted = blobs(tmp_path / "half.caffemodel"), blobs(tmp_path / "single.caffemodel")
    assert found.keys() == wanted.keys()
    for name, records in found.items():
        for half, single in zip(records, wanted[name], strict=True):
            exact = np.array(single.data, np.float32).reshape(tuple(single.shape.dim))
            # The float32 is within 2^-24 of the exact number; halves lie 2^-11 apart.
            near = halves(half).astype(np.float64)
            assert (np.abs(near - exact) <= np.abs(exact) * 2.0**-11 * 1.001 + 2.0**-25).all()
    assert report.outputs[1].bytes < (tmp_path / "single.caffemodel").stat().st_size * 0.7


def test_the_fold_is_computed_before_rounding(tmp_path: Path) -> None:
    """Weight and factor are no halves; their product is rounded once."""
    weight, gamma = np.float32(1 / 3), np.float32(1.0009)
    layers = [
        input_layer(1, 1),
        LayerSpec("ip", "InnerProduct", "data", params="inner_product_param { num_output: 1 }",
          blobs=[[[weight]], [np.float32(0)]]),
        LayerSpec("sc", "Scale", "ip", "ip", blobs=[[gamma]]),
    ]  # fmt: skip
    caffefold.convert(*write_pair(tmp_path, layers), tmp_path / "out", dtype="fp16")
    found = halves(blobs(tmp_path / "out.caffemodel")["ip"][0])
    exact = Fraction(float(weight)) * Fraction(float(gamma))
    assert found.item() == np.float16(float(exact))
    twice = np.float16(np.float16(weight) * np.float16(gamma))
    assert found.item() != twice.item()  # so the test can tell


def test_statistics_stay_float32(tmp_path: Path) -> None:
    """Sums over a run lie beyond a half's range; NVCaffe keeps them as float32 too."""
    numbers = RandomLayers(2)
    norm = numbers.batch_norm("bn", "r", 4)
    norm.blobs[0][:] = 90_000.0  # type: ignore[index]
    layers = [input_layer(1, 4, 3, 3), relu("r", "data", "r"), norm, relu("end", "bn")]
    caffefold.convert(*write_pair(tmp_path, layers), tmp_path / "out", dtype="fp16", collapse=False)
    stored = blobs(tmp_path / "out.caffemodel")["bn"]
    assert list(stored[0].data) == [90_000.0] * 4
    assert not stored[0].raw_data


@pytest.mark.parametrize("value", [65_520.0, -1e6, 3e38])
def test_what_no_half_holds_is_refused_by_name(tmp_path: Path, value: float) -> None:
    layers = [input_layer(1, 4, 6, 6), RandomLayers(3).conv("conv", "data", 4, 4)]
    layers[1].blobs[1][2] = value  # type: ignore[index]
    pair = write_pair(tmp_path, layers)
    with pytest.raises(ModelError, match=r"layer 'conv': blob 1 would hold .*more than fp16 can"):
        caffefold.convert(*pair, tmp_path / "out", dtype="fp16")
    assert not list(tmp_path.glob("out*"))


def test_the_largest_half_is_written(tmp_path: Path) -> None:
    layers = [input_layer(1, 4, 6, 6), RandomLayers(3).conv("conv", "data", 4, 4)]
    layers[1].blobs[1][2] = 65_519.0  # type: ignore[index]
    caffefold.convert(*write_pair(tmp_path, layers), tmp_path / "out", dtype="fp16")
    assert halves(blobs(tmp_path / "out.caffemodel")["conv"][1])[2] == 65_504


def test_numbers_below_the_smallest_half(tmp_path: Path) -> None:
    """They become 0 or the smallest half; the proof counts that as rounding."""
    numbers = RandomLayers(4)
    conv, norm = numbers.conv("conv", "data", 4, 4, bias=False), numbers.batch_norm("bn", "conv", 4)
    conv.blobs[0][:] *= np.float32(3e-8)  # type: ignore[index]
    norm.blobs[0][:] = 0  # type: ignore[index]
    layers = [input_layer(1, 4, 6, 6), conv, norm]
    report = caffefold.convert(*write_pair(tmp_path, layers), tmp_path / "out", dtype="fp16")
    assert report.proof.folds[0].error > 2.0**-11


def test_converting_halves_again_changes_nothing(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, net(RandomLayers(5)))
    caffefold.convert(*pair, tmp_path / "one", dtype="fp16")
    first = tmp_path / "one.prototxt", tmp_path / "one.caffemodel"
    caffefold.convert(*first, tmp_path / "two", dtype="fp16")
    for suffix in (".prototxt", ".caffemodel"):
        assert (tmp_path / f"two{suffix}").read_bytes() == (tmp_path / f"one{suffix}").read_bytes()


def test_halves_become_floats_again(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, net(RandomLayers(5)))
    caffefold.convert(*pair, tmp_path / "one", dtype="fp16")
    caffefold.convert(tmp_path / "one.prototxt", tmp_path / "one.caffemodel", tmp_path / "two")
    half, single = blobs(tmp_path / "one.caffemodel"), blobs(tmp_path / "two.caffemodel")
    for name, records in single.items():
        for old, new in zip(half[name], records, strict=True):
            assert list(new.data) == halves(old).reshape(-1).tolist()


def test_opencv_reads_it(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pair = write_pair(tmp_path, net(RandomLayers(6)))
    caffefold.convert(*pair, tmp_path / "half", dtype="fp16")
    caffefold.convert(*pair, tmp_path / "single")
    given = RandomLayers(7).normal(2, 3, 6, 6)
    answers = []
    for stem in ("half", "single"):
        runner = cv2.dnn.readNetFromCaffe(
            str(tmp_path / f"{stem}.prototxt"), str(tmp_path / f"{stem}.caffemodel")
        )
        runner.setInput(given, "data")
        answers.append(runner.forward())
    difference = np.abs(answers[0] - answers[1]).max() / np.abs(answers[1]).max()
    assert 0 < difference < 5e-3


@given(st.integers(0, 2**32 - 1), st.sampled_from(["all", "output", "none"]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_numbers_are_proven(
    tmp_path_factory: pytest.TempPathFactory, seed: int, fold: Directions, collapse: bool
) -> None:
    folder = tmp_path_factory.mktemp("half")
    pair = write_pair(folder, net(RandomLayers(seed)))
    caffefold.convert(*pair, folder / "out", dtype="fp16", fold=fold, collapse=collapse)


def _cut_off(part: Any) -> Iterator[Any]:
    """Halves made by cutting digits off: off by up to a whole unit, and always towards zero."""
    for chunk in chunks(part.blob):
        exact = np.asarray(chunk, np.float64)
        mantissa, exponent = np.frexp(exact)
        yield np.ldexp(np.trunc(mantissa * 2.0**11) / 2.0**11, exponent).astype("<f2")


def _two_decimals(part: Any) -> Iterator[Any]:
    """Fewer digits than a half has."""
    for chunk in chunks(part.blob):
        yield np.round(np.asarray(chunk, np.float64), 2).astype("<f2")


@pytest.mark.parametrize("fault", [_cut_off, _two_decimals])
def test_the_proof_catches_bad_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Any], Iterator[Any]]
) -> None:
    pair = write_pair(tmp_path, net(RandomLayers(8)))
    monkeypatch.setattr(weights_writer, "rounded", fault)
    with pytest.raises(ProofError):
        caffefold.convert(*pair, tmp_path / "out", dtype="fp16")
    assert not list(tmp_path.glob("out*"))


def test_an_unknown_dtype(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dtype is 'int8', expected one of fp32, fp16"):
        caffefold.convert(
            *write_pair(tmp_path, net(RandomLayers(1))),
            tmp_path / "out",
            dtype="int8",  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("precision", [FLOAT32, FLOAT16])
@given(st.floats(-1, 1), st.integers(-160, 15))
def test_the_bound_of_a_precision(precision: Precision, fraction: float, exponent: int) -> None:
    """numpy's rounding lies within it, and a bound a quarter smaller would not hold."""
    exact = fraction * 2.0**exponent
    with np.errstate(under="ignore"):
        stored = float(np.float64(exact).astype(precision.dtype))
    assert abs(stored - exact) <= max(precision.unit * abs(exact), precision.tiny)
    worst = 1 + precision.unit  # halfway between two neighbours
    assert abs(float(np.float64(worst).astype(precision.dtype)) - worst) > precision.unit * 0.75
