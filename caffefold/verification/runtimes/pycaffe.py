"""Caffe itself, where its Python module can be imported.

In a process of its own: Caffe ends the process where it refuses a net.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffefold.conversion import save
from caffefold.errors import CaffefoldError, Option, UsageError
from caffefold.ir.net import Net
from caffefold.verification.runtimes.base import Array, Batch, CannotRun, Session

_PROBE = "import caffe; print(getattr(caffe, '__version__', '?'))"
# Arguments: prototxt, caffemodel, the arrays that go in, the file for those that come out, blobs.
_RUN = """
import sys, time, numpy, caffe
prototxt, caffemodel, given, made, *wanted = sys.argv[1:]
caffe.set_mode_cpu()
net = caffe.Net(prototxt, caffe.TEST, weights=caffemodel)
with numpy.load(given) as arrays:
    for name in arrays.files:
        net.blobs[name].reshape(*arrays[name].shape)
        net.blobs[name].data[...] = arrays[name]
start = time.perf_counter()
net.forward()
took = time.perf_counter() - start
numpy.savez(made, **{name: net.blobs[name].data for name in wanted if name in net.blobs})
print(took)
"""


class PyCaffe:
    """pycaffe on the CPU."""

    def start(self, net: Net, wanted: Sequence[str], folder: Path) -> Session:
        """See ``Runtime``."""
        found = _python(folder, _PROBE)
        if found.returncode:
            raise UsageError(
                Option("runtime", "pycaffe"),
                f": {sys.executable} cannot import caffe; put Caffe's python folder on PYTHONPATH",
            )
        try:
            files = save(net, folder / "net")
        except CaffefoldError as error:
            raise CannotRun({}, str(error)) from None
        return _CaffeSession(f"pycaffe {found.stdout.strip()}", files, list(wanted), folder)


class _CaffeSession:
    how = "Caffe fuses nothing, its BLAS decides on threads"

    def __init__(
        self, about: str, files: Sequence[Path], wanted: Sequence[str], folder: Path
    ) -> None:
        self.took: float | None = None
        self.about = about
        self._files, self._wanted, self._folder = files, wanted, folder

    def run(self, batch: Batch) -> Mapping[str, Array]:
        given, made = self._folder / "given.npz", self._folder / "made.npz"
        np.savez(given, **dict[str, Any](batch.values))
        found = _python(self._folder, _RUN, *map(str, self._files), str(given), str(made),
                        *self._wanted)  # fmt: skip
        if found.returncode:
            raise CannotRun({}, f"Caffe stopped: {_complaint(found.stderr)}")
        self.took = float(found.stdout.split()[-1])
        with np.load(made) as arrays:
            return {name: arrays[name] for name in arrays.files}


def _python(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that imports nothing from the folder the user is in."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *arguments],
        cwd=folder, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip


def _complaint(log: str) -> str:
    """The line in which glog or Python says what was wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    fatal = (line.partition("] ")[2] or line for line in lines if line.startswith("F"))
    return next(fatal, lines[-1] if lines else "no reason")
