"""What an export did: as values, as text on screen and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from caffefold._version import VERSION
from caffefold.frozen import dataclass
from caffefold.humanize import counted, json_text, size
from caffefold.report import SCHEMA, FileSize

if TYPE_CHECKING:
    from caffefold.check.agreement import Agreement
    from caffefold.check.verdict import Verification

_LABEL = 10
_SHOWN = 8
_OWN = ("agreement", "verification")


class Port(NamedTuple):
    """An input or output of a model; None is an extent that depends on what comes in."""

    name: str
    shape: tuple[int | str | None, ...] | None
    type: str = "float32"

    def __str__(self) -> str:
        if self.shape is None:
            return self.name
        return f"{self.name} {'x'.join('?' if d is None else str(d) for d in self.shape) or '1'}"


@dataclass(frozen=True, slots=True, repr=False)
class ExportReport:
    """Everything that is known of one export."""

    net: str
    inputs: tuple[FileSize, ...]
    outputs: tuple[FileSize, ...]
    opset: int
    target: str
    takes: tuple[Port, ...]
    """The inputs of the model."""
    gives: tuple[Port, ...]
    """The outputs of the model."""
    layers: int
    """Layers of the net, folded."""
    folded: int
    """Layers that were folded away."""
    nodes: int
    types: Mapping[str, int]
    """How many layers of each type there are."""
    custom: tuple[str, ...]
    """Layers that became custom nodes."""
    weights: Mapping[str, int]
    """Bytes of weights by the file that holds them."""
    preprocessing: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]
    agreement: Agreement | None
    """The check; None where it was not done."""
    unchecked: str = ""
    """Why it was not done."""
    verification: Verification | None = None
    """What running the net and the model found; None where nobody asked."""

    def __repr__(self) -> str:
        what = f"{counted(self.layers, 'layer')} -> {counted(self.nodes, 'node')}"
        return f"<ExportReport {self.net or '(no name)'}: {what}>"

    def __str__(self) -> str:
        return "\n".join(f"{label:<{_LABEL}}{value}" for label, value in self.rows())

    def rows(self) -> Iterator[tuple[str, str]]:
        """One screen: the net, its inputs and outputs, the check, the files."""
        yield "net", f"{self.net or '(no name)'}: {counted(self.layers, 'layer')}"
        if self.folded:
            yield "folded", counted(self.folded, "layer")
        nodes = f"{counted(self.nodes, 'node')}, opset {self.opset}"
        yield "model", nodes + (f", for {self.target}" if self.target != "ort" else "")
        yield "inputs", ", ".join(map(str, self.takes)) or "none"
        shown = ", ".join(map(str, self.gives[:_SHOWN]))
        more = f" and {len(self.gives) - _SHOWN} more" if len(self.gives) > _SHOWN else ""
        yield "outputs", shown + more
        if self.custom:
            yield (
                "custom",
                f"{counted(len(self.custom), 'node')}: {', '.join(self.custom[:_SHOWN])}",
            )
        yield from self.made()

    def made(self) -> Iterator[tuple[str, str]]:
        """The check and the files."""
        yield "check", str(self.agreement) if self.agreement else f"not done: {self.unchecked}"
        if self.verification is not None:
            yield "verified", self.verification.sentence()
        for file in self.outputs:
            yield "wrote", f"{file.path} ({size(file.bytes)})"

    def to_json(self) -> str:
        """The report as a JSON document; the same export gives the same text."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "caffefold": VERSION,
            **{name: _plain(getattr(self, name)) for name in self.__slots__ if name not in _OWN},
            "verification": None if self.verification is None else self.verification.document(),
            "check": None if self.agreement is None else self.agreement.document(),
        }
        return json_text(document)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [each._asdict() if hasattr(each, "_asdict") else each for each in value]
    return dict(value) if isinstance(value, Mapping) else value
