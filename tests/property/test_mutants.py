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
from caffefold.model.blob import ArrayBlob, ScaledBlob
from caffefold.rewrite.affine import Affine
from caffefold.rewrite.linear import Linear
from tests.support.nets import L, Numbers, data, relu, write

N = Numbers(3)


def net_conv() -> list[L]:
    return [N.conv("f", "data", 4, 4), N.norm("bn", "f", 4, eps=1e-3), N.scale("sc", "bn", 4)]


def net_nobias() -> list[L]:
    return [N.conv("f", "data", 4, 4, bias=False), N.norm("bn", "f", 4), N.scale("sc", "bn", 4)]


def net_deconv() -> list[L]:
    return [N.conv("f", "data", 4, 4, group=2, kind="Deconvolution"), N.norm("bn", "f", 4)]


def net_group() -> list[L]:
    return [N.norm("bn", "data", 4), N.conv("f", "bn", 4, 4, group=2)]


def net_input() -> list[L]:
    return [N.norm("bn", "data", 4), N.scale("sc", "bn", 4), N.conv("f", "sc", 4, 4)]


def net_padded() -> list[L]:
    return [N.norm("bn", "data", 4), N.conv("f", "bn", 4, 4, text="pad: 1")]


def net_product() -> list[L]:
    return [N.norm("bn", "data", 4), N.product("f", "bn", 4 * 36, 5, transpose=True)]


def net_concat() -> list[L]:
    join = L("cat", "Concat", "f g")
    return [N.conv("f", "data", 4, 4), N.conv("g", "data", 4, 4), join, N.norm("bn", "cat", 8)]


def net_relu() -> list[L]:
    return [N.conv("f", "data", 4, 4), relu("r", "f"), N.norm("bn", "f", 4)]


def net_readers() -> list[L]:
    chain = [N.conv("f", "data", 4, 4), N.norm("bn", "f", 4), relu("end", "bn")]
    return [*chain, relu("side", "f", "side")]


def net_pool() -> list[L]:
    pool = L("p", "Pooling", "f", "", "pooling_param { pool: MAX kernel_size: 2 }")
    return [N.conv("f", "data", 4, 4), pool, N.norm("bn", "p", 4)]


def net_collapse() -> list[L]:
    return [relu("r", "data", "r"), N.norm("bn", "r", 4), N.scale("sc", "bn", 4), relu("e", "sc")]


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


MUTANTS: list[tuple[str, str, str, Callable[[Any], Any], Callable[[], list[L]]]] = [
    ("eps is 1e-5 whatever the net says", "sources", "_normalise", wrap(eps_forgotten), net_conv),
    ("no root of the variance", "sources", "_normalise", wrap(deviation_without_root), net_conv),
    ("the mean is added", "sources", "_normalise", wrap(mean_added), net_conv),
    (
        "the scale factor is forgotten", "sources", "_batch_norm",
        lambda original: lambda layer, rank: original(_unit_factor(layer), rank), net_conv,
    ),
    (
        "gamma is forgotten", "sources", "_scale",
        wrap(lambda r, *_: Affine(np.ones(4), r.shift)), net_conv,
    ),
    (
        "beta is forgotten", "sources", "_scale",
        wrap(lambda r, *_: Affine(r.scale, np.zeros(4))), net_conv,
    ),
    (
        "the layer's own bias is forgotten", "linear", "_bias",
        wrap(lambda r, *_: np.zeros_like(r)), net_conv,
    ),
    (
        "the bias is not scaled", "linear", "absorb_output",
        lambda original: lambda *args: _bias_not_scaled(original, *args),
        net_conv,
    ),
    (
        "maps compose the wrong way round", "affine.Affine", "then",
        lambda original: lambda self, after: original(after, self), net_conv,
    ),
    ("channels are reversed", "model.blob.ScaledBlob", "times", reversed_factors, net_nobias),
    ("deconvolution read as convolution", "linear", "of_layer", wrap(rows_for_columns), net_deconv),
    ("groups of a deconvolution interleaved", "linear", "absorb_output", interleaved, net_deconv),
    (
        "groups of the inputs shifted", "linear", "_response",
        wrap(lambda r, *_: np.roll(r, 2)), net_group,
    ),
    (
        "the shift of an input map is lost", "linear", "_response",
        wrap(lambda r, *_: np.zeros_like(r)), net_input,
    ),
    (
        "padding does not stop an input map", "linear", "refuse_input",
        lambda original: lambda *args: None, net_padded,
    ),
    (
        "pixels and channels of a product mixed up", "linear", "absorb_input",
        lambda original: lambda layer, layout, affine: original(
            layer, layout, Affine(np.tile(affine.scale, 36), np.tile(affine.shift, 36))
        ), net_product,
    ),
    (
        "every branch of a Concat gets the first part", "affine.Affine", "part",
        lambda original: lambda self, start, stop: original(self, 0, stop - start), net_concat,
    ),
    (
        "a ReLU is taken for an identity", "travel", "is_identity",
        lambda original: lambda layer: layer.type == "ReLU" or original(layer), net_relu,
    ),
    (
        "other readers do not matter", "travel", "_Upward.go",
        lambda original: lambda self, version, affine, asking, window: original(
            self, version, affine, set(self.wires.readers[version]), window
        ), net_readers,
    ),
    (
        "maximum pooling is taken for an average", "travel", "_averages",
        lambda original: lambda layer: layer.type == "Pooling", net_pool,
    ),
    (
        "a collapsed Scale loses its bias", "collapse", "as_scale",
        lambda original: lambda layer, affine: original(
            layer, Affine(affine.scale, np.zeros_like(affine.shift))
        ), net_collapse,
    ),
]  # fmt: skip


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
    path, _, owner = module.partition(".") if module[0].islower() else (module, "", "")
    full = f"caffefold.rewrite.{path}" if path != "model" else "caffefold.model.blob"
    holder = importlib.import_module(full)
    for part in [*owner.replace("blob.", "").split("."), *name.split(".")[:-1]]:
        if part:
            holder = getattr(holder, part)
    return holder, name.split(".")[-1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[m[0] for m in MUTANTS])
def test_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Any) -> None:
    _, module, name, mutate, build = mutant
    pair = write(tmp_path, [data(1, 4, 6, 6), *build()])
    caffefold.convert(*pair, tmp_path / "sound")

    holder, attribute = target_of(module, name)
    if module == "sources" and name in ("_scale", "_batch_norm"):
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
