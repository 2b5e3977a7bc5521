"""What the weights say of an input whose height and width the text leaves open.

They are solved backwards from the InnerProduct layers behind the input, whose weights fix how many
numbers they take:

    LeNet     ip1 takes 800 = 50 x 4 x 4     28 x 28
    AlexNet   fc6 takes 9216 = 256 x 6 x 6   227 x 227
    VGG-16    fc6 takes 25088 = 512 x 7 x 7  224 x 224

Strides round, so several sizes give the same product. Nets are designed so that halving comes out
even (LeNet, VGG, ResNet) or so that no window hangs over (AlexNet, Inception), or one in some
layers and the other in the rest (GoogLeNet in training, MTCNN). The size that does so everywhere is
chosen, of several the one with most even halvings; unless that is one size, all are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import lcm
from typing import NamedTuple

from caffefold.analysis.shapes import infer
from caffefold.errors import TextError
from caffefold.formats.prototxt.tree import Field, Scalar, quote
from caffefold.frozen import dataclass
from caffefold.ir.graph import OUTSIDE
from caffefold.ir.net import Layer, Net
from caffefold.ops.affine import POWER
from caffefold.ops.base import Category
from caffefold.ops.linear import CONVOLUTION, INNER_PRODUCT
from caffefold.ops.pooling import POOLING
from caffefold.ops.shape import Dim, Shape, ShapeList, Window, total
from caffefold.ops.table import op
from caffefold.ops.wiring import FLATTEN, RESHAPE

Size = tuple[int, int]
_LARGEST = 4096  # pixels along one side that are tried
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Solution:
    """The height and width of an input, in pixels, as far as the weights decide them."""

    channels: int | None
    """As given, or found together with the size."""
    size: Size | None = None
    """The one to use; None when there is none, or several are equally good."""
    candidates: tuple[Size, ...] = ()
    """Every size that fits, squares only where squares fit."""
    certain: bool = False
    """Whether ``size`` is the only one that fits; else the design of the net speaks for it."""
    why: str = ""
    """One line for people: what decided it, or what was found instead."""


def contradiction(net: Net, shapes: Mapping[str, Sequence[int | None]]) -> str | None:
    """Why a net cannot take inputs of these shapes; None when nothing speaks against them.

    A product that an InnerProduct's weights do not take, a window larger than the picture, channels
    that are not the weights'. One line with the layer and both numbers. What is wrong with the net
    whatever its inputs are is no answer.
    """
    always = {str(problem) for problem in infer(net).problems}
    problems = (str(problem) for problem in infer(net, shapes).problems)
    return next((problem for problem in problems if problem not in always), None)


def input_size(
    net: Net,
    blob: str,
    channels: int | None = None,
    others: Mapping[str, Sequence[int | None]] | None = None,
) -> Solution:
    """The height and width of the input ``blob`` for which every InnerProduct fits.

    Args:
        net: a net with weights, filtered to one phase.
        blob: a legacy input, a top of a layer without bottoms, or a blob nothing makes.
        channels: of the blob, where known (``channels_of``).
        others: shapes of other inputs, which count as fixed.

    Raises:
        TextError: a number of a layer on the way is none, or out of range.
    """
    found = Solution(channels)
    path = _path(net, blob, channels, others or {})
    if path is None:
        return replace(found, why=f"'{blob}' is not an input of this net")
    if not path.targets:
        why = "no InnerProduct with weights depends on its height and width"
        return replace(found, why=why)
    if channels is None and path.is_direct():
        return _direct(net, blob, others or {}, path.targets[0].wanted)
    names = ", ".join(f"'{t.layer.name}' takes {t.wanted} inputs" for t in path.targets[:2])
    blocked = path.blocked()
    if blocked is not None:
        return replace(found, why=f"{names}, but {blocked}")
    squares = _squares(path)
    trials = squares or _oblong(path)
    sizes = tuple(trial.size for trial in trials)
    found = replace(found, candidates=sizes)
    if len(sizes) == 1:
        why = f"{names}: only {_listed(sizes)} fits"
        return replace(found, size=sizes[0], certain=True, why=why)
    if not squares:
        why = f"{names}: no square size fits" + (f"; {_listed(sizes)} do" if sizes else "")
        return replace(found, why=why)
    why = f"{names}: {sizes[0][0]} to {sizes[-1][0]} fit (height = width)"
    best = _best([trial for trial in trials if trial.aligned])
    if len(best) != 1:
        return replace(found, why=why)
    what = "every stride divides evenly" if best[0].halvings else "nothing is rounded"
    return replace(found, size=best[0].size, why=f"{why}, at {best[0].size[0]} {what}")


def _direct(
    net: Net, blob: str, others: Mapping[str, Sequence[int | None]], wanted: int
) -> Solution:
    """An input that InnerProducts read as it is: every shape of as many numbers gives the same.

    A square gray picture, else a square colour one.
    """
    why = f"any shape of {wanted} numbers fits, "
    for channels in (1, 3):
        found = input_size(net, blob, channels, others)
        if found.size is not None:
            shown = "x".join(map(str, (channels, *found.size)))
            return replace(found, certain=False, why=f"{why}{shown} is a square image")
    return Solution(None, why=f"{why}and none is a square image")


def _listed(sizes: Iterable[Size]) -> str:
    listed = [f"{height}x{width}" for height, width in sizes]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


# -------------------------------------------------------------------- the layers behind an input


class _Target(NamedTuple):
    """An InnerProduct whose number of inputs depends on the size of the picture."""

    layer: Layer
    version: int
    axis: int
    wanted: int


class _Trial(NamedTuple):
    """What one size of the input does."""

    size: Size
    too_small: bool = False
    too_large: bool = False
    joins: bool = True
    """Whether branches that meet have the same size."""
    halvings: int = 0
    """How many strides divide their layer's input; 0 where another leaves something of it over."""
    aligned: bool = False
    """Whether none leaves anything over, and those that divide also divide the size, together."""

    @property
    def fits(self) -> bool:
        return self.joins and not self.too_small and not self.too_large


class _Stop(NamedTuple):
    """One layer on the way."""

    layer: Layer
    windows: tuple[Window, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]


class _Path(NamedTuple):
    """The part of a net that decides whether a size fits."""

    start: int
    """The version of the input."""
    stops: tuple[_Stop, ...]
    targets: tuple[_Target, ...]
    fixed: tuple[Shape, ...]
    """Shapes of all versions, with height and width of the input unknown."""
    made: dict[tuple[Layer, tuple[Shape, ...]], ShapeList | TextError]
    """What each layer made of which bottoms: deep in a net, many sizes are alike."""

    def is_direct(self) -> bool:
        """Whether the first target reads the input as it is, or in another shape or scale."""
        for version, maker in self._upwards():
            own = None if maker is None else op(maker)
            if own is None:
                return version == self.start
            if own not in (FLATTEN, RESHAPE, POWER) and own.category is not Category.IDENTITY:
                break
        return False

    def blocked(self) -> str | None:
        """What keeps shapes from being followed to the targets, whatever the size; or None."""
        try:
            found, _ = self._walk(_LARGEST, _LARGEST)
        except TextError as problem:
            return str(problem)
        for stop in self.stops:
            if any(found[version] is None for version in stop.writes):
                return f"no shape is known after layer '{stop.layer.name}' ({stop.layer.type})"
        if any(total(found[target.version], target.axis) is None for target in self.targets):
            return "the channels of the input are not known"
        return None

    def at(self, height: int, width: int) -> _Trial:
        """What the input size ``height`` x ``width`` does."""
        size = (height, width)
        try:
            found, joins = self._walk(height, width)
        except TextError:  # a window larger than what is left of the picture
            return _Trial(size, too_small=True)
        over = [(total(found[t.version], t.axis) or 0) - t.wanted for t in self.targets]
        if any(over):
            return _Trial(size, min(over) < 0, max(over) > 0)
        rows, columns = self._strides(found, 0), self._strides(found, 1)
        if rows is None or columns is None:
            return _Trial(size, joins=joins)
        aligned = height % rows[1] == 0 == width % columns[1]
        return _Trial(size, joins=joins, halvings=rows[0] + columns[0], aligned=aligned)

    def maps(self) -> list[Size]:
        """Every (rows, columns) that the map in front of the first target may have."""
        shape, target = self.fixed[self._map()], self.targets[0]
        channels = None if shape is None or len(shape) != 4 else shape[1]
        if channels is None or target.axis != 1 or target.wanted % channels:
            return []
        area = target.wanted // channels
        return [(rows, area // rows) for rows in range(1, area + 1) if area % rows == 0]

    def map_at(self, height: int | None, width: int | None) -> tuple[Dim, Dim]:
        """The (rows, columns) of that map; one side may stay open."""
        try:
            found, _ = self._walk(height, width)
        except TextError:
            return 0, 0
        shape = found[self._map()]
        return (None, None) if shape is None else (shape[2], shape[3])

    def _walk(self, height: int | None, width: int | None) -> tuple[dict[int, Shape], bool]:
        """The shapes of all versions for this size; whether branches that meet agree."""
        found: dict[int, Shape] = {-1: None, **dict(enumerate(self.fixed))}
        found[self.start] = (*(found[self.start] or ())[:2], height, width)
        joins = True
        for stop in self.stops:
            bottoms = tuple(found[version] for version in stop.reads)
            tops = self._made(stop, bottoms)
            if isinstance(tops, TextError):
                if not op(stop.layer).joins:
                    raise tops
                joins, tops = False, bottoms[:1]
            found.update(zip(stop.writes, tops, strict=False))
        return found, joins

    def _made(self, stop: _Stop, bottoms: tuple[Shape, ...]) -> ShapeList | TextError:
        key = (stop.layer, bottoms)
        if key not in self.made:
            try:
                self.made[key] = op(stop.layer).shapes(stop.layer, bottoms)
            except TextError as problem:
                self.made[key] = problem
        return self.made[key]

    def _strides(self, found: Mapping[int, Shape], axis: int) -> Size | None:
        """How many strides along ``axis`` divide their layer's input; what those of them make
        together whose last window does not end where its input does.

        None when one is neither even nor exact.
        """
        count, whole = 0, 1
        strides: dict[int, int] = {}
        for stop in self.stops:
            stride = max((strides.get(version, 1) for version in stop.reads), default=1)
            before, after = found[stop.reads[0]], found[stop.writes[0]]
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
            strides.update((version, stride) for version in stop.writes)
            whole = lcm(whole, stride)
        return count, whole

    def _map(self) -> int:
        """The last version in front of the first target that still has height and width."""
        upwards = self._upwards()
        return next(v for v, maker in upwards if maker is None or len(self.fixed[v] or ()) > 2)

    def _upwards(self) -> Iterator[tuple[int, Layer | None]]:
        """What the first target reads, what its maker reads and so on, each with its maker."""
        makers = {made: stop for stop in self.stops for made in stop.writes}
        version = self.targets[0].version
        while version in makers:
            yield version, makers[version].layer
            version = makers[version].reads[0]
        yield version, None


def _path(
    net: Net, blob: str, channels: int | None, others: Mapping[str, Sequence[int | None]]
) -> _Path | None:
    """The layers from the input ``blob`` to every InnerProduct that its size matters to.

    None when the net does not read the blob, or computes it.
    """
    if blob in infer(net).loose:  # read, and made by nothing: as if it were declared
        net = replace(net, items=(Field("input", Scalar(quote(blob))), *net.items))
    known = infer(net, {**others, blob: (1, channels, None, None)})
    wiring, layers = known.graph, net.layers
    start = next((i for i, version in enumerate(wiring.versions) if version.blob == blob), None)
    if start is None:
        return None
    made_by = wiring.versions[start].producer
    if made_by != OUTSIDE and layers[made_by].bottoms:
        return None
    behind, reached = {start}, []
    for position, reads in enumerate(wiring.reads):
        if behind.intersection(reads):
            reached.append(position)
            behind.update(wiring.writes[position])
    targets = []
    for position in reached:
        layer, version = layers[position], wiring.reads[position][0]
        wanted = INNER_PRODUCT.inputs(layer) if op(layer) is INNER_PRODUCT else None
        if wanted is not None and version >= 0:
            shape = known.versions[version]
            axis = INNER_PRODUCT.params(layer).integer("axis")
            axis += len(shape) if axis < 0 and shape is not None else 0
            if total(shape, axis) is None:
                targets.append(_Target(layer, version, axis, wanted))
    needed = {target.version for target in targets}
    stops: list[_Stop] = []
    for position in reversed(reached):
        reads, writes = wiring.reads[position], wiring.writes[position]
        if needed.intersection(writes):
            stops.insert(0, _stop(layers[position], reads, writes))
            needed.update(reads)
    return _Path(start, tuple(stops), tuple(targets), known.versions, {})


def _stop(layer: Layer, reads: tuple[int, ...], writes: tuple[int, ...]) -> _Stop:
    windows: tuple[Window, ...] = ()
    try:
        if op(layer) is CONVOLUTION:
            windows = CONVOLUTION.windows(layer, 2)
        elif op(layer) is POOLING:
            windows = POOLING.windows(layer, 2)
    except TextError:  # the walk meets it again
        pass
    if op(layer) is INNER_PRODUCT:  # a target itself: what it takes is compared, not refused
        layer = layer.with_blobs(())
    return _Stop(layer, windows, reads, writes)


# ------------------------------------------------------------------------------------ the search


def _best(trials: Sequence[_Trial]) -> list[_Trial]:
    """Those with most strides that divide their layer's input."""
    most = max((trial.halvings for trial in trials), default=0)
    return [trial for trial in trials if trial.halvings == most]


def _squares(path: _Path) -> list[_Trial]:
    """All sizes with height = width that fit; the product grows with the size, so bisect."""
    low = _first(lambda size: not path.at(size, size).too_small)
    high = _first(lambda size: path.at(size, size).too_large)
    if high > _LARGEST:
        return []
    return [trial for size in range(low, high) if (trial := path.at(size, size)).fits]


def _oblong(path: _Path) -> list[_Trial]:
    """The best sizes of each shape that the map in front of the InnerProduct may have."""
    found: list[_Trial] = []
    for rows, columns in path.maps():
        heights = _between(lambda size: path.map_at(size, None)[0], rows)
        widths = _between(lambda size: path.map_at(None, size)[1], columns)
        trials = [path.at(height, width) for height in heights for width in widths]
        fitting = [trial for trial in trials if trial.fits]
        best = _best([trial for trial in fitting if trial.aligned] or fitting)
        found += best if len(best) <= _SHOWN else best[:1]
    return sorted(found, key=lambda trial: max(trial.size) / min(trial.size))


def _between(made: Callable[[int], int | None], wanted: int) -> range:
    """The sizes along one axis that make ``wanted`` rows or columns of the map."""
    low = _first(lambda size: (made(size) or 0) >= wanted)
    high = _first(lambda size: (made(size) or 0) > wanted)
    return range(low, high) if high <= _LARGEST else range(0)


def _first(test: Callable[[int], bool]) -> int:
    """The smallest size that passes, where all larger ones do too; LARGEST + 1 when none does."""
    low, high = 1, 32
    while high < _LARGEST and not test(high):
        low, high = high + 1, high * 2
    high = min(high, _LARGEST + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if test(middle) else (middle + 1, high)
    return low
