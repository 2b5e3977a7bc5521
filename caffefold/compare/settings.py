"""What a layer is set to, so that two spellings of one setting are equal.

A setting is a path such as ``convolution_param.weight_filler.std`` and a value. By the schema:
numbers are read (``.1`` is ``0.10``), enums have their names, a value that is Caffe's default is
not there, ``kernel_h``/``kernel_w`` are ``kernel_size``. What the schema does not know is compared
as written. Order and layout of fields never count, except among values of a repeated field.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from caffefold.formats import declared, schema
from caffefold.formats.prototxt.tree import ListValue, Message, Scalar, unquote
from caffefold.ir.params import FALSE, TRUE, parse_float, parse_int
from caffefold.passes.deploy.strip import LAYER_FIELDS

Plain = bool | int | float | str
SettingValue = Plain | tuple[Plain, ...]
SettingMap = dict[str, SettingValue]

_LARGEST = 3.4028235e38  # as a 32-bit float
_WIRING = frozenset({"name", "type", "bottom", "top"})
# message -> (field for all axes, field for height, field for width, what counts when none is set);
# base_conv_layer.cpp, pooling_layer.cpp, prior_box_layer.cpp.
_Axes = tuple[str, str, str, int | None]
_WINDOW: tuple[_Axes, ...] = (
    ("kernel_size", "kernel_h", "kernel_w", None),
    ("stride", "stride_h", "stride_w", 1),
    ("pad", "pad_h", "pad_w", 0),
)
_SPATIAL: dict[str, tuple[_Axes, ...]] = {
    "convolution_param": (*_WINDOW, ("dilation", "", "", 1)),
    "pooling_param": _WINDOW,
    "prior_box_param": (("step", "step_h", "step_w", None), ("img_size", "img_h", "img_w", None)),
}


def settings(body: Message, kind: str) -> SettingMap:
    """All settings of a layer of type ``kind``; its name, type and wiring are not among them."""
    fields = Message(tuple(f for f in body.fields if f.name not in _WIRING))
    found: SettingMap = {}
    _flatten(fields, schema.message("LayerParameter"), "", found)
    for message, rules in _SPATIAL.items():
        if any(path.startswith(message) for path in found):
            for rule in rules:
                _join_axes(found, message, *rule)
    if kind == "BatchNorm":
        # Its statistics are never learned: the layer itself sets both to 0 (batch_norm_layer.cpp).
        for path in [p for p in found if p.startswith("param[") and p.endswith("_mult")]:
            del found[path]
    return found


def net_settings(fields: Message) -> SettingMap:
    """The settings of a net itself: its name and net-level switches, not its inputs."""
    kept = tuple(f for f in fields.fields if not f.name.startswith("input"))
    found: SettingMap = {}
    _flatten(Message(kept), schema.message("NetParameter"), "", found)
    return {path: value for path, value in found.items() if value != ""}


def is_training(path: str, value: SettingValue | None = None) -> bool:
    """Whether a setting only matters while training: rates, fillers, rules, transformations."""
    parts = path.split(".")
    root = parts[0].partition("[")[0]
    if root == "param":  # names say which layers share weights
        return parts[-1] not in ("name", "share_mode")
    if root in LAYER_FIELDS or any(p == "filler" or p.endswith("_filler") for p in parts):
        return True
    # `use_global_stats: true` is what TEST does anyway (batch_norm_layer.cpp).
    return path == "batch_norm_param.use_global_stats" and value is True


def training_kind(path: str) -> str:
    """What a training setting is called: ``param (lr_mult, decay_mult)``, ``weight_filler``."""
    parts = path.split(".")
    root = parts[0].partition("[")[0]
    if root == "param":
        return f"param {parts[-1]}"
    filler = next((p for p in parts if p == "filler" or p.endswith("_filler")), "")
    return filler or ("use_global_stats: true" if root == "batch_norm_param" else root)


def shown(value: SettingValue | None) -> str:
    """A value for people: ``3``, ``true``, ``1x3``, ``[1, 2]``, ``unset`` for none."""
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        return "[" + ", ".join(shown(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.9g}" if isinstance(value, float) else str(value) or '""'


def default_of(path: str) -> SettingValue | None:
    """The value that Caffe takes where ``path`` is not set; None where that is no one value."""
    message, _, name = path.rpartition(".")
    for both, _, _, default in _SPATIAL.get(message, ()):
        if name == both:
            return default
    descriptor: declared.Message | None = schema.message("LayerParameter")
    for part in message.split(".") if message else ():
        known = descriptor.fields_by_name.get(part.partition("[")[0]) if descriptor else None
        descriptor = known.message_type if known is not None else None
    known = descriptor.fields_by_name.get(name) if descriptor is not None else None
    return _default(known) if known is not None and known.has_default_value else None


# -------------------------------------------------------------------------------- internals


def _flatten(
    message: Message, descriptor: declared.Message | None, prefix: str, out: SettingMap
) -> None:
    by_name: dict[str, list[Scalar | Message]] = {}
    for field in message.fields:
        values = by_name.setdefault(field.name, [])
        value = field.value
        values.extend(value.items if isinstance(value, ListValue) else (value,))
    for name, values in by_name.items():
        known = descriptor.fields_by_name.get(name) if descriptor is not None else None
        path = prefix + name
        messages = [value for value in values if isinstance(value, Message)]
        if messages:
            _flatten_messages(messages, known, path, out)
        scalars = [_value(v.raw, known) for v in values if isinstance(v, Scalar)]
        if scalars:
            _put(scalars, known, path, out)


def _flatten_messages(
    messages: list[Message], known: declared.Field | None, path: str, out: SettingMap
) -> None:
    inner = known.message_type if known is not None else None
    repeated = len(messages) > 1 if known is None else isinstance(known.default_value, list)
    if not repeated:
        _flatten(messages[-1], inner, path + ".", out)
        return
    for index, message in enumerate(messages):
        place = f"{path}[{index}]"
        before = len(out)
        _flatten(message, inner, place + ".", out)
        if len(out) == before and path != "param":
            out[place] = "{}"  # how many there are may count


def _put(scalars: list[Plain], known: declared.Field | None, path: str, out: SettingMap) -> None:
    if known is None or isinstance(known.default_value, list):
        out[path] = scalars[0] if len(scalars) == 1 else tuple(scalars)
    elif not known.has_default_value or scalars[-1] != _default(known):
        out[path] = scalars[-1]  # of a singular field the last one counts


@lru_cache(maxsize=4096)
def _default(known: declared.Field) -> Plain:
    if known.enum_type is not None:
        return str(known.enum_type.values_by_number[known.default_value].name)
    default = known.default_value
    plain: Plain = _short(default) if isinstance(default, float) else default
    return plain


@lru_cache(maxsize=1 << 15)
def _value(raw: str, known: declared.Field | None) -> Plain:
    """The value of a token; the token itself where it is none of its type (a placeholder)."""
    word = unquote(raw)
    if known is None:
        return _guess(raw)
    if known.enum_type is not None:
        if word.isdecimal() and int(word) in known.enum_type.values_by_number:
            return str(known.enum_type.values_by_number[int(word)].name)
        return word
    if known.cpp_type == declared.STRING:
        return word
    if known.cpp_type == declared.BOOL:
        return raw in TRUE if raw in TRUE or raw in FALSE else word
    number: Any
    if known.cpp_type in declared.FLOATS:
        number = parse_float(raw)
        return word if number is None else _short(number)
    number = parse_int(raw)
    return word if number is None else int(number)


def _guess(raw: str) -> Plain:
    """A value of a field that the schema does not know."""
    if raw[:1] in ("'", '"'):
        return unquote(raw)
    if raw in ("true", "True", "false", "False"):
        return raw in TRUE
    number = parse_int(raw)
    if number is not None:
        return number
    real = parse_float(raw)
    return raw if real is None or math.isnan(real) else _short(real)


def _short(number: float) -> float:
    """The shortest decimal that is the same 32-bit float, as Caffe holds it."""
    if abs(number) > _LARGEST:
        return math.copysign(math.inf, number)
    return float(str(np.float32(number)))


def _join_axes(
    out: SettingMap, message: str, both: str, high: str, wide: str, default: int | None
) -> None:
    path = f"{message}.{both}"
    one, two = f"{message}.{high}", f"{message}.{wide}"
    if one in out or two in out:
        first, second = out.pop(one, 0), out.pop(two, 0)
        if not isinstance(first, tuple) and not isinstance(second, tuple):
            out[path] = (first, second)
    value = out.get(path)
    if isinstance(value, tuple) and len(set(value)) == 1:
        out[path] = value = value[0]
    if value is not None and value == default and value is not False:
        del out[path]
