"""Where the weights of a model lie: in it, in a file beside it, or in the caffemodel itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from caffefold.errors import Option, UsageError
from caffefold.formats import onnx
from caffefold.formats.caffemodel.precision import FLOAT16
from caffefold.formats.caffemodel.wire import ByteSource, SplicedSource
from caffefold.formats.caffemodel.write import Numbers


def halved(model: onnx.Model) -> onnx.Model:
    """The model with its weights stored as half precision, and cast back to float32."""
    tensors: list[onnx.Tensor] = []
    casts: list[onnx.Node] = []
    for tensor in model.tensors:
        if not isinstance(tensor.data, Numbers):
            tensors.append(tensor)
            continue
        name = f"{tensor.name}@fp16"
        numbers = Numbers(tensor.data.blob, tensor.data.what, FLOAT16)
        tensors.append(onnx.Tensor(name, tensor.shape, onnx.FLOAT16, numbers))
        casts.append(onnx.Node(name, "Cast", (name,), (tensor.name,), {"to": onnx.FLOAT}))
    return model._replace(nodes=(*casts, *model.nodes), tensors=tuple(tensors))


def in_caffemodel(tensors: Iterable[onnx.Tensor], caffemodel: Path) -> list[onnx.Tensor]:
    """The tensors, with those whose numbers stand in ``caffemodel`` unchanged stored there."""
    found = []
    for tensor in tensors:
        piece, source = onnx.packed(tensor), _source(tensor)
        if piece is None or source is None or Path(source.path) != caffemodel:
            found.append(tensor)
            continue
        length = piece.length * piece.stride
        at = onnx.Stored(caffemodel.name, piece.start, length)
        found.append(tensor._replace(stored=at if length > onnx.KEPT_INSIDE else None))
    return found


def _source(tensor: onnx.Tensor) -> ByteSource | None:
    """The file that a tensor's numbers stand in; None when they are computed."""
    data = tensor.data
    stored = data.blob.stored if isinstance(data, Numbers) else None
    if stored is None or isinstance(stored.source, SplicedSource):
        return None
    return stored.source


def check_beside(caffemodel: Path | None, model: Path) -> Path:
    """The caffemodel, if a model may refer to it: runtimes look beside the model only.

    Raises:
        UsageError: there is no caffemodel, or it lies in another folder.
    """
    option = Option("weights_in", "caffemodel")
    if caffemodel is None:
        raise UsageError(option, ": there is no caffemodel to refer to")
    if caffemodel.is_symlink() or caffemodel.resolve().parent != model.resolve().parent:
        raise UsageError(
            option,
            f": {caffemodel} does not lie beside {model}, where runtimes look for it; "
            "write the model there",
        )
    return caffemodel
