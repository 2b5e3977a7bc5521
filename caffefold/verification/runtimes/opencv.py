"""OpenCV's dnn: version 4 reads Caffe's files, version 5 the ONNX model of the net.

Version 4's own fusion is switched off: that of a grouped deconvolution is wrong in 4.14, and what
is fused is not handed out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from caffefold.conversion import save
from caffefold.errors import CaffefoldError, Option, UsageError
from caffefold.extras import install
from caffefold.humanize import counted
from caffefold.ir.net import Net
from caffefold.onnx_export.site import Settings
from caffefold.verification.runtimes.base import Array, Batch, CannotRun, Session, first_line
from caffefold.verification.runtimes.onnx import exported

_LAYER = re.compile(r"layer [\"']?([^\"'\s]+)[\"']? of type [\"']?([^\"'\s]+)[\"']?", re.IGNORECASE)
_WHERE = re.compile(r"^OpenCV\(.*?\) .*? error: ")
_PIXELS = 1 << 27
_BESIDE = re.compile(r"name='?([^',\s]+)'?")


def _opencv(major: int) -> Any:
    option = Option("runtime", "opencv" if major == 4 else f"opencv{major}")
    advice = install("opencv-python-headless" + (">=5" if major == 5 else ""))
    if find_spec("cv2") is None:
        raise UsageError(option, f": OpenCV {major} is not installed; {advice}")
    cv2 = loaded()
    if int(cv2.__version__.split(".", maxsplit=1)[0]) != major:
        raise UsageError(option, f": OpenCV {cv2.__version__} is installed, not {major}; {advice}")
    return cv2


def loaded() -> Any:
    """OpenCV, silent: what it complains of is in its errors; with a bound for images, unless the
    user set one."""
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_PIXELS))  # read when it is loaded
    import cv2

    # OpenCV 4.8 has the function elsewhere.
    getattr(cv2.utils, "logging", cv2).setLogLevel(0)
    return cv2


class OpenCV4:
    """OpenCV 4 on Caffe's files."""

    def start(self, net: Net, wanted: Sequence[str], folder: Path) -> Session:
        """See ``Runtime``."""
        cv2 = _opencv(4)
        try:
            files = save(net, folder / "net")
        except CaffefoldError as error:
            raise CannotRun({}, str(error)) from None
        try:
            made = cv2.dnn.readNetFromCaffe(*map(str, files))
        except cv2.error as error:
            raise _refused(net, error) from None
        makers = {layer.tops[0]: layer.name for layer in net.layers if layer.tops}
        later = {top: layer.name for layer in net.layers for top in layer.tops[1:]}
        known = frozenset(made.getLayerNames())
        names: dict[str, str] = {}
        for blob in wanted:
            # The first top of a layer is handed out by the layer's name, of some by the blob's.
            name = next((each for each in (makers.get(blob, ""), blob) if each in known), "")
            if name and blob not in later:
                names[blob] = name
        return _OpenCVSession(cv2, made, net, names)


class OpenCV5:
    """OpenCV 5 on the ONNX model of a net."""

    def start(self, net: Net, wanted: Sequence[str], folder: Path) -> Session:
        """See ``Runtime``."""
        cv2 = _opencv(5)
        path, names = exported(net, wanted, folder, Settings(target="opencv5"))
        try:
            made = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise _refused(net, error) from None
        return _OpenCVSession(cv2, made, net, names)


class _OpenCVSession:
    def __init__(self, cv2: Any, made: Any, net: Net, names: Mapping[str, str]) -> None:
        self.about = f"OpenCV {cv2.__version__}"
        self._cv2, self._made, self._net, self._names = cv2, made, net, names
        made.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        fuses = not cv2.__version__.startswith("4.")
        if not fuses:  # in 5.0 this leaves an empty net
            made.enableFusion(False)
        threads = counted(cv2.getNumThreads(), "thread")
        self.how = f"its own fusion {'on' if fuses else 'off'}, {threads}"
        self.took: float | None = None

    def run(self, batch: Batch) -> Mapping[str, Array]:
        names = list(dict.fromkeys(self._names.values()))
        try:
            for blob, values in batch.values.items():
                self._made.setInput(np.ascontiguousarray(values), blob)
            found = dict(zip(names, self._made.forward(names), strict=True))
        except self._cv2.error as error:
            raise _refused(self._net, error) from None
        return {blob: np.array(found[name]) for blob, name in self._names.items()}


def _refused(net: Net, error: Exception) -> CannotRun:
    """Which layer OpenCV stopped at, where it says so."""
    text = str(error)
    known = {layer.name: layer.type for layer in net.layers}
    for pattern in (_LAYER, _BESIDE):
        for found in pattern.finditer(text):
            if found[1] in known:
                return CannotRun({found[1]: f"OpenCV does not run {known[found[1]]}"})
    return CannotRun({}, f"OpenCV stopped: {_WHERE.sub('', first_line(error))}")
