"""What a worker process loads before its first model; imported by worker processes only.

A fork server loads it once and forks workers that have it all. BLAS reads its variable when numpy
is imported: the products of a conversion are small, and there is a process for each core already.
"""

from __future__ import annotations

import importlib
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
for _name in ("caffefold.zoo.worker", "caffefold.zoo.facts", "concurrent.futures.process"):
    importlib.import_module(_name)
