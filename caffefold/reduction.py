"""Channels out of a deploy net, or out of the training net that it comes from; run side by side.

The plan is made on the deploy net, whose shapes are known; a training net loses the same channels,
layer by layer of the same name. Blobs that only its training layers read as well keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from caffefold.analysis.cost import layer_costs, totals
from caffefold.analysis.shapes import Shapes, infer
from caffefold.check import slimmed
from caffefold.errors import Option, Text, UsageError
from caffefold.ir import graph
from caffefold.ir.net import Net
from caffefold.ops.base import LinearOp
from caffefold.ops.table import op
from caffefold.options import ConvertOptions, SlimOptions
from caffefold.passes import infra
from caffefold.passes.slim.branches import DropBranches, find
from caffefold.passes.slim.slim import Planner, Slim, cut
from caffefold.report import DeployResult, SlimResult, SlimRow


def slim_deploy(
    deploy: DeployResult,
    options: SlimOptions | ConvertOptions,
    origin: Net | None = None,
    again: Callable[[Net], Net] | None = None,
    feeds: Callable[[DeployResult], slimmed.Fed] | None = None,
) -> SlimResult:
    """Take channels out of a deploy net, and run both nets side by side.

    Args:
        deploy: the deploy net, not folded.
        options: which channels; those of a conversion take out what does nothing.
        origin: the training net that ``deploy`` was made of, to be cut instead.
        again: makes a deploy net of that, once it is cut: it is what is run.
        feeds: what both are run on beside random numbers.

    Raises:
        UsageError: there are no weights.
        ProofError: the nets are not the same: a fault of ours.
    """
    how = options if isinstance(options, SlimOptions) else SlimOptions(keep=options.keep)
    net = deploy.net
    if net.weights is None:
        raise UsageError(Option("slim"), ": weights say which channels go; give the caffemodel")
    planner = Planner(how, {} if origin is None else dict(_read_in_training(origin, net)))
    branches = find(net, planner.stays(net))
    trunk, steps = infra.run((DropBranches(branches),), net)
    plan = planner.plan(trunk)
    made, more = infra.run((Slim(plan),), trunk)
    steps += more
    before, after = infer(net), infer(made)
    for problem in after.problems[len(before.problems) :]:
        raise problem
    kept = made
    if origin is not None:
        kept, changes = cut(plan, branches.out_of(origin))
        dropped = [change for step in steps[:1] for change in step.changes]
        kept = replace(kept, history=(*kept.history, *dropped, *changes))
    run = made if again is None else again(kept)
    if made is net:
        proof = slimmed.SlimProof(0, None, ())
    else:
        shapes = {name: deploy.shapes.of_input(name) or () for name in net.inputs}
        known = {name: tuple(dim or 1 for dim in shape) for name, shape in shapes.items()}
        proof = slimmed.compare(
            net, run, plan.kept, known, deploy.preprocessing,
            approximate=how.by_size or how.approximate, fed=feeds(deploy) if feeds else None,
        )  # fmt: skip
    order = {layer.name: i for i, layer in enumerate(net.layers)}
    gammas = sorted((*branches.gammas, *plan.gammas), key=lambda each: order[each.layer])
    return SlimResult(
        net=kept,
        passes=steps,
        table=tuple(_rows(net, made, before, after)),
        costs=(totals(net, before), totals(made, after)),
        gammas=(
            sum(float(each.sizes.sum()) for each in gammas),
            sum(float(each.sizes[each.gone].sum()) for each in gammas),
        ),
        channels=(
            sum(each.gone.size for each in gammas),
            sum(int(each.gone.sum()) for each in gammas),
        ),
        proof=proof,
        bounded=plan.bounded,
        held=plan.held,
        histograms=tuple(each.histogram for each in gammas),
        warnings=tuple(_not_followed(deploy)),
    )


def slimmed_deploy(deploy: DeployResult, result: SlimResult) -> DeployResult:
    """The deploy net after slimming, as if it had been made so."""
    passes = deploy.passes + result.passes
    warnings = (*deploy.warnings, *result.warnings)
    shapes = infer(result.net)
    return replace(deploy, net=result.net, passes=passes, shapes=shapes, warnings=warnings)


def _not_followed(deploy: DeployResult) -> Iterator[str]:
    """A warning for each input of unknown shape: channels behind it stay."""
    for name in deploy.net.inputs:
        shape = deploy.shapes.of_input(name)
        if shape is None or None in shape:
            what = f"the shape of input '{name}' is not known, so no channel behind it goes; give "
            yield Text(what, Option("input_shapes", f"{name}=1,3,H,W"))


def _rows(net: Net, made: Net, before: Shapes, after: Shapes) -> Iterator[SlimRow]:
    kept = {layer.name for layer in made.layers}
    news = iter(enumerate(zip(made.layers, layer_costs(made, after), strict=True)))
    for i, (one, old) in enumerate(zip(net.layers, layer_costs(net, before), strict=True)):
        makes = isinstance(op(one), LinearOp)
        if one.name not in kept:
            parameters, macs = (old.parameters or 0, 0), (old.macs, 0)
            yield SlimRow(one.name, one.type, (_outputs(before, i), 0), parameters, macs, makes)
            continue
        j, (other, new) = next(news)
        if one is not other:
            outputs = _outputs(before, i), _outputs(after, j)
            numbers = (old.parameters or 0, new.parameters or 0), (old.macs, new.macs)
            yield SlimRow(one.name, one.type, outputs, *numbers, makes)


def _outputs(shapes: Shapes, position: int) -> int:
    """The channels of a layer's first top."""
    return shapes.channels(shapes.graph.writes[position][0]) or 0


def _read_in_training(origin: Net, deploy: Net) -> Iterator[tuple[str, str]]:
    """Blobs of the deploy net that a layer reads which is in the training net alone."""
    known = {(layer.name, op(layer).name) for layer in deploy}
    blobs = {version.blob for version in graph.build(deploy).versions}
    for layer in origin:
        if (layer.name, op(layer).name) not in known:
            for blob in layer.bottoms:
                if blob in blobs:
                    yield blob, f"'{layer.name}' reads '{blob}' in training"
