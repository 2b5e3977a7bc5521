"""The net as given beside the deploy net: which layer became which, which blob holds which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from caffefold.check.given import Given, is_loss
from caffefold.check.placeholders import Filled
from caffefold.check.wiring import is_identity
from caffefold.ir import graph
from caffefold.ir.graph import OUTSIDE
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op
from caffefold.options import DeployOptions

# Layers that treat predictions and labels together, which TEST nets do without: their first bottom
# goes through as their first top (py-faster-rcnn, test.prototxt; NVCaffe, detectnet).
_SAMPLERS = ("ProposalTarget",)
_COLLECTORS = ("Gather", "DetectNetTransformation")
# AssistedExcitation adds what the labels say to its input, less and less while training goes on
# (its layer's Forward_cpu); in TEST nothing.
_ASSISTANTS = ("AssistedExcitation",)


NEW = -2
"""In place of a version of the given net: it has none such."""


class Sides:
    """Both nets, and what is known of one by the other."""

    def __init__(self, before: Given, deploy: Net, options: DeployOptions) -> None:
        self.given, self.deploy, self.options = before, deploy, options
        self.graph = graph.build(deploy)
        self.matches = _matched(before.layers, deploy.layers)
        """By position in the deploy net, the position in the given net; -1 for new layers."""
        self.alive = {match for match in self.matches if match >= 0}
        """Positions in the given net of layers that the deploy net has."""
        self.values = self._values()
        """By version of the given net, the version that holds the same numbers, made first."""
        self.found: list[int] = [NEW] * len(self.graph.versions)
        """By version of the deploy net, the version of the given net; or NEW."""
        self.filled = Filled(options.values, options.classes)
        self.trained = any(
            is_loss(layer) or not (layer.bottoms or layer.is_input) for layer in before.layers
        )

    def value(self, version: int) -> int:
        """What a version of the given net holds; -1 for a bottom that nothing makes."""
        return self.values[version] if version >= 0 else -1

    def origin(self, version: int) -> int:
        """The version of the given net that one of the deploy net holds; or NEW."""
        return self.found[version] if version >= 0 else NEW

    def called(self, value: int) -> set[str]:
        """The names under which the given net has a value."""
        names = {self.given.graph.versions[value].blob}
        return names | self._others.get(value, set())

    def _values(self) -> list[int]:
        values: list[int] = []
        self._others: dict[int, set[str]] = {}
        for version, made in enumerate(self.given.graph.versions):
            value = version
            if made.producer != OUTSIDE:
                layer = self.given.layers[made.producer]
                through = self._through(made.producer, layer, version)
                if through >= 0:
                    value = values[through]
                    self._others.setdefault(value, set()).add(made.blob)
            values.append(value)
        return values

    def _through(self, position: int, layer: Layer, version: int) -> int:
        """The version that a layer hands on as ``version``; -1 when it computes another."""
        reads = self.given.graph.reads[position]
        if is_identity(layer):
            return reads[0]
        if position in self.alive or not reads:
            return -1
        top = self.given.graph.writes[position].index(version)
        name = op(layer).name
        if layer.name in self.options.bypass or name in _ASSISTANTS:
            return reads[top] if top < len(reads) else -1
        python = layer.body.message("python_param")
        called = python.string("layer") if python is not None else name
        collects = name in _COLLECTORS and len(reads) == len(layer.tops)
        samples = top == 0 and any(each in called for each in _SAMPLERS)
        return reads[top] if collects or samples else -1


def _matched(before: Sequence[Layer], after: Sequence[Layer]) -> list[int]:
    """By position in ``after``, the layer of ``before`` it is compared with: of the same name and
    type, and where several have them, with the same tops, then in their order. A layer without a
    name of its own may have got one: it is known by what it makes, and by what it reads. A wrong
    match is no danger: whatever is matched must agree."""
    named: dict[tuple[str, str], list[int]] = {}
    times = Counter(layer.name for layer in before)
    unnamed: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for position, layer in enumerate(before):
        named.setdefault((layer.name, layer.type), []).append(position)
        if not layer.name or times[layer.name] > 1:
            unnamed.setdefault((layer.type, layer.tops), []).append(position)
    found: list[int] = []
    for layer in after:
        candidates = named.get((layer.name, layer.type), [])
        at = 0
        if len(candidates) > 1:
            at = next((i for i, p in enumerate(candidates) if before[p].tops == layer.tops), 0)
        if layer.name not in times:
            candidates = unnamed.get((layer.type, layer.tops), [])
            same = (i for i, p in enumerate(candidates) if before[p].bottoms == layer.bottoms)
            at = next(same, 0)
        found.append(candidates.pop(at) if candidates and not layer.is_input else -1)
    return found
