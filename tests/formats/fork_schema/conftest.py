"""Fixtures: fork schemas compiled from text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from caffefold.formats.fork_schema import compile_schema
from caffefold.formats.schema import Schema

Compile: TypeAlias = Callable[..., Schema]

FORK = """\
syntax = "proto2";
package caffe;
message NetParameter { optional string name = 1; repeated LayerParameter layer = 100; }
message LayerParameter {
  optional string name = 1;
  optional string type = 2;
  optional ConvolutionParameter convolution_param = 106;
  optional BatchNormParameter batch_norm_param = 139;
  optional PoolingParameter pooling_param = 121;
  optional ShinyParameter shiny_param = 901;
  optional int32 power_param = 122;
}
message ConvolutionParameter {
  repeated uint32 num_output = 1;
  optional uint32 group = 5 [default = 2];
  optional uint32 kernel_size = 4;
}
message BatchNormParameter { optional float eps = 3 [default = 1e-3]; }
message PoolingParameter {
  enum PoolMethod { MAX = 0; AVE = 1; STOCHASTIC = 2; SUM = 7; }
  optional PoolMethod pool = 1 [default = SUM];
  optional string kernel_size = 2;
}
message ShinyParameter {
  optional float gloss = 1 [default = 0.5];
  optional ShinyInner inner = 2;
}
message ShinyInner { optional bool on = 1 [default = true]; }
"""


@pytest.fixture
def fork_file(tmp_path: Path) -> Path:
    """A fork's caffe.proto."""
    path = tmp_path / "fork.proto"
    path.write_text(FORK)
    return path


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """Compiles a schema given as text, and further files by name."""
    pytest.importorskip("grpc_tools")

    def compile_text(text: str = FORK, **imports: str) -> Schema:
        path = tmp_path / "fork.proto"
        path.write_text(text)
        for name, content in imports.items():
            (tmp_path / f"{name}.proto").write_text(content)
        return compile_schema(path)

    return compile_text
