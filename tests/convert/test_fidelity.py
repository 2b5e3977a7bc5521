"""What is not changed is not touched: text, weights, and everything caffefold does not know."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from google.protobuf import text_format

import caffefold
from caffefold._proto import caffe_pb2

if TYPE_CHECKING:
    from tests.convert.conftest import Workshop

SHAPES = Path(__file__).resolve().parents[2] / "sample_models/mobilenet_ssd_shapes"
RESULTS = ("out.prototxt", "out.caffemodel", "out.report.json")


# ------------------------------------------------------------------------------- determinism


def test_two_runs_give_the_same_bytes(workshop: Workshop) -> None:
    pair = workshop.make()
    found = []
    for _ in range(2):
        workshop.convert(pair, force=True)
        found.append([(workshop.folder / name).read_bytes() for name in RESULTS])
    assert found[0] == found[1]


def test_two_processes_give_the_same_bytes(tmp_path: Path) -> None:
    """The main job; hashes of strings differ from process to process."""
    found = []
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "caffefold", "convert", "-o", "out", "--force"]
        sources = [SHAPES / "train_template.prototxt", SHAPES / "shapes_iter_9000.caffemodel"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(
            [*command, *sources], cwd=tmp_path, env=environment, check=True, capture_output=True
        )
        found.append([(tmp_path / name).read_bytes() for name in RESULTS])
    assert found[0] == found[1]


def test_results_do_not_depend_on_the_place(workshop: Workshop) -> None:
    pair = workshop.make()
    elsewhere = replace(workshop, folder=workshop.folder / "sub")
    results = [workshop.convert(pair)[1], elsewhere.convert(pair, "other")[1]]
    assert results[0].contents() == results[1].contents()


def test_folding_again_changes_nothing(workshop: Workshop) -> None:
    _, once = workshop.convert(workshop.make(), "once")
    report, twice = workshop.convert(once, "twice")
    assert twice.contents() == once.contents()
    assert report.proof.folds == ()
    assert report.skips == ()
    assert report.layers_before == report.layers_after


def test_folding_the_main_job_again_changes_nothing(workshop: Workshop) -> None:
    once = workshop.folder / "once"
    caffefold.convert(
        SHAPES / "train_template.prototxt", SHAPES / "shapes_iter_9000.caffemodel", once
    )
    twice = workshop.folder / "twice"
    caffefold.convert(f"{once}.prototxt", f"{once}.caffemodel", twice)
    first, second = (Path(f"{p}.caffemodel").read_bytes() for p in (once, twice))
    assert first == second
    texts = [Path(f"{p}.prototxt").read_text(encoding="utf-8") for p in (once, twice)]
    lines = [[line for line in t.splitlines() if not line.startswith("#")] for t in texts]
    assert lines[0] == lines[1]


# -------------------------------------------------------------------------------------- text


def test_what_a_fold_leaves_is_left_as_it_was(workshop: Workshop) -> None:
    """The result is the given text without two layers and one line."""
    pair = workshop.make()
    _, result = workshop.convert(pair)
    given = pair.text()
    start, stop = given.index('layer {\n  name: "bn1"'), given.index('layer {\n  name: "relu1"')
    wanted = (given[:start] + given[stop:]).replace("    bias_term: false\n", "")
    assert result.text() == wanted


def test_comments_of_kept_layers_survive(workshop: Workshop) -> None:
    pair = workshop.make()
    pair.edit("  pad: 1", "  pad: 1  # keeps the size")
    pair.edit('layer {\n  name: "relu1"', '# the nonlinearity\nlayer { # open\n  name: "relu1"')
    pair.edit('name: "tiny"', '# licence\n\nname: "tiny" # the net')
    pair.edit('layer {\n  name: "bn1"', '# ---- a chapter ----\n\n# of bn1\nlayer {\n  name: "bn1"')
    pair.prototxt.write_text(pair.text() + "# the end\n", encoding="utf-8")
    _, result = workshop.convert(pair)
    for comment in (
        *("# keeps the size", "# the nonlinearity\nlayer { # open", "# licence\n\n"),
        *("# the net", "# ---- a chapter ----", "# the end\n"),
    ):
        assert comment in result.text()
    assert "# of bn1" not in result.text()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark(workshop: Workshop, ending: str, mark: str) -> None:
    pair = workshop.make()
    plain = workshop.convert(pair, "plain")[1].prototxt.read_bytes()
    given = (mark + pair.text()).replace("\n", ending)
    pair.prototxt.write_bytes(given.encode())
    result = workshop.convert(pair)[1].prototxt.read_bytes()
    assert result == mark.encode() + plain.replace(b"\n", ending.encode())


def test_bytes_that_are_not_utf8_stay_as_they_are(workshop: Workshop) -> None:
    pair = workshop.make()
    pair.prototxt.write_bytes(b"# \xd6\xd0\xce\xc4 (GBK)\n" + pair.prototxt.read_bytes())
    assert b"# \xd6\xd0\xce\xc4 (GBK)\n" in workshop.convert(pair)[1].prototxt.read_bytes()


def test_unknown_fields_and_layers_pass_through_the_text(workshop: Workshop) -> None:
    pair = workshop.make()
    pair.edit("    pad: 1\n", "    pad: 1\n    winograd: ALWAYS\n    tile { size: [4, 4] }\n")
    pair.edit('name: "tiny"', 'name: "tiny"\nfork_setting { depth: 3 }')
    odd = """layer {
  name: "odd"
  type: "FancyThing"   # from a fork
  bottom: "fc" top: "odd"
  fancy_param { mode: QUICK weights: [.5, 1e-3] inner < x: 'y' > }
}
"""
    pair.prototxt.write_text(pair.text() + odd, encoding="utf-8")
    report, result = workshop.convert(pair)
    for kept in ("    winograd: ALWAYS\n    tile { size: [4, 4] }\n", "fork_setting { depth: 3 }"):
        assert kept in result.text()
    assert odd in result.text()
    assert report.proof.outputs == ("odd",)


# ----------------------------------------------------------------------------------- weights


def test_weights_that_are_not_folded_are_the_same_numbers(workshop: Workshop) -> None:
    pair = workshop.make()
    _, result = workshop.convert(pair)
    for before, after in zip(pair.blobs("fc"), result.blobs("fc"), strict=True):
        np.testing.assert_array_equal(before, after)


def test_folded_weights_are_rounded_once(workshop: Workshop) -> None:
    """Every folded number is the correctly rounded value of the exact formula."""
    pair = workshop.make()
    _, result = workshop.convert(pair)
    (weights,), (mean, variance, (factor,)) = pair.blobs("conv1"), pair.blobs("bn1")
    gamma, beta = pair.blobs("scale1")
    scale = gamma / np.sqrt(variance / factor + float(np.float32(1e-5)))
    exact = (weights * scale.reshape(-1, 1, 1, 1), beta - mean / factor * scale)
    for wanted, found in zip(exact, result.blobs("conv1"), strict=True):
        spacing = np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64)
        assert (np.abs(found - wanted) <= spacing * (0.5 + 1e-6)).all()


def test_unknown_fields_pass_through_the_caffemodel(workshop: Workshop) -> None:
    """Field numbers of forks: in the net, in a folded layer, in a layer that is not changed."""
    pair = workshop.make()
    marks = [b"\xf2\x3f\x05net 1", b"\xf2\x3f\x05conv1", b"\xf2\x3f\x05relu1", b"\xf2\x3f\x05fc..."]
    net = pair.net()
    for layer in net.layer:
        for mark in marks[1:]:
            if mark[3:].startswith(layer.name.encode()):
                layer.MergeFromString(mark[:3] + mark[3:8])
    pair.caffemodel.write_bytes(net.SerializeToString() + marks[0])
    written = workshop.convert(pair)[1].caffemodel.read_bytes()
    for mark in marks:
        assert written.count(mark[:8]) == 1


def test_a_layer_of_an_unknown_type_keeps_its_blobs(workshop: Workshop) -> None:
    odd = 'layer { name: "odd" type: "Fancy" bottom: "fc" top: "odd" }\n'
    blobs = {**workshop.blobs(), "odd": [np.arange(6.0).reshape(2, 3)]}
    _, result = workshop.convert(workshop.make(workshop.text + odd, blobs))
    np.testing.assert_array_equal(result.blobs("odd")[0], blobs["odd"][0])


@pytest.mark.parametrize("kept", [False, True])
def test_strangers_are_dropped_or_carried_along_with_a_warning(
    workshop: Workshop, kept: bool
) -> None:
    pair = workshop.make()
    net = pair.net()
    stranger = net.layer.add(name="stranger", type="Convolution")
    stranger.convolution_param.num_output = 2
    stranger.blobs.add(data=[1.0, 2.0]).shape.dim.append(2)
    net.layer.add(name="weightless", type="ReLU")
    pair.caffemodel.write_bytes(net.SerializeToString())
    report, result = workshop.convert(pair, keep_records=kept)
    (warning,) = (text for text in report.warnings if "'stranger'" in text)
    assert ("kept unchanged" in warning) == kept
    assert "'weightless'" not in warning
    found = {layer.name: layer for layer in result.net().layer}
    assert found.get("stranger") == (stranger if kept else None)
    assert ("weightless" in found) == kept
    assert "stranger" not in result.text()


def test_the_two_files_agree(workshop: Workshop) -> None:
    """Caffe checks 1 + bias_term == blobs, and some tools read the parameters of the caffemodel."""
    _, result = workshop.convert(workshop.make())
    text = text_format.Parse(result.text(), caffe_pb2.NetParameter())
    written = {layer.name: layer for layer in result.net().layer}
    assert [layer.name for layer in text.layer] == list(written)
    for layer in text.layer:
        twin = written[layer.name]
        assert (layer.type, layer.bottom, layer.top) == (twin.type, twin.bottom, twin.top)
        assert layer.convolution_param == twin.convolution_param
        assert layer.inner_product_param == twin.inner_product_param
    assert written["conv1"].convolution_param.bias_term
    assert len(written["conv1"].blobs) == 2
