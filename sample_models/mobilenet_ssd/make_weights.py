"""Make weights for train_template.prototxt: a training snapshot of 23 MB, the same every time.

    python sample_models/mobilenet_ssd/make_weights.py OUT.caffemodel [--classes 21] [--seed 1]

The weights are random, not trained: good for timing and for checking arithmetic, not for finding
anything in a picture. Needs caffefold, for its protobuf bindings.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from _snapshot import write_snapshot  # noqa: E402


def with_classes(template: str, classes: int) -> str:
    """Return the template with cls6x, cls3x and cls1x replaced by 6, 3 and 1 times `classes`."""
    return re.sub(r"\bcls(\d)x\b", lambda match: str(int(match[1]) * classes), template)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the caffemodel to write")
    parser.add_argument("--classes", type=int, default=21, help="background included (default 21)")
    parser.add_argument("--seed", type=int, default=1, help="default 1")
    parser.add_argument("--template", type=Path, default=HERE / "train_template.prototxt")
    arguments = parser.parse_args()
    template = arguments.template.read_text(encoding="utf-8")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_snapshot(arguments.out, with_classes(template, arguments.classes), arguments.seed)
    sys.stderr.write(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
