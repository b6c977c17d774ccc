"""What commands about the past share: the period (`--since`, `--until`), and counts in words."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from recoup_cli.refusals import MISUSED, Refused
from recoup_core.storage.decisions import BEGINNING, Span

F = TypeVar("F", bound=Callable[..., Any])


def span_options(command: F) -> F:
    """Add `--since` and `--until` to a command."""
    command = click.option("--until", metavar="TIME", help="Up to this time, itself not included (default: now).")(
        command
    )
    return click.option("--since", metavar="TIME", help="From this time on, ISO 8601 (default: the beginning).")(
        command
    )


def read_span(since: str | None, until: str | None, *, kind: str | None = None, merchant: str | None = None) -> Span:
    """Return the period that is meant; raises `Refused`."""
    first = BEGINNING if since is None else read_moment("--since", since)
    last = datetime.now(UTC) if until is None else read_moment("--until", until)
    if first >= last:
        raise Refused("--since must lie before --until", code=MISUSED)
    return Span(since=first, until=last, merchant_id=merchant, kind=kind)


def read_moment(option: str, text: str) -> datetime:
    """Return a time given on the command line; one without a zone is UTC. Raises `Refused`."""
    try:
        given = datetime.fromisoformat(text)
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter where calendars end
        raise Refused(f"{option}: {text!r} is no time", "write it like 2026-12-30T09:00Z", code=MISUSED) from None


def counted(count: int, thing: str) -> str:
    """Return a count with its noun: `1 case`, `1,200 cases`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
