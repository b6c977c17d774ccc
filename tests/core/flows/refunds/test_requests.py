"""Refunds are asked for, reserved at once, and decided by the policy in force; what doesn't fit is refused."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.errors import CardNumberRefused, CurrencyMismatch, UnknownCurrency
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import Customer, Method
from recoup_core.domain.refund import Destination, Evidence, PartState, Purpose, RefundState, Spread
from recoup_core.flows.captured import ReportedRefund
from recoup_core.flows.operate import NotFound
from recoup_core.flows.refunds.ask import AskedPayment, RefundAsk
from recoup_core.flows.refunds.making import MAX_REFUNDS
from recoup_core.flows.refunds.refusals import (
    GatewayCannotRefund,
    GoodwillExceedsPayment,
    RefundExceedsRefundable,
    RefundInvalid,
    RefundWindowOver,
    TooManyRefunds,
)
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.ports import Capabilities
from recoup_core.rules.language.errors import NoPolicyApplies
from recoup_core.storage.calls import Call, IdempotencyKeyReused
from recoup_core.storage.changes import Changes

CARD = "4242424242424242"


class Plain:
    """A gateway that only says what it can."""

    name = "sandbox"

    def __init__(self, **can: Any) -> None:
        lifetime = timedelta(days=1)
        self.capabilities = Capabilities(methods=frozenset(Method), key_lifetime=lifetime, finds_charges=True, **can)


def with_gateway(till: Any, **can: Any) -> None:
    """Give the till's shop a gateway that can only this."""
    till.context = replace(till.context, gateways={"sandbox": Plain(**can)})


# --- what fits ------------------------------------------------------------------------------------------------------


async def test_a_small_refund_is_reserved_approved_and_scheduled_at_once(till: Any) -> None:
    """The request, its decision and the job that sends it are one transaction."""
    account = await till.captured(4900)

    file = await till.request(account, 1200)

    assert file.refund.state is RefundState.APPROVED
    (part,) = file.parts
    assert (part.state, part.amount_minor, part.gateway) == (PartState.SCHEDULED, 1200, "sandbox")
    assert part.idempotency_key == f"recoup-{part.id}"
    assert (await till.capture(account)).held_minor == 1200
    assert await till.told(file.refund.id) == ["refund.requested", "refund.approved"]
    (job,) = await till.shop.rows("SELECT kind, subject_id FROM job")
    assert (job["kind"], job["subject_id"]) == ("refund", part.id)


async def test_what_is_answered_is_what_is_stored(till: Any) -> None:
    """The answer of the flow is the file as the next reader finds it, version and all."""
    account = await till.with_lines()

    file = await till.request(account, 1200)

    stored = await till.file(file.refund.id)
    assert file.refund == stored.refund
    assert file.parts == stored.parts
    assert set(file.lines) == set(stored.lines)
    assert file.refund.version == 1


async def test_more_than_is_left_is_refused_with_what_is_left(till: Any) -> None:
    """Promise 4: what is reserved is not left, whether or not it has gone out."""
    account = await till.captured(4900)
    await till.request(account, 4000)

    with pytest.raises(RefundExceedsRefundable) as refusal:
        await till.request(account, 901)

    assert refusal.value.refundable.amount_minor == 900
    assert (await till.capture(account)).held_minor == 4000


@pytest.mark.parametrize(("currency", "whole"), [("JPY", 4900), ("KWD", 4900_123)])
async def test_partials_in_currencies_of_other_decimals_end_in_exactly_the_whole(
    till: Any, currency: str, whole: int
) -> None:
    """Trap 13: minor units are minor units, whatever stands behind the point."""
    account = await till.captured(whole, currency=currency)
    thirds = [whole // 3, whole // 3, whole - 2 * (whole // 3)]

    for third in thirds:
        await till.request(account, third)

    assert (await till.capture(account)).held_minor == whole
    with pytest.raises(RefundExceedsRefundable):
        await till.request(account, 1)


# --- what the policy says -------------------------------------------------------------------------------------------


async def test_a_denied_refund_is_an_answer_and_holds_nothing(till_under: Any) -> None:
    """A denial is a value with its reason; no part of it is ever written."""
    till = await till_under(("never", "deny: no_refunds", "{}"))
    account = await till.with_lines()

    file = await till.request(account, 1200)

    assert (file.refund.state, file.refund.stop_reason) == (RefundState.DENIED, "no_refunds")
    assert file.refund.finished_at == till.shop.clock.now()
    assert (file.parts, file.lines) == ((), ())
    assert (await till.file(file.refund.id)).parts == ()
    assert (await till.capture(account)).held_minor == 0
    assert await till.told(file.refund.id) == ["refund.requested", "refund.denied"]
    assert await till.shop.rows("SELECT FROM job") == []


async def test_a_reason_that_is_not_in_the_policys_list_is_denied(till: Any) -> None:
    """The list of reasons is the merchant's own; a word that isn't in it is an answer, not an error."""
    account = await till.captured(4900)

    file = await till.request(account, 100, reason="because")

    assert (file.refund.state, file.refund.stop_reason) == (RefundState.DENIED, "reason_not_allowed")


async def test_a_large_refund_waits_for_people_level_by_level(till: Any) -> None:
    """Who may decide first, until when, and when it is closed: as the policy says; the money is reserved meanwhile."""
    account = await till.captured(90000)

    file = await till.request(account, 60000)

    refund, now = file.refund, till.shop.clock.now()
    assert refund.state is RefundState.IN_REVIEW
    assert (refund.levels, refund.level) == ((("support_lead",), ("finance",)), 0)
    assert (refund.open_roles, refund.escalate_to) == (("support_lead",), ("finance_director",))
    assert (refund.decide_by, refund.expires_at) == (now + timedelta(days=3), now + timedelta(days=21))
    assert [part.state for part in file.parts] == [PartState.RESERVED]
    assert (await till.capture(account)).held_minor == 60000
    assert await till.told(refund.id) == ["refund.requested", "refund.in_review"]
    (job,) = await till.shop.rows("SELECT kind, subject_id FROM job")
    assert (job["kind"], job["subject_id"]) == ("refund_timer", refund.id)


async def test_a_review_without_a_time_is_closed_after_thirty_days(till_under: Any) -> None:
    """Promise 12: nothing waits for ever, whatever the policy forgets."""
    till = await till_under(("ask", "review: {levels: [[lead]]}", "{}"))
    account = await till.captured(4900)

    file = await till.request(account, 100)

    assert file.refund.decide_by is None
    assert file.refund.expires_at == till.shop.clock.now() + timedelta(days=30)


async def test_a_reason_that_needs_evidence_waits_for_it(till: Any) -> None:
    """It is neither denied nor looked at before the evidence is there, and it reserves meanwhile."""
    account = await till.captured(4900)

    file = await till.request(account, 1200, reason="damaged")

    assert file.refund.state is RefundState.INCOMPLETE
    assert file.refund.expires_at == till.shop.clock.now() + timedelta(days=30)
    assert (await till.capture(account)).held_minor == 1200
    (told,) = await till.shop.rows("SELECT data FROM event WHERE kind = 'refund.incomplete'")
    assert msgspec.json.decode(told["data"])["missing"] == ["photo"]


async def test_evidence_handed_in_with_the_request_counts(till: Any) -> None:
    """The same request with its photo is approved."""
    account = await till.captured(4900)

    file = await till.request(account, 1200, reason="damaged", evidence=(Evidence(kind="photo", ref="img-1.jpg"),))

    assert file.refund.state is RefundState.APPROVED
    assert file.refund.evidence == (Evidence(kind="photo", ref="img-1.jpg"),)


async def test_without_a_policy_nothing_is_decided_nor_reserved(till_under: Any) -> None:
    """A merchant whose policies cover no such refund is told so; the request leaves no trace."""
    till = await till_under(
        ("ask", "review: {levels: [[lead]]}", "{method: sepa_debit}"), applies_to="{method: sepa_debit}"
    )
    account = await till.captured(4900)

    with pytest.raises(NoPolicyApplies):
        await till.request(account, 100)

    assert (await till.capture(account)).held_minor == 0
    assert await till.shop.rows("SELECT FROM refund") == []


# --- where it goes --------------------------------------------------------------------------------------------------


async def test_store_credit_goes_over_the_capture_but_to_no_gateway(till: Any) -> None:
    """The capture's money stays with the gateway and is spoken for all the same."""
    account = await till.captured(4900)

    file = await till.request(account, 1200, destination=Destination.STORE_CREDIT)

    (part,) = file.parts
    assert (part.capture_id, part.gateway, part.idempotency_key) == (account.captures[0].id, None, None)
    assert (await till.capture(account)).held_minor == 1200


async def test_goodwill_in_store_credit_is_bounded_by_the_payment_and_not_by_its_captures(till: Any) -> None:
    """Money beyond any claim: even beside a payment that went back whole, at most once its size."""
    account = await till.captured(1000)
    await till.request(account, 1000)

    file = await request_refund(till.context, till.goodwill(account, 900), till.by())

    assert file.parts[0].capture_id is None
    assert (await till.account(account)).payment.goodwill_minor == 900
    with pytest.raises(GoodwillExceedsPayment) as refusal:
        await request_refund(till.context, till.goodwill(account, 101), till.by())
    assert refusal.value.left.amount_minor == 100


async def test_goodwill_to_the_original_method_holds_the_capture(till: Any) -> None:
    """A gateway gives back at most what it charged, whatever the merchant calls it."""
    account = await till.captured(1000)

    ask = till.goodwill(account, 900, destination=Destination.ORIGINAL_METHOD)
    file = await request_refund(till.context, ask, till.by())

    assert file.refund.purpose is Purpose.GOODWILL
    assert (await till.capture(account)).held_minor == 900
    with pytest.raises(RefundExceedsRefundable):
        await till.request(account, 101)


# --- several payments of one order ----------------------------------------------------------------------------------


async def test_an_order_goes_back_newest_payment_first(till: Any) -> None:
    """One refund, a part over each payment that it needs, never more than each has free."""
    first, second, third = await till.order(1000, 2000, 3000)

    file = await till.request(None, 4500, order_ref="order-a")

    assert [(part.payment_id, part.amount_minor) for part in file.parts] == [
        (third.payment.id, 3000),
        (second.payment.id, 1500),
    ]
    assert (file.refund.payment_id, file.refund.order_ref) == (third.payment.id, "order-a")
    assert file.refund.spread is Spread.NEWEST_FIRST
    assert (await till.capture(first)).held_minor == 0
    with pytest.raises(RefundExceedsRefundable) as refusal:
        await till.request(None, 1501, order_ref="order-a")
    assert refusal.value.refundable.amount_minor == 1500


async def test_an_order_goes_back_as_given(till: Any) -> None:
    """The merchant says what goes over which payment, in its own order."""
    first, second, _ = await till.order(1000, 2000, 3000)
    given = (
        AskedPayment(payment_id=first.payment.id, amount_minor=700),
        AskedPayment(payment_id=second.payment.id, amount_minor=800),
    )

    file = await till.request(None, 1500, payments=given, order_ref="order-a")

    assert [(part.payment_id, part.amount_minor) for part in file.parts] == [
        (first.payment.id, 700),
        (second.payment.id, 800),
    ]
    assert file.refund.spread is Spread.AS_GIVEN


async def test_as_given_no_payment_gives_more_than_it_has(till: Any) -> None:
    """What one payment lacks is not silently taken from another."""
    first, second = await till.order(1000, 2000)
    given = (
        AskedPayment(payment_id=first.payment.id, amount_minor=1001),
        AskedPayment(payment_id=second.payment.id, amount_minor=1),
    )

    with pytest.raises(RefundExceedsRefundable) as refusal:
        await till.request(None, 1002, payments=given)

    assert refusal.value.refundable.amount_minor == 1000
    assert (await till.capture(second)).held_minor == 0


async def test_payments_of_no_order_or_of_several_are_not_refunded_together(till: Any) -> None:
    """One refund is about one order of one customer."""
    (first,) = await till.order(1000, order_ref="order-a")
    (other,) = await till.order(1000, order_ref="order-b")
    alone = await till.captured(1000)

    for second in (other, alone):
        given = tuple(AskedPayment(payment_id=each.payment.id, amount_minor=100) for each in (first, second))
        with pytest.raises(RefundInvalid, match="no order, or to several"):
            await till.request(None, 200, payments=given)


async def test_an_order_of_several_customers_is_not_refunded_in_one(till: Any) -> None:
    """Bounds count what one customer gets; one refund to two would count for one of them."""
    await till.order(1000)
    await till.order(1000, customer=Customer(ref="cus-other"))

    with pytest.raises(RefundInvalid, match="several customers"):
        await till.request(None, 1500, order_ref="order-a")


async def test_an_order_that_nobody_knows_is_not_found(till: Any) -> None:
    """So is one of another merchant: the reference says nothing."""
    with pytest.raises(NotFound):
        await till.request(None, 100, order_ref="order-x")


# --- what can't go back ---------------------------------------------------------------------------------------------


async def test_what_is_only_authorized_is_voided_whole(till: Any) -> None:
    """Refund instead of void is chosen from the capture: nothing has come in yet."""
    account = await till.captured(4900, authorized=True)

    file = await till.request(account, 4900)

    assert file.parts[0].void


async def test_part_of_an_authorisation_is_refused_and_says_why(till: Any) -> None:
    """No gateway voids a part; the message says what can be asked instead."""
    account = await till.captured(4900, authorized=True)

    with pytest.raises(GatewayCannotRefund, match="voided whole or not at all; ask for all of it"):
        await till.request(account, 4899)


async def test_an_authorisation_is_not_paid_out_as_store_credit(till: Any) -> None:
    """Money that never came in can't be given away."""
    account = await till.captured(4900, authorized=True)

    with pytest.raises(RefundInvalid, match="not come in yet"):
        await till.request(account, 4900, destination=Destination.STORE_CREDIT)


async def test_a_payment_of_which_nothing_came_in_has_nothing_to_give_back(till: Any) -> None:
    """A debt is not refunded, and no goodwill is given beside it, before it is paid."""
    opened = await till.shop.open("tok_1")
    account = type("Owed", (), {"payment": opened.payment})()

    with pytest.raises(RefundInvalid, match="no money of it has come in"):
        await till.request(account, 100)
    with pytest.raises(RefundInvalid, match="no money of it has come in"):
        await request_refund(till.context, till.goodwill(account, 100), till.by())


async def test_a_gateway_that_gives_no_money_back_is_no_way_but_store_credit_is(till: Any) -> None:
    """Capabilities are asked before anything is reserved."""
    account = await till.captured(4900)
    with_gateway(till)

    with pytest.raises(GatewayCannotRefund, match="gives no money back"):
        await till.request(account, 100)
    credit = await till.request(account, 100, destination=Destination.STORE_CREDIT)

    assert credit.refund.state is RefundState.APPROVED


async def test_past_the_gateways_window_only_store_credit_is_left(till: Any) -> None:
    """The window is the method's own and begins with the capture; its last moment still counts."""
    account = await till.captured(4900)
    with_gateway(till, refunds=True, refund_windows={Method.CARD: timedelta(hours=1)})
    other = await till.captured(4900, method=Method.SEPA_DEBIT, network=None)

    assert (await till.request(account, 100)).refund.state is RefundState.APPROVED
    till.shop.clock.advance(timedelta(seconds=1))
    with pytest.raises(RefundWindowOver) as refusal:
        await till.request(account, 100)

    assert refusal.value.ended_at == account.captures[0].captured_at + timedelta(hours=1)
    assert (await till.request(other, 100)).refund.state is RefundState.APPROVED


async def test_a_payment_has_a_limited_number_of_refunds(till: Any) -> None:
    """Each is read with every decision, so there is an end to them; those that came to nothing don't count."""
    at = till.shop.clock.now()
    earlier = tuple(ReportedRefund(gateway_ref=f"re_{n}", amount_minor=1, at=at) for n in range(MAX_REFUNDS - 1))
    account = await till.captured(4900, refunds=earlier)
    await till.request(account, 100, reason="because")

    await till.request(account, 100)
    with pytest.raises(TooManyRefunds):
        await till.request(account, 100)


# --- what is wrong by itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [0, -1, 2**53])
async def test_an_amount_is_said_and_more_than_nothing(till: Any, amount: int) -> None:
    """Trap 14: an amount of nothing, or less, is never taken for all of it."""
    account = await till.captured(4900)

    with pytest.raises(RefundInvalid, match="amount_minor"):
        await till.request(account, amount)


async def test_another_currency_than_the_payments_is_refused(till: Any) -> None:
    """Promise 1: currencies never mix, nor are they converted."""
    account = await till.captured(4900)

    with pytest.raises(CurrencyMismatch):
        await till.request(account, 100, currency="USD")
    with pytest.raises(UnknownCurrency):
        await till.request(account, 100, currency="EUX")


async def test_anothers_payment_is_not_found(till: Any) -> None:
    """Every row belongs to a merchant; the refusal doesn't tell that the id exists."""
    account = await till.captured(4900)

    with pytest.raises(NotFound):
        await till.request(account, 100, by=till.by(merchant_id="other"))
    with pytest.raises(NotFound):
        await till.request(None, 100, payment_id=uuid4())


@pytest.mark.parametrize(
    "fields",
    [
        {"reason": f"card {CARD}"},
        {"note": f"paid with {CARD}"},
        {"evidence": (Evidence(kind="photo", ref=f"{CARD}.jpg"),)},
        {"order_ref": CARD, "payment_id": None},
    ],
)
async def test_a_card_number_in_any_text_is_refused(till: Any, fields: dict[str, Any]) -> None:
    """Promise 11."""
    account = await till.captured(4900)

    with pytest.raises(CardNumberRefused):
        await till.request(account, 100, **fields)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 101}, "reason"),
        ({"reason": "a\x00b"}, "reason"),
        ({"note": "x" * 1001}, "note"),
        ({"note": "a\x00b"}, "note"),
        ({"evidence": (Evidence(kind="photo", ref="a"),) * 21}, "evidence"),
        ({"evidence": (Evidence(kind="Photo!", ref="a"),)}, "evidence[0].kind"),
        ({"evidence": (Evidence(kind="photo", ref=""),)}, "evidence[0].ref"),
        ({"evidence": (Evidence(kind="photo", ref="x" * 501),)}, "evidence[0].ref"),
        ({"spread": Spread.NEWEST_FIRST}, "spread"),
        ({"order_ref": "order-a"}, "payment_id"),
        ({"payment_id": None}, "payment_id"),
        ({"payment_id": None, "order_ref": "o", "spread": Spread.AS_GIVEN}, "payments"),
        ({"answers_dispute_id": uuid4()}, "answers_dispute_id"),
    ],
)
async def test_what_contradicts_itself_is_refused_by_its_field(till: Any, fields: dict[str, Any], field: str) -> None:
    """Nothing is guessed, cut off or left out."""
    account = await till.captured(4900)

    with pytest.raises(RefundInvalid) as refusal:
        await till.request(account, 100, **fields)

    assert refusal.value.field == field


@pytest.mark.parametrize(
    "payments",
    [
        lambda one, two: (AskedPayment(payment_id=one, amount_minor=100),),
        lambda one, two: (
            AskedPayment(payment_id=one, amount_minor=100),
            AskedPayment(payment_id=one, amount_minor=50),
        ),
        lambda one, two: (AskedPayment(payment_id=one, amount_minor=150), AskedPayment(payment_id=two, amount_minor=0)),
    ],
)
async def test_amounts_per_payment_are_whole_and_sum_to_the_amount(till: Any, payments: Any) -> None:
    """Both are said, so that neither is guessed."""
    first, second = await till.order(1000, 1000)

    with pytest.raises(RefundInvalid, match="payments"):
        await till.request(None, 150, payments=payments(first.payment.id, second.payment.id))


# --- inquiries ------------------------------------------------------------------------------------------------------


async def test_a_refund_may_answer_an_inquiry_of_its_payment_and_no_other_dispute(till: Any) -> None:
    """Marked as such: so that the question does not become a dispute, and everybody can see why it was paid."""
    account, other = await till.captured(4900), await till.captured(4900)
    asked, open_, elsewhere = [
        Dispute(
            id=new_id(),
            merchant_id="default",
            payment_id=each.payment.id,
            capture_id=each.captures[0].id,
            gateway="sandbox",
            gateway_ref=f"dp_{number}",
            amount_minor=100,
            currency="EUR",
            state=state,
            opened_at=till.shop.clock.now(),
        )
        for number, (each, state) in enumerate(
            [(account, DisputeState.INQUIRY), (account, DisputeState.OPEN), (other, DisputeState.INQUIRY)]
        )
    ]
    async with till.shop.service.database.transaction() as connection:
        changes = Changes()
        changes.add(asked, open_, elsewhere)
        await changes.write(connection)

    file = await till.request(account, 1200, answers_dispute_id=asked.id)

    assert file.refund.answers_dispute_id == asked.id
    for wrong in (open_, elsewhere):
        with pytest.raises(RefundInvalid, match="no open inquiry"):
            await till.request(account, 100, answers_dispute_id=wrong.id)


# --- repeated calls -------------------------------------------------------------------------------------------------


async def test_the_same_call_again_gets_the_same_refund(till: Any) -> None:
    """A client that lost the answer repeats the call; nothing is reserved twice."""
    account = await till.captured(4900)

    first = await till.request(account, 1200, by=till.by(key="k-1"))
    again = await till.request(account, 1200, by=till.by(key="k-1"))

    assert again == first
    assert (await till.capture(account)).held_minor == 1200


async def test_a_key_of_another_request_is_refused(till: Any) -> None:
    """A key names one request; a client that mixes them up is told so, whatever payment it is about."""
    account, other = await till.captured(4900), await till.captured(4900)
    await till.request(account, 1200, by=till.by(key="k-1"))

    with pytest.raises(IdempotencyKeyReused):
        await till.request(other, 1200, by=till.by(call=Call("k-1", b"POST /refunds of something else")))


async def test_four_eyes_know_the_requester_by_their_one_name(till: Any) -> None:
    """Promise 8: however many keys a person has, and however the name is written on them."""
    account = await till.captured(4900)

    file = await till.request(account, 100, by=till.by(" Anna "))

    assert file.refund.requested_by == "anna"
    assert file.refund.touched_by == ("anna",)


def test_a_request_says_its_amount() -> None:
    """Trap 14: there is no request without an amount; it is no default either."""
    with pytest.raises(TypeError):
        RefundAsk(currency="EUR", reason="duplicate")  # type: ignore[call-arg]  # the point of the test
