"""Python layers that are told the phase in their parameters run in TEST.

Given   python_param { layer: "SpatialDropoutLayer" param_str: "{'phase': 'TRAIN', 'p': '0.01'}" }
Result  param_str: "{'phase': 'TEST', 'p': '0.01'}"

Caffe hands ``param_str`` on unread (python_layer.hpp); a layer that finds TRAIN there trains
wherever it runs. What else stands there stays as it is written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from caffefold.formats.prototxt.tree import Field, with_scalars
from caffefold.frozen import dataclass
from caffefold.ir.net import Layer, Net
from caffefold.ops.loss import PYTHON
from caffefold.ops.table import op
from caffefold.passes.infra import Change, ChangeKind, Pass, PassResult


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PythonPhase(Pass):
    """Set the phase that a ``param_str`` names to TEST."""

    name: ClassVar = "python"

    def run(self, net: Net) -> PassResult:
        """Change the word; a layer that names no phase, or TEST, keeps its text."""
        new: dict[int, tuple[Layer, ...]] = {}
        changes = []
        for position, layer in enumerate(net.layers):
            if op(layer) is PYTHON:
                fields = tuple(map(_tested, layer.body.fields))
                tested = layer.edited(replace(layer.body, fields=fields))
                if fields != layer.body.fields:
                    new[position] = (tested,)
                    detail = "param_str says phase TRAIN; TEST in the deploy net"
                    changes.append(Change(ChangeKind.PHASE_SET, (), (layer.name,), detail))
        return PassResult(net.substitute(new) if new else net, tuple(changes))


def _tested(field: Field) -> Field:
    """A field of a Python layer, with the phase TEST in ``python_param { param_str }``."""
    if field.name == "param_str":
        return with_scalars(field, PYTHON.tested)
    if field.name == PYTHON.param:
        inner = tuple(map(_tested, field.body.fields))
        same = inner == field.body.fields
        return field if same else field.with_body(replace(field.body, fields=inner))
    return field
