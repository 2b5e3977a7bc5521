"""Where modules are imported from: never from the working directory.

``python -m`` and an empty entry in PYTHONPATH put it on the search path; a ``numpy.py`` that lies
in a downloaded model folder would run.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

ROOT = str(Path(__file__).resolve().parent.parent)
"""The folder that the package was loaded from."""


def leave_out_working_directory() -> None:
    """Take it off ``sys.path``. If this package itself was loaded from there, it comes last."""
    with suppress(OSError):  # it was deleted
        here = str(Path.cwd().resolve())
        kept = [path for path in sys.path if path and os.path.realpath(path) != here]
        sys.path[:] = [*kept, ROOT] if here == ROOT else kept
