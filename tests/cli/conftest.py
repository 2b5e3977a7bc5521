"""The command line as a user meets it: a process of its own, its output through pipes.

Runs without settings for Python itself are forked from one process, which saves most of the time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from caffefold._proto import caffe_pb2
from caffefold.testing import blob_message
from tests.support.forked import Forks

TINY = """\
name: "tiny"
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } }
}
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 2 kernel_size: 3 bias_term: false }
}
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer {
  name: "scale1" type: "Scale" bottom: "conv1" top: "conv1"
  scale_param { bias_term: true }
}
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer {
  name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc"
  inner_product_param { num_output: 3 }
}
"""
_BLOBS: dict[str, list[tuple[tuple[int, ...], list[float]]]] = {
    "conv1": [((2, 1, 3, 3), [0.25 * (i - 8) for i in range(18)])],
    "bn1": [((2,), [0.5, -1.5]), ((2,), [2.0, 8.0]), ((1,), [4.0])],
    "scale1": [((2,), [1.5, -0.5]), ((2,), [0.125, 3.0])],
    "fc": [((3, 8), [0.1 * (i - 11) for i in range(24)]), ((3,), [1.0, 2.0, 3.0])],
}


@dataclass(frozen=True)
class Ran:
    """What a process left behind."""

    code: int
    out: str
    err: str


_AT_START = re.compile("PYTHON|LANG|LC_")  # variables that Python reads when it starts
_PREFIX = (sys.executable, "-m", "caffefold")


def _environment() -> dict[str, str]:
    """Nobody's colour settings or Python options leak in, but where the package lies does."""
    keep = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR")
        and (name == "PYTHONPATH" or not name.startswith("PYTHON"))
    }
    return {**keep, "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Cli:
    """Runs ``caffefold`` in ``folder``."""

    folder: Path
    forks: Forks
    prefix: tuple[str, ...] = _PREFIX
    variables: Mapping[str, str] = field(default_factory=dict)
    terminal: bool = False
    """Whether both outputs are one terminal; ``Ran.out`` has what it was sent."""

    def after(self, code: str) -> Cli:
        """The same in a process that runs this code first."""
        start = f"{code}\nimport os, sys\nos.execv(sys.argv[1], sys.argv[1:])"
        return replace(self, prefix=(sys.executable, "-c", start, *self.prefix))

    def __call__(self, *arguments: str | Path, expect: int = 0) -> Ran:
        words, environment = list(map(str, arguments)), {**_environment(), **self.variables}
        plain = self.prefix == _PREFIX and not any(map(_AT_START.match, self.variables))
        if plain:
            code, out, err = self.forks.run(words, self.folder, environment, terminal=self.terminal)
        else:
            done = subprocess.run(
                [*self.prefix, *words],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=120,
                check=False,
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        ran = Ran(code, out.decode(), err.decode())
        assert ran.code == expect, ran
        return ran


@dataclass(frozen=True)
class Pair:
    """A small net and its weights in a folder of their own."""

    prototxt: Path
    caffemodel: Path

    def replace(self, old: str, new: str) -> None:
        """Edit the prototxt."""
        text = self.prototxt.read_text(encoding="utf-8")
        assert old in text
        self.prototxt.write_text(text.replace(old, new), encoding="utf-8")

    def read(self) -> caffe_pb2.NetParameter:
        """The weights as protobuf sees them."""
        return caffe_pb2.NetParameter.FromString(self.caffemodel.read_bytes())

    def write(self, net: caffe_pb2.NetParameter) -> None:
        """Other weights."""
        self.caffemodel.write_bytes(net.SerializeToString())

    def set_number(self, layer: str, blob: int, index: int, value: float) -> None:
        """Change one weight."""
        net = self.read()
        found = next(item for item in net.layer if item.name == layer)
        found.blobs[blob].data[index] = value
        self.write(net)


@dataclass(frozen=True)
class Refused:
    """Runs a conversion that must fail: one line, exit 3, nothing written."""

    cli: Cli

    def __call__(
        self,
        prototxt: str | Path,
        caffemodel: str | Path,
        *options: str | Path,
        output: str | Path = "out/net",
        code: int = 3,
        caret: bool = False,
    ) -> str:
        before = everything(self.cli.folder)
        ran = self.cli("convert", prototxt, caffemodel, "-o", output, *options, expect=code)
        assert everything(self.cli.folder) == before
        assert ran.out == ""
        lines = ran.err.splitlines()
        assert lines[0].startswith("error: ")
        assert len(lines) == (3 if caret else 1), ran.err
        if caret:
            source, mark = lines[1:]
            assert mark.strip() == "^"
            assert mark.index("^") <= len(source)
        return ran.err


def everything(folder: Path) -> dict[str, bytes | str | None]:
    """All that is below ``folder``: contents of files, targets of links, None for directories."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks(_environment()) as made:
        yield made


@pytest.fixture
def cli(tmp_path: Path, forks: Forks) -> Cli:
    return Cli(tmp_path, forks)


@pytest.fixture
def refused(cli: Cli) -> Refused:
    (cli.folder / "out").mkdir()
    return Refused(cli)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    net = text_format.Parse(TINY, caffe_pb2.NetParameter())
    for layer in net.layer:
        blobs = _BLOBS.get(layer.name, [])
        layer.blobs.extend(blob_message(np.reshape(numbers, shape)) for shape, numbers in blobs)
    folder = tmp_path / "in"
    folder.mkdir()
    made = Pair(folder / "net.prototxt", folder / "net.caffemodel")
    made.prototxt.write_text(TINY, encoding="utf-8")
    made.write(net)
    return made
