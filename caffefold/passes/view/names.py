"""Every layer gets a name of its own.

Given   layer { type: "ReLU" bottom: "conv1" top: "conv1" }, layers "fc", "fc"
Result  layer { name: "conv1_relu" type: "ReLU" ... }, layers "fc", "fc_softmax"

Caffe accepts layers without a name, and several of one name; a caffemodel of theirs it loads by
chance or not at all (net.cpp, CopyTrainedLayersFrom: a record goes to the first layer of its name,
and their blobs must agree). Other readers refuse them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from caffefold.formats.prototxt.tree import quote, set_scalar
from caffefold.frozen import dataclass
from caffefold.humanize import some
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class NameLayers(Pass):
    """Layers without a name are called what they make."""

    name: ClassVar = "names"

    def run(self, net: Net) -> PassResult:
        """Name every layer that has no name.

        Raises:
            TextError: a layer without a name needs weights, which are found by name.
        """
        return _renamed(net, [i for i, layer in enumerate(net.layers) if not layer.name])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SeparateNames(Pass):
    """Of several layers of one name, the one with weights keeps it, else the first."""

    name: ClassVar = "separate names"

    def run(self, net: Net) -> PassResult:
        """Rename every other one.

        Raises:
            TextError: several layers of one name need weights, which are found by name.
        """
        times = Counter(layer.name for layer in net.layers)
        found: dict[str, list[int]] = {}
        for position, layer in enumerate(net.layers):
            if times[layer.name] > 1:
                found.setdefault(layer.name, []).append(position)
        others = []
        for same in found.values():
            owners = [i for i in same if _has_numbers(net.layers[i])]
            if len(owners) > 1 and net.weights is not None:
                raise net.layers[owners[1]].error(
                    "an earlier layer with weights has the same name, by which Caffe finds them; "
                    "give each a name of its own, in the caffemodel too"
                )
            keeps = owners[0] if owners else same[0]
            others += [i for i in same if i != keeps]
        return _renamed(net, sorted(others))


def _has_numbers(layer: Layer) -> bool:
    """Whether the layer computes with stored numbers."""
    own = op(layer)
    record = layer.record
    same_type = record is not None and record.type == layer.type
    return own.learned or own.wants_weights(layer) or bool(same_type and layer.blobs)


def _renamed(net: Net, positions: Sequence[int]) -> PassResult:
    """The net with new names, nobody else's, for the layers at these positions."""
    if not positions:
        return PassResult(net)
    taken = {layer.name for layer in net.layers}
    new: dict[int, tuple[Layer, ...]] = {}
    for position in positions:
        layer = net.layers[position]
        if not layer.name and net.weights is not None and op(layer).wants_weights(layer):
            raise layer.error("the layer has no name, by which its weights are found; add one")
        name = _free(layer, taken)
        taken.add(name)
        numbers = _has_numbers(layer)
        made = layer.edited(set_scalar(layer.body, "name", quote(name), after="type"))
        new[position] = (made if numbers else replace(made, blobs=(), record=None),)
    names = tuple(layers[0].name for layers in new.values())
    old = dict.fromkeys(f"'{name}'" for i in positions if (name := net.layers[i].name))
    why = f"another layer is called {some(list(old))}" if old else "had no name"
    return PassResult(net.substitute(new), (Change(ChangeKind.LAYER_NAMED, (), names, why),))


def _free(layer: Layer, taken: set[str]) -> str:
    """A name that says what the layer makes."""
    kind = layer.type.lower()
    base = layer.name or (layer.tops[0] if layer.tops else "")
    if not layer.name and base and base not in taken:
        return base
    wish = f"{base}_{kind}" if base else kind
    name, number = wish, 2
    while name in taken:
        name, number = f"{wish}{number}", number + 1
    return name
