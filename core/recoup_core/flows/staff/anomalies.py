"""What is out of the ordinary, by rules that are written down: docs/notifications.md has them in words.

Each looks at counts that are made elsewhere, says so once when it begins and once when it is over, and needs enough of
them that chance is an unlikely reason. A shop where little happens hears nothing, rather than noise.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import erfc, sqrt
from typing import Any, Final

import msgspec

from recoup_core.analytics.experiments import wilson
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.staff import StaffKind
from recoup_core.flows.context import Context, count_events
from recoup_core.storage.anomalies import (
    Anomaly,
    Answers,
    Recovered,
    answers_since,
    detect,
    end_anomaly,
    recovered_within,
    standing,
)
from recoup_core.storage.changes import Changes

FAILING_WINDOW: Final = timedelta(hours=1)
FAILING_LEAST: Final = 10
"""Answers without which an hour says nothing."""
FAILING_SHARE: Final = 0.1
"""Charges that a gateway loses or can't take, of all: the lower end of the 95 % Wilson interval must lie above it.
Gateways that work lose under one in a hundred; one in ten is trouble whoever has it."""
FAILING_OVER: Final = 0.05
"""Below this share it is over; between the two, what stands goes on standing."""

WITHIN: Final = timedelta(days=7)
"""A case counts as recovered when it was within a week: the time most retries have happened by, and short enough to
hear of trouble while it can be mended."""
RECENT: Final = timedelta(days=7)
BEFORE: Final = timedelta(days=28)
RECENT_LEAST: Final = 50
BEFORE_LEAST: Final = 200
FALL: Final = 0.05
"""The rate must have fallen by five points at least: less is not worth waking anybody, however sure it is."""
SURE: Final = 0.001
"""The one-sided p-value of the two-proportion test. It is asked some 24 times a day over nearly the same cases, so
about one false alarm a year."""
OVER_FALL: Final = 0.025

Verdict = tuple[bool | None, Mapping[str, Any]]
"""True: it stands; False: it does not; None: too little is known to say. And the numbers behind it."""


def gateway_failing(answers: Answers) -> Verdict:
    """Return whether a gateway loses so many charges that something is wrong with it, or with the way to it."""
    total = answers.answered + answers.failed
    numbers = {"failed": answers.failed, "of": total, "minutes": int(FAILING_WINDOW.total_seconds()) // 60}
    if total < FAILING_LEAST:
        return None, numbers
    share = wilson(answers.failed, total)
    if share.low > FAILING_SHARE:
        return True, numbers
    return (False if share.estimate < FAILING_OVER else None), numbers


def recovery_falling(cases: Recovered) -> Verdict:
    """Return whether fewer cases of last week recovered in time than of the four weeks before, by more than chance."""
    numbers: dict[str, Any] = {"recent_cases": cases.recent, "before_cases": cases.before}
    if cases.recent < RECENT_LEAST or cases.before < BEFORE_LEAST:
        return None, numbers
    now, before = cases.recent_recovered / cases.recent, cases.before_recovered / cases.before
    numbers |= {"recent_percent": round(100 * now, 1), "before_percent": round(100 * before, 1)}
    common = (cases.recent_recovered + cases.before_recovered) / (cases.recent + cases.before)
    spread = sqrt(common * (1 - common) * (1 / cases.recent + 1 / cases.before))
    if before - now >= FALL and spread > 0 and _upper_tail((before - now) / spread) < SURE:
        return True, numbers
    return (False if before - now < OVER_FALL else None), numbers


def _upper_tail(z: float) -> float:
    return erfc(z / sqrt(2)) / 2


async def look_for_anomalies(context: Context, now: datetime) -> None:
    """Look at everything once: what begins is told, and what is over."""
    async with context.database.connection() as connection:
        answers = await answers_since(connection, now - FAILING_WINDOW)
        matured = now - WITHIN
        since = matured - RECENT - BEFORE
        cases = await recovered_within(connection, since, matured - RECENT, matured, WITHIN)
    failing = {(each.merchant_id, each.gateway): gateway_failing(each) for each in answers}
    falling = {(each.merchant_id, "recovery rate"): recovery_falling(each) for each in cases}
    await _settle(context, StaffKind.GATEWAY_FAILING, failing, now)
    await _settle(context, StaffKind.RECOVERY_FALLING, falling, now)


async def _settle(
    context: Context, kind: StaffKind, verdicts: Mapping[tuple[str, str], Verdict], now: datetime
) -> None:
    """Write down what begins and what ends, with its events."""
    changes = Changes()
    async with context.database.transaction() as connection:
        known = await standing(connection, kind)
        for key in sorted(verdicts.keys() - known.keys()):
            stands, numbers = verdicts[key]
            anomaly = Anomaly(
                id=new_id(), merchant_id=key[0], kind=kind, subject=key[1], numbers=numbers, detected_at=now
            )
            if stands and await detect(connection, anomaly):
                changes.add(_told(anomaly, EventKind.ANOMALY_DETECTED, now))
        for key, anomaly in known.items():
            stands, numbers = verdicts.get(key, (None, {}))
            if stands is False:
                await end_anomaly(connection, anomaly.id, now)
                changes.add(_told(msgspec.structs.replace(anomaly, numbers=numbers), EventKind.ANOMALY_OVER, now))
        await changes.write(connection)
    count_events(context, changes)


def _told(anomaly: Anomaly, kind: EventKind, now: datetime) -> Event:
    data = {"anomaly": anomaly.kind, "subject": anomaly.subject, "numbers": anomaly.numbers}
    return Event(at=now, merchant_id=anomaly.merchant_id, kind=kind, actor="system", data=data)
