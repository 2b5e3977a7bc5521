"""What a layer type is: the questions everybody asks of one, and the kinds of answers.

An ``Op`` answers for one canonical type of Caffe and its aliases in forks. What a type does not
override holds for most: no weights, tops of unknown shape, channels of unknown origin. The table of
all types is ``caffefold.ops.table``; nothing else compares ``layer.type``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import ClassVar, NamedTuple, TypeAlias

from caffefold.formats.caffemodel.blob import size
from caffefold.formats.prototxt.tree import Message, Scalar
from caffefold.ir.affine import Affine
from caffefold.ir.net import Layer
from caffefold.ir.params import Params, parse_float, parse_int
from caffefold.ops.shape import Dim, Known, ShapeList

TRAINING_FIELDS = frozenset(
    {"propagate_down", "loss_param", "loss_weight", "transform_param", "blobs_lr", "weight_decay"}
    | {"backward_type", "backward_math"}  # NVCaffe
)
"""Fields of any layer that only training reads."""


class Category(Enum):
    """What a layer type is for."""

    LINEAR = "linear"
    """Weights times input plus bias: can absorb an affine map."""
    AFFINE = "affine"
    """May be a map ``a * x + c`` per channel at test time."""
    ELEMENTWISE = "elementwise"
    WIRING = "wiring"
    """Moves, joins, cuts or sums up numbers; learns nothing."""
    DATA = "data"
    """Makes blobs out of nothing: data sets, inputs, constants."""
    LOSS = "loss"
    MEASURE = "measure"
    """Reports on a training: Accuracy, DetectionEvaluate, Silence."""
    IDENTITY = "identity"
    """Passes its input on at test time (Dropout, Split), unless a fork's parameters say else."""
    OTHER = "other"


class SkipCode(str, Enum):
    """Why a layer was left alone. Each code has a line in docs/convert.md."""

    SEVERAL_READERS = "SEVERAL_READERS"
    PADDED_INPUT = "PADDED_INPUT"
    NET_OUTPUT = "NET_OUTPUT"
    NOT_LINEAR = "NOT_LINEAR"
    NO_WEIGHTS = "NO_WEIGHTS"
    SHARED_WEIGHTS = "SHARED_WEIGHTS"
    TWO_BOTTOMS = "TWO_BOTTOMS"
    NOT_CHANNEL_AXIS = "NOT_CHANNEL_AXIS"
    BATCH_STATISTICS = "BATCH_STATISTICS"
    NO_STATISTICS = "NO_STATISTICS"
    LEARNING_MODE = "LEARNING_MODE"
    KEPT = "KEPT"
    NOT_ASKED = "NOT_ASKED"
    UNKNOWN_LAYOUT = "UNKNOWN_LAYOUT"
    NOT_FINITE = "NOT_FINITE"
    NOT_FOLLOWED = "NOT_FOLLOWED"
    NOT_CONSTANT = "NOT_CONSTANT"
    UNEVEN_GROUPS = "UNEVEN_GROUPS"
    MULTIPLE = "MULTIPLE"
    LAST_CHANNEL = "LAST_CHANNEL"
    TRAINING_READS = "TRAINING_READS"


class Refusal(NamedTuple):
    """Why one layer cannot be part of a fold."""

    code: SkipCode
    message: str


class WeightSpec(NamedTuple):
    """One blob a layer wants: ``weights``, ``bias``, ``mean`` ...; None is an unknown extent."""

    role: str
    shape: Known


class Same(NamedTuple):
    """Every top has the channels of these bottoms, one by one, in their order."""

    bottoms: tuple[int, ...] = (0,)


class Joined(NamedTuple):
    """The channels of all bottoms, one bottom after the other."""


class Split(NamedTuple):
    """Each top holds a range of the first bottom's channels."""

    points: tuple[int, ...]
    """Where the ranges begin, but for the first; none: they are equal."""
    ranges: tuple[tuple[int, int], ...] | None
    """``start:stop`` for each top; None where the bottom's channels are not known."""


class Mixed(NamedTuple):
    """Every channel of the top is made of several channels; ``inputs`` is how many it takes."""

    inputs: Dim
    outputs: Dim


class Unknown(NamedTuple):
    """Nothing is known of where the tops' channels come from."""


ChannelFlow: TypeAlias = Same | Joined | Split | Mixed | Unknown


class LinearLayout(NamedTuple):
    """Where outputs and inputs of a linear layer lie in its weights."""

    view: tuple[int, int, int, int]
    """The weights as (groups, rows, columns, inner)."""
    outputs_are_rows: bool
    outputs: int
    inputs: int
    """Input channels; for an InnerProduct all inputs, C * inner."""


class Op:
    """One layer type and its aliases. Layers passed in are of one of these types."""

    category: ClassVar[Category] = Category.OTHER
    param: str = ""
    """The parameter message, such as ``convolution_param``; "" when there is none."""
    fillers: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """By role of a blob (``weights``), the field that says how it is filled before training."""
    learned: ClassVar[bool] = False
    """Whether layers of this type compute with numbers that training found."""
    recurrent: ClassVar[bool] = False
    """Whether layers read sequences, so that a further input of theirs is data as well."""
    margin: ClassVar[bool] = False
    """Whether layers make training harder by a margin at the right class (ArcFace and kin)."""
    spatial: ClassVar[bool] = False
    """Whether layers resize their maps (Deconvolution, Interp, Crop ...)."""
    required: ClassVar[bool] = False
    """Whether the net is useless without stored numbers for layers of this type."""
    flow: ClassVar[ChannelFlow] = Unknown()
    """Where the channels of tops come from, for types that have one answer."""
    known: ClassVar[bool] = True
    """Whether shapes can be followed through layers of this type."""
    given: ClassVar[bool] = False
    """Whether a layer without bottoms makes the net's own numbers, and reads no data set."""
    joins: ClassVar[bool] = False
    """Whether bottoms of different extents are an error."""
    pointwise: ClassVar[bool] = False
    """Whether each element of the top depends on the element at its place alone."""

    separate: ClassVar[bool] = False
    """Whether each channel of the tops is made of the channel at its place alone, with no number
    learned for it."""

    assists: ClassVar[bool] = False
    """Whether layers help training along with labels, and pass their first input on without."""

    probability: str = ""
    """The layer that computes the probability a loss computes first; "" when none does."""
    plain: bool = False
    """Whether what a loss reads is a result as it stands."""

    def __init__(self, *types: str, param: str = "") -> None:
        self.name = types[0]
        """The canonical type, as upstream Caffe or the fork it comes from calls it."""
        self.types = frozenset(types)
        self.param = param or self.param

    def __repr__(self) -> str:
        return f"<Op {self.name}>"

    # ------------------------------------------------------------------------ text and blobs

    def is_alias(self, layer: Layer) -> bool:
        """Whether ``layer`` is called by another name than the canonical one."""
        return layer.type != self.name

    def params(self, layer: Layer) -> Params:
        """The typed parameters of ``layer``; all defaults where the text has none."""
        return layer.params(self.param)

    # ---------------------------------------------------------------------- shapes and costs

    def shapes(self, layer: Layer, bottoms: ShapeList) -> ShapeList:
        """The shapes of the tops; tops that are not listed are unknown.

        Raises:
            TextError: Caffe would stop here, as at a missing ``num_output``.
        """
        return []

    def weights(self, layer: Layer, bottoms: ShapeList) -> tuple[WeightSpec, ...] | None:
        """The blobs Caffe gives the layer by its text and input; None when the text cannot say.

        Stored blobs decide only where one type has several dialects.

        Raises:
            TextError: the text does not fit the input.
        """
        return () if self.known else None

    def wants_weights(self, layer: Layer) -> bool:
        """Whether the net is useless without stored numbers for this layer."""
        return self.required

    def input_channels(self, layer: Layer, rank: int | None = None, found: Dim = None) -> Dim:
        """How many channels the stored weights want of the input; None where they do not say.

        ``rank`` is the number of axes of the input and ``found`` its channels, where known: some
        weights (depthwise ones without ``group``) go with several numbers of channels.
        """
        return None

    def axes(self, layer: Layer, place: int) -> str:
        """The axes that the bottom at ``place`` must have, a letter each: N items, C channels, T
        time, and D, H, W; "" where it may have any."""
        return ""

    def output_channels(self, layer: Layer) -> Dim:
        """``num_output`` as the stored weights have it; None where they do not say."""
        return None

    def stated_by_blobs(self, layer: Layer) -> dict[str, Sequence[int | str]]:
        """Fields of the parameter message that the text lacks, and the stored blobs imply."""
        return {}

    def channels(self, layer: Layer, bottoms: ShapeList) -> ChannelFlow:
        """Where the channels (axis 1) of the tops come from."""
        return self.flow

    def macs(self, layer: Layer, bottoms: ShapeList, tops: ShapeList) -> Dim:
        """Multiply-accumulates of one forward pass (analysis/cost.py); None when unknown."""
        return 0 if self.known else None

    # ------------------------------------------------------------------- what a layer is for

    def is_data(self, layer: Layer) -> bool:
        """Whether the layer reads a data set: Data, AnnotatedData, Python, what forks add."""
        return not (layer.bottoms or self.given or self.learned) and bool(layer.tops)

    def is_loss(self, layer: Layer) -> bool:
        """Whether the layer only exists to train: by its type, or by a weight it carries."""
        return self.category is Category.LOSS or any(weight != 0 for weight in _weights(layer))

    def is_measure(self, layer: Layer) -> bool:
        """Whether the layer only reports on a training."""
        return self.category is Category.MEASURE and bool(layer.bottoms)

    def is_learned(self, layer: Layer) -> bool:
        """Whether the layer computes with numbers that training found."""
        trained = self.learned or layer.blobs or any(layer.body.all("param"))
        return bool(layer.bottoms and trained)

    def is_identity(self, layer: Layer) -> bool:
        """Whether the layer passes its one input on unchanged in TEST."""
        single = len(layer.bottoms) == 1 == len(layer.tops)
        return single and self.category is Category.IDENTITY

    def commutes(self, layer: Layer, bottoms: ShapeList) -> bool:
        """Whether an affine map may move through the layer: identities, average pooling."""
        return self.is_identity(layer)

    def passed_on(self, layer: Layer) -> int:
        """How many bottoms a layer that reads labels passes on at test time, j as top j."""
        return 0


class AffineOp(Op):
    """A type that may be an affine map at test time."""

    category = Category.AFFINE
    learned = True
    pointwise = True
    flow = Same()
    """One channel each, whether or not the map is one that folds."""

    def affine(self, layer: Layer, rank: int | None) -> Affine | Refusal:
        """The map of one-input, one-output ``layer``; ``rank`` counts the axes of its input.

        Raises:
            ModelError: the stored numbers are not finite.
        """
        raise NotImplementedError


PRODUCT_FILLERS = MappingProxyType({"weights": "weight_filler", "bias": "bias_filler"})
"""The fillers of layers that multiply by weights."""


class LinearOp(Op):
    """Weights times input plus bias."""

    category = Category.LINEAR
    fillers = PRODUCT_FILLERS
    learned = True
    required = True

    def layout(self, layer: Layer, channels: Dim = None) -> LinearLayout | Refusal:
        """How the stored weights lie; ``channels`` of the input, where known."""
        raise NotImplementedError

    def border(self, layer: Layer, layout: LinearLayout) -> str:
        """Why some outputs see more than mapped inputs (padding); "" when none does.

        A map with a shift cannot move behind such a layer.
        """
        return ""

    def empty_field(self, layer: Layer) -> str:
        """The size in the text that Caffe wants to be 1 or more and that is 0; "" when none is."""
        raise NotImplementedError


def _weights(layer: Layer) -> list[float | None]:
    found = (v.raw for v in layer.body.all("loss_weight") if isinstance(v, Scalar))
    return [parse_float(raw) for raw in found]


def loss_weight(layer: Layer) -> float:
    """The weight of a loss: the largest that is written, else 1 (layer.hpp)."""
    return max((weight or 0.0 for weight in _weights(layer)), default=1.0)


def blob_size(layer: Layer, index: int) -> int | None:
    """The number of elements of a stored blob; None when there is none."""
    return size(layer.blobs[index]) if len(layer.blobs) > index else None


def bias_spec(params: Params, outputs: int) -> tuple[WeightSpec, ...]:
    """The bias of a layer with ``bias_term``."""
    return (WeightSpec("bias", (outputs,)),) if params.flag("bias_term") else ()


def missing_bias(layer: Layer, params: Params, wanted: int) -> dict[str, Sequence[int | str]]:
    """``bias_term``, where the text leaves it out and as many blobs as there are say otherwise:
    ``wanted`` with a bias."""
    default = bool(params.descriptor.fields_by_name["bias_term"].default_value)
    has = len(layer.blobs) == wanted
    if params.has("bias_term") or has == default or len(layer.blobs) not in (wanted - 1, wanted):
        return {}
    return {"bias_term": ("true" if has else "false",)}


def own_message(layer: Layer, name: str) -> Message:
    """A parameter message the schema may not know; empty when it is absent."""
    return layer.body.message(name) or Message(())


def integer_in(message: Message, name: str) -> int | None:
    """An integer of a message the schema may not know; None when absent, 0, or no number."""
    value = message.last(name)
    return (parse_int(value.raw) or None) if isinstance(value, Scalar) else None


def number_in(message: Message, name: str) -> float:
    """A number of a message the schema may not know; 0 when it is absent or no number."""
    value = message.last(name)
    return (parse_float(value.raw) or 0.0) if isinstance(value, Scalar) else 0.0


def word_in(message: Message, name: str, words: frozenset[str]) -> bool:
    """Whether a field is written as one of ``words``."""
    value = message.last(name)
    return isinstance(value, Scalar) and value.raw in words
