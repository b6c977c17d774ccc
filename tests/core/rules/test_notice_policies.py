"""The shipped notice policies: every charge is covered, debits are announced in time, and nobody is woken up."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from recoup_core.domain.payment import Method, Segment
from recoup_core.domain.recovery import StepKind
from recoup_core.rules.deciding.notice import Notices, NoticeSituation, WantedNotice, decide_notice, notice_days
from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.facts import NOTICE, Interval, NoticeFacts
from recoup_core.rules.sets.book import PolicyBook

POLICIES = Path(__file__).parents[3] / "policies" / "notice"
NIGHT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/Los_Angeles", "Asia/Tokyo")


@pytest.fixture(scope="module")
def book() -> Iterator[PolicyBook]:
    book = PolicyBook.load(POLICIES, EngineChoice.DURABLE_RULES)
    yield book
    book.close()


def told(
    book: PolicyBook,
    now: datetime,
    charge_at: datetime,
    expires: date | None = None,
    zone: str = ZONES[0],
    **given: object,
) -> tuple[WantedNotice, ...]:
    """Return what is said of a charge that is announced now; keys of `given` have `__` for their dot."""
    days = notice_days(now, charge_at, expires, zone=zone, country=None)
    known = {name.replace("__", "."): value for name, value in given.items()} | {
        "charge_in_days": days.charge_in_days,
        "card_expires_in_days": days.card_expires_in_days,
        "card_expires_before_charge": days.card_expires_before_charge,
    }
    facts = NOTICE.given(NOTICE.baseline, known)
    assert isinstance(facts, NoticeFacts)
    situation = NoticeSituation(
        now=now, announced_at=now, charge_at=charge_at, card_expires=expires, customer_zone=zone, country="DE"
    )
    outcome = decide_notice(book.choose("notice", facts), facts, situation).outcome
    return outcome.steps if isinstance(outcome, Notices) else ()


def test_every_charge_has_a_notice_policy(book: PolicyBook) -> None:
    """A fresh install has an answer for whatever billing announces."""
    for method, segment, interval in product(Method, [None, *Segment], [None, *Interval]):
        given = {"method": method.value, "segment": segment, "subscription.interval": interval}
        name = book.choose("notice", NOTICE.given(NOTICE.baseline, given)).policy.name
        assert name == ("cards" if method is Method.CARD else "direct-debit")


@pytest.mark.parametrize("zone", ZONES)
def test_a_sepa_debit_is_announced_two_weeks_ahead_whenever_billing_told_in_time(book: PolicyBook, zone: str) -> None:
    """At whatever hour it was announced and is debited, over a whole year and both changes of the clocks."""
    for days in range(0, 365, 3):
        now = NIGHT + timedelta(days=days, hours=days % 24)
        charge_at = now + timedelta(days=16, hours=days % 7)
        [step] = told(book, now, charge_at, zone=zone, method="sepa_debit")
        assert step.detail["template"] == "debit_prenotification"
        assert charge_at - step.at >= timedelta(days=14)


@pytest.mark.parametrize("vulnerable", [True, False])
@pytest.mark.parametrize("method", Method)
def test_nobody_hears_from_us_at_night(book: PolicyBook, method: Method, vulnerable: bool) -> None:
    """Not even of what was announced too late."""
    for ahead, interval, zone in product((1, 3, 9, 20, 40, 70), [None, *Interval], ZONES):
        charge_at = NIGHT + timedelta(days=ahead)
        expires = charge_at.date() - timedelta(days=2) if method is Method.CARD else None
        given = {"subscription__interval": interval, "customer__vulnerable": vulnerable, "method": method.value}
        for step in told(book, NIGHT, charge_at, expires, zone, **given):
            if step.kind is StepKind.MESSAGE:
                assert 6 <= step.at.astimezone(ZoneInfo(zone)).hour < 20


def test_a_card_that_ends_is_asked_for_before_the_charge_and_one_that_does_not_never(book: PolicyBook) -> None:
    """Whoever hears of a card that is good learns not to listen."""
    charge_at = NIGHT + timedelta(days=60)
    for left, interval in product(range(0, 90, 5), [None, *Interval]):
        expires = NIGHT.date() + timedelta(days=left)
        steps = told(book, NIGHT, charge_at, expires, subscription__interval=interval)
        asked = [step for step in steps if str(step.detail["template"]).startswith("card_expiring")]
        assert bool(asked) is (expires < charge_at.astimezone(ZoneInfo(ZONES[0])).date())
        assert all(step.at < charge_at for step in steps)
        assert len(steps) <= 3


def test_vulnerable_customers_are_called_about_their_card(book: PolicyBook) -> None:
    """A person finds the words."""
    charge_at = NIGHT + timedelta(days=60)

    [step] = told(book, NIGHT, charge_at, NIGHT.date() + timedelta(days=9), customer__vulnerable=True)

    assert step.kind is StepKind.HUMAN_TASK
    assert charge_at - step.at >= timedelta(days=14)
