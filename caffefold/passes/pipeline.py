"""The order of the passes, with the reason for each place in it."""

from __future__ import annotations

from caffefold.ir.net import Net
from caffefold.ops.loss import SILENCE
from caffefold.ops.table import op
from caffefold.options import DeployOptions, FoldOptions, SaveOptions, TargetOptions, ViewOptions
from caffefold.passes.deploy.bypass import Bypass
from caffefold.passes.deploy.filling import FillWeights
from caffefold.passes.deploy.heads import ConvertHeads
from caffefold.passes.deploy.inputs import ConvertInputs
from caffefold.passes.deploy.python_phase import PythonPhase
from caffefold.passes.deploy.sequences import FitSequences
from caffefold.passes.deploy.strip import Strip
from caffefold.passes.deploy.unpair import Unpair
from caffefold.passes.fold.collapse import Collapse
from caffefold.passes.fold.fold import Fold
from caffefold.passes.fold.tidy import Tidy
from caffefold.passes.infra import Pass, Predicate, nothing
from caffefold.passes.view.names import NameLayers, SeparateNames
from caffefold.passes.view.phase import SelectPhase, State
from caffefold.passes.view.placeholders import FillPlaceholders
from caffefold.targets import TARGETS


def view_passes(options: ViewOptions) -> tuple[Pass, ...]:
    """Template -> one concrete net, still with its data layers."""
    return (
        # Numbers first: later passes read fields that may be placeholders.
        FillPlaceholders(options.values, options.classes),
        # One phase before any wiring: TRAIN/TEST twins write the same blobs.
        SelectPhase(State.of(options)),
        # From here on, layers are spoken of by their names.
        NameLayers(),
    )


def deploy_passes(net: Net, options: DeployOptions) -> tuple[Pass, ...]:
    """Train -> deploy, not yet folded: the net the proof compares against."""
    trained = is_training_net(net)
    return (
        # Before heads: these layers read labels, and would take what follows them along.
        Unpair(),
        # Before heads, too: what such a layer makes of a label is no label.
        Bypass(options.bypass),
        # Heads before inputs: only then is it known whether labels are still read.
        ConvertHeads(options),
        ConvertInputs(options, trained or _measures(net)),
        # Only now is it known how many images come in.
        FitSequences(),
        PythonPhase(),
        # Once inputs have shapes, and while there are fillers.
        FillWeights(),
        # Late, because the passes before read include rules, transform_param and loss_param.
        Strip(trained, half=isinstance(options, SaveOptions) and options.dtype == "fp16"),
        # Of what is left: layers that went had their names without doing harm.
        SeparateNames(),
    )


def fold_passes(options: FoldOptions) -> tuple[Pass, ...]:
    """Deploy -> folded deploy: every step here is proven numerically."""
    if options.fold == "none":
        return ()
    passes: tuple[Pass, ...] = (
        # Identities first: a Dropout in between would hide that two layers are neighbours.
        Tidy(options.keeps),
        Fold(options.fold, options.keeps, options.unshare),
    )
    # Last: a chain that could still be folded must not be turned into a Scale.
    return (*passes, Collapse(options.keeps)) if options.collapse else passes


def target_passes(options: TargetOptions, keeps: Predicate = nothing) -> tuple[Pass, ...]:
    """Folded deploy -> the forms of a consumer: proven with the folds."""
    passes: list[Pass] = []  # seldom needed, so they are imported when they are
    if options.standalone:
        from caffefold.passes.target.standalone import Standalone

        passes.append(Standalone(options.standalone, keeps))
    if options.plain_types:
        from caffefold.passes.target.plain import PlainTypes

        passes.append(PlainTypes())
    row = TARGETS.get(options.target)
    if row is not None and row.frozen:
        from caffefold.passes.target.standalone import FreezeNorms

        passes.append(FreezeNorms())
    if row is not None and row.plain_windows:
        from caffefold.passes.target.windows import PlainWindows

        passes.append(PlainWindows())
    if row is not None and row.refused_fields:
        from caffefold.passes.target.unread import DropUnread

        passes.append(DropUnread(row.refused_fields))
    if row is not None and row.own_outputs:
        from caffefold.passes.target.outputs import OwnOutputs

        passes.append(OwnOutputs())
    if row is not None and row.image_inputs:
        from caffefold.passes.target.images import ImageInputs

        # After plain types, which gives each input a layer of its own.
        passes.append(ImageInputs())
    if options.drop_fork_fields:
        from caffefold.passes.target.fork_fields import DropForkFields

        # Last: until here a fork's fields may say which dialect a layer speaks.
        passes.append(DropForkFields())
    return tuple(passes)


def _measures(net: Net) -> bool:
    """Whether the net reports on itself, so that some of its inputs are answers."""
    return any(op(layer).is_measure(layer) and op(layer) is not SILENCE for layer in net.layers)


def is_training_net(net: Net) -> bool:
    """Whether there is anything of training in it: data layers or losses."""
    return any(op(layer).is_data(layer) or op(layer).is_loss(layer) for layer in net.layers)
