"""HTML that can not be broken by what is put into it: text is escaped unless it is Html already."""

from __future__ import annotations

import html
from importlib.resources import files
from urllib.parse import quote

_VOID = frozenset({"meta", "input", "link", "br"})


class Html(str):
    """Markup; made by ``el`` and ``raw`` only."""

    __slots__ = ()


Child = str | int | float | None


def text(value: Child) -> Html:
    """A value as markup."""
    if isinstance(value, Html):
        return value
    return Html("" if value is None else html.escape(_printable(str(value)), quote=True))


def el(tag: str, *children: Child, **attributes: str | int | float | bool | None) -> Html:
    """An element. ``class_`` is the attribute class, ``data_x`` is data-x; None is left out."""
    parts = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        parts.append(f" {key}" if value is True else f' {key}="{text(str(value))}"')
    start = f"<{tag}{''.join(parts)}>"
    if tag in _VOID:
        return Html(start)
    return Html(f"{start}{''.join(map(text, children))}</{tag}>")


def join(*children: Child) -> Html:
    """Several, one after another."""
    return Html("".join(map(text, children)))


def document(title: str, style: str, body: Html, script: str = "") -> bytes:
    """A whole page with everything in it: a Content-Security-Policy forbids it to load a thing."""
    head = join(
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
        ),
        el("title", title),
        el("style", Html(_asset(style))),
    )
    code = el("script", Html(_asset(script))) if script else ""
    page = el("html", el("head", head), el("body", body, code), lang="en")
    return ("<!doctype html>\n" + page + "\n").encode("utf-8", "backslashreplace")


def link(path: str, shown: Child, **attributes: str) -> Html:
    """A link to a file beside the page; whatever its name is, it is a path and no scheme."""
    try:
        name = path.encode("utf-8", "surrogateescape")  # the bytes that the file system has
    except UnicodeEncodeError:
        name = path.encode("utf-8", "surrogatepass")
    return el("a", shown, href="./" + quote(name), **attributes)


def _asset(name: str) -> str:
    return (files("caffefold.zoo") / "assets" / name).read_text(encoding="utf-8")


def _printable(value: str) -> str:
    """Control characters, also those that turn the direction of text, made visible."""
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() else f"\\x{_byte(c):02x}" for c in value)


def _byte(char: str) -> int:
    """The number of a character; of a byte that was no UTF-8, the byte."""
    return ord(char) - 0xDC00 if 0xDC80 <= ord(char) <= 0xDCFF else ord(char)
