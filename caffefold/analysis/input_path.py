"""The layers from an input to the InnerProducts behind it: read once, tried at many sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm

from caffefold.analysis.shapes import infer
from caffefold.errors import TextError
from caffefold.formats.prototxt.tree import Field, Scalar, quote
from caffefold.ir.graph import OUTSIDE, Graph
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import POWER
from caffefold.ops.base import Category
from caffefold.ops.linear import CONVOLUTION, INNER_PRODUCT
from caffefold.ops.pooling import POOLING
from caffefold.ops.shape import Dim, Shape, Step, product
from caffefold.ops.table import op
from caffefold.ops.window import Window, convolution_windows, pooling_windows
from caffefold.ops.wiring import FLATTEN, RESHAPE

LARGEST = 4096  # pixels along one side that are tried


@dataclass(frozen=True, slots=True)
class Target:
    """An InnerProduct whose number of inputs depends on the size of the picture."""

    layer: Layer
    version: int
    axis: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What one size of the input does."""

    size: tuple[int, int]
    too_small: bool = False
    too_large: bool = False
    joins: bool = True
    """Whether branches that meet have the same size."""
    clean: bool = False
    """Whether each stride divides its layer's input, or leaves nothing of it over."""
    halvings: int = 0
    """How many strides divide their layer's input."""
    aligned: bool = False
    """Whether those that leave something over divide the size itself, together."""

    @property
    def fits(self) -> bool:
        """Whether the net takes this size."""
        return self.joins and not self.too_small and not self.too_large


@dataclass(frozen=True, slots=True)
class _Stop:
    """One layer on the way."""

    layer: Layer
    step: Step
    windows: tuple[Window, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """The part of a net that decides whether a size fits."""

    start: int
    """The version of the input."""
    head: tuple[Dim, Dim]
    """Its batch and channels."""
    stops: tuple[_Stop, ...]
    targets: tuple[Target, ...]
    fixed: tuple[Shape, ...]
    """Shapes of all versions, with height and width unknown."""

    @classmethod
    def of(
        cls, net: Net, blob: str, channels: int | None, others: Mapping[str, Sequence[int | None]]
    ) -> Path | None:
        """The path from the input ``blob`` to every InnerProduct that its size matters to.

        None when the net does not read the blob, or computes it.
        """
        if blob in infer(net).loose:  # read, and made by nothing: as if it were declared
            net = replace(net, items=(Field("input", Scalar(quote(blob))), *net.items))
        known = infer(net, {**others, blob: (1, channels, None, None)})
        wiring, layers = known.graph, net.layers
        start = _start(wiring, layers, blob)
        if start is None:
            return None
        reached = _reached(wiring, start)
        ends = [
            (layers[i], version, _axis(layers[i], known.versions[version]), wanted)
            for i in reached
            if op(layers[i]) is INNER_PRODUCT
            and (wanted := INNER_PRODUCT.inputs(layers[i])) is not None
            and (version := wiring.reads[i][0]) >= 0
        ]
        ends = [end for end in ends if _count(known.versions[end[1]], end[2]) is None]
        needed = _needed(wiring, (version for _, version, _, _ in ends), reached)
        stops = tuple(_stop(layers[i], wiring, i) for i in needed)
        return cls(start, (1, channels), stops, tuple(Target(*end) for end in ends), known.versions)

    def is_direct(self) -> bool:
        """Whether the first target reads the input as it is, or flattened."""
        read = self.targets[0].version
        makers = {made: stop for stop in self.stops for made in stop.writes}
        while read in makers and _rearranges(makers[read].layer):
            read = makers[read].reads[0]
        return read == self.start

    def blocked(self) -> str | None:
        """What keeps shapes from being followed to the targets, whatever the size; or None."""
        try:
            found, _ = self._walk(LARGEST, LARGEST)
        except TextError as problem:
            return str(problem)
        for stop in self.stops:
            if any(self._shape(found, version) is None for version in stop.writes):
                return f"no shape is known behind layer '{stop.layer.name}' ({stop.layer.type})"
        if any(self._made(found, target) is None for target in self.targets):
            return "the channels of the input are not known"
        return None

    def at(self, height: int, width: int) -> Trial:
        """What the input size ``height`` x ``width`` does."""
        size = (height, width)
        try:
            found, joins = self._walk(height, width)
        except TextError:  # a window larger than what is left of the picture
            return Trial(size, too_small=True)
        pairs = [(self._made(found, target) or 0, target.wanted) for target in self.targets]
        small = any(made < wanted for made, wanted in pairs)
        large = any(made > wanted for made, wanted in pairs)
        if small or large:
            return Trial(size, small, large)
        rows, columns = self._strides(found, 0), self._strides(found, 1)
        if rows is None or columns is None:
            return Trial(size, joins=joins)
        aligned = all(
            side % strides[1] == 0 for side, strides in zip(size, (rows, columns), strict=True)
        )
        return Trial(size, joins=joins, clean=True, halvings=rows[0] + columns[0], aligned=aligned)

    def maps(self) -> Iterator[tuple[int, int]]:
        """Every (rows, columns) that the map in front of the first target may have."""
        shape = self.fixed[self._map()]
        target = self.targets[0]
        channels = None if shape is None or len(shape) != 4 else shape[1]
        if channels is None or target.axis != 1 or target.wanted % channels:
            return
        area = target.wanted // channels
        yield from ((rows, area // rows) for rows in range(1, area + 1) if area % rows == 0)

    def map_at(self, height: int | None, width: int | None) -> tuple[Dim, Dim]:
        """The (rows, columns) of that map; one side may stay open."""
        try:
            found, _ = self._walk(height, width)
        except TextError:
            return 0, 0
        shape = self._shape(found, self._map())
        return (None, None) if shape is None else (shape[2], shape[3])

    # ---------------------------------------------------------------------------- internals

    def _walk(self, height: int | None, width: int | None) -> tuple[dict[int, Shape], bool]:
        """The shapes of all versions on the way; whether branches that meet agree."""
        found: dict[int, Shape] = {self.start: (*self.head, height, width)}
        joins = True
        for stop in self.stops:
            bottoms = [self._shape(found, version) for version in stop.reads]
            try:
                tops = stop.step(bottoms)
            except TextError:
                if not op(stop.layer).joins:
                    raise
                joins, tops = False, bottoms[:1]
            found.update(zip(stop.writes, tops, strict=False))
        return found, joins

    def _shape(self, found: Mapping[int, Shape], version: int) -> Shape:
        if version in found:
            return found[version]
        return self.fixed[version] if version >= 0 else None

    def _made(self, found: Mapping[int, Shape], target: Target) -> Dim:
        return _count(self._shape(found, target.version), target.axis)

    def _strides(self, found: Mapping[int, Shape], axis: int) -> tuple[int, int] | None:
        """How many strides along ``axis`` divide their layer's input; what those of them make
        together whose last window does not end where its input does.

        None when one is neither even nor exact.
        """
        count, whole = 0, 1
        total: dict[int, int] = {}
        for stop in self.stops:
            stride = max((total.get(version, 1) for version in stop.reads), default=1)
            before, after = self._shape(found, stop.reads[0]), self._shape(found, stop.writes[0])
            window = stop.windows[axis] if stop.windows else None
            if window is not None and window.stride > 1 and before and after:
                size, made = before[2 + axis] or 0, after[2 + axis] or 0
                even = made * window.stride == size
                exact = (size + 2 * window.pad - window.extent) % window.stride == 0
                if not even and not exact:
                    return None
                count += even
                # One window over all that is left moves nowhere: its stride says nothing.
                stride *= window.stride if even and not exact and made > 1 else 1
            total.update((version, stride) for version in stop.writes)
            whole = lcm(whole, stride)
        return count, whole

    def _map(self) -> int:
        """The last version in front of the first target that still has height and width."""
        version = self.targets[0].version
        makers = {made: stop.reads for stop in self.stops for made in stop.writes}
        while len(self.fixed[version] or ()) < 3 and makers.get(version):
            version = makers[version][0]
        return version


def _rearranges(layer: Layer) -> bool:
    """Whether the layer hands all numbers on, if in another shape or scaled alike."""
    own = op(layer)
    return own in (FLATTEN, RESHAPE, POWER) or own.category is Category.IDENTITY


def _start(wiring: Graph, layers: Sequence[Layer], blob: str) -> int | None:
    for i, version in enumerate(wiring.versions):
        outside = version.producer == OUTSIDE or not layers[version.producer].bottoms
        if version.blob == blob and outside:
            return i
    return None


def _reached(wiring: Graph, start: int) -> list[int]:
    """The positions of all layers that depend on ``start``, in order."""
    versions, positions = {start}, []
    for position, reads in enumerate(wiring.reads):
        if versions.intersection(reads):
            positions.append(position)
            versions.update(wiring.writes[position])
    return positions


def _needed(wiring: Graph, ends: Iterable[int], reached: Sequence[int]) -> list[int]:
    """Those of the ``reached`` layers that one of the versions ``ends`` depends on, in order."""
    wanted = set(ends)
    positions = []
    for position in reversed(reached):
        if wanted.intersection(wiring.writes[position]):
            positions.append(position)
            wanted.update(wiring.reads[position])
    return positions[::-1]


def _axis(layer: Layer, shape: Shape) -> int:
    at = INNER_PRODUCT.params(layer).integer("axis")
    return at + len(shape) if at < 0 and shape is not None else at


def _count(shape: Shape, axis: int) -> Dim:
    return None if shape is None else product(shape[axis:])


def _stop(layer: Layer, wiring: Graph, position: int) -> _Stop:
    windows: tuple[Window, ...] = ()
    try:
        if op(layer) is CONVOLUTION:
            windows = convolution_windows(layer, CONVOLUTION.params(layer), 2)
        elif op(layer) is POOLING and not POOLING.whole(layer):
            windows = pooling_windows(layer, POOLING.params(layer), 2)
        # An InnerProduct on the way is a target itself: what it takes is compared, not refused.
        step = op(layer).prepare(layer.with_blobs(()) if op(layer) is INNER_PRODUCT else layer)
    except TextError as problem:
        step = _refused(problem)
    return _Stop(layer, step, windows, wiring.reads[position], wiring.writes[position])


def _refused(problem: TextError) -> Step:
    def step(bottoms: Sequence[Shape]) -> Sequence[Shape]:
        raise problem

    return step
