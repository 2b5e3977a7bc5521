"""Which rule gives the shapes of which layer type: one table.

A type that stands in no row has unknown tops; a new one is one entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from caffefold.ir.net import Layer
from caffefold.ops import shape_detection as detection
from caffefold.ops import shape_elementwise as elementwise
from caffefold.ops import shape_linear as linear
from caffefold.ops import shape_resample as resample
from caffefold.ops import shape_sources as sources
from caffefold.ops import shape_wiring as wiring
from caffefold.ops.shape import Rule, Step

ELEMENTWISE = frozenset(
    # Upstream
    {"ReLU", "ELU", "Sigmoid", "TanH", "AbsVal", "BNLL", "Exp", "Log", "Power", "Swish", "Clip"}
    | {"Threshold", "Dropout", "Split", "LRN", "MVN", "Softmax"}
    # Forks
    | {"ReLU6", "ReLU1", "SeLu", "SELU", "SeLuDropout", "Mish", "HardSwish", "HSwish", "Hswish"}
    | {"HardSigmoid", "HSigmoid", "Hsigmoid", "GELU", "LeakyReLU", "RReLU", "Noise", "L2Normalize"}
    | {
        "L2Norm",
        "LRNRistretto",
        "Permutation",
        "Quantize",
        "Dequantize",
        "GaussianNoise",
        "Reverse",
    }
)
CONVOLUTIONS = frozenset(
    {"Convolution", "DepthwiseConvolution", "ConvolutionDepthwise", "DepthwiseConv"}
    | {"ConvolutionRistretto"}
)
_LOSSES = frozenset({"Yolov3", "YoloSeg", "SoftmaxWithLossOHEM", "SmoothL1LossOHEM"})

_TABLE: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(ELEMENTWISE, elementwise.same),
        # Layers with weights
        **dict.fromkeys(CONVOLUTIONS, linear.convolution),
        "Deconvolution": linear.deconvolution,
        **dict.fromkeys(("InnerProduct", "FcRistretto"), linear.inner_product),
        **dict.fromkeys(("BatchNorm", "BN", "PReLU"), elementwise.per_channel),
        **dict.fromkeys(("Scale", "Bias"), elementwise.scale),
        "Normalize": elementwise.per_channel,
        "Embed": linear.embed,
        **dict.fromkeys(("LSTM", "RNN"), linear.recurrent),
        "LOCAL": resample.local,
        # Wiring
        "Concat": wiring.concat,
        "Slice": wiring.slice_,
        "Eltwise": elementwise.eltwise,
        "Axpy": elementwise.axpy,
        "Reshape": wiring.reshape,
        "Flatten": wiring.flatten,
        "Permute": wiring.permute,
        "Transpose": wiring.transpose,
        "Crop": wiring.crop,
        "Tile": wiring.tile,
        "Reduction": wiring.reduction,
        "ArgMax": wiring.argmax,
        "BatchReindex": wiring.batch_reindex,
        "Filter": wiring.filter_,
        "Im2col": linear.im2col,
        "ShuffleChannel": resample.shuffle_channel,
        # Height and width
        "Pooling": resample.pooling,
        "SPP": resample.spp,
        "Interp": resample.interp,
        "Upsample": resample.upsample,
        "Reorg": resample.reorg,
        **dict.fromkeys(("ROIPooling", "ROIAlign"), resample.roi_pooling),
        "PSROIPooling": resample.psroi_pooling,
        # Detectors
        "PriorBox": detection.prior_box,
        **dict.fromkeys(
            ("DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput"),
            detection.detection_output,
        ),
        "DetectionEvaluate": detection.detection_evaluate,
        "Proposal": detection.proposal,
        # Inputs
        "Input": sources.given,
        "DummyData": sources.dummy,
        "Parameter": sources.parameter,
        "DetectNetTransformation": sources.detect_net,
        # Training
        "Accuracy": elementwise.accuracy,
        **dict.fromkeys(("SoftmaxWithLoss", "InfogainLoss"), elementwise.loss_and_prediction),
        **dict.fromkeys(_LOSSES, elementwise.loss),
        **dict.fromkeys(("Silence", "HDF5Output"), elementwise.nothing),
    }
)

TYPES = frozenset(_TABLE)
"""The layer types with a rule of their own; losses and data layers of any name have one, too."""


def rule(layer: Layer) -> Rule:
    """The rule for ``layer``: by its type; any loss and any data layer by what it is."""
    found = _TABLE.get(layer.type)
    if found is not None:
        return found
    if layer.type.endswith("Loss"):
        return elementwise.loss
    return sources.data if sources.is_source(layer) else elementwise.unknown


def is_known(layer: Layer) -> bool:
    """Whether shapes can be followed through a layer of this type."""
    return rule(layer) is not elementwise.unknown


def prepare(layer: Layer) -> Step:
    """The shapes of the layer's bottoms -> those of its tops.

    Raises:
        TextError: the text of the layer gives no shape, such as a missing ``num_output``.
    """
    return rule(layer)(layer)
