"""Reports that a manager can read: one HTML page that needs nothing else, on a screen or on paper.

No script, no font, no picture from elsewhere. Whatever is put in is escaped here, so callers hand over plain texts.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final, NewType

from recoup_cli.refusals import MISUSED, Refused

Html = NewType("Html", str)
"""Escaped; only functions of this module make it."""

BAR_WIDTH: Final = 100
"""Of the longest bar, in per cent of its place."""

MAX_ROWS: Final = 1_000
"""Rows of one table; the rest is counted."""

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --paper: #fff; --card: #f5f7fa;
        --bar: #3566b8; --good: #1d7a46; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #36404d; --paper: #14181e; --card: #1d232b; --bar: #7aa5ea;
          --good: #6fcf97; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .3rem 0 .7rem; max-width: 46rem; }
.soft, caption { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; }
.card b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.card small { color: var(--soft); display: block; }
.scroll { overflow-x: auto; }
.scroll table:not(.bars) { min-width: 34rem; }
table { border-collapse: collapse; width: 100%; margin: .4rem 0 1rem; font-size: .92rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem .4rem 0; border-bottom: 1px solid var(--line);
         overflow-wrap: break-word; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td ul, td p { margin: 0; padding-left: 1.1rem; }
td p { padding-left: 0; }
svg { display: block; width: 100%; height: 1rem; }
svg rect { fill: var(--bar); }
.bars td:first-child { width: 34%; } .bars td:nth-child(2) { width: 46%; }
.notes { background: var(--card); border-left: 3px solid var(--soft); padding: .6rem 1rem; margin: .8rem 0; }
.notes ul { margin: 0; padding-left: 1.1rem; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .92em; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --card: #fff; --bar: #555; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2 { break-after: avoid; } tr, .card { break-inside: avoid; } .scroll { overflow: visible; }
  .scroll table:not(.bars) { min-width: 0; }
}
"""


def page(title: str, lead: Iterable[str], blocks: Iterable[Html], footer: str) -> str:
    """Return a whole page: its title, what it is about in a few paragraphs, and its blocks."""
    told = "".join(f'<p class="soft">{escape(text)}</p>' for text in lead)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{told}</header>\n<main>\n"
        f"{''.join(blocks)}</main>\n<footer>{escape(footer)}</footer>\n</body>\n</html>\n"
    )


def check_place(path: Path) -> None:
    """Refuse a page that has no folder to stand in, before the work is done that it would tell of."""
    if not path.parent.is_dir():
        raise Refused(f"{path} can't be written: there is no folder {path.parent}", code=MISUSED)


def write_page(path: Path, text: str) -> None:
    """Write a page, in place of what was there; raises `Refused`."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"{path} can't be written: {error.strerror}") from error


def section(title: str, blocks: Iterable[Html], told: str = "") -> Html:
    """Return a part of the page under a heading; nothing where it has no blocks."""
    inside = "".join(blocks)
    text = f"<p>{escape(told)}</p>" if told else ""
    return Html(f"<section>\n<h2>{escape(title)}</h2>\n{text}{inside}</section>\n" if inside else "")


def heading(text: str) -> Html:
    """Return a heading inside a section."""
    return Html(f"<h3>{escape(text)}</h3>\n")


def paragraph(text: str) -> Html:
    """Return a paragraph."""
    return Html(f"<p>{escape(text)}</p>\n")


def cards(values: Iterable[tuple[str, str, str]]) -> Html:
    """Return the figures that matter: (figure, what it is, what it means)."""
    each = (
        f'<div class="card"><b>{escape(figure)}</b>{escape(name)}<small>{escape(hint)}</small></div>'
        for figure, name, hint in values
    )
    return Html(f'<div class="cards">{"".join(each)}</div>\n')


def notes(texts: Iterable[str]) -> Html:
    """Return things to keep in mind, as a list; nothing where there are none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return Html(f'<div class="notes"><ul>{items}</ul></div>\n' if items else "")


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str | Sequence[str]]],
    *,
    numbers: Iterable[int] = (),
    caption: str = "",
) -> Html:
    """Return a table; a cell of several texts is a list, columns in `numbers` are set as figures."""
    if not rows:
        return Html("")
    figures = frozenset(numbers)
    top = "".join(f'<th scope="col"{_class(index, figures)}>{escape(name)}</th>' for index, name in enumerate(head))
    body = "\n".join(
        "<tr>" + "".join(f"<td{_class(index, figures)}>{_cell(cell)}</td>" for index, cell in enumerate(row)) + "</tr>"
        for row in rows[:MAX_ROWS]
    )
    words = f"<caption>{escape(caption)}</caption>" if caption else ""
    more = paragraph(f"and {len(rows) - MAX_ROWS} more rows") if len(rows) > MAX_ROWS else ""
    inside = f"{words}<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return Html(f'<div class="scroll"><table>{inside}</table></div>\n{more}')


def bars(values: Sequence[tuple[str, int]], *, caption: str = "", unit: str = "") -> Html:
    """Return a bar for each (name, count); the counts stand beside them, so that nothing hangs on the picture.

    `unit` is what is counted, in the singular.
    """
    most = max((count for _, count in values), default=0)
    if most <= 0:
        return Html("")
    rows = "\n".join(
        f"<tr><td>{escape(name)}</td><td>{_bar(count, most)}</td>"
        f'<td class="number">{count:,}{_counted(unit, count)}</td></tr>'
        for name, count in values
    )
    words = f"<caption>{escape(caption)}</caption>" if caption else ""
    return Html(f'<div class="scroll"><table class="bars">{words}<tbody>\n{rows}\n</tbody></table></div>\n')


def _counted(unit: str, count: int) -> str:
    return escape(f" {unit}" if count == 1 else f" {unit}s") if unit else ""


def _bar(count: int, most: int) -> str:
    width = BAR_WIDTH * max(count, 0) / most
    return (
        f'<svg viewBox="0 0 {BAR_WIDTH} 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{width:.2f}" height="10"/></svg>'
    )


def _class(index: int, figures: frozenset[int]) -> str:
    return ' class="number"' if index in figures else ""


def _cell(cell: str | Sequence[str]) -> str:
    if isinstance(cell, str):
        return escape(cell)
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in cell)}</ul>" if cell else ""
