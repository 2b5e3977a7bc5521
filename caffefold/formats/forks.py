"""Names that forks of Caffe added: fields of its messages, and layer types; with where they stand.

Data, and no more: what a fork's field does is not known here. A file that holds such a name comes
from that fork and passes without a warning (analysis/spelling.py), as one of upstream's does. What
our schema and the table of layer types know already is not listed; a test holds that.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

# BVLC/caffe 9b891540: src/caffe/layers, REGISTER_LAYER_CLASS, and layer_factory.cpp.
_BVLC = (
    "AbsVal Accuracy ArgMax BatchNorm BatchReindex Bias BNLL Clip Concat ContrastiveLoss "
    "Convolution Crop Data Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp "
    "Filter Flatten HDF5Data HDF5Output HingeLoss Im2col ImageData InfogainLoss InnerProduct "
    "Input Log LRN LSTM LSTMUnit MemoryData MultinomialLogisticLoss MVN Parameter Pooling Power "
    "PReLU Python Reduction ReLU Reshape RNN Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice "
    "Softmax SoftmaxWithLoss Split SPP Swish TanH Threshold Tile WindowData"
)
# weiliu89/caffe, branch ssd, 4817bf8b: what it adds to those.
_SSD = (
    "AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute PriorBox "
    "SmoothL1Loss VideoData"
)
UPSTREAM_TYPES = frozenset(f"{_BVLC} {_SSD}".split())
"""The layer types of BVLC's Caffe and of SSD, which everybody means by Caffe."""


class Fork(NamedTuple):
    """What one source of names adds."""

    source: str
    """A repository with the commit that was read, or a published package."""
    fields: Mapping[str, str] = {}
    """Field names by the message they stand in."""
    types: str = ""
    """Layer types."""
    values: Mapping[str, str] = {}
    """Values of enums, by message and field."""


FORKS = (
    Fork(
        "NVIDIA/caffe 6e8194f7 and 43774bfa, src/caffe/proto/caffe.proto",
        {
            "NetParameter": "default_conv_algos_override reduce_buckets "
            "default_cudnn_math_override global_grad_scale_adaptive",
            "LayerParameter": "debug cudnn_math_override detectnet_groundtruth_param "
            "detectnet_augmentation_param trt_param",
            "TransformationParameter": "img_rand_resize_lower img_rand_resize_upper "
            "var_sz_img_enabled use_gpu_transform random_seed display num_labels",
            "ConvolutionParameter": "cudnn_convolution_algo_seeker conv_algos_override",
            "DataParameter": "threads parser_threads cache shuffle",
            "DropoutParameter": "engine random_seed",
            "ELUParameter": "lambda",
            "AnnotatedDatum": "record_id",
        },
        "TRT",
    ),
    Fork(
        "NVIDIA/caffe, models and examples/TensorRT (published prototxts)",
        {
            "TransformationParameter": "allow_upscale horizontal_stretch_lower "
            "horizontal_stretch_upper vertical_stretch_lower vertical_stretch_upper",
            "ImageDataParameter": "cache precache threads",
        },
        "L1Loss",
    ),
    Fork(
        "intel/caffe 02756436 and 3092ec3a, src/caffe/proto/caffe.proto",
        {
            "NetParameter": "multinode",
            "LayerParameter": "multinode mn_activation_param mn_grad_compress_param "
            "quantization_param continuation_indicator_param spatial_dropout_param split_param "
            "region_loss_param eval_detection_param normalize_bbox_param batch_reduction_param",
            "TransformationParameter": "random_resize_param random_aspect_ratio_param flow",
            "LossParameter": "label_smoothing",
            "ConcatParameter": "engine",
            "EltwiseParameter": "engine",
            "InnerProductParameter": "engine",
            "DropoutParameter": "scale_train",
            "DataParameter": "shuffle",
        },
        "EvalDetection MnActivation MnParamGradCompress SpatialDropout NormalizeBBox "
        "BatchReduction",
    ),
    Fork(
        "pmgysel/caffe ada1949c (Ristretto), src/caffe/proto/caffe.proto",
        {"LayerParameter": "quantization_param"},
    ),
    Fork(
        "eric612/MobileNet-YOLO 02c455d6, src/caffe/proto/caffe.proto",
        {
            "LayerParameter": "region_loss_param yolov3_param yolo_seg_param "
            "segmentation_evaluate_param yolo_detection_output_param "
            "yolov3_detection_output_param relu6_param",
            "AnnotatedDataParameter": "yolo_data_type yolo_data_jitter train_diffcult "
            "single_class seg_scales",
        },
        "SegmentationEvaluate LaneData",
    ),
    Fork(
        "yjxiong/caffe 065007e8, src/caffe/proto/caffe.proto",
        {
            "LayerParameter": "seg_data_param batch_reduction_param color_conv_param",
            "TransformationParameter": "fix_crop more_fix_crop multi_scale scale_ratios "
            "max_distort is_flow original_image stride upper_size upper_height upper_width",
            "ConvolutionParameter": "dilation_h dilation_w",
            "DataParameter": "shuffle",
            "VideoDataParameter": "source batch_size rand_skip shuffle new_height new_width "
            "new_length num_segments scale mean_file crop_size mirror modality name_pattern "
            "encoded grayscale",
        },
        "SegData BatchReduction ColorConv",
        {"EltwiseParameter.operation": "STOCHASTIC_SUM"},
    ),
    Fork(
        "hszhao/PSPNet 88d0b3ee, src/caffe/proto/caffe.proto",
        {
            "LayerParameter": "seg_accuracy_param batch_reduction_param",
            "TransformationParameter": "rand_resize rand_rotate gaussian_blur rand_aspect_ratio "
            "label_scalefactor label_offset rotate90n",
            "BNParameter": "var_eps moving_average decay axis",
            "ConvolutionParameter": "hole hole_h hole_w",
            "InterpParameter": "interp_type",
            "DataParameter": "shuffle",
            "ImageDataParameter": "ignore_label label_type is_rsdata rs_channels is_modis_bin "
            "modis_channles modis_channel_list modis_class_num",
        },
        "ImageSegData SegAccuracy BatchReduction",
    ),
    Fork(
        "soeaver/caffe-model (published prototxts)",
        {
            "LayerParameter": "selu_dropout_param",
            "TransformationParameter": "scale_factors",
        },
        "BoxAnnotatorOHEM",
    ),
    Fork(
        "alexgkendall/caffe-segnet 03d1e9f1, src/caffe/proto/caffe.proto",
        {
            "LayerParameter": "dense_image_data_param",
            "LossParameter": "weight_by_label_freqs class_weighting",
            "DropoutParameter": "sample_weights_test",
            "UpsampleParameter": "upsample_h upsample_w pad_out_h pad_out_w",
        },
        "DenseImageData",
    ),
    Fork(
        "CMU-Perceptual-Computing-Lab/openpose_caffe_train ac4f500c, src/caffe/proto/caffe.proto",
        {"LayerParameter": "op_transform_param"},
        "OPData",
    ),
    Fork(
        "ydwen/caffe-face, src/caffe/proto/caffe.proto",
        {"LayerParameter": "center_loss_param"},
        "CenterLoss",
    ),
    Fork(
        "sanghoon/pva-faster-rcnn (published prototxts)",
        {"LayerParameter": "proposal_param"},
    ),
    Fork(
        "lswzjuer/caffe-adas (published prototxts)",
        {"SoftmaxParameter": "pos_cid pos_mult"},
        "WeightedSoftmaxWithLoss",
    ),
    Fork(
        "LisaAnne/lisa-caffe-public, examples/LRCN_activity_recognition (published prototxts)",
        {
            "TransformationParameter": "flow",
            "ImageDataParameter": "min_height min_width",
        },
    ),
    Fork(
        "BVLC/caffe of 2013 and 2014 (published prototxts)",
        {
            "NetParameter": "version",
            "LayerParameter": "local_param context_pad data_blob datum_dims can_clobber",
            "ImageDataParameter": "transform_param",
        },
        "data_blob",
    ),
    Fork(
        "BVLC/caffe, examples/mnist of branch opencl and of a pull request (published prototxts)",
        values={"ConvolutionParameter.engine": "FFT SPATIAL"},
    ),
    Fork(
        "foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/proto/caffe.proto",
        {
            "LayerParameter": "squeeze_convolution_param squeeze_inner_product_param "
            "l1_loss_param writer_param reader_param mean_param downsample_param lpq_loss_param "
            "black_augmentation_param reshape_every_iter yolo_v2_loss_param yolo_v3_loss_param",
            "TransformationParameter": "bgr2rgb",
            "DataParameter": "side disk_reader_threads huge_video_dataset limit_samples "
            "preselection_file preselection_label range_start range_end rand_permute "
            "rand_permute_order rand_permute_seed slice_point encoding verbose subtract "
            "permute_every_iter block_size",
        },
        "SqueezeConvolution SqueezeInnerProduct YoloV2Loss YoloV3Loss Mean Downsample LpqLoss",
    ),
    Fork(
        "gdlg/panoramic-object-detection, src/caffe/proto/caffe.proto",
        {
            "LayerParameter": "box_output_param ring_pad_param",
            "ROIPoolingParameter": "pad_ratio ringpad pooled_size",
        },
        "BoxOutput RingPad",
    ),
    Fork(
        "openvino-dev 2023.3.0, openvino/tools/mo/front/caffe/proto/mo_caffe.proto",
        {
            "NetParameter": "profile_info profile_iter profile_warmup",
            "LayerParameter": "channel_permutation_param ctc_decoder_param ctc_loss_param "
            "grn_param reverse_param st_param st_loss_param power_file_param loc_loss_param "
            "proposal_param cosine_similarity_batch_param rss_loss_param roi_warping_param "
            "region_yolo_param reorg_yolo_param relu6_param augmentation_param correlation_param "
            "resample_param flow_warp_param accum_param coeff_schedule_param",
            "FillerParameter": "file diag_val",
            "CropParameter": "dimsize",
            "DetectionOutputParameter": "input_width input_height normalized objectness_score",
            "PriorBoxParameter": "width height fixed_size fixed_ratio density",
        },
        "RegionYolo ReorgYolo Resample GRN CTCDecoder CTCLoss SpatialTransformer "
        "PriorBoxClustered Correlation FlowWarp Accum DataAugmentation ROIWarping "
        "ChannelPermutation PowerFile Binarization ConvolutionBinary",
    ),
    Fork(
        "caffe2onnx 2.0.1, caffe2onnx/proto/caffe_upsample.proto",
        {"LayerParameter": "axpy_param relu6_param"},
    ),
)


REPEATED = frozenset({"TransformationParameter.resize_param", "DataParameter.source"})
"""Fields that Caffe takes once and a fork several times: eric612/MobileNet-YOLO 02c455d6, and
examples/parallel of a branch of BVLC/caffe (published prototxts)."""


@cache
def fields_of(message: str) -> frozenset[str]:
    """The fields that forks added to a message."""
    return frozenset(name for f in FORKS for name in f.fields.get(message, "").split())


@cache
def values_of(field: str) -> frozenset[str]:
    """The values that forks added to an enum, such as ``ConvolutionParameter.engine``."""
    return frozenset(name for fork in FORKS for name in fork.values.get(field, "").split())


@cache
def all_fields() -> frozenset[str]:
    """The fields that forks added to any message."""
    return frozenset(name for f in FORKS for names in f.fields.values() for name in names.split())


@cache
def all_types() -> frozenset[str]:
    """The layer types that forks added."""
    return frozenset(kind for fork in FORKS for kind in fork.types.split())
