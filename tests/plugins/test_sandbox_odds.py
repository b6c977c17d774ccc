"""The sandbox's random debtors: repeatable, and better paid by those who wait for payday."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from recoup_plugins import ChargeRequest, Declined, GatewaySettings
from recoup_plugins.gateways.sandbox import make_sandbox
from recoup_plugins.gateways.sandbox_odds import CAUSES, DEAD_CAUSES, Odds, cause_of, declined_at, payday_of

REFERENCES = [f"inv-{number}" for number in range(2000)]
ODDS = Odds(seed="7", recoverable_percent=80)
NOW = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)


def test_the_shares_are_shares() -> None:
    """Each table sums to 100 percent."""
    assert [sum(share for _, share in causes) for causes in (CAUSES, DEAD_CAUSES)] == [100, 100]


def test_so_many_can_be_recovered_as_the_token_says() -> None:
    """The rate is met over many payments, and the causes keep their shares."""
    causes = Counter(cause_of(ODDS, reference) for reference in REFERENCES)

    alive = sum(causes[code] for code, _ in CAUSES)
    assert alive / len(REFERENCES) == pytest.approx(0.80, abs=0.04)
    assert causes["insufficient_funds"] / alive == pytest.approx(0.55, abs=0.05)


def test_the_same_question_gets_the_same_answer() -> None:
    """A run can be repeated; another seed is another population."""
    one = [declined_at(ODDS, reference, NOW) for reference in REFERENCES]

    assert one == [declined_at(ODDS, reference, NOW) for reference in REFERENCES]
    assert one != [declined_at(Odds(seed="8", recoverable_percent=80), reference, NOW) for reference in REFERENCES]


def test_waiting_for_payday_pays() -> None:
    """An empty account is worth far more attempts right after payday than right before."""
    poor = Odds(seed="7", recoverable_percent=100, cause="insufficient_funds")

    def share(day_offset: int) -> float:
        paid = 0
        for reference in REFERENCES:
            payday = NOW.replace(month=4, day=payday_of(poor, reference))
            payday -= timedelta(days=max(0, payday.weekday() - 4))  # a weekend's wages come on the Friday before
            paid += declined_at(poor, reference, payday + timedelta(days=day_offset)) is None
        return paid / len(REFERENCES)

    assert share(0) > 0.8
    assert share(-1) < 0.15


def test_an_issuers_trouble_passes_within_hours() -> None:
    """Trying again after a few hours finds another answer; the same hour does not."""
    odds = Odds(seed="7", recoverable_percent=100, cause="issuer_not_available")
    failed = [reference for reference in REFERENCES if declined_at(odds, reference, NOW) is not None]

    later = [declined_at(odds, reference, NOW + timedelta(hours=8)) for reference in failed]

    assert sum(code is None for code in later) / len(later) > 0.6


def test_what_is_broken_stays_broken() -> None:
    """A stolen card is not cured by patience."""
    dead = Odds(seed="7", recoverable_percent=0)

    for days in (0, 7, 30):
        codes = {declined_at(dead, reference, NOW + timedelta(days=days)) for reference in REFERENCES[:200]}
        assert codes <= {code for code, _ in DEAD_CAUSES}


async def test_a_random_token_follows_the_banks_clock(a_request, standing_clock) -> None:
    """The gateway answers what the odds say at its own clock's time; each attempt asks anew."""
    sandbox = make_sandbox(GatewaySettings(name="s", plugin="sandbox", options={"clock": standing_clock}))
    odds = Odds(seed="a", recoverable_percent=90)

    for days in range(40):
        request: ChargeRequest = a_request("tok_random:a:90", payment_reference="inv")
        outcome = await sandbox.charge(request)
        expected = declined_at(odds, "inv", standing_clock.now())
        assert (outcome.decline.code if isinstance(outcome, Declined) else None) == expected, days
        standing_clock.forward(days=1)
