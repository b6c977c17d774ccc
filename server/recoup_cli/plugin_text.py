"""What `recoup plugin` prints: rows of plain columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from recoup_plugins.checking import Finding


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that is there, or one that is disabled."""

    plugin: str
    kinds: tuple[str, ...] = ()
    """Of gateways."""
    notifiers: tuple[str, ...] = ()
    """Kinds of notifiers."""
    version: str = ""
    contract: str = ""
    problem: str = ""
    disabled: bool


def installed_rows(rows: Sequence[Installed]) -> list[tuple[str, ...]]:
    """Return the cells of `recoup plugin list`."""
    return [
        (
            row.plugin,
            ", ".join((*row.kinds, *(f"{kind} (notifier)" for kind in row.notifiers))) or "-",
            row.version or "-",
            row.contract or "-",
            f"disabled: {row.problem}" if row.disabled else row.problem,
        )
        for row in rows
    ]


def finding_rows(findings: "Sequence[Finding]") -> list[tuple[str, ...]]:
    """Return the cells of `recoup plugin check`."""
    return [(one.plugin, one.check, str(one.verdict), one.told) for one in findings]


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows below their head; every column but the last is as wide as its widest cell."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head) - 1)]
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())
