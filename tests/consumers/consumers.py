"""The consumers that a registry has: what is installed for each, and on which Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple


class Consumer(NamedTuple):
    """One consumer in an environment of its own."""

    target: str
    """The row of ``caffefold.targets`` that is written for it, if it is a consumer of pairs."""
    runner: str
    """``runners/run_NAME.py``."""
    packages: tuple[str, ...]
    """The consumer itself first; its version is told."""
    pythons: tuple[str, ...]
    """Versions it is known to install on, the best first."""


CONSUMERS = {
    "opencv4": Consumer(
        "opencv", "opencv", ("opencv-python-headless>=4.10,<5",), ("3.11", "3.12", "3.10", "3.13")
    ),
    "opencv5": Consumer(
        "opencv", "opencv", ("opencv-python-headless>=5,<6",), ("3.11", "3.12", "3.10", "3.13")
    ),
    "mnn": Consumer("mnn", "mnn", ("MNN==3.6.1", "numpy"), ("3.11", "3.12", "3.10")),
    "caffe2onnx": Consumer(
        "caffe2onnx",
        "caffe2onnx",
        ("caffe2onnx==2.0.1", "onnxruntime", "protobuf<3.21"),
        ("3.7", "3.6"),
    ),
    "openvino": Consumer(
        "openvino", "openvino", ("openvino-dev[caffe]==2023.3.0",), ("3.8", "3.9", "3.10", "3.11")
    ),
    "ppq": Consumer(
        "ppq",
        "ppq",
        ("ppq==0.6.6", "onnx==1.15.0", "protobuf<4", "torch", "onnxruntime<1.20"),
        ("3.9", "3.8", "3.10"),
    ),
    "rknn": Consumer(
        "rknn", "rknn", ("rknn-toolkit2==2.3.2", "onnx==1.16.1"), ("3.10", "3.8", "3.9", "3.11")
    ),
    "tpu-mlir": Consumer(
        "tpu-mlir",
        "tpumlir",
        ("tpu_mlir[caffe,onnx]==1.28.1", "torch", "psutil", "filelock", "setuptools<80"),
        ("3.10",),
    ),
}

PEERS = {
    "caffe2onnx": CONSUMERS["caffe2onnx"],
    "x2paddle": Consumer(
        "",
        "x2paddle",
        (
            *("x2paddle==1.6.0", "paddlepaddle==2.6.2", "protobuf<3.21", "setuptools<80"),
            *("numpy<2", "six", "requests", "pyyaml", "pandas"),
        ),
        ("3.10", "3.9", "3.11"),
    ),
    "caffe-onnx": Consumer(
        "",
        "caffeonnx",
        ("caffe-onnx==0.1.2", "onnx<1.13", "numpy<1.24", "onnxruntime<1.20"),
        ("3.10", "3.9", "3.8"),
    ),
    "ppq": CONSUMERS["ppq"]._replace(runner="ppqonnx"),
}
"""Converters to ONNX, which `caffefold export` stands beside; they share environments."""


class Environment(NamedTuple):
    """Where a consumer is installed, or why it is not."""

    python: Path | None
    version: str
    """Of the consumer and of Python; else what is missing."""


def environment(name: str, consumer: Consumer, folder: Path) -> Environment:
    """The environment ``folder``, made where it is not there yet."""
    python = folder / "bin" / "python"
    stamp = folder / "caffefold.json"
    if not (stamp.exists() and json.loads(stamp.read_text()) == list(consumer.packages)):
        base = next(filter(None, map(_interpreter, consumer.pythons)), None)
        if base is None:
            return Environment(None, f"no Python {' or '.join(consumer.pythons)} here")
        if not python.exists():
            subprocess.run([base, "-m", "venv", folder], check=True, env=_clean())
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*command, *consumer.packages],
            capture_output=True,
            text=True,
            check=False,
            env=_clean(),
        )
        if done.returncode:
            errors = [x for x in done.stderr.splitlines() if x.startswith("ERROR")]
            return Environment(None, errors[-1] if errors else "pip failed")
        stamp.write_text(json.dumps(consumer.packages))
    return Environment(python, _version(python, consumer))


def _version(python: Path, consumer: Consumer) -> str:
    package = consumer.packages[0].split("=")[0].split(">")[0].split("[")[0]
    code = (
        "import sys, pkg_resources as p; "
        f"print(p.get_distribution({package!r}).version, 'on Python', sys.version.split()[0])"
    )
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=_clean(),
    )
    return f"{package} {done.stdout.strip()}"


def _clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def _interpreter(version: str) -> str | None:
    """An interpreter of that version: pyenv's, or on the path."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted(root.glob(f"versions/{version}.*")):
        if (folder / "bin" / "python").exists():
            return str(folder / "bin" / "python")
    return shutil.which(f"python{version}")
