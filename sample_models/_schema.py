"""The part of Caffe's layer schema that the sample models use, and its encoding.

Facts about Caffe's file format (field names, numbers, kinds), written down here a second time on
purpose: the sample models must not depend on the schema that they help to test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from _netfile import Message
from _wire import bytes_field, float_field, int_field, string_field

if TYPE_CHECKING:
    from collections.abc import Callable

# name, number, kind: int, float, bool, text, the values of an enum, or message with its fields
# indented below.
_FIELDS = """
loss_weight 5 float
param 6 message
  name 1 text
  lr_mult 3 float
  decay_mult 4 float
include 8 message
  phase 1 TRAIN=0 TEST=1
phase 10 TRAIN=0 TEST=1
propagate_down 11 bool
transform_param 100 message
  scale 1 float
  mirror 2 bool
  crop_size 3 int
  mean_value 5 float
  resize_param 8 message
    prob 1 float
    resize_mode 2 WARP=1 FIT_SMALL_SIZE=2 FIT_LARGE_SIZE_AND_PAD=3
    height 3 int
    width 4 int
    interp_mode 7 LINEAR=1 AREA=2 NEAREST=3 CUBIC=4 LANCZOS4=5
  emit_constraint 10 message
    emit_type 1 CENTER=0 MIN_OVERLAP=1
  distort_param 13 message
    brightness_prob 1 float
    brightness_delta 2 float
    contrast_prob 3 float
    contrast_lower 4 float
    contrast_upper 5 float
    hue_prob 6 float
    hue_delta 7 float
    saturation_prob 8 float
    saturation_lower 9 float
    saturation_upper 10 float
    random_order_prob 11 float
  expand_param 14 message
    prob 1 float
    max_expand_ratio 2 float
loss_param 101 message
  normalization 3 FULL=0 VALID=1 BATCH_SIZE=2 NONE=3
concat_param 104 message
  axis 2 int
convolution_param 106 message
  num_output 1 int
  bias_term 2 bool
  pad 3 int
  kernel_size 4 int
  group 5 int
  stride 6 int
  weight_filler 7 message
    type 1 text
  bias_filler 8 message
    type 1 text
    value 2 float
  engine 15 DEFAULT=0 CAFFE=1 CUDNN=2
data_param 107 message
  source 1 text
  batch_size 4 int
  backend 8 LEVELDB=0 LMDB=1
dropout_param 108 message
  dropout_ratio 1 float
inner_product_param 117 message
  num_output 1 int
  bias_term 2 bool
  weight_filler 3 message
    type 1 text
  bias_filler 4 message
    type 1 text
    value 2 float
pooling_param 121 message
  pool 1 MAX=0 AVE=1
  kernel_size 2 int
  stride 3 int
flatten_param 135 message
  axis 1 int
batch_norm_param 139 message
  eps 3 float
scale_param 142 message
  filler 3 message
    value 2 float
  bias_term 4 bool
  bias_filler 5 message
    value 2 float
annotated_data_param 200 message
  batch_sampler 1 message
    sampler 2 message
      min_scale 1 float
      max_scale 2 float
      min_aspect_ratio 3 float
      max_aspect_ratio 4 float
    sample_constraint 3 message
      min_jaccard_overlap 1 float
      max_jaccard_overlap 2 float
    max_sample 4 int
    max_trials 5 int
  label_map_file 2 text
multibox_loss_param 201 message
  loc_loss_type 1 L2=0 SMOOTH_L1=1
  conf_loss_type 2 SOFTMAX=0 LOGISTIC=1
  loc_weight 3 float
  num_classes 4 int
  share_location 5 bool
  match_type 6 BIPARTITE=0 PER_PREDICTION=1
  overlap_threshold 7 float
  use_prior_for_matching 8 bool
  background_label_id 9 int
  use_difficult_gt 10 bool
  neg_pos_ratio 12 float
  neg_overlap 13 float
  code_type 14 CORNER=1 CENTER_SIZE=2 CORNER_SIZE=3
  ignore_cross_boundary_bbox 18 bool
  mining_type 20 NONE=0 MAX_NEGATIVE=1 HARD_EXAMPLE=2
permute_param 202 message
  order 1 int
prior_box_param 203 message
  min_size 1 float
  max_size 2 float
  aspect_ratio 3 float
  flip 4 bool
  clip 5 bool
  variance 6 float
  offset 13 float
"""

_SCALARS: dict[str, Callable[[int, str], bytes]] = {
    "int": lambda number, text: int_field(number, int(text)),
    "float": lambda number, text: float_field(number, float(text)),
    "bool": lambda number, text: int_field(number, {"false": 0, "true": 1}[text]),
    "text": string_field,
}


@dataclass
class _Field:
    number: int
    kind: str
    values: dict[str, int] = field(default_factory=dict)
    fields: dict[str, _Field] = field(default_factory=dict)


def encode_layer_fields(message: Message) -> list[tuple[int, bytes]]:
    """Return (field number, wire bytes) of a layer's fields, in the order Caffe writes them.

    Name, type, bottom and top are left to the caller.
    """
    own = {"name", "type", "bottom", "top"}
    return _encode(Message([item for item in message.items if item[0] not in own]), _LAYER)


def _encode(message: Message, fields: dict[str, _Field]) -> list[tuple[int, bytes]]:
    """Encode `message`; protobuf writes fields by ascending number."""
    parts = [
        (fields[name].number, _encode_field(value, fields[name])) for name, value in message.items
    ]
    return sorted(parts, key=lambda part: part[0])


def _encode_field(value: str | Message, entry: _Field) -> bytes:
    if isinstance(value, Message):
        payload = b"".join(part for _, part in _encode(value, entry.fields))
        return bytes_field(entry.number, payload)
    if entry.kind == "enum":
        return int_field(entry.number, entry.values[value])
    return _SCALARS[entry.kind](entry.number, value)


def _read_fields(text: str) -> dict[str, _Field]:
    levels: list[dict[str, _Field]] = [{}]
    for line in text.strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, number, *kind = line.split()
        values = [item.split("=") for item in kind if "=" in item]
        entry = _Field(
            int(number),
            "enum" if values else kind[0],
            {value: int(code) for value, code in values},
        )
        levels[depth][name] = entry
        levels[depth + 1 :] = [entry.fields]
    return levels[0]


_LAYER = _read_fields(_FIELDS)
