"""``slim``: channels out of a net in memory, or out of a pair of files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from caffefold import reduction
from caffefold.check.slimmed import Fed
from caffefold.conversion import (
    Beside,
    Feeds,
    Verifies,
    convert_files,
    doubts,
    idle,
    on_files,
    on_net,
    orphans,
    to_deploy,
    verified,
)
from caffefold.errors import Option, ProofError, UsageError
from caffefold.files import SUFFIXES, opened, pair, size_of, stage
from caffefold.formats import detect
from caffefold.formats.caffemodel.blob import quiet
from caffefold.formats.prototxt.open import read_net
from caffefold.ir.net import Net
from caffefold.options import (
    DeployOptions,
    FeedOptions,
    PathLike,
    SlimNetOptions,
    SlimPairOptions,
    VerifyOptions,
    part,
)
from caffefold.report import ConvertReport, DeployResult, FileSize, SlimResult


@on_net(SlimNetOptions)
def slim(net: Net, **given: Any) -> SlimResult:
    """Take channels out of a net: by default those that do nothing, which changes no result.

    Args:
        net: a train, train_val or deploy net with weights, not folded; templates are fine.
        {options}

    Returns:
        The deploy net without them, or the training net; what went, and what did not and why.

    Raises:
        InputError: the net is broken, or its weights do not fit it.
        ProofError: the net is not the same: a fault of ours.
        UsageError: an option has a wrong value, contradicts the net, or is missing.
    """
    options = SlimNetOptions(**given)
    own = part(DeployOptions, options)
    deploy = to_deploy(net, **own)
    origin = net if options.keep_training else None
    again = (lambda kept: to_deploy(kept, **own).net) if options.keep_training else None
    with quiet():
        result = reduction.slim_deploy(deploy, options, origin, again, _feeds(options))
    return replace(result, warnings=(*deploy.warnings, *result.warnings, *idle(net, options)))


@on_files(SlimPairOptions)
def slim_files(
    prototxt: PathLike,
    caffemodel: PathLike | None,
    output: PathLike | None = None,
    *,
    force: bool = False,
    dry_run: bool = False,
    html: PathLike | None = None,
    beside: Beside | None = None,
    verify: Verifies | None = None,
    **given: Any,
) -> ConvertReport | SlimResult:
    """Take channels out of a pair of files: ``convert`` with options of what goes.

    Args:
        prototxt: as of ``convert``;
        caffemodel: as of ``convert``;
        output: as of ``convert``;
        force: as of ``convert``;
        dry_run: as of ``convert``;
        html: as of ``convert``;
        beside: as of ``convert``; not with a training net.
        verify: as of ``convert``; where what goes is known to do something, a pair that is
            different is put in place all the same.
        {options}

    Returns:
        The report of the conversion; or what went, where the net stays a training net.

    Raises:
        CaffefoldError: as ``convert``.
    """
    options = SlimPairOptions(**given)
    if not options.keep_training:
        return convert_files(
            options, prototxt, caffemodel, output, force=force, dry_run=dry_run, html=html,
            beside=beside, verify=verify, feeds=_feeds(options),
        )  # fmt: skip
    if beside is not None:
        why = ": a model needs a deploy net"
        raise UsageError(Option("onnx"), " contradicts ", Option("keep_training"), why)
    with opened(options, prototxt, caffemodel, output, SUFFIXES, html, force=force) as job:
        own, net, staging = part(DeployOptions, options), job.net, job.staging
        deploy = to_deploy(net, **own)

        def again(kept: Net) -> Net:
            """What was written, read back; of half precision, what was meant to be written."""
            text, weights = map(staging.path_of, stage(staging, kept, job.targets, options))
            written = pair(read_net(str(text), net.document.schema), weights)
            return to_deploy(written if options.dtype == "fp32" else kept, **own).net

        try:
            with quiet():
                result = reduction.slim_deploy(deploy, options, net, again, _feeds(options))
        except ProofError as error:
            raise error.advised("; no output was written") from None
        result = replace(
            result,
            warnings=(
                *deploy.warnings, *result.warnings, *idle(net, options), *orphans(net, options)
            ),
            inputs=tuple(FileSize(detect.shown(path), size_of(path, net)) for path in job.sources),
            outputs=tuple(
                FileSize(str(target), staging.path_of(target).stat().st_size)
                for target in job.targets[:2]
            ),
            dry_run=dry_run,
        )  # fmt: skip
        if verify is not None:
            found = verified(net, map(staging.path_of, job.targets[:2]), verify, options,
                             meant=result.proof.approximate)  # fmt: skip
            warnings = (*result.warnings, *doubts(found))
            result = replace(result, verification=found, warnings=warnings)
        if not dry_run:
            job.put(result)
    return result


def _feeds(options: SlimNetOptions) -> Feeds | None:
    """Reads the images and arrays that are asked for, as ``verify`` does."""
    return partial(_fed, options) if options.inputs else None


def _fed(options: SlimNetOptions, deploy: DeployResult) -> Fed:
    from caffefold.verification.feeding import feed

    given = VerifyOptions(**part(FeedOptions, options))
    found = feed(deploy.net, deploy.net, deploy.preprocessing, given)
    return Fed(found.about, [batch.values for batch in found.batches])
