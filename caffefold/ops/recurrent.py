"""Layers that read sequences, one step after another (recurrent_layer.cpp and the forks' own)."""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.ir.net import Layer
from caffefold.ops.base import Op, WeightSpec, tail
from caffefold.ops.linear import outputs_of
from caffefold.ops.shape import Dim, Known, Shape, Step, agreed, first, product, show, total


class Recurrent(Op):
    """A type of which no more is known than that it reads sequences."""

    recurrent = True
    learned = True
    known = False


class RNN(Recurrent):
    """LSTM and RNN: time x streams x num_output; ``expose_hidden`` adds the states at the end."""

    param = "recurrent_param"
    known = True
    gates, states = 1, 1

    def prepare(self, layer: Layer) -> Step:
        params = self.params(layer)
        outputs = outputs_of(layer, params.integer("num_output"))

        def step(bottoms: Sequence[Shape]) -> list[Shape]:
            shape: Known = first(bottoms) or (None, None)
            if len(shape) < 2:
                raise layer.error(f"its input {show(shape)} has no axes of time and streams")
            streams = shape[1]
            if len(bottoms) > 1 and bottoms[1] is not None:
                marks = bottoms[1]
                if len(marks) != 2:
                    raise layer.error(f"its sequence marks {show(marks)} must have 2 axes")
                streams = agreed(layer, streams, marks[1], "streams of its inputs")
            time = shape[0]
            return [(time, streams, outputs), *[(1, streams, outputs)] * (len(layer.tops) - 1)]

        return step

    def weights(self, layer: Layer, bottoms: Sequence[Shape]) -> tuple[WeightSpec, ...] | None:
        """W_xh, b_h, (W_xh_static,) W_hh, W_ho, b_o (rnn_layer.cpp)."""
        outputs = self.params(layer).integer("num_output")
        return (*self._steps(layer, bottoms), WeightSpec("W_ho", (outputs, outputs)),
                WeightSpec("b_o", (outputs,)))  # fmt: skip

    def _steps(self, layer: Layer, bottoms: Sequence[Shape]) -> tuple[WeightSpec, ...]:
        """The weights of one time step: W_x, b, (W_static,) W_h, for all gates."""
        params = self.params(layer)
        outputs = params.integer("num_output")
        rows = outputs * self.gates
        states = self.states if params.flag("expose_hidden") else 0
        static: tuple[WeightSpec, ...] = ()
        if len(layer.bottoms) - states > 2:
            static = (WeightSpec("W_static", (rows, tail(bottoms[2], 1))),)
        inputs = WeightSpec("W_x", (rows, tail(first(bottoms), 2)))
        return (inputs, WeightSpec("b", (rows,)), *static, WeightSpec("W_h", (rows, outputs)))

    def wants_weights(self, layer: Layer) -> bool:
        return True

    def macs(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Dim:
        """Time x streams x D x (I + 2 D): the output is a product too."""
        outputs, inputs = self.params(layer).integer("num_output"), tail(first(bottoms), 2)
        return None if inputs is None else product((total(first(tops)), inputs + 2 * outputs))


class LSTM(RNN):
    """LSTM: four gates; W_xc, b_c, (W_xc_static,) W_hc (lstm_layer.cpp)."""

    gates, states = 4, 2

    def weights(self, layer: Layer, bottoms: Sequence[Shape]) -> tuple[WeightSpec, ...] | None:
        return self._steps(layer, bottoms)

    def macs(self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> Dim:
        """Time x streams x 4 D x (I + D)."""
        outputs, inputs = self.params(layer).integer("num_output"), tail(first(bottoms), 2)
        return None if inputs is None else product((total(first(tops)), 4 * (inputs + outputs)))


class LSTMUnit(Recurrent):
    """LSTMUnit: one step of an LSTM; cell and output are like the cell before (lstm_unit_layer)."""

    known = True

    def prepare(self, layer: Layer) -> Step:
        count = len(layer.tops)
        return lambda bottoms: [first(bottoms)] * count


OPS = (
    *(LSTM("LSTM"), RNN("RNN"), LSTMUnit("LSTMUnit"), Recurrent("GRU"), Recurrent("Lstm")),
    *(Recurrent("Recurrent"), Recurrent("BLSTM")),
)
