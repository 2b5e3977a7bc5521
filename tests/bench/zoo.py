"""Measure the zoo: throughput of two processes, overhead per model, a rerun with nothing to do.

    python tests/bench/zoo.py [--repeat N] [--strict]

Figures, each the best of N rounds (what is compared runs in turn):

    throughput  200 small models, `--jobs 1` over `--jobs 2`, whole processes: at least 1.7 x. Needs
                two cores that nobody else uses
    overhead    what a worker does for a model beyond `convert()`, both in one warm process, plus
                what the parent spends on it: at most 8 ms, the median over 200 models
    rerun       1,000 journalled models, nothing to do, the whole process: at most 2 s, or 3 x what
                a process takes that only asks for the state of all files
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

STAT = """\
import os, sys
for top in sys.argv[1:]:
    for folder, _, names in os.walk(top):
        for name in names:
            os.stat(os.path.join(folder, name))
"""


def timed(*command: str) -> float:
    """Wall time of a process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def zoo(source: Path, target: Path, *arguments: str) -> float:
    """Wall time of ``caffefold zoo``."""
    command = (sys.executable, "-m", "caffefold", "-q", "zoo", str(source), str(target))
    return timed(*command, *arguments)


def throughput(source: Path, work: Path, repeat: int) -> list[float]:
    """Times of one process over times of two, a ratio for each round."""
    ratios = []
    for _ in range(repeat):
        times = []
        for jobs in ("1", "2"):
            shutil.rmtree(work / "out", ignore_errors=True)
            os.sync()
            times.append(zoo(source, work / "out", "--jobs", jobs))
        ratios.append(times[0] / times[1])
        print(f"  {times[0]:.2f} s / {times[1]:.2f} s = {ratios[-1]:.2f}", flush=True)
    return ratios


def overhead(source: Path, work: Path) -> tuple[float, float, float]:
    """Milliseconds: a bare convert, what a worker adds, what the parent adds."""
    import caffefold
    from caffefold import zoo as api
    from caffefold.zoo.running.worker import Task
    from caffefold.zoo.running.worker import work as do

    models = api.plan(source, jobs=1).models
    bare, added = [], []
    for number, model in enumerate(models):
        start = time.perf_counter()
        files = source / model.prototxts[0], source / model.caffemodel
        caffefold.convert(*files, work / "bare" / model.name)
        middle = time.perf_counter()
        do(Task(model, str(source), str(work / "worker"), f"t{number}"))
        end = time.perf_counter()
        bare.append(middle - start)
        added.append(end - middle - (middle - start))
    before = resource.getrusage(resource.RUSAGE_SELF)
    api.run(api.plan(source, work / "parent", jobs=1), jobs=1)
    after = resource.getrusage(resource.RUSAGE_SELF)
    parent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (
        1e3 * statistics.median(bare[5:]),
        1e3 * statistics.median(added[5:]),
        1e3 * parent / len(models),
    )


def rerun(work: Path, repeat: int) -> tuple[float, float]:
    """Seconds: a rerun of 1,000 models, and asking for the state of all of their files."""
    from tests.support.zoo import many

    source, target = work / "large", work / "large-out"
    many(source, 1000)
    zoo(source, target)
    stat = (sys.executable, "-c", STAT, str(source), str(target))
    return (
        min(zoo(source, target) for _ in range(repeat)),
        min(timed(*stat) for _ in range(repeat)),
    )


def main() -> int:
    """Print the figures; 1 when one is missed and ``--strict`` was given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from tests.support.zoo import many

    with tempfile.TemporaryDirectory(prefix="caffefold-bench-") as name:
        work = Path(name)
        many(work / "zoo", 200)
        ratios = throughput(work / "zoo", work, options.repeat)
        bare, worker, parent = overhead(work / "zoo", work)
        again, stat = rerun(work, options.repeat)
    median = f"median {statistics.median(ratios):.2f} x"
    base = f"a bare convert {bare:.1f} ms"
    rows = [
        ("throughput of 2 processes / 1", f"{max(ratios):.2f} x, {median}", ">= 1.70 x",
         max(ratios) >= 1.7),
        ("overhead per model", f"worker {worker:.1f}, parent {parent:.1f} ms; {base}", "<= 8 ms",
         worker + parent <= 8),
        ("rerun of 1,000 models", f"{again:.2f} s; all files' states {stat:.2f} s",
         "<= 2 s or 3 x", again <= max(2.0, 3 * stat)),
    ]  # fmt: skip
    print("| figure | measured | target | |\n|---|---|---|---|")
    for what, measured, target, good in rows:
        print(f"| {what} | {measured} | {target} | {'pass' if good else '**FAIL**'} |")
    return int(options.strict and not all(row[3] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
