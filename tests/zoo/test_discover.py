"""Which models a folder holds: pairs by content, the right one of several prototxts, orphans."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from caffefold import zoo
from caffefold.errors import UsageError
from caffefold.testing import LayerSpec, RandomLayers, input_layer, net_text, net_weights
from caffefold.zoo import Model, Plan
from tests.support.zoo import body, deploy, model, put, train


def planned(source: Path, **options: str) -> Plan:
    return zoo.plan(source, jobs=1, **options)  # type: ignore[arg-type]


def pairs(plan: Plan) -> dict[str, str]:
    return {m.caffemodel: m.prototxts[0] if m.prototxts else "" for m in plan.models}


def only(plan: Plan) -> Model:
    (found,) = plan.models
    return found


def orphans(plan: Plan) -> dict[str, tuple[str, str]]:
    return {orphan.path: (orphan.kind, orphan.reason) for orphan in plan.orphans}


def test_content_pairs_not_names(source: Path) -> None:
    """Names that say the opposite of the content."""
    first, second = body(1, prefix="a_"), body(2, prefix="b_")
    put(source / "a.prototxt", deploy(first))
    put(source / "b.prototxt", deploy(second))
    put(source / "a.caffemodel", net_weights(second))
    put(source / "b.caffemodel", net_weights(first))
    assert pairs(planned(source)) == {"a.caffemodel": "b.prototxt", "b.caffemodel": "a.prototxt"}


def test_shapes_pair_where_names_agree(source: Path) -> None:
    narrow, wide = body(1, channels=4), body(2, channels=6)
    put(source / "x.prototxt", deploy(narrow))
    put(source / "y.prototxt", deploy(wide))
    put(source / "x.caffemodel", net_weights(wide))
    put(source / "y.caffemodel", net_weights(narrow))
    assert pairs(planned(source)) == {"x.caffemodel": "y.prototxt", "y.caffemodel": "x.prototxt"}


def test_any_suffix(source: Path) -> None:
    """What a file is, its content says."""
    layers = body()
    put(source / "net.txt", deploy(layers))
    put(source / "net.bin", net_weights(layers))
    put(source / "notes.txt", "layer by layer: what we did")
    plan = planned(source)
    assert pairs(plan) == {"net.bin": "net.txt"}
    assert plan.orphans == ()


@pytest.mark.parametrize(("prefer", "order"), [
    ("train", ("train.prototxt", "test.prototxt", "deploy.prototxt")),
    ("deploy", ("deploy.prototxt", "test.prototxt", "train.prototxt")),
])  # fmt: skip
def test_the_role_that_is_preferred(source: Path, prefer: str, order: tuple[str, ...]) -> None:
    layers = body()
    put(source / "net_iter_10.caffemodel", net_weights(layers))
    put(source / "deploy.prototxt", deploy(layers))
    put(source / "train.prototxt", train(layers))
    put(
        source / "test.prototxt",
        train(layers).replace('top: "label"', 'top: "label" include { phase: TEST }'),
    )
    put(source / "solver.prototxt", 'net: "models/elsewhere/train.prototxt"\nbase_lr: 0.1\n')
    plan = planned(source, prefer=prefer)
    assert only(plan).prototxts == order
    assert orphans(plan) == {"solver.prototxt": ("solver", "trains train.prototxt")}


def test_the_nearest_folder(source: Path) -> None:
    layers = body()
    put(source / "a/net.caffemodel", net_weights(layers))
    put(source / "a/deploy.prototxt", deploy(layers))
    put(source / "b/train.prototxt", train(layers))
    plan = planned(source)
    assert pairs(plan) == {"a/net.caffemodel": "a/deploy.prototxt"}
    assert orphans(plan)["b/train.prototxt"] == (
        "prototxt",
        "no weights in the zoo; a/net.caffemodel has layers of the same names, and another net",
    )


def test_another_folder(source: Path) -> None:
    layers = body()
    put(source / "snapshots/net.caffemodel", net_weights(layers))
    put(source / "nets/train.prototxt", train(layers))
    put(source / "nets/other.prototxt", deploy(body(prefix="x_")))
    plan = planned(source)
    assert pairs(plan) == {"snapshots/net.caffemodel": "nets/train.prototxt"}
    assert only(plan).name == "snapshots/net"


def test_a_shallower_net_of_the_same_names_is_not_taken(source: Path) -> None:
    """VGG-19's weights fit VGG-16's prototxt layer by layer, and give another net."""
    make = RandomLayers()
    deep = [
        make.conv(f"conv{i}", f"conv{i - 1}" if i else "data", 4 if i else 3, 4) for i in range(4)
    ]
    shallow = [deep[0], deep[1], LayerSpec("conv3", "Convolution", "conv1", params=deep[3].params)]
    put(source / "deep.caffemodel", net_weights(deep))
    put(source / "shallow.prototxt", train(shallow))
    found = only(planned(source))
    assert found.prototxts == ()
    assert "no prototxt fits; the nearest, shallow.prototxt, lacks layers" in found.problem
    assert "'conv2'" in found.problem
    put(source / "sub/deep.prototxt", deploy(deep))
    assert only(planned(source)).prototxts == ("sub/deep.prototxt",)


def test_a_head_that_only_training_has_is_no_hindrance(source: Path) -> None:
    layers = body()
    head = RandomLayers(1).inner_product("aux", "conv", 144, 5)
    put(source / "net.caffemodel", net_weights([*layers, head]))
    put(source / "deploy.prototxt", deploy(layers))
    put(source / "train.prototxt", train([*layers[:-1], head, layers[-1]]))
    assert only(planned(source)).prototxts[0] == "train.prototxt"
    assert only(planned(source, prefer="deploy")).prototxts[0] == "deploy.prototxt"


def test_what_is_concrete_before_a_template(source: Path) -> None:
    layers = body()
    put(source / "a_template.prototxt", train(layers).replace("num_output: 5", "num_output: cls5x"))
    put(source / "z_train.prototxt", train(layers))
    put(source / "net.caffemodel", net_weights(layers))
    assert only(planned(source)).prototxts == ("z_train.prototxt",)


def test_the_solver_decides_between_equals(source: Path) -> None:
    layers = body()
    put(source / "a_train.prototxt", train(layers))
    put(source / "b_train.prototxt", train(layers))
    put(source / "run_iter_5.caffemodel", net_weights(layers))
    put(
        source / "solver.prototxt", 'net: "b_train.prototxt" snapshot_prefix: "snap/run" base_lr: 1'
    )
    assert only(planned(source)).prototxts == ("b_train.prototxt",)


def test_wires_decide_between_equal_shapes(source: Path) -> None:
    """Two nets of the same layers, one of them with other tops."""
    make = RandomLayers()
    first = [make.conv("c1", "data", 3, 3), make.conv("c2", "c1", 3, 3)]
    second = [first[0]._replace(tops="x"), first[1]._replace(bottoms="x")]
    put(source / "a.prototxt", deploy(second))
    put(source / "b.prototxt", deploy(first))
    put(source / "net.caffemodel", net_weights(first))
    assert only(planned(source)).prototxts == ("b.prototxt",)
    put(source / "net.caffemodel", net_weights(second))
    assert only(planned(source)).prototxts == ("a.prototxt",)


def test_the_name_of_the_net_decides_between_the_same(source: Path) -> None:
    layers = body()
    put(source / "a.prototxt", deploy(layers).replace('name: "net"', 'name: "other"'))
    put(source / "b.prototxt", deploy(layers))
    put(source / "weights.caffemodel", net_weights(layers))
    assert only(planned(source)).prototxts == ("b.prototxt",)


def test_a_net_inside_a_solver(source: Path) -> None:
    layers = body()
    put(source / "solver.prototxt", f"base_lr: 1\nnet_param {{ {train(layers)} }}\n")
    put(source / "net.caffemodel", net_weights(layers))
    assert only(planned(source)).prototxts == ("solver.prototxt",)


def test_snapshots(source: Path) -> None:
    put(source / "train.prototxt", train(body()))
    for number in (900, 1000, 5000):
        put(source / f"net_iter_{number}.caffemodel", net_weights(body(number)))
    put(source / "other_iter_100.caffemodel", net_weights(body(1)))
    plan = planned(source)
    assert sorted(pairs(plan)) == ["net_iter_5000.caffemodel", "other_iter_100.caffemodel"]
    kind, reason = orphans(plan)["net_iter_1000.caffemodel"]
    assert kind == "snapshot"
    assert reason.startswith("an earlier snapshot than net_iter_5000.caffemodel")
    assert len(planned(source, snapshots="all").models) == 4


def test_one_snapshot_in_two_formats(source: Path) -> None:
    model(source, "net_iter_7")
    put(source / "net_iter_7.caffemodel.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    plan = planned(source)
    assert sorted(pairs(plan)) == ["net_iter_7.caffemodel"]
    assert orphans(plan)["net_iter_7.caffemodel.h5"] == (
        "snapshot", "the same snapshot as net_iter_7.caffemodel"
    )  # fmt: skip


def test_front_matter(source: Path) -> None:
    model(source / "a")
    sha1 = hashlib.sha1((source / "a/net.caffemodel").read_bytes()).hexdigest()
    put(
        source / "a/README.md",
        f"---\nname: 'A Net'  # nice\ncaffemodel: net.caffemodel\nsha1: {sha1.upper()}\n---\n# A",
    )
    put(
        source / "b/readme.md",
        "---\ncaffemodel: gone.caffemodel\ncaffemodel_url: http://x/y\n---\n",
    )
    put(source / "c/readme.md", "---\nA rule, and no front matter.\n")
    plan = planned(source)
    assert (only(plan).title, only(plan).sha1) == ("A Net", sha1)
    assert orphans(plan) == {
        "b/readme.md": ("readme", "names gone.caffemodel, which is not there; it is at http://x/y")
    }


def test_weights_that_nothing_fits(source: Path) -> None:
    put(source / "net.caffemodel", net_weights(body(prefix="a_")))
    put(source / "net.prototxt", deploy(body(prefix="b_")))
    plan = planned(source)
    assert only(plan).problem.endswith("it holds none of the 4 layers with weights in net.prototxt")
    assert orphans(plan) == {"net.prototxt": ("prototxt", "no weights in the zoo")}


def test_the_nearest_miss_is_left_to_convert(source: Path) -> None:
    """Its message names layers and shapes."""
    put(source / "net.caffemodel", net_weights(body(channels=6)))
    put(source / "net.prototxt", deploy(body(channels=4)))
    assert only(planned(source)).prototxts == ("net.prototxt",)


def test_a_broken_prototxt_is_the_reason(source: Path) -> None:
    put(source / "net.caffemodel", net_weights(body()))
    put(source / "net.prototxt", deploy(body()) + "layer {\n")
    plan = planned(source)
    assert "net.prototxt:" in only(plan).problem
    assert "is never closed" in only(plan).problem
    assert orphans(plan)["net.prototxt"][0] == "prototxt"


@pytest.mark.parametrize(("content", "said"), [
    (b"PK\x03\x04" + b"\0" * 40, "a ZIP archive"),
    (b"", "is empty"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
    (b"<html>404</html>", "an HTML page"),
    (net_weights(body())[:-30], "byte"),
])  # fmt: skip
def test_broken_weights_are_a_model_that_is_refused(
    source: Path, content: bytes, said: str
) -> None:
    put(source / "net.caffemodel", content)
    put(source / "net.prototxt", deploy(body()))
    assert said in only(planned(source)).problem


def test_other_files_are_none_of_our_business(source: Path) -> None:
    model(source)
    put(source / "net_iter_1.solverstate", b"\x08\x01")
    put(source / "mean.binaryproto", b"\x08\x01\x10\x03")
    put(source / "picture.jpg", b"\xff\xd8\xff")
    put(source / "make.py", "text = '''\nlayer { }\n'''")
    put(source / "data.mdb", b"\0" * 5000)
    plan = planned(source)
    assert len(plan.models) == 1
    assert plan.orphans == ()


def test_names_are_unique_whatever_the_file_system_thinks_of_case(source: Path) -> None:
    model(source / "A", "Net", 1, prefix="a_")
    model(source / "a", "net", 2, prefix="b_")
    model(source, "index", 3, prefix="c_")
    names = [found.name for found in planned(source).models]
    assert len({name.lower() for name in names}) == 3
    assert "index" not in names


def test_links_in_circles_end(source: Path) -> None:
    model(source / "a")
    (source / "a/again").symlink_to(source)
    (source / "nowhere.caffemodel").symlink_to(source / "gone")
    assert pairs(planned(source)) == {"a/net.caffemodel": "a/net.prototxt"}


def test_a_folder_that_can_not_be_read(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told; the rest goes on."""
    model(source / "a")
    model(source / "b", prefix="b_")
    scandir = os.scandir

    def refusing(path: str | int = ".") -> object:
        if Path(str(path)).name == "b" or str(path).endswith("/b/"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    plan = planned(source)
    assert pairs(plan) == {"a/net.caffemodel": "a/net.prototxt"}
    assert orphans(plan) == {"b/": ("folder", "cannot read this folder: Permission denied")}


def test_names_that_are_no_text(source: Path, target: Path) -> None:
    """Bytes that are no UTF-8, as old file systems have them."""
    model(source, os.fsdecode(b"n\xe9t"))
    result = zoo.run(zoo.plan(source, target, jobs=1), jobs=1)
    assert result.ok
    assert (target / os.fsdecode(b"n\xe9t.caffemodel")).exists()
    assert r"n\xe9t" in (target / "index.html").read_text()
    assert zoo.run(zoo.plan(source, target, jobs=1)).worked == 0


def test_results_inside_the_source_are_no_models(source: Path) -> None:
    model(source / "a")
    first = zoo.run(zoo.plan(source, source / "out", jobs=1), jobs=1)
    assert first.ok
    again = zoo.plan(source, source / "out", jobs=1)
    assert [found.caffemodel for found in again.models] == ["a/net.caffemodel"]
    other = zoo.plan(source, source.parent / "elsewhere", jobs=1)
    assert [found.caffemodel for found in other.models] == ["a/net.caffemodel"]


@pytest.mark.parametrize("place", [".", ".."])
def test_a_target_that_holds_the_source(source: Path, place: str) -> None:
    with pytest.raises(UsageError, match="holds the zoo itself"):
        zoo.plan(source, source / place)


def test_an_unknown_preference(source: Path) -> None:
    with pytest.raises(UsageError, match="choose one of train, deploy"):
        zoo.plan(source, prefer="test")


def test_many_files_are_read_by_several_processes(source: Path) -> None:
    for number in range(16):
        model(source / f"m{number}", seed=number)
    one, two = zoo.plan(source, jobs=1), zoo.plan(source, jobs=2)
    assert one == two
    assert len(one.models) == 16


def test_legacy_and_bare_nets(source: Path) -> None:
    """A net without layers that learn, and one without layers, pair with nothing."""
    put(source / "relu.prototxt", net_text([input_layer(1, 3), LayerSpec("r", "ReLU", "data")]))
    put(source / "empty.prototxt", 'name: "x"\n')
    found = orphans(planned(source))
    assert found["relu.prototxt"] == ("prototxt", "has no layers with weights")
    assert "no layers in this prototxt" in found["empty.prototxt"][1]


def test_a_pair_of_one_stem_is_a_pair(source: Path) -> None:
    """``merged`` has left-over records of BatchNorm, which convert accepts."""
    layers = body(1)
    merged = [layer for layer in layers if layer.type not in ("BatchNorm", "Scale")]
    put(source / "merged.prototxt", deploy(merged))
    put(source / "merged.caffemodel", net_weights(layers))
    (found,) = zoo.plan(source, jobs=1).models
    assert (found.prototxts, found.problem) == (("merged.prototxt",), "")


def test_a_refusal_names_no_file_of_another_folder(source: Path, target: Path) -> None:
    put(source / "a/net.prototxt", deploy(body(channels=4)))
    put(source / "b/net.caffemodel", net_weights(body(channels=6)))
    plan = zoo.plan(source, target, jobs=1)
    (found,) = plan.models
    assert found.prototxts == ()
    assert found.problem == (
        "b/net.caffemodel: no prototxt in the zoo has these layers; add its train or deploy net"
    )


def test_reasons_name_paths_in_the_zoo(source: Path, target: Path) -> None:
    put(source / "a/net.prototxt", "layer {")
    put(source / "a/net.caffemodel", b"PK\x03\x04")
    put(source / "b/net.prototxt", deploy(body(channels=4)))
    put(source / "b/net.caffemodel", net_weights(body(channels=6)))
    plan = zoo.plan(source, target, jobs=1)
    result = zoo.run(plan, engine="threads", jobs=1)
    reasons = [outcome.reason for outcome in result.outcomes]
    reasons += [orphan.reason for orphan in plan.orphans]
    assert len(reasons) == 3
    assert not any(str(source) in reason for reason in reasons), reasons
