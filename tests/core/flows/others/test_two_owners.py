"""A debt has one owner: who is told to be another keeps us from collecting, and a person decides who goes on."""

from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.money import Money
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.operate import resume
from recoup_core.flows.owners import TwoOwners
from recoup_core.ports import Owned, Succeeded


async def test_a_failure_that_others_try_again_opens_no_case(market: Any) -> None:
    """The gateway announces its own next try: nobody else collects, and a person is asked once."""
    soon = market.clock.now() + timedelta(days=3)

    await market.failed("inv-x", try_ref="ch_1", next_attempt_at=soon)
    market.clock.advance(timedelta(days=1))
    await market.failed("inv-x", try_ref="ch_2", next_attempt_at=soon)

    assert await market.payment_of("inv-x") is None
    assert await market.tasks() == ["two_owners"]


async def test_once_the_owner_has_given_up_all_its_tries_count(market: Any) -> None:
    """The case opens with every failure that was told for the debt, and the question is answered."""
    soon = market.clock.now() + timedelta(days=3)
    for name in ("ch_1", "ch_2"):
        await market.failed("inv-x", try_ref=name, next_attempt_at=soon)
        market.clock.advance(timedelta(minutes=1))

    await market.failed("inv-x", try_ref="ch_3", retries_ended=True)

    payment_id = await market.payment_of("inv-x")
    file = await market.file(payment_id)
    assert [a.try_ref for a in file.attempts] == ["ch_1", "ch_2", "ch_3"]
    assert all(a.account_key for a in file.attempts)
    assert file.case.state is CaseState.OPEN
    assert await market.tasks() == []


async def test_a_gateway_that_owns_its_retries_is_left_alone_until_it_gives_up(market_with: Any) -> None:
    """`retries_by = gateway`: its failures are kept and asked of nobody; the last one opens the case."""
    market = await market_with(a={"retries_by": "gateway"})
    await market.failed("inv-x", try_ref="ch_1")
    await market.failed("inv-x", try_ref="ch_2", next_attempt_at=market.clock.now() + timedelta(days=1))
    assert await market.payment_of("inv-x") is None
    assert await market.tasks() == []

    await market.failed("inv-x", try_ref="ch_3", retries_ended=True)

    payment_id = await market.payment_of("inv-x")
    assert len((await market.file(payment_id)).attempts) == 3


@pytest.mark.parametrize("first", ["the try", "who goes on"])
async def test_the_try_and_its_owners_end_may_be_told_apart(market_with: Any, first: str) -> None:
    """Stripe tells a try by its intent and the end of its retries by the invoice, in any order: the case opens."""
    market = await market_with(a={"retries_by": "gateway"})
    tell = [
        lambda: market.failed("in_9", ref="pi_9", try_ref="ch_1", debt_ref="in_9"),
        lambda: market.goes_on("in_9", retries_ended=True),
    ]
    for each in tell if first == "the try" else reversed(tell):
        await each()
    market.clock.advance(timedelta(minutes=3))
    await market.run_due()

    file = await market.file(await market.payment_of("in_9"))
    assert [a.try_ref for a in file.attempts] == ["ch_1"]
    assert (file.payment.gateway_ref, file.case.state) == ("in_9", CaseState.OPEN)
    assert await market.tasks() == []


async def test_an_owner_that_was_told_before_the_try_keeps_the_case_shut(market: Any) -> None:
    """The invoice says that the gateway goes on; the intent's own event, which knows nothing of that, opens nothing."""
    await market.goes_on("in_9", next_attempt_at=market.clock.now() + timedelta(days=3))
    await market.failed("in_9", ref="pi_9", try_ref="ch_1", debt_ref="in_9")

    assert await market.payment_of("in_9") is None
    assert await market.tasks() == ["two_owners"]


async def test_an_end_without_any_try_is_put_before_a_person(market: Any) -> None:
    """A failed payment is behind it, and nobody told how it was declined: that is never dropped in silence."""
    await market.goes_on("in_9", retries_ended=True)
    market.clock.advance(timedelta(minutes=3))
    await market.run_due()

    assert await market.payment_of("in_9") is None
    assert await market.tasks() == ["event_refused"]


async def test_a_debt_is_known_by_the_gateways_object_under_the_merchants_own_name(market: Any) -> None:
    """Reported as an invoice number with the gateway's invoice beside it: an event that knows only that finds it."""
    opened = await market.open(reference="INV-9", gateway_ref="in_9")

    await market.succeeded("pi_77", payment_reference="in_9")

    assert (await market.file(opened.payment.id)).payment.state is PaymentState.PAID


async def test_a_gateway_may_be_kept_from_opening_cases(market_with: Any) -> None:
    """`opens_cases = false`: what it tells is kept, and counts once the merchant reports the payment."""
    market = await market_with(a={"opens_cases": False})
    await market.failed("inv-x", ref="pi_0", try_ref="ch_1", retries_ended=True)
    market.clock.advance(timedelta(hours=2))
    assert await market.payment_of("inv-x") is None

    opened = await market.open(reference="inv-x")

    assert [a.try_ref for a in (await market.file(opened.payment.id)).attempts] == ["ch_1", None]


@pytest.mark.parametrize("owner", ["gateway", "biller"])
async def test_a_report_must_say_that_the_owner_has_given_up(market_with: Any, owner: str) -> None:
    """Else two would try the debt; the refusal says what to switch where."""
    market = await market_with(a={"retries_by": owner})

    with pytest.raises(TwoOwners, match=f"by the {owner}.*retries_ended.*retries_by"):
        await market.open()

    opened = await market.open(retries_ended=True)
    assert opened.case.state is CaseState.OPEN


async def test_a_report_of_a_debt_that_others_will_try_is_refused(market: Any) -> None:
    """The merchant's own word counts like the gateway's; what was announced for the past is over."""
    with pytest.raises(TwoOwners, match="going to try this payment again"):
        await market.open(next_attempt_at=market.clock.now() + timedelta(hours=1))

    opened = await market.open(next_attempt_at=market.clock.now() - timedelta(hours=1))
    assert opened.case.state is CaseState.OPEN


async def test_a_running_case_rests_once_others_try_its_debt(market: Any) -> None:
    """The try of the others counts, our case is paused, and a person is asked once."""
    opened = await market.open()
    soon = market.clock.now() + timedelta(days=2)
    market.clock.advance(timedelta(hours=1))

    await market.failed(opened.payment.reference, try_ref="ch_1", next_attempt_at=soon)
    await market.failed(opened.payment.reference, try_ref="ch_2", next_attempt_at=soon)

    file = await market.file(opened.payment.id)
    assert file.case.state is CaseState.PAUSED
    assert file.planned_retry is None
    assert [a.try_ref for a in file.attempts[1:]] == ["ch_1", "ch_2"]
    assert await market.tasks() == ["two_owners"]


async def test_a_try_announced_for_the_past_pauses_nothing(market: Any, earlier: Any) -> None:
    """A late event about an owner who is through with it must not stop a case that was resumed."""
    opened = await market.open()
    market.clock.advance(timedelta(hours=5))

    at = earlier(timedelta(hours=3))
    await market.failed(
        opened.payment.reference, try_ref="ch_1", occurred_at=at, next_attempt_at=at + timedelta(hours=1)
    )

    assert (await market.file(opened.payment.id)).case.state is CaseState.OPEN
    assert await market.tasks() == []


async def test_owned_by_the_gateway_rests_and_goes_on_when_resumed(market: Any) -> None:
    """Nothing was sent; resumed too early it rests again, once a resumption; when the owner is through it is paid."""
    owned = Owned(reason="Smart Retries are on", next_attempt_at=market.clock.now() + timedelta(days=9))
    paid = Succeeded(gateway_ref="in_1", amount=Money(1999, "EUR"))
    market.a.answers = [owned, owned, paid]
    opened = await market.open()
    for rounds in (1, 2):
        await market.day()
        file = await market.file(opened.payment.id)
        assert file.case.state is CaseState.PAUSED
        assert file.live_attempt is None
        assert len(market.a.requests) == rounds
        assert await market.tasks() == ["two_owners"]
        await market.day(5)
        assert len(market.a.requests) == rounds  # nothing happens by itself
        await resume(market.context, opened.case.id, market.by())
        assert await market.tasks() == []
    await market.day(2)

    file = await market.file(opened.payment.id)
    assert (file.payment.state, file.case.state) == (PaymentState.PAID, CaseState.RECOVERED)
