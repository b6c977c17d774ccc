"""Whatever the rule: a planned time satisfies all of it, is the first that does, and never moves earlier."""

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import holidays
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from recoup_core.rules.language.actions import RetrySpec
from recoup_core.rules.timing import MAX_SEARCH_DAYS, Planned, TimingContext, earliest, next_time

STEP = timedelta(minutes=15)
"""All zones below change their clocks on whole quarters, and so do the windows: every border is on the grid."""

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Riyadh", "UTC")
COUNTRIES = ("DE", "US", "SA", None)
# Around clock changes (spring and autumn, both hemispheres), month ends, Christmas and the leap day.
SEASONS = tuple(date.fromisoformat(d) for d in ("2026-03-05", "2026-10-20", "2026-12-22", "2027-03-26", "2028-02-25"))

moments = st.builds(
    lambda day, quarters: datetime(day.year, day.month, day.day, tzinfo=UTC) + quarters * STEP,
    st.sampled_from(SEASONS),
    st.integers(0, 96 * 14),
)
clock_times = st.integers(0, 95).map(lambda n: time(n // 4, n % 4 * 15))
specs = st.builds(
    RetrySpec,
    after=st.lists(st.integers(0, 96 * 3).map(lambda n: n * STEP), max_size=2).map(tuple),
    on=st.sampled_from((None, "payday", "business_day")),
    between=st.none() | st.tuples(clock_times, clock_times),
    zone=st.sampled_from(("customer", *ZONES)),
    within=st.none() | st.integers(0, 40).map(lambda n: n * timedelta(days=1)),
    max=st.none() | st.integers(1, 3),
)


@st.composite
def contexts(draw: st.DrawFn) -> TimingContext:
    failed = draw(moments)
    return TimingContext(
        now=failed + draw(st.integers(0, 96 * 4)) * STEP,
        first_failed_at=failed - draw(st.integers(0, 5)) * timedelta(days=1),
        last_failed_at=failed,
        used=draw(st.integers(0, 2)),
        customer_zone=draw(st.sampled_from(ZONES)),
        country=draw(st.sampled_from(COUNTRIES)),
        paydays=draw(st.lists(st.integers(1, 31), min_size=1, max_size=3).map(tuple)),
        seed=draw(st.text(max_size=5)),
    )


def works(day: date, country: str | None) -> bool:
    """Banks of the country work: straight from the library."""
    if country is None:
        return day.weekday() < 5
    return bool(holidays.country_holidays(country, years=day.year).is_working_day(day))


def is_payday(day: date, paydays: tuple[int, ...], country: str | None) -> bool:
    """Brute force: some nominal payday of this or the next month whose days off reach back exactly to this day."""
    if not works(day, country):
        return False
    for ahead in range(12):
        nominal = day + timedelta(days=ahead)
        if ahead and works(nominal, country):
            return False
        last = monthrange(nominal.year, nominal.month)[1]
        if any(min(number, last) == nominal.day for number in paydays):
            return True
    return False


def satisfies(at: datetime, spec: RetrySpec, ctx: TimingContext, known_days: dict[date, bool]) -> bool:
    """Judge one moment by its wall-clock readings alone."""
    customer = ZoneInfo(ctx.customer_zone or "UTC")
    day = at.astimezone(customer).date()
    if spec.on is not None:
        if day not in known_days:
            fits = works(day, ctx.country)
            if spec.on == "payday":
                same_day = day == ctx.last_failed_at.astimezone(customer).date()
                fits = not same_day and is_payday(day, ctx.paydays, ctx.country)
            known_days[day] = fits
        if not known_days[day]:
            return False
    if spec.between is None:
        return True
    opens, closes = spec.between
    wall = at.astimezone(customer if spec.zone == "customer" else ZoneInfo(spec.zone)).time()
    return opens <= wall < closes if opens < closes else wall >= opens or wall < closes


def first_by_scanning(start: datetime, spec: RetrySpec, ctx: TimingContext, until: datetime) -> datetime | None:
    known_days: dict[date, bool] = {}
    at = start
    while at <= until:
        if satisfies(at, spec, ctx, known_days):
            return at
        at += STEP
    return None


@settings(max_examples=150, deadline=None)
@given(specs, contexts())
def test_the_plan_is_the_first_moment_that_satisfies_everything(spec: RetrySpec, ctx: TimingContext) -> None:
    """Compared with a scan of every quarter of an hour, judged by the wall clock."""
    plan = next_time(spec, ctx)

    if (spec.max is not None and ctx.used >= spec.max) or (spec.after and ctx.used >= len(spec.after)):
        assert not isinstance(plan, Planned)
        return
    base = max(ctx.now, ctx.last_failed_at + (spec.after[ctx.used] if spec.after else timedelta()))
    latest = ctx.first_failed_at + spec.within if spec.within is not None else base + timedelta(days=70)
    expected = first_by_scanning(base, spec, ctx, latest)
    assert (plan.at if isinstance(plan, Planned) else None) == expected


@settings(max_examples=150, deadline=None)
@given(specs, contexts(), st.integers(1, 86400 * 2), st.integers(0, 10**10))
def test_jitter_keeps_the_rule_and_stays_within_its_bounds(
    spec: RetrySpec, ctx: TimingContext, jitter_s: int, late_us: int
) -> None:
    """A jittered time lies between the first fitting moment and that much later, and fits as well."""
    ctx = replace(ctx, now=ctx.now + timedelta(microseconds=late_us))
    plain = next_time(spec, ctx)
    assume(isinstance(plain, Planned))
    assert isinstance(plain, Planned)
    jittered_spec = replace(spec, jitter=timedelta(seconds=jitter_s))

    jittered = next_time(jittered_spec, ctx)

    assert isinstance(jittered, Planned)
    assert plain.at <= jittered.at < plain.at + timedelta(seconds=jitter_s) or jittered.at == plain.at
    assert satisfies(jittered.at, spec, ctx, {})
    assert spec.within is None or jittered.at <= ctx.first_failed_at + spec.within
    assert next_time(jittered_spec, ctx) == jittered
    assert earliest(jittered.at, jittered_spec, ctx) == Planned(
        at=jittered.at, because=(f"not before {jittered.at:%Y-%m-%d %H:%M} UTC",)
    )


@settings(max_examples=150, deadline=None)
@given(specs, contexts(), st.integers(0, 86400 * 2), st.integers(0, 86400 * 10**6 * 9))
@example(
    RetrySpec(between=(time(6), time(6, 15)), zone="UTC"),
    TimingContext(
        now=datetime(2026, 11, 23, 6, tzinfo=UTC),
        first_failed_at=datetime(2026, 11, 23, tzinfo=UTC),
        last_failed_at=datetime(2026, 11, 23, tzinfo=UTC),
        used=0,
        customer_zone=None,
        country=None,
        seed="x",
    ),
    86400,
    60 * 10**6,
)
def test_a_later_now_never_plans_earlier(spec: RetrySpec, ctx: TimingContext, jitter_s: int, later_us: int) -> None:
    """Planning again, after a crash or a delay, never jumps the queue."""
    spec = replace(spec, jitter=timedelta(seconds=jitter_s))
    later = replace(ctx, now=ctx.now + timedelta(microseconds=later_us))

    sooner_plan, later_plan = next_time(spec, ctx), next_time(spec, later)

    if isinstance(later_plan, Planned):
        assert isinstance(sooner_plan, Planned)
        assert later_plan.at >= sooner_plan.at
        assert later_plan.at >= later.now
        assert later_plan.at - later.now <= timedelta(days=MAX_SEARCH_DAYS)
