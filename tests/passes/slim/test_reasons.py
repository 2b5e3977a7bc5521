"""Who stays, and the reason a user reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffefold
from caffefold.ops.base import SkipCode
from caffefold.passes.infra import Skip
from caffefold.testing import LayerSpec, write_pair
from tests.passes.slim.structures import DATA, SAME, N, block, dead, shared

READER = N.conv("b", "a", 6, 4, **SAME)  # type: ignore[arg-type]

PADDED = (
    "1 channel of 6 stays: it is a constant, but 'b' pads its input with zeros, to which the map "
    "must not apply"
)
BORDER = (
    "1 channel of 6 stays: it is a constant, but 'b' is a Deconvolution: at its borders only part "
    "of the kernel meets the input, so the shift cannot move behind it"
)


def other_weights() -> list[LayerSpec]:
    """Two layers share weights by name, and one of them sees them in another shape."""
    named = 'param { name: "w" share_mode: PERMISSIVE }'
    one, two = N.conv("a", "data", 3, 6), N.conv("c", "data", 3, 2)
    return [
        DATA,
        *(each._replace(params=each.params + named) for each in (one, two)),
        *dead("a", "a", 6, {1: 0.0}),
        READER,
    ]


CASES: list[tuple[SkipCode, list[LayerSpec], str, dict[str, object]]] = [
    (
        SkipCode.PADDED_INPUT,
        [DATA, *block("a", "data", 3, 6, {1: 2.0, 4: -1.0}), READER],
        PADDED,
        {},
    ),
    (
        SkipCode.PADDED_INPUT,
        [
            DATA,
            *block("a", "data", 3, 6, {1: 2.0}),
            N.conv("b", "a", 6, 4, kind="Deconvolution"),
        ],
        BORDER,
        {},
    ),
    (
        SkipCode.NET_OUTPUT,
        [DATA, *block("a", "data", 3, 6, {1: -1.0})],
        "1 channel of 6 stays: 'a' is an output of the net",
        {},
    ),
    (
        SkipCode.NOT_FOLLOWED,
        [DATA, *block("a", "data", 3, 6, {1: -1.0}), LayerSpec("lrn", "LRN", "a"),
         N.conv("b", "lrn", 6, 4)],
        "1 channel of 6 stays: 'lrn' (LRN) reads it, which may mix channels",
        {},
    ),
    (
        SkipCode.NOT_FOLLOWED,
        [DATA, *block("a", "data", 3, 6, {1: -1.0}),
         LayerSpec("r", "Reshape", "a", "r",
                   "reshape_param { shape { dim: 0 dim: 2 dim: 3 dim: -1 } }"),
         N.conv("b", "r", 2, 4, kernel=1)],
        "1 channel of 6 stays: 'r' lays its channels out along several axes",
        {},
    ),
    (
        SkipCode.SHARED_WEIGHTS,
        other_weights(),
        "1 channel of 6 stays: the weights of 'a' are shared as param 'w'",
        {},
    ),
    (
        SkipCode.KEPT,
        [DATA, *block("a", "data", 3, 6, {1: -1.0}), READER],
        "1 channel of 6 stays: 'a' is kept as requested",
        {"keep": ["a"]},
    ),
    (
        SkipCode.UNEVEN_GROUPS,
        [DATA, *block("a", "data", 3, 6, {1: -1.0}), N.conv("b", "a", 6, 4, group=2)],
        "1 channel of 6 stays: the 2 groups of 'b' must keep equal numbers of channels",
        {},
    ),
    (
        SkipCode.MULTIPLE,
        [DATA, *block("a", "data", 3, 6, {1: -1.0, 2: -1.0, 5: -1.0}), READER],
        "1 channel of 6 stays: kept for a multiple of 4",
        {"multiple": 4},
    ),
    (
        SkipCode.LAST_CHANNEL,
        [DATA, *block("a", "data", 3, 6, dict.fromkeys(range(6), -1.0)), READER],
        "1 channel of 6 stays: a blob must keep one channel",
        {},
    ),
    (
        SkipCode.NOT_CONSTANT,
        [
            DATA,
            *block("a", "data", 3, 6, {1: 1.0}),
            LayerSpec("n", "Normalize", "a", "n", "norm_param { channel_shared: false }",
                      [N.positive(6)]),
            N.conv("b", "n", 6, 4),
        ],
        "1 channel of 6 stays: 'n' divides by a norm that it is a part of",
        {},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "layers", "message", "options"), CASES)
def test_the_reason(
    tmp_path: Path,
    code: SkipCode,
    layers: list[LayerSpec],
    message: str,
    options: dict[str, object],
) -> None:
    net = caffefold.load(*write_pair(tmp_path, layers))
    result = caffefold.slim(net, **options)  # type: ignore[arg-type]
    found = [skip for skip in result.skips if skip.code == code]
    if message:
        assert found == [Skip("slim", ("a",), code, message)]
    assert result.net["a"].params("convolution_param").integer("num_output") > 0
    assert f"[{code.value}]" in str(result)


def test_a_shared_bias_takes_one_constant(tmp_path: Path) -> None:
    net = caffefold.load(*write_pair(tmp_path, shared("b", (1.0, 2.0))))
    why = "'a' and 'c' share a bias, and it is not the same to all of them"
    code = SkipCode.SHARED_WEIGHTS
    found = [skip for skip in caffefold.slim(net).skips if skip.code == code]
    assert found == [Skip("slim", (x,), code, f"1 channel of 6 stays: {why}") for x in "pq"]


def tiny(gamma: float, beta: float) -> list[LayerSpec]:
    """A channel of such a gamma and beta, behind a bounded and before a padded layer."""
    made = [DATA, *block("a", "data", 3, 6, {2: beta}), READER]
    scale = next(layer for layer in made if layer.type == "Scale")
    scale.blobs[0][2] = gamma  # type: ignore[index]
    return made


@pytest.mark.parametrize(
    ("gamma", "beta", "left"),
    [(1e-20, -1e-15, 5), (1e-20, 1e-12, 5), (9e-7, 0.0, 6), (2e-6, 0.0, 6)],
)
def test_a_small_gamma_goes_where_float32_rounds_it_away(
    tmp_path: Path, gamma: float, beta: float, left: int
) -> None:
    result = caffefold.slim(caffefold.load(*write_pair(tmp_path, tiny(gamma, beta))))
    assert result.net["a"].params("convolution_param").integer("num_output") == left
    if left == 5:  # an input without bounds would come through
        assert result.bounded == 1
        assert "1 of them does nothing as long as inputs are at most 65,536" in str(result)
    if left == 6 and gamma < 1e-6:
        (skip,) = result.skips
        assert skip.code == SkipCode.NOT_CONSTANT
        assert "what it adds to 'b' may be more than float32 rounds" in skip.message


def test_approximate_takes_what_is_not_proven(tmp_path: Path) -> None:
    for layers in (tiny(9e-7, 0.0), [DATA, *block("a", "data", 3, 6, {1: 2.0}), READER]):
        net = caffefold.load(*write_pair(tmp_path, layers))
        result = caffefold.slim(net, approximate=True)
        assert result.net["a"].params("convolution_param").integer("num_output") == 5
        assert result.proof.approximate
        assert result.proof.outputs[0].error < 0.9


def test_without_weights_it_is_refused(tmp_path: Path) -> None:
    prototxt, _ = write_pair(tmp_path, [DATA, READER._replace(bottoms="data")])
    with pytest.raises(caffefold.UsageError, match="weights say which channels go"):
        caffefold.slim(caffefold.load(prototxt))


def test_nothing_dead_leaves_every_layer_as_it_is(tmp_path: Path) -> None:
    net = caffefold.load(*write_pair(tmp_path, [DATA, *block("a", "data", 3, 6, {}), READER]))
    result = caffefold.slim(net)
    assert result.table == ()
    assert str(result).startswith("slimmed   nothing was taken out")
    assert result.proof.blobs == 0
    deploy = caffefold.to_deploy(net).net
    assert all(np.array_equal(np.asarray(x), np.asarray(y))
               for a, b in zip(deploy, result.net, strict=True)
               for x, y in zip(a.blobs, b.blobs, strict=True))  # fmt: skip


def test_an_input_of_unknown_shape_is_warned_of(tmp_path: Path) -> None:
    prototxt, caffemodel = write_pair(tmp_path, [*block("a", "data", 3, 6, {1: -1.0}), READER])
    prototxt.write_text('input: "data"\n' + prototxt.read_text())
    net = caffefold.load(prototxt, caffemodel)
    result = caffefold.slim(net)
    assert any("the shape of input 'data' is not known" in text for text in result.warnings)
    assert caffefold.slim(net, input_shapes={"data": (1, 3, 9, 9)}).channels[1] == 1
