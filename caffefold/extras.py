"""How to get a package that an extra of ours asks for, whatever caffefold itself came from.

``pip install 'caffefold[hdf5]'`` asks an index for caffefold, which fails for one that was made
from a checkout, a wheel or by another tool; the package alone can be had everywhere.
"""

from __future__ import annotations

import os
import sys

from caffefold.errors import InputError


def install(*packages: str) -> str:
    """The command that installs ``packages`` beside this caffefold."""
    from importlib.util import find_spec  # only for messages

    wanted = " ".join(f"'{_requirement(package)}'" for package in packages)
    if f"pipx{os.sep}venvs" in sys.prefix:
        return f"pipx inject caffefold {wanted}"
    if find_spec("pip") is None:  # an environment made by uv
        return f"uv pip install --python {sys.executable} {wanted}"
    active = os.environ.get("VIRTUAL_ENV", sys.base_prefix)
    pip = "pip" if active == sys.prefix else f"{sys.executable} -m pip"
    return f"{pip} install {wanted}"


def lacking(package: str, place: object, what: str) -> InputError:
    """The error for a file that cannot be read without ``package``."""
    return InputError(f"{place}: reading {what} needs {package}; {install(package)}")


def _requirement(package: str) -> str:
    """The package with the versions that we ask for; the bare name where we are not installed."""
    import re
    from importlib.metadata import PackageNotFoundError, requires

    try:
        found = requires("caffefold") or []
    except PackageNotFoundError:
        found = []
    stated = (each.split(";")[0].strip() for each in found)
    return next((each for each in stated if re.match(rf"{re.escape(package)}\b", each)), package)
