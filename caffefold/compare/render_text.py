"""The difference as plain text: the story, a list in order, side by side, or counts."""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from caffefold.compare import naming, story, wording
from caffefold.compare.entries import Added, Given, NetDiff, Removed, Row, Same
from caffefold.compare.story import Item, Section
from caffefold.humanize import counted

Paint = Callable[[str, str], str]
"""(symbol, text) -> text, coloured as the symbol asks."""
_LABEL = 10
_SHOWN = 12
_LINES = 6


def plain(symbol: str, text: str) -> str:
    """No colour."""
    del symbol
    return text


def tell(diff: NetDiff, width: int = 80, paint: Paint = plain) -> Iterator[str]:
    """The story: one screen, groups by name. A few lines are left out where there are many."""
    yield from header(diff, width)
    for section in story.tell(diff):
        yield from _section(section, width, paint)
    yield from _weights(diff, width, paint)
    same = wording.same_text(diff)
    if same and diff:
        text = f"{counted(len(diff.same), 'layer')}: {same}"
        yield from _wrapped("same", "=", text, width, paint)
    yield from totals(diff, width, paint)


def header(diff: NetDiff, width: int) -> Iterator[str]:
    """Both nets, and how they were read."""
    for side, given in (("A", diff.a), ("B", diff.b)):
        yield f"{side:<{_LABEL}}{describe(given)}"
    for note in diff.notes:
        yield from _wrapped("note", "", note, width, plain)


def describe(given: Given) -> str:
    """``deploy.prototxt: MobileNet-SSD, 120 layers``."""
    name = f" {given.net}," if given.net else ""
    weights = f", weights {given.weights}" if given.weights not in ("", given.path) else ""
    return f"{given.path}:{name} {counted(given.layers, 'layer')}{weights}"


def totals(diff: NetDiff, width: int = 80, paint: Paint = plain) -> Iterator[str]:
    """The last line: how many layers of each symbol."""
    names = {"-": "removed", "+": "added", "~": "changed", ">": "moved", "=": "same"}
    counts = diff.totals
    parts = [(s, f"{s} {counts[s]} {names[s]}") for s in names if counts[s]]
    if not diff:
        parts = [("=", f"= {counted(counts['='], 'layer')}: no difference")]
    line, used = f"{'total' if diff else 'same':<{_LABEL}}", _LABEL
    for number, (symbol, text) in enumerate(parts):
        if number and used + 3 + len(text) > width:
            yield line
            line, used = " " * _LABEL, _LABEL
        elif number:
            line, used = line + "   ", used + 3
        line, used = line + paint(symbol, text), used + len(text)
    yield line


def _section(section: Section, width: int, paint: Paint) -> Iterator[str]:
    wide = max((len(i.subject) for i in section.items if i.text), default=0)
    wide = min(wide, max(20, (width - _LABEL) // 2))
    title = section.title
    for item in section.items[:_SHOWN]:
        yield from _item(title, item, wide, width, paint)
        title = ""
    left = section.items[_SHOWN:]
    if left:
        yield from _wrapped(
            "", "", f"... and {len(left)} more; --context 0 lists all", width, paint
        )


def _item(title: str, item: Item, wide: int, width: int, paint: Paint) -> Iterator[str]:
    text = f"{item.subject:<{wide}}  {item.text}" if item.text else item.subject
    hang = wide + 2 if item.text and len(item.subject) <= wide else 2
    yield from _wrapped(title, item.symbol, text, width, paint, hang)
    for line in item.more:
        for part in _wrapped("", "", line, width, paint, hang, hang):
            yield paint("-", part) if item.alarm else part
    if item.names:
        label = f"{item.letter} = " if item.letter else ""
        listed = label + ", ".join(item.names)
        lines = list(_wrapped("", "", listed, width, paint, len(label) + 2, 2))
        yield from lines[:_LINES]
        if len(lines) > _LINES:
            yield f"{'':<{_LABEL + 4}}... {counted(len(item.names), 'layer')} in all"


def _wrapped(
    title: str,
    symbol: str,
    text: str,
    width: int,
    paint: Paint,
    hang: int = 2,
    indent: int = 0,
) -> Iterator[str]:
    room = max(width - _LABEL - 2, 24)
    lines = textwrap.wrap(
        text,
        room,
        initial_indent=" " * indent,
        subsequent_indent=" " * min(max(hang, indent), room // 2),
        break_on_hyphens=False,
    ) or [""]
    mark = f"{symbol} " if symbol else "  "
    for number, line in enumerate(lines):
        label = f"{title if number == 0 else '':<{_LABEL}}"
        shown = (mark if number == 0 else "  ") + line
        yield (label + (paint(symbol, shown) if symbol else shown)).rstrip()


def _weights(diff: NetDiff, width: int, paint: Paint) -> Iterator[str]:
    text = wording.weights_text(diff)
    if not text:
        return
    rows = wording.weight_rows(diff)
    yield from _wrapped("weights", "~" if rows else "=", text, width, paint)
    shown = rows
    if len(rows) > _SHOWN:
        worst = sorted(range(len(rows)), key=lambda n: _alike(rows[n]))[:_SHOWN]
        shown = [rows[n] for n in sorted(worst)]
    table = [("layer", "blob", "shape", "max abs", "max rel", "cosine"), *shown]
    sizes = [max(len(row[n]) for row in table) for n in range(6)]
    for row in table if rows else ():
        cells = [row[0].ljust(sizes[0]), *(row[n].rjust(sizes[n]) for n in range(1, 6))]
        yield f"{'':<{_LABEL + 2}}{'  '.join(cells)}".rstrip()
    if len(rows) > _SHOWN:
        more = f"the {_SHOWN} least alike of {len(rows)}; --context 0 lists all"
        yield from _wrapped("", "", more, width, paint)
    factors = wording.factors_text(diff)
    if factors:
        yield from _wrapped("", "", factors, width, paint)


def _alike(row: tuple[str, ...]) -> tuple[float, float]:
    """How alike the numbers of a line of the table are: by cosine, then by relative difference."""
    return (float(row[5]) if row[5] != "-" else -1.0, -float(row[4]))


# ------------------------------------------------------------------------------------- list


def listed(diff: NetDiff, context: int = 0, width: int = 80, paint: Paint = plain) -> Iterator[str]:
    """Every layer that differs, in order, with ``context`` unchanged ones around it."""
    yield from header(diff, width)
    for item in (i for s in story.tell(diff) if s.title == "net" for i in s.items):
        yield paint("~", f"~ net {item.subject}: {item.text}")
    wide = [
        max((len(text) for text in column), default=0) for column in zip(*_names(diff), strict=True)
    ]
    name, kind = (min(size, width // 3) for size in (wide or [0, 0]))
    why = wording.reasons(diff)
    for row in runs(diff.rows, context):
        if isinstance(row, int):
            yield paint("=", f"= {counted(row, 'layer')}")
            continue
        title, type_ = _title(row)
        first = f"{row.symbol} {title:<{name}}  {type_:<{kind}}"
        lines = list(details(row, why))
        yield paint(row.symbol, f"{first}  {lines[0] if lines else ''}".rstrip())
        for line in lines[1:]:
            yield paint(row.symbol, f"{'':<{len(first)}}  {line}")
    for fold in diff.folds:
        for check in fold.checks:
            if check.verdict != "equal":
                said = check.message or f"off by up to {check.max_abs:.2g}"
                yield paint("~", f"~ {check.layer}: the fold of {', '.join(fold.layers)}: {said}")
    yield from totals(diff, width, paint)


def _names(diff: NetDiff) -> Iterator[tuple[str, str]]:
    return (_title(row) for row in diff.entries)


def _title(row: Row) -> tuple[str, str]:
    if isinstance(row, (Removed, Added)):
        return row.layer.name, row.layer.type
    if isinstance(row, Same):
        return row.after.name, row.after.type
    kind = row.after.type if not row.retyped else f"{row.before.type} -> {row.after.type}"
    return naming.pair(row), kind


def details(row: Row, why: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """What there is to say of one row, a line each."""
    if isinstance(row, Same):
        return
    if isinstance(row, (Removed, Added)):
        yield why.get((row.symbol, row.layer.name), "")
        return
    for name, old, new in wording.row_changes(row):
        yield f"{name}: {old} -> {new}"
    for before, after in row.wiring.sources:
        yield f"reads {before or 'nothing'} -> {after or 'nothing'}"
    if row.before.bottoms != row.after.bottoms:
        yield f"bottom: {', '.join(row.before.bottoms)} -> {', '.join(row.after.bottoms)}"
    if row.tops_differ:
        yield f"top: {', '.join(row.before.tops)} -> {', '.join(row.after.tops)}"
    if row.moved:
        yield f"moved: place {row.before.position + 1} -> {row.after.position + 1}"
    for blob in row.blobs:
        if blob.max_abs is None:
            yield f"blob {blob.index}: {naming.shape(blob.before)} -> {naming.shape(blob.after)}"
        elif not blob.equal:
            cosine = "" if blob.cosine is None else f", cosine {blob.cosine:.6f}"
            yield (
                f"blob {blob.index}: max abs {blob.max_abs:.3g}, max rel {blob.max_rel:.3g}{cosine}"
            )


def runs(rows: Iterable[Row], context: int) -> Iterator[Row | int]:
    """The rows, with unchanged ones far from any change as a number."""
    every = list(rows)
    near: set[int] = set()
    for at, row in enumerate(every):
        if not isinstance(row, Same):
            near.update(range(at - context, at + context + 1))
    for close, group in itertools.groupby(range(len(every)), lambda at: at in near):
        found = [every[at] for at in group]
        if close or len(found) == 1:
            yield from found
        else:
            yield len(found)


# ------------------------------------------------------------------------------------- stat


def stat(diff: NetDiff, paint: Paint = plain) -> Iterator[str]:
    """How many layers of each type were removed, added, changed, moved, or are the same."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in diff.rows:
        counts[_title(row)[1]][row.symbol] += 1
    wide = max((len(kind) for kind in counts), default=4)
    for kind in sorted(counts):
        found = counts[kind]
        if set(found) - {"="}:
            line, gap = f"{kind:<{wide}}", "  "
            for symbol in "-+~>=":
                text = f"{symbol}{found[symbol]}" if found[symbol] else ""
                line += gap + (paint(symbol, text) if text else "")
                gap = " " * (7 - len(text))
            yield line.rstrip()
    yield from totals(diff, paint=paint)
