"""Weights that no caffemodel has because Caffe fills them: constants and bilinear kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.errors import ModelError, ProofError
from caffefold.ops.filler import FilledBlob, Filler
from caffefold.testing import RandomLayers, input_layer, net_weights, write_pair

N = RandomLayers(7)
UP = (
    'layer { name: "up" type: "Deconvolution" bottom: "f" top: "up" %s convolution_param '
    "{ num_output: 2 group: 2 kernel_size: %d stride: 2 bias_term: %s weight_filler { %s } } }\n"
)
FROZEN = "param { lr_mult: 0 }"


def pair(
    folder: Path, filler: str, *, kernel: int = 4, param: str = FROZEN, bias: str = "false"
) -> tuple[Path, Path]:
    """A convolution that the caffemodel has, and a Deconvolution that it does not."""
    found = write_pair(folder, [input_layer(1, 3, 5, 5), N.conv("f", "data", 3, 2, kernel=1)])
    with found[0].open("a", encoding="utf-8") as out:
        out.write(UP % (param, kernel, bias, filler))
    return found


def up(folder: Path) -> list[np.ndarray]:
    written = caffe_pb2.NetParameter.FromString((folder / "out.caffemodel").read_bytes())
    (layer,) = (layer for layer in written.layer if layer.name == "up")
    return [np.array(blob.data).reshape(tuple(blob.shape.dim)) for blob in layer.blobs]


def test_bilinear(tmp_path: Path) -> None:
    given = pair(tmp_path, 'type: "bilinear"')
    report = caffefold.convert(*given, tmp_path / "out")
    line = np.array([0.25, 0.75, 0.75, 0.25])
    (weights,) = up(tmp_path)
    assert weights.shape == (2, 1, 4, 4)
    assert (weights == np.outer(line, line)).all()
    said = "up: not in the caffemodel; filled as Caffe does (bilinear)"
    assert ("filled", said) in list(report.rows())
    assert report.warnings == ()
    assert "filler" not in (tmp_path / "out.prototxt").read_text()


def test_constants(tmp_path: Path) -> None:
    given = pair(tmp_path, "value: 0.1", bias="true")
    report = caffefold.convert(*given, tmp_path / "out")
    weights, bias = up(tmp_path)
    assert (weights == np.float32(0.1)).all()
    assert bias.tolist() == [0, 0], "the filler of a bias is constant 0 where none is written"
    said = "up: not in the caffemodel; filled as Caffe does (constant 0.1, constant 0)"
    assert ("filled", said) in list(report.rows())


def test_numbers_that_training_would_have_changed_are_warned_of(tmp_path: Path) -> None:
    report = caffefold.convert(*pair(tmp_path, 'type: "bilinear"', param=""), tmp_path / "out")
    (warning,) = report.warnings
    assert warning.startswith("layer 'up': not in the caffemodel; filled as Caffe does (bilinear)")
    assert "lr_mult is not 0" in warning


def test_kernels_that_caffes_fill_differently_are_warned_of(tmp_path: Path) -> None:
    report = caffefold.convert(*pair(tmp_path, 'type: "bilinear"', kernel=3), tmp_path / "out")
    assert up(tmp_path)[0][0, 0].tolist() == np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]).tolist()
    (warning,) = report.warnings
    assert "for a kernel of 3 the SSD branch has another" in warning


@pytest.mark.parametrize("kind", ["xavier", "msra", "gaussian", "uniform", "positive_unitball"])
def test_random_fillers_are_refused(tmp_path: Path, kind: str) -> None:
    given = pair(tmp_path, f'type: "{kind}"')
    with pytest.raises(ModelError, match=rf"no weights for 1 layers \('up' \({kind} filler\)\)"):
        caffefold.convert(*given, tmp_path / "out")


def test_without_a_filler_nothing_is_made_up(tmp_path: Path) -> None:
    """What a deploy net does not say was lost with the caffemodel, not filled."""
    text, weights = pair(tmp_path, 'type: "bilinear"')
    text.write_text(text.read_text().replace('weight_filler { type: "bilinear" }', ""))
    with pytest.raises(ModelError, match=r"no weights for 1 layers \('up'\)"):
        caffefold.convert(text, weights, tmp_path / "out")


def test_a_record_without_blobs_is_no_missing_one(tmp_path: Path) -> None:
    """Caffe stops there: the number of blobs differs (net.cpp, CopyTrainedLayersFrom)."""
    text, weights = pair(tmp_path, 'type: "bilinear"')
    net = caffe_pb2.NetParameter.FromString(weights.read_bytes())
    net.layer.add(name="up", type="Deconvolution")
    weights.write_bytes(net.SerializeToString())
    with pytest.raises(ModelError, match="no weights for 1 layers"):
        caffefold.convert(text, weights, tmp_path / "out")


def test_a_number_in_the_text_fills_no_memory(tmp_path: Path) -> None:
    text, weights = pair(tmp_path, "value: 1", bias="true")
    text.write_text(text.read_text().replace("kernel_size: 4", "kernel_size: 30000"))
    with pytest.raises(ModelError, match="no weights for 1 layers"):
        caffefold.convert(text, weights, tmp_path / "out")


def test_scales_are_filled_too(tmp_path: Path) -> None:
    layers = [input_layer(1, 3, 5, 5), N.conv("f", "data", 3, 2, kernel=1), N.scale("s", "f", 2)]
    text, weights = write_pair(tmp_path, layers)
    kept = {layer.name: layer.blobs for layer in layers if layer.name == "f"}
    weights.write_bytes(net_weights(kept))
    bias = "bias_term: true"
    assert bias in text.read_text()
    text.write_text(text.read_text().replace(bias, f"{bias} filler {{ value: 3 }}"))
    report = caffefold.convert(text, weights, tmp_path / "out")
    assert list(report.folded()) == [("f", ("s",))]
    written = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    with caffefold.load(text, weights) as before, caffefold.load(*written) as after:
        old, new = (np.asarray(net["f"].blobs[0]) for net in (before, after))
        assert np.array_equal(new, 3 * old)


def test_the_proof_knows_what_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = pair(tmp_path, 'type: "bilinear"')
    honest = FilledBlob.read
    monkeypatch.setattr(
        FilledBlob, "read", lambda self, start, stop: honest(self, start, stop) * np.float32(1.01)
    )
    with pytest.raises(ProofError, match="layer 'up'"):
        caffefold.convert(*given, tmp_path / "out")


def test_as_real_caffe(shared: Path) -> None:
    """The caffemodel of this net holds what real Caffe filled."""
    folder = shared / "layers/deconv_bilinear"
    with caffefold.load(folder / "net.prototxt", folder / "weights.caffemodel") as net:
        (stored,) = net["deconvolution"].blobs
        filled = FilledBlob(stored.shape, Filler("bilinear"))
        assert np.array_equal(np.asarray(stored), np.asarray(filled))
