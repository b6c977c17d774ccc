"""Payments that were collected elsewhere come in whole: charge, lines, ledger, and what went back already."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.errors import CardNumberRefused, UnknownCurrency
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.refund import Channel, FailureCategory, PartState, RefundFailure, RefundState
from recoup_core.flows.captured import ReportedLine, ReportedRefund, report_captured
from recoup_core.flows.customers.telling import ContactInvalid, ReportedContact
from recoup_core.flows.recover import PaymentExists
from recoup_core.flows.refunds.refusals import RefundExceedsRefundable
from recoup_core.flows.reports import InconsistentReport, UnknownGateway
from recoup_core.ports import Canceled, GatewayEvent, Pending, Refunded, RefundNews, Refused, TakenBack
from recoup_core.storage.calls import Call
from recoup_core.storage.customers import read_customer
from recoup_core.storage.lookups import InboundEvent, store_inbound

FAILED = RefundFailure(category=FailureCategory.REFUSED, code="declined")


async def hear(till: Any, *news: RefundNews) -> None:
    """The gateway tells of refunds of a charge that nobody knows yet, a minute apart."""
    at = till.shop.clock.now()
    events = [
        GatewayEvent(
            external_id=f"e-{n}", kind="refund", occurred_at=at + timedelta(minutes=n), refund=each, payload={}
        )
        for n, each in enumerate(news)
    ]
    rows = [
        InboundEvent(
            id=new_id(),
            merchant_id="default",
            gateway="sandbox",
            external_id=event.external_id,
            kind=event.kind,
            body=msgspec.Raw(msgspec.json.encode(event)),
            received_at=at,
        )
        for event in events
    ]
    async with till.shop.service.database.transaction() as connection:
        await store_inbound(connection, rows)


def news(outcome: Any, ref: str = "re_1", minor: int = 1000, charge: str = "ch_x") -> RefundNews:
    """What the gateway says of a refund of that charge."""
    return RefundNews(refund_ref=ref, charge_ref=charge, amount=Money(minor, "EUR"), outcome=outcome)


def refunded(ref: str = "re_1", minor: int = 1000) -> Refunded:
    """It went back."""
    return Refunded(gateway_ref=ref, amount=Money(minor, "EUR"))


async def reported(till: Any) -> list[Any]:
    """The refunds that others made, as they stand."""
    return await till.shop.rows(
        "SELECT r.state, r.channel, r.requested_by, r.refunded_minor, p.state AS part, p.gateway_ref, p.tax_minor"
        " FROM refund r JOIN refund_part p ON p.refund_id = r.id ORDER BY r.id"
    )


# --- what comes in --------------------------------------------------------------------------------------------------


async def test_a_captured_payment_is_stored_booked_and_told(till: Any) -> None:
    """Paid, never failed: no case, one capture, one balanced entry at the time the money came in."""
    report = till.report(4900, order_ref="order-a", lines=(ReportedLine(ref="book", amount_minor=4900, tax_minor=321),))

    account = await report_captured(till.context, report, "key:shop", "corr-1")

    payment, (capture,), (line,) = account.payment, account.captures, account.lines
    assert (payment.state, payment.captured_minor, payment.first_failed_at) == (PaymentState.PAID, 4900, None)
    assert (payment.paid_at, payment.order_ref) == (report.captured_at, "order-a")
    assert (capture.state, capture.gateway_ref, capture.free_minor) == (CaptureState.CAPTURED, report.gateway_ref, 4900)
    assert (line.number, line.ref, line.amount_minor, line.tax_minor) == (1, "book", 4900, 321)
    assert (account.case_state, account.refunds, account.live_attempt) == (None, 0, False)
    (entry,) = await till.shop.rows("SELECT kind, capture_id, occurred_at FROM ledger_entry")
    assert tuple(entry.values()) == ("capture", capture.id, report.captured_at)
    assert await till.shop.events(payment.id) == ["payment.captured"]


async def test_an_authorised_payment_has_brought_in_nothing_yet(till: Any) -> None:
    """It can be voided whole; the ledger waits for the capture."""
    account = await till.captured(4900, authorized=True)

    assert (account.captures[0].state, account.captures[0].captured_at) == (CaptureState.AUTHORIZED, None)
    assert (account.payment.captured_minor, account.payment.paid_at) == (0, None)
    assert await till.shop.rows("SELECT FROM ledger_entry") == []


async def test_refunds_made_before_the_report_count(till: Any) -> None:
    """Money that others gave back is not free: booked at its time, with its share of the tax, decided by nobody."""
    at = till.shop.clock.now() - timedelta(minutes=30)
    told = (
        ReportedRefund(gateway_ref="re_1", amount_minor=763, at=at),
        ReportedRefund(gateway_ref="re_2", amount_minor=763, at=at),
    )

    account = await till.with_lines(refunds=told)

    assert (account.held_minor, account.free_minor, account.refunds) == (1526, 7630 - 1526, 2)
    first, second = await reported(till)
    assert (first["state"], first["channel"], first["part"]) == (
        RefundState.SUCCEEDED,
        Channel.REPORTED,
        PartState.SUCCEEDED,
    )
    assert (first["requested_by"], first["refunded_minor"]) == ("gateway:sandbox", 763)
    assert first["tax_minor"] + second["tax_minor"] == sum(line.held_tax_minor for line in account.lines)
    assert sum(line.held_minor for line in account.lines) == 1526
    entries = await till.shop.rows("SELECT kind, occurred_at FROM ledger_entry WHERE kind <> 'capture'")
    assert {row["occurred_at"] for row in entries} == {at}
    assert sorted(row["kind"] for row in entries) == ["refund", "refund", "tax", "tax"]
    with pytest.raises(RefundExceedsRefundable):
        await till.request(account, 7630 - 1526 + 1)


# --- what the gateway told before ------------------------------------------------------------------------------------


async def test_a_refund_that_the_gateway_told_of_first_counts_once_the_payment_is_known(till: Any) -> None:
    """Events come in any order: the payment finds what was said of its charge."""
    await hear(till, news(refunded()))

    account = await till.captured(4900, gateway_ref="ch_x")

    assert account.held_minor == 1000
    (row,) = await reported(till)
    assert (row["state"], row["gateway_ref"]) == ("succeeded", "re_1")


async def test_a_refund_that_was_reported_and_told_of_counts_once(till: Any) -> None:
    """The merchant's report and the gateway's event are about the same refund by its reference."""
    await hear(till, news(refunded()))
    at = till.shop.clock.now() - timedelta(minutes=5)

    account = await till.captured(
        4900, gateway_ref="ch_x", refunds=(ReportedRefund(gateway_ref="re_1", amount_minor=1000, at=at),)
    )

    assert account.held_minor == 1000
    assert len(await reported(till)) == 1


@pytest.mark.parametrize(
    ("story", "held", "state"),
    [
        ([Pending(gateway_ref="re_1")], 1000, "approved"),
        ([Pending(gateway_ref="re_1"), refunded()], 1000, "succeeded"),
        ([refunded(), refunded()], 1000, "succeeded"),
        ([refunded(), TakenBack(gateway_ref="re_1", failure=FAILED)], 0, "failed"),
        ([Pending(gateway_ref="re_1"), Refused(failure=FAILED)], 0, None),
        ([Pending(gateway_ref="re_1"), Canceled(gateway_ref="re_1")], 0, None),
    ],
)
async def test_what_was_told_before_counts_as_it_ended(till: Any, story: Any, held: int, state: str | None) -> None:
    """As if each had come after the payment; what came to nothing is no refund."""
    await hear(till, *(news(outcome) for outcome in story))

    account = await till.captured(4900, gateway_ref="ch_x")

    assert account.held_minor == held
    assert [row["state"] for row in await reported(till)] == ([] if state is None else [state])


async def test_more_than_was_charged_went_back_before_the_report_and_a_person_is_told(till: Any) -> None:
    """Facts are counted as they are; that they can't all be right is nothing to hide."""
    told = [news(refunded(ref, 3000), ref=ref, minor=3000) for ref in ("re_1", "re_2")]
    await hear(till, *told)

    account = await till.captured(4900, gateway_ref="ch_x")

    assert (account.held_minor, account.free_minor, account.captures[0].over_minor) == (6000, 0, 1100)
    tasks = await till.shop.rows("SELECT kind, reason FROM human_task")
    assert [task["kind"] for task in tasks] == ["over_refunded"]
    assert "11.00 EUR" in tasks[0]["reason"]


async def test_what_was_told_of_another_charge_does_not_count(till: Any) -> None:
    """Charges are known by gateway and reference."""
    await hear(till, news(refunded(), charge="ch_other"))

    assert (await till.captured(4900, gateway_ref="ch_x")).held_minor == 0


# --- reported again -------------------------------------------------------------------------------------------------


async def test_a_reference_that_is_known_is_refused_with_its_payment(till: Any) -> None:
    """One name, one payment."""
    account = await till.captured(4900, reference="inv-7")

    with pytest.raises(PaymentExists) as refusal:
        await till.captured(4900, reference="inv-7")

    assert refusal.value.payment_id == account.payment.id


async def test_a_charge_is_one_payments(till: Any) -> None:
    """Under two names its money would be refundable twice, also where both are reported at once."""
    reports = [till.report(4900, gateway_ref="ch_x") for _ in range(5)]

    answers = await asyncio.gather(
        *(report_captured(till.context, report, "key:shop", None) for report in reports), return_exceptions=True
    )

    assert len([each for each in answers if isinstance(each, InconsistentReport)]) == 4
    assert len(await till.shop.rows("SELECT FROM capture")) == 1


async def test_the_same_call_again_gets_the_same_account(till: Any) -> None:
    """A repeated call is no second payment; nor does it say that the payment exists."""
    report, call = till.report(4900), Call("k-1", b"POST /payments/captured")

    first, *again = await asyncio.gather(
        *(report_captured(till.context, report, "key:shop", None, call) for _ in range(4))
    )

    assert all(each == first for each in again)


# --- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"amount_minor": 0}, "amount_minor"),
        ({"amount_minor": 2**53}, "amount_minor"),
        ({"reference": ""}, "reference"),
        ({"gateway_ref": "x" * 201}, "gateway_ref"),
        ({"order_ref": "a\x00b"}, "order_ref"),
        ({"lines": (ReportedLine(ref="a", amount_minor=4899),)}, "lines"),
        ({"lines": (ReportedLine(ref="a", amount_minor=4900),) * 2}, "lines"),
        ({"lines": (ReportedLine(ref="a", amount_minor=4900, tax_minor=4901),)}, "lines[0].tax_minor"),
        ({"lines": (ReportedLine(ref="a", amount_minor=4900, quantity=0),)}, "lines[0].quantity"),
        ({"lines": (ReportedLine(ref="", amount_minor=4900),)}, "lines[0].ref"),
        ({"lines": (ReportedLine(ref="a", amount_minor=4900, description="x" * 501),)}, "lines[0].description"),
        ({"lines": tuple(ReportedLine(ref=str(n), amount_minor=0) for n in range(501))}, "lines"),
    ],
)
async def test_a_report_that_contradicts_itself_is_refused_by_its_field(
    till: Any, fields: dict[str, Any], field: str
) -> None:
    """What can't be true is not stored and mended later."""
    with pytest.raises(InconsistentReport) as refusal:
        await till.captured(**fields)

    assert refusal.value.field == field
    assert await till.shop.rows("SELECT FROM payment") == []


async def test_times_lie_in_the_past_and_have_a_zone(till: Any) -> None:
    """A window or an age that is counted from tomorrow is none."""
    now = till.shop.clock.now()

    for at in (now + timedelta(seconds=1), now.replace(tzinfo=None)):
        with pytest.raises(InconsistentReport, match="captured_at"):
            await till.captured(captured_at=at)
        with pytest.raises(InconsistentReport, match=r"refunds\[0\].at"):
            await till.captured(refunds=(ReportedRefund(gateway_ref="re", amount_minor=1, at=at),))


async def test_reported_refunds_fit_the_payment(till: Any) -> None:
    """More than was charged, twice the same, nothing at all, or of what never came in: none of it can be."""
    at = till.shop.clock.now()

    def refund(minor: int, ref: str = "re_1") -> ReportedRefund:
        return ReportedRefund(gateway_ref=ref, amount_minor=minor, at=at)

    for wrong in ((refund(2500), refund(2401, "re_2")), (refund(1), refund(1)), (refund(0),)):
        with pytest.raises(InconsistentReport, match="refunds"):
            await till.captured(4900, refunds=wrong)
    with pytest.raises(InconsistentReport, match="only authorized"):
        await till.captured(4900, authorized=True, refunds=(refund(1),))


async def test_only_own_gateways_known_currencies_and_no_card_numbers(till: Any) -> None:
    """Promises 1 and 11, and every row belongs to a merchant."""
    with pytest.raises(UnknownGateway):
        await till.captured(gateway="elsewhere")
    with pytest.raises(UnknownGateway):
        await till.captured(merchant_id="other")
    with pytest.raises(UnknownCurrency):
        await till.captured(currency="EUX")
    with pytest.raises(CardNumberRefused):
        await till.captured(reference="4242424242424242")


async def test_how_its_customer_is_reached_is_kept_with_the_customer(till: Any) -> None:
    """As a report of a failed payment does; what can't be an address is refused, and nothing is stored."""
    told = ReportedContact(name="Ada", locale="de", addresses={"email": "ada@customers.example"})
    report = msgspec.structs.replace(till.report(4900), contact=told)
    wrong = msgspec.structs.replace(till.report(4900), contact=ReportedContact(addresses={"email": "nowhere"}))

    with pytest.raises(ContactInvalid):
        await report_captured(till.context, wrong, "key:shop", None)
    await report_captured(till.context, report, "key:shop", None)

    async with till.context.database.connection() as connection:
        known = await read_customer(connection, report.merchant_id, report.customer.ref)
    assert known is not None
    assert (known.record.name, known.record.locale) == ("Ada", "de")
    assert known.used["email"].address == "ada@customers.example"
    [(fields,)] = await till.shop.rows("SELECT data ->> 'fields' FROM event WHERE kind = 'customer.changed'")
    assert fields == '["name", "locale", "addresses.email"]'
