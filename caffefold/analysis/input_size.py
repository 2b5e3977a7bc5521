"""What the weights tell of an input that the text leaves open: its channels, its height and width.

Channels are read off the first layers with weights. Height and width are solved backwards from the
InnerProduct layers behind it, whose weights fix how many numbers they take:

    LeNet     ip1 takes 800 = 50 x 4 x 4     28 x 28
    AlexNet   fc6 takes 9216 = 256 x 6 x 6   227 x 227
    VGG-16    fc6 takes 25088 = 512 x 7 x 7  224 x 224

Strides round, so several sizes give the same product. Nets are designed so that halving comes out
even (LeNet, VGG, ResNet) or so that no window hangs over (AlexNet, Inception), or one in some
layers and the other in the rest (GoogLeNet in training, MTCNN). The size that does so everywhere is
chosen, of several the one with most even halvings; unless that is one size, all are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from caffefold.analysis.input_path import LARGEST, Path, Trial
from caffefold.analysis.shapes import infer
from caffefold.ir.net import Net

Size = tuple[int, int]
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Solution:
    """The height and width of an input, in pixels, as far as the weights decide them."""

    blob: str
    channels: int | None
    """As given, or found together with the size."""
    size: Size | None
    """The one to use; None when there is none, or several are equally good."""
    candidates: tuple[Size, ...]
    """Every size that fits, squares only where squares fit."""
    certain: bool
    """Whether ``size`` is the only one that fits; else the design of the net speaks for it."""
    why: str
    """One line for people: what decided it, or what was found instead."""


def contradiction(net: Net, shapes: Mapping[str, Sequence[int | None]]) -> str | None:
    """Why a net can not take inputs of these shapes; None when nothing speaks against them.

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
    path = Path.of(net, blob, channels, others or {})
    if path is None:
        return _none(blob, channels, f"'{blob}' is no input of this net")
    if not path.targets:
        why = "no InnerProduct with weights depends on its height and width"
        return _none(blob, channels, why)
    if channels is None and path.is_direct():
        return _direct(net, blob, others or {}, path.targets[0].wanted)
    names = ", ".join(f"'{t.layer.name}' takes {t.wanted} inputs" for t in path.targets[:2])
    blocked = path.blocked()
    if blocked is not None:
        return _none(blob, channels, f"{names}, but {blocked}")
    squares = _squares(path)
    if squares:
        return _chosen(blob, channels, names, squares)
    sizes = tuple(trial.size for trial in _oblong(path))
    if len(sizes) == 1:
        why = f"{names}: only {_listed(sizes)} fits"
        return Solution(blob, channels, sizes[0], sizes, True, why)
    why = f"{names}: no square size fits" + (f"; {_listed(sizes)} do" if sizes else "")
    return Solution(blob, channels, None, sizes, False, why)


def _none(blob: str, channels: int | None, why: str) -> Solution:
    return Solution(blob, channels, None, (), False, why)


def _direct(
    net: Net, blob: str, others: Mapping[str, Sequence[int | None]], wanted: int
) -> Solution:
    """An input that InnerProducts read as it is: every shape of as many numbers gives the same.

    A square gray picture, else a square colour one.
    """
    for channels in (1, 3):
        found = input_size(net, blob, channels, others)
        if found.size is not None:
            shown = f"{channels}x{found.size[0]}x{found.size[1]}"
            why = f"any shape of {wanted} numbers fits, {shown} is a square picture"
            return replace(found, certain=False, why=why)
    return _none(blob, None, f"any shape of {wanted} numbers fits, and none is a square picture")


def _chosen(blob: str, channels: int | None, names: str, trials: Sequence[Trial]) -> Solution:
    """The square size that a net was designed for, when that is clear."""
    sizes = tuple(trial.size for trial in trials)
    if len(sizes) == 1:
        return Solution(
            blob, channels, sizes[0], sizes, True, f"{names}: only {_listed(sizes)} fits"
        )
    why = f"{names}: {sizes[0][0]} to {sizes[-1][0]} fit (height = width)"
    aligned = [trial for trial in trials if trial.clean and trial.aligned]
    most = max((trial.halvings for trial in aligned), default=0)
    best = [trial.size for trial in aligned if trial.halvings == most]
    if len(best) != 1:
        return Solution(blob, channels, None, sizes, False, why)
    what = "every stride comes out even" if most else "nothing is rounded"
    why = f"{why}, at {best[0][0]} {what}"
    return Solution(blob, channels, best[0], sizes, False, why)


def _squares(path: Path) -> list[Trial]:
    """All sizes with height = width that fit; the product grows with the size, so bisect."""

    def at(size: int) -> Trial:
        return path.at(size, size)

    low = _first(lambda size: not at(size).too_small)
    high = _first(lambda size: at(size).too_large) - 1
    trials = (at(size) for size in range(low, min(high, LARGEST) + 1))
    return [trial for trial in trials if trial.fits] if high < LARGEST else []


def _oblong(path: Path) -> list[Trial]:
    """The best sizes of each shape that the map in front of the InnerProduct may have."""
    found = []
    for rows, columns in path.maps():
        heights = _axis(lambda size: path.map_at(size, None)[0], rows)
        widths = _axis(lambda size: path.map_at(None, size)[1], columns)
        trials = [path.at(height, width) for height in heights for width in widths]
        fitting = [trial for trial in trials if trial.fits]
        best = [t for t in fitting if t.clean and t.aligned] or fitting
        most = max((trial.halvings for trial in best), default=0)
        best = [trial for trial in best if trial.halvings == most]
        found += best if len(best) <= _SHOWN else best[:1]
    return sorted(found, key=lambda t: max(t.size) / min(t.size))


def _axis(made: Callable[[int], int | None], wanted: int) -> range:
    """The sizes along one axis that make ``wanted`` rows or columns of the map."""
    low = _first(lambda size: (made(size) or 0) >= wanted)
    high = _first(lambda size: (made(size) or 0) > wanted)
    return range(low, high) if high <= LARGEST else range(0)


def _first(test: Callable[[int], bool]) -> int:
    """The smallest size that passes, where all larger ones do too; LARGEST + 1 when none does."""
    low, high = 1, 32
    while high < LARGEST and not test(high):
        low, high = high + 1, high * 2
    high = min(high, LARGEST + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if test(middle) else (middle + 1, high)
    return low


def _listed(sizes: Iterable[Size]) -> str:
    listed = [f"{height}x{width}" for height, width in sizes]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
