"""A whole model zoo: find its models, convert them in parallel, resume after an interruption.

    plan = caffefold.zoo.plan("zoo/", "out/")
    result = caffefold.zoo.run(plan, on_event=print)

``import caffefold`` alone does not load it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from caffefold.zoo.records import Event, Facts, Model, Orphan, Outcome, Plan, Result

__all__ = ["Event", "Facts", "Model", "Orphan", "Outcome", "Plan", "Result", "plan", "run"]

PathLike = str | os.PathLike[str]


def plan(
    source: PathLike,
    target: PathLike = "",
    *,
    options: Mapping[str, Any] | None = None,
    prefer: str = "train",
    snapshots: str = "last",
    manifest: PathLike = "",
    jobs: int = 0,
    fresh: bool = False,
) -> Plan:
    """Find the models of a zoo, without converting anything.

    Args:
        source: the folder of the zoo, or a URL that fsspec reaches.
        target: where results will go; also where the plan of an unchanged zoo is kept.
        options: keyword options of ``caffefold.convert`` for every model.
        prefer: of several prototxts that fit, take ``"train"`` or ``"deploy"``.
        snapshots: convert the ``"last"`` snapshot of a net, or ``"all"``.
        manifest: a zoo.toml; by default the one in ``source``, if there is one.
        jobs: processes that read files; 0: one for each core.
        fresh: do not use the plan of an earlier run.

    Returns:
        The models in the order of their names, and the files that belong to none.

    Raises:
        InputError: the source cannot be read, or the manifest is not TOML.
        UsageError: a wrong option or key of the manifest, or a target that holds the source.
    """
    from caffefold.zoo.planning.plan import plan as make

    return make(
        os.fspath(source),
        os.fspath(target),
        options=options or {},
        prefer=prefer,
        snapshots=snapshots,
        manifest=os.fspath(manifest),
        jobs=jobs,
        fresh=fresh,
    )


def run(
    plan: Plan,
    on_event: Callable[[Event], None] | None = None,
    *,
    jobs: int = 0,
    engine: str = "processes",
    scheduler: str = "",
    timeout: float = 0.0,
    memory: int = 0,
    fail_fast: bool = False,
    retry_failed: bool = False,
    force: bool = False,
) -> Result:
    """Convert what is new, changed or failed since the last run.

    Worker processes start fresh: a script that calls this needs ``if __name__ == "__main__":``.

    Args:
        plan: from ``plan``, with a target.
        on_event: called in this thread as models start and end.
        jobs: worker processes; 0: one for each core.
        engine: ``"processes"``, or ``"dask"``.
        scheduler: address of the Dask scheduler.
        timeout: seconds that one model may take; 0: any time.
        memory: bytes that one worker process may have; 0: as much as there is.
        fail_fast: end the run with the first model that is not converted.
        retry_failed: try refused models again, although their files are the same.
        force: convert everything again, also over files that no earlier run made.

    Returns:
        What became of each model, earlier runs included. Also written to the target: ``zoo.json``,
        ``zoo.csv``, ``index.html`` and a page for each model.

    Raises:
        OutputError: the target cannot be written, or another run holds it.
        UsageError: options that contradict each other, or a package is not installed.
        KeyboardInterrupt: Ctrl-C; what is finished stays and is in the journal.
    """
    from caffefold.errors import UsageError
    from caffefold.zoo.running.run import RunOptions
    from caffefold.zoo.running.run import run as do

    if not plan.target:
        raise UsageError("this plan has no target; give one to plan()")
    options = RunOptions(
        jobs=jobs,
        engine=engine,
        scheduler=scheduler,
        timeout=timeout,
        memory=memory,
        fail_fast=fail_fast,
        retry_failed=retry_failed,
        force=force,
    )
    return do(plan, options, on_event)
