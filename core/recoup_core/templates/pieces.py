"""The words of a message become its text part and its HTML part; both say the same.

Paragraphs are parted by blank lines. Functions of templates leave *pieces* (a button, a table) between private
characters that no value can hold: what a customer is called never becomes structure.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from markupsafe import Markup, escape

from recoup_core.templates.clean import one_line

_OPEN, _NEXT, _CLOSE = "\ue000", "\ue001", "\ue002"
_PIECE: Final = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")
_BLANK: Final = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_INDENT: Final = re.compile(r"\s*\n\s*|  +")

PREHEADER: Final = 110
"""Characters that mailboxes show beside the subject, at most."""

_P: Final = "margin:0 0 16px;font-size:16px;line-height:24px;"
_CELL: Final = "padding:6px 0;font-size:16px;line-height:22px;vertical-align:top;word-break:break-word;"


class Piece(str):
    """What a function of a template leaves in its text; goes through as it is."""

    __slots__ = ()


class Button(msgspec.Struct, frozen=True):
    """Leads to a page."""

    label: str
    url: str


class Table(msgspec.Struct, frozen=True):
    """Labels and values."""

    rows: tuple[tuple[str, str], ...]


class Lines(msgspec.Struct, frozen=True):
    """Lines that stay apart."""

    lines: tuple[str, ...]


Block = str | Button | Table | Lines


def button(label: str, url: str | None) -> Piece:
    """Return a button; nothing where it leads nowhere."""
    return _piece("button", one_line(label), url) if url else Piece("")


def table(rows: Sequence[tuple[str, str]]) -> Piece:
    """Return a table; nothing where it has no rows."""
    return _piece("table", *(one_line(cell) for row in rows for cell in row)) if rows else Piece("")


def lines(*texts: str) -> Piece:
    """Return lines that stay apart."""
    return _piece("lines", *map(one_line, texts))


def _piece(*parts: str) -> Piece:
    return Piece(_OPEN + _NEXT.join(parts) + _CLOSE)


def blocks(text: str) -> list[Block]:
    """Return the paragraphs and pieces of a rendered text, in their order."""
    found: list[Block] = []
    for paragraph in _BLANK.split(text.strip()):
        at = 0
        for piece in _PIECE.finditer(paragraph):
            found.extend(_words(paragraph[at : piece.start()]))
            found.append(_read(piece[1]))
            at = piece.end()
        found.extend(_words(paragraph[at:]))
    return found


def _words(text: str) -> Iterator[str]:
    joined = _INDENT.sub(" ", text).strip()
    if joined:
        yield joined


def _read(piece: str) -> Block:
    kind, *parts = piece.split(_NEXT)
    if kind == "button":
        return Button(parts[0], parts[1])
    if kind == "table":
        return Table(tuple(zip(parts[::2], parts[1::2], strict=True)))
    return Lines(tuple(parts))


def as_text(parts: Sequence[Block]) -> str:
    """Return the text part; paragraphs are not broken into lines, for mail programs do that better."""
    return "\n\n".join(map(_plain, parts))


def _plain(block: Block) -> str:
    match block:
        case Button(label, url):
            return f"{label}:\n{url}"
        case Table(rows):
            return "\n".join(f"{label}: {value}" for label, value in rows)
        case Lines(kept):
            return "\n".join(kept)
        case _:
            return block


def preheader(parts: Sequence[Block]) -> str:
    """Return the first paragraph after the greeting, cut to what mailboxes show."""
    said = [block for block in parts if isinstance(block, str)]
    return one_line(said[1] if len(said) > 1 else "".join(said[:1]), PREHEADER)


def as_html(parts: Sequence[Block], colours: tuple[str, str, str]) -> Markup:
    """Return the body of the HTML part; colours: of the button, of its words, of its edge."""
    return Markup("\n").join(_markup(block, colours) for block in parts)


def _markup(block: Block, colours: tuple[str, str, str]) -> Markup:
    match block:
        case Button(label, url):
            return button_markup(label, url, colours)
        case Table(rows):
            return table_markup(rows)
        case Lines(kept):
            return Markup('<p style="{}">{}</p>').format(_P, Markup("<br>").join(kept))
        case _:
            return Markup('<p style="{}">{}</p>').format(_P, block)


def button_markup(label: str, url: str, colours: tuple[str, str, str]) -> Markup:
    """Return a button that mail programs draw: a table cell with a colour, a link that fills it, 48 pixels high."""
    back, words, edge = map(escape, colours)
    return Markup(
        '<table role="presentation" class="button" cellpadding="0" cellspacing="0" border="0"'
        ' style="margin:8px 0 24px;border-collapse:separate;"><tr>'
        '<td bgcolor="{back}" style="background:{back};border:1px solid {edge};border-radius:8px;text-align:center;">'
        '<a href="{url}" style="display:inline-block;padding:13px 28px;font-size:16px;line-height:20px;font-weight:600;'
        'color:{words};text-decoration:none;border-radius:8px;">{label}</a></td></tr></table>'
    ).format(back=back, edge=edge, words=words, url=url, label=label)


def table_markup(rows: Sequence[tuple[str, str]]) -> Markup:
    """Return labels and values; a table for its meaning, so screen readers are told so."""
    cells = Markup("").join(
        Markup(
            '<tr><th scope="row" class="quiet" style="{0}padding-right:16px;text-align:start;font-weight:400;'
            'color:#595959;white-space:nowrap;">{1}</th><td style="{0}text-align:end;font-weight:600;">{2}</td></tr>'
        ).format(_CELL, label, value)
        for label, value in rows
    )
    return Markup(
        '<table class="box" cellpadding="0" cellspacing="0" border="0" width="100%"'
        ' style="margin:0 0 24px;border-top:1px solid #dddddd;border-bottom:1px solid #dddddd;">{}</table>'
    ).format(cells)
