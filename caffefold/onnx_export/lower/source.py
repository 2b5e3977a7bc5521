"""Layers that make blobs out of nothing: constants of the model."""

from __future__ import annotations

import numpy as np

from caffefold.onnx_export.site import Site
from caffefold.ops.source import DummyData, Given


def dummy_data(site: Site) -> None:
    """Constants; a random filler has no numbers to export."""
    own, layer = site.op, site.layer
    assert isinstance(own, DummyData)
    if not own.constant(layer):
        raise site.error("its filler is random; use an Input layer, or a constant")
    fillers = site.params.messages("data_filler")
    for top, shape in enumerate(own.dims(layer)):
        filler = fillers[top if len(fillers) > 1 else 0] if fillers else None
        number = filler.number("value") if filler is not None else 0.0
        site.add("Identity", site.const(np.full(shape, number), "value"), top=top)


def parameter(site: Site) -> None:
    """The learned blob itself."""
    own = site.op
    assert isinstance(own, Given)
    shape = own.dims(site.layer)[0]
    site.add("Identity", site.weight(0, shape, "weights"), top=0)
