"""``caffefold zoo`` as a user meets it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from caffefold.testing import net_weights
from tests.support.zoo import body, deploy, many, model, put

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def test_a_zoo(cli: Cli) -> None:
    model(cli.folder / "zoo/a", seed=1)
    model(cli.folder / "zoo/b", seed=2)
    ran = cli("zoo", "zoo", "out", "--jobs", "1")
    lines = ran.out.splitlines()
    assert lines[0].split() == ["status", "model", "layers", "size", "folds", "error"]
    assert lines[1].split()[:5] == ["converted", "a/net", "6", "->", "4"]
    assert "zoo       2 converted" in lines
    assert lines[-1].endswith("out/index.html, zoo.json, zoo.csv")
    told = sorted(line.partition("] ")[2].partition(",")[0] for line in ran.err.splitlines())
    assert told == ["converted a/net: 6 layers -> 4", "converted b/net: 6 layers -> 4"]
    again = cli("zoo", "zoo", "out")
    assert again.err == ""
    assert "zoo       2 converted, all up to date" in again.out.splitlines()


def test_one_bad_model_is_exit_1_and_the_others_are_there(cli: Cli) -> None:
    model(cli.folder / "zoo/good", seed=1)
    put(cli.folder / "zoo/bad.caffemodel", b"PK\x03\x04rest")
    ran = cli("zoo", "zoo", "out", "--jobs", "1", expect=1)
    assert (cli.folder / "out/good/net.report.json").exists()
    (row,) = [line for line in ran.out.splitlines() if line.startswith("refused")]
    assert "this is a ZIP archive, not a caffemodel" in row
    assert "zoo       1 converted, 1 refused" in ran.out
    assert cli("zoo", "zoo", "out", expect=1).err == ""


def test_options_of_convert_apply(cli: Cli) -> None:
    model(cli.folder / "zoo")
    cli("zoo", "zoo", "out", "--keep", "bn*", "--no-collapse", "--top-k", "7", "--jobs", "1")
    assert "BatchNorm" in (cli.folder / "out/net.prototxt").read_text()
    document = json.loads((cli.folder / "out/zoo.json").read_text())
    assert document["models"][0]["options"] == {
        "keep": ["bn*"], "collapse": False, "detection": {"top_k": 7},
    }  # fmt: skip


def test_every_option_of_convert_is_there(cli: Cli) -> None:
    """Whatever convert learns, the zoo knows."""
    from caffefold.cli.convert import convert
    from caffefold.cli.zoo import zoo

    cli("zoo", "--help")  # both get the common options when they are looked up
    cli("convert", "--help")
    own = {"prototxt", "caffemodel", "output", "no_weights", "onnx", "dry_run", "html"}
    own |= {"verify", "verify_input"}
    assert {o.name for o in convert.params} - own <= {o.name for o in zoo.params}
    assert "--input-shape" in cli("zoo", "--help").out


def test_the_plan(cli: Cli) -> None:
    model(cli.folder / "zoo/a")
    ran = cli("zoo", "zoo", "--plan")
    assert 'caffemodel = "a/net.caffemodel"\nprototxt = "a/net.prototxt"\nname = "a/net"' in ran.out
    put(cli.folder / "zoo/zoo.toml", ran.out)
    assert cli("zoo", "zoo", "--plan").out == ran.out
    document = json.loads(cli("zoo", "zoo", "out", "--plan", "--json").out)
    assert document["models"][0]["prototxts"] == ["a/net.prototxt"]
    assert not (cli.folder / "out").exists()


def test_json_is_zoo_json(cli: Cli) -> None:
    model(cli.folder / "zoo")
    ran = cli("-q", "zoo", "zoo", "out", "--json", "--jobs", "1")
    assert (ran.out, ran.err) == ("", "")
    ran = cli("zoo", "zoo", "out", "--json")
    assert ran.out == (cli.folder / "out/zoo.json").read_text()


def test_an_empty_zoo(cli: Cli) -> None:
    """A mistyped folder does not pass for a zoo that is up to date."""
    (cli.folder / "zoo").mkdir()
    ran = cli("zoo", "zoo", "out", expect=3)
    assert "zoo: no models in this zoo; --plan lists the files it has" in ran.err
    assert not (cli.folder / "out").exists()
    assert cli("zoo", "zoo", "--plan").out.startswith("# 0 models of ")


def test_quiet_still_says_what_failed(cli: Cli) -> None:
    model(cli.folder / "zoo/good", seed=1)
    put(cli.folder / "zoo/bad.caffemodel", b"PK\x03\x04rest")
    for _ in range(2):  # also when nothing was tried again
        ran = cli("-q", "zoo", "zoo", "out", "--jobs", "1", expect=1)
        assert ran.out == ""
        assert ran.err.startswith("refused bad: ")
        assert ran.err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (["gone", "out"], 3, "gone: no such directory; give the folder of the zoo"),
    (["zoo"], 2, "DST is missing"),
    (["zoo", "zoo"], 2, "holds the zoo itself"),
    (["zoo", "out", "--jobs", "0"], 2, "jobs"),
    (["zoo", "out", "--memory", "much"], 2, "is not a size; write 2G"),
    (["zoo", "out", "--memory", "1M"], 2, "a conversion needs about 64 MB"),
    (["zoo", "out", "--engine", "dask"], 2, "give the --scheduler"),
    (["zoo", "nosuch://x/y"], 2, "nosuch"),
    (["zoo", "out", "--manifest", "gone.toml"], 3, "cannot read this manifest"),
])  # fmt: skip
def test_what_can_not_be_done(cli: Cli, arguments: list[str], code: int, said: str) -> None:
    model(cli.folder / "zoo")
    ran = cli("zoo", *arguments, expect=code)
    assert said in ran.err
    assert "Traceback" not in ran.err


def begin(folder: Path, *arguments: str, **how: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "caffefold", "zoo", "zoo", "out", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    ours = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
    try:
        return subprocess.Popen(command, cwd=folder, start_new_session=True, **streams)  # type: ignore[call-overload, no-any-return]
    finally:
        signal.signal(signal.SIGINT, ours)


def some_are_done(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("out/*/net.report.json"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.005)


MANY = 100  # more than a busy machine converts while it looks for the first three


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly(cli: Cli, number: signal.Signals) -> None:
    """To all processes of the terminal, as Ctrl-C does it; or to the first alone."""
    many(cli.folder / "zoo", MANY)
    process = begin(cli.folder, "--jobs", "2")
    some_are_done(cli.folder)
    (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (130 if number is signal.SIGINT else 143)
    assert b"Traceback" not in told
    if number is signal.SIGINT:
        last = told.decode().splitlines()[-1]
        assert last.startswith("error: interrupted; ")
        assert last.endswith(f" of {MANY} models are finished and kept; run again to continue")
    document = json.loads((cli.folder / "out/zoo.json").read_text())
    done = {entry["model"] for entry in document["models"] if entry["status"] == "converted"}
    assert len(done) >= 3
    assert document["summary"]["waiting"] == MANY - len(document["models"])
    whole = {
        str(p.parent.relative_to(cli.folder / "out")) for p in cli.folder.glob("out/*/net.html")
    }
    assert {name.split("/")[0] for name in done} == whole
    ran = cli("zoo", "zoo", "out", "--jobs", "2")
    worked = [line for line in ran.err.splitlines() if "converted" in line]
    assert len(worked) == MANY - len(done)


def test_the_second_run_is_refused(cli: Cli) -> None:
    many(cli.folder / "zoo", 60)
    process = begin(cli.folder, "--jobs", "1")
    some_are_done(cli.folder)
    ran = cli("zoo", "zoo", "out", expect=3)
    assert f"in use by process {process.pid} on " in ran.err
    process.kill()
    process.communicate()


def test_a_terminal_gets_a_bar(cli: Cli) -> None:
    many(cli.folder / "zoo", 30)
    put(cli.folder / "zoo/bad/[red]x.caffemodel", net_weights(body(prefix="b_", channels=6)))
    put(cli.folder / "zoo/bad/x.prototxt", deploy(body(prefix="b_")))
    head, tail = pty.openpty()
    process = begin(cli.folder, "--jobs", "1", stderr=tail)
    os.close(tail)
    shown = b""
    try:
        while part := os.read(head, 65536):
            shown += part
    except OSError:  # the other side is closed
        pass
    os.close(head)
    process.communicate(timeout=60)
    assert process.returncode == 1
    text = shown.decode()
    assert "31/31" in text
    assert "models" in text
    assert "refused bad/[red]x: " in text.replace("\r\n", "")
    assert re.search(r"\d:\d\d:\d\d m0\d\d/net", re.sub(r"\x1b\[[\d;]*m", "", text))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has no safe path")
def test_nothing_is_imported_from_the_working_directory(cli: Cli) -> None:
    """Neither by the command nor by the processes it starts, whose path is their own."""
    model(cli.folder / "zoo")
    for name in ("selectors", "runpy", "bisect", "numpy", "jinja2"):
        put(cli.folder / f"{name}.py", f"open('imported-{name}', 'w').close()")
    code = (
        "import sys\nsys.path.remove('')\nfrom caffefold.cli.main import run\n"
        "sys.exit(run(['zoo', 'zoo', 'out', '--jobs', '1']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cli.folder, capture_output=True, check=False, text=True
    )
    assert (done.returncode, list(cli.folder.glob("imported-*"))) == (0, []), done.stderr


def test_no_rich_off_a_terminal(cli: Cli) -> None:
    model(cli.folder / "zoo")
    code = (
        "import sys\nfrom caffefold.cli.main import run\nif __name__ == '__main__':\n"
        "    assert run(['zoo', 'zoo', 'out', '--jobs', '1']) == 0\n"
        "    assert 'rich' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cli.folder, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_line_for_each_model_fits_the_terminal(cli: Cli, columns: int) -> None:
    """With the reason of a refusal; columns go before names are of no use."""
    model(cli.folder / "zoo/a/folder/of/folders/that/go/deeper/and/deeper", seed=1)
    put(cli.folder / "zoo/a/folder/of/folders/that/go/bad.caffemodel", b"PK\x03\x04rest")
    cli("zoo", "zoo", "out", "--jobs", "1", expect=1)
    run = replace(cli, terminal=True, variables={"COLUMNS": str(columns)})
    out = re.sub("\x1b\\[[0-9;]*m", "", run("zoo", "zoo", "out", expect=1).out)
    lines = out.replace("\r\n", "\n").splitlines()
    (bad,) = [line for line in lines if line.startswith("refused")]
    (good,) = [line for line in lines if line.startswith("converted")]
    assert "go/bad  " in bad
    assert "bad.caffemodel: this is a ZI" in bad
    assert "deeper/net  " in good
    assert "6 -> 4" in good
    (head,) = [line for line in lines if "status" in line]
    assert max(len(bad), len(good)) <= columns
    assert ("error" in head) == (columns > 60)
