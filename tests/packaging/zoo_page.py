"""The zoo's page of README.md: ``python -m tests.packaging.zoo_page`` makes it and photographs it.

It needs Chromium. Other fonts make another picture, so no test compares it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from caffefold import zoo

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs/zoo.png"
MODELS = ("lenet_bn", "mobilenet_ssd_shapes")
SIZE = "1200,600"


def main() -> None:
    """Convert the samples and half a caffemodel, and draw the page."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        sys.exit("no Chromium on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "models"), Path(folder, "out")
        for name in MODELS:
            shutil.copytree(ROOT / "sample_models" / name, source / name)
        (source / "half").mkdir()
        whole = (source / "lenet_bn/lenet_bn_iter_5000.caffemodel").read_bytes()
        (source / "half/snapshot.caffemodel").write_bytes(whole[: len(whole) // 2])
        shutil.copy(source / "lenet_bn/train_val.prototxt", source / "half")
        os.chdir(folder)
        zoo.run(zoo.plan("models", "out", jobs=1), engine="threads")
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        shot = f"--screenshot={PICTURE}", f"--window-size={SIZE}"
        profile = f"--user-data-dir={folder}/profile"
        page = (made / "index.html").as_uri()
        subprocess.run(
            [browser, *options, profile, *shot, page], check=True, capture_output=True, timeout=120
        )


if __name__ == "__main__":
    main()
