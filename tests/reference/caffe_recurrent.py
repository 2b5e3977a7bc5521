"""Caffe's recurrent layers, in torch, from a zero state or the one that is given."""

from __future__ import annotations

import torch

from tests.reference.caffe_layers import Function, Layer, Tensor, Tops


def _unrolled(layer: Layer, bottoms: list[Tensor], states: int, rows: int) -> tuple[Tops, Tensor]:
    """(the states before the first step, what the input adds to the gates at each step).

    Bottoms are x (T, N, ...), cont (T, N), perhaps one static input (N, ...), and with
    `expose_hidden` the first states (1, N, H). Blobs start with W_x, b and perhaps W_static.
    """
    p = layer.spec.recurrent_param
    x, _, *more = bottoms
    given = more[len(more) - states :] if p.expose_hidden else []
    static = more[: len(more) - len(given)]
    steps, count = x.shape[:2]
    inputs = x.reshape(steps, count, -1)
    weight = layer.weight(0, (rows, inputs.shape[-1]))
    added = inputs @ weight.T + layer.weight(1, (rows,))
    if static:
        flat = static[0].reshape(count, -1)
        added = added + flat @ layer.weight(2, (rows, flat.shape[1])).T
    zero = torch.zeros(count, p.num_output, dtype=x.dtype)
    return [state[0] for state in given] or [zero] * states, added


def lstm(layer: Layer, bottoms: list[Tensor]) -> Tops:
    size = layer.spec.recurrent_param.num_output
    (h, c), added = _unrolled(layer, bottoms, 2, 4 * size)
    count = layer.expect(3, 4)
    weight = layer.weight(count - 1, (4 * size, size))
    made = []
    for step, cont in zip(added, bottoms[1], strict=True):
        h, c = _lstm_step(c, step + (cont[:, None] * h) @ weight.T, cont[:, None])
        made.append(h)
    states = [h[None], c[None]] if layer.spec.recurrent_param.expose_hidden else []
    return [torch.stack(made), *states]


def _lstm_step(c: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
    """(h, c) after a step; the gates stand in the order input, forget, output, candidate."""
    i, f, o, g = gates.chunk(4, dim=-1)
    c = cont * torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm_unit(_layer: Layer, bottoms: list[Tensor]) -> Tops:
    c_before, gates, cont = bottoms
    h, c = _lstm_step(c_before, gates, cont[..., None])
    return [c, h]


def rnn(layer: Layer, bottoms: list[Tensor]) -> Tops:
    size = layer.spec.recurrent_param.num_output
    (h,), added = _unrolled(layer, bottoms, 1, size)
    first = layer.expect(5, 6) - 3
    weight, out = (layer.weight(first + index, (size, size)) for index in (0, 1))
    bias = layer.weight(first + 2, (size,))
    made = []
    for step, cont in zip(added, bottoms[1], strict=True):
        h = torch.tanh(step + (cont[:, None] * h) @ weight.T)
        made.append(torch.tanh(h @ out.T + bias))
    return [torch.stack(made), *([h[None]] if layer.spec.recurrent_param.expose_hidden else [])]


RECURRENT: dict[str, Function] = {"LSTM": lstm, "LSTMUnit": lstm_unit, "RNN": rnn}
