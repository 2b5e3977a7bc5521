"""The figures of ``caffefold export``, side by side in one run; ``tox -e bench-export``.

    python tests/bench/export.py [--with PYTHON ...]

``--with`` names interpreters of other environments in which the detector is run as well: one with
an old onnxruntime, one with OpenCV 5, one with OpenVINO. Each runs in a process of its own, since a
runtime may die of a model. Other converters: ``tox -e consumers -- --peers --corpus``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

import caffefold  # noqa: E402
from caffefold.check.forward.boxes import detection_output  # noqa: E402
from tests.onnx_export import test_detections, test_models, test_windows  # noqa: E402
from tests.onnx_export.conftest import bytes_of  # noqa: E402
from tests.support.onnx_models import difference, run  # noqa: E402

CLI = [sys.executable, "-m", "caffefold"]
SHAPES = test_models.SHARED / "models/mobilenet_ssd_shapes"
DETECTOR = SHAPES / "deploy_bn.prototxt", SHAPES / "shapes_iter_9000.caffemodel"
LENET = "train_val.prototxt", "lenet_bn_iter_5000.caffemodel"
_RUNS = 5
_RUNTIMES = ("onnxruntime", "openvino", "cv2")
_IN_RUNTIME = """
import sys, numpy as np
runtime, path, data, out = sys.argv[1:]
images = np.load(data)
if runtime == "openvino":
    import openvino
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    name, run = "OpenVINO " + openvino.__version__[:9], lambda x: model(x)[0]
elif runtime == "onnxruntime":
    import onnxruntime
    session = onnxruntime.InferenceSession(path)
    name = "onnxruntime " + onnxruntime.__version__
    run = lambda x: session.run(None, {"data": x})[0]
else:
    import cv2
    if cv2.__version__ < "5":
        sys.exit("No module named 'cv2' that runs NonMaxSuppression")
    net = cv2.dnn.readNetFromONNX(path)
    name = "OpenCV " + cv2.__version__
    def run(x):
        net.setInput(x, "data")
        return net.forward()
rows = [run(images[i : i + 1]).reshape(-1, 7) for i in range(len(images))]
for i, part in enumerate(rows):
    part[:, 0] += i
nothing = run(np.zeros_like(images[:1])).reshape(-1, 7)
np.savez(out, rows=np.concatenate(rows), nothing=nothing)
print(name)
"""


def say(*cells: object) -> None:
    """One line of the output."""
    print("  ".join(f"{cell!s:<28}" for cell in cells).rstrip(), flush=True)


def models(folder: Path) -> None:
    """Every model against real Caffe's golden numbers."""
    worst, right, count = 0.0, 0, 0
    for model in test_models.MODELS:
        count += 1
        error = test_models.error_of(model, folder / f"{count}.onnx")
        right += error < test_models.LIMIT
        worst = max(worst, error)
        if "corpus" in str(model.prototxt):
            say(model.name, f"{error:.1e}")
    say("models and edge nets", f"{right} of {count} within 1e-4", f"largest {worst:.1e}")


def lenet(folder: Path) -> None:
    """LeNet-BN, a training net: all its golden digits at once."""
    net, weights = (test_models.SHARED / "models/lenet_bn" / name for name in LENET)
    path = test_models.exported(net, weights, folder, batch="dynamic")
    with np.load(net.with_name("golden.npz")) as golden:
        found = run(path, {"data": golden["inputs"].astype(np.float32)})["prob"]
        say("LeNet-BN", f"{difference(found, golden['prob']):.1e}")


def windows() -> None:
    """Pooling windows of every kind and size that are as in the reference."""
    each = len(test_windows.SIZES) * len(test_windows.KINDS)
    right = 0
    for window in test_windows.WINDOWS:
        try:
            test_windows.test_every_window(window, bytes_of)
        except AssertionError:
            say("pooling: kernel, stride, pad", window, "WRONG")
        else:
            right += each
    say("pooling windows", f"{right} of {len(test_windows.WINDOWS) * each} right")


def detector(folder: Path, others: Iterable[str]) -> None:
    """MobileNet-SSD with suppression inside, in every runtime of every environment."""
    path, data = folder / "ssd.onnx", folder / "images.npy"
    with caffefold.load(*DETECTOR) as net:
        caffefold.export(net, path, check=False, target="opencv5")
    with np.load(SHAPES / "golden.npz") as golden:
        images, wanted = golden["data"], golden["detection_out"]
    np.save(data, images)
    empty = np.array([[0, *[-1] * 6]], np.float32)
    for python, runtime in itertools.product((sys.executable, *others), _RUNTIMES):
        out = folder / "rows.npz"
        command = [python, "-c", _IN_RUNTIME, runtime, str(path), str(data), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if f"No module named '{runtime}'" in done.stderr:
            continue
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            say(python, runtime, "died", done.returncode, *last)
            continue
        with np.load(out) as found:
            error = difference(found["rows"], wanted)
            nothing = "right" if (found["nothing"] == empty).all() else "WRONG"
        say("SSD in " + done.stdout.strip(), f"{error:.1e}", f"nothing found: {nothing}")


def optimised(folder: Path) -> None:
    """onnxslim and onnxsim leave the numbers as they are."""
    with np.load(SHAPES / "golden.npz") as golden:
        image = golden["data"][:1]
    whole = run(folder / "ssd.onnx", {"data": image})["detection_out"]
    import onnx

    tools: dict[str, Callable[[], Any]] = {}
    try:
        import onnxslim

        tools["onnxslim"] = lambda: onnxslim.slim(str(folder / "ssd.onnx"))
    except ImportError:
        say("onnxslim", "not installed")
    try:
        import onnxsim

        tools["onnxsim"] = lambda: onnxsim.simplify(onnx.load(folder / "ssd.onnx"))[0]
    except ImportError:
        say("onnxsim", "not installed")
    for name, tool in tools.items():
        onnx.save(tool(), folder / "small.onnx")
        found = run(folder / "small.onnx", {"data": image})["detection_out"]
        say(name, f"{difference(found, whole):.1e}")


def detections(count: int = 1000) -> None:
    """Random DetectionOutput layers against the reference."""
    differ = 0
    for seed in range(count):
        net, inputs = test_detections.trial(seed)
        wanted = detection_output(net["out"], [inputs[x] for x in ("loc", "conf", "prior")])[0]
        found = run(bytes_of(net), inputs)["out"]
        same = found.shape == wanted.shape and np.allclose(found, wanted, rtol=1e-5, atol=1e-6)
        differ += not same
    say("DetectionOutput", f"{differ} of {count} differ")


# ------------------------------------------------------------------------------------- writing


def large(folder: Path) -> tuple[Path, Path]:
    """VGG-16's layers, 553 MB of weights."""
    widths = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }\n'  # noqa: E501
    channels, bottom, blobs = 3, "data", []
    for i, width in enumerate(widths):
        name = f"l{i}"
        wires = f'layer {{ name: "{name}" bottom: "{bottom}" top: "{name}"'
        if width:
            text += f'{wires} type: "Convolution" convolution_param {{ num_output: {width} pad: 1 kernel_size: 3 }} }}\n'  # noqa: E501
            blobs.append((name, [(width, channels, 3, 3), (width,)]))
            channels = width
        else:
            text += f'{wires} type: "Pooling" pooling_param {{ kernel_size: 2 stride: 2 }} }}\n'
        bottom = name
    for i, (outputs, inputs) in enumerate(((4096, 25088), (4096, 4096), (1000, 4096))):
        text += f'layer {{ name: "fc{i}" bottom: "{bottom}" top: "fc{i}" type: "InnerProduct" inner_product_param {{ num_output: {outputs} }} }}\n'  # noqa: E501
        blobs.append((f"fc{i}", [(outputs, inputs), (outputs,)]))
        bottom = f"fc{i}"
    prototxt, caffemodel = folder / "vgg.prototxt", folder / "vgg.caffemodel"
    prototxt.write_text(text)
    from caffefold.formats.caffemodel.wire import len_field, len_header, text_field, varint

    random = np.random.default_rng(1)
    block = (random.standard_normal(1 << 20) * 0.01).astype("<f4").tobytes()
    with caffemodel.open("wb") as out:
        for name, shapes in blobs:
            head = text_field(1, name)
            sizes = [4 * int(np.prod(shape)) for shape in shapes]
            tails = [len_field(7, len_field(1, b"".join(map(varint, s)))) for s in shapes]
            bodies = [len(len_header(5, n)) + n + len(t) for n, t in zip(sizes, tails, strict=True)]
            total = len(head) + sum(len(len_header(7, n)) + n for n in bodies)
            out.write(len_header(100, total) + head)
            for size, tail, body in zip(sizes, tails, bodies, strict=True):
                out.write(len_header(7, body) + len_header(5, size))
                for start in range(0, size, len(block)):
                    out.write(block[: min(len(block), size - start)])
                out.write(tail)
    return prototxt, caffemodel


_PEAK = (
    "import runpy, sys; sys.argv = ['caffefold', *sys.argv[1:]]\n"
    "try:\n    runpy.run_module('caffefold', run_name='__main__')\n"
    "finally:\n"
    "    status = open('/proc/self/status').read().partition('VmHWM:')[2]\n"
    "    print(status.split()[0], file=sys.stderr)\n"
)


def timed(command: list[str]) -> tuple[float, str]:
    """Seconds a command takes, and what it says on stderr; its bytecode is kept, as a user's is."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=kept)
    return time.perf_counter() - start, done.stderr


def writing(folder: Path) -> None:
    """553 MB in three ways, against cp; the best of a few runs, taken in turns."""
    prototxt, caffemodel = large(folder)
    ways = ("onnx", "data", "caffemodel")
    best, peak = dict.fromkeys(("cp", "load", *ways), 1e9), dict.fromkeys(ways, 0)
    for _ in range(_RUNS):
        start = time.perf_counter()
        with (folder / "copy").open("wb") as out, caffemodel.open("rb") as source:
            shutil.copyfileobj(source, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        best["cp"] = min(best["cp"], time.perf_counter() - start)
        (folder / "copy").unlink()
        for way in ways:
            target = folder / "vgg.onnx"
            command = [sys.executable, "-c", _PEAK, "export", str(prototxt), str(caffemodel)]
            command += ["-o", str(target), "--no-check", "--weights-in", way]
            seconds, said = timed(command)
            best[way] = min(best[way], seconds)
            peak[way] = max(peak[way], int(said.split()[-1]))
            for path in (target, folder / "vgg.onnx.data"):
                path.unlink(missing_ok=True)
    # VmHWM, not ru_maxrss, which a child takes over from its parent.
    say(f"{caffemodel.stat().st_size / 1e6:.0f} MB, cp and fsync", f"{best['cp']:.2f} s")
    for way in ways:
        ratio = best[way] / best["cp"]
        say(
            f"--weights-in {way}",
            f"{best[way]:.2f} s",
            f"{ratio:.2f} x cp",
            f"{peak[way] / 1e3:.0f} MB",
        )


def starting(folder: Path) -> None:
    """The whole process for the detector, against importing what others begin with."""
    target = folder / "one.onnx"
    command = [*CLI, "export", *map(str, DETECTOR), "-o", str(target), "--no-check", "--force"]
    importing = [sys.executable, "-c", "import numpy, onnx"]
    pairs = [(timed(command)[0], timed(importing)[0]) for _ in range(_RUNS)]
    own, theirs = (min(each) for each in zip(*pairs, strict=True))
    say("MobileNet-SSD, no check", f"{own:.2f} s", f"{own / theirs:.2f} x import numpy, onnx")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--with", dest="others", action="append", default=[], metavar="PYTHON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="caffefold-bench-") as name:
        folder = Path(name)
        models(folder)
        lenet(folder)
        windows()
        detector(folder, options.others)
        optimised(folder)
        detections()
        starting(folder)
        writing(folder)


if __name__ == "__main__":
    main()
