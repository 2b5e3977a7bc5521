"""What to do with a deploy pair: lines to copy, with the net's own preprocessing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from caffefold.targets import TARGETS

_OPENCV = ("", "opencv")
_QUOTED = re.compile("""['"]{prefix}""")  # in a call or a file, not on a command line


def next_step(
    target: str,
    prefix: str,
    inputs: Mapping[str, tuple[int | None, ...] | None],
    preprocessing: Sequence[Mapping[str, Any]],
    outputs: Sequence[str] = (),
    foreign: Sequence[str] = (),
) -> tuple[str, ...]:
    """The lines that take the pair into its consumer.

    Args:
        target: the name of a target, or "": OpenCV, which runs a pair as it is.
        prefix: where the pair was written.
        inputs: the shapes of the net's inputs, by blob.
        preprocessing: what the data layers did to the images of each input.
        outputs: the net's outputs.
        foreign: the net's layer types that neither BVLC's nor SSD's Caffe has.
    """
    if target in _OPENCV:
        lines = _opencv(prefix, inputs, preprocessing)
        if foreign and not target:
            lines.insert(0, f"# OpenCV may not know {', '.join(foreign)}; give --target opencv")
        return tuple(lines)
    command = TARGETS[target].next_step
    if not command:
        return ()
    shape = next(iter(inputs.values()), None) or ()
    ends = {"input": next(iter(inputs), "INPUT"), "output": next(iter(outputs), "OUTPUT")}
    known = {"prefix": prefix, "name": PurePath(prefix).name, **ends}
    if not _QUOTED.search(command):
        known = {key: shlex.quote(value) for key, value in known.items()}
    dims = ",".join("?" if dim is None else str(dim) for dim in shape)
    return (command.format(**known, shape=dims),)


def _opencv(
    prefix: str,
    inputs: Mapping[str, tuple[int | None, ...] | None],
    preprocessing: Sequence[Mapping[str, Any]],
) -> list[str]:
    lines = [
        f"net = cv2.dnn.readNetFromCaffe({prefix + '.prototxt'!r}, {prefix + '.caffemodel'!r})"
    ]
    known = {each["blob"]: each for each in preprocessing}
    for blob, shape in inputs.items():
        if shape is not None and len(shape) == 4 and shape[1] in (1, 3):
            image = _blob_from_image(shape, known.get(blob, {}))
            lines.append(f"net.setInput({image}, {blob!r})")
        else:
            dims = shape if shape is not None else "..."
            lines.append(f"net.setInput(array, {blob!r})  # float32 of the shape {dims}")
    return [*lines, "result = net.forward()"]


def _blob_from_image(shape: tuple[int | None, ...], known: Mapping[str, Any]) -> str:
    """``cv2.dnn.blobFromImage``: scale * (image - mean), as transform_param has it."""
    _, channels, height, width = shape
    means = known.get("mean_value") or known.get("mean_file_channels") or [0]
    if len(means) < (channels or 1):
        means = [*means, *means[-1:] * ((channels or 1) - len(means))]
    mean = f"({', '.join(f'{value:g}' for value in means)}{',' * (len(means) == 1)})"
    return (
        f"cv2.dnn.blobFromImage(image, {known.get('scale', 1.0)!r}, ({width}, {height}), {mean}, "
        "swapRB=False)"
    )
