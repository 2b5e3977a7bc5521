"""Small nets for tests, of caffefold or of a program that uses it: one notation for all of them.

A net is a list of layers, each with its wiring, its parameters as text and its weights::

    from caffefold.testing import LayerSpec, RandomLayers, input_layer, write_pair

    make = RandomLayers(seed=1)
    net = [
        input_layer(1, 3, 8, 8),
        make.conv("conv", "data", 3, 4),
        make.batch_norm("bn", "conv", 4, top="conv"),
        LayerSpec("pool", "Pooling", "conv", params="pooling_param { global_pooling: true }"),
    ]
    prototxt, caffemodel = write_pair(tmp_path, net)

Where the wiring matters more than the numbers, a line per layer is shorter. Every function that
takes layers takes such lines as well::

    text = net_text('''
        data Input -> data { input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
        conv Convolution data -> conv { convolution_param { num_output: 4 kernel_size: 3 } }
        relu ReLU conv -> conv
    ''')

Text is formatted here and weights are written by protobuf, never by caffefold's own writers: a
file made with this module is an independent witness for what reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from caffefold.formats.schema import message_class

__all__ = [
    "LayerSpec",
    "RandomLayers",
    "blob_message",
    "input_layer",
    "layers_from",
    "net_text",
    "net_weights",
    "relu",
    "write_pair",
]

Array = NDArray[np.float32]


class LayerSpec(NamedTuple):
    """One layer of a small net."""

    name: str
    type: str
    bottoms: str = ""
    """Names of the blobs it reads, separated by spaces."""
    tops: str | None = None
    """Names of the blobs it writes; None: one blob named like the layer; empty: none."""
    params: str = ""
    """What else stands between its braces."""
    blobs: Sequence[ArrayLike] = ()
    """Its weights, converted to float32."""

    @property
    def top_names(self) -> list[str]:
        """The names of the blobs it writes."""
        return [self.name] if self.tops is None else self.tops.split()

    def prototxt(self) -> str:
        """The layer as one line of prototxt."""
        wiring = "".join(f' bottom: "{blob}"' for blob in self.bottoms.split())
        wiring += "".join(f' top: "{blob}"' for blob in self.top_names)
        params = f" {self.params}" if self.params else ""
        return f'layer {{ name: "{self.name}" type: "{self.type}"{wiring}{params} }}\n'


Layers: TypeAlias = str | Iterable[LayerSpec]


def layers_from(
    lines: str, blobs: Mapping[str, Sequence[ArrayLike]] | None = None
) -> list[LayerSpec]:
    """The layers of lines such as ``conv Convolution data -> conv { fields }``.

    A line holds name, type, bottoms, then ``->`` and the tops (left out where there are none), then
    the parameters in braces. Empty lines, and comments behind ``#`` at the start of a line, are
    skipped. ``blobs`` holds weights by layer name.

    Raises:
        ValueError: a line without name and type, or blobs for a layer that is not there.
    """
    left = dict(blobs or {})
    found = []
    for line in map(str.strip, lines.splitlines()):
        if not line or line.startswith("#"):
            continue
        wiring, _, params = line.partition("{")
        head, _, tops = wiring.partition("->")
        name, kind, *bottoms = head.split()
        params = params.rpartition("}")[0].strip()
        found.append(
            LayerSpec(name, kind, " ".join(bottoms), tops.strip(), params, left.pop(name, ()))
        )
    if left:
        raise ValueError(f"blobs for layers that do not exist: {', '.join(left)}")
    return found


def net_text(layers: Layers, head: str = 'name: "net"\n') -> str:
    """The prototxt of a net; ``head`` stands in front of the layers."""
    return head + "".join(layer.prototxt() for layer in _specs(layers))


def net_weights(layers: Layers | Mapping[str, Sequence[ArrayLike]]) -> bytes:
    """The caffemodel of a net: every layer with its wiring and its blobs as packed floats.

    Where only the weights matter, ``layers`` may be blobs by layer name.
    """
    if isinstance(layers, Mapping):
        layers = [LayerSpec(name, "", tops="", blobs=blobs) for name, blobs in layers.items()]
    net = message_class("NetParameter")(name="net")
    for layer in _specs(layers):
        net.layer.add(
            name=layer.name,
            type=layer.type or None,
            bottom=layer.bottoms.split(),
            top=layer.top_names,
            blobs=[blob_message(values) for values in layer.blobs],
        )
    content: bytes = net.SerializeToString(deterministic=True)
    return content


def _specs(layers: Layers) -> Iterable[LayerSpec]:
    return layers_from(layers) if isinstance(layers, str) else layers


def blob_message(values: ArrayLike) -> Any:
    """The numbers as a ``BlobProto``: packed float32 with their shape."""
    numbers = np.asarray(values, np.float32)
    shape = message_class("BlobShape")(dim=numbers.shape)
    return message_class("BlobProto")(data=numbers.ravel().tolist(), shape=shape)


def write_pair(folder: Path, layers: Layers, stem: str = "net") -> tuple[Path, Path]:
    """Write ``stem``.prototxt and ``stem``.caffemodel into ``folder``; their paths."""
    given = list(_specs(layers))
    prototxt, caffemodel = folder / f"{stem}.prototxt", folder / f"{stem}.caffemodel"
    prototxt.write_text(net_text(given), encoding="utf-8")
    caffemodel.write_bytes(net_weights(given))
    return prototxt, caffemodel


# --------------------------------------------------------------------------------- layers to choose


def input_layer(*shape: int, name: str = "data") -> LayerSpec:
    """An Input layer, which writes a blob of its own name."""
    dims = " ".join(f"dim: {extent}" for extent in shape)
    return LayerSpec(name, "Input", params=f"input_param {{ shape {{ {dims} }} }}")


def relu(name: str, blob: str, top: str | None = None) -> LayerSpec:
    """A ReLU, in place unless ``top`` is given."""
    return LayerSpec(name, "ReLU", blob, top or blob)


class RandomLayers:
    """Layers with seeded random weights of plain size; the same calls give the same numbers."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)

    def normal(self, *shape: int) -> Array:
        """Numbers for weights, biases and means: mean 0, deviation 1."""
        return self.random.normal(size=shape).astype(np.float32)

    def positive(self, *shape: int) -> Array:
        """Numbers for variances: from 0.2 to 2."""
        return self.random.uniform(0.2, 2.0, size=shape).astype(np.float32)

    def statistics(self, channels: int, factor: float = 999.98) -> list[Array]:
        """The three blobs of a BatchNorm; with factor 0, numbers that Caffe then ignores."""
        scaled = np.float32(factor or 1)
        mean, variance = self.normal(channels), self.positive(channels)
        return [mean * scaled, variance * scaled, np.array([factor], np.float32)]

    def conv(
        self, name: str, bottom: str, inputs: int, outputs: int, *, bias: bool = True,
        kernel: int = 3, group: int = 1, params: str = "", top: str | None = None,
        kind: str = "Convolution",
    ) -> LayerSpec:  # fmt: skip
        """A Convolution, or a Deconvolution with its own weight layout.

        ``params`` goes into the ``convolution_param``.
        """
        shape = (outputs, inputs // group, kernel, kernel)
        if kind == "Deconvolution":
            shape = (inputs, outputs // group, kernel, kernel)
        fields = f"num_output: {outputs} kernel_size: {kernel} group: {group} {params}"
        fields += "" if bias else " bias_term: false"
        blobs = [self.normal(*shape), *([self.normal(outputs)] if bias else [])]
        return LayerSpec(name, kind, bottom, top, f"convolution_param {{ {fields} }}", blobs)

    def inner_product(
        self, name: str, bottom: str, inputs: int, outputs: int, *, bias: bool = True,
        transpose: bool = False,
    ) -> LayerSpec:  # fmt: skip
        """An InnerProduct."""
        shape = (inputs, outputs) if transpose else (outputs, inputs)
        fields = f"num_output: {outputs} bias_term: {str(bias).lower()}"
        fields += " transpose: true" if transpose else ""
        blobs = [self.normal(*shape), *([self.normal(outputs)] if bias else [])]
        params = f"inner_product_param {{ {fields} }}"
        return LayerSpec(name, "InnerProduct", bottom, None, params, blobs)

    def batch_norm(
        self, name: str, bottom: str, channels: int, *, top: str | None = None,
        eps: float | None = None, factor: float = 999.98, params: str = "",
    ) -> LayerSpec:  # fmt: skip
        """A BatchNorm with mean, variance and their common factor.

        ``params`` goes into the ``batch_norm_param``.
        """
        fields = ("" if eps is None else f"eps: {eps!r} ") + params
        text = f"batch_norm_param {{ {fields} }}" if fields else ""
        return LayerSpec(name, "BatchNorm", bottom, top, text, self.statistics(channels, factor))

    def scale(
        self, name: str, bottom: str, channels: int, *, top: str | None = None, bias: bool = True
    ) -> LayerSpec:
        """A Scale along the channels."""
        blobs = [self.normal(channels), *([self.normal(channels)] if bias else [])]
        params = "scale_param { bias_term: true }" if bias else ""
        return LayerSpec(name, "Scale", bottom, top, params, blobs)
