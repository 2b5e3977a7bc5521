"""Training nets as short text, turned into deploy nets by the passes alone."""

from __future__ import annotations

from caffefold.formats.prototxt.parse import parse
from caffefold.ir import graph
from caffefold.ir.net import Net
from caffefold.passes import infra as base
from caffefold.passes import pipeline
from caffefold.passes.deploy.headoptions import HeadOptions
from caffefold.passes.deploy.input_shape import ShapeOptions
from caffefold.passes.infra import Step
from caffefold.passes.pipeline import Options
from caffefold.passes.view.phase import State
from caffefold.testing import net_text


def net(lines: str) -> str:
    """The prototxt of a net without a name; a line for each layer."""
    return net_text(lines, head="")


def passes(text: str, options: Options | None = None) -> tuple[Net, tuple[Step, ...]]:
    """The deploy net of prototxt ``text``, not folded, and what the passes did."""
    options = options or Options()
    view, steps = base.run(pipeline.view_passes(options), Net.of(parse(text)))
    result, more = base.run(pipeline.deploy_passes(view, options), view)
    graph.validate(result)
    return result, steps + more


def deploy(
    text: str,
    *,
    shape: tuple[int, ...] = (1, 3, 8, 8),
    heads: HeadOptions | None = None,
    shapes: ShapeOptions | None = None,
    style: str = "",
    stages: tuple[str, ...] = (),
) -> Net:
    """The deploy net of lines as for ``net``. Inputs whose shape nothing tells get ``shape``."""
    from caffefold.errors import UsageError

    known = dict((shapes or ShapeOptions()).shapes)
    while True:
        wanted = ShapeOptions(known, shapes.batch if shapes else None)
        options = Options(
            shapes=wanted,
            heads=heads or HeadOptions(),
            input_style=style,
            state=State(stages=frozenset(stages)),
        )
        try:
            return passes(net(text), options)[0]
        except UsageError as error:
            blob = str(error).rpartition("--input-shape ")[2].partition("=")[0]
            if "does not tell" not in str(error) or blob in known:
                raise
            known[blob] = shape


def outline(found: Net) -> list[str]:
    """One line a layer: ``name Type bottoms -> tops``; inputs first as ``> blobs``."""
    lines = ["> " + " ".join(found.inputs)]
    for x in found.layers:
        if x.type != "Input":
            lines.append(f"{x.name} {x.type} {' '.join(x.bottoms)} -> {' '.join(x.tops)}".rstrip())
    return lines


def outputs(found: Net) -> list[str]:
    """Blobs nobody reads."""
    return list(graph.build(found).outputs)
