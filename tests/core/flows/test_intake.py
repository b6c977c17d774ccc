"""What gateways tell: stored before anything is done, then applied in any order and number, with the same end."""

import asyncio
import random
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoup_core.domain.attempt import AttemptState, Origin
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState, StepState
from recoup_core.flows.inbound_closing import EARLY_WAIT
from recoup_core.flows.intake import NoSuchGateway, receive_webhook
from recoup_core.flows.recover import open_case
from recoup_core.ports import WebhookRefused

SOFT = {"code": "generic_decline"}
FAILURE = {
    "payment_reference": "inv-elsewhere",
    "amount": {"amount_minor": 4200, "currency": "EUR"},
    "method": "card",
    "customer_ref": "cus-elsewhere",
    "token": "tok_approve",
    "network": "visa",
    "country": "DE",
}


async def inbound(shop: Any) -> list[tuple[str, str | None]]:
    rows = await shop.rows("SELECT state, note FROM inbound_event ORDER BY id")
    return [(row["state"], row["note"]) for row in rows]


async def test_a_failure_event_opens_a_case_that_is_recovered(shop: Any, post: Any) -> None:
    """A failed payment nobody reported: its case opens with its credential, and the retry succeeds."""
    await post.send("charge.failed_elsewhere", charge_id="ch_1", decline={"code": "generic_decline"}, failure=FAILURE)
    (payment_id,) = [row[0] for row in await shop.rows("SELECT id FROM payment WHERE reference = 'inv-elsewhere'")]
    await shop.live()

    file = await shop.file(payment_id)
    assert [a.origin for a in file.attempts] == [Origin.REPORTED, Origin.POLICY]
    assert (file.payment.captured_minor, file.case.state) == (4200, CaseState.RECOVERED)
    assert await inbound(shop) == [("applied", None)]


async def test_the_same_failure_told_twice_opens_one_case(shop: Any, post: Any) -> None:
    """By two events at the same moment, and by the merchant's own report of the same failure."""
    said = {"charge_id": "ch_1", "decline": {"code": "generic_decline"}, "failure": FAILURE}
    for event_id in ("evt-a", "evt-b"):
        event = {
            "id": event_id,
            "type": "charge.failed_elsewhere",
            "created": shop.clock.now().isoformat(),
            "data": said,
        }
        await post.deliver(msgspec.json.encode(event))

    refs = await shop.claim()
    await asyncio.gather(*(shop.service.run_jobs([ref]) for ref in refs))
    await shop.run_due()

    assert len(refs) == 2
    attempts = await shop.rows("SELECT origin, gateway_ref FROM attempt")
    assert [tuple(row) for row in attempts] == [("reported", "ch_1")]
    assert {state for state, _ in await inbound(shop)} == {"applied", "ignored"}


async def test_a_further_failure_counts_and_moves_the_plan(shop: Any, post: Any) -> None:
    """The gateway tried again on its own: one more decline on record, and the next step is decided anew."""
    opened = await shop.open("tok_approve", **SOFT)
    before = await shop.file(opened.payment.id)
    shop.clock.advance(timedelta(hours=5))

    failure = {**FAILURE, "payment_reference": opened.payment.reference}
    await post.send("charge.failed_elsewhere", charge_id="ch_2", decline={"code": "do_not_honor"}, failure=failure)

    file = await shop.file(opened.payment.id)
    assert [a.state for a in file.attempts] == [AttemptState.DECLINED] * 2
    assert file.attempts[1].credential_id == file.credentials[0].id
    assert [s.state for s in file.steps] == [StepState.SKIPPED, StepState.PLANNED]
    assert file.planned_retry.due_at >= before.planned_retry.due_at + timedelta(hours=4)


async def test_a_final_failure_elsewhere_ends_the_case(shop: Any, post: Any) -> None:
    """The card turned out stolen between plan and execution: no charge."""
    opened = await shop.open("tok_approve", **SOFT)
    failure = {**FAILURE, "payment_reference": opened.payment.reference}
    shop.clock.advance(timedelta(hours=5))

    await post.send("charge.failed_elsewhere", charge_id="ch_2", decline={"code": "stolen_card"}, failure=failure)
    await shop.live()

    file = await shop.file(opened.payment.id)
    assert (file.case.state, file.case.stop_reason) == (CaseState.EXHAUSTED, "not_retryable")
    assert shop.gateway.bank.totals() == {}


async def test_kinds_that_mean_nothing_to_us_are_kept_and_ignored(shop: Any, post: Any) -> None:
    """Never refused: the gateway would send them again for days."""
    await post.send("customer.updated", something={"deep": [1, 2]})
    await post.send("charge.succeeded", charge_id="ch_nobody", amount_minor=5, currency="EUR")

    shop.clock.advance(EARLY_WAIT)  # a success may be early: its payment is waited for
    await shop.run_due()

    assert [state for state, _ in await inbound(shop)] == ["ignored", "ignored"]
    assert await shop.rows("SELECT id FROM payment") == []
    assert await shop.next_due() is None


async def test_a_repeated_event_is_stored_once(shop: Any, post: Any) -> None:
    """Ten deliveries of one event, at once and later."""
    event = {"id": "evt-1", "type": "customer.updated", "created": shop.clock.now().isoformat(), "data": {}}
    body = msgspec.json.encode(event)

    fresh = await asyncio.gather(*(post.deliver(body, f"msg-{n}") for n in range(10)))
    await shop.run_due()
    again = await post.deliver(body)

    assert sorted(fresh) == [0] * 9 + [1]
    assert again == 0
    assert len(await inbound(shop)) == 1
    assert await shop.next_due() is None


@pytest.mark.parametrize("where", ["payload", "failure"])
async def test_a_card_number_in_an_event_is_never_stored(shop: Any, post: Any, where: str) -> None:
    """Neither in what is kept of the payload nor in a payment that is opened from it."""
    number = "4242 4242 4242 4242"
    failure = {**FAILURE, "customer_ref": number} if where == "failure" else FAILURE
    note = {"note": f"card {number}"} if where == "payload" else {}

    await post.send(
        "charge.failed_elsewhere", charge_id="ch_1", decline={"code": "generic_decline"}, failure=failure, **note
    )

    tables = ("inbound_event", "payment", "credential", "event", "attempt", "job", "decision")
    for table in tables:
        rows = await shop.rows(f"SELECT t::text FROM {table} t")
        assert not any("4242 4242" in row[0] or "42424242" in row[0] for row in rows), table
    opened = await shop.rows("SELECT id FROM payment")
    assert len(opened) == (1 if where == "payload" else 0)
    assert await shop.next_due() is None or where == "payload"


async def test_an_event_that_breaks_a_rule_is_refused_once(shop: Any, post: Any) -> None:
    """It does not come back for ever: closed with the reason, and its job is gone."""
    failure = {**FAILURE, "amount": {"amount_minor": 0, "currency": "EUR"}}

    await post.send("charge.failed_elsewhere", charge_id="ch_1", decline={"code": "generic_decline"}, failure=failure)

    ((state, note),) = await inbound(shop)
    assert state == "refused"
    assert "amount_minor" in str(note)
    assert await shop.next_due() is None


async def test_a_forged_or_misdirected_webhook_is_refused_and_not_stored(shop: Any, post: Any) -> None:
    """Verified on the raw body before anything else."""
    with pytest.raises(WebhookRefused):
        await receive_webhook(shop.context, "sandbox", {}, b"{}", None)
    with pytest.raises(NoSuchGateway):
        await receive_webhook(shop.context, "nowhere", {}, b"{}", None)

    assert await inbound(shop) == []


async def story(shop: Any, post: Any, order: list[int] | None, missing: int | None) -> dict[str, Any]:
    """One payment with pending, declined and approved attempts whose webhooks arrive shuffled, ten times each."""
    report = msgspec.structs.replace(
        shop.report("tok_pending:2h+generic_decline|pending:2h+approve", **SOFT), customer=shop.report("t").customer
    )
    opened = await open_case(shop.context, report, "key:shop", None)
    for _ in range(2):
        shop.clock.set(await shop.next_due())
        await shop.run_due()
        shop.clock.advance(timedelta(hours=3))
        bodies = [body for body in post.outbox() if opened.payment.reference.encode() in body]
        if order is not None:
            bodies = [body for n, body in enumerate(bodies) if n != missing] * 10
            random.Random(str(order)).shuffle(bodies)
        for number, body in enumerate(bodies):
            await post.deliver(body, f"msg-{number}")
        await shop.run_due()
    await shop.live()
    return summary(await shop.file(opened.payment.id))


def summary(file: Any) -> dict[str, Any]:
    """What must be the same whatever way the answers came."""
    return {
        "payment": (file.payment.state, file.payment.captured_minor),
        "case": file.case.state,
        "attempts": [(a.number, a.state, a.sends) for a in file.attempts],
        "steps": sorted(s.state for s in file.steps),
    }


EXPECTED = {
    "payment": (PaymentState.PAID, 1999),
    "case": CaseState.RECOVERED,
    "attempts": [
        (1, AttemptState.DECLINED, 0), (2, AttemptState.DECLINED, 1), (3, AttemptState.SUCCEEDED, 1),
    ],
    "steps": [StepState.DONE, StepState.DONE],
}  # fmt: skip


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(4)), missing=st.one_of(st.none(), st.integers(0, 3)))
def test_duplicated_shuffled_and_missing_events_end_the_same_way(run_story: Any, order: Any, missing: Any) -> None:
    """Every webhook ten times, in any order, one of them missing: the same final state."""
    assert run_story(list(order), missing) == EXPECTED


@pytest.fixture
def run_story(shop: Any, post: Any) -> Any:
    """Run one story to its end on the shop's own loop."""
    loop = asyncio.get_event_loop_policy().get_event_loop()

    def run(order: Any, missing: Any) -> Any:
        shop.clock.set(max(shop.clock.now(), datetime.fromisoformat("2026-11-23T09:00+00:00")) + timedelta(days=1))
        return loop.run_until_complete(story(shop, post, order, missing))

    return run
