"""onnxruntime: of a net by way of its export, or of a model as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from caffefold.analysis.shapes import infer
from caffefold.errors import InputError, Option, TextError, UsageError
from caffefold.extras import install
from caffefold.formats import onnx
from caffefold.ir.net import Net
from caffefold.onnx_export import targets
from caffefold.onnx_export.build import build, unlowered
from caffefold.onnx_export.site import Settings
from caffefold.verification.runtimes.base import Array, Batch, CannotRun, Session, first_line

_INLINE = 1 << 30  # bytes; the weights of a larger model go into a file beside it
_NAMED = re.compile(r"layer '([^']*)': ")


class OnnxRuntime:
    """onnxruntime on the CPU."""

    def start(self, net: Net, wanted: Sequence[str], folder: Path) -> Session:
        """See ``Runtime``."""
        required()
        path, names = exported(net, wanted, folder)
        return OnnxSession(path, names)


def required() -> None:
    """Raises UsageError where onnxruntime is not installed."""
    if find_spec("onnxruntime") is None:
        raise UsageError(
            Option("runtime", "onnxruntime"),
            f": onnxruntime is not installed; {install('onnx', 'onnxruntime')}",
        )


def exported(
    net: Net, wanted: Sequence[str], folder: Path, settings: Settings | None = None
) -> tuple[Path, dict[str, str]]:
    """A model of ``net`` that hands ``wanted`` out; and the names of its outputs, by blob.

    Raises:
        CannotRun: layers that ONNX has nothing for, or that the target of ``settings`` is known
            not to run.
    """
    settings = settings or Settings()
    strangers = {layer.name: f"ONNX has nothing for {layer.type}" for layer in unlowered(net)}
    if strangers:
        raise CannotRun(strangers)
    try:
        targets.check(net, infer(net).bottoms, settings)
        built = build(net, settings)
    except TextError as error:
        named = _NAMED.search(str(error))
        why = str(error) if named is None else str(error)[named.end() :].partition(";")[0]
        raise CannotRun({named[1]: why} if named else {}, why) from None
    model = built.model
    names = {blob: built.blobs[blob] for blob in wanted if blob in built.blobs}
    there = {value.name for value in model.outputs}
    asked = set(names.values()) - there
    given = {value.name for value in model.inputs}
    model = model._replace(
        outputs=(*model.outputs, *(value for value in model.values if value.name in asked)),
        values=tuple(value for value in model.values if value.name not in asked),
    )
    path = folder / "net.onnx"
    if onnx.size(model) > _INLINE:
        data = path.with_name(path.name + ".data")
        model = model._replace(tensors=tuple(onnx.placed(model.tensors, data.name)))
        with data.open("wb") as out:
            onnx.write_data(out, model.tensors, data.name)
    with path.open("wb") as out:
        onnx.write(out, model)
    return path, {blob: name for blob, name in names.items() if name not in given}


class OnnxSession:
    """A model in onnxruntime.

    Args:
        path: the model.
        names: its outputs by blob; None: each is called like its blob.

    Raises:
        CannotRun: onnxruntime refuses the model of a net.
        InputError: it refuses a model that was given.
    """

    def __init__(self, path: Path, names: Mapping[str, str] | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self.about = f"onnxruntime {onnxruntime.__version__}"
        self.how = "its own fusion on, a thread for each physical core"  # its defaults
        self.took: float | None = None
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of several kinds, which onnxruntime does not document
            if names is None:
                raise InputError(f"{path}: onnxruntime refuses it: {first_line(error)}") from None
            raise CannotRun({}, f"onnxruntime refuses it: {first_line(error)}") from None
        self.inputs = {
            each.name: (_extents(each.shape), each.type) for each in self._session.get_inputs()
        }
        self.outputs = tuple(each.name for each in self._session.get_outputs())
        self._names = {name: name for name in self.outputs} if names is None else dict(names)

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """See ``Session``."""
        fed = {
            name: batch.pixels[name] if kind == "tensor(uint8)" else batch.values[name]
            for name, (_, kind) in self.inputs.items()
        }
        wanted = list(dict.fromkeys(self._names.values()))
        try:
            found = dict(zip(wanted, self._session.run(wanted, fed), strict=True))
        except Exception as error:  # as above
            raise CannotRun({}, f"onnxruntime stopped: {first_line(error)}") from None
        return {blob: found[name] for blob, name in self._names.items()}


def _extents(shape: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(extent if isinstance(extent, int) else None for extent in shape)
