"""Nets from text for tests of shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from caffefold.analysis.shapes import infer
from caffefold.formats.caffemodel.blob import Blob, Floats
from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.ops.shape import Known, Shape
from caffefold.testing import LayerSpec, net_text


def net(text: str) -> Net:
    """A net without weights."""
    return Net.of(parse(text, "net.prototxt"))


def layer(kind: str, text: str = "", *, bottoms: int = 1, tops: int = 1) -> str:
    """A layer 'it' of this type that reads b0, b1 ... and makes t0, t1 ..."""
    read, made = (" ".join(f"{x}{i}" for i in range(n)) for x, n in (("b", bottoms), ("t", tops)))
    return LayerSpec("it", kind, read, made, text).prototxt()


def tops(
    kind: str, text: str, *bottoms: Known, count: int = 1, weights: Net | None = None
) -> tuple[Shape, ...]:
    """The shapes a layer makes of its bottoms; raises what infer collects."""
    given = net(layer(kind, text, bottoms=len(bottoms), tops=count))
    found = infer(weights or given, {f"b{i}": shape for i, shape in enumerate(bottoms)})
    for problem in found.problems:
        raise problem
    return found.tops(0)


@dataclass(frozen=True, slots=True)
class ShapeOnly(Blob):
    """A blob of which only the shape is ever asked."""

    shape: tuple[int, ...]

    def read(self, start: int, stop: int) -> Floats:
        """Nobody may ask."""
        raise AssertionError(f"numbers {start}:{stop} are read")


def chain(layers: str, source: str = "data") -> str:
    """Layers one behind the other such as ``"conv 64 7/2+3, max 2/2"``: kernel, stride, pad.

    ``conv`` N, ``max``, ``ave``, ``fc`` N, or the plain name of a type.
    """
    made, blob = [], source
    for i, spec in enumerate(layers.split(",")):
        kind, *rest = spec.split()
        name = f"{kind}{i}"
        window = f"kernel_size: {(rest or '1')[-1]}".replace("/", " stride: ").replace(
            "+", " pad: "
        )
        if kind == "conv":
            body = f"convolution_param {{ num_output: {rest[0]} {window} }}"
        elif kind == "fc":
            body = f"inner_product_param {{ num_output: {rest[0]} }}"
        else:
            body = f"pooling_param {{ pool: {kind.upper()} {window} }}" if rest else ""
        types = {"conv": "Convolution", "fc": "InnerProduct", "max": "Pooling", "ave": "Pooling"}
        made.append(LayerSpec(name, types.get(kind, kind), blob, params=body))
        blob = name
    return net_text(made, head="")


def weighed(given: Net, blobs: Mapping[str, tuple[int, ...]]) -> Net:
    """The net with a first blob of this shape for some layers, by name."""
    new = {
        i: (layer.with_blobs((ShapeOnly(blobs[layer.name]),)),)
        for i, layer in enumerate(given.layers)
        if layer.name in blobs
    }
    assert len(new) == len(blobs)
    return given.substitute(new)
