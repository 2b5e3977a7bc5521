"""Who writes and reads which version of which blob.

Caffe nets reuse names: an in-place layer writes the blob it read. Every write makes a new version
here, so "the same blob" always means the same numbers (Caffe's own rule: net.cpp, AppendTop).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from caffefold.errors import TextError
from caffefold.ir.net import Net

OUTSIDE = -1  # producer of a net input declared by a legacy ``input:`` field


class Version(NamedTuple):
    """One value a blob name takes: written once, by ``producer`` (a layer position or OUTSIDE)."""

    blob: str
    producer: int
    readers: tuple[int, ...]
    """Positions of the layers that read it, once for each bottom."""


class Graph(NamedTuple):
    """The wiring of a net. Versions are referred to by their position in ``versions``."""

    versions: tuple[Version, ...]
    reads: tuple[tuple[int, ...], ...]
    """Per layer, the version behind each bottom; -1 where nothing produces it."""
    writes: tuple[tuple[int, ...], ...]
    """Per layer, the version each top makes."""
    problems: tuple[TextError, ...]
    """What no one could run: unknown bottoms, tops written twice."""
    clashes: tuple[TextError, ...] = ()
    """What Caffe refuses, though it has a meaning: working in place on a blob that others read."""

    @property
    def sinks(self) -> tuple[int, ...]:
        """Versions nobody reads: the outputs of the net, as Caffe sees them."""
        return tuple(i for i, version in enumerate(self.versions) if not version.readers)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the net's outputs."""
        return tuple(self.versions[i].blob for i in self.sinks)

    def sole_reader(self, version: int) -> int | None:
        """The one layer that reads this version, once; None when none or several do."""
        readers = self.versions[version].readers
        return readers[0] if len(readers) == 1 else None

    def maker(self, version: int) -> int:
        """The position of the layer that makes a version; OUTSIDE for inputs and for -1."""
        return self.versions[version].producer if version >= 0 else OUTSIDE

    def is_read(self, position: int) -> bool:
        """Whether some layer reads a top of the layer at ``position``."""
        return any(self.versions[version].readers for version in self.writes[position])

    def ancestors(self, versions: Iterable[int]) -> set[int]:
        """Positions of all layers that ``versions`` are computed by."""
        queue = list(versions)
        found: set[int] = set()
        while queue:
            producer = self.maker(queue.pop())
            if producer != OUTSIDE and producer not in found:
                found.add(producer)
                queue += self.reads[producer]
        return found


def build(net: Net) -> Graph:
    """The wiring of ``net``; problems are collected, not raised (see ``validate``)."""
    known = net.derived.get("graph")
    if not isinstance(known, Graph):
        known = net.derived["graph"] = _build(net)
    return known


def _build(net: Net) -> Graph:
    made: list[tuple[str, int, list[int]]] = []  # the versions, with readers still to come
    current: dict[str, int] = {}
    problems: list[TextError] = []
    reads: list[tuple[int, ...]] = []
    writes: list[tuple[int, ...]] = []
    clashes: list[TextError] = []
    overwritten: list[tuple[int, int]] = []  # versions, and the positions of in-place layers

    def write(name: str, producer: int) -> int:
        current[name] = len(made)
        made.append((name, producer, []))
        return current[name]

    for name in net.legacy_inputs:
        if name in current:
            problems.append(net.document.error(0, f"input '{name}' is declared twice"))
        write(name, OUTSIDE)
    for position, layer in enumerate(net.layers):
        reads.append(tuple(current.get(name, -1) for name in layer.bottoms))
        for name, version in zip(layer.bottoms, reads[-1], strict=True):
            if version >= 0:
                made[version][2].append(position)
            else:
                unknown = f"bottom '{name}' is not made by any earlier layer; check the name"
                problems.append(layer.error(unknown))
        tops = []
        for j, name in enumerate(layer.tops):
            in_place = j < len(layer.bottoms) and layer.bottoms[j] == name
            if name in current and not in_place:
                first = made[current[name]][1]
                owner = "a net input" if first == OUTSIDE else f"layer '{net.layers[first].name}'"
                again = f"top '{name}' is already made by {owner}; rename one of them"
                problems.append(layer.error(again))
            elif in_place and name in current:
                overwritten.append((current[name], position))
            tops.append(write(name, position))
        writes.append(tuple(tops))
    for version, position in overwritten:
        # Such a blob is split (insert_splits.cpp), and then the layer is not in place any more.
        blob, _, readers = made[version]
        others = [net.layers[reader].name for reader in readers if reader != position]
        if len(readers) > 1:
            also = f"layer '{others[0]}' reads" if others else "it reads"
            shared = f"works in place on '{blob}', which {also} too"
            clashes.append(net.layers[position].error(shared))
    versions = tuple(Version(blob, producer, tuple(readers)) for blob, producer, readers in made)
    return Graph(versions, tuple(reads), tuple(writes), tuple(problems), tuple(clashes))


def validate(net: Net) -> Graph:
    """The wiring of a net that Caffe would accept.

    Raises:
        TextError: a bottom nothing produces, or a top written twice; naming the layer.
    """
    graph = build(net)
    if graph.problems:
        raise graph.problems[0]
    return graph
