"""Weights that serve several layers: which they are, and how a layer gets its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from caffefold.formats.prototxt.tree import drop
from caffefold.ir.net import Layer


def shared_weights(layers: tuple[Layer, ...]) -> dict[str, str]:
    """Layer name -> why its weights also serve another layer (net.cpp: ParamSpec.name)."""
    owners: dict[str, list[str]] = {}
    for layer in layers:
        for field in layer.body.fields:
            if field.name == "param" and field.body.string("name"):
                owners.setdefault(field.body.string("name"), []).append(layer.name)
    found: dict[str, str] = {}
    for param, names in owners.items():
        if len(names) > 1:
            for name in names:
                found.setdefault(name, f"the weights of '{name}' are shared as param '{param}'")
    for name, times in Counter(layer.name for layer in layers if layer.blobs).items():
        if times > 1:
            found.setdefault(name, f"{times} layers are called '{name}' and share its weights")
    return found


def unshared(layer: Layer) -> Layer:
    """The layer without the param names that tie its weights to others; it has its own copy."""
    kept = drop(layer.body.fields, lambda f: f.name == "param" and bool(f.body.string("name")))
    return layer.edited(replace(layer.body, fields=kept)) if kept != layer.body.fields else layer
