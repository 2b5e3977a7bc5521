"""Runs one pair in one consumer, in a process and an environment of its own.

    python serve.py NAME REQUEST.json

NAME chooses ``run_NAME.py`` beside this file. It runs on whatever Python the consumer needs (3.7 is
the oldest) and knows numpy and that consumer alone, nothing of caffefold. The request holds

    prototxt, caffemodel   the pair
    inputs                 names of blobs; data.npz beside the request has their values as 0, 1, ...
    outputs                [blob, layer that writes it] of what is asked for

and what the consumer answers goes to result.npz beside the request, as 0, 1, ... of ``outputs``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(name: str, path: str) -> None:
    """Answer one request; what goes wrong is the last line of the standard error."""
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    folder = Path(path).resolve().parent
    os.chdir(str(folder))
    with np.load("data.npz") as data:
        inputs = {blob: data[str(at)] for at, blob in enumerate(request["inputs"])}
    run = importlib.import_module("run_" + name).run
    found = run(request["prototxt"], request["caffemodel"], inputs, request["outputs"])
    wanted = [_pick(found, blob, layer, request["outputs"]) for blob, layer in request["outputs"]]
    made: Any = {str(at): value for at, value in enumerate(wanted)}
    np.savez("result.npz", **made)


def _pick(found: dict, blob: str, layer: str, wanted: list) -> np.ndarray:  # type: ignore[type-arg]
    """The value of a blob. Consumers name it by the blob or the layer; a sole one needs no name."""
    for name in (blob, layer):
        if name in found:
            return np.asarray(found[name])
    if len(found) == len(wanted) == 1:
        return np.asarray(next(iter(found.values())))
    raise KeyError("no output {!r}, but {}".format(blob, ", ".join(map(str, found))))


if __name__ == "__main__":
    main(*sys.argv[1:])
