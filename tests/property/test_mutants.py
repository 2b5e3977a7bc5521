"""Single-fault mutants of the fold: each must be caught by the proof that every convert runs.

A mutant patches one formula or one condition; a net that shows the fault is converted. Without the
fault the same net converts, so it is the fault that is caught.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.errors import ProofError
from caffefold.ir.affine import Affine
from caffefold.ir.blob import ArrayBlob, ScaledBlob
from caffefold.passes.fold.absorb import Linear
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair

N = RandomLayers(3)


def net_conv() -> list[LayerSpec]:
    return [N.conv("f", "data", 4, 4), N.batch_norm("bn", "f", 4, eps=1e-3), N.scale("sc", "bn", 4)]


def net_nobias() -> list[LayerSpec]:
    return [
        N.conv("f", "data", 4, 4, bias=False),
        N.batch_norm("bn", "f", 4),
        N.scale("sc", "bn", 4),
    ]


def net_deconv() -> list[LayerSpec]:
    return [N.conv("f", "data", 4, 4, group=2, kind="Deconvolution"), N.batch_norm("bn", "f", 4)]


def net_group() -> list[LayerSpec]:
    return [N.batch_norm("bn", "data", 4), N.conv("f", "bn", 4, 4, group=2)]


def net_input() -> list[LayerSpec]:
    return [N.batch_norm("bn", "data", 4), N.scale("sc", "bn", 4), N.conv("f", "sc", 4, 4)]


def net_padded() -> list[LayerSpec]:
    return [N.batch_norm("bn", "data", 4), N.conv("f", "bn", 4, 4, params="pad: 1")]


def net_product() -> list[LayerSpec]:
    return [N.batch_norm("bn", "data", 4), N.inner_product("f", "bn", 4 * 36, 5, transpose=True)]


def net_concat() -> list[LayerSpec]:
    join = LayerSpec("cat", "Concat", "f g")
    return [
        N.conv("f", "data", 4, 4),
        N.conv("g", "data", 4, 4),
        join,
        N.batch_norm("bn", "cat", 8),
    ]


def net_relu() -> list[LayerSpec]:
    return [N.conv("f", "data", 4, 4), relu("r", "f"), N.batch_norm("bn", "f", 4)]


def net_readers() -> list[LayerSpec]:
    chain = [N.conv("f", "data", 4, 4), N.batch_norm("bn", "f", 4), relu("end", "bn")]
    return [*chain, relu("side", "f", "side")]


def net_pool() -> list[LayerSpec]:
    pool = LayerSpec("p", "Pooling", "f", params="pooling_param { pool: MAX kernel_size: 2 }")
    return [N.conv("f", "data", 4, 4), pool, N.batch_norm("bn", "p", 4)]


def net_collapse() -> list[LayerSpec]:
    return [
        relu("r", "data", "r"),
        N.batch_norm("bn", "r", 4),
        N.scale("sc", "bn", 4),
        relu("e", "sc"),
    ]


def wrap(change: Callable[..., Any]) -> Callable[[Any], Any]:
    """A mutation that replaces a function's result by a changed one."""

    def mutate(original: Any) -> Any:
        return lambda *args, **kwargs: change(original(*args, **kwargs), *args)

    return mutate


def eps_forgotten(result: Affine, mean: Any, variance: Any, eps: float) -> Affine:
    scale = 1 / np.sqrt(variance + 1e-5)
    return Affine(scale, -mean * scale)


def deviation_without_root(result: Affine, mean: Any, variance: Any, eps: float) -> Affine:
    return Affine(1 / (variance + eps), result.shift)


def mean_added(result: Affine, *_: Any) -> Affine:
    return Affine(result.scale, -result.shift)


def rows_for_columns(result: Linear, *_: Any) -> Linear:
    return result._replace(outputs_are_rows=not result.outputs_are_rows)


def interleaved(original: Any) -> Any:
    def absorb(layer: Any, layout: Linear, affine: Affine) -> Any:
        order = np.arange(layout.outputs).reshape(layout.view[0], -1).T.reshape(-1)
        return original(layer, layout, Affine(affine.scale[order], affine.shift[order]))

    return absorb


def reversed_factors(original: Any) -> Any:
    def times(self: ScaledBlob, *, row: Any = None, column: Any = None) -> Any:
        flipped = None if row is None else row[:, ::-1]
        return original(self, row=flipped, column=column)

    return times


MUTANTS: list[tuple[str, str, str, Callable[[Any], Any], Callable[[], list[LayerSpec]]]] = [
    (
        "eps is 1e-5 whatever the net says",
        "passes.fold.affine",
        "_normalise",
        wrap(eps_forgotten),
        net_conv,
    ),
    (
        "no root of the variance",
        "passes.fold.affine",
        "_normalise",
        wrap(deviation_without_root),
        net_conv,
    ),
    ("the mean is added", "passes.fold.affine", "_normalise", wrap(mean_added), net_conv),
    (
        "the scale factor is forgotten",
        "passes.fold.affine",
        "_batch_norm",
        lambda original: lambda layer, rank: original(_unit_factor(layer), rank),
        net_conv,
    ),
    (
        "gamma is forgotten",
        "passes.fold.affine",
        "_scale",
        wrap(lambda r, *_: Affine(np.ones(4), r.shift)),
        net_conv,
    ),
    (
        "beta is forgotten",
        "passes.fold.affine",
        "_scale",
        wrap(lambda r, *_: Affine(r.scale, np.zeros(4))),
        net_conv,
    ),
    (
        "the layer's own bias is forgotten",
        "passes.fold.absorb",
        "_bias",
        wrap(lambda r, *_: np.zeros_like(r)),
        net_conv,
    ),
    (
        "the bias is not scaled",
        "passes.fold.absorb",
        "absorb_output",
        lambda original: lambda *args: _bias_not_scaled(original, *args),
        net_conv,
    ),
    (
        "maps compose the wrong way round",
        "ir.affine.Affine",
        "then",
        lambda original: lambda self, after: original(after, self),
        net_conv,
    ),
    ("channels are reversed", "ir.blob.ScaledBlob", "times", reversed_factors, net_nobias),
    (
        "deconvolution read as convolution",
        "passes.fold.absorb",
        "of_layer",
        wrap(rows_for_columns),
        net_deconv,
    ),
    (
        "groups of a deconvolution interleaved",
        "passes.fold.absorb",
        "absorb_output",
        interleaved,
        net_deconv,
    ),
    (
        "groups of the inputs shifted",
        "passes.fold.absorb",
        "_response",
        wrap(lambda r, *_: np.roll(r, 2)),
        net_group,
    ),
    (
        "the shift of an input map is lost",
        "passes.fold.absorb",
        "_response",
        wrap(lambda r, *_: np.zeros_like(r)),
        net_input,
    ),
    (
        "padding does not stop an input map",
        "passes.fold.absorb",
        "refuse_input",
        lambda original: lambda *args: None,
        net_padded,
    ),
    (
        "pixels and channels of a product mixed up",
        "passes.fold.absorb",
        "absorb_input",
        lambda original: (
            lambda layer, layout, affine: original(
                layer, layout, Affine(np.tile(affine.scale, 36), np.tile(affine.shift, 36))
            )
        ),
        net_product,
    ),
    (
        "every branch of a Concat gets the first part",
        "ir.affine.Affine",
        "part",
        lambda original: lambda self, start, stop: original(self, 0, stop - start),
        net_concat,
    ),
    (
        "a ReLU is taken for an identity",
        "passes.fold.propagate",
        "is_identity",
        lambda original: lambda layer: layer.type == "ReLU" or original(layer),
        net_relu,
    ),
    (
        "other readers do not matter",
        "passes.fold.propagate",
        "_Upward.go",
        lambda original: (
            lambda self, version, affine, asking, window: original(
                self, version, affine, set(self.wires.readers[version]), window
            )
        ),
        net_readers,
    ),
    (
        "maximum pooling is taken for an average",
        "passes.fold.propagate",
        "_averages",
        lambda original: lambda layer: layer.type == "Pooling",
        net_pool,
    ),
    (
        "a collapsed Scale loses its bias",
        "passes.fold.collapse",
        "as_scale",
        lambda original: (
            lambda layer, affine: original(layer, Affine(affine.scale, np.zeros_like(affine.shift)))
        ),
        net_collapse,
    ),
]


def _unit_factor(layer: Any) -> Any:
    return layer.with_blobs((*layer.blobs[:2], ArrayBlob(np.ones(1))))


def _bias_not_scaled(original: Any, layer: Any, layout: Any, affine: Affine) -> Any:
    folded = original(layer, layout, affine)
    weights, bias = folded.blobs
    old = np.asarray(layer.blobs[1], np.float64)
    fault = old * (1 - affine.over(old.size).scale)
    return folded.with_blobs((weights, type(bias)(bias.numbers + fault)))


def target_of(module: str, name: str) -> tuple[Any, str]:
    """The object that holds what a mutant replaces, and the attribute's name."""
    head, _, last = module.rpartition(".")
    owned = last[0].isupper()
    holder = importlib.import_module(f"caffefold.{head if owned else module}")
    for part in [*([last] if owned else []), *name.split(".")[:-1]]:
        holder = getattr(holder, part)
    return holder, name.split(".")[-1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[m[0] for m in MUTANTS])
def test_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Any) -> None:
    _, module, name, mutate, build = mutant
    pair = write_pair(tmp_path, [input_layer(1, 4, 6, 6), *build()])
    caffefold.convert(*pair, tmp_path / "sound")

    holder, attribute = target_of(module, name)
    if module == "passes.fold.affine" and name in ("_scale", "_batch_norm"):
        kind = {"_scale": "Scale", "_batch_norm": "BatchNorm"}[name]
        monkeypatch.setitem(holder._SOURCES, kind, mutate(getattr(holder, attribute)))
    else:
        monkeypatch.setattr(holder, attribute, mutate(getattr(holder, attribute)))
    with pytest.raises(ProofError, match="nothing was put in place"):
        caffefold.convert(*pair, tmp_path / "faulty")
    assert not list(tmp_path.glob("faulty*"))
    assert not list(tmp_path.glob(".*.part"))


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 15
