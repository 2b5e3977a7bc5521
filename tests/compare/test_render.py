"""How the answer looks: the overview of a real conversion, the other forms, hostile names."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import caffefold
from caffefold.compare.diff import NetDiff
from caffefold.compare.render import markup, text
from caffefold.testing import LayerSpec, input_layer
from tests.compare.conftest import DATA, conv, layer

if TYPE_CHECKING:
    from tests.compare.conftest import Compare


@pytest.fixture(scope="module")
def converted(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The MobileNet-SSD train template with its snapshot, and the deploy pair made of them."""
    folder = samples / "mobilenet_ssd_shapes"
    given = (folder / "train_template.prototxt", folder / "shapes_iter_9000.caffemodel")
    out = tmp_path_factory.mktemp("out") / "deploy"
    caffefold.convert(*given, out)
    return (*given, out.with_suffix(".prototxt"), out.with_suffix(".caffemodel"))


STORY = """\
A         train_template.prototxt: MobileNet-SSD, 187 layers
B         deploy.prototxt: MobileNet-SSD, 120 layers
replaced  ~ data       AnnotatedData -> Input 1x3x160x160; 'label' dropped
          ~ mbox_loss  MultiBoxLoss -> Reshape, Softmax, Flatten, DetectionOutput
                       mbox_conf_reshape, mbox_conf_softmax, mbox_conf_flatten, detection_out
folded    - 70 layers into 35
          - X/bn, X/scale folded into X (bias added), 35 times
              X = conv0, conv1/dw, conv1, conv2/dw, conv2, conv3/dw, conv3, conv4/dw, conv4,
                  conv5/dw, conv5, conv6/dw, conv6, conv7/dw, conv7, conv8/dw, conv8, conv9/dw,
                  conv9, conv10/dw, conv10, conv11/dw, conv11, conv12/dw, conv12, conv13/dw, conv13,
                  conv14_1, conv14_2, conv15_1, conv15_2, conv16_1, conv16_2, conv17_1, conv17_2
template  ~ cls3x -> 12  in 1 layer
          ~ cls6x -> 24  in 5 layers
training  ~ weight_filler     dropped in 47 layers
          ~ param decay_mult  dropped in 12 layers
          ~ param lr_mult     dropped in 12 layers
same      = 68 layers: 35 ReLU, 12 Flatten, 12 Permute, 6 PriorBox, 3 Concat
total     - 71 removed   + 4 added   ~ 48 changed   = 68 same"""


def _named(found: NetDiff, width: int = 100) -> str:
    shown = "\n".join(text.overview(found.summary, width))
    return re.sub(r"\S*/(?=train_template|deploy|shapes_iter)", "", shown)


def test_the_overview_of_a_conversion(converted: tuple[Path, ...]) -> None:
    assert _named(caffefold.diff(converted[0], converted[2])) == STORY


def test_the_overview_with_weights(converted: tuple[Path, ...]) -> None:
    train, snapshot, deploy, merged = converted
    shown = _named(caffefold.diff(train, deploy, weights=(snapshot, merged)))
    assert "weights match the fold of A, exactly" in shown
    assert "weights   = 24 other blobs: 24 identical" in shown
    filled = "a template, filled in from the weights: cls3x = 12, cls6x = 24, cls1x = 4"
    assert filled in " ".join(shown.split())


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_overview_fits_one_screen(
    converted: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    train, snapshot, deploy, merged = converted
    monkeypatch.chdir(train.parent)  # a note names the file, and a path is never broken
    found = caffefold.diff(train.name, deploy, weights=(snapshot, merged))
    lines = list(text.overview(found.summary, width))
    assert len(lines) <= 45
    assert all(len(line) <= width for line in lines[2:])


def test_the_overview_backwards(converted: tuple[Path, ...]) -> None:
    shown = _named(caffefold.diff(converted[2], converted[0]))
    assert "unfolded  + 70 layers out of 35" in shown
    assert "+ X/bn, X/scale split out of X (bias removed), 35 times" in shown
    assert "total     - 4 removed   + 71 added   ~ 48 changed   = 68 same" in shown


def test_a_settings_change_in_many_layers_is_one_item(compare: Compare) -> None:
    def net(body: str) -> str:
        return DATA + "".join(conv(f"c{i}", "data", 8, body) for i in range(9))

    shown = list(text.overview(compare(net(""), net("pad: 1")).summary))
    assert shown[2:4] == [
        "changed   ~ 9 layers  pad: 0 -> 1",
        "              c0, c1, c2, c3, c4, c5, c6, c7, c8",
    ]


def test_many_like_layers_are_one_item(compare: Compare) -> None:
    """27 single layers that went, came or have another type, each with its name below."""
    numbers = range(27)
    bodies = [conv(f"c{n}", "data") for n in numbers]
    acts = [layer(f"a{n}", "ReLU", f"c{n}", f"c{n}") for n in numbers]
    others = [layer(f"a{n}", "PReLU", f"c{n}", f"c{n}") for n in numbers]
    ends = [layer(f"e{n}", "Softmax", f"c{n}", f"e{n}") for n in numbers]
    found = compare(DATA + "".join(bodies + acts + ends), DATA + "".join(bodies + others))
    sections = {section.title: section.items for section in found.summary.sections}
    assert [(i.subject, i.text, len(i.names)) for i in sections["removed"]] == [
        ("27 layers", "Softmax", 27)
    ]
    assert [(i.subject, i.text, len(i.names)) for i in sections["changed"]] == [
        ("27 layers", "type: ReLU -> PReLU", 27)
    ]


def test_twins_that_got_names_of_their_own_are_one_item(compare: Compare) -> None:
    names = [f"cut{n}" for n in range(5)]
    one = "".join(layer("cut", "ReLU", "data", name) for name in names)
    two = "".join(layer(name, "ReLU", "data", name) for name in names)
    for a, b, said in ((one, two, "cut -> 5 layers"), (two, one, "5 layers -> cut")):
        found = compare(DATA + a, DATA + b)
        (section,) = found.summary.sections
        assert [(i.subject, i.names) for i in section.items] == [(said, tuple(names))]


def test_what_is_not_set_is_said_so(compare: Compare) -> None:
    one = DATA + layer("l", "Odd", "data", "l", "odd_param { size: 1 }")
    two = DATA + layer("l", "Odd", "data", "l", "odd_param { size: 1 times: 2 }")
    assert "times: unset -> 2" in str(compare(one, two))
    assert "times: 2 -> unset" in str(compare(two, one))


def test_a_prefix_on_every_name_is_one_item(compare: Compare) -> None:
    one = DATA + conv("a", "data") + conv("b", "a")
    two = DATA + conv("net/a", "data") + conv("net/b", "net/a")
    shown = list(text.overview(compare(one, two).summary))
    assert shown[2:4] == ["renamed   ~ X -> net/X  2 layers", "              a, b"]


def test_weights_that_differ_are_a_table(compare: Compare) -> None:
    def net(value: float) -> list[LayerSpec]:
        return [
            input_layer(1, 3, 8, 8),
            LayerSpec("fc", "InnerProduct", "data", "fc", blobs=[[[1.0, value]]]),
        ]

    shown = list(text.overview(compare(net(2.0), net(2.5)).summary))
    assert shown[2:5] == [
        "weights   ~ 1 blob: 1 different",
        "            layer  blob  shape  max abs  max rel    cosine",
        "            fc        0    1x2      0.5      0.2  0.996546",
    ]


def test_the_list_with_context(compare: Compare) -> None:
    layers = [conv(f"c{i}", f"c{i - 1}" if i else "data") for i in range(7)]
    changed = [*layers[:3], conv("c3", "c2", 9), *layers[4:]]
    found = compare(DATA + "".join(layers), DATA + "".join(changed))
    assert list(text.listing(found.summary, 1))[2:] == [
        "= 3 layers",
        "= c2  Convolution",
        "~ c3  Convolution  num_output: 8 -> 9",
        "= c4  Convolution",
        "= 2 layers",
        "total     ~ 1 changed   = 7 same",
    ]


def test_side_by_side(compare: Compare) -> None:
    one = DATA + conv("c1", "data") + layer("r", "ReLU", "c1", "c1") + conv("c2", "c1")
    two = DATA + conv("c1", "data", 9) + conv("c2", "c1")
    lines = list(text.side_by_side(compare(one, two).summary, 61))
    assert [(line[:2], line[-8:]) for line in lines[:2]] == [("A ", "4 layers"), ("B ", "3 layers")]
    assert max(map(len, lines)) <= 61
    assert lines[2:] == [
        "data  Input                   = data  Input",
        "c1  Convolution               ~ c1  Convolution",
        "  num_output: 8                   num_output: 9",
        "r  ReLU                       -",
        "c2  Convolution               = c2  Convolution",
        "total     - 1 removed   ~ 1 changed   = 2 same",
    ]


def test_side_by_side_breaks_no_value(compare: Compare) -> None:
    one = DATA + layer("s", "Slice", "data", "s", "slice_param { slice_point: [1, 2] }")
    two = one.replace("[1, 2]", "[1, 20, 300, 4000, 50000]")
    lines = list(text.side_by_side(compare(one, two).summary, 61))
    start = next(n for n, line in enumerate(lines) if "slice_point" in line)
    assert lines[start : start + 2] == [
        "  slice_point: [1, 2]             slice_point: [1, 20, 300,",
        "                                    4000, 50000]",
    ]


def test_the_list_hangs_on_its_columns(compare: Compare) -> None:
    two = DATA + conv("c1", "data", 9, "pad: 1")
    lines = list(text.listing(compare(DATA + conv("c1", "data"), two).summary, 0, 32))
    assert [line for line in lines if "num_output" in line or line.startswith("   ")] == [
        "~ c1  Convolution  num_output: 8 ->",
        "                   9",
        "                   pad: 0 -> 1",
    ]


def test_counts_by_type(compare: Compare) -> None:
    one = DATA + conv("c1", "data") + layer("r", "ReLU", "c1", "c1")
    two = DATA + conv("c1", "data", 9) + conv("c2", "c1")
    assert list(text.counts(compare(one, two).summary)) == [
        "Convolution         +1     ~1",
        "ReLU         -1",
        "total     - 1 removed   + 1 added   ~ 1 changed   = 1 same",
    ]


def test_json_has_its_keys(converted: tuple[Path, ...]) -> None:
    train, snapshot, deploy, merged = converted
    found = caffefold.diff(train, deploy, weights=(snapshot, merged))
    document = json.loads(found.to_json())
    assert document["schema"] == 1
    assert list(document) == [
        "schema", "caffefold", "different", "level", "phase", "ignore_training", "a", "b",
        "totals", "net", "entries", "folds", "replacements", "weights", "notes",
    ]  # fmt: skip
    assert document["totals"] == {"removed": 71, "added": 4, "changed": 48, "moved": 0, "same": 68}
    assert document["weights"] == {
        "compared": True, "blobs": 24, "identical": 24, "close": 0, "different": 0,
    }  # fmt: skip
    keys = {
        "kind", "before", "after", "reason", "fields", "wiring", "moved", "blobs",
    }  # fmt: skip
    assert all(set(entry) == keys for entry in document["entries"])
    fold = document["folds"][0]
    assert fold["layers"] == ["conv0/bn", "conv0/scale"]
    assert fold["checks"][0] == {
        "layer": "conv0", "verdict": "equal", "max_abs": 0.0, "relative": 0.0, "message": "",
    }  # fmt: skip
    assert found.to_json() == caffefold.diff(train, deploy, weights=(snapshot, merged)).to_json()


def test_json_holds_no_nan(compare: Compare) -> None:
    def net(value: float) -> list[LayerSpec]:
        return [
            input_layer(1, 3, 8, 8),
            LayerSpec("fc", "InnerProduct", "data", "fc", blobs=[[[1.0, value]]]),
        ]

    def refuse(name: str) -> None:
        raise AssertionError(name)

    document = compare(net(2.0), net(float("nan"))).to_json()
    (entry,) = json.loads(document, parse_constant=refuse)["entries"]
    assert entry["blobs"][0]["max_abs"] is None


HOSTILE = "<script>alert(1)</script>&amp;`x`|*a*_b_"


def _hostile(compare: Compare) -> NetDiff:
    one = DATA + layer(HOSTILE, "T<b>", "data", "x", f'odd_param {{ text: "{HOSTILE}" }}')
    two = DATA + layer("plain", "T</b>", "data", "x") + conv(f"{HOSTILE}2", "data")
    return compare(f'name: "{HOSTILE}"' + one, two)


class _Tags(HTMLParser):
    """All tags of a page; every one that opens must close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("src", "href"), value
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_escapes_everything_and_loads_nothing(compare: Compare) -> None:
    page = _Tags()
    source = markup.page(_hostile(compare).summary)
    page.feed(source)
    page.close()
    assert page.open == []
    assert "script" not in page.seen
    assert HOSTILE in page.text
    assert "url(" not in source
    assert "http" not in source.replace("http-equiv", "")


def test_html_of_a_real_pair_is_well_formed(converted: tuple[Path, ...]) -> None:
    page = _Tags()
    page.feed(markup.page(caffefold.diff(converted[0], converted[2]).summary))
    page.close()
    assert page.open == []
    assert "folded into conv13/dw" in page.text


def test_markdown_escapes(compare: Compare) -> None:
    shown = markup.markdown(_hostile(compare).summary)
    outside = re.sub(r"(`+).*?\1", "", shown.split("<details><summary>All", maxsplit=1)[0])
    assert "<script>" not in outside.replace("\\<", "")
    assert "*a*" not in outside


def test_markdown_is_a_table_and_bullets(converted: tuple[Path, ...]) -> None:
    shown = markup.markdown(caffefold.diff(converted[0], converted[2]).summary)
    assert "**71** removed, **4** added, **48** changed, **68** same" in shown
    assert "| A | MobileNet-SSD | 187 |  | `mbox_loss` |" in shown
    assert "- `-` 70 layers into 35" in shown
    assert "- `~` `data`: AnnotatedData -> Input 1x3x160x160; 'label' dropped" in shown
    assert shown.count("<details>") == shown.count("</details>")
    assert shown.count("```") == 2


def test_a_diff_shows_itself(compare: Compare) -> None:
    found = compare(DATA + conv("c1", "data"), DATA + conv("c1", "data", 9) + conv("c2", "c1"))
    assert repr(found) == f"<NetDiff {found.a.path} -> {found.b.path}: 1 added, 1 changed>"
    assert str(found) == "\n".join(text.overview(found.summary, 100))
    assert isinstance(found.entries, tuple)
    same = compare(DATA, DATA)
    assert repr(same).endswith(": no difference>")


def test_a_notebook_shows_the_page_in_a_box_of_its_own(compare: Compare) -> None:
    box = _Tags()
    source = _hostile(compare)._repr_html_()
    box.feed(source)
    assert box.open == []
    assert not {"script", "html", "head", "body"} & box.seen
    style = source.partition("<style>")[2].partition("</style>")[0]
    rules = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    selectors = re.findall(r"([^{}]+)\{", re.sub(r"@media[^{]*\{", "", rules))
    assert all(".caffefold" in selector for selector in selectors)


def test_a_reason_is_that_of_the_layer_itself(compare: Compare) -> None:
    """Two layers of one name, of which only one is in the compared phase."""
    twins = [
        layer("d", "Data", "", "d", "include { phase: TEST }"),
        layer("d", "Data", "", "d", "include { phase: TRAIN }"),
    ]
    rest = layer("x", "Input", "", "x") + conv("c", "x")
    lines = list(text.listing(compare("".join(twins) + rest, rest).summary))
    assert [line.split()[3:] for line in lines if line.startswith("- d")] == [
        ["data", "layer"],
        ["TRAIN", "only"],
    ]


def test_no_difference_is_said(compare: Compare) -> None:
    found = compare(DATA, DATA)
    assert list(text.overview(found.summary))[-1] == "same      = 1 layer: no difference"
    assert "**no difference**" in markup.markdown(found.summary)
    assert "no difference" in markup.page(found.summary)
