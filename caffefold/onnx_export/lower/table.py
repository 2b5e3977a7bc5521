"""The table of lowerings: what each layer type that ``ops/`` knows becomes in ONNX.

A type of ``ops/`` without a row here is refused (or a custom node on request); what is dropped has
no part in the result of a net.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from caffefold.ir.net import Layer
from caffefold.onnx_export.lower import (
    activation,
    affine,
    detection,
    linear,
    pooling,
    recurrent,
    regions,
    source,
    wiring,
    yolo,
)
from caffefold.onnx_export.site import Site
from caffefold.ops.table import op

Lowering = Callable[[Site], None]

LOWERINGS: Mapping[str, Lowering] = MappingProxyType(
    {
        # linear
        "Convolution": linear.convolution,
        "Deconvolution": linear.convolution,
        "Embed": linear.embed,
        "Im2col": linear.im2col,
        "InnerProduct": linear.inner_product,
        "LOCAL": linear.local,
        # affine
        "BN": affine.normalization,
        "BatchNorm": affine.normalization,
        "Bias": affine.scale,
        "Power": affine.power,
        "Scale": affine.scale,
        # activation
        "AbsVal": activation.plain("Abs"),
        "BNLL": activation.plain("Softplus"),
        "Clip": activation.clip,
        "Dropout": activation.dropout,
        "ELU": activation.elu,
        "Exp": activation.exponential,
        "HardSigmoid": activation.hard_sigmoid,
        "HardSwish": activation.hard_swish,
        "LRN": activation.lrn,
        "Log": activation.logarithm,
        "MVN": activation.mvn,
        "Mish": activation.mish,
        "Normalize": activation.normalize,
        "PReLU": activation.prelu,
        "ReLU": activation.relu,
        "ReLU1": activation.between(-1.0, 1.0),
        "ReLU6": activation.between(0.0, 6.0),
        "SELU": activation.plain("Selu"),
        "Sigmoid": activation.plain("Sigmoid"),
        "Softmax": activation.softmax,
        "Split": activation.plain("Identity"),
        "Swish": activation.swish,
        "TanH": activation.plain("Tanh"),
        "Threshold": activation.threshold,
        # wiring
        "ArgMax": wiring.argmax,
        "Axpy": wiring.axpy,
        "BatchReindex": wiring.batch_reindex,
        "Concat": wiring.concat,
        "Crop": wiring.crop,
        "Eltwise": wiring.eltwise,
        "Filter": wiring.select,
        "Flatten": wiring.reshape,
        "Permute": wiring.permute,
        "Reduction": wiring.reduction,
        "Reshape": wiring.reshape,
        "ShuffleChannel": wiring.shuffle_channel,
        "Slice": wiring.slices,
        "Tile": wiring.tile,
        "Transpose": wiring.transpose,
        # pooling
        "Interp": pooling.interp,
        "Pooling": pooling.pooling,
        "Reorg": pooling.reorg,
        "SPP": pooling.spp,
        "Upsample": pooling.upsample,
        # recurrent
        "LSTM": recurrent.lstm,
        "LSTMUnit": recurrent.lstm_unit,
        "RNN": recurrent.rnn,
        # detection
        "DetectionOutput": detection.detection_output,
        "PSROIPooling": regions.psroi_pooling,
        "PriorBox": detection.prior_box,
        "Proposal": regions.proposal,
        "ROIPooling": regions.roi_pooling,
        "YoloDetectionOutput": yolo.yolo_detection_output,
        "Yolov3DetectionOutput": yolo.yolov3_detection_output,
        # source
        "DummyData": source.dummy_data,
        "Parameter": source.parameter,
    }
)


def lowering(layer: Layer) -> Lowering | None:
    """How ``layer`` is lowered; None for a type that has no lowering.

    Of Python layers, py-faster-rcnn's ProposalLayer has one.
    """
    if regions.is_proposal(layer):
        return regions.proposal
    return LOWERINGS.get(op(layer).name)
