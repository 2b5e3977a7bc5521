"""``caffefold``: the command group, exit codes, and what becomes of an exception.

Only click is imported here: ``--help`` and ``--version`` must not wait for numpy.
"""

from __future__ import annotations

import os
import signal
import sys

import click

from caffefold._version import VERSION
from caffefold.cli import console
from caffefold.cli.convert import convert
from caffefold.cli.upgrade import upgrade
from caffefold.cli.zoo import zoo
from caffefold.errors import CaffefoldError, TextError

BUG = 4
INTERRUPTED = 130
TERMINATED = 143
_LINE = 160  # characters of a source line that are shown


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "-V", "--version", message="caffefold %(version)s")
@click.option("-v", "--verbose", count=True, help="Log what is done; twice for more.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.pass_context
def cli(context: click.Context, verbose: int, quiet: bool) -> None:
    """Fold BatchNorm and Scale into Caffe models, from training net to deploy net.

    \b
    Example:
      caffefold convert train.prototxt snapshot.caffemodel -o out/net
    """
    context.obj = console.Console(quiet=quiet, verbose=verbose)
    if verbose:
        import logging

        level = logging.DEBUG if verbose > 1 else logging.INFO
        logging.basicConfig(stream=sys.stderr, level=level, format="%(name)s: %(message)s")


cli.add_command(convert)
cli.add_command(upgrade)
cli.add_command(zoo)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run the command line and exit with its code.

    0 fine; 1 a negative answer; 2 usage; 3 bad input or output; 4 a bug of ours; 130 Ctrl-C.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # unwinds, so nothing is left
    # Read by numpy when it is imported: our products are small, threads cost more than they give.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run(arguments))


def _pointed(line: str, at: int) -> str:
    """The line with a caret under ``at``; of a long line, what is around it."""
    if len(line) > _LINE:
        start = max(0, at - _LINE // 2)
        dots = "..." if start else ""
        line, at = dots + line[start : start + _LINE], at - start + len(dots)
    indent = "".join("\t" if char == "\t" else " " for char in line[:at])
    return f"  {line}\n  {indent}^"


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; its exit code."""
    try:
        result = cli.main(args=arguments, prog_name="caffefold", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except CaffefoldError as error:
        console.error(str(error))
        if isinstance(error, TextError) and error.source_line.strip():
            console.note(_pointed(error.source_line, error.column - 1))
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        console.error("interrupted; nothing was put in place")
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as error:
        import traceback

        if "-vv" in (arguments or sys.argv):
            traceback.print_exc()
        console.error(
            f"this is a bug in caffefold, not in your files: {type(error).__name__}: {error}; "
            "run again with -vv and report what it prints"
        )
        return BUG
