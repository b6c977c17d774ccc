"""Each network limit, exact to the microsecond, and what clears it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from recoup_core.domain.decline import DeclineCategory, DeclineSource
from recoup_core.domain.payment import Method, Network
from recoup_core.rules.deciding.limits import Allowed, Blocked, LimitQuestion, PastAttempt, check_limits

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
TICK = timedelta(microseconds=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OURS, OTHER = UUID(int=1), UUID(int=2)


def declined(at: datetime, **said: Any) -> PastAttempt:
    """A decline of our payment over 20.00 that names no code of note."""
    facts: dict[str, Any] = {"amount_minor": 2000, "currency": "EUR", "payment_id": OURS, "succeeded": False}
    return PastAttempt(**{**facts, "at": at, **said})


def succeeded(at: datetime) -> PastAttempt:
    return declined(at, succeeded=True, payment_id=OTHER)


def returned(at: datetime, source: DeclineSource, code: str, **said: Any) -> PastAttempt:
    """A bank debit that came back with the scheme's code."""
    return declined(at, source=source, code=code, **said)


def ask(network: Network | None, *history: PastAttempt, at: datetime = NOW, **changes: Any) -> Allowed | Blocked:
    """Ask for a card attempt of our payment unless told otherwise."""
    facts: dict[str, Any] = {
        "at": at,
        "method": Method.CARD,
        "network": network,
        "amount_minor": 2000,
        "currency": "EUR",
        "payment_id": OURS,
        "acquirer_country": None,
        "history": history,
    }
    return check_limits(LimitQuestion(**{**facts, **changes}))


def ask_debit(method: Method, *history: PastAttempt, at: datetime = NOW, **changes: Any) -> Allowed | Blocked:
    return ask(None, *history, at=at, method=method, **changes)


def allowed_at(answer: Allowed | Blocked) -> datetime:
    assert isinstance(answer, Allowed), answer
    return answer.at


def blocking(answer: Allowed | Blocked) -> set[str]:
    """The rules that block; empty where the attempt is allowed."""
    return {finding.rule for finding in answer.findings} if isinstance(answer, Blocked) else set()


def spread(count: int, first: datetime, gap: timedelta = HOUR, **said: Any) -> list[PastAttempt]:
    return [declined(first + n * gap, **said) for n in range(count)]


@pytest.mark.parametrize("network", [*Network, None])
def test_a_clean_account_may_be_tried_at_once(network: Network | None) -> None:
    """No history, no limit, nothing to report."""
    assert ask(network) == Allowed(at=NOW, findings=())


# --- budgets of cards -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "country", "rule", "tries", "window"),
    [
        # 13 reattempts (15 less the margin) come after the first decline, so the 15th try is the first too many.
        (Network.VISA, None, "visa_category_2_3_4", 14, 30 * DAY),
        (Network.ELO, None, "elo_30d", 14, 30 * DAY),
        (Network.AMERICAN_EXPRESS, None, "amex_default", 14, 30 * DAY),
        (Network.DISCOVER, None, "discover_default", 14, 30 * DAY),
        (Network.OTHER, None, "other_cards_default", 8, 30 * DAY),
        (None, None, "other_cards_default", 8, 30 * DAY),
        # Mastercard counts declines, the first one too: 8 a day (10 less the margin), 7 in Brazil.
        (Network.MASTERCARD, None, "mastercard_24h", 8, 24 * HOUR),
        (Network.MASTERCARD, "BR", "mastercard_brazil", 7, 24 * HOUR),
    ],
)
def test_a_full_window_opens_the_moment_its_oldest_try_leaves(
    network: Network | None, country: str | None, rule: str, tries: int, window: timedelta
) -> None:
    """One try fewer is allowed at once; one more waits until the oldest counted one is exactly as old as the window."""
    history = spread(tries, NOW - 20 * HOUR)
    counted = history if window == 24 * HOUR else history[1:]
    opens = counted[0].at + window

    assert allowed_at(ask(network, *history[1:], acquirer_country=country)) == NOW
    waiting = ask(network, *history, acquirer_country=country)
    assert allowed_at(waiting) == opens
    assert [finding.until for finding in waiting.findings if finding.rule == rule] == [opens]
    assert allowed_at(ask(network, *history, at=opens - TICK, acquirer_country=country)) == opens
    assert allowed_at(ask(network, *history, at=opens, acquirer_country=country)) == opens
    assert allowed_at(ask(network, *history, at=opens + TICK, acquirer_country=country)) == opens + TICK


def test_mastercard_counts_33_declines_in_30_days() -> None:
    """35 less the margin; three a day keep clear of the daily limit."""
    history = spread(33, NOW - 12 * DAY, gap=8 * HOUR)

    assert allowed_at(ask(Network.MASTERCARD, *history[1:])) == NOW
    assert allowed_at(ask(Network.MASTERCARD, *history)) == history[0].at + 30 * DAY


def test_the_longest_of_several_limits_wins() -> None:
    """The daily window opens earlier than the monthly one."""
    history = [*spread(30, NOW - 15 * DAY, gap=12 * HOUR), *spread(8, NOW - HOUR, gap=timedelta(minutes=1))]

    assert allowed_at(ask(Network.MASTERCARD, *history)) == history[38 - 33].at + 30 * DAY


def test_every_attempt_on_the_account_counts() -> None:
    """Other payments, other amounts, attempts in flight: all of them; the amount is ignored on purpose."""
    history = [
        declined(NOW - n * HOUR, payment_id=UUID(int=n), amount_minor=n, currency="USD", network_code=code)
        for n, code in zip(range(1, 15), ["05", None] * 7, strict=True)
    ]

    assert allowed_at(ask(Network.VISA, *history)) > NOW


def test_an_approval_resets_visa_but_not_mastercard() -> None:
    """Visa counts consecutive declines; for Mastercard the stricter reading is taken."""
    history = [*spread(14, NOW - 20 * HOUR, gap=timedelta(minutes=1)), succeeded(NOW - HOUR)]

    assert ask(Network.VISA, *history) == Allowed(at=NOW, findings=())
    assert allowed_at(ask(Network.MASTERCARD, *history)) > NOW


def test_a_decline_at_the_moment_of_the_approval_still_counts() -> None:
    """Which came first isn't known; the stricter order is assumed."""
    history = [succeeded(NOW - HOUR), *spread(14, NOW - HOUR, gap=timedelta())]

    assert allowed_at(ask(Network.VISA, *history)) == NOW - HOUR + 30 * DAY


def test_the_first_decline_of_a_run_is_never_a_reattempt_however_old() -> None:
    """A run that began before the window leaves no free try inside it."""
    inside = spread(13, NOW - 20 * HOUR)

    assert allowed_at(ask(Network.VISA, *inside)) == NOW
    assert allowed_at(ask(Network.VISA, declined(NOW - 60 * DAY), *inside)) == inside[0].at + 30 * DAY


def test_the_order_of_the_history_does_not_matter() -> None:
    """The store may return it as it likes."""
    history = spread(20, NOW - 20 * HOUR)

    assert ask(Network.VISA, *reversed(history)) == ask(Network.VISA, *history)


def test_a_finding_says_how_full_a_window_is() -> None:
    """Promise 9: limits applied are part of the explanation, also where they allow."""
    answer = ask(Network.VISA, *spread(4, NOW - 5 * DAY))

    (finding,) = answer.findings
    assert (finding.rule, finding.counted, finding.allowed, finding.until) == ("visa_category_2_3_4", 3, 13, None)
    assert finding.message == "3 of 13 reattempts (15 less a safety margin) in 720 h used"


# --- stops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "said", "rule"),
    [
        (Network.VISA, {"visa_category": 1}, "visa_category_1"),
        (Network.VISA, {"network_code": "14"}, "visa_category_1"),
        (Network.VISA, {"network_code": "14", "visa_category": 4}, "visa_category_1"),
        (Network.VISA, {"source": DeclineSource.ISO8583, "code": "14"}, "visa_category_1"),
        (Network.VISA, {"network_code": "R0"}, "visa_stop_payment_service"),
        (Network.VISA, {"network_code": "R1"}, "visa_stop_payment_service"),
        (Network.VISA, {"network_code": "R3"}, "visa_stop_payment_service"),
        (Network.VISA, {"network_code": "57"}, "visa_code_changes"),
        (Network.VISA, {"network_code": "83"}, "visa_code_changes"),
        (Network.VISA, {"network_code": "46"}, "visa_code_changes"),
        (Network.MASTERCARD, {"advice_code": "03"}, "mastercard_mac_03_21"),
        (Network.MASTERCARD, {"advice_code": "3"}, "mastercard_mac_03_21"),
        (Network.MASTERCARD, {"advice_code": "21"}, "mastercard_mac_03_21"),
        (None, {"advice_code": "21"}, "mastercard_mac_03_21"),
        (None, {"network_code": "R1"}, "visa_stop_payment_service"),
        (Network.ELO, {"category": DeclineCategory.LOST_OR_STOLEN}, "lost_or_stolen"),
        (Network.ELO, {"category": DeclineCategory.FRAUD}, "fraud"),
        (Network.ELO, {"category": DeclineCategory.REVOKED_MANDATE}, "revoked_mandate"),
        (Network.ELO, {"blocked_by_gateway": True}, "gateway_block"),
    ],
)
def test_a_hard_stop_blocks_the_account_until_it_succeeds_again(
    network: Network | None, said: dict[str, Any], rule: str
) -> None:
    """In any payment, however long ago; a later success shows that the issuer approves again."""
    stop = declined(NOW - 190 * DAY, payment_id=OTHER, **said)

    assert rule in blocking(ask(network, stop))
    assert rule in blocking(ask(network, stop, declined(NOW - DAY)))
    assert rule in blocking(ask(network, succeeded(stop.at), stop))
    assert ask(network, stop, succeeded(stop.at + TICK)) == Allowed(at=NOW, findings=())


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Network.MASTERCARD, {"network_code": "57"}),
        (Network.VISA, {"advice_code": "03"}),
        (Network.DISCOVER, {"network_code": "14"}),
        (Network.VISA, {"network_code": "5C"}),
        (Network.VISA, {"network_code": "51", "category": DeclineCategory.INSUFFICIENT_FUNDS}),
    ],
)
def test_one_networks_stop_is_not_anothers(network: Network, said: dict[str, Any]) -> None:
    """A known network answers for its own codes only."""
    assert allowed_at(ask(network, declined(NOW - DAY, **said))) == NOW


# --- waits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advice", "wait"),
    [
        ("24", HOUR),
        ("25", 24 * HOUR),
        ("26", 2 * DAY),
        ("27", 4 * DAY),
        ("28", 6 * DAY),
        ("29", 8 * DAY),
        ("30", 10 * DAY),
        ("02", 72 * HOUR),
        ("2", 72 * HOUR),
    ],
)
def test_advice_codes_set_the_earliest_moment(advice: str, wait: timedelta) -> None:
    """Exactly so long after the decline; a success in between ends the wait; other networks know no such code."""
    decline = declined(NOW - TICK, advice_code=advice)

    assert allowed_at(ask(Network.MASTERCARD, decline)) == decline.at + wait
    assert allowed_at(ask(None, decline)) == decline.at + wait
    assert allowed_at(ask(Network.MASTERCARD, decline, at=decline.at + wait)) == decline.at + wait
    assert allowed_at(ask(Network.MASTERCARD, decline, succeeded(NOW))) == NOW
    assert allowed_at(ask(Network.VISA, decline)) == NOW


def test_the_longest_wait_wins() -> None:
    """A later decline with shorter advice doesn't cut the earlier wait."""
    long, short = declined(NOW - 2 * DAY, advice_code="30"), declined(NOW - DAY, advice_code="24")

    assert allowed_at(ask(Network.MASTERCARD, long, short)) == long.at + 10 * DAY


# --- bank debits ------------------------------------------------------------------------------------------------------

ACH, SEPA, BACS = Method.ACH_DEBIT, Method.SEPA_DEBIT, Method.BACS_DEBIT


@pytest.mark.parametrize(
    ("method", "source", "code", "rule", "window"),
    [
        (ACH, DeclineSource.ACH, "R01", "nacha_reinitiation", 180 * DAY),
        (ACH, DeclineSource.ACH, "R09", "nacha_reinitiation", 180 * DAY),
        (SEPA, DeclineSource.SEPA, "AM04", "sepa_retryable", 42 * DAY),
        (SEPA, DeclineSource.SEPA, "MS03", "sepa_retryable", 42 * DAY),
        (BACS, DeclineSource.BACS, "0", "bacs_refer_to_payer", 30 * DAY),
    ],
)
def test_a_debit_is_repeated_twice_inside_its_window(
    method: Method, source: DeclineSource, code: str, rule: str, window: timedelta
) -> None:
    """The window starts with the payment's first attempt, ends for good, and knows only that payment and amount."""
    first, second, third = (returned(NOW + n * DAY, source, code) for n in range(3))
    closes = first.at + window

    assert allowed_at(ask_debit(method, first, second, at=closes - TICK)) == closes - TICK
    assert blocking(ask_debit(method, first, second, at=closes)) == {rule}
    assert blocking(ask_debit(method, first, second, third, at=closes - TICK)) == {rule}
    assert blocking(ask_debit(method, first, at=closes - TICK, amount_minor=2001)) == {rule}
    assert allowed_at(ask_debit(method, first, second, third, at=closes, payment_id=OTHER)) == closes


@pytest.mark.parametrize(
    ("method", "source", "code", "rule", "whole_account"),
    [
        (ACH, DeclineSource.ACH, "R07", "nacha_unauthorised", True),
        (ACH, DeclineSource.ACH, "R05", "nacha_unauthorised", True),
        (ACH, DeclineSource.ACH, "R08", "nacha_stop_payment", False),
        (ACH, DeclineSource.ACH, "R11", "nacha_corrected_r11", False),
        (ACH, DeclineSource.ACH, "R02", "nacha_other_returns", False),
        (SEPA, DeclineSource.SEPA, "MD01", "sepa_never", True),
        (SEPA, DeclineSource.SEPA, "MD07", "sepa_never", True),
        (SEPA, DeclineSource.SEPA, "AM05", "sepa_never", False),
        (SEPA, DeclineSource.SEPA, "AC04", "sepa_other_codes", False),
        (SEPA, DeclineSource.SEPA, "AG07", "sepa_other_codes", False),
        (BACS, DeclineSource.BACS, "1", "bacs_all_other", False),
        (BACS, DeclineSource.BACS, "B", "bacs_all_other", False),
        (ACH, DeclineSource.STRIPE, "generic_decline", "nacha_other_returns", False),
    ],
)
def test_other_returns_are_not_repeated(
    method: Method, source: DeclineSource, code: str, rule: str, whole_account: bool
) -> None:
    """A revoked authorisation ends the account; a return to be remedied ends its own payment."""
    failed = returned(NOW - DAY, source, code)

    assert rule in blocking(ask_debit(method, failed))
    assert (rule in blocking(ask_debit(method, failed, payment_id=OTHER))) is whole_account


@pytest.mark.parametrize(
    "said",
    [
        {"source": DeclineSource.STRIPE, "code": "generic_decline", "network_code": "R01"},
        {"source": DeclineSource.STRIPE, "code": "x", "category": DeclineCategory.INSUFFICIENT_FUNDS},
        {},
    ],
)
def test_a_gateways_own_word_is_judged_by_its_category(said: dict[str, Any]) -> None:
    """Where no scheme code came: insufficient funds may be repeated, and so may what isn't answered yet (it counts)."""
    answer = ask_debit(ACH, declined(NOW - DAY, **said))

    assert allowed_at(answer) == NOW
    assert [(f.rule, f.counted, f.allowed) for f in answer.findings] == [("nacha_reinitiation", 0, 2)]


def test_times_of_other_zones_are_the_same_moments() -> None:
    """The answer is in UTC whatever came in."""
    east = datetime.fromisoformat("2026-11-23T18:00:00+09:00")

    assert allowed_at(ask(Network.VISA, at=east)).tzinfo is UTC
    assert allowed_at(ask(Network.VISA, at=east)) == NOW
