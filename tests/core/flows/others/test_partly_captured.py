"""Less is captured than was authorised: what came in is a charge of its own, the rest is let go."""

from typing import Any
from uuid import UUID

import pytest

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.domain.refund import PartState, RefundState
from recoup_core.flows.capture_reports import CaptureReport
from recoup_core.flows.captured import report_captured
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.refusals import RefundExceedsRefundable
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.ports import CaptureNews
from recoup_core.storage.refunds import load_refunds


async def authorized(market: Any, customer: Any) -> UUID:
    """A payment of 9.00 that gateway a has only authorised."""
    report = CaptureReport(
        merchant_id="default",
        reference="order-1",
        customer=customer("cus-9"),
        amount_minor=900,
        currency="EUR",
        gateway="a",
        gateway_ref="ch_1",
        method=Method.CARD,
        captured_at=market.clock.now(),
        authorized=True,
    )
    return (await report_captured(market.context, report, "key:shop", None)).payment.id


async def captured(market: Any, amount_minor: int) -> None:
    """Gateway a tells that so much of it was captured."""
    news = CaptureNews(charge_ref="ch_1", amount=Money(amount_minor, "EUR"), standing=CaptureState.CAPTURED)
    await market.tell(capture=news)


def ask(payment_id: UUID, amount_minor: int) -> RefundAsk:
    """What a customer wants back."""
    return RefundAsk(payment_id=payment_id, amount_minor=amount_minor, currency="EUR", reason="requested_by_customer")


async def test_what_came_in_takes_the_place_of_what_was_authorised(market: Any, customer: Any) -> None:
    """Same name at the gateway, the amount that was captured; booked so, and told twice it is the same."""
    payment_id = await authorized(market, customer)

    await captured(market, 600)
    await captured(market, 600)

    held = [(c.state, c.amount_minor, c.gateway_ref) for c in await market.captures(payment_id)]
    assert held == [(CaptureState.VOIDED, 900, "ch_1"), (CaptureState.CAPTURED, 600, "ch_1")]
    assert await market.tasks() == []
    (row,) = await market.rows("SELECT captured_minor FROM payment WHERE id = $1", payment_id)
    assert row["captured_minor"] == 600
    await market.books_hold()


async def test_refunds_go_over_what_came_in(market: Any, customer: Any) -> None:
    """All that was captured can be given back, and no more."""
    payment_id = await authorized(market, customer)
    await captured(market, 600)

    with pytest.raises(RefundExceedsRefundable):
        await request_refund(market.context, ask(payment_id, 900), market.by())
    file = await request_refund(market.context, ask(payment_id, 600), market.by())

    (capture,) = [c for c in await market.captures(payment_id) if c.state is CaptureState.CAPTURED]
    assert [(part.capture_id, part.void) for part in file.parts] == [(capture.id, False)]


async def test_a_void_that_was_asked_for_before_says_what_is_left_to_do(market: Any, customer: Any) -> None:
    """Its authorisation is gone: nothing is sent, and a person is told to ask for what came in."""
    payment_id = await authorized(market, customer)
    file = await request_refund(market.context, ask(payment_id, 900), market.by())
    await market.rows("UPDATE job SET visible_at = visible_at + interval '1 hour' WHERE kind = 'refund'")
    await captured(market, 600)
    await market.day()

    async with market.service.database.connection() as connection:
        stored = (await load_refunds(connection, [file.refund.id]))[file.refund.id]
    assert stored.refund.state is RefundState.FAILED
    assert [(p.state, p.failure.code) for p in stored.parts if p.failure] == [(PartState.FAILED, "captured_in_part")]
    assert await market.tasks() == ["refund_failed"]
    await market.books_hold()


async def test_more_than_was_authorised_is_put_before_a_person(market: Any, customer: Any) -> None:
    """An amount that can't be is never booked by guessing; neither is a second one for the same charge."""
    payment_id = await authorized(market, customer)
    await captured(market, 901)
    assert await market.tasks() == ["amount_mismatch"]

    await captured(market, 600)
    await captured(market, 300)

    assert await market.tasks() == ["amount_mismatch"] * 2
    assert sum(c.amount_minor for c in await market.captures(payment_id) if c.state is CaptureState.CAPTURED) == 600
    await market.books_hold()
