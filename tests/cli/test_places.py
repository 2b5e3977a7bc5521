"""Where results go, and where inputs come from, when that is not spelled out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import everything

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli, Pair


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.prototxt"))


@pytest.mark.parametrize(
    ("output", "made"),
    [
        ("new/", "new/tiny"),
        ("old", "old/tiny"),
        ("old/", "old/tiny"),
        (".", "tiny"),
        ("old/..", "tiny"),
    ],
)
def test_into_a_folder_under_the_name_of_the_net(
    cli: Cli, pair: Pair, output: str, made: str
) -> None:
    (cli.folder / "old").mkdir()
    ran = cli("convert", pair.prototxt, pair.caffemodel, "-o", output)
    assert written(cli.folder) == sorted([f"{made}.prototxt", "in/net.prototxt"])
    assert "tiny.caffemodel" in ran.out


def test_beside_the_input(cli: Cli, pair: Pair) -> None:
    ran = cli("convert", "in/net.prototxt", "in/net.caffemodel")
    assert "\nwrote     in/net.deploy.prototxt (" in ran.out
    assert written(cli.folder) == ["in/net.deploy.prototxt", "in/net.prototxt"]
    ran = cli("convert", "in/net.prototxt", "in/net.caffemodel", expect=3)
    assert ran.err == ("error: in/net.deploy.prototxt: already exists; use --force to replace it\n")


def test_standard_input_is_beside_nothing(cli: Cli, pair: Pair) -> None:
    ran = cli("convert", "-", pair.caffemodel, expect=2)
    assert ran.err == "error: standard input has no name; give --prefix PREFIX\n"


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_holds_one_net(cli: Cli, pair: Pair, again: bool) -> None:
    """Results of a run before are not taken for inputs."""
    if again:
        cli("convert", "in")
    cli("convert", "in", *["--force"] * again)
    assert written(cli.folder) == ["in/net.deploy.prototxt", "in/net.prototxt"]
    cli("convert", "in", "--no-weights", "-o", "structure")
    assert not (cli.folder / "structure.caffemodel").exists()


def test_a_folder_that_holds_several(cli: Cli, pair: Pair) -> None:
    (cli.folder / "in/other.prototxt").write_bytes(pair.prototxt.read_bytes())
    (cli.folder / "in/other.caffemodel").write_bytes(pair.caffemodel.read_bytes())
    ran = cli("convert", "in", "-o", "x", expect=3)
    assert "in: more than one prototxt of a net in this folder (net.prototxt, other" in ran.err


def test_dry_run_leaves_nothing(cli: Cli, pair: Pair) -> None:
    before = everything(cli.folder)
    ran = cli("convert", pair.prototxt, pair.caffemodel, "-o", "new/x", "--dry-run")
    assert everything(cli.folder) == before
    assert "proof     1 fold checked" in ran.out
    assert "\ndry run   new/x.prototxt (" in ran.out
    assert "would be written\n" in ran.out
    assert "wrote" not in ran.out
