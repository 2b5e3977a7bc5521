"""Small nets for tests, written with protobuf alone: text plus weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from caffefold._proto import caffe_pb2 as pb

Array = NDArray[np.float32]


@dataclass(frozen=True)
class L:
    """One layer: name, type, bottoms, tops (default: its name), further text, blobs."""

    name: str
    type: str
    bottoms: str = ""
    tops: str = ""
    text: str = ""
    blobs: Sequence[ArrayLike] = field(default=())

    def prototxt(self) -> str:
        """The layer as text."""
        wires = "".join(f' bottom: "{b}"' for b in self.bottoms.split())
        wires += "".join(f' top: "{t}"' for t in (self.tops or self.name).split())
        return f'layer {{ name: "{self.name}" type: "{self.type}"{wires} {self.text} }}\n'


def data(*shape: int, name: str = "data") -> L:
    """An Input layer."""
    dims = " ".join(f"dim: {d}" for d in shape)
    return L(name, "Input", "", "", f"input_param {{ shape {{ {dims} }} }}")


class Numbers:
    """Seeded weights of a plain size."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)

    def normal(self, *shape: int) -> Array:
        """Weights, biases, means."""
        return self.random.normal(size=shape).astype(np.float32)

    def positive(self, *shape: int) -> Array:
        """Variances."""
        return self.random.uniform(0.2, 2.0, size=shape).astype(np.float32)

    def statistics(self, channels: int, factor: float = 999.98) -> list[Array]:
        """The three blobs of a BatchNorm; with factor 0, numbers that Caffe then ignores."""
        scaled = np.float32(factor or 1)
        mean, variance = self.normal(channels), self.positive(channels)
        return [mean * scaled, variance * scaled, np.array([factor], np.float32)]

    def conv(
        self, name: str, bottom: str, inputs: int, outputs: int, *, bias: bool = True,
        kernel: int = 3, group: int = 1, text: str = "", top: str = "", kind: str = "Convolution",
    ) -> L:  # fmt: skip
        """A Convolution, or a Deconvolution with its own weight layout."""
        shape = (outputs, inputs // group, kernel, kernel)
        if kind == "Deconvolution":
            shape = (inputs, outputs // group, kernel, kernel)
        params = f"num_output: {outputs} kernel_size: {kernel} group: {group} {text}"
        params += "" if bias else " bias_term: false"
        blobs = [self.normal(*shape), *([self.normal(outputs)] if bias else [])]
        return L(name, kind, bottom, top, f"convolution_param {{ {params} }}", blobs)

    def product(
        self, name: str, bottom: str, inputs: int, outputs: int, *, bias: bool = True,
        transpose: bool = False,
    ) -> L:  # fmt: skip
        """An InnerProduct."""
        shape = (inputs, outputs) if transpose else (outputs, inputs)
        text = f"num_output: {outputs} bias_term: {str(bias).lower()}"
        text += " transpose: true" if transpose else ""
        blobs = [self.normal(*shape), *([self.normal(outputs)] if bias else [])]
        return L(name, "InnerProduct", bottom, "", f"inner_product_param {{ {text} }}", blobs)

    def norm(
        self, name: str, bottom: str, channels: int, *, top: str = "", eps: float | None = None,
        factor: float = 999.98, text: str = "",
    ) -> L:  # fmt: skip
        """A BatchNorm."""
        params = ("" if eps is None else f"eps: {eps!r} ") + text
        params = f"batch_norm_param {{ {params} }}" if params else ""
        return L(name, "BatchNorm", bottom, top, params, self.statistics(channels, factor))

    def scale(
        self, name: str, bottom: str, channels: int, *, top: str = "", bias: bool = True
    ) -> L:
        """A Scale along the channels."""
        blobs = [self.normal(channels), *([self.normal(channels)] if bias else [])]
        text = "scale_param { bias_term: true }" if bias else ""
        return L(name, "Scale", bottom, top, text, blobs)


def relu(name: str, blob: str, top: str = "") -> L:
    """A ReLU, in place unless ``top`` is given."""
    return L(name, "ReLU", blob, top or blob)


def text(layers: Iterable[L], head: str = 'name: "net"\n') -> str:
    """The prototxt."""
    return head + "".join(layer.prototxt() for layer in layers)


def weights(layers: Iterable[L]) -> bytes:
    """The caffemodel: every layer, with blobs as packed floats."""
    net = pb.NetParameter(name="net")
    for layer in layers:
        record = net.layer.add(name=layer.name, type=layer.type)
        record.bottom.extend(layer.bottoms.split())
        record.top.extend((layer.tops or layer.name).split())
        for numbers in layer.blobs:
            values = np.asarray(numbers, np.float32)
            record.blobs.add(
                data=values.reshape(-1).tolist(), shape=pb.BlobShape(dim=list(values.shape))
            )
    return net.SerializeToString(deterministic=True)


def write(folder: Path, layers: Sequence[L], stem: str = "net") -> tuple[Path, Path]:
    """Both files in ``folder``; their paths."""
    prototxt, caffemodel = folder / f"{stem}.prototxt", folder / f"{stem}.caffemodel"
    prototxt.write_text(text(layers))
    caffemodel.write_bytes(weights(layers))
    return prototxt, caffemodel
