"""The options of a conversion: what is accepted, what is refused and in which words."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.errors import UsageError
from caffefold.options import ConvertOptions, DetectionOptions, plain, read

THRESHOLDS = ("nms_threshold", "top_k", "keep_top_k", "confidence_threshold")
SIZES = "each with a list, each item an integer of at least 1"


@pytest.mark.parametrize(
    ("given", "name", "wanted"),
    [
        ({"keep": "conv1"}, "keep", ("conv1",)),
        ({"keep": ["a", "b"]}, "keep", ("a", "b")),
        ({"stages": {"b", "a"}}, "stages", ("a", "b")),
        ({"outputs": "fc"}, "outputs", ("fc",)),
        ({"heads": "ArgMax"}, "heads", {"*": "ArgMax"}),
        ({"values": None}, "values", {}),
        ({"classes": np.int64(3)}, "classes", 3),
        ({"input_shapes": {"data": [1, np.int64(3)]}}, "input_shapes", {"data": (1, 3)}),
        ({"detection": {"top_k": 7}}, "detection", DetectionOptions(top_k=7)),
        ({"detection": {"nms_threshold": 1}}, "detection", DetectionOptions(1.0)),
        ({"proto": Path("a/b.proto")}, "proto", "a/b.proto"),
    ],
)
def test_what_values_become(given: dict[str, Any], name: str, wanted: object) -> None:
    found = getattr(ConvertOptions(**given), name)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"fold": "outputs"}, "fold is 'outputs', expected one of all, output, none"),
        ({"dtype": "fp64"}, "dtype is 'fp64', expected one of fp32, fp16"),
        ({"input_style": "new"}, "input_style is 'new', expected one of '', layer, legacy"),
        ({"phase": "test"}, "phase is 'test', expected one of TEST, TRAIN"),
        ({"classes": 0}, "classes is 0, expected an integer of at least 1"),
        ({"classes": True}, "classes is True, expected an integer of at least 1"),
        ({"batch": -1}, "batch is -1, expected an integer of at least 1"),
        ({"level": 0.5}, "level is 0.5, expected an integer"),
        ({"keep": 3}, "keep is 3, expected a list, each item a string"),
        ({"keep": {"a": "b"}}, "keep is {'a': 'b'}, expected a list, each item a string"),
        ({"keep": ["a", 3]}, "keep is ['a', 3], expected a list, each item a string"),
        ({"values": {"n": 3}}, "values is {'n': 3}, expected a table of names, each with a string"),
        ({"collapse": 0}, "collapse is 0, expected true or false"),
        (
            {"input_shapes": {"data": (1, 0)}},
            f"input_shapes is {{'data': (1, 0)}}, expected a table of names, {SIZES}",
        ),
        (
            {"detection": {"nms_threshold": 1.5}},
            "detection: nms_threshold is 1.5, expected a number from 0 to 1",
        ),
        (
            {"detection": {"top": 1}},
            f"detection is {{'top': 1}}, expected a table of {', '.join(THRESHOLDS)}",
        ),
    ],
)
def test_what_is_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        ConvertOptions(**given)
    assert str(caught.value) == complaint
    with pytest.raises(UsageError) as caught:
        caffefold.convert("missing", "missing", "out", **given)
    assert str(caught.value) == complaint


def test_a_threshold_that_is_no_number() -> None:
    with pytest.raises(UsageError, match="nms_threshold is nan, expected a number from 0 to 1"):
        DetectionOptions(float("nan"))


def test_a_table_names_the_place() -> None:
    assert read(ConvertOptions, {"keep": ["a"]}, "zoo.toml") == ConvertOptions(keep=("a",))
    with pytest.raises(UsageError, match=r"^zoo.toml: no option 'kepe'; choose from classes, "):
        read(ConvertOptions, {"kepe": 1}, "zoo.toml")
    with pytest.raises(UsageError, match=r"^zoo.toml: classes is 0, expected "):
        read(ConvertOptions, {"classes": 0}, "zoo.toml")


def test_plain_values_give_the_same_options() -> None:
    options = ConvertOptions(
        keep=("a*",), input_shapes={"data": (1, 3)}, detection=DetectionOptions(top_k=7)
    )
    assert ConvertOptions(**plain(vars(options))) == options
    assert pickle.loads(pickle.dumps(options)) == options


def test_options_print_what_was_chosen() -> None:
    assert repr(ConvertOptions()) == "ConvertOptions()"
    shown = repr(ConvertOptions(classes=21, detection=DetectionOptions(top_k=7)))
    assert shown == "ConvertOptions(classes=21, detection=DetectionOptions(top_k=7))"


def test_convert_shows_every_option() -> None:
    parameters = inspect.signature(caffefold.convert).parameters
    assert set(vars(ConvertOptions())) < set(parameters)
    assert parameters["dtype"].default == "fp32"
    with pytest.raises(TypeError, match="kepe"):
        caffefold.convert("a", None, "b", kepe="x")  # type: ignore[call-arg]


def test_keep_is_a_predicate() -> None:
    keeps = ConvertOptions(keep=("conv*", "fc6")).keeps
    assert [name for name in ("conv1", "fc6", "fc7") if keeps(name)] == ["conv1", "fc6"]
