"""The numbers that stand for a template's placeholders: one for each, and those of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from caffefold.check import reference
from caffefold.errors import ProofError
from caffefold.formats.caffemodel.blob import size
from caffefold.formats.prototxt.tree import Scalar
from caffefold.ir import placeholder
from caffefold.ir.params import FALSE, parse_int
from caffefold.ops.table import op

if TYPE_CHECKING:
    from caffefold.check.effectless import Agree
    from caffefold.ir.graph import Graph
    from caffefold.ir.net import Layer, Net

_CLASSES = ""  # the number of classes, which clsKx stands for K times


class Filled:
    """What was put in for each placeholder."""

    def __init__(self, values: Mapping[str, str], classes: int | None) -> None:
        self.known: dict[str, str] = dict(values)
        if classes is not None:
            self.known[_CLASSES] = str(classes)
        self.used = False

    def agrees(self, layer: Layer) -> Agree:
        """For the fields of one layer, whether a value may have become another."""

        def agree(path: str, before: str, after: str) -> bool:
            return self.fits(layer.name, path, before, after)

        return agree

    def fits(self, owner: str, path: str, before: str, after: str) -> bool:
        """Whether ``after`` may stand where ``before`` was written.

        Raises:
            ProofError: the placeholder has another value elsewhere.
        """
        multiple = placeholder.class_multiple(before)
        name = placeholder.name_of(before) if multiple is None else _CLASSES
        if name is None:
            return self._inside(before, after)
        if multiple is not None:
            number = parse_int(after)
            if number is None or not multiple or number % multiple:
                return False
            after = str(number // multiple)
        elif name not in self.known and name.lower() in placeholder.CLASS_NAMES:
            name = _CLASSES
        elif name == before and parse_int(after) is None and name not in self.known:
            return False  # a bare word is the name of a value, unless a number took its place
        self.used = True
        known = self.known.setdefault(name, after)
        if known != after:
            raise ProofError(
                f"layer '{owner}': {path} makes {before} {after}, elsewhere it is {known}",
                layer=owner,
            )
        return True

    def _inside(self, before: str, after: str) -> bool:
        """Whether a string differs by its placeholders alone."""
        names = placeholder.names(before)
        self.used |= bool(names)
        classes = self.known.get(_CLASSES)
        number = None if classes is None else int(classes)
        return bool(names) and placeholder.fill(before, self.known, number) == after

    def check(self, net: Net, wiring: Graph) -> None:
        """Check the numbers that were put in against the weights.

        Raises:
            ProofError: they contradict each other; the layer is named.
        """
        if not self.used or net.weights is None:
            return
        for layer in net.layers:
            wanted, stored = _written(layer), _stored(layer)
            if wanted and stored and wanted != stored:
                raise ProofError(
                    f"layer '{layer.name}': num_output is {wanted}, its weights have {stored}",
                    layer=layer.name,
                )
        for position, layer in enumerate(net.layers):
            message = layer.body.message("detection_output_param")
            if op(layer).name != "DetectionOutput" or message is None:
                continue
            classes = parse_int(message.string("num_classes"))
            shared = message.string("share_location", "true") not in FALSE
            boxes, scores = (
                _outputs_behind(net, wiring, version) for version in wiring.reads[position][:2]
            )
            if shared and boxes and scores and classes != scores * 4 // boxes:
                raise ProofError(
                    f"layer '{layer.name}': num_classes is {classes}, the weights have "
                    f"{scores * 4 / boxes:g}: {scores} scores for {boxes // 4} boxes",
                    layer=layer.name,
                )


def _written(layer: Layer) -> int:
    found = [f.body.last("num_output") for f in layer.body.fields if f.name.endswith("_param")]
    numbers = (parse_int(v.raw) for v in found if isinstance(v, Scalar))
    return next((number for number in numbers if number), 0)


def _stored(layer: Layer) -> int:
    """``num_output`` as the shapes of the blobs have it; 0 where they leave it open."""
    if op(layer).name == "InnerProduct" and layer.blobs:
        return size(layer.blobs[1]) if len(layer.blobs) > 1 else 0
    layout = reference.linear(layer, None)
    return 0 if layout is None else layout.outputs


def _outputs_behind(net: Net, wiring: Graph, version: int) -> int:
    """``num_output`` of all linear layers that a version is made of, each once."""
    total, queue, seen = 0, [version], set()
    while queue:
        maker = wiring.maker(queue.pop())
        if maker < 0 or maker in seen:
            continue
        seen.add(maker)
        layer = net.layers[maker]
        if reference.linear(layer, None) is None:
            queue += wiring.reads[maker]
        else:
            total += _written(layer)
    return total
