"""The contact budget: whatever was said before, the next message keeps every rule, and no later than it must."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from uuid import uuid4
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from recoup_core.rules.deciding.contact import WEEK, Contact, ContactRules, calm_at, calm_before, next_slot

START = datetime(2026, 3, 20, tzinfo=UTC)
"""A week around which Europe and America change their clocks, with Easter behind it."""

ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo"])
CLOCKS = st.builds(time, st.integers(0, 23), st.sampled_from([0, 30]))
QUIET = st.none() | st.tuples(CLOCKS, CLOCKS).filter(lambda hours: hours[0] != hours[1])
RULES = st.builds(
    ContactRules,
    per_week=st.integers(1, 6),
    min_gap=st.integers(0, 72).map(lambda hours: timedelta(hours=hours)),
    quiet=QUIET,
    sundays=st.booleans(),
    holidays=st.booleans(),
)
MOMENTS = st.integers(0, 40 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes))


def play(wishes: list[datetime], rules: ContactRules, zone: ZoneInfo) -> list[datetime]:
    """Say one thing after the other, each when the budget lets it."""
    past: list[Contact] = []
    for wish in sorted(wishes):
        at = max([wish, *(contact.at for contact in past)])
        slot = next_slot(at, past, rules, zone, "DE")
        assert slot is not None
        past.append(Contact(at=slot.at, occasion=uuid4()))
    return [contact.at for contact in past]


@settings(max_examples=150, deadline=None)
@given(st.lists(MOMENTS, min_size=1, max_size=12), RULES, ZONES)
def test_no_two_come_too_close_and_no_week_has_too_many(wishes: list[datetime], rules: ContactRules, name: str) -> None:
    """The two counts hold over any seven days, not over calendar weeks, through every change of the clock."""
    said = play(wishes, rules, ZoneInfo(name))

    assert all(later - earlier >= rules.min_gap for earlier, later in pairwise(said))
    for last in said:
        assert sum(1 for at in said if last - WEEK < at <= last) <= rules.per_week


@settings(max_examples=200, deadline=None)
@given(MOMENTS, RULES, ZONES)
def test_nobody_is_written_to_in_quiet_hours_or_on_days_of_rest(at: datetime, rules: ContactRules, name: str) -> None:
    """What comes out is calm itself, not earlier than asked; and `calm_before` not later."""
    zone = ZoneInfo(name)
    moved, because = calm_at(at, rules, zone, "DE")
    before = calm_before(at, rules, zone, "DE")

    assert moved >= at >= before
    assert (because is None) == (moved == at)
    for found in (moved, before):
        wall = found.astimezone(zone)
        if rules.quiet is not None:
            start, end = rules.quiet
            clock = wall.time()
            assert not (start <= clock < end if start < end else clock >= start or clock < end)
        assert rules.sundays or wall.weekday() != 6


@settings(max_examples=150, deadline=None)
@given(MOMENTS, st.lists(MOMENTS, max_size=10), RULES, ZONES)
def test_a_stricter_rule_never_lets_a_message_out_earlier(
    at: datetime, told: list[datetime], rules: ContactRules, name: str
) -> None:
    """One message less a week, or an hour more between two, only ever delays."""
    past = [Contact(at=min(each, at), occasion=uuid4()) for each in told]
    zone = ZoneInfo(name)
    loose = next_slot(at, past, rules, zone, "DE")
    stricter = [
        ContactRules(
            per_week=rules.per_week, min_gap=rules.min_gap + timedelta(hours=1), quiet=rules.quiet,
            sundays=rules.sundays, holidays=rules.holidays,
        ),
        ContactRules(
            per_week=max(1, rules.per_week - 1), min_gap=rules.min_gap, quiet=rules.quiet, sundays=False, holidays=False
        ),
    ]  # fmt: skip

    assert loose is not None
    for rule in stricter:
        slot = next_slot(at, past, rule, zone, "DE")
        assert slot is not None
        assert slot.at >= loose.at


def test_a_vulnerable_customer_gets_fewer_and_at_zero_none() -> None:
    """The stricter of the two numbers holds."""
    rules, zone = ContactRules(quiet=None, min_gap=timedelta()), ZoneInfo("UTC")
    past = [Contact(at=START, occasion=uuid4())]

    slot = next_slot(START + timedelta(days=1), past, rules, zone, None, vulnerable=True)

    assert slot is not None
    assert slot.at == START + WEEK
    none = ContactRules(vulnerable_per_week=0)
    assert next_slot(START, [], none, zone, None, vulnerable=True) is None
    assert next_slot(START, [], none, zone, None) is not None


def test_what_was_said_about_a_paid_debt_keeps_its_distance_and_counts_no_more() -> None:
    """`counts` false: the week is free again, the gap is not."""
    rules, zone = ContactRules(per_week=1, quiet=None), ZoneInfo("UTC")
    past = [Contact(at=START, occasion=uuid4(), counts=False)]

    slot = next_slot(START + timedelta(hours=1), past, rules, zone, None)

    assert slot is not None
    assert slot.at == START + rules.min_gap
