"""``caffefold``: the command group, exit codes, and what becomes of an exception.

Only click is imported here: ``--help`` and ``--version`` must not wait for numpy.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import sys
from importlib import import_module

import click

from caffefold._version import VERSION
from caffefold.cli import console
from caffefold.errors import CaffefoldError, ForeignWeights, InputError, OutputError, TextError
from caffefold.humanize import visible
from caffefold.search_path import leave_out_working_directory

BUG = 4
TERMINATED = 143
_OBJECTS = 200_000  # new ones between two looks for garbage
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # the system has no more of it
_LINE = 160  # characters of a source line that are shown


# Commands and what the overview says of them: a command's module is loaded when it is called.
COMMANDS = {
    "convert": "Turn a training net and its snapshot into a folded, proven pair.",
    "diff": "Show what changed between two nets: layers, folds, weights.",
    "export": "Write a net as an ONNX model, checked in onnxruntime.",
    "extract": "Write the training net that a caffemodel holds as a prototxt.",
    "inspect": "Show what is in a net: shapes, parameters, MACs, statistics.",
    "slim": "Remove channels that do nothing, with proof.",
    "targets": "List consumers of deploy pairs, and what each of them accepts.",
    "upgrade": "Bring an old prototxt, solver or caffemodel to today's format.",
    "verify": "Run two nets, or a net and its ONNX model, side by side.",
    "zoo": "Convert a whole model zoo: parallel, resumable, with a report.",
    "completion": "Print what bash, zsh or fish needs to complete commands.",
}


# What people call our commands elsewhere.
_MEANT = {
    **dict.fromkeys(("merge", "merge_bn", "fold", "deploy", "fuse", "train2deploy"), "convert"),
    **dict.fromkeys(("onnx", "caffe2onnx", "to-onnx"), "export"),
    **dict.fromkeys(("compare", "cmp"), "diff"),
    **dict.fromkeys(("show", "info", "summary", "cost", "draw"), "inspect"),
    **dict.fromkeys(("check", "test", "prove"), "verify"),
    **dict.fromkeys(("batch", "all"), "zoo"),
}


def _flags() -> list[click.Option]:
    """The options that stand before the command or behind it."""
    return [
        click.Option(
            ["-v", "--verbose"], count=True, expose_value=False, callback=_verbose,
            help="Log what is done; repeat for more detail.",
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_quiet,
            help="Print errors only.",
        ),
        click.Option(
            ["--color"], type=click.Choice(["auto", "always", "never"]), expose_value=False,
            callback=_color, help="Use colour; auto: on a terminal.",
        ),
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, callback=_debug,
            help="Check the net before and after every pass.",
        ),
    ]  # fmt: skip


def _verbose(context: click.Context, _: click.Parameter, times: int) -> None:
    """Show what is logged; ``-v convert -v`` is ``-vv``."""
    shown = context.find_root().ensure_object(console.Console)
    shown.verbose += times
    if times:
        import logging

        logging.basicConfig(stream=console.Log(), format="%(name)s: %(message)s")
        logging.getLogger().setLevel(logging.DEBUG if shown.verbose > 1 else logging.INFO)


def _quiet(context: click.Context, _: click.Parameter, value: bool) -> None:
    shown = context.find_root().ensure_object(console.Console)
    shown.quiet = shown.quiet or value


def _color(_: click.Context, __: click.Parameter, value: str | None) -> None:
    """As the variables that everything here obeys have it, worker processes included."""
    if value in ("always", "never"):
        os.environ.pop("NO_COLOR", None)
        os.environ["FORCE_COLOR" if value == "always" else "NO_COLOR"] = "1"


def _debug(_: click.Context, __: click.Parameter, value: bool) -> None:
    if value:
        from caffefold.log import DEBUG

        os.environ[DEBUG] = "1"  # worker processes of a zoo inherit it


class _Commands(click.Group):
    """A group that imports only the command that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"caffefold.cli.{cmd_name}"), cmd_name)
        if not found.short_help:  # the first time
            from caffefold.cli.help import GENERAL

            found.short_help = COMMANDS[cmd_name]
            flags = _flags()
            for each in flags:
                each.heading = GENERAL  # type: ignore[attr-defined]
            found.params += flags
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, or what was meant."""
        if args[0] not in COMMANDS and args[0][:1] != "-":
            ctx.fail(_no_command(args))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _no_command(arguments: list[str]) -> str:
    """The complaint about an unknown command, with what may have been meant."""
    name = arguments[0]
    text = f"No such command '{name}'"
    if name == "help":
        return f"{text}; --help lists the commands, and 'caffefold convert --help' its options"
    if name.endswith((".prototxt", ".caffemodel", ".pt", ".h5")) or os.path.exists(name):  # noqa: PTH110
        return f"'{name}' is no command; try: caffefold convert {' '.join(arguments)}"
    meant = _MEANT.get(name.lower())
    if meant not in COMMANDS:
        import difflib

        meant = next(iter(difflib.get_close_matches(name.lower(), COMMANDS, 1)), None)
    known = f"choose from {', '.join(COMMANDS)}"
    return f"{text}; {f'did you mean {meant!r}?' if meant else known}"


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[*_flags()],
)
@click.version_option(VERSION, "-V", "--version", message="caffefold %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Fold BatchNorm and Scale into Caffe models, from training net to deploy net.

    \b
    Example:
      caffefold convert train.prototxt snapshot.caffemodel -o out/net
    """
    context.ensure_object(console.Console)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run the command line and exit with its code.

    0 fine; 1 a negative answer; 2 usage; 3 bad input or output; 4 a bug of ours; 130 Ctrl-C.
    """
    leave_out_working_directory()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # unwinds, so nothing is left
    # Read by numpy when it is imported: our products are small, threads cost more than they give.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What a command makes lives until its end; looking for garbage all the time finds none.
    gc.set_threshold(_OBJECTS)
    code = run(arguments)
    gc.freeze()  # the process ends: no last look either
    sys.exit(code)


def _pointed(line: str, at: int) -> tuple[str, str]:
    """The line, and one with a caret under ``at``; of a long line, what is around it."""
    room = console.width(sys.stderr)
    room = min(_LINE, room - 6) if room > 20 else _LINE
    if len(line) > room:
        start = max(0, at - room // 2)
        dots = "..." if start else ""
        line, at = dots + line[start : start + room], at - start + len(dots)
    before, behind = (visible(part, keep="\t") for part in (line[:at], line[at:]))
    indent = "".join("\t" if char == "\t" else " " for char in before)
    return f"  {before}{behind}", f"  {indent}^"


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; its exit code."""
    try:
        result = cli.main(args=arguments, prog_name="caffefold", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except CaffefoldError as error:
        from caffefold.cli.options import spelled

        if isinstance(error, ForeignWeights):
            from caffefold.zoo.planning.beside import fitting

            found = fitting(error.weights)
            if found:
                fit = "fits" if len(found) == 1 else "fit"
                error.advised(f"; beside it, {' and '.join(found)} {fit}")
        console.error(error.spelled(spelled))
        if isinstance(error, TextError) and error.source_line.strip():
            for line in _pointed(error.source_line, error.column - 1):
                console.note(line, whole=True)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
            with contextlib.suppress(OSError):  # nobody reads it
                error.show()
            return error.exit_code
        said = error.format_message().strip().rstrip(".")
        context = getattr(error, "ctx", None)
        advised = any(mark in said for mark in (";", "Did you", "try:"))
        where = f"; see '{context.command_path} --help'" if context and not advised else ""
        console.error(" ".join(said.split("\n")) + where)
        return error.exit_code
    except SystemExit as stop:
        if stop.code != 1:
            raise
        console.discard(sys.stdout)  # click's answer when nobody reads --help to its end
        return console.PIPE_CLOSED
    except (click.Abort, KeyboardInterrupt):
        console.error("interrupted; no output was written")
        return console.INTERRUPTED
    except MemoryError:
        console.error("not enough memory for this; nothing more was written")
        return InputError.exit_code
    except ImportError as error:  # a library is a file, too
        if os.strerror(errno.EMFILE) not in str(error):
            return _bug(error, arguments)
        console.error(f"this system: {error}")
        return InputError.exit_code
    except OSError as error:
        if error.filename is not None or error.errno in _SHORT:
            console.error(f"{error.filename or 'this system'}: {error.strerror}")
            return InputError.exit_code
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
            return _bug(error, arguments)
        console.discard(sys.stdout)  # of --help
        console.error(f"standard output: {error.strerror}")
        return OutputError.exit_code
    except Exception as error:
        return _bug(error, arguments)


def _bug(error: Exception, arguments: list[str] | None) -> int:
    if "-vv" in (arguments or sys.argv):
        import traceback

        for line in traceback.format_exc().splitlines():
            console.note(visible(line))
    console.error(
        f"this is a bug in caffefold, not in your files: {type(error).__name__}: {error}; "
        "run again with -vv and report what it prints"
    )
    return BUG
