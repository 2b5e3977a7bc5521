"""Python layers are told TEST where their parameters name the phase."""

from __future__ import annotations

import pytest

from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.ops.base import own_message
from caffefold.passes.deploy.python_phase import PythonPhase
from tests.support.deploy import deploy, net, passes

NET = """
data Input -> data { input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
drop Python data -> drop { python_param { module: "m" layer: "Drop" param_str: %s } }
"""


def told(raw: str) -> str:
    """The ``param_str`` of the deploy net, as it is written."""
    (layer,) = (x for x in deploy(NET % raw).layers if x.name == "drop")
    return str(own_message(layer, "python_param").last("param_str"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\"{'phase': 'TRAIN', 'p': '0.01'}\"", "\"{'phase': 'TEST', 'p': '0.01'}\""),
        ("""'{"phase": "TRAIN"}'""", """'{"phase": "TEST"}'"""),
        (r"""'{\'phase\': \'train\'}'""", r"""'{\'phase\': \'test\'}'"""),
        ('"phase: Train"', '"phase: Test"'),
        ('"phase=TRAIN,p=2"', '"phase=TEST,p=2"'),
    ],
)
def test_the_phase_is_set(before: str, after: str) -> None:
    assert told(before) == after


@pytest.mark.parametrize(
    "raw",
    ["\"{'phase': 'TEST'}\"", '"phases: TRAINING"', '"train: 1"', "\"{'split': 'train'}\""],
)
def test_other_parameters_stay(raw: str) -> None:
    assert told(raw) == raw


def test_only_python_layers_are_told() -> None:
    text = 'layer { name: "a" type: "Fork" fork_param { param_str: "phase: TRAIN" } }'
    given = Net.of(parse(text))
    assert PythonPhase().run(given).net is given


def test_it_is_reported() -> None:
    _, steps = passes(net(NET % "\"{'phase': 'TRAIN'}\""))
    (change,) = (c for step in steps for c in step.changes if step.name == "python")
    assert change.modified == ("drop",)
    assert change.detail == "param_str says phase TRAIN; TEST in the deploy net"
