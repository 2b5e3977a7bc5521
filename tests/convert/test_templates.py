"""Placeholders get their numbers from the weights; however they are written, the result is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import caffefold

if TYPE_CHECKING:
    from tests.convert.conftest import Workshop

SHAPES = Path(__file__).resolve().parents[2] / "sample_models/mobilenet_ssd_shapes"
SNAPSHOT = SHAPES / "shapes_iter_9000.caffemodel"

# How "24 outputs", "12 outputs" and "4 classes" may stand in a template
STYLES = {
    "cls6x": "cls{n}x",
    "${name}": "${{n{n}}}",
    "${ name }": "${{ n{n} }}",
    "$name": "$n{n}",
    "@NAME@": "@N{n}@",
    "{{name}}": "{{{{n{n}}}}}",
    "{{ name }}": "{{{{ n{n} }}}}",
    "bare word": "N{n}",
}


def _template(style: str) -> str:
    text = (SHAPES / "train_template.prototxt").read_text(encoding="utf-8")
    return re.sub(r"\bcls(\d)x\b", lambda match: STYLES[style].format(n=match[1]), text)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The result for the template with numbers instead of placeholders."""
    folder = tmp_path_factory.mktemp("plain")
    text = (SHAPES / "train_template.prototxt").read_text(encoding="utf-8")
    filled = re.sub(r"\bcls(\d)x\b", lambda match: str(4 * int(match[1])), text)
    (folder / "net.prototxt").write_text(filled, encoding="utf-8")
    caffefold.convert(folder / "net.prototxt", SNAPSHOT, folder / "out")
    return (folder / "out.prototxt").read_bytes(), (folder / "out.caffemodel").read_bytes()


@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_the_same_result(
    tmp_path: Path, plain: tuple[bytes, bytes], style: str
) -> None:
    (tmp_path / "net.prototxt").write_text(_template(style), encoding="utf-8")
    caffefold.convert(tmp_path / "net.prototxt", SNAPSHOT, tmp_path / "out")
    assert (tmp_path / "out.prototxt").read_bytes() == plain[0]
    assert (tmp_path / "out.caffemodel").read_bytes() == plain[1]


@pytest.mark.parametrize(
    ("style", "options"),
    [
        ("cls6x", {"classes": 4}),
        ("${name}", {"values": {"n6": "24", "n3": "12", "n1": "4"}}),
        ("@NAME@", {"values": {"N6": "24", "N1": "4"}}),
        ("{{name}}", {"values": {"n1": "4"}, "classes": 4}),
    ],
)
def test_options_that_agree_change_nothing(
    tmp_path: Path, plain: tuple[bytes, bytes], style: str, options: dict[str, Any]
) -> None:
    (tmp_path / "net.prototxt").write_text(_template(style), encoding="utf-8")
    arguments = (tmp_path / "net.prototxt", SNAPSHOT, tmp_path / "out")
    caffefold.convert(*arguments, **options)
    assert (tmp_path / "out.prototxt").read_bytes() == plain[0]


@pytest.mark.parametrize("style", ["cls6x", "${name}"])
def test_options_that_contradict_are_refused(tmp_path: Path, style: str) -> None:
    (tmp_path / "net.prototxt").write_text(_template(style), encoding="utf-8")
    classes, values = (21, {}) if style == "cls6x" else (None, {"n6": "126"})
    arguments = (tmp_path / "net.prototxt", SNAPSHOT, tmp_path / "out")
    with pytest.raises(caffefold.UsageError, match=r"the weights of layer '.*_mbox_conf_new' give"):
        caffefold.convert(*arguments, classes=classes, values=values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.prototxt"]


# (type, parameters, shape of its weights)
KINDS = [
    pytest.param("Convolution", "kernel_size: 6", (6, 4, 6, 6), id="convolution"),
    pytest.param("Deconvolution", "kernel_size: 2", (4, 6, 2, 2), id="deconvolution"),
    pytest.param("Deconvolution", "kernel_size: 2 group: 2", (4, 3, 2, 2), id="its groups"),
    pytest.param("InnerProduct", "", (6, 144), id="inner product"),
    pytest.param("InnerProduct", "transpose: true", (144, 6), id="transposed"),
]


@pytest.mark.parametrize("token", ["${n}", "@n@", "{{n}}", "n", "cls2x", "cls6x"])
@pytest.mark.parametrize(("kind", "more", "shape"), KINDS)
def test_outputs_of_every_linear_layer_are_known(
    workshop: Workshop, kind: str, more: str, shape: tuple[int, ...], token: str
) -> None:
    """Six outputs, wherever the layer's weights keep them."""
    field = "inner_product_param" if kind == "InnerProduct" else "convolution_param"
    tail = (
        f'layer {{ name: "last" type: "{kind}" bottom: "conv1" top: "last"\n'
        f"  {field} {{ num_output: TOKEN bias_term: false {more} }} }}\n"
    )
    text = workshop.head + workshop.chain + tail
    blobs = {**workshop.blobs(), "last": [np.ones(shape)]}
    filled = text.replace("TOKEN", "6")
    first = workshop.make(filled, blobs, name="filled")
    second = workshop.make(text.replace("TOKEN", token), blobs, parsable=filled, name="template")
    results = [workshop.convert(pair, f"out{i}")[1] for i, pair in enumerate((first, second))]
    assert results[0].contents() == results[1].contents()
