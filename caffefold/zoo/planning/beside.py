"""Which prototxts in the folder of a caffemodel are of its net, by the same rules as for a zoo."""

from __future__ import annotations

from pathlib import Path

from caffefold.zoo.planning import folder, pairing

_MOST = 100  # prototxts that are looked at
_LARGEST = 1 << 22  # bytes of one; real ones have up to some 100,000
_SHOWN = 3


def fitting(weights: str) -> list[str]:
    """The names of the best few prototxts beside ``weights`` that fit, best first."""
    place = Path(weights)
    try:
        texts = [
            path
            for path in sorted(place.parent.iterdir())
            if folder.is_prototxt(path.name) and path.is_file() and path.stat().st_size <= _LARGEST
        ]
    except OSError:
        return []
    found = folder.read_folder([(path.name, path) for path in (*texts[:_MOST], place)])
    facts = found.weights.get(place.name)
    if facts is None:
        return []
    return pairing.fitting(facts, found.agreements[place.name], found.nets)[:_SHOWN]
