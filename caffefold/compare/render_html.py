"""The difference as one HTML page: no scripts, nothing loaded, every text escaped."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from html import escape

from caffefold.compare import story, wording
from caffefold.compare.entries import Added, Given, NetDiff, Removed, Row, Same
from caffefold.compare.page_style import STYLE
from caffefold.compare.render_side import CONTEXT, Line, lines
from caffefold.compare.story import Item
from caffefold.humanize import counted

_KINDS = {"-": "removed", "+": "added", "~": "changed", ">": "moved", "=": "same"}
_SIGNS = {"-": "\u2212", "+": "+", "~": "~", ">": "\u2192", "=": "="}


def html(diff: NetDiff, context: int = CONTEXT) -> str:
    """The whole page. ``context`` unchanged layers stand open around a change."""
    return "\n".join(_page(diff, context)) + "\n"


def _page(diff: NetDiff, context: int) -> Iterator[str]:
    title = f"{diff.a.net or diff.a.path} \u2192 {diff.b.net or diff.b.path}"
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    yield "style-src 'unsafe-inline'\">"
    yield f"<title>{_t(title)}</title><style>{STYLE}</style></head><body>"
    yield f"<header><p class=brand>caffefold diff</p><h1>{_t(title)}</h1>"
    yield f"<div class=badges>{''.join(_badges(diff))}</div></header><main>"
    yield f"<section class=sides>{_side('A', diff.a)}{_side('B', diff.b)}</section>"
    yield from (f"<p class=note>{_t(note)}</p>" for note in diff.notes)
    sections = story.tell(diff)
    if sections:
        yield "<section><h2>What happened</h2><dl class=story>"
        for section in sections:
            yield f"<dt>{_t(section.title)}</dt><dd>{''.join(map(_item, section.items))}</dd>"
        yield "</dl></section>"
    yield from _weights(diff)
    yield "<section><h2>Layer by layer</h2>"
    yield "<div class=rows><div class='row top'><i></i><b>A</b><i></i><b>B</b><i></i></div>"
    yield from _rows(diff, context)
    yield "</div></section></main></body></html>"


def _t(text: str) -> str:
    """Text, escaped; bytes of names that are no UTF-8 as escapes."""
    return escape(text.encode("utf-8", "backslashreplace").decode())


def _badges(diff: NetDiff) -> Iterator[str]:
    counts = diff.totals
    if not diff:
        yield "<span class='badge added'>no difference</span>"
    for symbol, kind in _KINDS.items():
        if counts[symbol]:
            yield f"<span class='badge {kind}'>{_SIGNS[symbol]} {counts[symbol]} {kind}</span>"


def _side(name: str, given: Given) -> str:
    facts = [
        ("net", given.net),
        ("layers", str(given.layers)),
        ("inputs", ", ".join(given.inputs)),
        ("outputs", ", ".join(given.outputs)),
        ("weights", given.weights),
    ]
    listed = "".join(f"<tr><th>{key}</th><td>{_t(text)}</td></tr>" for key, text in facts if text)
    return f"<div class=side><h3><b>{name}</b> {_t(given.path)}</h3><table>{listed}</table></div>"


def _item(item: Item) -> str:
    kind = _KINDS.get(item.symbol, "changed")
    text = f" <span class=what>{_t(item.text)}</span>" if item.text else ""
    names = ""
    if item.names:
        chips = "".join(f"<code>{_t(name)}</code>" for name in item.names)
        opened = " open" if len(item.names) <= 12 else ""
        summary = f"{_t(item.letter)} = " if item.letter else ""
        summary += counted(len(item.names), "layer")
        names = f"<details{opened}><summary>{summary}</summary><p>{chips}</p></details>"
    style = "'more alarm'" if item.alarm else "more"
    more = "".join(f"<p class={style}>{_t(line)}</p>" for line in item.more)
    sign = f"<span class='sign {kind}'>{_SIGNS.get(item.symbol, '~')}</span>"
    body = f"<strong>{_t(item.subject)}</strong>{text}{more}{names}"
    return f"<div class=item>{sign}<div>{body}</div></div>"


def _weights(diff: NetDiff) -> Iterator[str]:
    text = wording.weights_text(diff)
    if not text:
        return
    yield f"<section><h2>Weights</h2><p>{_t(text)}</p>"
    rows = wording.weight_rows(diff)
    if rows:
        heads = ("layer", "blob", "shape", "max abs", "max rel", "cosine")
        yield f"<table class=numbers><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"
        for row in rows:
            yield f"<tr>{''.join(f'<td>{_t(cell)}</td>' for cell in row)}</tr>"
        yield "</table>"
    factors = wording.factors_text(diff)
    if factors:
        yield f"<p>{_t(factors)}</p>"
    yield "</section>"


def _rows(diff: NetDiff, context: int) -> Iterator[str]:
    """All layers; runs of unchanged ones folded up."""
    why = wording.reasons(diff)
    rows = diff.rows
    near: set[int] = set()
    for at, row in enumerate(rows):
        if not isinstance(row, Same):
            near.update(range(at - context, at + context + 1))
    for close, group in itertools.groupby(range(len(rows)), lambda at: at in near):
        found = [rows[at] for at in group]
        if close or len(found) == 1:
            yield from (_row(row, why) for row in found)
        else:
            text = f"{counted(len(found), 'layer')} the same"
            yield f"<details class=run><summary>{text}</summary>"
            yield from (_row(row, why) for row in found)
            yield "</details>"


def _row(row: Row, why: Mapping[tuple[str, str], str]) -> str:
    places = ("", "")
    if isinstance(row, Removed):
        places = (str(row.layer.position + 1), "")
    elif isinstance(row, Added):
        places = ("", str(row.layer.position + 1))
    else:
        places = (str(row.before.position + 1), str(row.after.position + 1))
    found = list(lines(row, why))
    left = "".join(_cell(line, line.left) for line in found)
    right = "".join(_cell(line, line.right) for line in found)
    symbol = row.symbol
    return (
        f"<div class='row {_KINDS[symbol]}'><i>{places[0]}</i><div class=a>{left}</div>"
        f"<span>{_SIGNS[symbol]}</span><div class=b>{right}</div><i>{places[1]}</i></div>"
    )


def _cell(line: Line, text: str) -> str:
    if not line.head:
        return f"<p>{_t(text.strip())}&nbsp;</p>"
    name, gap, kind = text.rpartition("  ")
    if not gap:
        return f"<p class=why>{_t(text)}</p>"
    return f"<p class=name><b>{_t(name)}</b> <em>{_t(kind)}</em></p>"
