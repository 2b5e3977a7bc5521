"""All real models there are, as one zoo: each converted, or refused for a reason that is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffefold import zoo


@pytest.fixture
def everything(shared: Path, source: Path) -> Path:
    """Links to the folders of models outside the repository."""
    for name in ("corpus", "models"):
        if not (shared / name).is_dir():
            pytest.skip(f"CAFFEFOLD_SHARED has no {name}")
        (source / name).symlink_to(shared / name)
    return source


def test_the_real_models(everything: Path, target: Path) -> None:
    plan = zoo.plan(everything, target)
    assert len(plan.models) >= 44
    for model in plan.models:
        assert model.problem == ""
        # Each has its prototxts beside it; the flat folder of others must not win.
        folder = model.caffemodel.rpartition("/")[0]
        assert {path.rpartition("/")[0] for path in model.prototxts} == {folder}
    result = zoo.run(plan)
    assert len(result.outcomes) == len(plan.models)
    for outcome in result.outcomes:
        if outcome.status != "converted":
            # Train nets without a deploy net that do not say how large their images are.
            assert outcome.status == "refused"
            assert "does not tell the height and width" in outcome.reason
    assert sum(outcome.status == "converted" for outcome in result.outcomes) >= 42
    read = {path for model in plan.models for path in (model.caffemodel, *model.prototxts)}
    assert not read & {orphan.path for orphan in plan.orphans}
