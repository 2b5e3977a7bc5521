"""Caffe's losses and Accuracy, in torch: forward at TEST phase, one number each."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812

from caffefold._proto import caffe_pb2 as pb
from tests.reference.caffe_layers import Function, Layer, Tensor, Tops, canonical

LOG_THRESHOLD = 1e-20  # MultinomialLogisticLoss, kLOG_THRESHOLD


def softmax_loss(layer: Layer, bottoms: list[Tensor]) -> Tops:
    scores, labels = bottoms
    p = layer.spec.loss_param
    axis = canonical(layer.spec.softmax_param.axis, scores.dim())
    if labels.numel() * scores.shape[axis] != scores.numel():
        raise layer.fail("Number of labels must match number of predictions")
    logs = torch.log_softmax(scores, axis).movedim(axis, -1)
    wanted = labels.reshape(logs.shape[:-1]).long()
    valid = torch.ones_like(wanted, dtype=torch.bool)
    if p.HasField("ignore_label"):
        valid = wanted != p.ignore_label
    picked = logs.gather(-1, wanted.where(valid, 0).unsqueeze(-1)).squeeze(-1)
    outer = math.prod(scores.shape[:axis])
    return [-picked[valid].sum() / _normalizer(p, outer, wanted.numel(), int(valid.sum()))]


def _normalizer(p: pb.LossParameter, outer: int, full: int, valid: int) -> int:
    """LossLayer::GetNormalizer; the old `normalize` counts where `normalization` is absent."""
    mode = p.normalization
    if p.HasField("normalize") and not p.HasField("normalization"):
        mode = pb.LossParameter.VALID if p.normalize else pb.LossParameter.BATCH_SIZE
    counts = {
        pb.LossParameter.FULL: full,
        pb.LossParameter.VALID: valid,
        pb.LossParameter.BATCH_SIZE: outer,
    }
    return max(1, counts.get(mode, 1))


def sigmoid_loss(_layer: Layer, bottoms: list[Tensor]) -> Tops:
    scores, wanted = bottoms
    total = F.binary_cross_entropy_with_logits(scores, wanted, reduction="sum")
    return [total / len(scores)]


def euclidean_loss(_layer: Layer, bottoms: list[Tensor]) -> Tops:
    a, b = bottoms
    return [((a - b) ** 2).sum() / (2 * len(a))]


def smooth_l1_loss(_layer: Layer, bottoms: list[Tensor]) -> Tops:
    """SSD's; weights of the differences inside and outside may follow as bottoms."""
    a, b, *weights = bottoms
    inside, outside = weights or (1.0, 1.0)
    apart = (inside * (a - b)).abs()
    each = torch.where(apart < 1, 0.5 * apart * apart, apart - 0.5)
    return [(outside * each).sum() / len(a)]


def hinge_loss(layer: Layer, bottoms: list[Tensor]) -> Tops:
    scores, labels = bottoms
    rows = scores.flatten(1)
    sign = 1 - 2 * F.one_hot(labels.flatten().long(), rows.shape[1]).to(rows.dtype)
    margins = (1 + sign * rows).clamp(min=0)
    if layer.spec.hinge_loss_param.norm == pb.HingeLossParameter.L2:
        margins = margins**2
    return [margins.sum() / len(rows)]


def contrastive_loss(layer: Layer, bottoms: list[Tensor]) -> Tops:
    a, b, similar = bottoms
    p = layer.spec.contrastive_loss_param
    squares = ((a - b) ** 2).flatten(1).sum(1)
    apart = (p.margin - squares if p.legacy_version else p.margin - squares.sqrt()).clamp(min=0)
    unlike = apart if p.legacy_version else apart**2
    return [torch.where(similar.flatten() != 0, squares, unlike).sum() / (2 * len(a))]


def multinomial_loss(_layer: Layer, bottoms: list[Tensor]) -> Tops:
    chances, labels = bottoms
    rows = chances.flatten(1)
    picked = rows.gather(1, labels.reshape(-1, 1).long()).clamp(min=LOG_THRESHOLD)
    return [-picked.log().sum() / len(rows)]


def accuracy(layer: Layer, bottoms: list[Tensor]) -> Tops:
    scores, labels = bottoms
    p = layer.spec.accuracy_param
    if len(layer.spec.top) > 1:
        raise NotImplementedError(f"{layer.spec.name}: accuracy per class")
    rows = scores.movedim(canonical(p.axis, scores.dim()), -1)
    wanted = labels.reshape(rows.shape[:-1]).long()
    valid = wanted != p.ignore_label if p.HasField("ignore_label") else wanted >= 0
    own = rows.gather(-1, wanted.where(valid, 0).unsqueeze(-1))
    hits = ((rows > own).sum(-1) < p.top_k) & valid
    return [hits.sum().to(scores.dtype) / valid.sum()]


LOSSES: dict[str, Function] = {
    "Accuracy": accuracy,
    "ContrastiveLoss": contrastive_loss,
    "EuclideanLoss": euclidean_loss,
    "HingeLoss": hinge_loss,
    "MultinomialLogisticLoss": multinomial_loss,
    "SigmoidCrossEntropyLoss": sigmoid_loss,
    "SmoothL1Loss": smooth_l1_loss,
    "SoftmaxWithLoss": softmax_loss,
}
