"""Small texts that ask for much: sizes nobody has, and joins that double."""

from __future__ import annotations

from tests.support.growing import layer

POWER = "power_param { scale: 2 shift: 1 }"
AVERAGE = "pooling_param { pool: AVE kernel_size: 1 }"


def given(*dims: int) -> str:
    """An Input layer."""
    shape = " ".join(f"dim: {dim}" for dim in dims)
    return layer("in", "Input", "", "x", f"input_param {{ shape {{ {shape} }} }}")


def conv(bottom: str, outputs: int = 4, more: str = "kernel_size: 1", kind: str = "") -> str:
    """A Convolution ``cv``."""
    params = f"convolution_param {{ num_output: {outputs} {more} }}"
    return layer("cv", kind or "Convolution", bottom, rest=params)


def norm(bottom: str) -> str:
    """BatchNorm and Scale; the result is ``sc``."""
    return layer("bn", "BatchNorm", bottom) + layer(
        "sc", "Scale", "bn", rest="scale_param { bias_term: true }"
    )


def doubled(times: int, blob: str) -> str:
    """Concat of a blob with itself, so often; the result is ``end``."""
    tops = [*(f"y{i}" for i in range(times - 1)), "end"]
    reads = [blob, *tops]
    joins = zip(tops, reads, strict=False)
    return "".join(layer(f"j{i}", "Concat", f"{b} {b}", t) for i, (t, b) in enumerate(joins))


def swapped(times: int, blob: str) -> str:
    """Slice and Concat in another order, so often; the result is ``end``."""
    text = ""
    for i in range(times):
        top = "end" if i == times - 1 else f"y{i}"
        text += layer(f"s{i}", "Slice", blob, f"a{i} b{i}")
        text += layer(f"j{i}", "Concat", f"b{i} a{i}", top)
        blob = top
    return text


def chained(kind: str, times: int, rest: str) -> str:
    """One layer behind another from ``x`` on; the last is ``t`` with the number before times."""
    return "".join(layer(f"t{i}", kind, f"t{i - 1}" if i else "x", rest=rest) for i in range(times))


BILLION = 10**9
SMALL = given(1, 4, 4, 4)
OUTPUTS = "inner_product_param { num_output: 2000000000 }"
STRIDE = "convolution_param { num_output: 4 kernel_size: 4 stride: 1000000 }"
WIDE_DATA = 'data_param { batch_size: 4294967295 source: "x" }'
WIDE_CROP = "transform_param { crop_size: 4294967295 }"
BOMBS: dict[str, str] = {
    "a billion channels, BatchNorm": given(1, BILLION, 1, 1) + layer("bn", "BatchNorm", "x"),
    "a billion channels, chain": given(1, BILLION, 1, 1) + norm("x"),
    "a billion channels into a product": given(1, BILLION, 1, 1)
    + layer("ip", "InnerProduct", "x", rest="inner_product_param { num_output: 10 }")
    + norm("ip"),
    "a billion channels into a convolution": given(1, BILLION, 1, 1) + norm("x") + conv("sc"),
    "a billion channels in half": given(1, BILLION, 1, 1)
    + layer("s", "Slice", "x", "a b")
    + layer("p", "Power", "a", rest=POWER)
    + conv("p"),
    "a billion channels of a constant": layer(
        "d", "DummyData", "", "x", "dummy_data_param { shape { dim: 1000000000 dim: 1000000000 } }"
    )
    + norm("x"),
    "2e18 channels": given(1, 2 * 10**18, 1, 1) + norm("x"),
    "2e18 rows": given(1, 3, 2 * 10**18, 1) + conv("x") + norm("cv"),
    "old sizes": 'input: "x"' + " input_dim: 2147483647" * 4 + "\n" + conv("x") + norm("cv"),
    "2e9 outputs": given(1, 3, 4, 4) + conv("x", 2 * 10**9) + norm("cv"),
    "1e8 outputs": given(1, 3, 1, 1) + conv("x", 10**8) + norm("cv"),
    "1e6 outputs": given(1, 3, 1, 1) + conv("x", 10**6) + norm("cv"),
    "2e9 outputs of a product": SMALL + layer("ip", "InnerProduct", "x", rest=OUTPUTS) + norm("ip"),
    "a window of 30,000": given(1, 3, 30000, 30000) + conv("x", 4, "kernel_size: 30000"),
    "a window of 30,000, folded": given(1, 1, 30000, 30000)
    + conv("x", 1, "kernel_size: 30000")
    + norm("cv"),
    "a window of 5,000": given(1, 1, 5000, 5000) + norm("x") + conv("sc", 2, "kernel_size: 5000"),
    "a window of 30,000 in padding": SMALL
    + conv("x", 4, "kernel_size: 30000 pad: 15000")
    + norm("cv"),
    "a million groups": given(1, 10**6, 1, 1) + conv("x", 10**6, "group: 1000000") + norm("cv"),
    "depthwise": given(1, 10**8, 1, 1)
    + conv("x", 10**8, "kernel_size: 1", "DepthwiseConvolution")
    + norm("cv"),
    **{f"doubled {n} times": SMALL + doubled(n, "x") + norm("end") for n in (20, 24, 28, 1000)},
    **{
        f"a map doubled {n} times": SMALL
        + layer("p", "Power", "x", rest=POWER)
        + doubled(n, "p")
        + conv("end")
        for n in (24, 1000)
    },
    **{
        f"a convolution doubled {n} times": SMALL
        + conv("x")
        + doubled(n, "cv")
        + layer("p", "Power", "end", rest=POWER)
        for n in (24, 1000)
    },
    "swapped, map behind": SMALL + conv("x") + swapped(400, "cv") + norm("end"),
    "swapped, map in front": SMALL + norm("x") + swapped(400, "sc") + conv("end"),
    "tiles of tiles": SMALL + chained("Tile", 50, "tile_param { tiles: 2000000000 }") + norm("t49"),
    "strides of strides": SMALL + chained("Deconvolution", 50, STRIDE) + norm("t49"),
    "pools": SMALL + chained("Pooling", 1000, AVERAGE) + norm("t999"),
    "data": layer("d", "Data", "", "x l", WIDE_DATA + WIDE_CROP)
    + conv("x")
    + norm("cv")
    + layer("e", "SoftmaxWithLoss", "sc l"),
    "many axes": given(*[2] * 40) + norm("x"),
    "large layers, many of them": given(1, 3, 1, 1)
    + "".join(
        conv("x", 250_000).replace('"cv"', f'"cv{i}"')
        + norm(f"cv{i}").replace('"bn"', f'"bn{i}"').replace('"sc"', f'"sc{i}"')
        for i in range(50)
    ),
}
