"""Builds a random net layer by layer: draws, blobs by name and version, tops in place or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2 as pb

Array: TypeAlias = npt.NDArray[np.float32]
Shape: TypeAlias = tuple[int, ...]
T = TypeVar("T")

IN_PLACE = {"BatchNorm", "Bias", "Dropout", "Power", "ReLU", "Scale", "Sigmoid"}


@dataclass
class Current:
    """The newest version of a blob: its shape, roughly its values' size, and its readers so far."""

    shape: Shape
    size: float
    readers: int = 0


@dataclass
class Made:
    """A layer with learned blobs, for another one to share."""

    layer: pb.LayerParameter
    learned: list[Array]
    bottom: Shape
    top: Shape
    gain: float


@dataclass
class Builder:
    draw: st.DrawFn
    rng: np.random.Generator
    net: pb.NetParameter = field(default_factory=pb.NetParameter)
    learned: dict[str, list[Array]] = field(default_factory=dict)
    blobs: dict[str, Current] = field(default_factory=dict)
    made: list[Made] = field(default_factory=list)

    # ------------------------------------------------------------------------------------ choices

    def one_in(self, count: int) -> bool:
        """True once in `count` times; shrinks to False."""
        return self.draw(st.integers(0, count - 1)) == count - 1

    def coin(self) -> bool:
        return self.draw(st.booleans())

    def shuffled(self, items: list[T]) -> list[T]:
        return list(self.draw(st.permutations(items)))

    def pick(self, options: Sequence[T]) -> T:
        """One of the options; shrinks to the first."""
        return self.draw(st.sampled_from(options))

    def newest_first(self) -> list[str]:
        return list(reversed(self.blobs))

    def partners(self, fits: Callable[[Current], bool]) -> list[str]:
        return [name for name in self.newest_first() if fits(self.blobs[name])]

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    # ------------------------------------------------------------------------------------- layers

    def layer(self, kind: str, bottoms: Sequence[str]) -> pb.LayerParameter:
        """A new layer without tops; `finish` completes it."""
        name = f"{kind.lower()}{len(self.net.layer)}"
        return self.net.layer.add(name=name, type=kind, bottom=bottoms)

    def finish(
        self,
        layer: pb.LayerParameter,
        tops: Sequence[Shape],
        size: float,
        learned: Sequence[Array] = (),
    ) -> None:
        """Gives the layer its tops, in place where that is legal and drawn, and its blobs."""
        bottom = layer.bottom[0]
        legal = (
            layer.type in IN_PLACE
            # A second reader of the overwritten version would need a Split with another name.
            and self.blobs[bottom].readers == 0
            and list(layer.bottom).count(bottom) == 1
        )
        for name in layer.bottom:
            self.blobs[name].readers += 1
        in_place = legal and self.coin()
        own_names = not in_place and self.one_in(4)
        for index, shape in enumerate(tops):
            suffix = f"_{index}" if len(tops) > 1 else ""
            top = bottom if in_place else f"{'top_' if own_names else ''}{layer.name}{suffix}"
            layer.top.append(top)
            self.blobs.pop(top, None)
            self.blobs[top] = Current(shape, size)
        if learned:
            self.learned[layer.name] = list(learned)

    def finish_learned(
        self, layer: pb.LayerParameter, top: Shape, gain: float, learned: Sequence[Array]
    ) -> None:
        """`finish` for a layer with one bottom, whose blobs others may share."""
        bottom = self.blobs[layer.bottom[0]]
        if self.one_in(8):
            for index in range(len(learned)):
                layer.param.add(name=f"{layer.name}_{index}", lr_mult=_lr_mult(layer))
        self.made.append(Made(layer, list(learned), bottom.shape, top, gain))
        self.finish(layer, [top], max(1.0, bottom.size * gain), learned)

    def share(self, bottom: str, made: Made) -> None:
        """A layer like `made`, using its blobs by `param` name: all of them, or only the first."""
        original = made.layer
        count = len(made.learned)
        shared = 1 if original.type != "BatchNorm" and count > 1 and self.one_in(3) else count
        while len(original.param) < shared:
            original.param.add(lr_mult=_lr_mult(original))
        for index in range(shared):
            original.param[index].name = f"{original.name}_{index}"
        layer = self.layer(original.type, [bottom])
        name = layer.name
        layer.CopyFrom(original)
        layer.name = name
        del layer.bottom[:], layer.top[:], layer.param[shared:]
        layer.bottom.append(bottom)
        own = [self.normal(*values.shape) for values in made.learned[shared:]]
        size = max(1.0, self.blobs[bottom].size * made.gain)
        self.finish(layer, [made.top], size, made.learned[:shared] + own)


def _lr_mult(layer: pb.LayerParameter) -> float:
    """Caffe insists on 0 for BatchNorm's statistics."""
    return 0.0 if layer.type == "BatchNorm" else 1.0
