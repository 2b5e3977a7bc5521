"""``NetDiff``: the answer of ``caffefold.diff``, as a value and as it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from caffefold.compare.entries import SYMBOLS, Aligned, mirrored
from caffefold.compare.render import json, text
from caffefold.compare.summary import Summary


@dataclass(frozen=True, repr=False)
class NetDiff(Aligned):
    """What changed from net ``a`` to net ``b``. True when they differ.

    ``str()`` is what ``caffefold diff`` prints; a notebook shows the HTML page.
    """

    @cached_property
    def summary(self) -> Summary:
        """The difference in groups by name, which all renderers lay out."""
        return Summary(self)

    def mirrored(self) -> NetDiff:
        """The difference from ``b`` to ``a``; rows keep their order."""
        found: NetDiff = mirrored(self)
        return found

    def to_json(self) -> str:
        """The difference as a JSON document; its keys are those of ``caffefold diff --json``."""
        return json.to_json(self, self.summary.weights)

    def __repr__(self) -> str:
        counts = [f"{n} {SYMBOLS[s]}" for s, n in self.totals.items() if n and s != "="]
        return f"<NetDiff {self.a.path} -> {self.b.path}: {', '.join(counts) or 'no difference'}>"

    def __str__(self) -> str:
        return "\n".join(text.overview(self.summary))

    def _repr_html_(self) -> str:
        from caffefold.compare.render import markup

        return markup.body(self.summary)
