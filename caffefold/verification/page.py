"""A verification as a page: errors along the layers, values against values, detections on the
image. The page has everything in it."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from caffefold._version import VERSION
from caffefold.check.verdict import Compared, Picture, Points, Verification
from caffefold.html import render

_LOW, _HIGH = -9, 1  # decades of the profile
_SIDE, _HEIGHT, _STEP = 260, 220, 9  # pixels
_WIDEST = 1400


class _Bar(NamedTuple):
    x: float
    error: float
    """Where its mark lies, from the top."""
    budget: float
    verdict: str
    title: str


def page(found: Verification) -> str:
    """The page; names in it are escaped."""
    return render(
        "verification.html",
        found=found,
        version=VERSION,
        rows=list(found.rows()),
        profile=_profile(found.layers or found.outputs),
        decades=[(10.0**d, _place(10.0**d)) for d in range(_LOW, _HIGH + 1, 2)],
        scatters=[_scatter(each) for each in found.points],
        picture=None if found.picture is None else _shown(found.picture),
        height=_HEIGHT,
        side=_SIDE,
    )


def _place(relative: float) -> float:
    """The height of a relative error, in pixels from the top."""
    decade = math.log10(relative) if relative > 0 else _LOW
    share = (min(max(decade, _LOW), _HIGH) - _LOW) / (_HIGH - _LOW)
    return round(_HEIGHT * (1 - share), 1)


def _profile(compared: Sequence[Compared]) -> dict[str, Any]:
    step = min(_STEP, _WIDEST / max(1, len(compared)))
    bars = [
        _Bar(
            round(60 + step * (i + 0.5), 1),
            _place(each.relative),
            _place(each.budget / each.largest if each.largest else each.budget),
            each.verdict,
            str(each),
        )
        for i, each in enumerate(compared)
    ]
    return {"bars": bars, "width": round(80 + step * len(compared)), "step": round(step * 0.4, 1)}


def _scatter(points: Points) -> dict[str, Any]:
    values = (*points.expected, *points.found)
    low, high = min(values), max(values)
    spread = (high - low) or 1.0

    def place(value: float) -> float:
        return round(10 + (_SIDE - 20) * (value - low) / spread, 1)

    pairs = [
        (place(x), round(_SIDE - place(y), 1))
        for x, y in zip(points.expected, points.found, strict=True)
    ]
    return {"blob": points.blob, "pairs": pairs, "low": f"{low:.3g}", "high": f"{high:.3g}"}


def _shown(picture: Picture) -> dict[str, Any]:
    def boxes(rows: Sequence[tuple[float, ...]]) -> Iterator[dict[str, Any]]:
        for kind, score, x1, y1, x2, y2 in rows:
            yield {
                "x": round(x1 * picture.width, 1), "y": round(y1 * picture.height, 1),
                "w": round((x2 - x1) * picture.width, 1), "h": round((y2 - y1) * picture.height, 1),
                "text": f"{kind:.0f}: {score:.2f}",
            }  # fmt: skip

    return {
        "image": base64.b64encode(_png(picture)).decode(),
        "width": picture.width,
        "height": picture.height,
        "expected": list(boxes(picture.expected)),
        "found": list(boxes(picture.found)),
    }


def _png(picture: Picture) -> bytes:
    """The pixels as a PNG file (RFC 2083), each line with filter 0."""
    row = 3 * picture.width
    lines = b"".join(
        b"\0" + picture.pixels[at : at + row] for at in range(0, row * picture.height, row)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
