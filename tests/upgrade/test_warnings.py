"""What ``upgrade`` keeps though Caffe refuses it is warned of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from caffefold.formats.caffemodel.wire import len_field, text_field, varint_field
from caffefold.upgrading import UpgradeReport, upgrade

Upgraded = Callable[[str | bytes], UpgradeReport]


@pytest.fixture
def upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upgraded:
    monkeypatch.chdir(tmp_path)

    def run(content: str | bytes) -> UpgradeReport:
        data = content.encode() if isinstance(content, str) else content
        Path("old").write_bytes(data)
        return upgrade("old", "new", force=True)

    return run


def test_a_type_that_no_caffe_has(upgraded: Upgraded) -> None:
    report = upgraded('layers { name: "x" bottom: "a" top: "x" type: MY_LAYER }')
    assert report.changes == ("1 layer from V1 (layers { ... }) to V2 (layer { ... })",)
    assert report.warnings[0] == "line 1: layer 'x': unknown V1 type MY_LAYER kept unchanged"
    assert 'type: "MY_LAYER"' in Path("new").read_text()


def test_thousands_of_them_are_counted(upgraded: Upgraded) -> None:
    report = upgraded("".join(f"layers {{ type: T{n} }}\n" for n in range(1_500)))
    kept = [warning for warning in report.warnings if "kept unchanged" in warning]
    assert len(kept) == 1_000
    assert "500 more fields like these" in report.warnings
    assert Path("new").read_text().count("layer {") == 1_500


def test_fields_that_look_like_slips(upgraded: Upgraded) -> None:
    text = 'layer { name: "c" type: "Convolution" convolution_param { num_output: 2 stirde: 2 } }'
    report = upgraded(text)
    (said,) = report.warnings
    assert said.startswith("old:1:73: layer 'c': unknown field 'stirde'")
    assert "did you mean 'stride'" in said
    assert report.up_to_date
    assert Path("new").read_text() == text


def test_a_good_net_has_none(upgraded: Upgraded) -> None:
    assert upgraded('layers { name: "r" type: RELU }').warnings == ()
    assert upgraded("net: 'a.prototxt'\nbase_lr: 0.1\nmax_iter: 3").warnings == ()


def test_a_number_that_no_caffe_has(upgraded: Upgraded) -> None:
    layer = text_field(4, "a") + varint_field(5, 77)
    report = upgraded(text_field(1, "n") + len_field(2, layer) * 2)
    (said,) = report.warnings
    assert said == "layer 'a' and 1 more: unknown V1 type 77 dropped"
