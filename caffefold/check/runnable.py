"""Would Caffe run the emitted net? The shape of every blob is inferred, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping

from caffefold.analysis.shapes import Shapes, infer
from caffefold.errors import Option, UsageError
from caffefold.ir.net import Net


def runnable(net: Net, given: Mapping[str, tuple[int, ...]]) -> tuple[Shapes, tuple[str, ...]]:
    """The shapes of a deploy net, and a warning for each layer that Caffe would refuse.

    ``given`` are the input shapes that the user asked for.

    Raises:
        UsageError: the net cannot take these shapes.
        TextError: a layer's weights do not take what it is fed with.
    """
    shapes = infer(net)
    if not shapes.problems:
        return shapes, ()
    if given:
        from caffefold.analysis.input_size import contradiction  # seldom needed

        reason = contradiction(net, given)
        if reason is not None:
            names = ", ".join(given)
            asked = Option("input_shapes", f"{names}=...")
            raise UsageError(asked, f": the net cannot take it: {reason}")
    for problem, position in zip(shapes.problems, shapes.failing, strict=True):
        # What weights and shapes say together is certain; layers of forks may differ from ours.
        if position >= 0 and net.weights is not None and net.layers[position].blobs:
            raise problem
    return shapes, tuple(f"{problem}; Caffe may refuse this net" for problem in shapes.problems)
