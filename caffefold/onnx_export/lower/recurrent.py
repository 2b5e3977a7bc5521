"""Recurrent layers, step after step: cont may be 0 anywhere, which ONNX's LSTM cannot say."""

from __future__ import annotations

from typing import NamedTuple

from caffefold.onnx_export.site import LONGEST_SEQUENCE, Site
from caffefold.ops.base import WeightSpec


class _Steps(NamedTuple):
    """What each step starts from: values by time."""

    added: tuple[str, ...]
    """What the input adds to the gates, (streams, rows)."""
    marks: tuple[str, ...]
    """cont, (streams, 1)."""
    states: tuple[str, ...]
    """The states before the first step, (streams, outputs)."""


def lstm(site: Site) -> None:
    """LSTM: gates in the order input, forget, output, candidate (lstm_unit_layer.cpp)."""
    steps, specs = _steps(site, 2), _specs(site)
    hidden = _weight(site, specs, "W_h")
    h, c = steps.states
    made = []
    for added, mark in zip(steps.added, steps.marks, strict=True):
        product = site.add("Gemm", site.add("Mul", h, mark), hidden, transB=1)
        h, c = _unit(site, c, site.add("Add", added, product), mark, 1)
        made.append(h)
    _finish(site, made, (h, c))


def _unit(site: Site, c: str, gates: str, mark: str, axis: int) -> tuple[str, str]:
    """(h, c) after a step."""
    width = (site.made[0] or (0,))[-1] or 0
    sizes = site.ints([width] * 4, "gates")
    i, f, o, g = site.add_many("Split", (gates, sizes), (None,) * 4, axis=axis)
    kept = site.add("Mul", site.add("Mul", mark, site.add("Sigmoid", f)), c)
    new = site.add("Mul", site.add("Sigmoid", i), site.add("Tanh", g))
    c = site.add("Add", kept, new)
    return site.add("Mul", site.add("Sigmoid", o), site.add("Tanh", c)), c


def lstm_unit(site: Site) -> None:
    """One step of an LSTM: bottoms are the cell before, the gates and cont."""
    shape = site.rank_known(2)
    mark = site.reshape(site.bottoms[2], (*shape, 1), like=shape)
    h, c = _unit(site, site.x, site.bottoms[1], mark, site.rank - 1)
    site.add("Identity", c, top=0)
    site.add("Identity", h, top=1)


def rnn(site: Site) -> None:
    """RNN: tanh of the state, and tanh of an output made of it (rnn_layer.cpp)."""
    steps, specs = _steps(site, 1), _specs(site)
    hidden, output = _weight(site, specs, "W_h"), _weight(site, specs, "W_ho")
    bias = _weight(site, specs, "b_o")
    (h,) = steps.states
    made = []
    for added, mark in zip(steps.added, steps.marks, strict=True):
        product = site.add("Gemm", site.add("Mul", h, mark), hidden, transB=1)
        h = site.add("Tanh", site.add("Add", added, product))
        made.append(site.add("Tanh", site.add("Gemm", h, output, bias, transB=1)))
    _finish(site, made, (h,))


def _specs(site: Site) -> tuple[WeightSpec, ...]:
    return site.op.weights(site.layer, site.shapes) or ()


def _weight(site: Site, specs: tuple[WeightSpec, ...], role: str) -> str:
    index, spec = next((i, spec) for i, spec in enumerate(specs) if spec.role == role)
    return site.weight(index, tuple(dim or 0 for dim in spec.shape), role)


def _steps(site: Site, states: int) -> _Steps:
    time, streams, *rest = site.extents(0)
    if time > LONGEST_SEQUENCE:
        raise site.error(f"it is unrolled, {time} steps are too many (at most {LONGEST_SEQUENCE})")
    site.afford(streams, (site.made[0] or (0,))[-1] or 0)
    specs, outputs = _specs(site), (site.made[0] or (0,))[-1] or 0
    inputs = 1
    for extent in rest:
        inputs *= extent
    exposed = site.params.flag("expose_hidden")
    rows = site.reshape(site.x, (time * streams, inputs), like=())
    gates = site.add("Gemm", rows, _weight(site, specs, "W_x"), _weight(site, specs, "b"), transB=1)
    gates = site.reshape(gates, (time, streams, specs[0].shape[0]), like=())
    statics = len(site.bottoms) - 2 - (states if exposed else 0)
    if statics:
        flat = site.add("Flatten", site.bottoms[2], axis=1)
        more = site.add("Gemm", flat, _weight(site, specs, "W_static"), transB=1)
        gates = site.add("Add", gates, more)
    marks = site.reshape(site.bottoms[1], (time, streams, 1), like=())
    first: tuple[str, ...]
    if exposed:
        given = site.bottoms[-states:]
        first = tuple(site.reshape(each, (streams, outputs), like=()) for each in given)
    else:
        zero = site.const([[0.0] * outputs] * streams, "zero")
        first = (zero,) * states
    return _Steps(_parts(site, gates, time), _parts(site, marks, time), first)


def _parts(site: Site, value: str, time: int) -> tuple[str, ...]:
    """``value`` of each time, without the time axis."""
    return tuple(site.add("Gather", value, site.ints(step, "step"), axis=0) for step in range(time))


def _finish(site: Site, made: list[str], states: tuple[str, ...]) -> None:
    """All steps as one blob, and the last states where they are asked for."""
    streams, outputs = (site.made[0] or (0, 0, 0))[1:]
    site.joined([site.reshape(each, (1, streams, outputs), like=()) for each in made], 0, top=0)
    for top, state in enumerate(states, 1):
        if top < len(site.tops):
            site.reshape(state, (1, streams, outputs), top=top, like=())
