"""Random nets with planted dead channels: exactly these go, and what the net computes stays.

Nets are made of every way in which channels hang together. Each channel has a number, the same
wherever it is handed on, so which layers lose how many follows from the numbers alone. The witness
is torch in float64 (tests/reference), which knows nothing of this package.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import caffefold
from caffefold.testing import LayerSpec, RandomLayers, input_layer, relu, write_pair
from tests.passes.slim.test_structures import outputs
from tests.reference.caffe_torch import net_outputs, run

EXAMPLES = int(os.environ.get("CAFFEFOLD_EXAMPLES", "4"))
LIMIT = 2e-6  # of the largest value: biases are rounded to float32
Channels = list[int]


class Net:
    """A net as it grows: its layers, and the channels of the blob at its end."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.make = RandomLayers(seed)
        self.layers = [input_layer(1, 3, 8, 8)]
        self.dead: set[int] = set()
        self.count = 0
        self.made: dict[str, Channels] = {}
        """By layer with a num_output, its outputs."""
        self.blob, self.channels, self.side = "data", self.fresh(3), 8
        parts: list[Callable[[], None]] = [
            self.block, self.depthwise, self.grouped, self.shuffled, self.residual, self.joined,
            self.sliced, self.gated, self.slopes, self.pooled, self.cropped, self.enlarged,
            self.normalised, self.shared, self.gone,
        ]  # fmt: skip
        self.block()
        for part in self.draw.permutation(len(parts))[: self.draw.integers(2, 6)]:
            parts[part]()
        self.head()

    def name(self, what: str) -> str:
        self.count += 1
        return f"{what}{self.count}"

    def fresh(self, count: int, dying: Iterable[int] = ()) -> Channels:
        """New channels, of which those at the places ``dying`` are dead."""
        first = max(max(self.dead, default=0), getattr(self, "last", 0)) + 1
        self.last = first + count
        made = list(range(first, self.last))
        self.dead.update(made[place] for place in dying)
        return made

    def some(self, count: int) -> list[int]:
        """About a third of the places, and never all."""
        return [place for place in range(1, count) if self.draw.random() < 0.35]

    def add(self, layer: LayerSpec, channels: Channels | None = None) -> str:
        self.layers.append(layer)
        if channels is not None:
            self.made[layer.name] = channels
        return layer.name

    def statistics(self, name: str, channels: Channels, *, active: bool = True) -> None:
        """BatchNorm and Scale with gamma 0 where channels are dead, and a ReLU that shuts them."""
        gamma, beta = self.make.positive(len(channels)), self.make.normal(len(channels))
        for place, channel in enumerate(channels):
            if channel in self.dead:
                gamma[place] = 0
                beta[place] = -abs(beta[place]) if active else 0
        self.add(self.make.batch_norm(f"{name}/bn", name, len(channels), top=name))
        params = "scale_param { bias_term: true }"
        self.add(LayerSpec(f"{name}/scale", "Scale", name, name, params, [gamma, beta]))
        if active:
            self.add(relu(f"{name}/relu", name))

    def conv(
        self, bottom: str, inputs: Channels, channels: Channels, *, kernel: int = 3, group: int = 1,
        active: bool = True,
    ) -> str:  # fmt: skip
        name = self.name("conv")
        params = f"pad: {kernel // 2}"
        layer = self.make.conv(
            name, bottom, len(inputs), len(channels), kernel=kernel, group=group, bias=False,
            params=params,
        )  # fmt: skip
        weights = np.asarray(layer.blobs[0])
        layer = layer._replace(blobs=[weights / np.sqrt(weights[0].size)])
        self.add(layer, channels)
        self.statistics(name, channels, active=active)
        return name

    # ---------------------------------------------------------------------------- structures

    def block(self, dying: list[int] | None = None, count: int = 0) -> None:
        count = count or int(self.draw.integers(4, 8))
        channels = self.fresh(count, self.some(count) if dying is None else dying)
        self.blob = self.conv(self.blob, self.channels, channels)
        self.channels = channels

    def depthwise(self) -> None:
        self.blob = self.conv(self.blob, self.channels, self.channels, group=len(self.channels))

    def even(self, groups: int, each: int) -> list[int]:
        """Dead places, the same in each group."""
        places = self.some(each)
        return [group * each + place for group in range(groups) for place in places]

    def grouped(self) -> None:
        self.block(self.even(2, 4), 8)
        channels = self.fresh(6, self.even(2, 3))
        self.blob = self.conv(self.blob, self.channels, channels, group=2)
        self.channels = channels

    def shuffled(self) -> None:
        groups, each = 2, 3
        self.block(self.even(groups, each), groups * each)
        name = self.name("shuffle")
        params = f"shuffle_channel_param {{ group: {groups} }}"
        self.blob = self.add(LayerSpec(name, "ShuffleChannel", self.blob, name, params))
        table = np.array(self.channels).reshape(groups, each)
        self.channels = table.T.reshape(-1).tolist()

    def residual(self) -> None:
        inner = self.fresh(4, self.some(4))
        first = self.conv(self.blob, self.channels, inner)
        side = self.conv(first, inner, self.channels, active=False)
        name = self.name("sum")
        operation = self.draw.choice(["SUM", "MAX", "PROD"])
        params = f"eltwise_param {{ operation: {operation} }}"
        self.blob = self.add(LayerSpec(name, "Eltwise", f"{self.blob} {side}", name, params))

    def gone(self) -> None:
        """A residual block that adds nothing; the sum becomes a Scale."""
        inner = self.fresh(4)
        first = self.conv(self.blob, self.channels, inner)
        side = self.name("nothing")
        layer = self.make.conv(side, first, 4, len(self.channels), bias=False, params="pad: 1")
        layer.blobs[0][:] = 0  # type: ignore[index]
        self.add(layer)
        for lost in (first, side):
            self.made.pop(lost, None)
        name = self.name("sum")
        self.blob = self.add(LayerSpec(name, "Eltwise", f"{side} {self.blob}", name))

    def joined(self) -> None:
        sides, channels = [], []
        for count in (3, 5):
            own = self.fresh(count, self.some(count))
            sides.append(self.conv(self.blob, self.channels, own))
            channels += own
        name = self.name("concat")
        self.blob = self.add(LayerSpec(name, "Concat", " ".join(sides), name))
        self.channels = channels

    def sliced(self) -> None:
        """Cut, and put together the other way round."""
        self.block([1, 4], 7)
        name, other = self.name("slice"), self.name("swap")
        params = "slice_param { slice_point: 3 }"
        self.add(LayerSpec(name, "Slice", self.blob, f"{name}a {name}b", params))
        self.blob = self.add(LayerSpec(other, "Concat", f"{name}b {name}a", other))
        self.channels = self.channels[3:] + self.channels[:3]

    def gated(self) -> None:
        pool, small, wide, gate, name = map(self.name, ("pool", "fc", "fc", "gate", "mul"))
        count = len(self.channels)
        params = "pooling_param { pool: AVE global_pooling: true }"
        self.add(LayerSpec(pool, "Pooling", self.blob, pool, params))
        self.add(self.make.inner_product(small, pool, count, 3), self.fresh(3))
        self.add(relu(f"{small}/relu", small))
        self.add(self.make.inner_product(wide, small, 3, count), self.channels)
        self.add(LayerSpec(gate, "Sigmoid", wide, gate))
        params = "scale_param { axis: 0 }"
        self.blob = self.add(LayerSpec(name, "Scale", f"{self.blob} {gate}", name, params))

    def slopes(self) -> None:
        name = self.name("prelu")
        blobs = [self.make.positive(len(self.channels))]
        self.blob = self.add(LayerSpec(name, "PReLU", self.blob, name, "", blobs))

    def pooled(self) -> None:
        name = self.name("pool")
        params = f"pooling_param {{ pool: {self.draw.choice(['MAX', 'AVE'])} kernel_size: 2 }}"
        self.blob = self.add(LayerSpec(name, "Pooling", self.blob, name, params))
        self.side -= 1

    def cropped(self) -> None:
        like, name = self.name("pool"), self.name("crop")
        self.add(LayerSpec(like, "Pooling", self.blob, like, "pooling_param { kernel_size: 2 }"))
        params = "crop_param { axis: 2 offset: 1 }"
        self.blob = self.add(LayerSpec(name, "Crop", f"{self.blob} {like}", name, params))
        self.side -= 1

    def enlarged(self) -> None:
        name, channels = self.name("deconv"), self.fresh(4, self.some(4))
        layer = self.make.conv(
            name, self.blob, len(self.channels), 4, kernel=2, bias=False, kind="Deconvolution"
        )
        self.add(layer, channels)
        self.statistics(name, channels)
        self.blob, self.channels, self.side = name, channels, self.side + 1

    def normalised(self) -> None:
        name = self.name("norm")
        params = "norm_param { across_spatial: false channel_shared: false }"
        blobs = [self.make.positive(len(self.channels))]
        self.blob = self.add(LayerSpec(name, "Normalize", self.blob, name, params, blobs))

    def shared(self) -> None:
        """Two convolutions of one weight, each with statistics of its own, added up."""
        channels, at = self.fresh(5, self.some(5)), len(self.layers)
        sides = [self.conv(self.blob, self.channels, channels) for _ in range(2)]
        weight = f'param {{ name: "w{self.count}" }}'
        first = self.layers[at]
        for i, layer in enumerate(self.layers[at:], at):
            if layer.name in sides:
                params = layer.params + weight
                self.layers[i] = layer._replace(params=params, blobs=first.blobs)
        name = self.name("sum")
        self.blob = self.add(LayerSpec(name, "Eltwise", " ".join(sides), name))
        self.channels = channels

    def head(self) -> None:
        """Never cut: boxes as of a detector, and a classifier behind Flatten, SPP or nothing."""
        count = len(self.channels)
        box, turned, flat = map(self.name, ("box", "permute", "flatten"))
        self.add(self.make.conv(box, self.blob, count, 4, params="pad: 1"), self.fresh(4))
        params = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
        self.add(LayerSpec(turned, "Permute", box, turned, params))
        self.add(LayerSpec(flat, "Flatten", turned, flat))
        way, inputs, blob = self.draw.integers(3), count * self.side**2, self.blob
        if way == 0:
            blob = self.add(LayerSpec(self.name("flatten"), "Flatten", blob))
        elif way == 1:
            params, inputs = "spp_param { pyramid_height: 2 }", count * 5
            blob = self.add(LayerSpec(self.name("spp"), "SPP", blob, params=params))
        self.add(self.make.inner_product("fc", blob, inputs, 3), self.fresh(3))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="CAFFEFOLD_EXAMPLES" not in os.environ,
)
@given(st.integers(0, 2**32 - 1))
def test_exactly_the_planted_channels_go(seed: int) -> None:
    made = Net(seed)
    left = {name: sum(c not in made.dead for c in own) for name, own in made.made.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = write_pair(folder, made.layers)
        net = caffefold.load(*pair)
        result = caffefold.slim(net)
        assert outputs(result.net) == left
        assert result.bounded == 0
        slim = caffefold.save(result.net, folder / "slim")
        assert result.costs[1].macs == caffefold.inspect(*slim).totals.macs
        assert result.costs[1].parameters == caffefold.inspect(*slim).totals.parameters
        names = {row.layer for row in result.table}
        for layer in caffefold.to_deploy(net).net:
            if layer.name not in names:  # nothing else is touched
                other = result.net[layer.name]
                assert str(other.body) == str(layer.body)
                for x, y in zip(layer.blobs, other.blobs, strict=True):
                    np.testing.assert_array_equal(np.asarray(x), np.asarray(y))
        inputs = {"data": np.random.default_rng(seed).normal(size=(1, 3, 8, 8))}
        wanted = run(*pair, inputs, net_outputs(pair[0]))
        caffefold.convert(*pair, folder / "out", slim=True)
        for text, weights in (slim, (folder / "out.prototxt", folder / "out.caffemodel")):
            found = run(text, weights, inputs)
            for blob, values in wanted.items():
                assert found[blob].shape == values.shape
                error = np.abs(found[blob] - values).max()
                assert error <= LIMIT * max(np.abs(values).max(), 1e-3), blob
