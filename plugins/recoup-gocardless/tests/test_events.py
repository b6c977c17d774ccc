"""Webhooks and the list of events: what is told at once, what only with the objects, and what is kept."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gocardless_fake import FakeGoCardless
from recoup_gocardless.calls import GoCardlessAnswerLost
from recoup_gocardless.gateway import GoCardlessGateway
from recoup_gocardless.webhooks import signature
from recoup_plugins import (
    CaptureState,
    ChargeRequest,
    CredentialChange,
    Declined,
    DisputeState,
    GatewayEvent,
    Method,
    Money,
    StoredCredential,
    Succeeded,
    TakenBack,
    WebhookRefused,
)

Build = Callable[..., ChargeRequest]


async def listed(gateway: GoCardlessGateway) -> list[GatewayEvent]:
    """Walk through the whole list of events, the pages as they come."""
    events: list[GatewayEvent] = []
    cursor: str | None = None
    for _ in range(50):
        page = await gateway.list_events(datetime.now(UTC) - timedelta(hours=1), cursor)
        events += page.events
        cursor = page.cursor
        if cursor is None:
            return events
    raise AssertionError("the list never ends")


def told(fake: FakeGoCardless, gateway: GoCardlessGateway) -> list[GatewayEvent]:
    """Take in every webhook of what happened."""
    return [event for sent in fake.webhooks() for event in gateway.parse_event(sent.headers, sent.body)]


def failures(events: list[GatewayEvent]) -> list[GatewayEvent]:
    return [event for event in events if event.failure is not None]


async def test_a_webhook_about_our_payment_needs_nothing_else(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """Events say no amounts; the metadata of what we made do."""
    good, bad = a_request(fake.books.mandate()), a_request(fake.books.mandate("insufficient_funds"))
    for request in (good, bad):
        await gateway.charge(request)
    fake.books.settle()

    outcomes = {event.attempt_id: event.outcome for event in told(fake, gateway) if event.outcome is not None}

    assert isinstance(collected := outcomes[good.attempt_id], Succeeded)
    assert collected.amount == good.amount
    assert isinstance(declined := outcomes[bad.attempt_id], Declined)
    assert declined.decline.code == "AM04"


async def test_one_webhook_may_hold_many_events(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """Up to 250 in one body; each is an event of its own, in the order in which they stand."""
    for _ in range(20):
        await gateway.charge(a_request(fake.books.mandate()))
    fake.books.settle()
    sent = fake.webhook(fake.books.events)

    events = gateway.parse_event(sent.headers, sent.body)

    assert [event.external_id for event in events] == [each["id"] for each in fake.books.events]


def test_either_of_two_secrets_may_sign(fake: FakeGoCardless, gateway: GoCardlessGateway) -> None:
    """While one is changed, both are in use."""
    event = {"id": "EV1", "created_at": "2026-11-23T09:00:00.000Z", "resource_type": "moons", "action": "rose"}

    for secret in ("the-old-secret", "a-webhook-secret-of-the-fake"):
        sent = fake.webhook([event], secret)
        assert len(gateway.parse_event(sent.headers, sent.body)) == 1
    sent = fake.webhook([event], "a-third-one")
    with pytest.raises(WebhookRefused):
        gateway.parse_event(sent.headers, sent.body)


def test_without_secrets_nothing_is_taken(fake: FakeGoCardless, a_gateway: Callable[..., GoCardlessGateway]) -> None:
    """An unconfigured endpoint believes nobody."""
    sent = fake.webhook([])

    with pytest.raises(WebhookRefused):
        a_gateway(webhook_secrets=[]).parse_event(sent.headers, sent.body)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"events": [1]}', b'{"events": [{"id": 1}]}', b'{"events": null}'])
def test_a_signed_body_that_holds_no_events_is_refused(
    fake: FakeGoCardless, gateway: GoCardlessGateway, body: bytes
) -> None:
    """Nothing of it could be kept under an id."""
    sent = fake.webhook([])

    with pytest.raises(WebhookRefused):
        gateway.parse_event({**sent.headers, "webhook-signature": signature(body, "the-old-secret")}, body)


async def test_a_failed_payment_of_others_opens_a_case_once_it_was_looked_at(
    fake: FakeGoCardless, gateway: GoCardlessGateway
) -> None:
    """The webhook names a payment and no more; the list of events brings amount, customer and mandate."""
    mandate = fake.books.mandate("insufficient_funds")
    debt = fake.books.failed_payment(mandate, 1999, metadata={"invoice": "inv-7", "customer": "cust-7"})

    (event,) = failures(await listed(gateway))

    assert not failures(told(fake, gateway))
    failure = event.failure
    assert failure is not None
    assert event.external_id == f"{fake.books.events[-1]['id']}:object"
    assert (failure.payment_reference, failure.customer_ref) == ("inv-7", "cust-7")
    assert (failure.amount, failure.method) == (Money(1999, "EUR"), Method.SEPA_DEBIT)
    assert (failure.token, failure.gateway_customer) == (mandate["id"], mandate["links"]["customer"])
    assert isinstance(event.outcome, Declined)
    assert event.outcome.gateway_ref == event.gateway_ref == debt["id"]


@pytest.mark.parametrize("again", [True, False])
async def test_a_failure_says_whether_gocardless_tries_again(
    fake: FakeGoCardless, gateway: GoCardlessGateway, again: bool
) -> None:
    """A debt has one owner: with Success+ no case is opened until GoCardless has given up."""
    fake.books.failed_payment(fake.books.mandate("insufficient_funds"), 1999, again=again)

    (event,) = failures(await listed(gateway))

    assert event.failure is not None
    assert (event.failure.next_attempt_at is not None) is again
    assert event.failure.retries_ended is not again
    if event.failure.next_attempt_at is not None:
        assert event.failure.next_attempt_at > datetime.now(UTC)


async def test_every_try_of_a_payment_is_told_with_its_owner(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """The payment is one; the tries are the biller's, ours, and one made in the dashboard."""
    mandate = fake.books.mandate("insufficient_funds")
    debt = fake.books.failed_payment(mandate, 1999)
    request = a_request(mandate, debt_ref=debt["id"])
    await gateway.charge(request)
    fake.books.settle()
    fake.books.resubmit(debt["id"], {"origin": "api", "cause": "payment_retried"})
    fake.books.settle()

    tries = [event for event in await listed(gateway) if isinstance(event.outcome, Declined)]

    owners = sorted((each.outcome.try_ref, each.attempt_id) for each in tries if isinstance(each.outcome, Declined))
    assert owners == [(f"{debt['id']}/1", None), (f"{debt['id']}/2", request.attempt_id), (f"{debt['id']}/3", None)]


async def test_a_late_failure_is_a_return(fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build) -> None:
    """The money had come in and is gone again: no decline of a try, and no dispute."""
    request = a_request(fake.books.mandate())
    await gateway.charge(request)
    fake.books.settle()
    (payment,) = fake.payments(request.payment_reference)
    fake.books.fail_late(payment["id"])

    (event,) = [event for event in await listed(gateway) if event.capture is not None]

    assert event.capture is not None
    assert (event.capture.standing, event.capture.charge_ref) == (CaptureState.RETURNED, payment["id"])
    assert event.capture.amount == request.amount
    assert event.capture.decline is not None
    assert event.capture.decline.code == "AM04"
    assert event.outcome is None


async def test_a_failure_before_a_later_success_is_no_return(fake: FakeGoCardless, gateway: GoCardlessGateway) -> None:
    """Asked late, when the payment is long collected: the first try failed all the same, and nothing came back."""
    mandate = fake.books.mandate("insufficient_funds", "approve")
    debt = fake.books.failed_payment(mandate, 1999)
    fake.books.resubmit(debt["id"], {"origin": "api", "cause": "payment_retried"})
    fake.books.settle()

    events = await listed(gateway)

    assert not [event for event in events if event.capture is not None]
    assert len(failures(events)) == 1
    (success,) = [event.outcome for event in events if isinstance(event.outcome, Succeeded)]
    assert success.amount == Money(1999, "EUR")


async def test_a_chargeback_is_lost_at_once_and_may_be_taken_back(
    fake: FakeGoCardless, gateway: GoCardlessGateway
) -> None:
    """The customer's right needs no reason; GoCardless has no object for it, so the payment names it."""
    mandate = fake.books.mandate("insufficient_funds")
    debt = fake.books.failed_payment(mandate, 1999)
    fake.books.open_dispute(debt["id"])
    fake.books.cancel_dispute(debt["id"])

    news = [event.dispute for event in await listed(gateway) if event.dispute is not None]

    assert [each.standing for each in news] == [DisputeState.LOST, DisputeState.WON]
    assert {(each.charge_ref, each.amount, each.dispute_ref) for each in news} == {
        (debt["id"], Money(1999, "EUR"), f"{debt['id']}:chargeback")
    }


async def test_a_refund_that_bounces_is_money_back(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build, a_refund: Callable[..., Any]
) -> None:
    """The webhook names our part: its metadata say so."""
    request = a_request(fake.books.mandate())
    await gateway.charge(request)
    fake.books.settle()
    (payment,) = fake.payments(request.payment_reference)
    refund = a_refund(payment)
    await gateway.refund(refund)
    fake.books.settle()
    (made,) = fake.books.rows["refunds"]
    fake.books.fail_refund(made)

    news = [event.refund for event in told(fake, gateway) if event.refund is not None]

    assert {each.part_id for each in news} == {refund.part_id}
    assert isinstance(news[-1].outcome, TakenBack)
    assert not [event for event in await listed(gateway) if event.refund and event.external_id.endswith(":object")]


@pytest.mark.parametrize("action", ["cancelled", "failed", "expired", "suspended_by_payer", "blocked", "consumed"])
def test_a_mandate_that_is_gone_is_told_by_webhook(
    fake: FakeGoCardless, gateway: GoCardlessGateway, action: str
) -> None:
    """It takes nothing more from this moment on."""
    mandate = fake.books.mandate()
    fake.books.end_mandate(mandate["id"], action)

    (event,) = told(fake, gateway)

    assert event.credential is not None
    assert (event.credential.change, event.credential.token) == (CredentialChange.REMOVED, mandate["id"])


@pytest.mark.parametrize(("action", "change"), [
    ("active", CredentialChange.ADDED),
    ("reinstated", CredentialChange.UPDATED),
    ("transferred", CredentialChange.UPDATED),
    ("replaced", CredentialChange.REPLACED),
])  # fmt: skip
async def test_a_mandate_that_can_be_used_is_told_with_its_account(
    fake: FakeGoCardless, gateway: GoCardlessGateway, action: str, change: CredentialChange
) -> None:
    """Whose it is and by which scheme stands in the mandate, not in the event."""
    old, new = fake.books.mandate(scheme="bacs"), fake.books.mandate(scheme="bacs", customer="CU7")
    fake.books.end_mandate(old["id"], action, new["id"] if action == "replaced" else None)
    now = new if action == "replaced" else old

    (news,) = [event.credential for event in await listed(gateway) if event.credential is not None]

    assert (news.change, news.token) == (change, old["id"])
    assert news.now == StoredCredential(
        token=now["id"],
        gateway_customer=now["links"]["customer"],
        method=Method.BACS_DEBIT,
        fingerprint=now["links"]["customer_bank_account"],
    )


def test_a_payout_can_be_fetched(fake: FakeGoCardless, gateway: GoCardlessGateway) -> None:
    """The event names it; the report is fetched under that name."""
    payout = fake.books.pay_out(("payment_paid_out", "1999.0", "PM1"))

    (event,) = told(fake, gateway)

    assert event.settlement is not None
    assert event.settlement.report_ref == payout["id"]


async def test_the_list_has_every_event_of_the_webhooks_under_the_same_id(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Build
) -> None:
    """What came by webhook as well falls away: page by page, nothing is missed and nothing is doubled."""
    for word in ("approve", "insufficient_funds", "approve"):
        await gateway.charge(a_request(fake.books.mandate(word)))
        fake.books.failed_payment(fake.books.mandate("insufficient_funds"), 500)
    fake.books.settle()
    fake.books.pay_out()
    fake.page_size = 3

    ids = [event.external_id for event in await listed(gateway)]

    assert len(ids) == len(set(ids))
    assert {each for each in ids if ":" not in each} == {event.external_id for event in told(fake, gateway)}


async def test_a_cursor_of_somebody_else_is_refused(gateway: GoCardlessGateway) -> None:
    """Walking on from nowhere would skip what was never seen."""
    with pytest.raises(GoCardlessAnswerLost):
        await gateway.list_events(datetime.now(UTC), "moons:3")
