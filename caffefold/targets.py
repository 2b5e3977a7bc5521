"""Who takes a deploy pair, and what each of them wants: one row of data for each consumer.

Every fact has its source. "Measured" facts come from running nets through the version that is
named, the original and the folded pair, and comparing with real Caffe's answers (tests/consumers);
the others come from the consumer's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

from caffefold.options import ConvertOptions, Standalone

InputStyle = Literal["", "layer", "legacy"]


class Target(NamedTuple):
    """One consumer of deploy pairs."""

    title: str
    """Its name and the version that the facts are about."""
    facts: tuple[tuple[str, str], ...]
    """What it wants or refuses, and where that is known from."""
    next_step: str = ""
    """The command that takes the pair; ``{prefix}``, ``{name}``, and ``{input}``, ``{shape}`` and
    ``{output}`` of the first input and output are filled in."""
    standalone: Standalone = "scale"
    """What an affine layer becomes that no linear layer takes."""
    input_style: InputStyle = ""
    plain_types: bool = True
    """Types of forks and ``transpose`` are written as upstream's plain layers."""
    drop_fork_fields: bool = True
    """Its parser stops at fields that BVLC and SSD do not have."""
    dtypes: tuple[str, ...] = ("fp32",)
    upstream_only: bool = True
    """Layer types that neither BVLC nor SSD have are refused."""
    types: frozenset[str] = frozenset()
    """Layer types of forks that it takes all the same."""
    most_axes: int | None = None
    """Blobs may have so many axes."""
    static: bool = False
    """Every shape has to be known."""
    refused_fields: Mapping[str, str] = {}
    """Parameters that it does not read, as ``message.field``: what to do instead. Those that say
    no more than their default are dropped."""
    frozen: bool = False
    """BatchNorm that stays has ``use_global_stats: true``."""
    own_outputs: bool = False
    """No layer works in place on an output."""
    plain_windows: bool = False
    """A convolution has one value of pad, stride and dilation, or one for ``_h`` and ``_w``."""
    image_inputs: bool = False
    """Inputs are ImageData layers, which read the images it calibrates with."""
    flat_softmax: bool = False
    """A Softmax runs over all axes from its own on."""
    learned_scale: bool = False
    """A Scale has its factors from its weights, not from a second bottom."""
    grouped_deconvolution: bool = True
    """A Deconvolution may have several groups, each of several channels."""
    planar: bool = True
    """Convolutions have two spatial axes."""
    takes: frozenset[str] = frozenset()
    """All the layer types that it takes, where it is known to take no others."""

    def forms(self) -> str:
        """What is written for it, in one line."""
        parts = [f"affine layers as {_STANDALONE[self.standalone]}", "/".join(self.dtypes)]
        if self.input_style == "legacy":
            parts.append("input: fields")
        if self.image_inputs:
            parts.append("ImageData layers as inputs")
        if self.own_outputs:
            parts.append("outputs not in place")
        if self.plain_windows:
            parts.append("plain windows")
        if self.plain_types:
            parts.append("plain types")
        if self.drop_fork_fields:
            parts.append("no fields of forks")
        return ", ".join(parts)


_STANDALONE = {
    "": "they are",
    "scale": "Scale",
    "conv": "1x1 Convolution",
    "bn": "BatchNorm + Scale",
}
_MEASURED = "measured, November 2026"
_NO_FP16 = ("half precision is refused or crashes it", _MEASURED)
_STRICT = ("its text parser stops at fields it does not know", _MEASURED)
_UNEVEN = (
    "two values of pad or dilation, one for each axis, are misread; pad_h and pad_w are not",
    f"{_MEASURED}: edge/dilated",
)
_NO_VOLUMES = ("convolutions with three spatial axes are refused, or misread in silence", _MEASURED)
_NO_DEPTHWISE = ("it has no DepthwiseConvolution: Convolution with group is the same", _MEASURED)

_PPQ = (
    "Add ArgMax BN BatchNorm ChannelShuffle Clip Concat Convolution Crop Deconvolution Div "
    "Eltwise Flatten HSigmoid HSwish InnerProduct InstanceNorm Interp MatMul Mul NNUpsample "
    "PReLU Parameter Pooling Power ReLU ReLU6 Reduce ReduceL2 ReflectionPad Reshape Scale Sigmoid "
    "Slice Softmax SubpixelDown SubpixelUp TanH Tile Transpose"
)
_TPU_MLIR = (
    "ArgMax BatchNorm BN Concat ContinuationIndicator Convolution ConvolutionDepthwise Crop "
    "Deconvolution DetectionOutput Dropout DummyData Embed Eltwise Flatten FrcnDetection "
    "InnerProduct Interp ImageData LRN LSTM Lstm MatMul Mish Normalize Padding Permute Pooling "
    "Power PReLU PriorBox Proposal Reduction ReLU ReLU6 Reorg Reshape Reverse RetinaFaceDetection "
    "ROIPooling Scale ShuffleChannel Sigmoid Silence Slice Softmax Split TanH Tile Upsample "
    "YoloDetection"
)

TARGETS: Mapping[str, Target] = {
    "caffe": Target(
        "Caffe (BVLC, SSD branch)",
        (
            ("its text parser stops at fields it does not know", "caffe.proto of BVLC and SSD"),
            ("it has no raw_data, in which half precision is stored", "caffe.proto, BlobProto"),
        ),
        "caffe test -model {prefix}.prototxt -weights {prefix}.caffemodel -iterations 1",
        planar=False,
    ),
    "opencv": Target(
        "OpenCV 4 dnn (4.14)",
        (
            ("it reads half precision in raw_data", _MEASURED),
            ("it has no Bias layer and no DepthwiseConvolution", _MEASURED),
            ("it ignores transpose of InnerProduct", _MEASURED),
            _NO_VOLUMES,
            ("OpenCV 5.0 reads no Caffe nets: for it, caffefold export", _MEASURED),
        ),
        drop_fork_fields=False,
        dtypes=("fp32", "fp16"),
        upstream_only=False,
    ),
    "mnn": Target(
        "MNN 3.6.1",
        (
            *(_STRICT, _NO_FP16, _NO_DEPTHWISE, _UNEVEN, _NO_VOLUMES),
            ("an Input layer with several tops crashes it", _MEASURED),
            ("a Scale with two bottoms crashes it", _MEASURED),
        ),
        "MNNConvert -f CAFFE --modelFile {prefix}.caffemodel --prototxt {prefix}.prototxt "
        "--MNNModel {name}.mnn --bizCode caffefold",
        upstream_only=False,
        learned_scale=True,
        plain_windows=True,
    ),
    "ncnn": Target(
        "ncnn caffe2ncnn (a4d2ea1)",
        (_STRICT, ("half precision converts, and does not load", _MEASURED)),
        "caffe2ncnn {prefix}.prototxt {prefix}.caffemodel {name}.param {name}.bin",
        upstream_only=False,
    ),
    "openvino": Target(
        "OpenVINO Model Optimizer 2023.3",
        (_STRICT, _NO_FP16, _UNEVEN, _NO_VOLUMES),
        "mo --framework caffe --input_proto {prefix}.prototxt --input_model {prefix}.caffemodel",
        upstream_only=False,
        plain_windows=True,
    ),
    "caffe2onnx": Target(
        "caffe2onnx 2.0.1",
        (
            ("a Scale that follows no BatchNorm is misread in silence, or crashes it", _MEASURED),
            ("a 1x1 depthwise Convolution in its place is exact", _MEASURED),
            ("it reads the shape of weights from blob.shape alone", _MEASURED),
            ("a Scale with two bottoms is misread in silence", _MEASURED),
            ("Softmax with axes behind its own is misread in silence: it runs over them too",
             _MEASURED),
            ("PriorBox and DetectionOutput become nodes that no runtime of ONNX knows", _MEASURED),
            *(_UNEVEN, _NO_FP16, _NO_VOLUMES),
        ),
        "python -m caffe2onnx.convert --prototxt {prefix}.prototxt "
        "--caffemodel {prefix}.caffemodel --onnx {name}.onnx",
        standalone="conv",
        upstream_only=False,
        flat_softmax=True,
        learned_scale=True,
        plain_windows=True,
    ),
    "ppq": Target(
        "PPQ 0.6.6",
        (
            ("it has no input_param: inputs are input: fields", _MEASURED),
            ("it reads the shape of weights from blob.shape alone", _MEASURED),
            ("its schema has no axis and no dilation of Convolution, no transpose",
             "ppq 0.6.6, ppl_caffe_pb2.py"),
            ("it takes the layer types of its caffe_import_map alone",
             "ppq 0.6.6, caffe_import_utils.py"),
        ),
        "ppq.api.load_caffe_graph('{prefix}.prototxt', '{prefix}.caffemodel')",
        input_style="legacy",
        upstream_only=False,
        refused_fields={
            "convolution_param.axis": "only the default axis is supported",
            "convolution_param.force_nd_im2col": "leave it out",
            "convolution_param.dilation": "dilated convolutions are not supported",
            "inner_product_param.transpose": "only the default is supported",
            "crop_param.axis": "only the default axis is supported",
            "crop_param.offset": "only the default is supported",
        },
        takes=frozenset(_PPQ.split()),
    ),
    "rknn": Target(
        "RKNN-Toolkit2 2.3.2",
        (
            _STRICT,
            _NO_FP16,
            ("a lone Scale, or such a Convolution, behind Concat crashes it", _MEASURED),
            ("BatchNorm + Scale is taken", _MEASURED),
            ("a Deconvolution of groups of several channels crashes it", _MEASURED),
            _NO_VOLUMES,
        ),
        "rknn.load_caffe(model='{prefix}.prototxt', blobs='{prefix}.caffemodel')",
        standalone="bn",
        upstream_only=False,
        grouped_deconvolution=False,
    ),
    "tpu-mlir": Target(
        "tpu-mlir 1.28.1",
        (_STRICT, _NO_DEPTHWISE, ("it has no Bias layer", _MEASURED), _NO_FP16, _UNEVEN,
         _NO_VOLUMES,
         ("a Deconvolution of groups of several channels is misread in silence", _MEASURED),
         ("it loses, in silence, layers that work in place on an output",
          "tpu_mlir 1.28.1, CaffeConverter.py; measured"),
         ("it takes the layer types of its converter alone", "tpu_mlir 1.28.1, CaffeConverter.py")),
        "model_transform.py --model_name {name} --model_def {prefix}.prototxt "
        "--model_data {prefix}.caffemodel --input_shapes [[{shape}]] --mlir {name}.mlir",
        upstream_only=False,
        own_outputs=True,
        plain_windows=True,
        grouped_deconvolution=False,
        takes=frozenset(_TPU_MLIR.split()),
    ),
    "atc": Target(
        "Ascend ATC (CANN)",
        (
            ("both files have the same layers, names and types, without those of training",
             "CANN documentation, ATC, Caffe network requirements"),
            ("blobs have at most 4 axes, and static shapes", "CANN documentation, ATC"),
            ("tops are unique unless a layer works in place", "CANN documentation, ATC"),
        ),
        "atc --framework=0 --model={prefix}.prototxt --weight={prefix}.caffemodel "
        "--output={name} --soc_version=Ascend310",
        most_axes=4,
        static=True,
        upstream_only=False,
    ),
    "amct": Target(
        "Ascend AMCT (Caffe)",
        (
            ("BatchNorm that stays has use_global_stats: true", "CANN documentation, AMCT (Caffe)"),
            ("InnerProduct with transpose is not quantised", "CANN documentation, AMCT (Caffe)"),
        ),
        "amct_caffe calibration --model {prefix}.prototxt --weights {prefix}.caffemodel "
        "--save_path {name} --input_shape {input}:{shape} --data_dir IMAGES --data_types float32",
        frozen=True,
        most_axes=4,
        static=True,
        upstream_only=False,
    ),
    "vitis": Target(
        "Vitis AI vai_q_caffe (until 2.0)",
        (
            ("a data layer reads the calibration images: ImageData, with source and root_folder",
             "UG1414 1.4.1, Running vai_q_caffe"),
            ("its list has two columns, a name and any number, for 100 to 1000 images", "as above"),
            ("it folds BatchNorm itself, and drops layers of training", "UG1414, Quantizer Flow"),
        ),
        "vai_q_caffe quantize -model {prefix}.prototxt -weights {prefix}.caffemodel "
        "-output_dir {name}_quantized -keep_fixed_neuron",
        input_style="layer",
        image_inputs=True,
        upstream_only=False,
    ),
    "tidl": Target(
        "TI TIDL (caffe-jacinto)",
        (("it reads Scale, BN, Bias, depthwise convolutions and ShuffleChannel",
          "TIDL documentation, supported Caffe layers"),),
        "tidl_model_import.out {name}.txt  # a file with the lines modelType = 0, "
        'inputNetFile = "{prefix}.prototxt", inputParamsFile = "{prefix}.caffemodel"',
        types=frozenset({"BN", "ShuffleChannel"}),
    ),
    "snpe": Target(
        "Qualcomm SNPE",
        (
            ("BatchNorm must be followed by Scale; a lone Scale is doubtful",
             "SNPE documentation, supported layers"),
            ("a 1x1 depthwise Convolution is the same and always taken", "as above"),
        ),
        "snpe-caffe-to-dlc --input_network {prefix}.prototxt --caffe_bin {prefix}.caffemodel",
        standalone="conv",
        upstream_only=False,
    ),
    "horizon": Target(
        "Horizon hb_mapper",
        (("inputs are Input layers with input_param; Accuracy is an error",
          "Horizon documentation, hb_mapper checker"),),
        "hb_mapper checker --model-type caffe --proto {prefix}.prototxt "
        "--model {prefix}.caffemodel --march bernoulli2",
        input_style="layer",
        upstream_only=False,
    ),
    "armnn": Target(
        "Arm NN (Caffe parser, until 20.11)",
        (("no dilation, no Eltwise coeff, no Softmax axis", "Arm NN documentation, Caffe parser"),),
        "ArmnnConverter -f caffe-binary -m {prefix}.caffemodel -i {input} -s {shape} -o {output} "
        "-p {name}.armnn",
        refused_fields={
            "convolution_param.dilation": "dilated convolutions are not supported",
            "eltwise_param.coeff": "write the factors as Scale layers",
            "softmax_param.axis": "only the default axis is supported",
        },
        upstream_only=False,
    ),
}  # fmt: skip


def aimed(options: ConvertOptions) -> ConvertOptions:
    """The options with what their target wants, where they say nothing themselves."""
    row = TARGETS.get(options.target)
    standalone = options.standalone or (row.standalone if row else "")
    collapse = options.collapse and standalone != "bn"
    if row is None:
        return replace(options, collapse=collapse)
    return replace(
        options,
        collapse=collapse,
        input_style=options.input_style or row.input_style,
        standalone=standalone,
        plain_types=options.plain_types or row.plain_types,
        drop_fork_fields=options.drop_fork_fields or row.drop_fork_fields,
    )
