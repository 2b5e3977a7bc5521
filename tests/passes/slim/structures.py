"""Nets with planted dead channels, one for each way in which channels hang together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu

N = RandomLayers(18)


class Case(NamedTuple):
    """A net, and how many outputs each layer has that lost some."""

    layers: list[LayerSpec]
    left: dict[str, int]


def dead(
    name: str,
    bottom: str,
    channels: int,
    gone: dict[int, float],
    top: str | None = None,
) -> list[LayerSpec]:
    """BatchNorm and Scale in place; gamma is 0 in the channels ``gone``, and beta as given."""
    gamma, beta = N.positive(channels), N.normal(channels)
    for channel, value in gone.items():
        gamma[channel], beta[channel] = 0, value
    params = "scale_param { bias_term: true }"
    return [
        N.batch_norm(f"{name}/bn", bottom, channels, top=bottom),
        LayerSpec(f"{name}/scale", "Scale", bottom, top or bottom, params, [gamma, beta]),
    ]


def block(
    name: str, bottom: str, inputs: int, outputs: int, gone: dict[int, float], **conv: object
) -> list[LayerSpec]:
    """Convolution, BatchNorm, Scale and ReLU."""
    made = N.conv(name, bottom, inputs, outputs, bias=False, **conv)  # type: ignore[arg-type]
    return [made, *dead(name, name, outputs, gone), relu(f"{name}/relu", name)]


DATA = input_layer(1, 3, 9, 9)
PLAIN = {"kernel": 1}
SAME = {"kernel": 3, "params": "pad: 1"}


def shared(bias: str, constants: tuple[float, float]) -> list[LayerSpec]:
    """Convolutions of one weight, and of one bias where it has a name; each with statistics and
    gammas of its own; their inputs are constant in channel 1."""
    names = 'param { name: "w" } param { %s }' % (f'name: "{bias}"' if bias else "")
    one, two = (N.conv(name, bottom, 6, 5) for name, bottom in (("a", "p"), ("c", "q")))
    two = two._replace(blobs=[one.blobs[0], one.blobs[1] if bias else two.blobs[1]])
    return [
        DATA,
        *block("p", "data", 3, 6, {1: constants[0], 4: -2.0}),
        *block("q", "data", 3, 6, {1: constants[1], 5: -3.0}),
        *(each._replace(params=each.params + names) for each in (one, two)),
        *dead("a", "a", 5, {2: 1.0}),
        *dead("c", "c", 5, {2: 3.0, 3: 1.0}),
        N.conv("b", "a", 5, 4),
        N.conv("d", "c", 5, 4),
    ]


CASES: dict[str, Case] = {
    "shared weights": Case(shared("", (1.0, 2.0)), {"p": 5, "q": 5, "a": 4, "c": 4}),
    "a shared bias": Case(shared("b", (1.5, 1.5)), {"p": 5, "q": 5, "a": 4, "c": 4}),
    "a shared bias that would have to be two": Case(shared("b", (1.0, 2.0)), {"a": 4, "c": 4}),
    "padded, after a ReLU of a negative beta": Case(
        [DATA, *block("a", "data", 3, 6, {1: -2.0, 4: 0.0}), N.conv("b", "a", 6, 4, **SAME)],  # type: ignore[arg-type]
        {"a": 4},
    ),
    "a constant goes into the bias": Case(
        [DATA, *block("a", "data", 3, 6, {1: 2.0, 5: 1.0}), N.conv("b", "a", 6, 4)],
        {"a": 4},
    ),
    "a constant goes into a new bias": Case(
        [DATA, *block("a", "data", 3, 6, {1: 2.0}), N.conv("b", "a", 6, 4, bias=False)],
        {"a": 5},
    ),
    "a constant goes through Sigmoid and pooling": Case(
        [
            DATA,
            N.conv("a", "data", 3, 6),
            *dead("a", "a", 6, {2: -1.0}),
            LayerSpec("s", "Sigmoid", "a"),
            LayerSpec("p", "Pooling", "s", params="pooling_param { kernel_size: 2 stride: 2 }"),
            N.conv("b", "p", 6, 4),
        ],
        {"a": 5},
    ),
    "PReLU and TanH": Case(
        [
            DATA,
            N.conv("a", "data", 3, 6),
            *dead("a", "a", 6, {2: -1.0, 3: 1.0}),
            LayerSpec("s", "PReLU", "a", blobs=[N.positive(6)]),
            LayerSpec("t", "TanH", "s"),
            N.conv("b", "t", 6, 4),
        ],
        {"a": 4},
    ),
    "rows of zeros": Case(
        [
            DATA,
            LayerSpec(
                "a", "Convolution", "data", None,
                "convolution_param { num_output: 3 kernel_size: 1 }",
                [np.array([[1, 2, 3], [0, 0, 0], [3, 1, 2]], np.float32).reshape(3, 3, 1, 1),
                 np.array([1, 0.5, 2], np.float32)],
            ),
            relu("r", "a"),
            N.conv("b", "a", 3, 4),
        ],
        {"a": 2},
    ),
    "depthwise": Case(
        [
            DATA,
            *block("a", "data", 3, 6, {1: -1.0}),
            *block("d", "a", 6, 6, {1: -1.0, 3: -2.0}, group=6, **SAME),
            N.conv("b", "d", 6, 4, kernel=1),
        ],
        {"a": 4, "d": 4},
    ),
    "depthwise with a multiplier": Case(
        [
            DATA,
            *block("a", "data", 3, 4, {}),
            *block("d", "a", 4, 8, {2: -1.0, 3: -2.0, 5: -1.0}, group=4, **SAME),
            N.conv("b", "d", 8, 4, kernel=1),
        ],
        {"a": 3, "d": 6},
    ),
    "groups keep equal numbers": Case(
        [
            DATA,
            *block("a", "data", 3, 8, {1: -1.0, 2: -1.0, 5: -1.0}),
            *block("g", "a", 8, 6, {0: -1.0, 4: -1.0, 5: -1.0}, group=2, **SAME),
            N.conv("b", "g", 6, 4, kernel=1),
        ],
        {"a": 6, "g": 4},
    ),
    "a group goes whole": Case(
        [
            DATA,
            *block("a", "data", 3, 6, {2: -1.0, 3: -1.0}),
            *block("g", "a", 6, 6, {2: -1.0, 3: -1.0}, group=3),
            N.conv("b", "g", 6, 4, kernel=1),
        ],
        {"a": 4, "g": 4},
    ),
    "Eltwise: all sides together": Case(
        [
            DATA,
            *block("a", "data", 3, 6, {1: -1.0, 2: -1.0}, **SAME),
            N.conv("c", "a", 6, 6, **SAME),  # type: ignore[arg-type]
            *dead("c", "c", 6, {2: -1.0, 3: -1.0}),
            LayerSpec("e", "Eltwise", "a c", "e"),
            relu("er", "e"),
            N.conv("b", "e", 6, 4, **SAME),  # type: ignore[arg-type]
        ],
        {"a": 5, "c": 5},
    ),
    "Eltwise: a constant sum": Case(
        [
            DATA,
            *block("a", "data", 3, 6, {2: 1.0}, **SAME),
            N.conv("c", "data", 3, 6, **SAME),  # type: ignore[arg-type]
            *dead("c", "c", 6, {2: 1.0}),
            LayerSpec("e", "Eltwise", "a c", "e", "eltwise_param { coeff: 1 coeff: -0.5 }"),
            N.conv("b", "e", 6, 4),
        ],
        {"a": 5, "c": 5},
    ),
    "Eltwise: a product with 0": Case(
        [
            DATA,
            *block("a", "data", 3, 6, {2: -1.0}, **SAME),
            *block("c", "data", 3, 6, {}, **SAME),
            LayerSpec("e", "Eltwise", "a c", "e", "eltwise_param { operation: PROD }"),
            N.conv("b", "e", 6, 4, **SAME),  # type: ignore[arg-type]
        ],
        {"a": 5, "c": 5},
    ),
    "Concat": Case(
        [
            DATA,
            *block("a", "data", 3, 4, {1: 1.0}),
            *block("c", "data", 3, 5, {0: 2.0, 4: -1.0}),
            LayerSpec("j", "Concat", "a c", "j"),
            N.conv("b", "j", 9, 4),
        ],
        {"a": 3, "c": 3},
    ),
    "Slice in equal parts": Case(
        [
            DATA,
            *block("a", "data", 3, 8, {1: 1.0, 2: -1.0, 6: 0.5}),
            LayerSpec("s", "Slice", "a", "s1 s2"),
            N.conv("b", "s1", 4, 4),
            N.conv("c", "s2", 4, 4),
        ],
        {"a": 5},
    ),
    "Slice at points": Case(
        [
            DATA,
            *block("a", "data", 3, 8, {1: 1.0, 6: 0.5}),
            LayerSpec(
                "s", "Slice", "a", "s1 s2 s3", "slice_param { slice_point: 3 slice_point: 5 }"
            ),
            N.conv("b", "s1", 3, 4),
            N.conv("c", "s2", 2, 4),
            N.conv("d", "s3", 3, 4),
        ],
        {"a": 6},
    ),
    "ShuffleChannel": Case(
        [
            DATA,
            *block("a", "data", 3, 8, {1: -1.0, 5: -1.0, 2: -1.0}),
            LayerSpec("s", "ShuffleChannel", "a", "s", "shuffle_channel_param { group: 2 }"),
            *block("d", "s", 8, 8, {}, group=8, **SAME),
            N.conv("b", "d", 8, 4, kernel=1),
        ],
        {"a": 6, "d": 6},
    ),
    "Flatten into InnerProduct": Case(
        [
            DATA,
            *block("a", "data", 3, 5, {1: 1.0, 3: -1.0}),
            LayerSpec("f", "Flatten", "a"),
            N.inner_product("b", "f", 5 * 49, 4),
        ],
        {"a": 3},
    ),
    "InnerProduct of maps": Case(
        [DATA, *block("a", "data", 3, 5, {1: 1.0}), N.inner_product("b", "a", 5 * 49, 4)],
        {"a": 4},
    ),
    "a transposed InnerProduct": Case(
        [
            DATA,
            N.inner_product("a", "data", 243, 6, transpose=True),
            *dead("a", "a", 6, {0: 1.0, 5: -2.0}),
            N.inner_product("b", "a", 6, 4, transpose=True),
        ],
        {"a": 4},
    ),
    "Reshape with the number of channels": Case(
        [
            DATA,
            *block("a", "data", 3, 5, {1: 1.0, 3: -1.0}),
            LayerSpec(
                "f", "Reshape", "a", "f", "reshape_param { shape { dim: 0 dim: 5 dim: 1 dim: -1 } }"
            ),
            N.conv("b", "f", 5, 4, kernel=1),
        ],
        {"a": 3},
    ),
    "Reshape to a row": Case(
        [
            DATA,
            *block("a", "data", 3, 5, {1: 1.0, 3: -1.0}),
            LayerSpec("f", "Reshape", "a", "f", "reshape_param { shape { dim: 0 dim: 245 } }"),
            N.inner_product("b", "f", 5 * 49, 4),
        ],
        {"a": 3},
    ),
    "Permute": Case(
        [
            DATA,
            *block("a", "data", 3, 5, {1: 1.0, 3: -1.0}),
            LayerSpec(
                "p", "Permute", "a", "p",
                "permute_param { order: 0 order: 2 order: 3 order: 1 }",
            ),
            LayerSpec("f", "Flatten", "p"),
            N.inner_product("b", "f", 5 * 49, 4),
        ],
        {"a": 3},
    ),
    "Crop": Case(
        [
            DATA,
            *block("a", "data", 3, 5, {1: -1.0}, **SAME),
            N.conv("c", "data", 3, 2),
            LayerSpec("k", "Crop", "a c", "k", "crop_param { axis: 2 offset: 1 }"),
            N.conv("b", "k", 5, 4, **SAME),  # type: ignore[arg-type]
        ],
        {"a": 4},
    ),
    "a gate (Scale by a second bottom)": Case(
        [
            DATA,
            *block("a", "data", 3, 6, {2: -1.0}, **SAME),
            LayerSpec("g", "Pooling", "a", "g", "pooling_param { pool: AVE global_pooling: true }"),
            N.inner_product("s1", "g", 6, 3),
            relu("s1r", "s1"),
            N.inner_product("s2", "s1", 3, 6),
            LayerSpec("sig", "Sigmoid", "s2"),
            LayerSpec("m", "Scale", "a sig", "m", "scale_param { axis: 0 }"),
            N.conv("b", "m", 6, 4, **SAME),  # type: ignore[arg-type]
        ],
        {"a": 5, "s2": 5},
    ),
    "Normalize": Case(
        [
            DATA,
            *block("a", "data", 3, 6, {2: -1.0, 3: 1.0}, **SAME),
            LayerSpec(
                "n", "Normalize", "a", "n",
                "norm_param { across_spatial: false channel_shared: false }", [N.positive(6)],
            ),
            N.conv("b", "n", 6, 4, **SAME),  # type: ignore[arg-type]
        ],
        {"a": 5},
    ),
    "Deconvolution": Case(
        [
            DATA,
            *block("a", "data", 3, 6, {2: -1.0}),
            N.conv("u", "a", 6, 4, kind="Deconvolution", params="stride: 2"),
            *dead("u", "u", 4, {1: -1.0}),
            relu("ur", "u"),
            N.conv("b", "u", 4, 4),
        ],
        {"a": 5, "u": 3},
    ),
    "a depthwise Deconvolution": Case(
        [
            DATA,
            *block("a", "data", 3, 6, {2: -1.0}),
            N.conv("u", "a", 6, 6, kind="Deconvolution", group=6, bias=False, params="stride: 2"),
            N.conv("b", "u", 6, 4),
        ],
        {"a": 5, "u": 5},
    ),
    "SPP": Case(
        [
            DATA,
            *block("a", "data", 3, 5, {1: -1.0, 4: -2.0}),
            LayerSpec("s", "SPP", "a", "s", "spp_param { pyramid_height: 2 }"),
            N.inner_product("b", "s", 25, 4),
        ],
        {"a": 3},
    ),
    "all but one channel": Case(
        [DATA, *block("a", "data", 3, 4, dict.fromkeys(range(4), -1.0)), N.conv("b", "a", 4, 4)],
        {"a": 1},
    ),
}  # fmt: skip


def residual(shift: float, sides: str = "a r2", more: str = "") -> list[LayerSpec]:
    """A residual block all of whose gammas are 0; its beta is ``shift`` in every channel."""
    return [
        DATA,
        *block("a", "data", 3, 5, {}, **SAME),
        *block("r1", "a", 5, 4, {}, **SAME),
        N.conv("r2", "r1", 4, 5, **SAME),  # type: ignore[arg-type]
        *dead("r2", "r2", 5, dict.fromkeys(range(5), shift)),
        LayerSpec("e", "Eltwise", sides, "e", more),
        relu("er", "e"),
        N.conv("b", "e", 5, 4, **SAME),  # type: ignore[arg-type]
    ]
