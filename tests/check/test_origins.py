"""The walk from the net as given to the deploy net: what it must not complain of, and its tables.

That it complains of every fault is seen in tests/property/test_deploy_mutants.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import caffefold
from caffefold.check import effectless, given, origins
from caffefold.errors import CaffefoldError, MissingShape, ProofError
from caffefold.ir.net import Net
from caffefold.options import DeployOptions, ViewOptions
from caffefold.passes.deploy import strip
from caffefold.passes.view.phase import State, included
from caffefold.testing import RandomLayers, input_layer, net_text, write_pair

N = RandomLayers(11)


def deploy(net: Net, **given: str) -> None:
    """Make a deploy net, whatever shape or number has to be made up for it."""
    options: dict[str, Any] = {"classes": 21, **given}
    for _ in range(4):
        try:
            caffefold.to_deploy(net, **options)
        except MissingShape as error:
            sizes = zip(error.known, (1, 3, 224, 224), strict=False)
            dims = tuple(known or size for known, size in sizes)
            options.setdefault("input_shapes", {})[error.blob] = dims
        except ProofError:
            raise
        except CaffefoldError:
            if "classes" not in options:
                return
            del options["classes"]
        else:
            return


@pytest.mark.once
@pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
def test_no_published_net_is_suspected(shared: Path, phase: str) -> None:
    """All nets at hand, without their weights: converted, or refused for another reason."""
    suspected = []
    files = sorted(shared.rglob("*.prototxt"))
    for path in files:
        try:
            deploy(caffefold.load(path), phase=phase)
        except ProofError as error:
            suspected.append(f"{path.relative_to(shared)}: {error}")
        except CaffefoldError:
            continue
    assert suspected == []
    assert len(files) > 400


@pytest.mark.once
def test_no_net_with_weights_is_suspected(shared: Path) -> None:
    """The small models, with theirs."""
    for path in sorted((shared / "models").rglob("*.caffemodel")):
        if path.stat().st_size < 1 << 22:
            for prototxt in path.parent.glob("*.prototxt"):
                try:
                    net = caffefold.load(prototxt, path)
                except CaffefoldError:
                    continue  # it belongs to another prototxt
                with net:
                    deploy(net)


# --------------------------------------------------------------------------- the phase as given

RULES = """
    a Power x -> a
    b Power x -> b {{ include {{ phase: {phase} }} }}
    c Power x -> c {{ exclude {{ phase: {phase} }} }}
    d Power x -> d {{ include {{ min_level: 1 max_level: 2 }} }}
    e Power x -> e {{ include {{ stage: "s" not_stage: "t" }} }}
    f Power x -> f {{ include {{ stage: "s" }} include {{ phase: {phase} stage: "t" }} }}
    g Power x -> g {{ exclude {{ stage: "s" stage: "t" }} exclude {{ max_level: 0 }} }}
    h Power x -> h {{ include {{ }} }}
"""


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("stages", [(), ("s",), ("t",), ("s", "t")])
def test_rules_are_read_as_by_the_pass(phase: str, level: int, stages: tuple[str, ...]) -> None:
    """Both are written from net.cpp, by different hands: they agree on every combination."""
    net = Net.from_text(net_text(RULES.format(phase=phase)))
    for asked in ("TRAIN", "TEST"):
        options = ViewOptions(phase=asked, level=level, stages=stages)
        here = given.State(asked, level, frozenset(stages))
        for layer in net.layers:
            assert given.takes_part(layer, here) == included(layer, State.of(options)), layer.name


# ---------------------------------------------------------------------------------- the tables


def test_nothing_else_is_stripped() -> None:
    """What the pass drops stands in the tables of the walk, each with a reason."""
    assert effectless.LAYER_FIELDS.keys() == strip.LAYER_FIELDS | strip.PRECISIONS
    assert effectless.BATCH_NORM.keys() == strip._SWITCHES
    assert effectless.NET_FIELDS.keys() >= strip._NET_FIELDS | strip.NET_PRECISIONS
    tables = (effectless.LAYER_FIELDS, effectless.BATCH_NORM, effectless.NET_FIELDS)
    assert all(len(reason) > 10 for table in tables for reason in table.values())


@pytest.mark.parametrize("field", [*effectless.LAYER_FIELDS, *effectless.NET_FIELDS])
def test_the_tables_stand_in_the_documentation(field: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "proof.md"
    assert f"`{field}`" in page.read_text(encoding="utf-8")


# ---------------------------------------------------------------------------------- in memory


def test_on_its_own(tmp_path: Path) -> None:
    """Nets of any making can be compared; a difference is named, with the layer as data."""
    layers = [input_layer(1, 4, 6, 6), N.conv("c", "data", 4, 3)]
    net = caffefold.load(*write_pair(tmp_path, layers))
    origins.check(net, net, DeployOptions(), ())
    layers[1] = layers[1]._replace(params=layers[1].params.replace("group: 1", "group: 1 pad: 1"))
    other = caffefold.load(*write_pair(tmp_path, layers, "other"))
    with pytest.raises(
        ProofError, match="'c': convolution_param/pad was not there, is 1"
    ) as caught:
        origins.check(net, other, DeployOptions(), ())
    assert caught.value.layer == "c"
