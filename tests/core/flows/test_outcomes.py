"""Answers by any route, late, twice, contradicting each other: money is booked once and the truth wins."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState, StepState
from recoup_core.flows.operate import cancel
from recoup_core.flows.recover import open_case

SOFT = {"code": "generic_decline"}


async def tasks(shop: Any) -> list[str]:
    """What waits for a person."""
    return [row["kind"] for row in await shop.rows("SELECT kind FROM human_task WHERE resolved_at IS NULL ORDER BY id")]


async def booked(shop: Any) -> int:
    """What the ledger says was collected; that it balances is the database's affair."""
    rows = await shop.rows("SELECT coalesce(sum(amount_minor), 0) FROM ledger_posting WHERE amount_minor > 0")
    return int(rows[0][0])


async def opened_with_ref(shop: Any, *tokens: str, ref: str = "ch_first") -> Any:
    """A case whose first failure was made with a charge that the gateway may still tell about."""
    report = msgspec.structs.replace(shop.report(*tokens, **SOFT), gateway_ref=ref)
    return await open_case(shop.context, report, "key:shop", None)


async def declined_once(shop: Any, token: str = "tok_generic_decline|approve") -> tuple[Any, Any]:
    """A case with one declined attempt of ours and the next retry planned."""
    opened = await shop.open(token, **SOFT)
    shop.clock.set(await shop.next_due())
    await shop.run_due()
    return opened, (await shop.file(opened.payment.id)).attempts[-1]


async def test_a_success_elsewhere_ends_the_case_while_a_retry_is_planned(shop: Any, post: Any) -> None:
    """The customer paid the first charge after all: nothing more is tried."""
    opened = await opened_with_ref(shop, "tok_approve")

    await post.send("charge.succeeded", charge_id="ch_first", amount_minor=1999, currency="EUR")
    await shop.live()

    file = await shop.file(opened.payment.id)
    assert (file.case.state, file.payment.state) == (CaseState.RECOVERED, PaymentState.PAID)
    assert [s.state for s in file.steps] == [StepState.SKIPPED]
    assert (file.payment.captured_minor, await booked(shop)) == (1999, 1999)
    assert shop.gateway.bank.totals() == {}
    assert await tasks(shop) == []


async def test_a_late_success_of_a_declined_attempt_is_the_truth(shop: Any, post: Any) -> None:
    """Declined, then paid after all by the same object: recovered, and the planned retry is skipped."""
    opened, attempt = await declined_once(shop)

    await post.send("charge.succeeded", charge_id="x", attempt_id=str(attempt.id), amount_minor=1999, currency="EUR")
    await shop.live()

    file = await shop.file(opened.payment.id)
    assert file.attempt(attempt.id).state is AttemptState.SUCCEEDED
    assert len(file.attempts) == 2
    assert (file.case.state, await booked(shop)) == (CaseState.RECOVERED, 1999)


async def test_a_success_after_the_case_was_exhausted_recovers_it(shop: Any, post: Any) -> None:
    """However late."""
    opened = await shop.open("tok_generic_decline", **SOFT)
    await shop.live()
    attempt = (await shop.file(opened.payment.id)).attempts[-1]

    await post.send("charge.succeeded", charge_id="x", attempt_id=str(attempt.id), amount_minor=1999, currency="EUR")

    file = await shop.file(opened.payment.id)
    assert (file.case.state, file.case.stop_reason) == (CaseState.RECOVERED, None)
    assert await booked(shop) == 1999


async def test_money_for_a_canceled_case_is_booked_all_the_same(shop: Any, post: Any) -> None:
    """The debt was given up, the money came: it is the truth."""
    opened = await opened_with_ref(shop, "tok_approve")
    await cancel(shop.context, opened.case.id, shop.by(), "x")

    await post.send("charge.succeeded", charge_id="ch_first", amount_minor=1999, currency="EUR")

    file = await shop.file(opened.payment.id)
    assert (file.case.state, file.payment.state) == (CaseState.RECOVERED, PaymentState.PAID)
    assert await booked(shop) == 1999


async def test_money_beyond_the_debt_is_booked_and_put_before_a_person(shop: Any, post: Any) -> None:
    """Paid elsewhere while our attempt was under way, and that succeeds, too."""
    opened = await opened_with_ref(shop, "tok_pending:2h+approve")
    shop.clock.set(await shop.next_due())
    await shop.run_due()
    await post.send("charge.succeeded", charge_id="ch_first", amount_minor=1999, currency="EUR")
    in_flight = await shop.file(opened.payment.id)
    await shop.live()

    file = await shop.file(opened.payment.id)
    assert in_flight.case.state is CaseState.RECOVERED
    assert in_flight.live_attempt is not None  # it may have moved money: never called off, always settled
    assert file.live_attempt is None
    assert (file.payment.captured_minor, await booked(shop)) == (3998, 3998)
    assert await tasks(shop) == ["overcollected"]


@pytest.mark.parametrize(
    ("amount_minor", "currency", "captured"), [(1998, "EUR", 1998), (1999, "USD", 0), (0, "EUR", 0), (-5, "EUR", 0)]
)
async def test_an_amount_that_does_not_fit_is_put_before_a_person(
    shop: Any, post: Any, amount_minor: int, currency: str, captured: int
) -> None:
    """Booked as far as it can be; nothing is guessed, and no further retry is made meanwhile."""
    opened = await opened_with_ref(shop, "tok_pending:9h+approve")
    shop.clock.set(await shop.next_due())
    await shop.run_due()
    attempt = (await shop.file(opened.payment.id)).live_attempt

    await post.send(
        "charge.succeeded", charge_id="x", attempt_id=str(attempt.id), amount_minor=amount_minor, currency=currency
    )

    file = await shop.file(opened.payment.id)
    assert (file.payment.captured_minor, await booked(shop)) == (captured, captured)
    assert file.case.state is CaseState.OPEN
    assert (file.planned_retry, file.live_attempt) == (None, None)
    assert await tasks(shop) == ["amount_mismatch"]


async def test_a_late_decline_never_takes_a_success_back(shop: Any, post: Any) -> None:
    """Whatever order the gateway's events come in."""
    opened = await shop.open("tok_approve", **SOFT)
    await shop.live()
    before = await shop.file(opened.payment.id)
    attempt = before.attempts[-1]

    for kind, said in (("charge.declined", {"decline": {"code": "stolen_card"}}), ("charge.pending", {})):
        await post.send(kind, charge_id=attempt.gateway_ref, attempt_id=str(attempt.id), **said)

    assert await shop.file(opened.payment.id) == before
    assert {r[0] for r in await shop.rows("SELECT state FROM inbound_event")} == {"ignored"}


async def test_a_success_told_many_times_is_booked_once(shop: Any, post: Any) -> None:
    """By the answer, by webhooks of one id, by webhooks of other ids, by object and by our own id."""
    opened = await shop.open("tok_approve", **SOFT)
    await shop.live()
    attempt = (await shop.file(opened.payment.id)).attempts[-1]
    money = {"amount_minor": 1999, "currency": "EUR"}

    for event_id in ("evt-a", "evt-a", "evt-b"):
        await post.send(
            "charge.succeeded", event_id=event_id, charge_id=attempt.gateway_ref, attempt_id=str(attempt.id), **money
        )
    await post.send("charge.succeeded", event_id="evt-c", charge_id=attempt.gateway_ref, **money)

    file = await shop.file(opened.payment.id)
    assert (file.payment.captured_minor, await booked(shop)) == (1999, 1999)
    assert (await shop.events(opened.payment.id)).count("attempt.succeeded") == 1
    assert await tasks(shop) == []


async def test_the_webhook_may_come_before_the_answer(shop: Any, post: Any) -> None:
    """The bank tells the result while our call still waits for it: the answer then changes nothing."""
    opened = await shop.open("tok_lose+approve", **SOFT)
    shop.clock.set(await shop.next_due())
    await shop.run_due()
    attempt = (await shop.file(opened.payment.id)).live_attempt

    (body,) = post.outbox()
    await post.deliver(body)
    await shop.run_due()
    by_webhook = await shop.file(opened.payment.id)
    await shop.live()

    assert by_webhook.attempt(attempt.id).state is AttemptState.SUCCEEDED
    assert await shop.file(opened.payment.id) == by_webhook
    assert await booked(shop) == 1999


async def test_a_pending_charge_is_settled_by_look_up_when_no_webhook_comes(shop: Any) -> None:
    """The webhook that never comes is not missed."""
    opened = await shop.open("tok_pending:3h+approve", **SOFT)
    shop.clock.set(await shop.next_due())
    await shop.run_due()
    sent_at = shop.clock.now()
    pending = (await shop.file(opened.payment.id)).attempts[-1]
    await shop.live()

    file = await shop.file(opened.payment.id)
    assert pending.state is AttemptState.PENDING
    assert file.case.state is CaseState.RECOVERED
    assert file.attempts[-1].finished_at - sent_at < timedelta(hours=12)


async def test_a_charge_pending_for_too_long_is_put_before_a_person(shop: Any) -> None:
    """Two weeks: asked once, looked up daily, and still nothing else is tried."""
    opened = await shop.open("tok_pending:60d+approve", **SOFT)

    await shop.live(until=timedelta(days=30))

    file = await shop.file(opened.payment.id)
    assert await tasks(shop) == ["pending_too_long"]
    assert [a.state for a in file.attempts] == [AttemptState.DECLINED, AttemptState.PENDING]


async def test_the_last_rung_ends_the_case_exactly_once(shop: Any) -> None:
    """However often what led there is told again."""
    opened = await shop.open("tok_generic_decline+duplicate_webhook", **SOFT)
    await shop.live()
    await shop.service.sweep(shop.clock.now())

    events = await shop.events(opened.payment.id)

    assert events.count("case.exhausted") == 1
    assert events.count("attempt.declined") == 4


async def test_a_gateway_that_stays_out_of_reach_is_given_up_with_certainty(shop: Any) -> None:
    """Same attempt, same key, eight times; then the case goes on without it, and ends by its policy."""
    opened = await shop.open("tok_unreachable*99+approve", **SOFT)

    await shop.live()

    file = await shop.file(opened.payment.id)
    ours = file.attempts[1:]
    assert {(a.state, a.sends) for a in ours} == {(AttemptState.NOT_SENT, 8)}
    assert len({a.idempotency_key for a in ours}) == len(ours) == 4
    assert file.case.state is CaseState.EXHAUSTED
    assert shop.gateway.bank.totals()[opened.payment.reference].moved_minor == 0
