"""Layers that make blobs out of nothing: constants of the model."""

from __future__ import annotations

import numpy as np

from caffefold.onnx_export.site import Site
from caffefold.ops.source import DummyData, Given


def dummy_data(site: Site) -> None:
    """Constants; a random filler has no numbers to export."""
    own, layer = site.op, site.layer
    assert isinstance(own, DummyData)
    for top, (shape, number) in enumerate(zip(own.dims(layer), own.constants(layer), strict=True)):
        if number is None:
            raise site.error("its filler is random; use an Input layer, or a constant")
        site.afford(*shape)
        site.add("Identity", site.const(np.full(shape, number), "value"), top=top)


def parameter(site: Site) -> None:
    """The learned blob itself."""
    own = site.op
    assert isinstance(own, Given)
    shape = own.dims(site.layer)[0]
    site.add("Identity", site.weight(0, shape, "weights"), top=0)
