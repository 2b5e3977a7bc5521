"""One folder of a zoo, read: what each file is, by its content, and which nets fit which weights.

Runs in worker processes: what goes in and comes out is plain data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path, PurePosixPath

from caffefold.analysis import fit
from caffefold.errors import CaffefoldError, InputError
from caffefold.formats import detect
from caffefold.formats.caffemodel.describe import to_document
from caffefold.formats.caffemodel.index import WeightsFile
from caffefold.formats.caffemodel.open import open_snapshot
from caffefold.formats.prototxt import parse
from caffefold.formats.prototxt.open import net_of, read_net
from caffefold.formats.upgrade.solver import is_solver
from caffefold.frozen import dataclass
from caffefold.ir.net import Net
from caffefold.ops.table import op
from caffefold.passes.view.phase import State, included

_TEXT_SUFFIXES = (".prototxt", ".pbtxt", ".prototxt.txt", ".prototext")
_WEIGHTS_SUFFIXES = (".caffemodel", ".caffemodel.h5")
# NetParameter begins with its name (1), a V1 layer (2), a legacy input (3) or a layer (100).
_NET_STARTS = (b"\x0a", b"\x12", b"\x1a", b"\xa2\x06")
_NET_TEXT = re.compile(rb"^[ \t]*(?:layers?|net|train_net|net_param)[ \t]*[:{]", re.MULTILINE)
_TEMPLATE = re.compile(r":\s*(cls\d+x|\$\{\w+\}|@\w+@|\{\{\s*\w+\s*\}\})")  # a placeholder
_MAX_TEXT = 1 << 26
_RELATED = 0.5  # share of a net's learned layers that weights must know to be of its kind


@dataclass(frozen=True, slots=True)
class NetFacts:
    """A prototxt."""

    path: str
    role: str = ""
    """``train``, ``test`` or ``deploy``; ``solver`` when the net is in another file."""
    layers: frozenset[str] = frozenset()
    """Names of the layers that hold learned numbers."""
    template: bool = False
    net: str = ""
    """Of a solver: the file of its net, as written."""
    snapshots: str = ""
    """Of a solver: its snapshot_prefix."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class WeightsFacts:
    """A caffemodel."""

    path: str
    layers: frozenset[str] = frozenset()
    shape: str = ""
    """Equal for snapshots of one net: a digest of names and shapes."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well weights and a net fit, by names and shapes of layers."""

    weights: str
    net: str
    shared: int
    missing: int = 0
    wrong: int = 0
    strangers: tuple[str, ...] = ()
    """Layers with numbers that the net does not know."""
    feeding: tuple[str, ...] = ()
    """Those among them through which layers of the net were fed when the snapshot was taken."""
    unlike: int = 0
    """Differences that do not keep them from fitting: other wiring, types, name of the net."""

    @property
    def fits(self) -> bool:
        """Whether the weights are those of the net, beyond doubt."""
        return not (self.missing or self.wrong or self.feeding)


@dataclass(frozen=True, slots=True)
class Found:
    """Prototxts and caffemodels by path; by caffemodel, how it fits the nets it was compared to."""

    nets: dict[str, NetFacts] = field(default_factory=dict)
    weights: dict[str, WeightsFacts] = field(default_factory=dict)
    agreements: dict[str, list[Agreement]] = field(default_factory=dict)


def is_prototxt(path: str) -> bool:
    """Whether a file is called as prototxts are."""
    return path.endswith(_TEXT_SUFFIXES)


def read_folder(files: Iterable[tuple[str, Path]]) -> Found:
    """Read the files of a folder: pairs of the path in the zoo and the path on the disk."""
    found = Found()
    given: list[tuple[str, Path, bool]] = []
    read: dict[str, Net] = {}  # needed again for each of the weights
    for path, place in files:
        named = path.endswith(_WEIGHTS_SUFFIXES)
        try:
            head = detect.head_of(place, "file")
        except InputError as error:
            if named:
                found.weights[path] = WeightsFacts(path, error=str(error))
            elif is_prototxt(path):
                found.nets[path] = NetFacts(path, error=str(error))
            continue
        if named:
            given.append((path, place, True))
        elif is_prototxt(path) or (detect.is_text(head) and _may_be_net(place)):
            net = _net(path, place, read)
            if not net.error or is_prototxt(path):
                found.nets[path] = net
        elif head.startswith(_NET_STARTS) and not detect.is_text(head):
            given.append((path, place, False))
    for path, place, named in given:
        facts, agreements = _weights(path, place, found.nets.values(), read)
        if named or (facts.layers and not facts.error):
            found.weights[path] = facts
            found.agreements[path] = agreements
    return found


def related(weights: WeightsFacts, nets: Iterable[NetFacts]) -> list[NetFacts]:
    """The nets of which the weights know at least half of the learned layers."""
    return [
        net
        for net in nets
        if net.layers and len(net.layers & weights.layers) >= _RELATED * len(net.layers)
    ]


def compare(
    work: tuple[tuple[WeightsFacts, Path], list[tuple[NetFacts, Path]]],
) -> list[Agreement]:
    """Agreements of weights with nets of other folders; of each the path on the disk."""
    (weights, place), nets = work
    read = {facts.path: Net.of(read_net(path).document) for facts, path in nets}
    with open_snapshot(str(place)) as file:
        return _agreements(weights, file, [facts for facts, _ in nets], read)


def _may_be_net(place: Path) -> bool:
    with place.open("rb") as file:
        data = file.read(_MAX_TEXT + 1)
    return len(data) <= _MAX_TEXT and _NET_TEXT.search(data) is not None


def _net(path: str, place: Path, read: dict[str, Net]) -> NetFacts:
    try:
        document = parse.read(place)
        prefix = ""
        if is_solver(document):
            prefix = document.root.string("snapshot_prefix")
            named = document.root.string("net") or document.root.string("train_net")
            if named:
                return NetFacts(path, "solver", net=named, snapshots=prefix)
        net = Net.of(net_of(document).document)
        layers = frozenset(layer.name for layer in net.layers if fit.wants_blobs(layer))
        template = _TEMPLATE.search(net.document.source) is not None
        facts = NetFacts(path, _role(net), layers, template, snapshots=prefix)
    except CaffefoldError as error:
        return NetFacts(path, error=str(error))
    read[path] = net
    return facts


def _role(net: Net) -> str:
    train = State("TRAIN")
    data = [layer for layer in net.layers if op(layer).is_data(layer)]
    try:
        if data and not any(included(layer, train) for layer in data):
            return "test"
    except CaffefoldError:  # convert will say so, if this net is chosen
        return "train"
    if any(op(layer).is_loss(layer) for layer in net.layers):
        return "train"
    return "test" if data else "deploy"


def _weights(
    path: str, place: Path, nets: Iterable[NetFacts], read: Mapping[str, Net]
) -> tuple[WeightsFacts, list[Agreement]]:
    """What a caffemodel holds, and how it fits the nets beside it."""
    try:
        with open_snapshot(str(place)) as file:
            learned = [record for record in file.layers if record.blobs]
            shapes = sorted((r.name, [tuple(b.shape) for b in r.blobs]) for r in learned)
            digest = hashlib.sha256(repr(shapes).encode("utf-8", "surrogateescape")).hexdigest()
            names = frozenset(record.name for record in learned)
            facts = WeightsFacts(path, names, digest)
            return facts, _agreements(facts, file, related(facts, nets), read)
    except CaffefoldError as error:
        return WeightsFacts(path, error=str(error)), []


def _agreements(
    facts: WeightsFacts, file: WeightsFile, candidates: Sequence[NetFacts], nets: Mapping[str, Net]
) -> list[Agreement]:
    paths = [each.path for each in candidates if each.path in nets]
    paired = {path: Net.of(nets[path].document, file) for path in paths}
    found = [_agreement(facts.path, path, net, file) for path, net in paired.items()]
    if sum(agreement.fits for agreement in found) < 2:
        return found
    return [replace(each, unlike=_unlike(paired[each.net], file)) for each in found]


def _agreement(weights: str, path: str, net: Net, file: WeightsFile) -> Agreement:
    missing = wrong = shared = 0
    for layer in net.layers:
        if fit.wants_blobs(layer):
            shared += layer.record is not None
            missing += not layer.blobs
            wrong += bool(layer.blobs and fit.known_differences(layer))
    known = {layer.name for layer in net.layers}
    strangers = [record for record in file.layers if record.blobs and record.name not in known]
    feeding = _feeding(file, known) if strangers else ()
    names = tuple(record.name for record in strangers)
    return Agreement(weights, path, shared, missing, wrong, names, feeding)


def _unlike(net: Net, file: WeightsFile) -> int:
    """How much the net differs from the one that the snapshot was taken of."""
    stored = {layer.name: layer for layer in Net.of(to_document(file)).layers}
    unlike = int(bool(file.name) and file.name != net.name)
    for layer in net.layers:
        other = stored.get(layer.name)
        unlike += other is None or bool(
            other.tops and (other.type, other.tops) != (layer.type, layer.tops)
        )
    return unlike


def _feeding(file: WeightsFile, known: set[str]) -> tuple[str, ...]:
    """Strangers with numbers that known layers with numbers depended on, by the file's wiring."""
    learned = {record.name for record in file.layers if record.blobs}
    behind: dict[str, frozenset[str]] = {}
    feeding: dict[str, None] = {}
    for layer in Net.of(to_document(file)).layers:
        sources = frozenset[str]().union(*(behind.get(b, frozenset()) for b in layer.bottoms))
        if layer.name in learned and layer.name in known:
            feeding.update(dict.fromkeys(sorted(sources)))
            sources = frozenset()  # named once
        elif layer.name in learned:
            sources |= {layer.name}
        behind.update(dict.fromkeys(layer.tops, sources))
    return tuple(feeding)


def folder_of(path: str) -> str:
    """The folder of a path in the zoo; ``.`` for the root."""
    return str(PurePosixPath(path).parent)
