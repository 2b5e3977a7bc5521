"""Training nets as short text, turned into deploy nets by the passes alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from caffefold.formats.prototxt.parse import parse
from caffefold.ir import graph
from caffefold.ir.net import Net
from caffefold.options import DeployOptions
from caffefold.passes import infra as base
from caffefold.passes import pipeline
from caffefold.passes.infra import Step
from caffefold.testing import net_text


def net(lines: str) -> str:
    """The prototxt of a net without a name; a line for each layer."""
    return net_text(lines, head="")


def passes(text: str, options: DeployOptions | None = None) -> tuple[Net, tuple[Step, ...]]:
    """The deploy net of prototxt ``text``, not folded, and what the passes did."""
    options = options or DeployOptions()
    view, steps = base.run(pipeline.view_passes(options), Net.of(parse(text)))
    result, more = base.run(pipeline.deploy_passes(view, options), view)
    graph.validate(result)
    return result, steps + more


def deploy(
    text: str,
    *,
    shape: tuple[int, ...] = (1, 3, 8, 8),
    options: DeployOptions | None = None,
    style: Literal["", "layer", "legacy"] = "",
    stages: tuple[str, ...] = (),
) -> Net:
    """The deploy net of lines as for ``net``. Inputs whose shape nothing tells get ``shape``."""
    from caffefold.errors import MissingShape

    given = options or DeployOptions(input_style=style, stages=stages)
    known = dict(given.input_shapes)
    while True:
        options = replace(given, input_shapes=known)
        try:
            return passes(net(text), options)[0]
        except MissingShape as error:
            if error.blob in known:
                raise
            known[error.blob] = shape


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
