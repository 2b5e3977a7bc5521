"""Layers that read sequences, one step after another (recurrent_layer.cpp and the forks' own)."""

from __future__ import annotations

from collections.abc import Sequence

from caffefold.ir.net import Layer
from caffefold.ops.base import Op, WeightSpec
from caffefold.ops.linear import outputs_of
from caffefold.ops.shape import Dim, ShapeList, agreed, first, product, second, show, total


class Recurrent(Op):
    """A type of which no more is known than that it reads sequences."""

    recurrent = True
    learned = True
    known = False


class RNN(Recurrent):
    """LSTM and RNN: time x streams x num_output; ``expose_hidden`` adds the states at the end."""

    param = "recurrent_param"
    known = True
    required = True
    gates, states = 1, 1

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        outputs, marks = outputs_of(layer, self.params(layer)), second(bottoms)
        shape = first(bottoms) or (None, None)
        if len(shape) < 2:
            raise layer.error(f"its input {show(shape)} has no time and stream axes")
        time, streams = shape[:2]
        if marks is not None:
            if len(marks) != 2:
                raise layer.error(f"its sequence markers {show(marks)} must have 2 axes")
            time = agreed(layer, time, marks[0], "time steps of its inputs")
            streams = agreed(layer, streams, marks[1], "streams of its inputs")
        self._check_states(layer, bottoms[2:], streams)
        return [(time, streams, outputs), *[(1, streams, outputs)] * (len(layer.tops) - 1)]

    def axes(self, layer: Layer, place: int) -> str:
        return ("TNC", "TN")[place] if place < 2 else ""

    def _check_states(self, layer: Layer, bottoms: ShapeList, streams: Dim) -> None:
        """Refuse a static input, or states, of another number of streams."""
        states = self.states if self.params(layer).flag("expose_hidden") else 0
        static = len(bottoms) - states
        for place, shape in enumerate(bottoms):
            if shape and place < static:
                agreed(layer, streams, shape[0], "streams of its inputs")
            elif shape and len(shape) > 1:
                agreed(layer, 1, shape[0], "time steps of a state")
                agreed(layer, streams, shape[1], "streams of its inputs")

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        """W_xh, b_h, (W_xh_static,) W_hh, W_ho, b_o (rnn_layer.cpp)."""
        outputs = self.params(layer).integer("num_output")
        output = (WeightSpec("W_ho", (outputs, outputs)), WeightSpec("b_o", (outputs,)))
        return (*self._steps(layer, bottoms), *output)

    def _steps(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...]:
        """The weights of one time step: W_x, b, (W_static,) W_h, for all gates."""
        params = self.params(layer)
        outputs = params.integer("num_output")
        rows = outputs * self.gates
        states = self.states if params.flag("expose_hidden") else 0
        static: tuple[WeightSpec, ...] = ()
        if len(layer.bottoms) - states > 2:
            static = (WeightSpec("W_static", (rows, total(bottoms[2], 1))),)
        inputs = WeightSpec("W_x", (rows, total(first(bottoms), 2)))
        return (inputs, WeightSpec("b", (rows,)), *static, WeightSpec("W_h", (rows, outputs)))

    def stated_by_blobs(self, layer: Layer) -> dict[str, Sequence[int | str]]:
        if self.params(layer).has("num_output") or not (layer.blobs and layer.blobs[-1].shape):
            return {}
        return {"num_output": layer.blobs[-1].shape[-1:]}  # of b_o, or of W_h

    def macs(self, layer: Layer, bottoms: ShapeList, tops: ShapeList) -> Dim:
        """Time x streams x D x (I + 2 D): the output is a product too."""
        outputs, inputs = self.params(layer).integer("num_output"), total(first(bottoms), 2)
        return None if inputs is None else product((total(first(tops)), inputs + 2 * outputs))


class LSTM(RNN):
    """LSTM: four gates; W_xc, b_c, (W_xc_static,) W_hc (lstm_layer.cpp)."""

    gates, states = 4, 2

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        return self._steps(layer, bottoms)

    def macs(self, layer: Layer, bottoms: ShapeList, tops: ShapeList) -> Dim:
        """Time x streams x 4 D x (I + D)."""
        outputs, inputs = self.params(layer).integer("num_output"), total(first(bottoms), 2)
        return None if inputs is None else product((total(first(tops)), 4 * (inputs + outputs)))


class LSTMUnit(Recurrent):
    """LSTMUnit: one step of an LSTM; cell and output are like the cell before (lstm_unit_layer)."""

    known = True

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        streams: Dim = None
        for shape in bottoms:
            if shape is not None and len(shape) > 1:
                agreed(layer, 1, shape[0], "its inputs are one time step")
                streams = agreed(layer, streams, shape[1], "streams of its inputs")
        return [first(bottoms)] * len(layer.tops)

    def axes(self, layer: Layer, place: int) -> str:
        return "1N" if place == 2 else "1NC"


OPS = (
    *(LSTM("LSTM"), RNN("RNN"), LSTMUnit("LSTMUnit"), Recurrent("GRU"), Recurrent("Lstm")),
    *(Recurrent("Recurrent"), Recurrent("BLSTM")),
)
