"""Timelines: a whole failure sequence, and the exact times and steps that a policy must come to. Optional tests.

Read by `rules/language/timeline_reader.py`, run by `rules/study/rehearsal.py`.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from recoup_core.rules.facts.stops import StopReason

RETRY: Final = "retry"
STOP: Final = "stop"
QUIET: Final = "quiet"
ON: Final = "true"
"""What stands in an expected step that needs no word: `pause_subscription: true`."""


FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2100
"""Timelines lie between these years: far from where calendars end."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """One step that must come next."""

    what: str
    """`retry`, `stop`, `quiet`, or what a dunning step or a notice does."""
    at: datetime | None = None
    """Aware UTC; None for `stop` and `quiet`."""
    detail: str | None = None
    """The reason of `stop` and `quiet`, a message's template, a task's text, a plan; a retry's credential, if given."""
    rule: str | None = None
    """The rule it must come from; None: any."""
    line: int
    column: int


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a payment, or a charge that is to come, and what the policy must do about it."""

    name: str
    given: Mapping[str, Any]
    start: datetime
    """When the first attempt failed, or the charge was announced; aware UTC."""
    zone: str | None = None
    """The customer's, IANA; None: their country's main one."""
    paydays: tuple[int, ...] = ()
    acquirer: str | None = None
    failures: tuple[Mapping[str, Any] | None, ...] = ()
    """The facts that each failure tells, the first one at `start`; None, at the end only: the retry succeeded."""
    retries: tuple[datetime, ...] = ()
    """For dunning: when the retries between the failures were made."""
    stop: str = StopReason.EXHAUSTED.value
    """For dunning: why no retry follows the last failure."""
    charge: datetime | None = None
    """For notices: when the charge is to be made; aware UTC."""
    expires: date | None = None
    """For notices: the last day on which the card is good."""
    expect: tuple[Expected, ...]
    line: int
    column: int

    def shown(self, at: datetime) -> str:
        """Return a time as an author would write it: in the timeline's zone, with its offset."""
        local = at.astimezone(ZoneInfo(self.zone) if self.zone else UTC)
        exact = "microseconds" if local.microsecond else "seconds" if local.second else "minutes"
        text = local.isoformat(timespec=exact)
        return f"{text.removesuffix('+00:00')}Z" if not self.zone else text


def moment_of(text: str, zone: str | None) -> datetime | None:
    """Return a time as UTC, or None where it is none; a local time that the clocks skip is none either."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if "T" not in text:
        return None
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        return None
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    local = at.replace(tzinfo=ZoneInfo(zone) if zone else UTC)
    utc = local.astimezone(UTC)
    return utc if utc.astimezone(local.tzinfo).replace(tzinfo=None) == at else None
