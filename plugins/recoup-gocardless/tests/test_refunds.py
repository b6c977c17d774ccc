"""Giving money back: what is sent, what refusals mean, and that nothing goes back twice."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gocardless_fake import FakeGoCardless
from recoup_gocardless.calls import GoCardlessAnswerLost
from recoup_gocardless.gateway import GoCardlessGateway
from recoup_plugins import (
    Canceled,
    FailureCategory,
    NotSent,
    Pending,
    Refunded,
    RefundRequest,
    Refused,
    TakenBack,
)

Build = Callable[..., RefundRequest]


@pytest.fixture
def paid(fake: FakeGoCardless) -> dict[str, Any]:
    """A payment that the biller collected."""
    mandate = fake.books.mandate("approve")
    payment = fake.books.failed_payment(mandate, 5000)
    assert payment["status"] == "confirmed"
    return payment


async def test_a_refund_is_pending_until_the_bank_has_it(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_refund: Build, paid: dict[str, Any]
) -> None:
    """Taken is not paid; the look-up says when it is, and when it came back."""
    request = a_refund(paid, 2000)

    outcome = await gateway.refund(request)
    assert isinstance(outcome, Pending)
    fake.books.settle()
    by_part = await gateway.find_refund(request)
    fake.books.fail_refund(outcome.gateway_ref)
    by_id = await gateway.find_refund(msgspec.structs.replace(request, gateway_ref=outcome.gateway_ref))

    assert by_part == Refunded(gateway_ref=outcome.gateway_ref, amount=request.amount)
    assert isinstance(by_id, TakenBack)
    assert by_id.failure.category is FailureCategory.METHOD_GONE


async def test_every_refund_says_what_all_of_them_come_to(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_refund: Build, paid: dict[str, Any]
) -> None:
    """GoCardless refuses one that was made without knowing of another."""
    for amount in (2000, 500):
        await gateway.refund(a_refund(paid, amount))

    bodies = [body["refunds"] for method, path, body in fake.sent if (method, path) == ("POST", "/refunds")]
    assert [each["total_amount_confirmation"] for each in bodies] == [2000, 2500]


async def test_two_refunds_at_once_both_go_through_in_the_end(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_refund: Build, paid: dict[str, Any]
) -> None:
    """The one that didn't know of the other is certain not to have been made, and is sent again."""
    requests = [a_refund(paid, 1000) for _ in range(4)]

    for _ in range(len(requests)):
        outcomes = await asyncio.gather(*(gateway.refund(each) for each in requests))
        if all(isinstance(each, Pending) for each in outcomes):
            break

    assert {type(each) for each in outcomes} == {Pending}
    assert sorted(each["amount"] for each in fake.books.rows["refunds"].values()) == [1000] * 4


async def test_refunds_are_refused_clearly_where_the_account_has_none(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_refund: Build, paid: dict[str, Any]
) -> None:
    """GoCardless switches them on when asked to: an operator has to read that, not a number."""
    fake.books.refunds_enabled = False

    outcome = await gateway.refund(a_refund(paid))

    assert isinstance(outcome, Refused)
    assert outcome.failure.code == "refunds_not_enabled"
    assert outcome.failure.category is FailureCategory.CONFIGURATION


async def test_refusals_say_what_can_be_done(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_refund: Build, paid: dict[str, Any]
) -> None:
    """A low balance is waited for; what was refunded elsewhere is gone; a sixth refund never goes this way."""
    fake.books.balance_low = True
    low = await gateway.refund(a_refund(paid, 100))
    fake.books.balance_low = False
    for _ in range(5):
        await gateway.refund(a_refund(paid, 100))
    sixth = await gateway.refund(a_refund(paid, 100))
    too_much = await gateway.refund(a_refund(paid))
    void = await gateway.refund(a_refund(paid, void=True))
    foreign = await gateway.refund(a_refund(paid, charge_ref="pi_1"))

    refused = [each for each in (low, sixth, too_much, void, foreign) if isinstance(each, Refused)]
    assert [each.failure.category for each in refused] == [
        FailureCategory.INSUFFICIENT_BALANCE,
        FailureCategory.REFUSED,
        FailureCategory.ALREADY_REFUNDED,
        FailureCategory.CONFIGURATION,
        FailureCategory.CONFIGURATION,
    ]


async def test_a_payment_that_did_not_come_in_is_not_refunded(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_refund: Build
) -> None:
    """It failed, or the customer took it back: nothing is left to give."""
    payment = fake.books.failed_payment(fake.books.mandate("insufficient_funds"), 5000)

    outcome = await gateway.refund(a_refund(payment))

    assert isinstance(outcome, Refused)
    assert outcome.failure.code == "refund_payment_invalid_state"


async def test_another_currency_is_never_sent(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_refund: Build, paid: dict[str, Any]
) -> None:
    """GoCardless takes the payment's currency without being told: 20 would go back as other 20."""
    request = a_refund({**paid, "currency": "GBP"})

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Refused)
    assert not fake.books.rows["refunds"]


async def test_a_key_that_made_another_refund_settles_nothing(
    gateway: GoCardlessGateway, a_refund: Build, paid: dict[str, Any]
) -> None:
    """A used key answers with what it made, whatever is asked for now."""
    await gateway.refund(a_refund(paid, 100, idempotency_key="the-same"))

    with pytest.raises(GoCardlessAnswerLost):
        await gateway.refund(a_refund(paid, 100, idempotency_key="the-same"))


@pytest.mark.parametrize(("status", "kind"), [("cancelled", Canceled), ("failed", Refused), ("submitted", Pending)])
async def test_a_refund_is_found_in_its_state(
    fake: FakeGoCardless,
    gateway: GoCardlessGateway,
    a_refund: Build,
    paid: dict[str, Any],
    status: str,
    kind: type[object],
) -> None:
    """By its id; a state that nobody knows is no answer."""
    request = a_refund(paid, 100)
    outcome = await gateway.refund(request)
    assert isinstance(outcome, Pending)
    known = msgspec.structs.replace(request, gateway_ref=outcome.gateway_ref)
    fake.books.rows["refunds"][outcome.gateway_ref]["status"] = status

    assert isinstance(await gateway.find_refund(known), kind)
    fake.books.rows["refunds"][outcome.gateway_ref]["status"] = "on_the_moon"
    with pytest.raises(GoCardlessAnswerLost):
        await gateway.find_refund(known)


async def test_a_wrong_token_refuses_no_refund(
    a_gateway: Callable[..., GoCardlessGateway], a_refund: Build, paid: dict[str, Any]
) -> None:
    """An operator's slip: nothing was done, and it may be sent again."""
    assert isinstance(await a_gateway(access_token="wrong").refund(a_refund(paid)), NotSent)
