"""zoo.toml: what it may say, what is wrong with it, and that a printed plan is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffefold import DetectionOptions, zoo
from caffefold.errors import CaffefoldError, InputError, UsageError
from caffefold.options import ConvertOptions, plain, read
from caffefold.testing import net_weights
from caffefold.zoo import Model, Plan
from caffefold.zoo.planning import manifest
from tests.support.zoo import body, deploy, model, put


def parsed(text: str) -> manifest.Manifest:
    return manifest.parse(text.encode(), "zoo.toml")


@pytest.mark.parametrize(("text", "said"), [
    ("discover = !", r"at line 1, column 12"),
    ("discover = 1", "expected true or false"),
    ("modell = 1", "unknown key 'modell'; choose from discover, model, onnx, options"),
    ("onnx = 1", "onnx is 1, expected true or false"),
    ("[[model]]\ncaffemodel = 'a'\nonnx = 'no'", "onnx is 'no', expected true or false"),
    ("[model]\ncaffemodel = 'a'", r"write one \[\[model\]\]"),
    ("[[model]]\nprototxt = 'a'", "model 1: caffemodel is missing"),
    ("[[model]]\ncaffemodel = 7", "expected a string"),
    ("[[model]]\ncaffemodel = 'a'\nprototxt = 1", "expected a path or a list of paths"),
    ("[[model]]\ncaffemodel = 'a'\nproto = 'b'", "unknown key 'proto'"),
    ("[[model]]\ncaffemodel = 'a'\nname = '../b'", "expected a path below the target"),
    ("[[model]]\ncaffemodel = 'a'\nname = '/b'", "expected a path below the target"),
    ("[[model]]\ncaffemodel = 'a'\n[[model]]\ncaffemodel = 'A'", "two models"),
    ("[options]\nfoldd = 'all'", "no option 'foldd'; choose from classes, "),
    ("[options]\nforce = true", "no option 'force'"),
    ("[options]\nclasses = 'many'", "classes is 'many', expected an integer"),
    ("[options]\nkeep = 3", "keep is 3, expected a list, each item a string"),
    ("[options]\ncollapse = 0", "expected true or false"),
    ("[options]\ndetection = { top = 1 }", "expected a table of nms_threshold, "),
    ("[[model]]\ncaffemodel = 'a'\n[model.options]\ninput_shapes = { data = 3 }",
     "model 1 .a.: options: input_shapes is"),
])  # fmt: skip
def test_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(CaffefoldError, match=said) as caught:
        parsed(text)
    assert str(caught.value).startswith("zoo.toml: ")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, (InputError, UsageError))


def test_options_become_those_of_convert() -> None:
    found = plain(
        {
            "classes": None,
            "keep": ("a*",),
            "input_shapes": {"data": (1, 3, 8, 8)},
            "detection": DetectionOptions(top_k=7),
        }
    )
    assert found["keep"] == ["a*"]
    assert "classes" not in found
    restored = read(ConvertOptions, found, "options")
    assert restored == ConvertOptions(
        keep=("a*",), input_shapes={"data": (1, 3, 8, 8)}, detection=DetectionOptions(top_k=7)
    )
    partial = read(ConvertOptions, {"detection": {"nms_threshold": 1}}, "options")
    assert partial.detection == DetectionOptions(nms_threshold=1.0)


def test_pairs_options_and_what_is_left_out(source: Path, target: Path) -> None:
    layers = body()
    put(source / "net.caffemodel", net_weights(layers))
    put(source / "net.prototxt", deploy(layers))
    put(source / "other.prototxt", deploy(layers))
    model(source / "b", prefix="b_")
    model(source / "c", prefix="c_")
    put(
        source / "zoo.toml",
        "[options]\nfold = 'none'\ncollapse = false\n"
        "[[model]]\ncaffemodel = 'net.caffemodel'\nprototxt = 'other.prototxt'\nname = 'x/y'\n"
        "options = { fold = 'output' }\n"
        "[[model]]\ncaffemodel = 'c/net.caffemodel'\nskip = true\n",
    )
    plan = zoo.plan(source, target, options={"collapse": True}, jobs=1)
    assert [(m.name, m.prototxts, m.options) for m in plan.models] == [
        ("b/net", ("b/net.prototxt",), {"fold": "none", "collapse": True}),
        ("x/y", ("other.prototxt",), {"fold": "output", "collapse": True}),
    ]
    reasons = {orphan.path: orphan.kind for orphan in plan.orphans}
    assert reasons["c/net.caffemodel"] == "skipped"
    assert zoo.run(plan, engine="threads").ok
    assert (target / "x/y.caffemodel").exists()


def test_the_prototxt_may_be_left_to_discovery(source: Path) -> None:
    model(source)
    put(source / "zoo.toml", "[[model]]\ncaffemodel = 'net.caffemodel'\nname = 'mine'\n")
    (found,) = zoo.plan(source, jobs=1).models
    assert (found.name, found.prototxts) == ("mine", ("net.prototxt",))


@pytest.mark.parametrize(
    ("text", "asked", "wanted"),
    [
        ("onnx = true\n", False, (True, False)),
        ("", False, (False, False)),
        ("", True, (True, True)),
    ],
)
def test_onnx_of_all_or_of_one(
    text: str, asked: bool, wanted: tuple[bool, bool], source: Path, tmp_path: Path
) -> None:
    model(source / "a", prefix="a_")
    model(source / "b", prefix="b_")
    put(source / "zoo.toml", text + "[[model]]\ncaffemodel = 'b/net.caffemodel'\nonnx = false\n")
    plan = zoo.plan(source, onnx=asked, jobs=1)
    assert tuple(m.onnx for m in plan.models) == wanted
    printed = put(tmp_path / "plan.toml", manifest.to_toml(plan))
    assert zoo.plan(source, manifest=printed, jobs=1).models == plan.models


def test_a_file_that_is_not_there(source: Path) -> None:
    model(source)
    put(
        source / "zoo.toml",
        "discover = false\n[[model]]\ncaffemodel = 'net.caffemodel'\nprototxt = 'gone.prototxt'\n",
    )
    (found,) = zoo.plan(source, jobs=1).models
    assert found.problem == "gone.prototxt: named in the manifest, but not in the zoo"


def test_a_printed_plan_makes_the_same_plan(source: Path, tmp_path: Path) -> None:
    for number, odd in enumerate(
        ("plain", 'quo"te', "back\\slash", "ümlaut", "# no comment", "a\nb")
    ):
        model(source / odd, seed=number, prefix=f"n{number}_")
    put(source / "broken.caffemodel", b"PK\x03\x04")
    plan = zoo.plan(source, jobs=1, options={"keep": ["x"], "input_shapes": {'da"ta': [1, 3]}})
    printed = put(tmp_path / "plan.toml", manifest.to_toml(plan))
    again = zoo.plan(source, manifest=printed, jobs=1)
    good = [m for m in plan.models if not m.problem]
    assert [m for m in again.models if not m.problem] == good
    assert len(good) == 6


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.integers(min_value=1), max_size=2
    ),
)
def test_any_text_survives_the_printing(text: str, table: dict[str, Any]) -> None:
    shapes = {name: [value] for name, value in table.items()}
    model = Model("n", text or "x", (text, "b"), {"input_shapes": shapes}, title=text, problem=text)
    found = manifest.parse(manifest.to_toml(Plan(text, "", (model,))).encode(), "p").models[0]
    assert (found.caffemodel, found.prototxts) == (model.caffemodel, model.prototxts)
    assert (found.options, found.title) == (model.options, model.title)


def test_a_manifest_that_is_not_there(source: Path) -> None:
    with pytest.raises(InputError, match="cannot read this manifest"):
        zoo.plan(source, manifest=source / "gone.toml")
