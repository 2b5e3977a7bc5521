"""Functions of each element, of a channel, or of what lies around an element."""

from __future__ import annotations

from collections.abc import Callable
from math import log

from caffefold.onnx_export.lower.pooling import average
from caffefold.onnx_export.site import Site
from caffefold.ops.base import number_in, own_message
from caffefold.ops.shape import Window, canonical, four_axes

Lowering = Callable[[Site], None]


def plain(kind: str) -> Lowering:
    """A type that is one operator without parameters."""

    def lower(site: Site) -> None:
        for top in range(len(site.tops)):
            site.add(kind, site.x, top=top)

    return lower


def identity(site: Site) -> None:
    """Dropout and Split; those of forks that do something at test time are refused."""
    if len(site.tops) == 1 and not site.op.is_identity(site.layer):
        raise site.error("it stays active at test time, at random; remove it from the net")
    plain("Identity")(site)


def relu(site: Site) -> None:
    """Relu, or LeakyRelu with a slope."""
    slope = site.layer.params("relu_param").number("negative_slope")
    if slope:
        site.add("LeakyRelu", site.x, top=0, alpha=slope)
    else:
        site.add("Relu", site.x, top=0)


def elu(site: Site) -> None:
    """Elu."""
    alpha = site.layer.params("elu_param").number("alpha")
    site.add("Elu", site.x, top=0, alpha=alpha)


def clip(site: Site) -> None:
    """Clip by the layer's own limits."""
    params = site.layer.params("clip_param")
    _clipped(site, site.x, params.number("min"), params.number("max"), top=0)


def between(low: float, high: float) -> Lowering:
    """A type that clips to fixed limits: ReLU6, ReLU1."""

    def lower(site: Site) -> None:
        _clipped(site, site.x, low, high, top=0)

    return lower


def _clipped(site: Site, value: str, low: float, high: float, top: int | None = None) -> str:
    return site.add("Clip", value, site.const(low, "min"), site.const(high, "max"), top=top)


def prelu(site: Site) -> None:
    """PRelu with a slope for each channel, or one for all."""
    specs = site.op.weights(site.layer, site.shapes) or ()
    count = specs[0].shape[0]
    if count is None:
        raise site.unknown(site.layer.bottoms[0], site.shapes[0])
    slope = site.weight(0, (count, *(1,) * (site.rank - 2)) if count > 1 else (1,), "slope")
    site.add("PRelu", site.x, slope, top=0)


def exponential(site: Site) -> None:
    """base ^ (shift + scale * x); base -1 is e (exp_layer.cpp)."""
    params = site.layer.params("exp_param")
    base, scale, shift = map(params.number, ("base", "scale", "shift"))
    factor = 1.0 if base == -1 else log(base)
    value = site.moved(site.scaled(site.x, factor * scale), factor * shift)
    site.add("Exp", value, top=0)


def logarithm(site: Site) -> None:
    """log(shift + scale * x) to a base; -1 is e (log_layer.cpp)."""
    params = site.layer.params("log_param")
    base, scale, shift = map(params.number, ("base", "scale", "shift"))
    value = site.add("Log", site.moved(site.scaled(site.x, scale), shift))
    site.scaled(value, 1.0 if base == -1 else 1 / log(base), top=0)


def swish(site: Site) -> None:
    """x * sigmoid(beta * x) (swish_layer.cpp)."""
    beta = site.layer.params("swish_param").number("beta")
    gate = site.add("Sigmoid", site.scaled(site.x, beta))
    site.add("Mul", site.x, gate, top=0)


def mish(site: Site) -> None:
    """x * tanh(softplus(x))."""
    site.add("Mul", site.x, site.add("Tanh", site.add("Softplus", site.x)), top=0)


def hard_sigmoid(site: Site) -> None:
    """relu6(x + 3) / 6."""
    site.scaled(_clipped(site, site.moved(site.x, 3.0), 0.0, 6.0), 1 / 6, top=0)


def hard_swish(site: Site) -> None:
    """x * relu6(x + 3) / 6."""
    gate = site.scaled(_clipped(site, site.moved(site.x, 3.0), 0.0, 6.0), 1 / 6)
    site.add("Mul", site.x, gate, top=0)


def threshold(site: Site) -> None:
    """1 where x is more than the threshold, else 0."""
    limit = site.const(site.layer.params("threshold_param").number("threshold"), "threshold")
    site.add("Cast", site.add("Greater", site.x, limit), top=0, to=1)


def softmax(site: Site) -> None:
    """Softmax along an axis."""
    axis = canonical(site.layer, site.layer.params("softmax_param").integer("axis"), site.rank)
    site.add("Softmax", site.x, top=0, axis=axis)


def lrn(site: Site) -> None:
    """LRN across channels; within a channel, by the mean of squares around, where k is always 1."""
    params = site.layer.params("lrn_param")
    count, alpha, beta = params.integer("local_size"), params.number("alpha"), params.number("beta")
    if count % 2 == 0:
        raise site.error(f"its local_size is {count}; Caffe takes odd ones only")
    if params.enum("norm_region") == "ACROSS_CHANNELS":
        _across_channels(site, count, alpha, beta, params.number("k"))
        return
    window = Window(count, 1, count // 2)
    squares = site.add("Mul", site.x, site.x)
    mean = average(site, squares, site.extents(0, 2), site.extents(0, 2), (window, window))
    base = site.moved(site.scaled(mean, alpha), 1.0)
    site.add("Mul", site.x, site.add("Pow", base, site.const(-beta, "power")), top=0)


def _across_channels(site: Site, count: int, alpha: float, beta: float, k: float) -> None:
    """LRN; of a ``k`` with a fraction, which OpenVINO cuts off, k^-beta is taken out."""
    if k <= 0 or k.is_integer():
        site.add("LRN", site.x, top=0, size=count, alpha=alpha, beta=beta, bias=k)
        return
    value = site.add("LRN", site.x, size=count, alpha=alpha / k, beta=beta, bias=1.0)
    site.scaled(value, k**-beta, top=0)


def mvn(site: Site) -> None:
    """Mean 0 and, by default, deviation 1; eps is added to the deviation (mvn_layer.cpp)."""
    params = site.layer.params("mvn_param")
    axes = [1, 2, 3] if params.flag("across_channels") else [2, 3]
    value = site.x
    if site.rank < 4:
        value = site.reshape(value, four_axes(site.layer, site.shape))
    mean = site.reduce("ReduceMean", value, axes)
    if not params.flag("normalize_variance"):
        site.add("Sub", value, mean, top=0)
        return
    apart = site.add("Sub", value, mean)
    variance = site.reduce("ReduceMean", site.add("Mul", apart, apart), axes)
    deviation = site.moved(site.add("Sqrt", variance), params.number("eps"))
    site.add("Div", apart, deviation, top=0)


def normalize(site: Site) -> None:
    """x / sqrt(sum of squares + eps) * scale, of SSD (normalize_layer.cpp)."""
    params = site.params
    axes = list(range(1, site.rank)) if params.flag("across_spatial") else [1]
    total = site.reduce("ReduceSum", site.add("Mul", site.x, site.x), axes)
    norm = site.add("Sqrt", site.moved(total, params.number("eps")))
    specs = site.op.weights(site.layer, site.shapes) or ()
    count = specs[0].shape[0] or 1
    factor = site.weight(0, (count, *(1,) * (site.rank - 2)), "scale")
    site.add("Mul", site.add("Div", site.x, norm), factor, top=0)


def dropout(site: Site) -> None:
    """The identity, or, of DeepLab's ``scale_train: false``, a factor."""
    message = own_message(site.layer, "dropout_param")
    if "scale_train" in (field.name for field in message.fields):
        ratio = number_in(message, "dropout_ratio")
        if site.op.is_identity(site.layer):
            plain("Identity")(site)
        else:
            site.scaled(site.x, 1 - (ratio or 0.5), top=0)
        return
    identity(site)
