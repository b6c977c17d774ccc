"""Exact instants of planned retries: waits, paydays, business days, windows, clock changes, jitter."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from recoup_core.rules.language.actions import RetrySpec
from recoup_core.rules.timing import DoesNotApply, Planned, TimingContext, earliest, in_words, next_time

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MORNING = (time(6), time(10))
NIGHT = (time(22), time(2))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def context(failed: str, now: str | None = None, **changes: Any) -> TimingContext:
    """A payment that failed once, planned at the moment of its failure unless told otherwise."""
    at = utc(failed)
    facts: dict[str, Any] = {
        "now": utc(now) if now else at,
        "first_failed_at": at,
        "last_failed_at": at,
        "used": 0,
        "customer_zone": "Europe/Berlin",
        "country": "DE",
        "seed": "case-1/2",
    }
    return TimingContext(**{**facts, **changes})


def planned_at(spec: RetrySpec, ctx: TimingContext) -> datetime:
    plan = next_time(spec, ctx)
    assert isinstance(plan, Planned), plan
    return plan.at


def test_each_retry_waits_its_own_time_since_the_last_failure() -> None:
    """The i-th retry under a rule waits after[i]; one second is one second, in UTC."""
    spec = RetrySpec(after=(HOUR, 3 * DAY))

    assert planned_at(spec, context("2026-03-28 12:00", used=0)) == utc("2026-03-28 13:00")
    assert planned_at(spec, context("2026-03-28 12:00", used=1)) == utc("2026-03-31 12:00")


def test_a_used_up_list_or_count_does_not_apply() -> None:
    """Then the next action of the policy has its turn."""
    waits = RetrySpec(after=(HOUR, DAY))
    counted = RetrySpec(on="business_day", max=3)

    assert next_time(waits, context("2026-11-23 12:00", used=2)) == DoesNotApply(reason="waits_used_up")
    assert next_time(counted, context("2026-11-23 12:00", used=3)) == DoesNotApply(reason="max_reached")
    assert isinstance(next_time(counted, context("2026-11-23 12:00", used=2)), Planned)


def test_a_scheduler_that_was_down_plans_from_now() -> None:
    """A time in the past is never planned; the policy's windows hold for the later moment too."""
    down_a_day = context("2026-11-23 12:00", now="2026-11-24 15:00")

    assert planned_at(RetrySpec(after=(HOUR,)), down_a_day) == utc("2026-11-24 15:00")
    windowed = RetrySpec(after=(HOUR,), between=MORNING, zone="customer")
    assert planned_at(windowed, down_a_day) == utc("2026-11-25 05:00")


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        ("2026-11-30 05:00", "2026-11-30 05:00"),
        ("2026-11-30 04:59:59.999999", "2026-11-30 05:00"),
        ("2026-11-30 08:59:59.999999", "2026-11-30 08:59:59.999999"),
        ("2026-11-30 09:00", "2026-12-01 05:00"),
    ],
)
def test_a_window_is_half_open(failed: str, expected: str) -> None:
    """06:00 is in, 10:00 is out (Berlin is an hour ahead of UTC in winter)."""
    assert planned_at(RetrySpec(between=MORNING, zone="customer"), context(failed)) == utc(expected)


@pytest.mark.parametrize(
    ("zone", "failed", "expected"),
    [
        # Spring: the clock jumps from 02:00 to 03:00 on 29 March 2026 (Berlin) and 8 March (New York).
        ("Europe/Berlin", "2026-03-28 20:00", "2026-03-29 04:00"),
        ("Europe/Berlin", "2026-03-27 20:00", "2026-03-28 05:00"),
        ("America/New_York", "2026-03-08 04:00", "2026-03-08 10:00"),
        ("America/New_York", "2026-03-07 04:00", "2026-03-07 11:00"),
        # Autumn: from 03:00 back to 02:00 on 25 October (Berlin), from 02:00 to 01:00 on 1 November (New York).
        ("Europe/Berlin", "2026-10-24 20:00", "2026-10-25 05:00"),
        ("Europe/Berlin", "2026-10-23 20:00", "2026-10-24 04:00"),
        ("America/New_York", "2026-10-31 23:00", "2026-11-01 11:00"),
        ("America/New_York", "2026-10-30 23:00", "2026-10-31 10:00"),
    ],
)
def test_a_window_keeps_its_local_time_through_clock_changes(zone: str, failed: str, expected: str) -> None:
    """06:00 on the wall is an hour earlier or later in UTC."""
    assert planned_at(RetrySpec(between=MORNING, zone=zone), context(failed)) == utc(expected)


@pytest.mark.parametrize(
    ("between", "failed", "expected"),
    [
        # 02:30 doesn't exist on 29 March: the window opens when the gap ends, 03:00 summer time.
        ((time(2, 30), time(4)), "2026-03-29 00:00", "2026-03-29 01:00"),
        # A window wholly inside the gap doesn't exist that day.
        ((time(2, 15), time(2, 45)), "2026-03-29 00:00", "2026-03-30 00:15"),
        # 02:30 comes twice on 25 October: the first is taken, summer time.
        ((time(2, 30), time(4)), "2026-10-24 23:00", "2026-10-25 00:30"),
        # 02:00 standard time is before the window again, until its second 02:30.
        ((time(2, 30), time(4)), "2026-10-25 01:00", "2026-10-25 01:30"),
        ((time(2, 30), time(4)), "2026-10-25 01:10", "2026-10-25 01:30"),
        # Inside the second 02:00-02:30, which the wall clock says is in the window.
        ((time(2), time(2, 30)), "2026-10-25 01:10", "2026-10-25 01:10"),
    ],
)
def test_skipped_and_repeated_local_times(between: tuple[time, time], failed: str, expected: str) -> None:
    """What doesn't exist moves forward to what does; of two equal times the first is met first."""
    assert planned_at(RetrySpec(between=between, zone="Europe/Berlin"), context(failed)) == utc(expected)


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        ("2026-11-23 12:00", "2026-11-23 21:00"),
        ("2026-11-23 21:30", "2026-11-23 21:30"),
        ("2026-11-23 23:30", "2026-11-23 23:30"),
        ("2026-11-24 00:59:59", "2026-11-24 00:59:59"),
        ("2026-11-24 01:00", "2026-11-24 21:00"),
    ],
)
def test_a_window_may_cross_midnight(failed: str, expected: str) -> None:
    """22:00 to 02:00 in Berlin is 21:00 to 01:00 UTC."""
    assert planned_at(RetrySpec(between=NIGHT, zone="customer"), context(failed)) == utc(expected)


def test_a_window_from_a_time_to_itself_is_the_whole_day() -> None:
    """It restricts nothing."""
    spec = RetrySpec(between=(time(8), time(8)), zone="customer")

    assert planned_at(spec, context("2026-11-23 03:17")) == utc("2026-11-23 03:17")


@pytest.mark.parametrize(
    ("country", "zone", "failed", "expected"),
    [
        # 25 and 26 December are holidays in Germany, 27 a Sunday in 2026.
        ("DE", "Europe/Berlin", "2026-12-24 22:00", "2026-12-24 22:00"),
        ("DE", "Europe/Berlin", "2026-12-24 23:00", "2026-12-27 23:00"),
        # Boxing Day is a Saturday, so the English rest on Monday 28 as well.
        ("GB", "Europe/London", "2026-12-25 10:00", "2026-12-29 00:00"),
        # Easter Monday is a holiday in England, and London is on summer time.
        ("GB", "Europe/London", "2026-04-03 10:00", "2026-04-06 23:00"),
        # Thanksgiving, Thursday 26 November; the Friday is a business day.
        ("US", "America/New_York", "2026-11-26 12:00", "2026-11-27 05:00"),
        # Saudi Arabia rests on Friday and Saturday.
        ("SA", "Asia/Riyadh", "2026-11-27 09:00", "2026-11-28 21:00"),
        # An unknown country knows weekends only; Christmas 2026 is a Friday.
        (None, "Europe/Berlin", "2026-12-25 10:00", "2026-12-25 10:00"),
        ("XX", "Europe/Berlin", "2026-12-26 10:00", "2026-12-27 23:00"),
    ],
)
def test_business_days_follow_the_countrys_holidays(country: str | None, zone: str, failed: str, expected: str) -> None:
    """The first moment of the next business day, by the customer's own calendar and clock."""
    spec = RetrySpec(on="business_day", zone="customer")

    assert planned_at(spec, context(failed, country=country, customer_zone=zone)) == utc(expected)


@pytest.mark.parametrize(
    ("country", "zone", "paydays", "failed", "expected"),
    [
        # The 31st means the last day: 30 November 2026 is a Monday.
        ("DE", "Europe/Berlin", (31,), "2026-11-23 12:00", "2026-11-30 05:00"),
        # 31 January 2027 is a Sunday, so people are paid on Friday 29.
        ("DE", "Europe/Berlin", (31,), "2027-01-20 12:00", "2027-01-29 05:00"),
        # 1 August 2027 is a Sunday: paid on Friday 30 July, in the month before.
        ("DE", "Europe/Berlin", (1,), "2027-07-20 12:00", "2027-07-30 04:00"),
        # New Year's Day is a holiday: the January payday is 31 December.
        ("DE", "Europe/Berlin", (1,), "2026-12-20 12:00", "2026-12-31 05:00"),
        # Christmas Day 2026, a Friday: paid on Thursday.
        ("US", "America/New_York", (25,), "2026-12-20 12:00", "2026-12-24 11:00"),
        # Thanksgiving, 26 November 2026: paid on Wednesday.
        ("US", "America/New_York", (26,), "2026-11-20 12:00", "2026-11-25 11:00"),
        # Leap day 2028 is a Tuesday; the year before, 28 February is a Sunday.
        ("DE", "Europe/Berlin", (31,), "2028-02-16 12:00", "2028-02-29 05:00"),
        ("DE", "Europe/Berlin", (29,), "2028-02-16 12:00", "2028-02-29 05:00"),
        ("DE", "Europe/Berlin", (31,), "2027-02-16 12:00", "2027-02-26 05:00"),
        # Without the customer's own, the country's: Germany the 1st and the last.
        ("DE", "Europe/Berlin", (), "2026-11-23 12:00", "2026-11-30 05:00"),
        ("GB", "Europe/London", (), "2026-11-23 12:00", "2026-11-25 06:00"),
        # Already payday, early enough: today, unless the failure was today (next test).
        ("DE", "Europe/Berlin", (24,), "2026-11-23 22:59", "2026-11-24 05:00"),
    ],
)
def test_paydays_by_country_and_customer(
    country: str, zone: str, paydays: tuple[int, ...], failed: str, expected: str
) -> None:
    """The first payday on or after the base; one on a day off is paid the business day before."""
    spec = RetrySpec(on="payday", between=MORNING, zone="customer")

    assert planned_at(spec, context(failed, country=country, customer_zone=zone, paydays=paydays)) == utc(expected)


def test_a_payday_is_never_the_day_of_the_failure() -> None:
    """A second try on the same local day almost never changes the answer."""
    spec = RetrySpec(on="payday", between=MORNING, zone="customer")
    just_after_midnight = context("2026-11-29 23:30", paydays=(30,))

    assert planned_at(spec, just_after_midnight) == utc("2026-12-30 05:00")


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        ("2026-03-31 08:00", "2026-04-30 04:00"),  # tried on the month's last day: the first brings no more money
        ("2026-03-30 08:00", "2026-03-31 04:00"),  # the day before was no payday
        ("2026-04-01 08:00", "2026-04-30 04:00"),
    ],
)
def test_two_paydays_of_one_salary_are_one(failed: str, expected: str) -> None:
    """German paydays are the last business day and the first; a second try the day after the first would be in vain."""
    spec = RetrySpec(on="payday", between=MORNING, zone="customer")

    assert planned_at(spec, context(failed, country="DE", customer_zone="Europe/Berlin")) == utc(expected)


def test_a_payday_passed_by_the_window_is_not_left_for_the_day_after() -> None:
    """After moving into the window the day must still be a payday."""
    spec = RetrySpec(after=(7 * DAY,), on="payday", between=MORNING, zone="customer")

    assert planned_at(spec, context("2026-11-23 12:00", paydays=(30,))) == utc("2026-12-30 05:00")


def test_days_are_the_customers_and_windows_the_rules() -> None:
    """A New Yorker's payday, at an hour of Berlin: 30 November in New York is 05:00 UTC to 05:00 the day after."""
    spec = RetrySpec(on="payday", between=(time(3), time(5)), zone="Europe/Berlin")
    ctx = context("2026-11-23 12:00", country="US", customer_zone="America/New_York", paydays=(30,))

    assert planned_at(spec, ctx) == utc("2026-12-01 02:00")


@pytest.mark.parametrize(
    ("customer_zone", "country", "expected"),
    [
        ("Asia/Tokyo", "DE", "2026-11-23 21:00"),
        (None, "DE", "2026-11-24 05:00"),
        ("Not/A_Zone", "DE", "2026-11-24 05:00"),
        (None, None, "2026-11-24 06:00"),
        (None, "XX", "2026-11-24 06:00"),
    ],
)
def test_the_customers_zone_else_the_countrys_else_utc(
    customer_zone: str | None, country: str | None, expected: str
) -> None:
    """What isn't known falls back, and a misspelt zone counts as not known."""
    spec = RetrySpec(between=MORNING, zone="customer")
    ctx = context("2026-11-23 12:00", customer_zone=customer_zone, country=country)

    assert planned_at(spec, ctx) == utc(expected)


def test_within_is_inclusive_and_counts_from_the_first_failure() -> None:
    """The last moment itself is still inside."""
    inside = context("2026-11-30 12:00", first_failed_at=utc("2026-11-23 12:00"))

    assert planned_at(RetrySpec(after=(DAY,), within=8 * DAY), inside) == utc("2026-12-01 12:00")
    too_late = RetrySpec(after=(DAY,), within=8 * DAY - timedelta(microseconds=1))
    assert next_time(too_late, inside) == DoesNotApply(reason="window_closed")
    payday_too_far = RetrySpec(on="payday", within=6 * DAY)
    assert next_time(payday_too_far, context("2026-11-23 12:00", paydays=(31,))) == DoesNotApply(reason="window_closed")


def test_jitter_is_the_same_for_the_same_attempt_and_differs_between_attempts() -> None:
    """It spreads load, yet a replayed decision must give the same answer."""
    spec = RetrySpec(after=(DAY,), jitter=timedelta(minutes=30))
    times = [planned_at(spec, context("2026-11-23 12:00", seed=f"case-{n}/2")) for n in range(200)]
    base = utc("2026-11-24 12:00")

    assert planned_at(spec, context("2026-11-23 12:00", seed="case-7/2")) == times[7]
    assert all(base <= at < base + timedelta(minutes=30) for at in times)
    assert len(set(times)) > 190
    assert min(times) < base + timedelta(minutes=3)
    assert max(times) > base + timedelta(minutes=27)


def test_jitter_never_leaves_the_window_or_the_day() -> None:
    """It shares out the room that is left."""
    windowed = RetrySpec(between=MORNING, zone="customer", jitter=6 * HOUR)
    on_payday = RetrySpec(on="payday", zone="customer", jitter=24 * HOUR)
    inside = RetrySpec(after=(HOUR,), within=2 * HOUR, jitter=24 * HOUR)

    for n in range(100):
        late = context("2026-11-23 08:59", seed=f"case-{n}/2", paydays=(30,))
        assert utc("2026-11-23 08:59") <= planned_at(windowed, late) < utc("2026-11-23 09:00")
        assert utc("2026-11-29 23:00") <= planned_at(on_payday, late) < utc("2026-11-30 23:00")
        assert utc("2026-11-23 09:59") <= planned_at(inside, late) <= utc("2026-11-23 10:59")


def test_a_window_across_midnight_gives_jitter_its_whole_night() -> None:
    """Midnight is no border where every day is allowed."""
    spec = RetrySpec(between=NIGHT, zone="customer", jitter=4 * HOUR)
    times = [planned_at(spec, context("2026-11-23 12:00", seed=f"case-{n}/2")) for n in range(100)]

    assert all(utc("2026-11-23 21:00") <= at < utc("2026-11-24 01:00") for at in times)
    assert max(times) > utc("2026-11-24 00:00")


def test_a_time_pushed_by_limits_is_pulled_into_the_policy_again() -> None:
    """`earliest` re-applies day and window, never before `at`, and leaves a fitting time alone."""
    spec = RetrySpec(after=(HOUR,), on="business_day", between=MORNING, zone="customer", jitter=HOUR, within=10 * DAY)
    ctx = context("2026-11-27 02:00")

    pushed = earliest(utc("2026-11-27 11:00"), spec, ctx)
    again = earliest(utc("2026-11-30 05:00"), spec, ctx)
    too_late = earliest(utc("2026-12-07 10:00"), spec, ctx)

    assert isinstance(pushed, Planned)
    assert isinstance(again, Planned)
    assert pushed.at == again.at == utc("2026-11-30 05:00")
    assert too_late == DoesNotApply(reason="window_closed")


def test_a_plan_says_how_it_came_about() -> None:
    """Promise 9: each step in words."""
    spec = RetrySpec(after=(3 * DAY,), on="payday", between=MORNING, zone="customer", jitter=timedelta(minutes=30))

    plan = next_time(spec, context("2026-11-23 12:00"))

    assert isinstance(plan, Planned)
    assert plan.because[:3] == (
        "waited 3d",
        "moved to payday 2026-11-30 (last business day)",
        "moved into 06:00-10:00 Europe/Berlin",
    )
    assert plan.because[3].startswith("jitter +")


@pytest.mark.parametrize(
    ("length", "words"),
    [(timedelta(), "0s"), (timedelta(days=3), "3d"), (timedelta(minutes=90), "1h30m"), (timedelta(seconds=61), "1m1s")],
)
def test_lengths_are_short_words(length: timedelta, words: str) -> None:
    """Readable in a timeline."""
    assert in_words(length) == words
