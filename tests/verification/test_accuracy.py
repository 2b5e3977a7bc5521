"""How good nets are: what real Caffe said of the samples, and what is wrong with a list."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold.errors import Option
from caffefold.formats import dataset
from caffefold.ir.net import Net
from caffefold.verification.accuracy import Found, Score, average_precision

OPENCV: dict[str, Any] = {"runtime": "opencv"}


def test_lenet_is_as_good_as_in_caffe(samples: Path, tmp_path: Path) -> None:
    """Caffe's own test phase said 0.9889 of the same digits (meta.json of the sample)."""
    pytest.importorskip("cv2")
    folder = samples / "lenet_bn"
    pair = folder / "train_val.prototxt", folder / "lenet_bn_iter_5000.caffemodel"
    caffefold.convert(*pair, tmp_path / "folded")
    files = tmp_path / "folded.prototxt", tmp_path / "folded.caffemodel"
    digits = folder / "test_digits.npz"
    options: dict[str, Any] = {"inputs": [digits], "input_shapes": {"data": (120, 1, 28, 28)}}
    found = caffefold.verify(caffefold.load(*pair), caffefold.load(*files), **options, **OPENCV)
    assert found.verdict == "equal"
    assert found.accuracy is not None
    assert found.accuracy.samples == 360
    assert found.accuracy.before == found.accuracy.after == pytest.approx(356 / 360)


def test_the_shapes_detector_finds_what_caffe_finds(samples: Path, tmp_path: Path) -> None:
    """The mAP is that of real Caffe's own detections on the same images."""
    pytest.importorskip("cv2")
    folder = samples / "mobilenet_ssd_shapes"
    truth = json.loads((folder / "meta.json").read_text())["ground_truth"]
    images = sorted((folder / "images").glob("*.png"))
    labels = tmp_path / "labels.txt"
    rows = [
        [f"{image.name} {each['label']} " + " ".join(map(str, each["box"]))
         for each in truth[image.name]]
        for image in images
    ]  # fmt: skip
    labels.write_text("\n".join(line for image in rows for line in image))
    pair = folder / "deploy_bn.prototxt", folder / "shapes_iter_9000.caffemodel"
    caffefold.convert(*pair, tmp_path / "folded")
    files = tmp_path / "folded.prototxt", tmp_path / "folded.caffemodel"
    how: dict[str, Any] = {"mean": (127.5,), "scale": 0.007843, "labels": labels}
    found = caffefold.verify(
        caffefold.load(*pair), caffefold.load(*files), inputs=images, **how, **OPENCV
    )
    assert found.verdict == "equal"
    assert found.accuracy is not None
    assert found.accuracy.measure == "mAP"
    assert found.accuracy.samples == len(images)
    golden = np.load(folder / "golden.npz")["detection_out"]
    truths = list(dataset.labels(labels).values())
    own = [golden[golden[:, 0] == int(image.stem.split("_")[1])] for image in images]
    caffe = average_precision(
        [np.asarray(each) for each in truths],
        [Found(i, row[1:]) for i, rows in enumerate(own) for row in rows],
    )
    assert found.accuracy.before == found.accuracy.after == pytest.approx(caffe)
    assert caffe > 0.5
    assert str(found.accuracy) in str(found)


def _detected(*rows: tuple[float, ...]) -> np.ndarray[Any, Any]:
    return np.array(rows, np.float32).reshape(1, 1, -1, 7)


BOX = (0.1, 0.1, 0.3, 0.3)
FAR = (0.6, 0.6, 0.9, 0.9)
LABELS = Option("labels")
DETECTOR = {"out": "DetectionOutput"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (_detected((0, 1, 0.9, *BOX)), 6 / 11),  # one of two, no mistake: recalls to 0.5
        (_detected((0, 1, 0.9, *BOX), (0, 1, 0.8, *FAR)), 1.0),
        (_detected((0, 1, 0.9, 0.5, 0.1, 0.6, 0.2), (0, 1, 0.8, *BOX), (0, 1, 0.7, *FAR)), 2 / 3),
        (_detected((0, 1, 0.9, *BOX), (0, 1, 0.8, *BOX)), 6 / 11),  # found twice is wrong once
        (_detected((0, 2, 0.9, *BOX)), 0.0),
        (_detected((0, -1, -1, -1, -1, -1, -1)), 0.0),
    ],
)
def test_average_precision(found: np.ndarray[Any, Any], expected: float) -> None:
    """By hand: the best precision at each of eleven recalls, on average."""
    score = Score(DETECTOR, LABELS)
    score.add([np.array([[1, *BOX], [1, *FAR]])], {"out": found}, {"out": found})
    assert score.result().before == pytest.approx(expected)


def test_images_are_counted_over_batches() -> None:
    batches = [
        {"out": _detected((0, 1, 0.9, *BOX), (1, 1, 0.9, *FAR))},
        {"out": _detected((0, 1, 0.9, *FAR), (1, 1, 0.9, *BOX))},  # the last one fills up
    ]
    score = Score(DETECTOR, LABELS)
    score.add([np.array([[1, *box]]) for box in (BOX, FAR)], batches[0], batches[0])
    score.add([np.array([[1, *FAR]])], batches[1], batches[1])
    assert score.result() == ("mAP", 3, 1.0, 1.0)


def test_images_without_objects_count() -> None:
    score = Score(DETECTOR, LABELS)
    empty = np.zeros((0, 5))
    batch = {"out": _detected((0, 1, 0.95, *BOX), (1, 1, 0.9, *BOX))}
    score.add([empty, np.array([[1, *BOX]])], batch, batch)
    assert score.result().before == pytest.approx(0.5)  # the surest one is wrong


def test_items_that_say_different_things_are_told() -> None:
    classes = {"out": np.eye(2)}
    score = Score({"out": "Softmax"}, LABELS)
    score.add([0.0, 1.0], classes, classes)
    assert score.result() == ("accuracy", 2, 1.0, 1.0)
    for truth in (np.zeros((0, 5)), None):
        with pytest.raises(caffefold.InputError, match="item 3"):
            score.add([truth], classes, classes)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a.png 1\n", "there is no line for b.png"),
        ("a.png 1\nb.png\n", ":2: expected IMAGE CLASS"),
        ("a.png one\n", ":1: expected IMAGE CLASS"),
        ("a.png 1.2.3\n", ":1: '1.2.3' are not numbers"),
        ("a.png 1\na.png 2\n", ":2: a second class for a.png"),
        ("a.png 1\nb.png 1 0 0 1 1\n", "some lines have a box and some have none"),
    ],
)
def test_bad_lists_are_told(
    text: str, complaint: str, net: Net, folded: Net, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text(text)
    options: dict[str, Any] = {"labels": tmp_path / "list.txt", "runtime": "reference"}
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    images = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(caffefold.InputError, match=re.escape(complaint)):
        caffefold.verify(net, folded, inputs=images, **options)


def test_names_may_have_spaces(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a b/1 2.png 3\n0001 1 0 0 1 .5\n")
    with pytest.raises(caffefold.InputError, match="some lines have a box"):
        dataset.labels(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("a b/1 2.png 3\n7 0\n\n")
    assert dataset.labels(tmp_path / "list.txt") == {"a b/1 2.png": 3.0, "7": 0.0}


def test_labels_without_images_are_told(net: Net, folded: Net, tmp_path: Path) -> None:
    with pytest.raises(caffefold.UsageError, match="labels: give the images with inputs DIR"):
        caffefold.verify(net, folded, labels=tmp_path, runtime={"*": "reference"})
