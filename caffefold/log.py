"""Messages for ``logging``, without importing it.

Who never imported ``logging`` has no handler that could show a message; importing it for nobody
would cost a short conversion several per cent of its time.
"""

from __future__ import annotations

import sys

DEBUG = "CAFFEFOLD_DEBUG"  # the environment variable under which passes are held to their contracts


def info(name: str, message: str, *values: object) -> None:
    """A step that was done, for the logger ``name``; ``%`` formats ``values`` in."""
    if logging := sys.modules.get("logging"):
        logging.getLogger(name).info(message, *values)


def debug(name: str, message: str, *values: object) -> None:
    """A detail of a step."""
    if logging := sys.modules.get("logging"):
        logging.getLogger(name).debug(message, *values)
