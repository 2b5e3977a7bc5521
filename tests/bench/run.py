"""Measure speed and memory of caffefold, as ratios within one run.

    python tests/bench/run.py [--only mobilenet|vgg|startup|diff] [--repeat N] [--cache DIR]
                              [--json FILE] [--strict]

Seconds differ from machine to machine; how many times longer one process takes than another
does much less. So each figure is the time of a caffefold process over the time of a reference
process: importing NumPy, importing NumPy and protobuf's text format, or rewriting the same
weights with protobuf alone. Figures of issue 2:

    mobilenet   convert the full-size MobileNet-SSD (23 MB), proof included
                at most 3 x `import numpy, google.protobuf.text_format`, at most 130 MB
    vgg         convert a VGG-16 with BatchNorm (553 MB), proof and fsync included
                at most 0.5 x (stretch: 0.3 x) protobuf parsing, serialising and writing the
                same file, at most 200 MB
    startup     `--help` and `--version`: at most 0.6 x `import numpy`
    both models two runs write the same bytes

Figures of issue 6:

    diff        two nets of 1,000 layers: at most 6 x importing the package and parsing both files
                two caffemodels of 553 MB, all alike and all different: at most 2.5 x `cmp` of two
                equal files of that size (of different ones it stops at once), at most 200 MB

How it is measured: whole processes, wall time, with the interpreter that runs this script. What
is compared runs in turn, so that a busy machine slows both; the least time of N repeats counts
(the ratio of the medians stands beside it). One untimed round goes first and fills the caches,
Python's compiled modules among them, as an installed package has them (whatever
PYTHONDONTWRITEBYTECODE says: compiling all of them again takes longer than the conversion).
Before each run old output is deleted and the disk settles (`sync`), untimed. Memory is the
largest peak resident size of the repeats, from wait4(); this script imports only the standard
library and stays small, since a child's peak starts at its parent's.

The models are made by `sample_models/`, in --cache DIR if given (then once), else in a temporary
directory, where all output goes too; allow 3 GB for the large model. --strict: exit 1 if a target
is missed. Exit 2 if something could not be measured. For Linux and macOS.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_models"
REPEATS = {"mobilenet": 9, "vgg": 5, "startup": 15, "diff": 7}
MB = 1_000_000

Command = Sequence[str]

IMPORT_NUMPY = "import numpy"
IMPORT_BOTH = "import numpy, google.protobuf.text_format"
PARSE = """\
import os, sys
from caffefold._proto import caffe_pb2
net = caffe_pb2.NetParameter()
with open(sys.argv[1], "rb") as stream:
    net.ParseFromString(stream.read())
data = net.SerializeToString()
"""
WRITE = """\
with open(sys.argv[2], "wb") as stream:
    stream.write(data)
"""
SYNC = """\
    stream.flush()
    os.fsync(stream.fileno())
"""
IMPORT_AND_PARSE = """\
import sys
import caffefold
from caffefold.formats.prototxt.parse import read
for path in sys.argv[1:]:
    read(path)
"""
# Every number of a caffemodel a little larger: the same layout, no blob the same.
DISTURB = """\
import sys
import numpy as np
from caffefold.formats.caffemodel.index import open_weights
with open_weights(sys.argv[1]) as weights, open(sys.argv[2], "r+b") as out:
    for blob in (blob for layer in weights.layers for blob in layer.blobs):
        (piece,) = blob.pieces
        for at in range(0, piece.length, 1 << 20):
            numbers = blob.read(at, min(at + (1 << 20), piece.length))
            out.seek(piece.start + 4 * at)
            out.write((numbers * np.float32(1.0001)).tobytes())
"""


class BenchError(Exception):
    """A process that was to be measured failed."""


@dataclass(frozen=True)
class Sample:
    """One process that ran."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Figure:
    """One line of the result; `target` is the largest `value` allowed, None if none is set."""

    section: str
    what: str
    value: float | bool | None
    unit: str = "x"
    target: float | bool | None = None
    detail: str = ""

    @property
    def passed(self) -> bool | None:
        """Return whether the target is met; None without a target."""
        if self.target is None:
            return None
        if self.value is None:
            return False
        return self.value == self.target if self.target is True else self.value <= self.target


# ---------------------------------------------------------------------------------------------
# Measuring


def run(
    command: Command,
    work: Path,
    environment: Mapping[str, str] | None = None,
    codes: Sequence[int] = (0,),
) -> Sample:
    """Run `command` in `work` and return its wall time and peak memory; `codes` are no failure."""
    with (work / "bench.log").open("w+b") as log:
        start = time.perf_counter()
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        pid = _spawn(command, work, log.fileno(), {**inherited, **(environment or {})})
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - start
        code = os.waitstatus_to_exitcode(status)
        if code not in codes:
            log.seek(0)
            tail = log.read().decode(errors="replace").strip().splitlines()[-3:]
            raise BenchError(f"exit code {code}: {_shown(command)}: {' / '.join(tail)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Sample(seconds, usage.ru_maxrss * unit)


def _spawn(command: Command, work: Path, log: int, environment: Mapping[str, str]) -> int:
    """Start `command` elsewhere than here, so that the installed caffefold is what runs."""
    here = Path.cwd()
    os.chdir(work)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, log, descriptor) for descriptor in (1, 2)]
        return os.posix_spawn(command[0], list(command), environment, file_actions=actions)
    finally:
        os.chdir(here)


def _shown(command: Command) -> str:
    return " ".join(part.splitlines()[0] + " ..." if "\n" in part else part for part in command)


def interleave(
    commands: Mapping[str, Command],
    repeat: int,
    work: Path,
    settle: Callable[[], None],
    codes: Sequence[int] = (0,),
) -> dict[str, list[Sample]]:
    """Run the commands in turn, `repeat` rounds after one that does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for number in range(repeat + 1):
        for name, command in commands.items():
            settle()
            sample = run(command, work, codes=codes)
            if number:
                samples[name].append(sample)
    return samples


def least(samples: Sequence[Sample]) -> float:
    """Return the least time."""
    return min(sample.seconds for sample in samples)


def median(samples: Sequence[Sample]) -> float:
    """Return the median time."""
    return statistics.median(sample.seconds for sample in samples)


def ratio_figure(
    section: str,
    what: str,
    samples: tuple[Sequence[Sample], Sequence[Sample]],
    target: float | None,
    note: str = "",
) -> Figure:
    """Return how many times longer the first process took than the second."""
    ours, reference = samples
    detail = (
        f"{least(ours):.3f} s / {least(reference):.3f} s, "
        f"medians {median(ours) / median(reference):.2f}{note}"
    )
    return Figure(section, what, least(ours) / least(reference), "x", target, detail)


def memory_figure(
    section: str, what: str, samples: Sequence[Sample], target: float | None
) -> Figure:
    """Return the largest peak memory."""
    peak = max(sample.peak_bytes for sample in samples) / MB
    return Figure(section, what, peak, "MB", target)


# ---------------------------------------------------------------------------------------------
# Models and conversion


@dataclass(frozen=True)
class Model:
    """A net and its weights on disk."""

    prototxt: Path
    weights: Path


def python(*arguments: str | Path) -> list[str]:
    """Return a command for the interpreter that runs this script."""
    return [sys.executable, *map(str, arguments)]


def convert(model: Model, prefix: Path) -> list[str]:
    """Return the command that converts `model`."""
    files = (model.prototxt, model.weights, "-o", prefix)
    return python("-m", "caffefold", "convert", *files, "--force")


def mobilenet_model(cache: Path, work: Path) -> Model:
    """Return the full-size MobileNet-SSD, made if need be."""
    folder = SAMPLES / "mobilenet_ssd"
    weights = cache / "mobilenet_ssd.caffemodel"
    partial = cache / "partial.caffemodel"
    if not weights.exists():
        run(python(folder / "make_weights.py", partial), work)
        partial.rename(weights)
    return Model(folder / "train_template.prototxt", weights)


def vgg_model(cache: Path, work: Path) -> Model:
    """Return the VGG-16 with BatchNorm, made if need be."""
    model = Model(cache / "vgg16_bn.prototxt", cache / "vgg16_bn.caffemodel")
    if not (model.prototxt.exists() and model.weights.exists()):
        run(python(SAMPLES / "vgg16_bn" / "make_model.py", cache / "partial"), work)
        (cache / "partial.prototxt").rename(model.prototxt)
        (cache / "partial.caffemodel").rename(model.weights)
    return model


@contextmanager
def clean_output(work: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Give a directory for output and a function that empties it and lets the disk settle."""
    out = work / "out"

    def settle() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        os.sync()

    settle()
    yield out, settle
    settle()


def digests(folder: Path) -> dict[str, str]:
    """Return a digest of each file in `folder`."""
    result = {}
    for path in sorted(folder.iterdir()):
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
        result[path.name] = digest.hexdigest()
    return result


def determinism_figures(section: str, model: Model, work: Path) -> list[Figure]:
    """Convert twice to the same place, with different hash seeds, and compare each file."""
    results = []
    with clean_output(work) as (out, settle):
        for hash_seed in ("1", "2"):
            settle()
            run(convert(model, out / "model"), work, {"PYTHONHASHSEED": hash_seed})
            results.append(digests(out))
    first, second = results
    names = sorted(first.keys() | second.keys())
    differing = [name for name in names if first.get(name) != second.get(name)]
    detail = f"differing: {', '.join(differing)}" if differing else ", ".join(names)
    return [Figure(section, "two runs write the same bytes", not differing, "", True, detail)]


# ---------------------------------------------------------------------------------------------
# Sections


def mobilenet(repeat: int, cache: Path, work: Path) -> list[Figure]:
    """Convert the full-size MobileNet-SSD."""
    name = "mobilenet"
    model = mobilenet_model(cache, work)
    with clean_output(work) as (out, settle):
        commands = {
            "convert": convert(model, out / "model"),
            "import": python("-c", IMPORT_BOTH),
        }
        samples = interleave(commands, repeat, work, settle)
    ours, reference = samples["convert"], samples["import"]
    return [
        ratio_figure(name, f"convert / `{IMPORT_BOTH}`", (ours, reference), 3.0),
        memory_figure(name, "peak memory of convert", ours, 130),
        *determinism_figures(name, model, work),
    ]


def vgg(repeat: int, cache: Path, work: Path) -> list[Figure]:
    """Convert a VGG-16 with BatchNorm."""
    name = "vgg"
    model = vgg_model(cache, work)
    scripts = {
        "parse + serialise + write": PARSE + WRITE,
        "parse + serialise": PARSE,
        "parse + serialise + write + fsync": PARSE + WRITE + SYNC,
    }
    with clean_output(work) as (out, settle):
        commands = {"convert": convert(model, out / "model")}
        for what, script in scripts.items():
            commands[what] = python("-c", script, model.weights, out / "copy.caffemodel")
        samples = interleave(commands, repeat, work, settle)
    ours = samples["convert"]
    figures = []
    for what in scripts:
        judged = what == "parse + serialise + write"
        target, note = (0.5, "; stretch 0.3") if judged else (None, "")
        pair = (ours, samples[what])
        figures.append(ratio_figure(name, f"convert / protobuf {what}", pair, target, note))
    return [
        *figures,
        memory_figure(name, "peak memory of convert", ours, 200),
        memory_figure(name, "peak memory of protobuf", samples["parse + serialise + write"], None),
        *determinism_figures(name, model, work),
    ]


def startup(repeat: int, cache: Path, work: Path) -> list[Figure]:
    """Start the command line."""
    del cache
    script = Path(sys.executable).parent / "caffefold"
    starts = {"python -m caffefold": python("-m", "caffefold")}
    if script.exists():
        starts["caffefold"] = [str(script)]
    commands = {
        f"{shown} {option}": [*start, option]
        for shown, start in starts.items()
        for option in ("--help", "--version")
    }
    reference = {IMPORT_NUMPY: python("-c", IMPORT_NUMPY)}
    samples = interleave({**commands, **reference}, repeat, work, lambda: None)
    return [
        ratio_figure(
            "startup", f"`{what}` / `{IMPORT_NUMPY}`", (samples[what], samples[IMPORT_NUMPY]), 0.6
        )
        for what in commands
    ]


def long_net(blocks: int, *, folded: bool) -> str:
    """Return a net of `blocks` x (convolution, BatchNorm, Scale, ReLU), folded or not."""
    shape = "shape { dim: 1 dim: 3 dim: 64 dim: 64 }"
    parts = [f'layer {{ name: "data" type: "Input" top: "data" input_param {{ {shape} }} }}\n']
    bottom = "data"
    for number in range(blocks):
        name = f"conv{number}"
        wires = f'  bottom: "{name}"\n  top: "{name}"\n'
        parts.append(
            f'layer {{\n  name: "{name}"\n  type: "Convolution"\n  bottom: "{bottom}"\n'
            f'  top: "{name}"\n  param {{\n    lr_mult: 1\n    decay_mult: 1\n  }}\n'
            "  convolution_param {\n    num_output: 64\n    kernel_size: 3\n    pad: 1\n"
            + ("" if folded else "    bias_term: false\n")
            + '    weight_filler {\n      type: "msra"\n    }\n  }\n}\n'
        )
        if not folded:
            parts.append(f'layer {{\n  name: "{name}/bn"\n  type: "BatchNorm"\n{wires}}}\n')
            scale = "  scale_param {\n    bias_term: true\n  }\n"
            parts.append(f'layer {{\n  name: "{name}/scale"\n  type: "Scale"\n{wires}{scale}}}\n')
        parts.append(f'layer {{\n  name: "{name}/relu"\n  type: "ReLU"\n{wires}}}\n')
        bottom = name
    return "".join(parts)


def diff(repeat: int, cache: Path, work: Path) -> list[Figure]:
    """Compare two nets of 1,000 layers, and two caffemodels of 553 MB."""
    name = "diff"
    with clean_output(work) as (out, _):
        plain = out / "plain.prototxt"
        plain.write_text(long_net(250, folded=False), encoding="utf-8")
        text = plain.read_text(encoding="utf-8")
        renamed = re.sub(r'(name|bottom|top): "', r'\1: "net/', text)
        others = {
            "folded": ("B is A folded", long_net(250, folded=True)),
            "renamed": ("B is A with other names", renamed),
        }
        figures = []
        for stem, (what, content) in others.items():
            other = out / f"{stem}.prototxt"
            other.write_text(content, encoding="utf-8")
            commands = {
                "diff": python("-m", "caffefold", "diff", plain, other),
                "parse": python("-c", IMPORT_AND_PARSE, plain, other),
            }
            run(commands["parse"], work)  # 1 is an answer of diff alone
            samples = interleave(commands, repeat, work, lambda: None, (0, 1))
            pair = (samples["diff"], samples["parse"])
            label = f"1,000 layers, {what} / import caffefold, parse both"
            figures.append(ratio_figure(name, label, pair, 6.0))
        model = vgg_model(cache, work)
        copy, changed = out / "copy.caffemodel", out / "changed.caffemodel"
        for target in (copy, changed):
            shutil.copyfile(model.weights, target)
        run(python("-c", DISTURB, model.weights, changed), work)
        compare = python("-m", "caffefold", "diff", model.weights)
        commands = {
            "equal": [*compare, str(copy)],
            "different": [*compare, str(changed)],
            "cmp": [shutil.which("cmp") or "/usr/bin/cmp", str(model.weights), str(copy)],
        }
        samples = interleave(commands, repeat, work, lambda: None, (0, 1))
        for what in ("equal", "different"):
            pair = (samples[what], samples["cmp"])
            figures.append(
                ratio_figure(name, f"553 MB, all {what} / cmp of equal files", pair, 2.5)
            )
            figures.append(memory_figure(name, f"553 MB, all {what}: peak", samples[what], 200))
    return figures


SECTIONS: dict[str, Callable[[int, Path, Path], list[Figure]]] = {
    "mobilenet": mobilenet,
    "vgg": vgg,
    "startup": startup,
    "diff": diff,
}


# ---------------------------------------------------------------------------------------------
# Output and command line


def markdown(figures: Sequence[Figure]) -> str:
    """Return the figures as a table."""
    rows = [("", "figure", "measured", "target", "", "detail")]
    for figure in figures:
        judgement = {None: "", True: "pass", False: "**FAIL**"}[figure.passed]
        target = _value(figure.target, figure.unit, "<= ")
        measured = _value(figure.value, figure.unit)
        rows.append((figure.section, figure.what, measured, target, judgement, figure.detail))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _value(value: float | bool | None, unit: str, sign: str = "") -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{sign}{value:.0f} {unit}" if unit == "MB" else f"{sign}{value:.2f} {unit}"


def as_json(figures: Sequence[Figure]) -> str:
    """Return the figures as one document."""
    rows = [{**asdict(figure), "passed": figure.passed} for figure in figures]
    return json.dumps({"schema": 1, "machine": machine(), "figures": rows}, indent=1) + "\n"


def machine() -> str:
    """Return where this runs."""
    return (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    )


def measure(names: Sequence[str], repeat: int | None, cache: Path | None) -> list[Figure]:
    """Return the figures of the named sections."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="caffefold-bench-") as folder:
        work = Path(folder)
        models = (cache or work / "models").resolve()
        models.mkdir(parents=True, exist_ok=True)
        for name in names:
            print(f"measuring {name} ...", file=sys.stderr)
            try:
                figures += SECTIONS[name](repeat or REPEATS[name], models, work)
            except BenchError as error:
                figures.append(Figure(name, "NOT MEASURED", None, detail=str(error)))
    return figures


def positive(text: str) -> int:
    """Return a number of repeats."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=list(SECTIONS), help="measure this section only")
    parser.add_argument("--repeat", type=positive, metavar="N", help=f"default: {REPEATS}")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the generated models here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(SECTIONS)
    figures = measure(names, arguments.repeat, arguments.cache)
    print(f"{machine()}\n\n{markdown(figures)}")
    if arguments.json:
        arguments.json.write_text(as_json(figures), encoding="utf-8")
    if any(figure.value is None for figure in figures):
        return 2
    return int(arguments.strict and any(figure.passed is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
