"""Make a VGG-16 with BatchNorm: a training prototxt and a snapshot of 553 MB, the same every time.

    python sample_models/vgg16_bn/make_model.py OUT_PREFIX [--scale 1.0] [--seed 1]

writes OUT_PREFIX.prototxt and OUT_PREFIX.caffemodel. `--scale 0.25` makes every layer but the
last a quarter as wide. BatchNorm and Scale stand in place after every convolution and after fc6
and fc7. The weights are random, not trained. Needs caffefold, for its protobuf bindings, and
little memory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _snapshot import write_snapshot

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
HIDDEN, CLASSES, CROP = 4096, 1000, 224

DATA = """\
layer {{
  name: "data"
  type: "Data"
  top: "data"
  top: "label"
  include {{
    phase: {phase}
  }}
  transform_param {{
    mirror: {mirror}
    crop_size: {crop}
    mean_value: 103.939
    mean_value: 116.779
    mean_value: 123.68
  }}
  data_param {{
    source: "{source}"
    batch_size: {batch}
    backend: LMDB
  }}
}}
"""
RATES = """\
  param {
    lr_mult: 1
    decay_mult: 1
  }
  param {
    lr_mult: 2
    decay_mult: 0
  }
"""
CONVOLUTION = """\
layer {{
  name: "{name}"
  type: "Convolution"
  bottom: "{bottom}"
  top: "{name}"
{rates}  convolution_param {{
    num_output: {outputs}
    pad: 1
    kernel_size: 3
    weight_filler {{
      type: "msra"
    }}
  }}
}}
"""
INNER_PRODUCT = """\
layer {{
  name: "{name}"
  type: "InnerProduct"
  bottom: "{bottom}"
  top: "{name}"
{rates}  inner_product_param {{
    num_output: {outputs}
    weight_filler {{
      type: "msra"
    }}
  }}
}}
"""
NORMALISED = """\
layer {{
  name: "bn{suffix}"
  type: "BatchNorm"
  bottom: "{blob}"
  top: "{blob}"
  param {{
    lr_mult: 0
  }}
  param {{
    lr_mult: 0
  }}
  param {{
    lr_mult: 0
  }}
}}
layer {{
  name: "scale{suffix}"
  type: "Scale"
  bottom: "{blob}"
  top: "{blob}"
  scale_param {{
    bias_term: true
  }}
}}
layer {{
  name: "relu{suffix}"
  type: "ReLU"
  bottom: "{blob}"
  top: "{blob}"
}}
"""
POOLING = """\
layer {{
  name: "pool{stage}"
  type: "Pooling"
  bottom: "{bottom}"
  top: "pool{stage}"
  pooling_param {{
    pool: MAX
    kernel_size: 2
    stride: 2
  }}
}}
"""
DROPOUT = """\
layer {{
  name: "drop{suffix}"
  type: "Dropout"
  bottom: "{blob}"
  top: "{blob}"
  dropout_param {{
    dropout_ratio: 0.5
  }}
}}
"""
END = """\
layer {
  name: "accuracy"
  type: "Accuracy"
  bottom: "fc8"
  bottom: "label"
  top: "accuracy"
  include {
    phase: TEST
  }
}
layer {
  name: "loss"
  type: "SoftmaxWithLoss"
  bottom: "fc8"
  bottom: "label"
  top: "loss"
}
"""


def prototxt(scale: float) -> str:
    """Return the training net with every layer but the last `scale` times as wide."""
    parts = [f'name: "VGG16-BN"\n{_data("TRAIN", 32)}{_data("TEST", 10)}']
    blob = "data"
    for stage, (channels, count) in enumerate(STAGES, 1):
        for number in range(1, count + 1):
            suffix = f"{stage}_{number}"
            name, outputs = f"conv{suffix}", _scaled(channels, scale)
            parts.append(CONVOLUTION.format(name=name, bottom=blob, outputs=outputs, rates=RATES))
            parts.append(NORMALISED.format(suffix=suffix, blob=name))
            blob = name
        parts.append(POOLING.format(stage=stage, bottom=blob))
        blob = f"pool{stage}"
    for suffix in ("6", "7"):
        name, outputs = f"fc{suffix}", _scaled(HIDDEN, scale)
        parts.append(INNER_PRODUCT.format(name=name, bottom=blob, outputs=outputs, rates=RATES))
        parts.append(NORMALISED.format(suffix=suffix, blob=name))
        parts.append(DROPOUT.format(suffix=suffix, blob=name))
        blob = name
    parts.append(INNER_PRODUCT.format(name="fc8", bottom=blob, outputs=CLASSES, rates=RATES))
    return "".join(parts) + END


def _data(phase: str, batch: int) -> str:
    mirror = "true" if phase == "TRAIN" else "false"
    source = f"ilsvrc12_{phase.lower()}_lmdb"
    return DATA.format(phase=phase, mirror=mirror, source=source, batch=batch, crop=CROP)


def _scaled(width: int, scale: float) -> int:
    """Return a scaled width: a multiple of 8, at least 8."""
    return max(8, round(width * scale / 8) * 8)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prefix", metavar="OUT_PREFIX", help="where to write, without the endings")
    parser.add_argument("--scale", type=float, default=1.0, help="width (default 1.0)")
    parser.add_argument("--seed", type=int, default=1, help="default 1")
    arguments = parser.parse_args()
    text = prototxt(arguments.scale)
    weights = Path(f"{arguments.prefix}.caffemodel")
    weights.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{arguments.prefix}.prototxt").write_text(text, encoding="utf-8")
    write_snapshot(weights, text, arguments.seed)
    sys.stderr.write(f"{weights}: {weights.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
