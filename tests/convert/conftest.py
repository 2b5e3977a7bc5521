"""Small nets made on the fly; weights are written and read by protobuf, not by caffefold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.ir.net import Net
from caffefold.passes import pipeline
from caffefold.passes.infra import Pass, PassResult
from caffefold.testing import blob_message

Array = NDArray[np.float64]
Blobs = Mapping[str, Sequence[Array]]

HEAD = """\
name: "tiny"
layer {
  name: "data"
  type: "Input"
  top: "data"
  input_param { shape { dim: 1 dim: 4 dim: 6 dim: 6 } }
}
"""
CHAIN = """\
layer {
  name: "conv1"
  type: "Convolution"
  bottom: "data"
  top: "conv1"
  convolution_param {
    num_output: 4
    kernel_size: 3
    pad: 1
    bias_term: false
  }
}
layer {
  name: "bn1"
  type: "BatchNorm"
  bottom: "conv1"
  top: "conv1"
}
layer {
  name: "scale1"
  type: "Scale"
  bottom: "conv1"
  top: "conv1"
  scale_param {
    bias_term: true
  }
}
layer {
  name: "relu1"
  type: "ReLU"
  bottom: "conv1"
  top: "conv1"
}
"""
TAIL = """\
layer {
  name: "fc"
  type: "InnerProduct"
  bottom: "conv1"
  top: "fc"
  inner_product_param {
    num_output: 5
  }
}
"""


@dataclass(frozen=True)
class Pair:
    """A net and its weights on disk."""

    prototxt: Path
    caffemodel: Path

    def text(self) -> str:
        """The prototxt."""
        return self.prototxt.read_text(encoding="utf-8")

    def edit(self, old: str, new: str) -> None:
        """Edit the prototxt."""
        assert old in self.text()
        self.prototxt.write_text(self.text().replace(old, new), encoding="utf-8")

    def net(self) -> caffe_pb2.NetParameter:
        """The weights as protobuf sees them."""
        return caffe_pb2.NetParameter.FromString(self.caffemodel.read_bytes())

    def blobs(self, layer: str) -> list[Array]:
        """The blobs of one layer."""
        found = next(item for item in self.net().layer if item.name == layer)
        return [np.array(list(b.data)).reshape(tuple(b.shape.dim)) for b in found.blobs]

    def contents(self) -> tuple[bytes, bytes]:
        """Both files as bytes."""
        return self.prototxt.read_bytes(), self.caffemodel.read_bytes()


@dataclass(frozen=True)
class Workshop:
    """A folder to make pairs in and to convert them in."""

    folder: Path
    head: str = HEAD
    chain: str = CHAIN
    tail: str = TAIL

    @property
    def text(self) -> str:
        """A net with one fold in it."""
        return self.head + self.chain + self.tail

    def blobs(self) -> dict[str, list[Array]]:
        """Weights of that net; every number is unlike the others."""
        rng = np.random.default_rng(7)
        return {
            "conv1": [rng.normal(size=(4, 4, 3, 3))],
            "bn1": [rng.normal(size=4), rng.uniform(1, 9, size=4), np.array([4.0])],
            "scale1": [rng.uniform(0.5, 2, size=4), rng.normal(size=4)],
            "fc": [rng.normal(size=(5, 144)), rng.normal(size=5)],
        }

    def make(
        self,
        text: str | None = None,
        blobs: Blobs | None = None,
        *,
        parsable: str | None = None,
        name: str = "net",
    ) -> Pair:
        """Write a pair. ``parsable`` is the text without what protobuf can not parse."""
        text = self.text if text is None else text
        net = text_format.Parse(
            parsable or text, caffe_pb2.NetParameter(), allow_unknown_field=True
        )
        for layer in net.layer:
            numbers = (self.blobs() if blobs is None else blobs).get(layer.name, ())
            layer.blobs.extend(map(blob_message, numbers))
        made = Pair(self.folder / f"{name}.prototxt", self.folder / f"{name}.caffemodel")
        made.prototxt.write_text(text, encoding="utf-8")
        made.caffemodel.write_bytes(net.SerializeToString())
        return made

    def convert(
        self, pair: Pair, name: str = "out", **options: Any
    ) -> tuple[caffefold.ConvertReport, Pair]:
        """Convert, and where the result is."""
        prefix = self.folder / name
        report = caffefold.convert(pair.prototxt, pair.caffemodel, prefix, **options)
        return report, Pair(
            prefix.with_name(name + ".prototxt"), prefix.with_name(name + ".caffemodel")
        )

    def listing(self) -> dict[str, bytes]:
        """Every file there is."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


class Tamper:
    """Spoils the net that the fold pass of ``convert`` returns; the pass itself is the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        monkeypatch.delenv("CAFFEFOLD_DEBUG", raising=False)  # the proof shall notice it, alone

    def __call__(self, spoil: Any, hide: Any = None) -> None:
        """``spoil(folded) -> Net``; ``hide(net) -> Net`` is what the pass gets to see."""
        passes = pipeline.fold_passes

        def spoiled(*arguments: Any, **options: Any) -> tuple[Pass, ...]:
            return tuple(
                _Spoiled(item, spoil, hide) if item.name == "fold" else item
                for item in passes(*arguments, **options)
            )

        self._monkeypatch.setattr(pipeline, "fold_passes", spoiled)


@dataclass(frozen=True)
class _Spoiled(Pass):
    inner: Pass
    spoil: Any
    hide: Any
    name: ClassVar = "fold"
    requires: ClassVar = ()
    ensures: ClassVar = ()

    def run(self, net: Net) -> PassResult:
        result = self.inner.run(self.hide(net) if self.hide else net)
        return result._replace(net=self.spoil(result.net))


@pytest.fixture
def tamper(monkeypatch: pytest.MonkeyPatch) -> Tamper:
    return Tamper(monkeypatch)
