"""Collecting: which call is made, what its answer means, and that nothing is ever collected twice."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gocardless_fake import FakeGoCardless
from recoup_gocardless.calls import GoCardlessAnswerLost
from recoup_gocardless.gateway import GoCardlessGateway
from recoup_plugins import (
    ChargeRequest,
    DeclineCategory,
    Declined,
    Money,
    NotFound,
    NotSent,
    Owned,
    Pending,
    Succeeded,
)

Build = Callable[..., ChargeRequest]


def retries(fake: FakeGoCardless) -> int:
    return sum(1 for event in fake.books.events if event["action"] == "resubmission_requested")


def made(fake: FakeGoCardless) -> int:
    return len(fake.books.rows["payments"])


async def test_a_bank_debit_is_pending_until_the_banks_are_done(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """The answer to the call says nothing about the money; the look-up does, days later."""
    request = a_request(fake.books.mandate())

    outcome = await gateway.charge(request)
    assert isinstance(outcome, Pending)
    known = msgspec.structs.replace(request, gateway_ref=outcome.gateway_ref)
    before = await gateway.find_charge(known)
    fake.books.settle()
    after = await gateway.find_charge(known)

    assert before == outcome
    assert after == Succeeded(gateway_ref=outcome.gateway_ref, amount=request.amount, try_ref=outcome.try_ref)


async def test_a_new_payment_is_marked_as_ours_and_left_alone_by_success_plus(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """Events carry the metadata back, which is all they say; two who retry one payment must not be."""
    request = a_request(fake.books.mandate())

    await gateway.charge(request)

    ((_, _, body),) = fake.sent
    assert body["payments"]["metadata"] == {
        "recoup_attempt": str(request.attempt_id),
        "recoup_payment": request.payment_reference,
        "recoup_amount": "1999 EUR",
    }
    assert body["payments"]["retry_if_possible"] is False


@pytest.mark.parametrize("scheme", ["sepa_core", "bacs", "ach"])
async def test_the_payment_that_failed_is_tried_again_itself(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build, scheme: str
) -> None:
    """No second object is made that could be paid as well; the try that counts is ours, not the one before."""
    mandate = fake.books.mandate("insufficient_funds", "approve", scheme=scheme)
    debt = fake.books.failed_payment(mandate, 1999)
    request = a_request(mandate, debt_ref=debt["id"])

    outcome = await gateway.charge(request)
    pending = await gateway.find_charge(request)
    fake.books.settle()
    found = await gateway.find_charge(request)

    assert outcome == pending == Pending(gateway_ref=debt["id"], try_ref=f"{debt['id']}/2")
    assert found == Succeeded(gateway_ref=debt["id"], amount=request.amount, try_ref=f"{debt['id']}/2")
    assert (made(fake), retries(fake)) == (1, 1)


async def test_a_retry_that_fails_says_why_this_time(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """The payment's state says only that it failed; the reason is that of our own try."""
    mandate = fake.books.mandate("insufficient_funds", "account_closed")
    debt = fake.books.failed_payment(mandate, 1999)
    request = a_request(mandate, debt_ref=debt["id"])
    await gateway.charge(request)
    fake.books.settle()

    found = await gateway.find_charge(request)

    assert isinstance(found, Declined)
    assert (found.decline.code, found.try_ref) == ("AC04", f"{debt['id']}/2")


@pytest.mark.parametrize("trouble", ["lose", "slow"])
async def test_a_retry_whose_answer_is_lost_is_never_sent_again(
    fake: FakeGoCardless, a_gateway: Callable[..., GoCardlessGateway], a_request: Build, trouble: Any
) -> None:
    """`payments.retry` keeps no keys: the events of the payment say that it was sent, whatever came of it."""
    gateway = a_gateway(timeout_s=0.5)
    mandate = fake.books.mandate("insufficient_funds", "insufficient_funds", "approve")
    debt = fake.books.failed_payment(mandate, 1999)
    request = a_request(mandate, debt_ref=debt["id"])
    fake.mode = trouble

    with pytest.raises(GoCardlessAnswerLost):
        await gateway.charge(request)
    again = await gateway.charge(request)
    fake.books.settle()  # it fails once more: the state alone would let a second retry through
    late = await gateway.charge(request)

    assert isinstance(again, Pending)
    assert isinstance(late, Declined)
    assert retries(fake) == 1


async def test_one_of_many_retries_at_once_gets_through(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """Two workers that hold the same attempt collect once."""
    mandate = fake.books.mandate("insufficient_funds", "approve")
    debt = fake.books.failed_payment(mandate, 1999)
    request = a_request(mandate, debt_ref=debt["id"])

    outcomes = await asyncio.gather(*(gateway.charge(request) for _ in range(6)))

    assert set(map(type, outcomes)) == {Pending}
    assert retries(fake) == 1


async def test_two_attempts_at_once_on_one_payment_collect_it_once(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """The one that comes late sends nothing: the other one owns the payment."""
    mandate = fake.books.mandate("insufficient_funds", "approve")
    debt = fake.books.failed_payment(mandate, 1999)

    outcomes = await asyncio.gather(*(gateway.charge(a_request(mandate, debt_ref=debt["id"])) for _ in range(2)))

    assert {type(each) for each in outcomes} == {Pending, Owned}
    assert (made(fake), retries(fake)) == (1, 1)


@pytest.mark.parametrize("why", ["another amount", "another mandate", "retries used up", "canceled"])
async def test_where_the_payment_can_not_be_tried_again_a_new_one_is_made(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build, why: str
) -> None:
    """A retry collects the whole payment on its own mandate, at most three times."""
    mandate = fake.books.mandate("insufficient_funds")
    debt = fake.books.failed_payment(mandate, 1999)
    for _ in range(3 if why == "retries used up" else 0):
        fake.books.resubmit(debt["id"], {"origin": "api", "cause": "payment_retried"})
        fake.books.settle()
    if why == "canceled":
        debt["status"] = "cancelled"
    before = retries(fake)
    used = fake.books.mandate() if why == "another mandate" else mandate
    request = a_request(used, 500 if why == "another amount" else 1999, debt_ref=debt["id"])

    outcome = await gateway.charge(request)

    assert isinstance(outcome, Pending)
    assert outcome.gateway_ref != debt["id"]
    assert retries(fake) == before
    assert [each["amount"] for each in fake.payments(request.payment_reference)] == [request.amount.amount_minor]


async def test_a_payment_that_somebody_else_is_collecting_is_left_to_them(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """Someone pressed "retry" in the dashboard: nothing is sent, also for another amount."""
    mandate = fake.books.mandate("insufficient_funds", "approve")
    debt = fake.books.failed_payment(mandate, 1999)
    fake.books.resubmit(debt["id"], {"origin": "api", "cause": "payment_retried"})

    outcomes = [await gateway.charge(a_request(mandate, amount, debt_ref=debt["id"])) for amount in (1999, 500)]

    assert set(map(type, outcomes)) == {Owned}
    assert (made(fake), retries(fake)) == (1, 1)


@pytest.mark.parametrize(("again", "asked_for", "account", "owned"), [
    (True, True, False, True),
    (False, True, True, False),
    (None, True, False, True),
    (None, False, True, True),
    (None, False, False, False),
])  # fmt: skip
async def test_success_plus_owns_what_it_tries_again(
    fake: FakeGoCardless,
    a_gateway: Callable[..., GoCardlessGateway],
    a_request: Build,
    again: bool | None,
    asked_for: bool,
    account: bool,
    owned: bool,
) -> None:
    """The failure says whether GoCardless tries again; where it doesn't, how payment and account are set."""
    mandate = fake.books.mandate("insufficient_funds", "approve")
    debt = fake.books.failed_payment(mandate, 1999, again=bool(again), retry_if_possible=asked_for)
    if again is None:
        del fake.books.events[-1]["details"]["will_attempt_retry"]
    gateway = a_gateway(success_plus=account)

    outcome = await gateway.charge(a_request(mandate, debt_ref=debt["id"]))

    assert isinstance(outcome, Owned if owned else Pending)
    assert retries(fake) == (0 if owned else 1)


@pytest.mark.parametrize("asked", [1999, 500])
async def test_a_debt_that_is_paid_already_is_not_collected(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build, asked: int
) -> None:
    """Whoever collected it: the money is there, and a new payment would take it twice."""
    mandate = fake.books.mandate("insufficient_funds", "approve")
    debt = fake.books.failed_payment(mandate, 1999)
    fake.books.resubmit(debt["id"], {"origin": "api", "cause": "payment_retried"})
    fake.books.settle()

    outcome = await gateway.charge(a_request(mandate, asked, debt_ref=debt["id"]))

    assert isinstance(outcome, Succeeded)
    assert (outcome.gateway_ref, outcome.amount) == (debt["id"], Money(1999, "EUR"))
    assert made(fake) == 1


async def test_what_the_customer_took_back_is_not_taken_again(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """A chargeback is a no to this debit."""
    mandate = fake.books.mandate("insufficient_funds")
    debt = fake.books.failed_payment(mandate, 1999)
    fake.books.open_dispute(debt["id"])

    outcome = await gateway.charge(a_request(mandate, debt_ref=debt["id"]))

    assert isinstance(outcome, Declined)
    assert outcome.decline.category is DeclineCategory.REVOKED_MANDATE
    assert made(fake) == 1


async def test_a_lost_answer_is_found_by_list_where_nothing_was_told(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """The payment was made and nobody told us its id: it is among those of the mandate, on whichever page."""
    mandate = fake.books.mandate()
    request = a_request(mandate)
    fake.mode = "lose"
    with pytest.raises(GoCardlessAnswerLost):
        await gateway.charge(request)
    for _ in range(4):
        await gateway.charge(a_request(mandate))
    fake.page_size = 2

    found = await gateway.find_charge(request)
    never = await gateway.find_charge(a_request(mandate))

    assert isinstance(found, Pending)
    assert fake.books.rows["payments"][found.gateway_ref]["metadata"]["recoup_attempt"] == str(request.attempt_id)
    assert isinstance(never, NotFound)


async def test_a_key_that_made_another_payment_settles_nothing(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """GoCardless answers a used key with what it made, without looking at the body: ours has to."""
    mandate = fake.books.mandate()
    await gateway.charge(a_request(mandate, idempotency_key="the-same"))

    with pytest.raises(GoCardlessAnswerLost):
        await gateway.charge(a_request(mandate, idempotency_key="the-same"))

    assert made(fake) == 1


async def test_a_payment_told_to_us_that_knows_nothing_of_the_attempt_is_no_not_found(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """NotFound lets the charge be sent again; an event that isn't listed yet must not."""
    mandate = fake.books.mandate("insufficient_funds")
    debt = fake.books.failed_payment(mandate, 1999)

    with pytest.raises(GoCardlessAnswerLost):
        await gateway.find_charge(a_request(mandate, gateway_ref=debt["id"]))


async def test_a_mandate_that_is_gone_is_a_decline(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """The customer took it back: certain, and never to be tried again with it."""
    outcome = await gateway.charge(a_request(fake.books.mandate(status="cancelled")))

    assert isinstance(outcome, Declined)
    assert outcome.decline.code == "mandate_is_inactive"
    assert outcome.decline.category is DeclineCategory.REVOKED_MANDATE


async def test_a_wrong_parameter_is_our_configuration(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """Refused before anything moved; the field is named."""
    outcome = await gateway.charge(a_request(fake.books.mandate(), amount=0))

    assert isinstance(outcome, Declined)
    assert (outcome.decline.code, outcome.decline.category) == ("invalid_amount", DeclineCategory.CONFIGURATION)


async def test_a_wrong_token_gives_up_no_debt(
    fake: FakeGoCardless, a_gateway: Callable[..., GoCardlessGateway], a_request: Build
) -> None:
    """An operator's slip is no decline of the customer's bank: nothing was done, and it may be sent again."""
    outcome = await a_gateway(access_token="wrong").charge(a_request(fake.books.mandate()))

    assert isinstance(outcome, NotSent)
    assert "wrong" not in outcome.reason


@pytest.mark.parametrize("debt", [False, True], ids=["new", "debt"])
async def test_a_page_for_people_settles_nothing(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build, debt: bool
) -> None:
    """Something in between answered, perhaps after the call went through."""
    mandate = fake.books.mandate("insufficient_funds")
    failed = fake.books.failed_payment(mandate, 1999)
    fake.mode = "html"
    request = a_request(mandate, debt_ref=failed["id"] if debt else None)

    for call in (gateway.charge, gateway.find_charge):
        with pytest.raises(GoCardlessAnswerLost) as lost:
            await call(request)
        assert "Bad Gateway" not in str(lost.value)


async def test_a_lost_answer_is_asked_for_once(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """The SDK would send it three times by itself, unseen."""
    fake.mode = "lose"

    with pytest.raises(GoCardlessAnswerLost):
        await gateway.charge(a_request(fake.books.mandate()))

    assert len(fake.sent) == 1


async def test_a_look_up_that_fails_is_no_answer(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """Not even "no connection": the charge itself may be anywhere."""
    request = a_request(fake.books.mandate())
    fake.mode = "down"

    with pytest.raises(GoCardlessAnswerLost):
        await gateway.find_charge(request)


async def test_health_needs_a_good_token(fake: FakeGoCardless, a_gateway: Callable[..., GoCardlessGateway]) -> None:
    """The operator's check is authenticated."""
    await a_gateway().health()

    with pytest.raises(GoCardlessAnswerLost):
        await a_gateway(access_token="wrong").health()
