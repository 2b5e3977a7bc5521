"""Nets of one shape and any size, as prototxt text: what time and memory may grow with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

INPUT = 'input: "data" input_shape {{ dim: 1 dim: {} dim: 2 dim: 2 }}\n'
CONV = "convolution_param {{ num_output: {} kernel_size: 1 }}"
POWER = "power_param { scale: 2 shift: 1 }"


def layer(name: str, kind: str, bottoms: str = "", tops: str = "", rest: str = "") -> str:
    """One layer; blobs separated by spaces, the top is called like the layer when not given."""
    wires = [f'bottom: "{blob}"' for blob in bottoms.split()]
    wires += [f'top: "{blob}"' for blob in (tops or name).split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(wires)} {rest} }}\n'


def _net(layers: Iterable[str], channels: int = 2) -> str:
    return INPUT.format(channels) + "".join(layers)


def _names(prefix: str, count: int) -> str:
    return " ".join(f"{prefix}{i}" for i in range(count))


def _conv(name: str, bottom: str, outputs: int = 2) -> str:
    return layer(name, "Convolution", bottom, rest=CONV.format(outputs))


def ordinary(count: int) -> str:
    """Convolution, BatchNorm, Scale and ReLU, five layers with Dropout at every second."""
    made, last = [], "data"
    for i in range(count // 5):
        made += [
            _conv(f"c{i}", last),
            layer(f"b{i}", "BatchNorm", f"c{i}", f"c{i}"),
            layer(f"s{i}", "Scale", f"c{i}", f"c{i}", "scale_param { bias_term: true }"),
            layer(f"r{i}", "ReLU", f"c{i}", f"c{i}"),
            layer(f"d{i}", "Dropout", f"c{i}", f"d{i}" if i % 2 else f"c{i}"),
        ]
        last = f"d{i}" if i % 2 else f"c{i}"
    return _net(made)


def power_readers(count: int) -> str:
    """Affine readers of one convolution, each another map."""
    rest = "power_param {{ scale: 2 shift: {} }}"
    made = (layer(f"p{i}", "Power", "c", rest=rest.format(i)) for i in range(count))
    return _net([_conv("c", "data"), *made])


def alike_readers(count: int) -> str:
    """Affine readers of one convolution, all the same map."""
    made = (layer(f"p{i}", "Power", "c", rest=POWER) for i in range(count))
    ends = (layer(f"r{i}", "ReLU", f"p{i}") for i in range(count))
    return _net([_conv("c", "data"), *made, *ends])


def alike_readers_left(count: int) -> str:
    """Affine readers of the input, all the same map: nobody takes it."""
    made = (layer(f"p{i}", "Power", "data", rest=POWER) for i in range(count))
    return _net(made)


def slice_powers(count: int) -> str:
    """A Slice of a convolution, each part with a map of its own."""
    made = (layer(f"p{i}", "Power", f"a{i}", rest=POWER) for i in range(count))
    ends = (layer(f"r{i}", "ReLU", f"p{i}") for i in range(count))
    cut = layer("s", "Slice", "c", _names("a", count))
    return _net([_conv("c", "data", count), cut, *made, *ends])


def inputs(count: int) -> str:
    """Blobs from outside."""
    heads = (f'input: "x{i}" input_shape {{ dim: 1 dim: 2 }}\n' for i in range(count))
    return "".join([*heads, *(layer(f"r{i}", "ReLU", f"x{i}") for i in range(count))])


def data_losses(count: int) -> str:
    """A net of its own for each loss, with its own data."""
    shape = "memory_data_param { batch_size: 1 channels: 2 height: 2 width: 2 }"
    made = (
        layer(f"m{i}", "MemoryData", "", f"x{i} l{i}", shape)
        + _conv(f"c{i}", f"x{i}")
        + layer(f"e{i}", "SoftmaxWithLoss", f"c{i} l{i}")
        for i in range(count // 3)
    )
    return "".join(made)


def losses(count: int) -> str:
    """Losses that read one label."""
    shape = "memory_data_param { batch_size: 1 channels: 2 height: 2 width: 2 }"
    made = (
        _conv(f"c{i}", "x") + layer(f"e{i}", "SoftmaxWithLoss", f"c{i} l")
        for i in range(count // 2)
    )
    return "".join([layer("m", "MemoryData", "", "x l", shape), *made])


def dropouts(count: int) -> str:
    """Dropout behind Dropout."""
    made = (layer(f"d{i}", "Dropout", f"d{i - 1}" if i else "c") for i in range(count))
    return _net([_conv("c", "data"), *made])


def in_place(count: int) -> str:
    """One blob, written in place again and again."""
    kinds = ("ReLU", "Power")
    made = (layer(f"p{i}", kinds[i % 2], "c", "c", POWER if i % 2 else "") for i in range(count))
    return _net([_conv("c", "data"), *made])


def shared(count: int) -> str:
    """Convolutions that share their weights by name."""
    rest = 'param { name: "w" } param { name: "b" } ' + CONV.format(2)
    made = (
        layer(f"c{i}", "Convolution", f"c{i - 1}" if i else "data", rest=rest) for i in range(count)
    )
    return _net([*made, layer("p", "Power", f"c{count - 1}", rest=POWER)])


def concat(count: int) -> str:
    """Convolutions joined by one Concat, with a map behind it."""
    made = (_conv(f"c{i}", "data") for i in range(count))
    join = layer("j", "Concat", _names("c", count))
    return _net([*made, join, layer("n", "BatchNorm", "j"), layer("r", "ReLU", "n")])


def concat_maps(count: int) -> str:
    """Maps joined by one Concat, with a convolution behind it."""
    made = (
        layer(f"r{i}", "ReLU", "data") + layer(f"p{i}", "Power", f"r{i}", rest=POWER)
        for i in range(count // 2)
    )
    join = layer("j", "Concat", _names("p", count // 2))
    return _net([*made, join, _conv("c", "j")])


def swapped(count: int) -> str:
    """Slice and Concat in another order, again and again, between a convolution and a map."""
    made, last = [], "c"
    for i in range(count // 2):
        made.append(layer(f"s{i}", "Slice", last, f"a{i} b{i}", "slice_param { slice_point: 1 }"))
        made.append(layer(f"j{i}", "Concat", f"b{i} a{i}"))
        last = f"j{i}"
    tail = [layer("n", "BatchNorm", last), layer("r", "ReLU", "n")]
    return _net([_conv("c", "data", 4), *made, *tail])


def pools(count: int) -> str:
    """Average pooling and maps in turn, behind a convolution."""
    rest = "pooling_param { pool: AVE kernel_size: 1 }"
    made, last = [], "c"
    for i in range(count // 2):
        made.append(layer(f"a{i}", "Pooling", last, rest=rest))
        made.append(layer(f"p{i}", "Power", f"a{i}", rest=POWER))
        last = f"p{i}"
    return _net([_conv("c", "data"), *made, layer("r", "ReLU", last)])


def pools_down(count: int) -> str:
    """Average pooling and maps in turn, in front of a convolution."""
    rest = "pooling_param { pool: AVE kernel_size: 1 }"
    made, last = [], "r"
    for i in range(count // 2):
        made.append(layer(f"p{i}", "Power", last, rest=POWER))
        made.append(layer(f"a{i}", "Pooling", f"p{i}", rest=rest))
        last = f"a{i}"
    return _net([layer("r", "ReLU", "data"), *made, _conv("c", last)])


SHAPES: dict[str, Callable[[int], str]] = {
    made.__name__: made
    for made in (
        *(ordinary, power_readers, alike_readers, alike_readers_left, slice_powers, inputs),
        *(data_losses, losses, dropouts, in_place, shared, concat, concat_maps, swapped, pools),
        pools_down,
    )
}
