"""Refunds at Stripe against our fake: what is sent, and what each kind of answer means for the money."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.plugins.fake_stripe import KEY, FakeStripe

from recoup_core.domain.ids import new_id
from recoup_core.flows.guard import Unknown, find_refund_guarded, refund_guarded
from recoup_core.reference import refund_rules
from recoup_plugins import (
    Canceled,
    FailureCategory,
    GatewaySettings,
    Method,
    Money,
    NotFound,
    NotSent,
    Pending,
    Refunded,
    RefundReason,
    RefundRequest,
    Refused,
)
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe
from recoup_plugins.gateways.stripe_errors import LIST_PAGES, StripeAnswerLost
from recoup_plugins.gateways.stripe_objects import UnexpectedState

Build = Callable[..., RefundRequest]


def a_gateway(**options: Any) -> StripeGateway:
    settings = GatewaySettings(name="stripe", plugin="stripe", options={"api_key": KEY, **options})
    return make_stripe(settings)


@pytest.fixture
def gateway(fake_stripe: FakeStripe) -> StripeGateway:
    return a_gateway(api_base=fake_stripe.url, timeout_s=2.0)


@pytest.fixture
def refund_of(fake_stripe: FakeStripe, a_refund: Build) -> Build:
    """Build a refund of a fresh charge of 19.99 EUR whose refunds do what the words say."""

    def build(*words: str, captured: bool = True, bare: bool = False, **changes: Any) -> RefundRequest:
        charge = fake_stripe.back.paid(1999, "eur", *words, captured=captured, bare=bare)
        return a_refund(charge_ref=charge["id"], **changes)

    return build


def another(request: RefundRequest, **changes: Any) -> RefundRequest:
    part_id = new_id()
    return msgspec.structs.replace(request, part_id=part_id, idempotency_key=f"key-{part_id}", **changes)


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_a_refund_names_charge_amount_reason_key_and_part(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """The amount is always said, also for all of it: a left-out one would mean "whatever is left"."""
    request = refund_of(reason=RefundReason.REQUESTED_BY_CUSTOMER)

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Refunded)
    assert fake_stripe.posts == [
        {
            "path": "/v1/refunds",
            "key": request.idempotency_key,
            "payment_intent": request.charge_ref,
            "amount": "1999",
            "reason": "requested_by_customer",
            "metadata[recoup_part]": str(request.part_id),
            "metadata[recoup_payment]": request.payment_reference,
        }
    ]


async def test_a_charge_without_an_intent_is_refunded_by_its_own_id(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """Old integrations charge without a PaymentIntent."""
    request = refund_of(bare=True)

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Refunded)
    assert fake_stripe.posts[0]["charge"] == request.charge_ref
    assert fake_stripe.back.gone(request.charge_ref) == 1999


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        (RefundReason.DUPLICATE, "duplicate"),
        (RefundReason.FRAUDULENT, "fraudulent"),
        (RefundReason.REQUESTED_BY_CUSTOMER, "requested_by_customer"),
        (RefundReason.OTHER, None),
    ],
)
async def test_only_reasons_that_stripe_takes_are_told(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build, reason: RefundReason, sent: str | None
) -> None:
    """An unknown reason would be refused; "fraudulent" also blocks the card, so it is told only when meant."""
    await gateway.refund(refund_of(reason=reason))

    assert fake_stripe.posts[0].get("reason") == sent


@pytest.mark.parametrize("charge_ref", ["in_a", "sbx_a", "", "PI_a"])
async def test_a_reference_that_is_none_of_stripes_is_never_sent(
    gateway: StripeGateway, fake_stripe: FakeStripe, a_refund: Build, charge_ref: str
) -> None:
    """A definite no before anything leaves; and nothing of it can be found."""
    request = a_refund(charge_ref=charge_ref)

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Refused)
    assert outcome.failure.category is FailureCategory.CONFIGURATION
    assert await gateway.find_refund(request) == NotFound()
    assert fake_stripe.posts == []


async def test_an_amount_stripe_can_not_say_is_never_sent(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """Nothing is rounded."""
    outcome = await gateway.refund(refund_of(amount=Money(1000, "IRR"), charged=Money(1000, "IRR")))

    assert isinstance(outcome, Refused)
    assert outcome.failure.category is FailureCategory.CONFIGURATION
    assert fake_stripe.posts == []


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["pending", "requires_action"])
async def test_what_is_on_its_way_is_pending(gateway: StripeGateway, refund_of: Build, word: str) -> None:
    """Taken for processing is not done; the object's id is kept for the look-up."""
    outcome = await gateway.refund(refund_of(word))

    assert isinstance(outcome, Pending)
    assert outcome.gateway_ref.startswith("re_")


@pytest.mark.parametrize(
    ("reason", "category"),
    [
        ("lost_or_stolen_card", FailureCategory.METHOD_GONE),
        ("expired_or_canceled_card", FailureCategory.METHOD_GONE),
        ("charge_for_pending_refund_disputed", FailureCategory.DISPUTED),
        ("insufficient_funds", FailureCategory.INSUFFICIENT_BALANCE),
        ("declined", FailureCategory.REFUSED),
        ("merchant_request", FailureCategory.UNKNOWN),
        ("brand_new", FailureCategory.UNKNOWN),
    ],
)
async def test_a_failed_refund_says_what_can_be_done(
    gateway: StripeGateway, refund_of: Build, reason: str, category: FailureCategory
) -> None:
    """The object's own reason decides between waiting for balance, another way and asking a person."""
    request = refund_of(f"failed:{reason}")

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.failure.category) == (reason, category)
    assert outcome.gateway_ref is not None
    assert await gateway.find_refund(request) == outcome


@pytest.mark.parametrize(
    ("code", "category"),
    [
        ("charge_already_refunded", FailureCategory.ALREADY_REFUNDED),
        ("amount_too_large", FailureCategory.ALREADY_REFUNDED),
        ("charge_disputed", FailureCategory.DISPUTED),
        ("refund_disputed_payment", FailureCategory.DISPUTED),
        ("balance_insufficient", FailureCategory.INSUFFICIENT_BALANCE),
        ("insufficient_funds", FailureCategory.INSUFFICIENT_BALANCE),
        ("brand_new", FailureCategory.CONFIGURATION),
    ],
)
async def test_a_refused_call_is_classified_by_its_code(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build, code: str, category: FailureCategory
) -> None:
    """A 400 is a definite no: nothing went back."""
    request = refund_of(f"no:{code}")

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.failure.category) == (code, category)
    assert fake_stripe.back.gone(request.charge_ref) == 0


async def test_more_than_is_left_is_known_by_stripes_words(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """Stripe refuses it without a code, and with another one when nothing at all is left."""
    first = refund_of(amount=Money(1500, "EUR"))
    await gateway.refund(first)

    too_much = await gateway.refund(another(first, amount=Money(500, "EUR")))
    rest = await gateway.refund(another(first, amount=Money(499, "EUR")))
    nothing = await gateway.refund(another(first, amount=Money(1, "EUR")))

    assert isinstance(rest, Refunded)
    for refused in (too_much, nothing):
        assert isinstance(refused, Refused)
        assert refused.failure.category is FailureCategory.ALREADY_REFUNDED
    assert fake_stripe.back.gone(first.charge_ref) == 1999


async def test_an_uncaptured_charge_is_to_be_voided(gateway: StripeGateway, refund_of: Build) -> None:
    """Stripe says so in words alone; the category tells flows to void instead."""
    outcome = await gateway.refund(refund_of(captured=False))

    assert isinstance(outcome, Refused)
    assert outcome.failure.category is FailureCategory.NOT_CAPTURED


@pytest.mark.parametrize(
    ("word", "code"), [("400", "amount_too_small"), ("401", "authentication_error"), ("403", "permission_error")]
)
async def test_a_wrong_request_or_key_is_configuration(
    gateway: StripeGateway, refund_of: Build, word: str, code: str
) -> None:
    """Nothing moved, and no waiting helps."""
    outcome = await gateway.refund(refund_of(word))

    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.failure.category) == (code, FailureCategory.CONFIGURATION)


async def test_an_unknown_charge_is_configuration_and_its_look_up_no_answer(
    gateway: StripeGateway, a_refund: Build
) -> None:
    """A 404 to the refund is a definite no; to the look-up it may mean another account, so it is raised."""
    request = a_refund(charge_ref="pi_moon")

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Refused)
    assert outcome.failure.category is FailureCategory.CONFIGURATION
    with pytest.raises(StripeAnswerLost):
        await gateway.find_refund(request)


@pytest.mark.parametrize(("word", "wait_s"), [("429", 7.0), ("409lock", None)])
async def test_a_busy_stripe_did_nothing(
    gateway: StripeGateway, refund_of: Build, word: str, wait_s: float | None
) -> None:
    """The same key goes through next time."""
    request = refund_of(word)

    first, second = await gateway.refund(request), await gateway.refund(request)

    assert isinstance(first, NotSent)
    assert first.retry_after_s == wait_s
    assert isinstance(second, Refunded)


async def test_a_refused_connection_sent_nothing(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """Certain: nothing left."""
    request = refund_of()
    fake_stripe.stop()

    assert isinstance(await gateway.refund(request), NotSent)


# --- lost answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["lose", "lose_before", "500", "html500", "html200", "truncated", "empty"])
async def test_an_answer_that_says_nothing_certain_is_unknown_and_the_same_key_settles_it(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build, word: str
) -> None:
    """Whether the money went or not, sending again with the same key ends with one refund."""
    request = refund_of(word)

    first = await refund_guarded(gateway, request)
    found = await find_refund_guarded(gateway, request)
    again = await refund_guarded(gateway, request)

    assert isinstance(first, Unknown)
    assert isinstance(found, Refunded if word == "lose" else NotFound)
    assert isinstance(again, Refunded)
    assert fake_stripe.back.gone(request.charge_ref) == 1999


async def test_a_slow_answer_is_found_later(fake_stripe: FakeStripe, refund_of: Build) -> None:
    """Our patience ends before Stripe's work does."""
    gateway, request = a_gateway(api_base=fake_stripe.url, timeout_s=0.2), refund_of("slow:0.5")

    first = await refund_guarded(gateway, request)
    patient = a_gateway(api_base=fake_stripe.url, timeout_s=5)
    again = await refund_guarded(patient, request)

    assert isinstance(first, Unknown)
    assert isinstance(again, Unknown)  # 409: the first send is still running, and may be moving the money
    assert "idempotency_key_in_use" in again.reason


async def test_a_key_of_another_request_is_unknown(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """Its first request may have moved money."""
    request = refund_of(amount=Money(500, "EUR"))
    await gateway.refund(request)

    outcome = await refund_guarded(gateway, msgspec.structs.replace(request, amount=Money(501, "EUR")))

    assert isinstance(outcome, Unknown)
    assert fake_stripe.back.gone(request.charge_ref) == 500


async def test_the_reason_of_an_unknown_answer_holds_no_key(gateway: StripeGateway, refund_of: Build) -> None:
    """Reasons are stored and shown."""
    outcome = await refund_guarded(gateway, refund_of("500"))

    assert isinstance(outcome, Unknown)
    assert KEY not in outcome.reason


# --- look-ups ---------------------------------------------------------------------------------------------------------


async def test_a_refund_is_looked_up_by_its_id(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """What was pending has moved on; an id that Stripe no longer knows is no "not found"."""
    request = refund_of("pending")
    pending = await gateway.refund(request)
    assert isinstance(pending, Pending)
    fake_stripe.back.refunds[pending.gateway_ref]["status"] = "succeeded"

    found = await gateway.find_refund(msgspec.structs.replace(request, gateway_ref=pending.gateway_ref))

    assert isinstance(found, Refunded)
    assert fake_stripe.back.queries == []
    with pytest.raises(StripeAnswerLost):
        await gateway.find_refund(msgspec.structs.replace(request, gateway_ref="re_moon"))


async def test_a_lost_refund_is_searched_among_those_of_its_charge(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """Page by page, by our metadata, from just before the first send; another part's money is never taken for ours."""
    first = refund_of(amount=Money(100, "EUR"))
    parts = [first, *(another(first) for _ in range(4))]
    answers = [await gateway.refund(one) for one in parts]
    fake_stripe.page_size = 2

    found = await gateway.find_refund(parts[0])
    never = await gateway.find_refund(another(first))

    assert found == answers[0]
    assert never == NotFound()
    assert {query["payment_intent"] for query in fake_stripe.back.queries} == {first.charge_ref}
    assert int(fake_stripe.back.queries[0]["created[gte]"]) == int(first.first_sent_at.timestamp()) - 60


async def test_a_search_that_does_not_see_everything_is_no_answer(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """`NotFound` would let the money go back again."""
    first = refund_of(amount=Money(10, "EUR"))
    for one in (another(first) for _ in range(LIST_PAGES + 1)):
        await gateway.refund(one)
    fake_stripe.page_size = 1

    with pytest.raises(StripeAnswerLost):
        await gateway.find_refund(another(first))


async def test_a_state_nobody_knows_is_no_answer(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """Stripe may invent one; it is neither yes nor no."""
    request = refund_of("pending")
    pending = await gateway.refund(request)
    assert isinstance(pending, Pending)
    fake_stripe.back.refunds[pending.gateway_ref]["status"] = "on_the_moon"

    with pytest.raises(UnexpectedState):
        await gateway.find_refund(request)


# --- cancellation -----------------------------------------------------------------------------------------------------


async def test_a_refund_that_waits_for_the_customer_can_be_canceled(gateway: StripeGateway, refund_of: Build) -> None:
    """Only `requires_action`; the look-up tells the same, and the money is free again."""
    request = refund_of("requires_action")
    waiting = await gateway.refund(request)
    assert isinstance(waiting, Pending)
    known = msgspec.structs.replace(request, gateway_ref=waiting.gateway_ref)

    canceled = await gateway.cancel_refund(known)

    assert canceled == Canceled(gateway_ref=waiting.gateway_ref)
    assert await gateway.find_refund(known) == canceled
    assert isinstance(await gateway.refund(another(request)), Pending)


async def test_a_refund_that_is_under_way_can_not_be_canceled(gateway: StripeGateway, refund_of: Build) -> None:
    """A refusal, and it goes on."""
    request = refund_of("pending")
    pending = await gateway.refund(request)
    assert isinstance(pending, Pending)

    outcome = await gateway.cancel_refund(msgspec.structs.replace(request, gateway_ref=pending.gateway_ref))

    assert isinstance(outcome, Refused)
    with pytest.raises(StripeAnswerLost):
        await gateway.cancel_refund(request)  # its id was never told


# --- voids ------------------------------------------------------------------------------------------------------------


async def test_a_void_cancels_the_intent_under_our_key(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """The authorisation is released; the same key again, or a look-up, says the same."""
    request = refund_of(captured=False, void=True)

    waiting = await gateway.find_refund(request)
    outcomes = [await gateway.refund(request) for _ in range(2)]

    assert waiting == NotFound()
    assert outcomes == [Refunded(gateway_ref=request.charge_ref, amount=request.amount)] * 2
    assert await gateway.find_refund(request) == outcomes[0]
    assert fake_stripe.intents[request.charge_ref]["status"] == "canceled"
    assert fake_stripe.posts[0] == {
        "path": f"/v1/payment_intents/{request.charge_ref}/cancel",
        "key": request.idempotency_key,
    }


async def test_what_was_captured_meanwhile_is_not_voided(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """The category tells flows to refund instead; nothing has moved."""
    request = refund_of(void=True)

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Refused)
    assert outcome.failure.category is FailureCategory.ALREADY_CAPTURED
    assert await gateway.find_refund(request) == outcome
    assert fake_stripe.back.gone(request.charge_ref) == 0


async def test_a_void_by_somebody_else_is_a_void(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """A canceled authorisation holds none of the customer's money, whoever canceled it."""
    request = refund_of(captured=False, void=True)
    fake_stripe.intents[request.charge_ref]["status"] = "canceled"

    assert isinstance(await gateway.refund(request), Refunded)


async def test_a_lost_void_is_found(gateway: StripeGateway, refund_of: Build) -> None:
    """Unknown, then looked up, then sent again with the same key: one void."""
    request = refund_of("lose", captured=False, void=True)

    first = await refund_guarded(gateway, request)
    found = await find_refund_guarded(gateway, request)
    again = await refund_guarded(gateway, request)

    assert isinstance(first, Unknown)
    assert isinstance(found, Refunded)
    assert again == found


async def test_a_void_by_charge_goes_to_its_intent(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """A charge without an intent can't be voided: Stripe's call for it would refund what was captured meanwhile."""
    request = refund_of(captured=False, void=True)
    charge = fake_stripe.intents[request.charge_ref]["latest_charge"]
    bare = refund_of(captured=False, bare=True, void=True)

    by_charge = await gateway.refund(another(request, charge_ref=charge))
    outcome = await gateway.refund(bare)

    assert by_charge == Refunded(gateway_ref=request.charge_ref, amount=request.amount)
    assert isinstance(outcome, Refused)
    assert outcome.failure.code == "void_needs_payment_intent"
    assert await gateway.find_refund(bare) == outcome


# --- capabilities -----------------------------------------------------------------------------------------------------


def test_what_stripe_can_do_is_declared(gateway: StripeGateway) -> None:
    """Windows come from the reference data; cards have none."""
    can = gateway.capabilities

    assert can.refunds
    assert can.finds_refunds
    assert can.voids
    assert can.cancels_refunds
    assert can.refund_windows == refund_rules("stripe").limits
    assert can.refund_windows[Method.SEPA_DEBIT] == timedelta(days=180)
    assert Method.CARD not in can.refund_windows


async def test_a_search_begins_before_the_first_send(
    gateway: StripeGateway, fake_stripe: FakeStripe, refund_of: Build
) -> None:
    """Clocks differ by a little; what was made before the key was used is not ours."""
    request = refund_of()
    await gateway.refund(request)
    late = msgspec.structs.replace(request, first_sent_at=datetime.now(UTC) + timedelta(hours=1))

    assert await gateway.find_refund(late) == NotFound()
    assert isinstance(await gateway.find_refund(request), Refunded)
