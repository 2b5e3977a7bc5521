"""Every option of a conversion, defined once.

From the fields of these classes derive the keyword arguments of ``convert``, ``to_deploy`` and
``fold`` (``takes``), the options of the command line (cli/options.py) and the keys of a
``zoo.toml``. A new option is one field here and the code that uses it. Values are checked when an
object is made, so that no other module has to.
"""


# No ``from __future__ import annotations``: types are read while the program runs.

import operator
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any, ClassVar, Literal, TypeVar

from caffefold.errors import Option, UsageError
from caffefold.frozen import dataclass

PathLike = str | os.PathLike[str]
Dtype = Literal["fp32", "fp16"]
TargetName = Literal[
    "", "amct", "armnn", "atc", "caffe", "caffe2onnx", "horizon", "mnn", "ncnn", "opencv",
    "openvino", "ppq", "rknn", "snpe", "tidl", "tpu-mlir", "vitis",
]  # fmt: skip
Standalone = Literal["", "scale", "conv", "bn"]
Directions = Literal["all", "output", "none"]
ALL = "*"
"""In ``heads``: every loss."""
_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])


def _option(
    default: Any,
    text: str,
    *,
    flag: str = "",
    metavar: str | None = None,
    least: float | None = None,
    most: float | None = None,
    key: str = "",
    heading: str = "",
    alias: str = "",
) -> Any:
    """A field with its documentation.

    ``flag``, ``alias`` and ``metavar`` are how the command line spells it, by default by its name;
    ``least`` and ``most`` bound every number in it; ``key`` stands for the key that a bare string
    lacks. ``heading`` is what it stands under in a help page, if not that of its class.
    """
    about = {
        "help": text, "flag": flag, "metavar": metavar, "least": least, "most": most, "key": key,
        "heading": heading, "alias": alias,
    }  # fmt: skip
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=about)
    return field(default=default, metadata=about)


class _Checked:
    """Checks its fields: a value has the type of its field when it can be read as one."""

    heading: ClassVar[str] = ""
    """Over its options in a help page."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if value is not each.default:
                object.__setattr__(self, each.name, _value(each, value))

    def __repr__(self) -> str:
        """``ConvertOptions(classes=21, keep=('fc*',))``: what is not the default."""
        given = [
            f"{each.name}={value!r}"
            for each in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, each.name)) != each.default and value != {}
        ]
        return f"{type(self).__name__}({', '.join(given)})"


@dataclass(frozen=True, repr=False)
class DetectionOptions(_Checked):
    """Thresholds of a detection layer, which no training net knows; MobileNet-SSD's values."""

    heading = "Detection layer that replaces a MultiBoxLoss"

    nms_threshold: float = _option(
        0.45, "Overlap above which the box of lower confidence is suppressed.",
        metavar="X", least=0, most=1,
    )  # fmt: skip
    top_k: int = _option(
        100, "Boxes per class that enter the suppression; -1: all.", metavar="N", least=-1
    )
    keep_top_k: int = _option(100, "Boxes per image that are kept; -1: all.", metavar="N", least=-1)
    confidence_threshold: float = _option(
        0.25, "Confidence below which a box is dropped.", metavar="X", least=0, most=1
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class ViewOptions(_Checked):
    """Which concrete net a prototxt stands for: placeholders, input shapes, phase."""

    heading = "How the prototxt is read"

    classes: int | None = _option(
        None, "Number of classes for cls1x, cls3x ... placeholders; must agree with the weights.",
        metavar="N", least=1,
    )  # fmt: skip
    values: Mapping[str, str] = _option(
        {}, "Value of a ${NAME}, @NAME@ or {{NAME}} placeholder.",
        flag="--set", metavar="NAME=VALUE",
    )  # fmt: skip
    input_shapes: Mapping[str, tuple[int, ...]] = _option(
        {}, "Shape of an input, overriding the net's own.",
        flag="--input-shape", metavar="BLOB=N,C,H,W", least=1,
    )  # fmt: skip
    phase: Literal["TEST", "TRAIN"] = _option(
        "TEST", "Phase that include and exclude rules are matched against."
    )
    level: int = _option(0, "Level that these rules are matched against.", metavar="N")
    stages: Sequence[str] = _option(
        (), "Stage to enable when these rules are matched.", flag="--stage", metavar="NAME"
    )
    allow_unknown: bool = _option(
        False, "Accept unknown fields and layer types, even those that look like typos."
    )
    strict: bool = _option(False, "Refuse every unknown field, layer type and enum value.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.allow_unknown and self.strict:
            raise UsageError(Option("strict"), " contradicts ", Option("allow_unknown"))


@dataclass(frozen=True, kw_only=True, repr=False)
class DeployOptions(ViewOptions):
    """How a training net becomes a deploy net: also its inputs, heads and outputs."""

    heading = "Inputs, heads and outputs of the deploy net"

    batch: int | None = _option(
        None, "Batch size, the first axis of the inputs; 1 by default.", metavar="N", least=1
    )
    input_style: Literal["", "layer", "legacy"] = _option(
        "",
        "Write inputs as Input layers, or as input: and input_shape fields (legacy). By default "
        "only inputs made from data layers become Input layers.",
    )
    heads: Mapping[str, str] = _option(
        {}, "What replaces a loss: Softmax, Sigmoid, ArgMax, none (its prediction), "
        "Yolov3DetectionOutput, YoloDetectionOutput. Applies to every loss unless one is named.",
        flag="--head", metavar="[LAYER=]TYPE", key=ALL,
    )  # fmt: skip
    bypass: Sequence[str] = _option(
        (), "Drop this layer, which passes its input on unchanged at test time: what read its "
        "output reads its input.",
        metavar="LAYER",
    )  # fmt: skip
    prob_name: str = _option(
        "", "Name of the probability layer and its blob, instead of prob.", metavar="NAME"
    )
    outputs: Sequence[str] = _option(
        (), "Make this blob an output: keep what it is computed from, and drop the rest.",
        flag="--output", metavar="BLOB",
    )  # fmt: skip
    detection: DetectionOptions | None = _option(
        None, "Thresholds of the DetectionOutput that replaces a MultiBoxLoss."
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class KeepOptions(_Checked):
    """Which layers stay as they are."""

    heading = "Folding"

    keep: Sequence[str] = _option(
        (), "Leave layers whose names match this pattern as they are.", metavar="GLOB"
    )

    def keeps(self, name: str) -> bool:
        """Whether the layer ``name`` is left alone."""
        from fnmatch import fnmatchcase

        return any(fnmatchcase(name, pattern) for pattern in self.keep)


@dataclass(frozen=True, kw_only=True, repr=False)
class FoldOptions(KeepOptions):
    """What folding may do."""

    fold: Directions = _option(
        "all",
        "Where affine layers may be folded: anywhere exact (all), only into the preceding layer "
        "(output), or nowhere (none; Dropout is kept as well).",
    )
    collapse: bool = _option(
        True, "Merge affine layers that no linear layer can absorb into one Scale, or leave them."
    )
    unshare: bool = _option(
        False, "Give layers that share weights their own copies, so that they can absorb others."
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class SlimOptions(KeepOptions):
    """Which channels slimming takes out; by default those that do nothing."""

    heading = "Slimming"

    threshold: float | None = _option(
        None, "Remove channels whose |gamma| is at most T. Approximate: fine-tune the result.",
        metavar="T", least=0,
    )  # fmt: skip
    ratio: float | None = _option(
        None, "Remove this share of all channels, those of the smallest |gamma|. Approximate.",
        metavar="R", least=0, most=1,
    )  # fmt: skip
    layers: Mapping[str, float] = _option(
        {}, "Remove this share of the channels of each of these layers. Approximate.",
        flag="--layer", metavar="GLOB=R", least=0, most=1,
    )  # fmt: skip
    multiple: int = _option(
        1, "Leave layers a number of outputs that is a multiple of N, or all of them.",
        metavar="N", least=1,
    )  # fmt: skip
    approximate: bool = _option(
        False,
        "Also remove channels that are constant, but not at padded borders, and those whose "
        "|gamma| is below 1e-6 without a proof.",
    )

    @property
    def by_size(self) -> bool:
        """Whether channels go that do something."""
        return self.threshold is not None or self.ratio is not None or bool(self.layers)


@dataclass(frozen=True, kw_only=True, repr=False)
class TargetOptions(_Checked):
    """The forms that a consumer of the result takes."""

    heading = "What the consumer of the pair accepts"

    target: TargetName = _option(
        "",
        "Write what this consumer accepts, and refuse what it is known to reject; "
        "`caffefold targets` lists them.",
        metavar="NAME",
    )
    standalone: Standalone = _option(
        "",
        "How affine layers are written that no linear layer absorbs: as Scale, as a 1x1 depthwise "
        "Convolution, or as BatchNorm + Scale, unchanged.",
    )
    plain_types: bool = _option(
        False,
        "Write depthwise types of forks as Convolution with group, InnerProduct without transpose, "
        "and one Input layer per input.",
    )
    drop_fork_fields: bool = _option(
        False, "Drop fields that BVLC Caffe and its SSD branch do not know."
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class SaveOptions(_Checked):
    """How a net is written."""

    heading = "Weights"

    dtype: Dtype = _option(
        "fp32",
        "What weights are stored as, rounded once after the fold; fp16 is NVCaffe's half "
        "precision, which OpenCV reads too.",
    )
    keep_records: bool = _option(
        False, "Keep weights of layers that are not in the prototxt; by default they are dropped."
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class ConvertOptions(SaveOptions, TargetOptions, FoldOptions, DeployOptions):
    """All options of a conversion."""

    heading = "How the prototxt is read"

    slim: bool = _option(
        False, "First remove channels that do nothing: those that are constant.", heading="Slimming"
    )
    proto: PathLike | None = _option(
        None, "A fork's caffe.proto: its fields and defaults apply (needs grpcio-tools).",
        metavar="FILE",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class ExportOptions(FoldOptions, DeployOptions):
    """All options of an export to ONNX; the net is made and folded as in a conversion."""

    heading = "The ONNX model"

    batch: int | Literal["dynamic"] | None = _option(  # type: ignore[assignment]
        None, "Batch size, the first axis of the inputs; dynamic: any number of items. "
        "By default that of the net.",
        metavar="N|dynamic", least=1,
    )  # fmt: skip
    opset: int = _option(13, "Version of ONNX's operators.", metavar="N", least=13, most=22)
    weights_in: Literal["", "onnx", "data", "caffemodel"] = _option(
        "",
        "Where weights go: into the model (onnx; the default up to 2 GB), into FILE.data beside it "
        "(data), or nowhere: the model refers to the CAFFEMODEL, which must lie beside it.",
    )
    nms: Literal["inside", "outside"] = _option(
        "inside",
        "Whether the model gives detections (inside), or boxes and scores for runtimes that "
        "suppress boxes themselves (outside).",
    )
    target: Literal["ort", "opencv5", "openvino", "tensorrt"] = _option(
        "ort", "Refuse what this runtime is known not to run; ort: onnxruntime."
    )
    raw_input: bool = _option(
        False,
        "Make a model that takes images as they are: uint8 RGB of N,H,W,C. Channel order, mean "
        "and scale, as the training net states them, become part of it.",
    )
    labels: PathLike | None = _option(
        None, "Names of the classes, kept in the model's metadata: a labelmap, or a line each.",
        metavar="FILE",
    )  # fmt: skip
    dtype: Dtype = _option(
        "fp32", "What weights are stored as; runtimes compute in float32 in any case."
    )
    allow_custom: bool = _option(
        False, "Keep layers that ONNX has nothing for as custom nodes of the domain 'caffe'."
    )
    check: bool | None = _option(
        None,
        "Run the model and compare every blob with an independent evaluation of the net; by "
        "default where onnx and onnxruntime are installed.",
    )
    proto: PathLike | None = _option(
        None, "A fork's caffe.proto: its fields and defaults apply (needs grpcio-tools).",
        metavar="FILE", heading="How the prototxt is read",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class FeedOptions(_Checked):
    """What nets are run on, and how images become numbers."""

    heading = "What is run, on what"

    inputs: Sequence[PathLike] = _option(
        (),
        "Feed images (a file, a folder, a pattern), .npy or .npz, instead of random numbers. "
        "uint8 images are preprocessed as the training net states.",
        flag="--input", alias="--images", metavar="PATH",
    )  # fmt: skip
    mean: Sequence[float] = _option(
        (), "Mean of the images, in the channel order of the net: one number for each channel, or "
        "one for all.",
        metavar="B,G,R",
    )  # fmt: skip
    scale: float | None = _option(None, "Factor of the images, after the mean.", metavar="X")
    channel_order: Literal["", "BGR", "RGB"] = _option(
        "", "Channel order that the net reads colour images in; Caffe's is BGR."
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class SlimNetOptions(SlimOptions, FeedOptions, DeployOptions):
    """All options of slimming a net in memory."""

    heading = "Slimming"

    keep_training: bool = _option(
        False, "Keep the training net, to be fine-tuned; by default it becomes a deploy net."
    )
    inputs: Sequence[PathLike] = _option(
        (),
        "Compare both nets on images (a file, a folder, a pattern), .npy or .npz as well. uint8 "
        "images are preprocessed as the training net states.",
        flag="--input", metavar="PATH", heading="What is run, on what",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class SlimPairOptions(SlimNetOptions, ConvertOptions):
    """All options of slimming a pair of files, which is folded as in a conversion."""

    slim: bool = _option(
        True, "Remove channels; by default those that do nothing.", heading="Slimming"
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class VerifyOptions(FeedOptions, DeployOptions):
    """All options of a verification; the first net is made a deploy net as in a conversion."""

    heading = "What is run, on what"

    labels: PathLike | None = _option(
        None, "What is in the images: lines IMAGE CLASS, or IMAGE CLASS X1 Y1 X2 Y2 an object; the "
        "accuracy, or the mAP, of both is told. An array 'labels' in .npz says the same.",
        metavar="FILE",
    )  # fmt: skip
    dataset: PathLike | None = _option(
        None, "Feed a data set, and tell the accuracy, or the mAP, of both: an LMDB, HDF5, a list "
        "of images, a folder for each class; stated: where the training net says.",
        metavar="PATH",
    )  # fmt: skip
    samples: int | None = _option(
        None, "Take the first N items of --input or --dataset; by default all.",
        metavar="N", least=1,
    )  # fmt: skip
    batches: int | None = _option(
        None, "Batches that are compared: 2 of random input by default, the first 32 of others. "
        "The accuracy is that of all.",
        metavar="N", least=1,
    )  # fmt: skip
    seed: int = _option(1, "Seed of the random input.", metavar="N", least=0)
    runtime: Mapping[str, str] = _option(
        {}, "What runs the nets: onnxruntime (default), opencv (4), opencv5, pycaffe, or reference "
        "(float64). For both, or for one: before=NAME, after=NAME.",
        flag="--runtime", metavar="[SIDE=]NAME", key=ALL,
    )  # fmt: skip
    layers: bool = _option(False, "Compare every blob that both nets share, not outputs alone.")
    time: bool = _option(False, "Measure the forward time of both, in turn.")
    proto: PathLike | None = _option(
        None, "A fork's caffe.proto: its fields and defaults apply (needs grpcio-tools).",
        metavar="FILE", heading="How the prototxt is read",
    )  # fmt: skip


# ------------------------------------------------------------------------- tables of options


def read(kind: Callable[..., _T], table: Mapping[str, Any], where: str) -> _T:
    """The options that ``table`` (of JSON or TOML) spells out.

    Raises:
        UsageError: an unknown name or a wrong value; ``where`` it stands is named.
    """
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    for name in table:
        if name not in known:
            raise UsageError(f"{where}: no option '{name}'; choose from {', '.join(known)}")
    try:
        return kind(**table)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON and TOML have them; those that are None are left out."""
    return {name: _plain(value) for name, value in options.items() if value is not None}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value))
    return os.fspath(value) if isinstance(value, os.PathLike) else value


# -------------------------------------------------------------------------------- the checks


def _value(each: "Field[Any]", value: Any) -> Any:
    """``value`` as the type of its field."""
    if value is None and each.default is not None:  # as if it was not given
        return {} if each.default is MISSING else each.default
    if isinstance(value, str) and each.metadata["key"]:
        value = {each.metadata["key"]: value}
    expected, read = _kind(each.type, (each.metadata["least"], each.metadata["most"]))
    try:
        return read(value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{each.name} is {value!r}, expected {expected}") from None
    except UsageError as error:
        raise UsageError(f"{each.name}: {error}") from None


def _kind(hint: Any, bounds: tuple[float | None, float | None]) -> tuple[str, Callable[[Any], Any]]:
    """What a value of a type is called in a message, and what reads one or raises TypeError or
    ValueError."""
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        kinds = [_kind(each, bounds) for each in inner if each is not type(None)]
        return " or ".join(what for what, _ in kinds), lambda value: _any(kinds, value)
    if origin is os.PathLike:
        return "a path", os.fspath
    if origin is Literal:
        choices = ", ".join(each or "''" for each in inner)
        return f"one of {choices}", lambda value: inner[inner.index(value)]
    if is_dataclass(origin):
        names = ", ".join(each.name for each in fields(origin))
        return f"a table of {names}", lambda value: _table(origin, value)
    if origin is Mapping:
        what, read = _kind(inner[1], bounds)
        return f"a table of names, each with {what}", lambda value: {
            _instance(str, name): read(each) for name, each in _instance(Mapping, value).items()
        }
    if origin in (tuple, Sequence):
        what, read = _kind(inner[0], bounds)
        return f"a list, each item {what}", lambda value: tuple(map(read, _items(value)))
    if origin in (int, float):
        least, most = bounds
        what = "an integer" if origin is int else "a number"
        if most is not None:
            what += f" from {least} to {most}"
        elif least is not None:
            what += f" of at least {least}"
        return what, lambda value: _number(origin, value, least, most)
    return "a string" if origin is str else "true or false", lambda value: _instance(origin, value)


def _any(kinds: Sequence[tuple[str, Callable[[Any], Any]]], value: Any) -> Any:
    """What the first that can makes of a value."""
    for _, read in kinds[:-1]:
        try:
            return read(value)
        except (TypeError, ValueError):
            continue
    return kinds[-1][1](value)


def _instance(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(value)
    return value


def _table(kind: Any, value: Any) -> Any:
    """A table of options, or the fields of one."""
    return kind(**value) if isinstance(value, Mapping) else _instance(kind, value)


def _items(value: Any) -> Iterable[Any]:
    """The items of a list; a bare string is one item, not its letters."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):
        raise TypeError(value)
    return sorted(value) if isinstance(value, (set, frozenset)) else iter(value)


def _number(kind: type, value: Any, least: float | None, most: float | None) -> Any:
    if isinstance(value, (bool, str, bytes)):
        raise TypeError(value)
    number = operator.index(value) if kind is int else float(value)
    if (least is None or number >= least) and (most is None or number <= most):
        return number
    raise ValueError(value)


# ------------------------------------------------------------------- functions that take them


def part(kind: type, options: object) -> dict[str, Any]:
    """Those of ``options`` that are options of ``kind``, by name."""
    return {each.name: getattr(options, each.name) for each in fields(kind)}


def takes(kind: type) -> Callable[[_F], _F]:
    """Decorator: ``**options`` of the function are the fields of ``kind``, by name.

    Sets what ``help()``, ``inspect.signature`` and editors show; the line ``{options}`` of the
    docstring becomes one for each option. The function itself makes a ``kind`` of what it gets.
    """

    def with_options(function: _F) -> _F:
        import inspect  # loaded by dataclasses already

        own = inspect.signature(function)
        *ordered, rest = own.parameters.values()
        del function.__annotations__[rest.name]
        for each in fields(kind):
            default = None if each.default is MISSING else each.default
            ordered.append(
                rest.replace(
                    name=each.name, kind=rest.KEYWORD_ONLY, default=default, annotation=each.type
                )
            )
            function.__annotations__[each.name] = each.type
        function.__signature__ = own.replace(parameters=ordered)  # type: ignore[attr-defined]
        about = (f"{each.name}: {each.metadata['help']}" for each in fields(kind))
        if function.__doc__ is not None:
            function.__doc__ = function.__doc__.replace("{options}", "\n        ".join(about))
        return function

    return with_options
