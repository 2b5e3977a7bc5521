"""Compare a converted training net with the deploy net its author wrote by hand.

``python -m tests.golden.pairs FOLDER...`` prints what differs; a FOLDER holds ``train.prototxt``
and ``deploy.prototxt``. What has no effect at inference is no difference: defaults written out,
learning rates, fillers, engine, how inputs are written, the batch size, the net's name.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import caffefold
from caffefold._proto import caffe_pb2
from caffefold.analysis.shapes import input_shapes
from caffefold.formats.prototxt.tree import Field, ListValue, Message, Scalar, unquote
from caffefold.ir.net import Layer, Net
from caffefold.options import Directions
from caffefold.passes.view.phase import SelectPhase
from caffefold.passes.view.placeholders import FillPlaceholders

CLASSES = 21  # for templates
_TRAINING = frozenset(
    {"param", "include", "exclude", "phase", "propagate_down", "loss_weight", "loss_param"}
    | {"transform_param", "engine", "use_global_stats", "moving_average_fraction"}
)


@dataclass(frozen=True)
class Line:
    """One layer as it counts at inference."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    params: str


def _of_one(net: Net) -> dict[str, tuple[int, ...]]:
    """The inputs for one image: how many an author runs at once is taste."""
    return {name: dims[1:] for name, dims in input_shapes(net).items()}


def lines(net: Net) -> list[Line]:
    """All layers but inputs, in order; a name that repeats is numbered."""
    found = []
    seen: Counter[str] = Counter()
    for x in net.layers:
        if x.type == "Input":
            continue
        name = f"{x.name}#{seen[x.name]}" if seen[x.name] else x.name
        seen[x.name] += 1
        found.append(Line(name, x.type, x.bottoms, x.tops, repr(sorted(_params(x).items()))))
    return found


def _params(layer: Layer) -> dict[str, Any]:
    """Every inference parameter: known fields with their defaults, forks' fields as written."""
    found: dict[str, Any] = {}
    for field in layer.body.fields:
        if field.name in _TRAINING or field.name in ("name", "type", "bottom", "top"):
            continue
        found.update(_flat(field, field.name))
    shared = [f.body.string("name") for f in layer.body.fields if f.name == "param"]
    if any(shared):
        found["param.name"] = shared
    return {**_defaults(layer.type), **found}


def _defaults(kind: str) -> dict[str, Any]:
    """Defaults of the message that belongs to a layer type, as the text would say them."""
    name = {"InnerProduct": "InnerProductParameter", "Deconvolution": "ConvolutionParameter"}.get(
        kind, f"{kind}Parameter"
    )
    descriptor = caffe_pb2.DESCRIPTOR.message_types_by_name.get(name)
    if descriptor is None:
        return {}
    layer = caffe_pb2.DESCRIPTOR.message_types_by_name["LayerParameter"]
    field = next((f.name for f in layer.fields if f.message_type is descriptor), None)
    if field is None:
        return {}
    made = {}
    for inner in descriptor.fields:
        if inner.has_default_value and inner.name != "engine" and not inner.is_repeated:
            value = inner.default_value
            if inner.enum_type is not None:
                value = inner.enum_type.values_by_number[value].name
            made[f"{field}.{inner.name}"] = _plain(str(value))
    conv = {"pad": "0", "stride": "1", "dilation": "1"} if "convolution" in field else {}
    made.update({f"{field}.{k}": _plain(v) for k, v in conv.items()})
    return made


def _flat(field: Field, path: str) -> Iterator[tuple[str, Any]]:
    values = field.value.items if isinstance(field.value, ListValue) else (field.value,)
    for value in values:
        if isinstance(value, Scalar):
            yield path, _plain(unquote(value.raw))
            continue
        assert isinstance(value, Message)
        counts: dict[str, int] = {}
        for inner in value.fields:
            if inner.name in _TRAINING or "filler" in inner.name:
                continue
            n = counts[inner.name] = counts.get(inner.name, -1) + 1
            yield from _flat(inner, f"{path}.{inner.name}" + (f"[{n}]" if n else ""))


def _plain(raw: str) -> Any:
    word = {"true": True, "false": False, "True": True, "False": False}.get(raw)
    if word is not None:
        return word
    try:
        return float(raw)
    except ValueError:
        return raw


def compare(found: Net, wanted: Net) -> list[str]:
    """What differs, one sentence each; nothing: the nets are equal at inference."""
    told = []
    if _of_one(found) != _of_one(wanted):
        told.append(f"inputs {_of_one(found)}, author {_of_one(wanted)}")
    ours, theirs = lines(found), lines(wanted)
    mine, other = {x.name: x for x in ours}, {x.name: x for x in theirs}
    for line in theirs:
        if line.name not in mine:
            told.append(f"missing {line.name} ({line.type}: {line.bottoms} -> {line.tops})")
    for line in ours:
        if line.name not in other:
            told.append(f"extra {line.name} ({line.type}: {line.bottoms} -> {line.tops})")
            continue
        author = other[line.name]
        for what in ("type", "bottoms", "tops"):
            if getattr(line, what) != getattr(author, what):
                told.append(
                    f"{line.name}: {what} {getattr(line, what)}, author {getattr(author, what)}"
                )
        if line.params != author.params:
            told.append(f"{line.name}: {_apart(line.params, author.params)}")
    order = [x.name for x in ours if x.name in other]
    if order != [x.name for x in theirs if x.name in mine]:
        told.append("the order of layers differs")
    return told


def _apart(one: str, two: str) -> str:
    ours, theirs = (set(map(repr, eval(text))) for text in (one, two))
    return f"has {sorted(ours - theirs)}, author {sorted(theirs - ours)}"


def differences(folder: Path, *, prototxt: str = "train.prototxt") -> tuple[list[str], Net]:
    """What differs for one pair, and the net that was made. Input shapes that the training net does
    not tell are taken from the author; a batch size is no difference."""
    author = deploy_net(folder / "deploy.prototxt")
    made = converted(folder / prototxt, author, "none")
    return compare(made, author), made


def deploy_net(path: Path) -> Net:
    """What an author runs; a template for as many classes as our own conversion is told."""
    author = caffefold.load(path)
    classes = CLASSES if "cls1x" in author.document.source else None
    return SelectPhase().run(FillPlaceholders(classes=classes).run(author).net).net


def converted(train: Path, author: Net, fold: Directions) -> Net:
    """The deploy net made of a training net's text; input shapes that the text does not tell are
    the author's."""
    template = "cls1x" in author.document.source
    given: dict[str, tuple[int, ...]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        prefix = Path(scratch) / "out"
        while True:
            try:
                caffefold.convert(
                    train,
                    None,
                    prefix,
                    fold=fold,
                    input_shapes=given,
                    classes=CLASSES if template else None,
                )
                break
            except caffefold.MissingShape as error:
                blob = error.blob
                if blob in given or blob not in input_shapes(author):
                    raise
                given[blob] = input_shapes(author)[blob]
        return caffefold.load(f"{prefix}.prototxt")


def main(folders: list[str]) -> None:
    """Print what differs for each folder."""
    for name in folders:
        try:
            told, made = differences(Path(name))
        except caffefold.CaffefoldError as error:
            print(f"{Path(name).name}: {error}")
            continue
        print(f"{Path(name).name}: {len(told)} differences, {len(made.layers)} layers")
        for line in told[:12]:
            print(f"    {line[:400]}")


if __name__ == "__main__":
    main(sys.argv[1:])
