"""The generated schema is found by message and by a layer's parameter field."""

from __future__ import annotations

import subprocess
import sys

import pytest

from caffefold.formats import schema
from caffefold.formats.schema import OURS


def test_messages_by_name() -> None:
    assert schema.message("LayerParameter").fields_by_name["blobs"].number == 7
    assert schema.message("LayerParameter") is schema.message("LayerParameter")


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("convolution_param", "ConvolutionParameter"),
        ("batch_norm_param", "BatchNormParameter"),
        ("param", "ParamSpec"),
        ("multibox_loss_param", "MultiBoxLossParameter"),
    ],
)
def test_parameter_messages_by_field(field: str, name: str) -> None:
    assert OURS.parameter(field).name == name


def test_what_the_schema_does_not_have() -> None:
    with pytest.raises(KeyError):
        schema.message("NoSuchParameter")
    with pytest.raises(KeyError):
        OURS.parameter("no_such_param")
    with pytest.raises(KeyError):
        OURS.parameter("name")


def test_protobuf_is_imported_when_it_is_needed() -> None:
    """``caffefold --help`` starts fast."""
    code = "import sys, caffefold.formats.schema; print('google.protobuf' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
