"""``batch`` sets the first axis of inputs that have the batch there, and tells which have not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.analysis.shapes import infer, input_shapes
from caffefold.options import DeployOptions
from caffefold.testing import layers_from, write_pair
from tests.support.deploy import net, passes

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("CAFFEFOLD_SHARED") or ROOT.parent / "shared")
LAYERS = sorted(path.parent for path in SHARED.glob("layers/*/golden.npz"))
RNN = "{ recurrent_param { num_output: 4 EXPOSED } }"
HIDDEN = RNN.replace("EXPOSED", "expose_hidden: true")
PLAIN = RNN.replace("EXPOSED ", "")
WHY = "the first axis is no batch, or the net fixes it"


def inputs(**shapes: tuple[int, ...]) -> str:
    """Input layers of these shapes."""
    return "".join(
        f"{blob} Input -> {blob} {{ input_param {{ shape {{ dim: {list(dims)} }} }} }}\n"
        for blob, dims in shapes.items()
    )


def batched(lines: str, batch: int = 7) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The input shapes of the deploy net and the warnings about them."""
    found, steps = passes(net(lines), DeployOptions(batch=batch))
    return input_shapes(found), [w for step in steps for w in step.warnings]


def test_images() -> None:
    text = inputs(data=(2, 3, 8, 8), mask=(2, 3, 8, 8)) + "e Eltwise data mask -> e"
    assert batched(text) == ({"data": (7, 3, 8, 8), "mask": (7, 3, 8, 8)}, [])


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
def test_time(kind: str) -> None:
    text = inputs(x=(5, 2, 3), cont=(5, 2)) + f"r {kind} x cont -> r {PLAIN}"
    shapes, warnings = batched(text)
    assert shapes == {"x": (5, 2, 3), "cont": (5, 2)}
    assert warnings == [f"batch 7: 'x' (5x2x3), 'cont' (5x2) left as they are: {WHY}"]


def test_a_static_input_has_as_many_items_as_there_are_streams() -> None:
    text = inputs(x=(7, 2, 3), cont=(7, 2), xs=(2, 5)) + f"r LSTM x cont xs -> r {PLAIN}"
    shapes, warnings = batched(text)
    assert shapes["xs"] == (2, 5)
    assert warnings == [f"batch 7: 'xs' (2x5) left as it is: {WHY}"]


def test_states() -> None:
    given = inputs(x=(7, 2, 3), cont=(7, 2), h=(1, 2, 4), c=(1, 2, 4))
    shapes, _ = batched(given + f"r LSTM x cont h c -> r hT cT {HIDDEN}")
    assert (shapes["h"], shapes["c"]) == ((1, 2, 4), (1, 2, 4))


def test_one_step_of_an_lstm() -> None:
    given = {"c": (1, 2, 3), "gates": (1, 2, 12), "cont": (1, 2)}
    shapes, warnings = batched(inputs(**given) + "u LSTMUnit c gates cont -> u h")
    assert shapes == given
    assert len(warnings) == 1


def test_a_gate_for_each_channel() -> None:
    text = (
        inputs(data=(2, 3, 4, 5), gate=(3,)) + "s Scale data gate -> s { scale_param { axis: 1 } }"
    )
    assert batched(text)[0] == {"data": (7, 3, 4, 5), "gate": (3,)}


def test_a_gate_for_each_image() -> None:
    text = (
        inputs(data=(2, 3, 4, 5), gate=(2, 3))
        + "s Scale data gate -> s { scale_param { axis: 0 } }"
    )
    assert batched(text)[0] == {"data": (7, 3, 4, 5), "gate": (7, 3)}


def test_a_constant_of_the_net_fixes_the_batch() -> None:
    dummy = "d DummyData -> d { dummy_data_param { shape { dim: [2, 3] } DATA } }"
    dummy = dummy.replace("DATA", "data_filler { value: 2 }")
    assert batched(inputs(data=(2, 3)) + f"{dummy}\ne Eltwise data d -> e")[0] == {"data": (2, 3)}


def test_a_reshape_fixes_the_batch_of_what_it_reads_only() -> None:
    text = inputs(a=(2, 6), b=(2, 6)) + (
        "r Reshape a -> r { reshape_param { shape { dim: [4, 3] } } }\n"
        "ip InnerProduct b -> ip { inner_product_param { num_output: 2 } }"
    )
    assert batched(text)[0] == {"a": (2, 6), "b": (7, 6)}


def test_legacy_inputs() -> None:
    text = 'input: "x" input: "m" input_shape { dim: [5, 2, 3] } input_shape { dim: [5, 2] }\n'
    text += net(f"r LSTM x m -> r {PLAIN}")
    found, _ = passes(text, DeployOptions(batch=7))
    assert input_shapes(found) == {"x": (5, 2, 3), "m": (5, 2)}


def test_a_shape_that_is_given_counts() -> None:
    text = net(inputs(x=(5, 2, 3), cont=(5, 2)) + f"r LSTM x cont -> r {PLAIN}")
    given = {"x": (9, 1, 3), "cont": (9, 1)}
    found, steps = passes(text, DeployOptions(batch=7, input_shapes=given))
    assert input_shapes(found) == given
    assert not any(step.warnings for step in steps)


def test_weights_that_belong_to_a_batch(tmp_path: Path) -> None:
    """A Scale of axis 0 and an InnerProduct of axis 0 have learned a number for each item."""
    lines = inputs(a=(3, 2), b=(3, 2)) + (
        "s Scale a -> s { scale_param { axis: 0 } }\n"
        "ip InnerProduct b -> ip { inner_product_param { num_output: 2 axis: 0 } }"
    )
    blobs: dict[str, list[np.ndarray]] = {"s": [np.ones(3)], "ip": [np.ones((2, 6)), np.ones(2)]}
    with caffefold.load(*write_pair(tmp_path, layers_from(lines, blobs))) as given:
        found = caffefold.to_deploy(given, batch=7)
    assert input_shapes(found.net) == {"a": (3, 2), "b": (3, 2)}
    (warning,) = found.warnings
    assert warning == f"batch 7: 'a' (3x2), 'b' (3x2) left as they are: {WHY}"


@pytest.mark.skipif(not LAYERS, reason="CAFFEFOLD_SHARED is not there")
def test_no_layer_type_is_given_a_batch_that_it_refuses() -> None:
    for folder in LAYERS:
        weights = folder / "weights.caffemodel"
        with caffefold.load(
            folder / "net.prototxt", weights if weights.exists() else None
        ) as given:
            try:
                found = caffefold.to_deploy(given, batch=7).net
            except caffefold.ModelError:  # of a loss or a measure alone, nothing is left
                continue
            assert not infer(found).problems, folder.name
