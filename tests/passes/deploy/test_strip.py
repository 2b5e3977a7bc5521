"""Train-only parameters go; what shares weights, and what somebody wrote beside it, stays."""

from __future__ import annotations

import pytest

from caffefold.formats.prototxt.parse import parse
from caffefold.ir.net import Net
from caffefold.passes.deploy.strip import Strip


def stripped(text: str) -> str:
    return str(Strip().run(Net.of(parse(text))).net.to_document())


def body(fields: str, kind: str = "Convolution") -> str:
    return f'layer {{\n  name: "x"\n  type: "{kind}"\n{fields}}}\n'


@pytest.mark.parametrize(
    "field",
    [
        "param {\n    lr_mult: 1\n  }",
        "propagate_down: true",
        "loss_weight: 0.5",
        "include {\n    phase: TEST\n  }",
        "phase: TRAIN",
        "backward_type: FLOAT16",
        "transform_param {\n    scale: 2\n  }",
        "convolution_param {\n    weight_filler {\n      type: 'xavier'\n    }\n  }",
        "batch_norm_param {\n    use_global_stats: true\n    moving_average_fraction: 0.9\n  }",
    ],
)
def test_it_goes_without_a_trace(field: str) -> None:
    kind = "BatchNorm" if "batch_norm" in field else "Convolution"
    assert stripped(body(f"  {field}\n", kind)) == body("", kind)


@pytest.mark.parametrize(
    "field",
    [
        "engine: CAFFE",
        'param {\n    name: "w"\n    share_mode: PERMISSIVE\n  }',
        "batch_norm_param {\n    eps: 0.001\n  }",
        "fork_param {\n    depth: 3\n  }",
    ],
)
def test_it_stays(field: str) -> None:
    assert stripped(body(f"  {field}\n", "BatchNorm")) == body(f"  {field}\n", "BatchNorm")


def test_a_named_param_keeps_its_place() -> None:
    text = body('  param {\n    lr_mult: 1\n  }\n  param {\n    name: "b"\n    lr_mult: 2\n  }\n')
    assert stripped(text) == body('  param {\n  }\n  param {\n    name: "b"\n  }\n')


def test_net_fields() -> None:
    text = 'name: "n"\nforce_backward: true\nstate {\n  phase: TRAIN\n}\n' + body("")
    assert stripped(text) == 'name: "n"\n' + body("")
