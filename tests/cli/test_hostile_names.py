"""Names from files never reach a terminal as they are, whichever command prints them.

A layer's name could clear the screen, set the clipboard, turn the text around or forge a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf import text_format

from caffefold._proto import caffe_pb2
from caffefold.humanize import visible
from caffefold.testing import blob_message

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Pair

# Clears the screen, sets the clipboard and a colour of its own (also with C1), rings, forges a
# line, goes back to its start, turns the text around.
EVIL = "\x1b[2J\x1b]52;c;QQ==\x07\x1b[35m\x9b35m\nFORGED\r\t\x7f\u202eb\u2066\u2028"
IN_FILES = EVIL + "\udcff"  # and a byte that is no UTF-8
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[hl]|[12]K|1A)")  # our colours, and the bar of the zoo
NAMES = ("conv1", "bn1", "scale1", "relu1", "fc")


def quoted(text: str) -> str:
    """As a string of a prototxt, in escapes that Caffe reads."""
    parts = [
        c if c.isprintable() else "".join(f"\\{b:03o}" for b in c.encode("utf-8")) for c in text
    ]
    return f'"{"".join(parts)}"'


@pytest.fixture
def hostile(pair: Pair) -> Pair:
    """The small net with such names everywhere, in a folder and in files that are called so."""
    text = pair.prototxt.read_text("utf-8")
    for name in NAMES:
        text = text.replace(f'"{name}"', quoted(name + EVIL))
    text = text.replace('"tiny"', quoted(EVIL)).replace('"data"', quoted("data" + EVIL))
    weights = pair.read()
    weights.name = EVIL
    for layer in weights.layer:
        layer.name += EVIL
    # Unknown to the net, and the same name twice: both are worth a warning.
    for _ in range(2):
        weights.layer.add(name="stray" + EVIL, type="Odd" + EVIL).blobs.append(blob_message([1.0]))
    odd = (
        f"layer {{ name: {quoted('odd' + EVIL)} type: {quoted('Odd' + EVIL)} "
        f"bottom: {quoted('fc' + EVIL)} top: {quoted('odd' + EVIL)} "
        f"odd_param {{ text: {quoted(EVIL)} }} }}\n"
        f"layer {{ name: {quoted('bn2' + EVIL)} type: 'Scale' bottom: {quoted('odd' + EVIL)} "
        f"top: {quoted('bn2' + EVIL)} scale_param {{ bias_term: true }} }}\n"
    )
    blobs = [blob_message([1.0, 2.0, 3.0]), blob_message([1.0, 2.0, 3.0])]
    weights.layer.add(name="bn2" + EVIL, type="Scale").blobs.extend(blobs)
    folder = pair.prototxt.parent / ("in" + IN_FILES)
    folder.mkdir()
    made = replace(
        pair,
        prototxt=folder / f"net{IN_FILES}.prototxt",
        caffemodel=folder / f"net{IN_FILES}.caffemodel",
    )
    made.prototxt.write_text(text + odd, encoding="utf-8")
    made.write(weights)
    return made


def cases(hostile: Pair, folder: Path) -> list[tuple[Sequence[str | Path], int]]:
    """Command lines that show names, with their exit codes."""
    net, weights = hostile.prototxt, hostile.caffemodel
    other = net.with_name(f"other{IN_FILES}.prototxt")
    text = net.read_text("utf-8")
    other.write_text(
        text.replace("num_output: 3", "num_output: 4").replace('"odd', '"even'), "utf-8"
    )
    broken = net.with_name(f"broken{IN_FILES}.prototxt")
    broken.write_text(
        text.replace("kernel_size: 3", f"kernel_size: % # \x1b[35m{EVIL[:9]}"), "utf-8"
    )
    unfit = net.with_name(f"unfit{IN_FILES}.prototxt")
    unfit.write_text(text.replace("num_output: 2", "num_output: 7"), "utf-8")
    solver = net.with_name(f"solver{IN_FILES}.prototxt")
    solver.write_text(f"net: {quoted('gone' + EVIL)} base_lr: 1", "utf-8")
    old = net.with_name(f"old{IN_FILES}.prototxt")
    old.write_text(
        f"name: {quoted(EVIL)} layers {{ name: {quoted('c' + EVIL)} type: RELU "
        f"bottom: {quoted('d' + EVIL)} top: 't' odd{{}} }}",
        "utf-8",
    )
    weights.with_name(f"cut{IN_FILES}.caffemodel").write_bytes(weights.read_bytes()[:-20])
    out = folder / f"out{IN_FILES}"
    zeros = "0" * 40
    given = (EVIL, net, zeros, "100644", other, zeros, "100644")
    return [
        (["convert", net, weights, "-o", out], 0),
        (["-vv", "convert", net, weights, "-o", out, "--force"], 0),
        (["convert", net, weights, "-o", out], 3),
        (["convert", net, weights, "-o", folder / "kept", "--keep", EVIL], 0),
        (["convert", net, weights, "-o", folder / "x", "--no-such" + EVIL], 2),
        (["convert", net, weights, "-o", folder / "x", "--fold", EVIL], 2),
        (["convert", net, net, "-o", folder / "x"], 3),
        (["convert", broken, weights, "-o", folder / "x"], 3),
        (["convert", unfit, weights, "-o", folder / "x"], 3),
        (["convert", solver, weights, "-o", folder / "x"], 3),
        (["convert", IN_FILES, weights, "-o", folder / "x"], 3),
        (["inspect", net, weights], 0),
        (["inspect", weights], 0),
        (["inspect", "--textconv", net], 0),
        (["inspect", "--textconv", weights], 0),
        (["inspect", net, weights, "--json"], 0),
        (["inspect", unfit, weights], 0),
        (["diff", net, other], 1),
        (["diff", net, other, "--context", "1"], 1),
        (["diff", net, other, "--side-by-side"], 1),
        (["diff", net, other, "--stat"], 1),
        (["diff", net, other, "--format", "markdown"], 1),
        (["diff", net, other, "--format", "html"], 1),
        (["diff", net, other, "--json"], 1),
        (["diff", net, f"{out}.prototxt", "--weights", weights, f"{out}.caffemodel"], 1),
        (["diff", net, broken], 3),
        (["diff", *given], 0),
        (["diff", EVIL, net, zeros, "100644", broken, zeros, "100644"], 0),
        (["upgrade", old, folder / f"new{IN_FILES}"], 0),
        (["upgrade", old, folder / f"new{IN_FILES}"], 3),
        (["upgrade", broken, folder / "x"], 3),
        (["upgrade", weights, folder / f"new{IN_FILES}.caffemodel", "--json"], 0),
        (["zoo", net.parent, "--plan"], 0),
        (["zoo", net.parent, "--plan", "--json"], 0),
        (["zoo", net.parent, folder / f"zoo{IN_FILES}", "--jobs", "1"], 1),
        (["zoo", net.parent, folder / f"zoo{IN_FILES}", "--jobs", "1", "--json"], 1),
        (["zoo", folder / EVIL, folder / "x"], 3),
    ]


def check(said: str, arguments: Sequence[str | Path]) -> None:
    left = {c for c in said if not c.isprintable()} - {"\n"}
    assert not left, (arguments, left)
    assert not re.search(r"^FORGED", said, re.MULTILINE), (arguments, said)


def test_through_pipes(cli: Cli, hostile: Pair) -> None:
    shown = 0
    for arguments, code in cases(hostile, cli.folder):
        ran = cli(*arguments, expect=code)
        check(ran.out, arguments)
        check(ran.err, arguments)
        shown += visible(EVIL) in ran.out + ran.err
    assert shown > 15  # escaped, not left out


def test_on_a_terminal(cli: Cli, hostile: Pair) -> None:
    terminal = replace(cli, terminal=True, variables={"TERM": "xterm-256color", "COLUMNS": "100"})
    for arguments, code in cases(hostile, cli.folder):
        said = terminal(*arguments, expect=code).out
        assert "\x1b[35m" not in said, arguments
        check(OURS.sub("", said.replace("\r\n", "\n").replace("\r", "")), arguments)


def test_what_programs_read_is_exact(cli: Cli, hostile: Pair) -> None:
    names = [name + EVIL for name in NAMES]
    document = json.loads(cli("inspect", hostile.prototxt, hostile.caffemodel, "--json").out)
    assert {layer["name"] for layer in document["layers"]} >= set(names)
    text = cli("inspect", "--textconv", hostile.prototxt).out
    seen = text_format.Parse(text, caffe_pb2.NetParameter(), allow_unknown_field=True)
    assert seen.name == EVIL
    assert [layer.name for layer in seen.layer][1:6] == names
    cli("convert", hostile.prototxt, hostile.caffemodel, "-o", "net")
    report = json.loads((cli.folder / "net.report.json").read_text("utf-8"))
    assert report["net"] == EVIL
    written = text_format.Parse(
        (cli.folder / "net.prototxt").read_text("utf-8"),
        caffe_pb2.NetParameter(),
        allow_unknown_field=True,
    )
    assert [layer.name for layer in written.layer][1:4] == [names[0], names[3], names[4]]


def test_pages(cli: Cli, hostile: Pair) -> None:
    cli("zoo", hostile.prototxt.parent, "zoo", "--jobs", "1")
    pages = list((cli.folder / "zoo").rglob("*.html"))
    assert len(pages) == 2
    for page in pages:
        check(page.read_text("utf-8"), [page])
