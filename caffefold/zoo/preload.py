"""What a worker process loads before its first model; imported by the fork server only.

It loads everything once and forks workers that have it all. BLAS reads its variable when numpy is
imported: the products of a conversion are small, and there is a process for each core already.
"""

from __future__ import annotations

import importlib
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
for _name in ("running.engines", "planning.folder"):
    importlib.import_module(f"caffefold.zoo.{_name}")
importlib.import_module("concurrent.futures.process")
importlib.import_module("caffefold.zoo.pages.site").templates().get_template("model.html")
