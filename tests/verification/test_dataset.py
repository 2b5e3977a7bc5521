"""Data sets as Caffe's data layers read them, each with the same few digits in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.formats import dataset
from caffefold.ir.net import Net
from caffefold.verification.items import fitted

COUNT = 30
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def digits(samples: Path) -> tuple[Pixels, list[int]]:
    """(N, 28, 28) as bytes, and what they are."""
    with np.load(samples / "lenet_bn" / "test_digits.npz") as given:
        pixels = np.round(given["inputs"][:COUNT, 0] * 256).astype(np.uint8)
        return pixels, [int(each) for each in given["labels"][:COUNT]]


def lmdb_of(path: Path, values: list[bytes]) -> Path:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(path), map_size=1 << 24) as base, base.begin(write=True) as writing:
        for i, value in enumerate(values):
            writing.put(b"%08d" % i, value)
    return path


def datum(pixels: Pixels, label: int, **more: Any) -> Any:
    """One record, stored plainly."""
    shape = {"channels": 1, "height": len(pixels), "width": len(pixels[0])}
    return caffe_pb2.Datum(**{**shape, "data": pixels.tobytes(), "label": label, **more})


def as_lmdb(folder: Path, pixels: Pixels, labels: list[int]) -> Path:
    values = [datum(*each).SerializeToString() for each in zip(pixels, labels, strict=True)]
    return lmdb_of(folder / "plain_lmdb", values)


def as_floats(folder: Path, pixels: Pixels, labels: list[int]) -> Path:
    values = [
        datum(each, label, data=b"", float_data=each.reshape(-1).tolist()).SerializeToString()
        for each, label in zip(pixels, labels, strict=True)
    ]
    return lmdb_of(folder / "float_lmdb", values)


def as_encoded(folder: Path, pixels: Pixels, labels: list[int]) -> Path:
    cv2 = pytest.importorskip("cv2")
    values = [
        datum(each, label, data=cv2.imencode(".png", each)[1].tobytes(), encoded=True)
        for each, label in zip(pixels, labels, strict=True)
    ]
    return lmdb_of(folder / "encoded_lmdb", [each.SerializeToString() for each in values])


def as_list(folder: Path, pixels: Pixels, labels: list[int]) -> Path:
    cv2 = pytest.importorskip("cv2")
    (folder / "img").mkdir()
    for i, each in enumerate(pixels):
        cv2.imwrite(str(folder / "img" / f"no {i}.png"), each)
    lines = (f"img/no {i}.png {label}\n" for i, label in enumerate(labels))
    (folder / "list.txt").write_text("".join(lines))
    return folder / "list.txt"


def as_folders(folder: Path, pixels: Pixels, labels: list[int]) -> Path:
    cv2 = pytest.importorskip("cv2")
    for i, (each, label) in enumerate(zip(pixels, labels, strict=True)):
        (folder / "sorted" / str(label)).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "sorted" / str(label) / f"{i}.png"), each)
    return folder / "sorted"


def as_hdf5(folder: Path, pixels: Pixels, labels: list[int]) -> Path:
    """Two files and a list of them; their numbers are fed as they are."""
    h5py = pytest.importorskip("h5py")
    for name, part in (("a.h5", slice(0, 7)), ("b.h5", slice(7, None))):
        with h5py.File(folder / name, "w") as file:
            file["data"] = pixels[part, None].astype(np.float32) / 256
            file["label"] = np.array(labels[part], np.float32)[:, None]
    (folder / "files.txt").write_text("a.h5\nb.h5\n")
    return folder / "files.txt"


MAKERS: list[Callable[[Path, Pixels, list[int]], Path]] = [
    as_lmdb, as_floats, as_encoded, as_list, as_folders, as_hdf5,
]  # fmt: skip


@pytest.fixture(scope="module")
def lenet(samples: Path) -> Net:
    folder = samples / "lenet_bn"
    return caffefold.load(folder / "train_val.prototxt", folder / "lenet_bn_iter_5000.caffemodel")


def verified(net: Net, path: Path | str, **options: Any) -> Any:
    """The net against itself; all of the batch size 10."""
    how = {"runtime": {"*": "reference"}, "batch": 10, "batches": 1, **options}
    return caffefold.verify(net, net, dataset=path, **how)


@pytest.mark.parametrize("make", MAKERS)
def test_the_accuracy_is_that_of_caffe(
    make: Callable[[Path, Pixels, list[int]], Path], digits: tuple[Pixels, list[int]], lenet: Net,
    samples: Path, tmp_path: Path,
) -> None:  # fmt: skip
    """Whatever holds them: as many are right as real Caffe got right."""
    found = verified(lenet, make(tmp_path, *digits))
    with np.load(samples / "lenet_bn" / "golden.npz") as golden:
        right = float((golden["prob"][:COUNT].argmax(1) == digits[1]).mean())
    assert 0.9 < right < 1
    assert found.accuracy == ("accuracy", COUNT, right, right)
    assert found.verdict == "equal"
    assert "the first 10 items of 30 compared" in found.fed


def test_samples_and_the_last_batch(
    digits: tuple[Pixels, list[int]], lenet: Net, tmp_path: Path
) -> None:
    """What fills the last batch up does not count."""
    path = as_lmdb(tmp_path, digits[0], [each + 1 for each in digits[1]])
    assert verified(lenet, path, samples=13).accuracy == ("accuracy", 13, 0.0, 0.0)


def test_where_the_training_net_says(
    digits: tuple[Pixels, list[int]], samples: Path, tmp_path: Path
) -> None:
    """A path is relative to where Caffe was run: a folder above the prototxt."""
    folder = samples / "lenet_bn"
    (tmp_path / "models").mkdir()
    prototxt = tmp_path / "models" / "net.prototxt"
    prototxt.write_text((folder / "train_val.prototxt").read_text())
    net = caffefold.load(prototxt, folder / "lenet_bn_iter_5000.caffemodel")
    with pytest.raises(caffefold.InputError, match="data set digits_test_lmdb is not there"):
        verified(net, "stated")
    as_lmdb(tmp_path, *digits).rename(tmp_path / "digits_test_lmdb")
    assert verified(net, "stated").accuracy.samples == COUNT


def test_objects_of_an_ssd_data_set(samples: Path, tmp_path: Path) -> None:
    """AnnotatedDatum: images as files, stretched as the training net states, and their boxes."""
    pytest.importorskip("cv2")
    folder = samples / "mobilenet_ssd_shapes"
    truth = json.loads((folder / "meta.json").read_text())["ground_truth"]
    values, lines = [], []
    for image in sorted((folder / "images").glob("*.png")):
        record = caffe_pb2.AnnotatedDatum()
        record.datum.MergeFrom(caffe_pb2.Datum(data=image.read_bytes(), encoded=True))
        for each in truth[image.name]:
            group = record.annotation_group.add(group_label=each["label"])
            box = group.annotation.add().bbox
            box.xmin, box.ymin, box.xmax, box.ymax = each["box"]
            lines.append(f"{image.name} {each['label']} {' '.join(map(str, each['box']))}\n")
        values.append(record.SerializeToString())
    path = lmdb_of(tmp_path / "shapes_lmdb", values)
    (tmp_path / "list.txt").write_text("".join(lines))
    pair = folder / "train_template.prototxt", folder / "shapes_iter_9000.caffemodel"
    net = caffefold.load(*pair)
    deploy = caffefold.to_deploy(net).net
    how: dict[str, Any] = {"runtime": "opencv", "batches": 1}
    found = caffefold.verify(net, deploy, dataset=path, **how)
    same = caffefold.verify(
        net, deploy, inputs=[folder / "images"], labels=tmp_path / "list.txt", **how
    )
    assert found.accuracy is not None
    assert found.accuracy.measure == "mAP"
    assert found.accuracy.before > 0.5
    assert found.accuracy == same.accuracy


# ----------------------------------------------------------------------------- what is wrong


def test_what_is_no_data_set_is_told(lenet: Net, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "level").mkdir()
    (tmp_path / "level" / "CURRENT").touch()
    (tmp_path / "a.txt").write_text("no list\n")
    (tmp_path / "none.txt").write_text("\n")
    (tmp_path / "gone.txt").write_text("gone.png 1\n")
    (tmp_path / "h5.txt").write_text("gone.h5\n")
    for name, complaint in (
        ("nothing", "no such data set"),
        ("empty", "no LMDB, and no folders 0, 1, 2"),
        ("level", "a LevelDB is not read; make an LMDB of it"),
        ("a.txt", "a.txt:1: expected IMAGE CLASS"),
        ("none.txt", "there are no images in this list"),
        ("gone.txt", "gone.png is not there, nor beside this list"),
        ("h5.txt", "gone.h5 is not there"),
    ):
        with pytest.raises(caffefold.InputError, match=complaint):
            verified(lenet, tmp_path / name)
    with pytest.raises(caffefold.UsageError, match="not together with dataset"):
        verified(lenet, tmp_path, inputs=[tmp_path])


def test_a_net_that_names_no_data_set(net: Net) -> None:
    with pytest.raises(caffefold.UsageError, match="names none; give its path"):
        verified(net, "stated")


def test_bad_records_are_told(digits: tuple[Pixels, list[int]], lenet: Net, tmp_path: Path) -> None:
    one = digits[0][0]
    for name, value, complaint in (
        ("small", datum(one[:20, :20], 1), "record 1: 20 x 20; input 'data' is 1x28x28"),
        ("short", datum(one, 1, height=30), "784 numbers for an item of 1 x 30 x 28"),
        ("huge", datum(one, 1, height=2**30, channels=2**30), "784 numbers for an item of"),
        ("coded", datum(one, 1, encoded=True), "record 1: not an image that OpenCV reads"),
        ("deep", datum(np.stack([one, one]), 1, channels=2, height=28, width=28), "2 channels"),
    ):
        with pytest.raises(caffefold.InputError, match=complaint):
            verified(lenet, lmdb_of(tmp_path / name, [value.SerializeToString()]))
    with pytest.raises(caffefold.InputError, match="it is no Datum"):
        verified(lenet, lmdb_of(tmp_path / "text", [b"\x08text"]))
    with pytest.raises(caffefold.InputError, match="this LMDB is empty"):
        verified(lenet, lmdb_of(tmp_path / "none", []))


def test_an_lmdb_that_is_cut_off_is_told(
    digits: tuple[Pixels, list[int]], lenet: Net, tmp_path: Path
) -> None:
    """Its pages are mapped: reading one that is missing would end the process."""
    path = as_lmdb(tmp_path, *digits)
    data = (path / "data.mdb").read_bytes()
    for length in (len(data) // 2, 5000, 100, 0):
        (path / "data.mdb").write_bytes(data[:length])
        with pytest.raises(caffefold.InputError, match="this LMDB"):
            verified(lenet, path)


def test_an_hdf5_file_of_other_things_is_told(lenet: Net, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")

    def made(name: str, **arrays: Any) -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            for key, values in arrays.items():
                file[key] = values
        return tmp_path / name

    right = np.zeros((4, 1, 28, 28), np.float32)
    for path, complaint in (
        (made("a.h5", data=right), "no dataset 'label'; there are: data"),
        (made("b.h5", data=right, label=np.zeros(3)), "data, label have different lengths"),
        (made("c.h5", data=right[..., 1:], label=np.zeros(4)), "rows of 1x28x27, 1x28x28 are due"),
        (made("d.h5", data=right, label=np.zeros((4, 2))), "'label' is no class"),
        (made("e.h5", data=right[:0], label=np.zeros(0)), "there are no rows"),
    ):
        with pytest.raises(caffefold.InputError, match=complaint):
            verified(lenet, path)


# ------------------------------------------------------------------------- fitted to the input


def test_records_are_cropped_around_the_middle() -> None:
    """In test phase; a record without a crop has the size of the input, or the net is another."""
    found = np.arange(7 * 9 * 3).reshape(7, 9, 3)
    made = fitted(found, {"crop_size": 4}, (3, 4, 4), whole=True)
    assert np.array_equal(made, found[1:5, 2:6])
    with pytest.raises(ValueError, match="7 x 9"):
        fitted(found, {}, (3, 4, 4), whole=True)
    with pytest.raises(ValueError, match="7 x 9"):
        fitted(found, {"crop_size": 8}, (3, 8, 8), whole=True)


def test_images_are_resized_before_the_crop() -> None:
    pytest.importorskip("cv2")
    found = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None] * 10, 8, 1)
    known = {"crop_size": 4, "resize_height": 8, "resize_width": 8}
    assert np.array_equal(fitted(found, known, (1, 4, 4)), found[2:6, 2:6])
    assert fitted(found, {"crop_size": 4}, (1, 4, 4))[0, 0, 0] < 10  # straight to the input
    assert fitted(found, known, (1, 6, 6)).shape == (6, 6, 1)  # another input is asked for


def test_the_mean_image_is_taken_away(lenet: Net, samples: Path, tmp_path: Path) -> None:
    """Each pixel has its own mean, of which the data layer crops the middle."""
    text = (samples / "lenet_bn" / "train_val.prototxt").read_text()
    text = text.replace("scale: 0.00390625", 'mean_file: "mean.binaryproto" crop_size: 28')
    (tmp_path / "net.prototxt").write_text(text)
    mean = np.arange(30 * 30, dtype=np.float32).reshape(30, 30) / 4
    blob = caffe_pb2.BlobProto(num=1, channels=1, height=30, width=30, data=mean.reshape(-1))
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    net = caffefold.load(
        tmp_path / "net.prototxt", samples / "lenet_bn" / "lenet_bn_iter_5000.caffemodel"
    )
    from caffefold.verification.verifying import Verifier

    image = np.full((1, 28, 28, 1), 200, np.uint8)
    np.save(tmp_path / "a.npy", image)
    made = Verifier(net, inputs=[tmp_path / "a.npy"], runtime="reference").batches[0]
    assert np.array_equal(made.values["data"][0, 0], 200 - mean[1:29, 1:29])
    (tmp_path / "mean.binaryproto").unlink()
    warnings = Verifier(net, inputs=[tmp_path / "a.npy"], runtime="reference").warnings
    assert warnings == ("input 'data' is fed without mean.binaryproto, not less that image",)


def test_lines_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png 2\nb/c.png -1\n")
    assert dataset.labels(tmp_path / "list.txt") == {"a.png": 2.0, "b/c.png": -1.0}
