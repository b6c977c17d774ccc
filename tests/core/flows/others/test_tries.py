"""Whose try an event is about: ours, one told before, or one that a customer, a biller or the gateway made."""

import asyncio
import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoup_core.domain.attempt import AttemptState, Origin
from recoup_core.domain.money import Money
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.domain.settlement import SettlementKind
from recoup_core.flows.settlement.importing import store_report
from recoup_core.ports import Declined, Pending, ReportedSettlement, SettledLine, Succeeded


def tries(file: Any) -> list[tuple[str | None, AttemptState]]:
    """Name and end of every attempt, in order of number."""
    return [(attempt.try_ref, attempt.state) for attempt in file.attempts]


async def test_answers_keep_the_name_of_their_try(market: Any) -> None:
    """Direct answers and look-ups say which try of an object they are about."""
    market.a.answers = [Pending(gateway_ref="pi_1", try_ref="ch_1"), TimeoutError()]
    opened = await market.open()
    await market.day()
    assert (await market.file(opened.payment.id)).attempts[-1].try_ref == "ch_1"

    await market.succeeded("pi_1", try_ref="ch_1")

    assert (await market.file(opened.payment.id)).attempts[-1].state is AttemptState.SUCCEEDED


async def test_two_failures_on_one_object_within_minutes_are_two(market: Any) -> None:
    """A customer who tries twice at checkout is counted twice, because the gateway names both tries."""
    opened = await market.open()
    reference = opened.payment.reference
    market.clock.advance(timedelta(hours=1))

    await market.failed(reference, ref="pi_0", try_ref="ch_2")
    market.clock.advance(timedelta(seconds=40))
    await market.failed(reference, ref="pi_0", try_ref="ch_3")
    await market.failed(reference, ref="pi_0", try_ref="ch_2")  # told again
    await market.failed(reference, ref="pi_0", try_ref="ch_3")

    file = await market.file(opened.payment.id)
    assert [name for name, _ in tries(file)] == [None, "ch_2", "ch_3"]


async def test_the_reported_failure_and_its_event_are_one_and_the_next_is_another(market: Any) -> None:
    """The merchant's report names no try: the first event about it names it, so the second is told apart."""
    opened = await market.open()
    reference = opened.payment.reference
    await market.failed(reference, ref="pi_0", try_ref="ch_1")
    market.clock.advance(timedelta(minutes=1))

    await market.failed(reference, ref="pi_0", try_ref="ch_2")

    assert [name for name, _ in tries(await market.file(opened.payment.id))] == ["ch_1", "ch_2"]


async def test_a_customers_try_on_our_own_object_is_not_our_attempt(market: Any, decline: Any) -> None:
    """Our intent failed; the customer pays on it at checkout, and the event carries our attempt's id all the same."""
    opened = await market.open()
    await market.day()
    own = (await market.file(opened.payment.id)).attempts[-1]
    assert (own.gateway_ref, own.try_ref) == ("a_pi_1", "a_try_1")

    outcome = Declined(decline=decline("expired_card"), gateway_ref="a_pi_1", try_ref="ch_c1")
    await market.tell(attempt_id=own.id, gateway_ref="a_pi_1", outcome=outcome)
    paid = Succeeded(gateway_ref="a_pi_1", amount=Money(1999, "EUR"), try_ref="ch_c2")
    await market.tell(attempt_id=own.id, gateway_ref="a_pi_1", outcome=paid)

    file = await market.file(opened.payment.id)
    assert [(a.try_ref, a.origin, a.state) for a in file.attempts[1:]] == [
        ("a_try_1", Origin.POLICY, AttemptState.DECLINED),
        ("ch_c1", Origin.REPORTED, AttemptState.DECLINED),
        ("ch_c2", Origin.REPORTED, AttemptState.SUCCEEDED),
    ]
    assert (file.payment.state, file.payment.captured_minor) == (PaymentState.PAID, 1999)
    await market.books_hold()


async def test_a_late_event_about_an_older_try_does_not_become_the_latest_decline(
    market: Any, decline: Any, earlier: Any
) -> None:
    """What is decided next goes by the try that was made last, however late an older one is told."""
    opened = await market.open(code="insufficient_funds")
    await market.day()
    outcome = Declined(decline=decline("stolen_card"), gateway_ref="pi_0", try_ref="ch_old")
    await market.tell(gateway_ref="pi_0", outcome=outcome, occurred_at=earlier(timedelta(hours=12)))

    file = await market.file(opened.payment.id)

    assert file.last_declined is not None
    assert file.last_declined.try_ref == "a_try_1"
    assert file.attempts[-1].try_ref == "ch_old"  # and it is counted


async def test_a_try_before_ours_left_is_never_taken_for_our_answer(market: Any, earlier: Any) -> None:
    """An object that was tried before is tried by us; what is told late about the earlier try is not our outcome."""
    market.a.answers = [TimeoutError()]
    opened = await market.open()
    await market.day()
    assert (await market.file(opened.payment.id)).attempts[-1].state is AttemptState.UNKNOWN

    await market.failed(opened.payment.reference, ref="pi_0", occurred_at=earlier(timedelta(hours=20)))

    file = await market.file(opened.payment.id)
    assert [a.state for a in file.attempts] == [AttemptState.DECLINED, AttemptState.UNKNOWN, AttemptState.DECLINED]


async def test_a_gateway_without_names_tells_of_the_last_try_of_its_object(market: Any) -> None:
    """A debit tried again keeps the id of the attempt that made it: the event answers the try that is on its way."""
    market.a.answers = [
        Declined(decline=(await declined(market)), gateway_ref="pm_1"),
        Pending(gateway_ref="pm_1"),
    ]
    opened = await market.open(gateway_ref="pm_1", attempts=market.report().attempts)
    await market.day()
    await market.day()
    first, second = (await market.file(opened.payment.id)).attempts[1:]

    await market.succeeded("pm_1", attempt_id=first.id)

    states = [(await market.file(opened.payment.id)).attempt(each.id).state for each in (first, second)]
    assert states == [AttemptState.DECLINED, AttemptState.SUCCEEDED]
    assert len(await market.captures(opened.payment.id)) == 1


async def declined(market: Any) -> Any:
    """The decline of a report, as the gateway would say it."""
    return market.report().attempts[0].decline


async def test_money_that_was_told_while_our_call_was_under_way_is_booked_once(market: Any) -> None:
    """The customer pays at checkout, its webhook comes first, and our gateway then answers with that very charge."""
    opened = await market.open()

    async def overtaken(_: Any) -> Succeeded:
        await market.succeeded("pi_0", try_ref="ch_2")
        return Succeeded(gateway_ref="pi_0", amount=Money(1999, "EUR"), try_ref="ch_2")

    market.a.charge = overtaken
    await market.day()

    file = await market.file(opened.payment.id)
    assert (file.payment.state, file.payment.captured_minor) == (PaymentState.PAID, 1999)
    assert [a.state for a in file.attempts] == [AttemptState.DECLINED, AttemptState.NOT_SENT, AttemptState.SUCCEEDED]
    assert await market.tasks() == []
    await market.books_hold()


async def test_an_invoice_told_as_paid_before_our_answer_is_booked_once(market: Any) -> None:
    """Its webhook names neither the try nor our attempt, and overtakes the answer to our call: booked once."""
    opened = await market.open(gateway_ref="in_1")

    async def overtaken(_: Any) -> Succeeded:
        await market.succeeded("pi_7", payment_reference="in_1")
        return Succeeded(gateway_ref="pi_7", amount=Money(1999, "EUR"), try_ref="ch_7")

    market.a.charge = overtaken
    await market.day()
    await market.succeeded("pi_7", try_ref="ch_7")

    file = await market.file(opened.payment.id)
    assert (file.payment.captured_minor, file.live_attempt) == (1999, None)
    assert await market.tasks() == []
    await market.books_hold()


async def test_money_told_without_a_name_and_found_with_one_is_booked_once(market: Any, decline: Any) -> None:
    """The webhook of a retried debit says which debit, not which try; the look-up for the lost answer says both."""
    failed = Declined(decline=decline("insufficient_funds"), gateway_ref="pi_0", try_ref="pi_0/2")
    market.a.answers = [failed, TimeoutError()]
    opened = await market.open()
    await market.day()
    await market.day()
    await market.succeeded("pi_0")
    market.a.found = [Succeeded(gateway_ref="pi_0", amount=Money(1999, "EUR"), try_ref="pi_0/3")] * 3
    await market.day()

    file = await market.file(opened.payment.id)
    assert (file.payment.captured_minor, file.live_attempt) == (1999, None)
    assert await market.tasks() == []
    await market.books_hold()


async def test_a_debit_of_ours_ends_when_another_try_of_its_object_had_paid(market: Any) -> None:
    """Pending, and the look-up finds the money that somebody else brought in: booked once, and nothing stays open."""
    market.a.answers = [Pending(gateway_ref="pi_1", try_ref="ch_1")]
    opened = await market.open()
    await market.day()
    await market.succeeded("pi_1", try_ref="ch_2")
    market.a.found = [Succeeded(gateway_ref="pi_1", amount=Money(1999, "EUR"), try_ref="ch_2")] * 3
    await market.day()
    await market.day()

    file = await market.file(opened.payment.id)
    assert file.payment.captured_minor == 1999
    assert file.live_attempt is None
    assert await market.tasks() == []
    await market.books_hold()


async def test_a_settled_try_by_others_on_our_object_is_booked_once(market: Any, decline: Any) -> None:
    """Stripe's charge by the customer carries the mark of our declined attempt, in the report as in the webhook."""
    market.a.answers = [Declined(decline=decline("insufficient_funds"), gateway_ref="pi_0", try_ref="ch_1")]
    opened = await market.open()
    await market.day()
    ours = (await market.file(opened.payment.id)).attempts[-1]
    line = SettledLine(
        ref="txn_1",
        kind=SettlementKind.CHARGE,
        amount=Money(1999, "EUR"),
        settled_minor=1999,
        charge_ref="pi_0",
        other_charge_refs=("ch_2",),
        attempt_id=ours.id,
        occurred_at=market.clock.now(),
    )
    report = ReportedSettlement(report_ref="po_1", currency="EUR", lines=(line,))

    await store_report(market.context, "a", report, None, market.by())
    await market.run_due()
    await market.succeeded("pi_0", try_ref="ch_2", attempt_id=ours.id)

    file = await market.file(opened.payment.id)
    assert (file.payment.state, file.payment.captured_minor) == (PaymentState.PAID, 1999)
    assert file.attempts[-2].state is AttemptState.DECLINED
    assert await market.tasks() == []
    await market.books_hold()


async def test_money_of_two_tries_for_one_attempt_is_never_swallowed(market: Any) -> None:
    """The gateway names two tries that both collected: both are booked and a person is asked."""
    market.a.answers = [TimeoutError()]
    opened = await market.open()
    await market.day()
    own = (await market.file(opened.payment.id)).attempts[-1]

    await market.succeeded("pi_1", try_ref="ch_1", attempt_id=own.id)
    await market.succeeded("pi_1", try_ref="ch_2", attempt_id=own.id)
    await market.succeeded("pi_1", try_ref="ch_2", attempt_id=own.id)

    assert [c.amount_minor for c in await market.captures(opened.payment.id)] == [1999, 1999]
    assert await market.tasks() == ["overcollected"]
    await market.books_hold()


EVENTS = ("fail ch_1", "fail ch_2", "fail ch_3", "paid ch_4")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(EVENTS) * 2)))
def test_tries_of_others_come_to_the_same_in_any_order(run_story: Any, order: list[int]) -> None:
    """Every event twice, in any order: the same tries, the same money, one case that is over."""
    assert run_story([EVENTS[each % len(EVENTS)] for each in order]) == (
        [("ch_1", "declined"), ("ch_2", "declined"), ("ch_3", "declined"), ("ch_4", "succeeded")],
        (PaymentState.PAID, 1999, CaseState.RECOVERED),
    )


@pytest.fixture
def run_story(market: Any) -> Any:
    """Tell a payment's story on the market's own loop."""
    loop = asyncio.get_event_loop_policy().get_event_loop()
    numbers = itertools.count()

    async def story(events: list[str]) -> Any:
        ref = f"pi_s{next(numbers)}"
        start: datetime = market.clock.now()
        opened = await market.open(gateway_ref=ref, attempts=market.report().attempts)
        market.clock.advance(timedelta(hours=5))
        for event in events:
            kind, name = event.split()
            at = start + timedelta(minutes=60 + int(name[-1]))
            if kind == "fail":
                await market.failed(opened.payment.reference, ref=ref, try_ref=f"{ref}{name}", occurred_at=at)
            else:
                await market.succeeded(ref, try_ref=f"{ref}{name}", occurred_at=at)
        file = await market.file(opened.payment.id)
        told = sorted((a.try_ref.removeprefix(ref), str(a.state)) for a in file.attempts if a.try_ref)
        return told, (file.payment.state, file.payment.captured_minor, file.case.state)

    return lambda events: loop.run_until_complete(story(events))
