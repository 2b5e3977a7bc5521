"""The terminal of README.md, recorded: ``python -m tests.packaging.recording`` draws it.

The commands run here, at 80 columns, in a folder of their own; the picture needs no font and no
file from elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs/terminal.svg"
WIDTH = 80
SAMPLE = ROOT / "sample_models/mobilenet_ssd_shapes"
FILES = {
    "train.prototxt": "train_template.prototxt",
    "snapshot.caffemodel": "shapes_iter_9000.caffemodel",
}
COMMANDS = (
    "convert train.prototxt snapshot.caffemodel -o net",
    "diff train.prototxt net.prototxt \\\n    --weights snapshot.caffemodel net.caffemodel",
)


def record(folder: Path, command: str) -> str:
    """What a terminal is sent when ``command`` runs in ``folder``."""
    child, screen = pty.fork()
    if child == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
        for name in ("COLUMNS", "NO_COLOR"):
            os.environ.pop(name, None)
        os.environ["PYTHONPATH"] = str(ROOT)
        os.chdir(folder)
        os.execv(
            sys.executable, [sys.executable, "-m", "caffefold", *command.replace("\\", "").split()]
        )
    sent = b""
    while True:
        try:
            data = os.read(screen, 65536)
        except OSError:  # so it ends
            data = b""
        if not data:
            break
        sent += data
    os.waitpid(child, 0)
    os.close(screen)
    text = sent.decode().replace("\r\n", "\n")
    done = re.sub(r"\r\x1b\[K[^\r\n]*(?=\r\x1b\[K)", "", text)  # what was being done
    return done.replace("\r\x1b[K", "")


def session(folder: Path) -> str:
    """All commands with their prompts, coloured as on the terminal."""
    for name, source in FILES.items():
        (folder / name).write_bytes((SAMPLE / source).read_bytes())
    parts = (f"\x1b[1m$ caffefold {each}\x1b[0m\n{record(folder, each)}" for each in COMMANDS)
    return "\n".join(parts)


def picture(text: str) -> str:
    """The session as SVG."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    screen.print(Text.from_ansi(text), soft_wrap=True)
    svg = screen.export_svg(title="caffefold", unique_id="caffefold")
    svg = re.sub(r"\s*@font-face \{.*?\}\n", "\n", svg, flags=re.DOTALL)  # of a server
    return svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as found:
        PICTURE.write_text(picture(session(Path(found))), encoding="utf-8")
