"""What the world sees of one debt: what its bank, its customer, the billing system and people are asked or told."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from tests.stories.campaigns.mailbox import Mailbox


class Entry(msgspec.Struct, frozen=True, order=True):
    """One thing that was seen, and when."""

    at: datetime
    what: str

    def line(self, zone: str) -> str:
        """The entry as a person writes it down: local time to the minute."""
        return f"{self.at.astimezone(ZoneInfo(zone)):%m-%d %H:%M} {self.what}"


_ATTEMPTS: Final = """
    SELECT submitted_at AS at, 'charge: ' || CASE state WHEN 'succeeded' THEN 'paid' ELSE state END AS what
    FROM attempt WHERE payment_id = $1 AND origin <> 'reported' AND submitted_at IS NOT NULL"""
_ASKED: Final = """
    SELECT at, 'billing: ' || split_part(split_part(kind, '.', 2), '_', 1) AS what FROM event
    WHERE payment_id = $1 AND kind LIKE 'subscription.%\\_requested' AND coalesce((data ->> 'asked')::int, 1) = 1"""
_TASKS: Final = "SELECT opened_at AS at, 'task: ' || reason AS what FROM human_task WHERE payment_id = $1"
_ENDS: Final = """
    SELECT at, split_part(kind, '.', 2) AS what FROM event
    WHERE payment_id = $1 AND kind IN ('case.recovered', 'case.exhausted', 'case.written_off')"""


async def diary(shop: Any, payment_id: UUID, mailbox: Mailbox) -> list[Entry]:
    """Return everything that was seen of a debt, in order; messages as their readers got them."""
    entries = [
        Entry(row["at"], row["what"])
        for sql in (_ATTEMPTS, _ASKED, _TASKS, _ENDS)
        for row in await shop.rows(sql, payment_id)
    ]
    mine = {row["id"] for row in await shop.rows("SELECT id FROM message WHERE payment_id = $1", payment_id)}
    said = [
        Entry(at, f"{message.channel}: {await _template(shop, message.id)}")
        for at, message in mailbox.received.values()
        if message.id in mine
    ]
    return sorted([*entries, *said])


async def _template(shop: Any, message_id: UUID) -> str:
    [row] = await shop.rows("SELECT template FROM message WHERE id = $1", message_id)
    return str(row["template"])


def lines(entries: Iterable[Entry], zone: str) -> list[str]:
    """The diary as a person writes it down."""
    return [entry.line(zone) for entry in entries]


def same_but_later(calm: Sequence[Entry], troubled: Sequence[Entry], late: timedelta) -> Mapping[str, str]:
    """Return where a troubled run differs from a calm one by more than lateness; empty: nowhere."""
    one, other = sorted(calm, key=_by_what), sorted(troubled, key=_by_what)
    if [entry.what for entry in one] != [entry.what for entry in other]:
        return {"calm": "; ".join(e.what for e in calm), "troubled": "; ".join(e.what for e in troubled)}
    return {
        f"{was.at} {was.what}": str(came.at)
        for was, came in zip(one, other, strict=True)
        if not timedelta() <= came.at - was.at <= late
    }


def _by_what(entry: Entry) -> tuple[str, datetime]:
    return (entry.what, entry.at)
