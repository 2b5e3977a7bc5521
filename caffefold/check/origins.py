"""Is every layer of the deploy net one of the net as given? Both are walked side by side.

The first half of the way, from the net as given to the deploy net before folding; ``check/proof``
goes on from there. For every version of every blob of the deploy net it finds the version of the
given net that it holds. Then each layer must be a layer of the given net in its phase
(check/given.py), with the same blobs and the same parameters but those without effect at test time
(check/effectless.py), and be fed with the same versions; or it is an input, in place of data, or
the head of a loss (check/results.py). And what the given net computes must still be there.

Nothing of ``passes`` is asked. What may differ follows from the two nets and from what the user
asked for; what the passes say they did only has to name every layer that came or went.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from caffefold.check import reference
from caffefold.check.effectless import Difference, Effects, difference, net_difference
from caffefold.check.fillers import as_filled
from caffefold.check.given import given, is_silent
from caffefold.check.heads import Heads
from caffefold.check.inputs import check_shapes
from caffefold.check.results import check_results
from caffefold.check.sides import Sides
from caffefold.errors import ProofError
from caffefold.formats.prototxt.tree import Field
from caffefold.ir.graph import OUTSIDE
from caffefold.ir.net import Layer, Net
from caffefold.ops.table import op
from caffefold.options import DeployOptions

_WORD = re.compile(r"\w+")
_SHOWN = 60  # characters of a value in a message


class Declared(Protocol):
    """What a pass says it did: names of layers that went, and of those that came or changed."""

    @property
    def removed(self) -> tuple[str, ...]:
        """Layers that are gone."""

    @property
    def modified(self) -> tuple[str, ...]:
        """Layers that are new, or not what they were."""


def check(net: Net, deploy: Net, options: DeployOptions, changes: Iterable[Declared]) -> None:
    """Check that ``deploy`` computes what ``net``, as it was read, computes in its phase.

    Args:
        net: the net as it was read.
        deploy: what became of it, not folded.
        options: what was asked for.
        changes: what was reported: it has to name every layer that came or went.

    Raises:
        ProofError: it does not; the layer is named, and what was expected of it.
    """
    _Walk(Sides(given(net, options), deploy, options)).check(changes)


class _Walk:
    """The walk through both nets."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides

    def check(self, changes: Iterable[Declared]) -> None:
        """Compare layer by layer, then what both nets are for.

        Raises:
            ProofError: something differs.
        """
        sides = self.sides
        fields = (
            [i for i in n.items if isinstance(i, Field)] for n in (sides.given.net, sides.deploy)
        )
        if (differs := net_difference(*fields)) is not None:
            raise ProofError(f"the net: {_told(differs)}")
        inputs = check_shapes(sides.given, sides.deploy, sides.options, sides.filled, sides.values)
        for version, value in enumerate(sides.graph.versions):
            if value.producer == OUTSIDE or sides.deploy.layers[value.producer].is_input:
                sides.found[version] = sides.values[inputs[value.blob]]
        heads = Heads(sides)
        for position, layer in enumerate(sides.deploy.layers):
            if layer.is_input:
                continue
            match = sides.matches[position]
            if match < 0:
                heads.add(position)
            else:
                self._compare(position, sides.given.layers[match], match)
        heads.check()
        sides.filled.check(sides.deploy, sides.graph)
        check_results(sides)
        self._declared(changes)

    def _compare(self, position: int, before: Layer, match: int) -> None:
        sides = self.sides
        after = sides.deploy.layers[position]
        stored = sides.given.net.weights is not None
        filled = stored and not before.blobs and as_filled(before, after)
        effects = Effects.of(before, trained=sides.trained, stored=stored and not filled)
        differs = difference(before, after, effects, sides.filled.agrees(after))
        told = differs is not None and _told_to_test(before, differs)
        if differs is not None and not (told or self._refitted(position, differs)):
            raise ProofError(f"layer '{after.name}': {_told(differs)}", layer=after.name)
        same = len(before.blobs) == len(after.blobs) and all(
            old is new or old == new for old, new in zip(before.blobs, after.blobs, strict=True)
        )
        # A layer that learns nothing was given the numbers of its namesake.
        borrowed = before.name != after.name and not after.blobs and not reference.learns(before)
        if not (same or borrowed or filled):
            raise ProofError(f"layer '{after.name}': has other numbers", layer=after.name)
        wanted = [sides.value(version) for version in sides.given.graph.reads[match]]
        fed = [sides.origin(version) for version in sides.graph.reads[position]]
        if is_silent(after):
            fed = wanted if set(fed) <= set(wanted) else fed
        if fed != wanted:
            raise ProofError(self._wrongly_fed(position, match, fed, wanted), layer=after.name)
        makes = sides.given.graph.writes[match]
        if len(makes) != len(after.tops):
            raise ProofError(
                f"layer '{after.name}': has {len(after.tops)} tops, was given {len(makes)}",
                layer=after.name,
            )
        for made, version, name in zip(
            makes, sides.graph.writes[position], after.tops, strict=True
        ):
            sides.found[version] = sides.value(made)
            if name not in sides.called(sides.value(made)):
                raise ProofError(
                    f"layer '{after.name}': its top '{name}' was called "
                    f"'{sides.given.graph.versions[made].blob}'",
                    layer=after.name,
                )

    def _wrongly_fed(
        self, position: int, match: int, fed: Sequence[int], wanted: Sequence[int]
    ) -> str:
        sides = self.sides
        after = sides.deploy.layers[position]
        if len(fed) != len(wanted):
            return f"layer '{after.name}': reads {len(fed)} blobs, was given {len(wanted)}"
        at = next(i for i, (a, b) in enumerate(zip(fed, wanted, strict=True)) if a != b)
        old, new = sides.given.layers[match].bottoms[at], after.bottoms[at]
        if old == new:
            return f"layer '{after.name}': reads another value of '{old}' than it was given"
        return f"layer '{after.name}': reads '{new}' in place of '{old}'"

    def _refitted(self, position: int, differs: Difference) -> bool:
        """Whether a Reshape cuts the batch into time steps and streams as recurrent nets want it:
        only its first two numbers differ, and their product is a batch that comes in."""
        sides = self.sides
        layer = sides.deploy.layers[position]
        if op(layer).name != "Reshape" or differs.path != "reshape_param/shape/dim":
            return False
        before = sides.given.layers[sides.matches[position]].params("reshape_param").sub("shape")
        old, new = (
            before.integers("dim"),
            layer.params("reshape_param").sub("shape").integers("dim"),
        )
        if len(old) != len(new) or old[2:] != new[2:] or not any(map(_recurs, sides.deploy.layers)):
            return False
        from caffefold.analysis.shapes import input_shapes  # seldom needed

        return any(dims[:1] == (new[0] * new[1],) for dims in input_shapes(sides.deploy).values())

    def _declared(self, changes: Iterable[Declared]) -> None:
        """Every layer that came or went is named in the report."""
        sides = self.sides
        gone: set[str] = set()
        new: set[str] = set()
        for change in changes:
            gone.update(change.removed)
            new.update(change.modified)
        for position, layer in enumerate(sides.given.layers):
            if position not in sides.alive and not layer.is_input and layer.name not in gone:
                raise ProofError(
                    f"layer '{layer.name}': is gone, and no change says so", layer=layer.name
                )
        for position, layer in enumerate(sides.deploy.layers):
            if sides.matches[position] < 0 and not layer.is_input and layer.name not in new:
                raise ProofError(
                    f"layer '{layer.name}': is new, and no change says so", layer=layer.name
                )


def _told_to_test(layer: Layer, differs: Difference) -> bool:
    """Whether a Python layer that was told to train is told to test: ``param_str`` is what its own
    code reads (python_layer.hpp), and there the word behind ``phase`` alone differs."""
    if op(layer).name != "Python" or differs.path.rpartition("/")[2] != "param_str":
        return False
    texts = (differs.before, differs.after)
    old, new = (_WORD.findall(text) for text in texts)
    changed = [i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b]
    between, after = (_WORD.sub("", text) for text in texts)
    return between == after and all(
        i and (old[i - 1].lower(), old[i].lower(), new[i].lower()) == ("phase", "train", "test")
        for i in changed
    )


def _recurs(layer: Layer) -> bool:
    return any(kind in op(layer).name for kind in ("LSTM", "RNN", "Recurrent", "GRU"))


def _told(differs: Difference) -> str:
    before, after = (_short(text) or "not there" for text in (differs.before, differs.after))
    return f"{differs.path} was {before}, is {after}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
