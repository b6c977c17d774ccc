"""Tables of measured numbers: what was done, how often, and the ratios within one run."""

import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

PACKAGES: Final = (
    "durable-rules",
    "zen-engine",
    "common-expression-language",
    "msgspec",
    "asyncpg",
    "litestar",
    "uvicorn",
    "uvloop",
    "dramatiq",
    "pika",
    "procrastinate",
    "pgqueuer",
)
"""What the numbers depend on; a missing one is left out of the list."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table with the words that make its numbers readable."""

    title: str
    method: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark hands over to whoever writes the page."""

    tables: tuple[Table, ...]
    places: tuple[str, ...] = ()
    """Servers it ran on, with their versions."""


def markdown(table: Table) -> str:
    """Return the table as Markdown, its columns aligned so that it reads well in a terminal, too."""
    widths = [max(len(row[i]) for row in (table.head, *table.rows)) for i in range(len(table.head))]
    lines = [_line(table.head, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    lines += [_line(row, widths) for row in table.rows]
    parts = [f"## {table.title}", table.method, "\n".join(lines)]
    parts += ["\n".join(f"- {note}" for note in table.notes)] if table.notes else []
    return "\n\n".join(parts) + "\n"


_MARK: Final = re.compile(r"^<!-- measured: (\w+) -->\n", re.MULTILINE)


def kept(page: str, sections: Mapping[str, str], order: Sequence[str]) -> str:
    """Return the page with the sections given put in, in order; whatever else stands on it stays."""
    text, *parts = _MARK.split(page)
    found = dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
    found.update({name: section.strip() for name, section in sections.items()})
    names = [*(name for name in order if name in found), *(name for name in found if name not in order)]
    return "\n\n".join([text.strip(), *(f"<!-- measured: {name} -->\n\n{found[name]}" for name in names)]) + "\n"


def heading() -> str:
    """Return when, where and with which versions the numbers were measured."""
    today = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    versions = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    return "\n".join(
        [
            f"- Measured {today} on {os.cpu_count()} cores ({_processor()}), {platform.system()} {platform.machine()},"
            f" Python {platform.python_version()}; everything of a run, clients and servers, shares these cores.",
            f"- Load of the machine when the run began: {os.getloadavg()[0]:.1f}.",
            f"- {versions}",
        ]
    )


def number(value: float) -> str:
    """Return a number as one reads it: three digits that count, thousands apart."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def ratio(value: float, base: float) -> str:
    """Return how many times `base` a value is."""
    return f"{value / base:.2f}" if base else "-"


def tell(text: str) -> None:
    """Say on standard error what is going on; standard output is for the tables."""
    print(text, file=sys.stderr, flush=True)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the model as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")
