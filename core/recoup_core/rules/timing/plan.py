"""When the next retry may be made: the earliest moment that satisfies the whole rule, and the steps that led there.

The allowed moments of a rule don't depend on `now`, and jitter keeps its share of the room left, so a later `now` never
gives an earlier time.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from recoup_core.reference import paydays
from recoup_core.rules.language.actions import Day, RetrySpec
from recoup_core.rules.language.actions.values import CUSTOMER_ZONE
from recoup_core.rules.timing.calendar import is_business_day, payday_on
from recoup_core.rules.timing.hours import customers_zone
from recoup_core.rules.timing.windows import Span, day_spans, local_day, merged, window_spans

MAX_SEARCH_DAYS: Final = 400
"""How many days ahead a fitting moment is looked for: a year and a month, so that every yearly holiday has passed."""

SAME_MONEY: Final = timedelta(days=5)
"""Paydays closer than this are one: salaries on the month's last business day, benefits on the first of the next."""

_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
_HASH_BITS: Final = 256


class TimingContext(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when a retry is planned; every datetime is aware."""

    now: datetime
    first_failed_at: datetime
    last_failed_at: datetime
    used: int
    """Retries already made under this rule."""
    customer_zone: str | None
    """IANA name; an unknown one counts as none."""
    country: str | None
    """ISO 3166-1 alpha-2."""
    paydays: tuple[int, ...] = ()
    """The customer's own; else the country's are used."""
    seed: str
    """Names case and attempt; the same seed gives the same jitter for ever."""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """The retry has a time."""

    at: datetime
    """Aware UTC, never before `now`."""
    because: tuple[str, ...]


class DoesNotApply(msgspec.Struct, frozen=True, kw_only=True):
    """The rule has no time to offer; the next one may."""

    reason: str
    """`waits_used_up`, `max_reached` or `window_closed`; `decide` adds its own."""


def next_time(spec: RetrySpec, ctx: TimingContext) -> Planned | DoesNotApply:
    """Return when the rule's next retry is due.

    `on` is judged by the customer's calendar (their zone; else their country's main zone, else the rule's zone, else
    UTC), `between` by the rule's zone. `window_closed`: nothing fits inside `within`, or in `MAX_SEARCH_DAYS` at all.
    """
    if spec.max is not None and ctx.used >= spec.max:
        return DoesNotApply(reason="max_reached")
    if spec.after and ctx.used >= len(spec.after):
        return DoesNotApply(reason="waits_used_up")
    wait = spec.after[ctx.used] if spec.after else timedelta()
    base = (ctx.last_failed_at + wait).astimezone(UTC)
    because = [f"waited {in_words(wait)}"] if wait else []
    if base < ctx.now:
        base = ctx.now.astimezone(UTC)
        because.append(f"not before now, {_moment(base)}")
    return _plan(base, spec, ctx, because, jitter=True)


def earliest(at: datetime, spec: RetrySpec, ctx: TimingContext) -> Planned | DoesNotApply:
    """Return the first moment from `at` on that satisfies `on`, `between` and `within`, without jitter.

    For a time that a limit pushed later. A time that satisfies the rule already comes back unchanged, so asking the
    limits and asking here settle after one round.
    """
    start = max(at, ctx.now).astimezone(UTC)
    return _plan(start, spec, ctx, [f"not before {_moment(start)}"], jitter=False)


def in_words(length: timedelta) -> str:
    """Return a length as `3d`, `1h30m`, `45s`; parts of a second are left out."""
    minutes, seconds = divmod(length // timedelta(seconds=1), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{n}{unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")) if n]
    return "".join(parts) or "0s"


def _plan(
    base: datetime, spec: RetrySpec, ctx: TimingContext, because: list[str], *, jitter: bool
) -> Planned | DoesNotApply:
    closes = (ctx.first_failed_at + spec.within).astimezone(UTC) if spec.within is not None else None
    found = next(((span, why) for span, why in _allowed(base, spec, ctx) if span.end > base), None)
    if found is None or (closes is not None and max(base, found[0].start) > closes):
        return DoesNotApply(reason="window_closed")
    span, moved = found
    at = max(base, span.start)
    steps = [*because, *(moved if at > base else [])]
    if jitter and spec.jitter:
        last = span.end - _MICROSECOND
        room = (last if closes is None else min(last, closes)) - at
        added = _share(ctx.seed, min(spec.jitter, room))
        at += added
        steps.append(f"jitter +{in_words(added)}")
    return Planned(at=at, because=tuple(steps))


def _allowed(base: datetime, spec: RetrySpec, ctx: TimingContext) -> Iterator[tuple[Span, list[str]]]:
    """Yield the allowed spans from the base's day on, in order, each with the steps that lead into it."""
    customer, rule_zone = _zones(spec, ctx)
    between = None if spec.between is None or spec.between[0] == spec.between[1] else spec.between
    into = [] if between is None else [f"moved into {between[0]:%H:%M}-{between[1]:%H:%M} {rule_zone.key}"]
    if spec.on is None:
        always = iter([Span(base, datetime.max.replace(tzinfo=UTC))])
        for span in always if between is None else merged(_windows(base, MAX_SEARCH_DAYS, between, rule_zone)):
            yield span, into
        return
    today = local_day(base, customer)
    for ahead in range(MAX_SEARCH_DAYS):
        day = today + ahead * _DAY
        reason = _day_allowed(day, spec, ctx, customer)
        if reason is None:
            continue
        for whole in day_spans(day, customer):
            for span in merged(_inside(whole, between, rule_zone)):
                on_day = [f"moved to {reason}"] if day != today else []
                yield span, on_day + (into if span.start > whole.start else [])


def _inside(whole: Span, between: tuple[time, time] | None, zone: ZoneInfo) -> Iterator[Span]:
    """Yield the parts of a day, as the customer counts it, that lie in the window, as the rule counts it."""
    if between is None:
        yield whole
        return
    days = (local_day(whole.end, zone) - local_day(whole.start, zone)).days + 1
    for span in _windows(whole.start, days, between, zone):
        shared = span.within(whole)
        if shared.start < shared.end:
            yield shared


def _windows(start: datetime, days: int, between: tuple[time, time], zone: ZoneInfo) -> Iterator[Span]:
    first = local_day(start, zone)
    for ahead in range(days):
        yield from window_spans(first + ahead * _DAY, between, zone)


def _day_allowed(day: date, spec: RetrySpec, ctx: TimingContext, zone: ZoneInfo) -> str | None:
    """Return what the day is, in words, where `on` allows it.

    A second try on the day of the failure almost never changes the answer (CFPB 2016: 3 % of same-day repeats), so a
    payday is never that day. Nor is it one so soon after a payday that was tried in vain that both bring the same
    money.
    """
    if spec.on == Day.BUSINESS_DAY:
        return f"business day {day}" if is_business_day(day, ctx.country) else None
    failed, days = local_day(ctx.last_failed_at, zone), ctx.paydays or paydays(ctx.country).days
    if day == failed or (day - failed < SAME_MONEY and payday_on(failed, days, ctx.country)):
        return None
    reason = payday_on(day, days, ctx.country)
    return f"payday {day} ({reason})" if reason else None


def _zones(spec: RetrySpec, ctx: TimingContext) -> tuple[ZoneInfo, ZoneInfo]:
    """Return the customer's zone and the rule's; what isn't known falls back on the other, at last on UTC."""
    own = customers_zone(ctx.customer_zone, ctx.country)
    if spec.zone == CUSTOMER_ZONE:
        customer = own or ZoneInfo("UTC")
        return customer, customer
    ruled = ZoneInfo(spec.zone)
    return own or ruled, ruled


def _share(seed: str, room: timedelta) -> timedelta:
    """Return the seed's fixed share of the room, rounded down to a microsecond: 0 up to, not including, the room."""
    fraction = int.from_bytes(hashlib.sha256(seed.encode()).digest())
    return (fraction * (room // _MICROSECOND) >> _HASH_BITS) * _MICROSECOND


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
