"""The eighteen small nets that no other folder gets all right, and what becomes of them.

    python -m tests.numeric.eighteen        prints the table of the README

Each net is computed by torch in float64 (tests/reference) as it is and after folding. Beside it
stands what OpenCV 4 makes of the same unfolded net with its own fusion of BatchNorm switched on.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caffefold.testing import Array, LayerSpec, RandomLayers, input_layer, relu, write_pair

EPSILONS = (1e-5, 1e-3)
SHAPE = (1, 4, 7, 7)
LIMIT = 1e-6  # of the largest value


@dataclass(frozen=True)
class Case:
    """One net of the list, for a given eps."""

    name: str
    layers: list[LayerSpec]
    left: int
    """Affine layers that no linear layer may take."""
    twins: bool = False
    """Whether some layers exist twice, for TRAIN and for TEST."""


def cases(eps: float) -> list[Case]:
    """All nets with this eps."""
    n = RandomLayers(18)

    def norm(
        name: str, bottom: str, channels: int = 4, *, top: str = "", factor: float = 999.98
    ) -> LayerSpec:
        return n.batch_norm(name, bottom, channels, top=top or bottom, eps=eps, factor=factor)

    def scale(name: str, bottom: str, channels: int = 4, *, bias: bool = True) -> LayerSpec:
        return n.scale(name, bottom, channels, top=bottom, bias=bias)

    def conv(name: str = "c", bottom: str = "data", text: str = "", group: int = 1) -> LayerSpec:
        return n.conv(name, bottom, 4, 4, bias=False, params=text, group=group)

    def deconv(group: int) -> LayerSpec:
        return n.conv("c", "data", 4, 6, bias=False, group=group, kind="Deconvolution")

    end = relu("end", "c")
    wide = [norm("bn", "c", 6), scale("sc", "c", 6)]
    add = LayerSpec("sum", "Eltwise", "b c")
    twin = norm("bn", "c")
    params = f"batch_norm_param {{ eps: {eps} use_global_stats: false }}"
    batch = twin._replace(params=params)
    train = twin._replace(params="include { phase: TRAIN } " + params)
    test = twin._replace(params=f"include {{ phase: TEST }} batch_norm_param {{ eps: {eps} }}")
    return [
        Case("01 conv, BatchNorm, Scale", [conv(), norm("bn", "c"), scale("sc", "c"), end], 0),
        Case("02 conv, ReLU in place, BatchNorm", [conv(), end, twin, relu("r", "c")], 1),
        Case(
            "03 conv read by BatchNorm and Eltwise",
            [conv(), norm("bn", "c", top="b"), scale("sc", "b"), add, relu("r", "sum")],
            2,
        ),
        Case("04 deconvolution", [deconv(1), *wide, end], 0),
        Case("05 grouped deconvolution", [deconv(2), *wide, end], 0),
        Case("06 scale factor 0", [conv(), norm("bn", "c", factor=0.0), scale("sc", "c"), end], 0),
        Case("07 Scale without bias", [conv(), twin, scale("sc", "c", bias=False), end], 0),
        Case("08 BatchNorm without Scale", [conv(), norm("bn", "c"), end], 0),
        Case(
            "09 InnerProduct",
            [
                n.inner_product("c", "data", 196, 4, bias=False),
                norm("bn", "c"),
                scale("sc", "c"),
                end,
            ],
            0,
        ),
        Case(
            "10 BatchNorm, ReLU, conv",
            [norm("bn", "data", top="b"), scale("sc", "b"), relu("r", "b"), conv(bottom="b"), end],
            2,
        ),
        Case(
            "11 BatchNorm, conv with padding",
            [norm("bn", "data", top="b"), scale("sc", "b"), conv(bottom="b", text="pad: 1"), end],
            2,
        ),
        Case("12 Scale alone", [conv(), scale("sc", "c"), end], 0),
        Case(
            "13 Bias alone",
            [conv(), LayerSpec("bi", "Bias", "c", "c", blobs=[n.normal(4)]), end],
            0,
        ),
        Case("14 depthwise", [conv(group=4), norm("bn", "c"), scale("sc", "c"), end], 0),
        Case("15 use_global_stats: false", [conv(), batch, end], 1),
        Case(
            "16 Concat, BatchNorm",
            [
                conv("a"),
                conv("b"),
                LayerSpec("c", "Concat", "a b"),
                norm("bn", "c", 8),
                scale("sc", "c", 8),
                end,
            ],
            0,
        ),
        Case(
            "17 not in place",
            [conv(), norm("bn", "c", top="b"), n.scale("sc", "b", 4), relu("end", "sc")],
            0,
        ),
        Case("18 TRAIN and TEST twins", [conv(), train, test, scale("sc", "c"), end], 0, True),
    ]


def case_input() -> Array:
    """The picture every net is given."""
    return RandomLayers(5).normal(*SHAPE)


def error_of(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """Largest difference, relative to the largest value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def fold(case: Case, folder: Path) -> tuple[float, int]:
    """(error after folding, affine layers left alone)."""
    import caffefold
    from tests.reference.caffe_torch import net_outputs, run

    pair = write_pair(folder, [input_layer(*SHAPE), *case.layers])
    report = caffefold.convert(*pair, folder / "out", force=True)
    (output,) = net_outputs(pair[0])
    inputs = {"data": case_input()}
    wanted = run(*pair, inputs, [output])[output]
    folded = run(folder / "out.prototxt", folder / "out.caffemodel", inputs, [output])
    return error_of(folded[output], wanted), len(report.skips)


def opencv(case: Case, folder: Path) -> str:
    """The error of OpenCV's own fusion on the unfolded net, or how it fails."""
    import cv2

    from tests.reference.caffe_torch import net_outputs, run

    pair = write_pair(folder, [input_layer(*SHAPE), *case.layers])
    (output,) = net_outputs(pair[0])
    inputs = {"data": case_input()}
    wanted = run(*pair, inputs, [output])[output]
    try:
        net = cv2.dnn.readNetFromCaffe(str(pair[0]), str(pair[1]))
        net.enableFusion(True)
        net.setInput(inputs["data"])
        found = np.asarray(net.forward(), np.float64).reshape(wanted.shape)
    except (cv2.error, ValueError):
        return "fails"
    error = error_of(found, wanted)
    return f"{error:.0e}" if error <= 1e-5 else f"**{error:.0e}**"


def table(make_rows: Callable[[Case, Path], tuple[str, ...]]) -> list[list[str]]:
    """One row a net, with what ``make_rows`` finds for each eps."""
    rows = []
    per_eps = [cases(eps) for eps in EPSILONS]
    with tempfile.TemporaryDirectory() as name:
        for variants in zip(*per_eps, strict=True):
            cells = [cell for case in variants for cell in make_rows(case, Path(name))]
            rows.append([variants[0].name, *cells])
    return rows


def main() -> None:
    """Print the table as markdown."""

    def row(case: Case, folder: Path) -> tuple[str, ...]:
        error, left = fold(case, folder)
        return f"{error:.0e}", f"{left}", opencv(case, folder)

    head = ["net"]
    for eps in EPSILONS:
        head += [f"caffefold, eps {eps:g}", "left alone", f"OpenCV 4, eps {eps:g}"]
    lines = [head, ["---"] * len(head), *table(row)]
    sys.stdout.write("".join("| " + " | ".join(line) + " |\n" for line in lines))


if __name__ == "__main__":
    main()
