"""Spoils prototxts and caffemodels: blindly, and where their structure is.

Every mutation takes the data, a source of random numbers, and the other seeds to splice with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

Mutation: TypeAlias = Callable[[bytes, Random, Sequence[bytes]], bytes]

# ------------------------------------------------------------------------------------- any bytes


def flip_bits(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        if out:
            out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def set_bytes(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if out:
            out[draw.randrange(len(out))] = draw.choice((0, 0x7F, 0x80, 0xFF, draw.randrange(256)))
    return bytes(out)


def truncate(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    return data[: draw.randrange(len(data) + 1)]


def drop_head(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    return data[draw.randrange(len(data) + 1) :]


def drop_range(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    start, stop = _range(data, draw)
    return data[:start] + data[stop:]


def repeat_range(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    start, stop = _range(data, draw)
    times = draw.choice((1, 1, 2, 10))
    return data[:stop] + data[start:stop] * times + data[stop:]


def move_range(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    start, stop = _range(data, draw)
    rest = data[:start] + data[stop:]
    at = draw.randrange(len(rest) + 1)
    return rest[:at] + data[start:stop] + rest[at:]


def splice(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    other = draw.choice(others)
    start, stop = _range(other, draw)
    at = draw.randrange(len(data) + 1)
    return data[:at] + other[start:stop] + data[draw.choice((at, draw.randrange(len(data) + 1))) :]


def insert_noise(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.randbytes(draw.choice((1, 2, 8, 100))) + data[at:]


def _range(data: bytes, draw: Random) -> tuple[int, int]:
    start = draw.randrange(len(data) + 1)
    longest = draw.choice((4, 40, 400, len(data)))
    return start, min(len(data), start + draw.randrange(longest + 1))


ANY: tuple[Mutation, ...] = (
    flip_bits,
    set_bytes,
    truncate,
    drop_head,
    drop_range,
    repeat_range,
    move_range,
    splice,
    insert_noise,
)

# ------------------------------------------------------------------------------------------ text

_TOKEN = re.compile(rb"[A-Za-z_]\w*|-?[0-9][\w.+-]*|\"[^\"\n]*\"|'[^'\n]*'|[{}<>\[\]:;,#]")
_NUMBER = re.compile(rb"(?<![\w.])-?[0-9][0-9.eE+-]*")
_OPENING = re.compile(rb"\b\w{1,30}[ \t]{0,3}:?\s{0,3}\{")
_BRACE = re.compile(rb"[{}]")
_MARKS = [bytes((c,)) for c in b"{}<>[]:;,#\"'\\$@\n\r\t \0\x0b\x0c/-+."]
_TOKENS = [
    *(
        b"layer layers name type bottom top param input input_dim input_shape include phase ${x} "
        b"@N@ {{n}} cls6x [a.b/c] true nan -inf 0x 1e999 - solver_type net net_param blobs_lr pad "
        b"weight_decay CONVOLUTION DATA padding conv kernel_size num_output axis group "
    ).split(),
    b"<<<<<<< HEAD\n",
    b"=======\n",
    b">>>>>>> x\n",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "größe 層 \U0001f600".encode(),
]
_NUMBERS = [
    *(
        b"0 -1 -0 1.5 2147483648 -9223372036854775809 18446744073709551616 1e308 1e-400 nan "
        b"inf 0x7fffffffffffffff 08 1000000000 "
    ).split(),
    b"9" * 400,
    b"1" * 5000,
]
_STRINGS = [
    rb'"\U0011FFFF"',
    rb'"\UFFFFFFFF"',
    rb'"\ud800"',
    rb'"\x"',
    rb'"\400"',
    rb'"\777"',
    rb'"\0"',
    rb'"\q\\\""',
    rb"'it\'s'",
    b'"\xff\xfe"',
    b'""',
    b'"a" "b"\n"c"',
    b"\"a\" 'b' # c\n 'd'",
    b'"' + b"x" * 70_000 + b'"',
    b'"../../etc/passwd"',
    b'"a\tb\x01"',
]


def swap_mark(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.choice(_MARKS) + data[at + draw.choice((0, 1)) :]


def swap_token(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    return _replaced(_TOKEN, data, draw, draw.choice((_TOKENS, _NUMBERS, _STRINGS, [b""])), others)


def swap_number(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    return _replaced(_NUMBER, data, draw, _NUMBERS, others)


def _replaced(
    pattern: re.Pattern[bytes],
    data: bytes,
    draw: Random,
    new: Sequence[bytes],
    others: Sequence[bytes],
) -> bytes:
    del others
    found = pattern.search(data, draw.randrange(len(data) + 1)) or pattern.search(data)
    if found is None:
        return data + draw.choice(new)
    return data[: found.start()] + draw.choice(new) + data[found.end() :]


def nest(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    left, right = draw.choice(
        (
            (b"a{", b"}"),
            (b"a<", b">"),
            (b"a:[{", b"}]"),
            (b"a:[", b"]"),
            (b"[", b"]"),
            (b"a{b:1 ", b""),
        )
    )
    depth = draw.choice((2, 50, 99, 100, 101, 1000))
    deep = left * depth + right * draw.choice((depth, depth - 1, 0))
    at = draw.randrange(len(data) + 1)
    return data[:at] + deep + data[at:]


def stretch(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    """A very long run of one thing: what a backtracking pattern may choke on."""
    del others
    unit = draw.choice(
        [
            *_MARKS,
            b"# ",
            b"#\n",
            b'"a" ',
            b"'",
            b"a: ",
            b"- ",
            b"${",
            b"{{",
            b"}}",
            b"a ",
            b"\\",
            b"a:1,",
        ]
    )
    run = unit * draw.choice((10, 100, 1_000, 10_000))
    at = draw.randrange(len(data) + 1)
    return data[:at] + run + data[at:]


def move_block(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    """A ``name { ... }`` of this or another file left out, repeated, or put into another."""
    mine, other = _block(data, draw), draw.choice((data, draw.choice(others)[:20_000]))
    start, stop = _block(other, draw)
    new = draw.choice((b"", data[slice(*mine)] * 2, other[start:stop]))
    at = draw.choice((mine[0], data.rfind(b"}", 0, mine[1]), 0))
    if draw.random() < 0.5:
        return data[: max(at, 0)] + b" " + new + b" " + data[max(at, 0) :]
    return data[: mine[0]] + new + data[mine[1] :]


def _block(data: bytes, draw: Random) -> tuple[int, int]:
    """Where some ``name { ... }`` stands; braces in strings are not looked at."""
    found = _OPENING.search(data, draw.randrange(len(data) + 1)) or _OPENING.search(data)
    if found is None:
        return 0, len(data)
    depth = 1
    for brace in _BRACE.finditer(data, found.end()):
        depth += 1 if brace[0] == b"{" else -1
        if not depth:
            return found.start(), brace.end()
    return found.start(), len(data)


def wrap(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    """All of it, or a block, as the content of something else."""
    del others
    start, stop = draw.choice(((0, len(data)), _block(data, draw)))
    head = draw.choice(
        (b"net_param {", b"train_net_param: <", b"layers { layer {", b"layer {", b"layers: [{")
    )
    tail = bytes(
        {b"{"[0]: b"}"[0], b"<"[0]: b">"[0], b"["[0]: b"]"[0]}[c] for c in head[::-1] if c in b"{<["
    )
    return data[:start] + head + data[start:stop] + b"\n" + tail + data[stop:]


TEXT: tuple[Mutation, ...] = (
    *ANY,
    swap_mark,
    swap_token,
    swap_token,
    swap_token,
    swap_number,
    swap_number,
    nest,
    stretch,
    move_block,
    move_block,
    wrap,
)

# ------------------------------------------------------------------------------------ wire format

# Kind of message -> number of a field -> kind of message in it. V1 has blobs in field 6.
_NESTED: dict[str, dict[int, str]] = {
    "net": {2: "layers", 8: "shape", 100: "layer"},
    "layers": {1: "v0", 6: "blob", 10: "leaf", 17: "leaf", 36: "leaf"},
    "layer": {6: "leaf", 7: "blob", 106: "leaf", 117: "leaf", 139: "leaf", 142: "leaf"},
    "v0": {50: "blob"},
    "blob": {7: "shape"},
}
_VALUES = (0, 1, 127, 128, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63, 2**64 - 1)


def varint(value: int, padding: int = 0) -> bytes:
    """A varint, made longer than it need be by ``padding`` bytes."""
    out = bytearray()
    while value > 0x7F or padding > 0:
        padding -= value <= 0x7F
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def lengths(data: bytes) -> list[tuple[int, int, int]]:
    """(where the length stands, where the payload starts, its end) of fields, and of theirs."""
    found: list[tuple[int, int, int]] = []
    waiting = [("net", 0, len(data))]
    while waiting:
        kind, at, end = waiting.pop()
        while at < end:
            key, at = _read(data, at, end)
            if key & 7 == 0:
                _, at = _read(data, at, end)
            elif key & 7 == 1:
                at += 8
            elif key & 7 == 5:
                at += 4
            elif key & 7 == 2:
                place = at
                size, at = _read(data, at, end)
                if at + size > end:
                    break
                found.append((place, at, at + size))
                inner = _NESTED.get(kind, {}).get(key >> 3)
                if inner is not None:
                    waiting.append((inner, at, at + size))
                at += size
            else:
                break
    return found


def _read(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
        shift += 7
    return value, end


def change_length(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    place, start, end = _pick(data, draw)
    size = end - start
    new = draw.choice((size + 1, max(size - 1, 0), 0, size * 2, draw.choice(_VALUES)))
    padding = draw.choice((0, 0, 0, 1, 5, 9, 12))
    del others
    return data[:place] + varint(new, padding) + data[start:]


def change_payload(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    """Another payload, with lengths that agree only at this level."""
    place, start, end = _pick(data, draw)
    payload = data[start:end]
    mutation = draw.choice((flip_bits, set_bytes, drop_range, repeat_range, splice, insert_noise))
    new = mutation(payload, draw, others)
    return data[:place] + varint(len(new)) + new + data[end:]


def change_shape(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    place, _, end = _pick(data, draw)
    count = draw.choice((0, 1, 2, 4, 31, 33, 1000))
    dims = b"".join(
        varint(draw.choice((*_VALUES, 3, 2**64 - draw.randrange(1, 9)))) for _ in range(count)
    )
    new = draw.choice((b"\x0a" + varint(len(dims)) + dims, dims))
    return data[:place] + varint(len(new)) + new + data[end:]


def change_tag(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    place, _, _ = _pick(data, draw)
    number = draw.choice((0, 1, 2, 5, 6, 7, 8, 10, 12, 100, 2**29 - 1, 2**29, draw.randrange(200)))
    tag = varint(number << 3 | draw.randrange(8), draw.choice((0, 0, 1, 9)))
    return data[: max(place - draw.choice((1, 2)), 0)] + tag + data[place:]


def insert_field(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    place, start, _ = _pick(data, draw)
    number = draw.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 50, 100, 106, 137, 150, 1001, 5000))
    value = draw.choice(_VALUES)
    field = draw.choice(
        (
            varint(number << 3) + varint(value),
            varint(number << 3 | 1) + draw.randbytes(8),
            varint(number << 3 | 5) + draw.randbytes(4),
            varint(number << 3 | 2) + varint(5) + draw.randbytes(5),
            varint(number << 3 | 2) + varint(value),
            (varint(number << 3 | 5) + draw.randbytes(4)) * 500,
        )
    )
    at = draw.choice((place, start, 0, len(data)))
    return data[:at] + field + data[at:]


def drop_field(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    """A field of the net left out whole, or put somewhere else."""
    del others
    starts, at = [0], 0
    while at < len(data):
        _, at = _read(data, at, len(data))
        size, at = _read(data, at, len(data))
        at += size
        starts.append(min(at, len(data)))
    index = draw.randrange(len(starts))
    field = data[starts[index] : starts[min(index + 1, len(starts) - 1)]]
    rest = data[: starts[index]] + data[starts[index] + len(field) :]
    place = draw.choice((0, len(rest)))
    return draw.choice((rest, rest[:place] + field + rest[place:]))


def nest_messages(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    inner = b""
    for _ in range(draw.choice((10, 101, 1000))):
        inner = varint(draw.choice((7, 100, 2)) << 3 | 2) + varint(len(inner)) + inner
    place, start, _ = _pick(data, draw)
    at = draw.choice((place, start, len(data)))
    return data[:at] + inner + data[at:]


def many_layers(data: bytes, draw: Random, others: Sequence[bytes]) -> bytes:
    del others
    record = draw.choice(
        (b"\xa2\x06\x00", b"\x12\x00", b"\xa2\x06\x02\x3a\x00", b"\xa2\x06\x03\x0a\x01a")
    )
    return data + record * draw.choice((10, 10, 100, 3000))


def _pick(data: bytes, draw: Random) -> tuple[int, int, int]:
    return draw.choice(lengths(data) or [(0, 0, len(data))])


WIRE: tuple[Mutation, ...] = (
    *ANY,
    change_length,
    change_length,
    change_payload,
    change_payload,
    change_shape,
    change_tag,
    insert_field,
    drop_field,
    nest_messages,
    many_layers,
)


# One of these leaves most of a file as it was: it is read, and the passes see it.
GENTLE_TEXT: tuple[Mutation, ...] = (swap_token, swap_number, swap_number, move_block)
GENTLE_WIRE: tuple[Mutation, ...] = (flip_bits, set_bytes, change_shape, insert_field, drop_field)


def spoil(
    data: bytes, draw: Random, others: Sequence[bytes], mutations: Sequence[Mutation]
) -> bytes:
    """``data`` after one or a few mutations."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        data = draw.choice(mutations)(data, draw, others)
    return data
