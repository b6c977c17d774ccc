"""Stripe's settlements: the balance transactions of a payout, and the report that can be uploaded instead."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plugins.fake_stripe import KEY, FakeStripe

from recoup_plugins import (
    ChargeRequest,
    GatewaySettings,
    Money,
    Refunded,
    RefundRequest,
    ReportedSettlement,
    SettledLine,
    SettlementKind,
    SettlementUnreadable,
    Succeeded,
)
from recoup_plugins.gateways.stripe import StripeGateway, make_stripe
from recoup_plugins.gateways.stripe_errors import StripeAnswerLost

HEADER = "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category"
ROW = "txn_a,2026-11-23 09:00:00,eur,19.99,0.59,19.40,charge"

Charge = Callable[..., ChargeRequest]
Refund = Callable[..., RefundRequest]


def a_gateway(api_base: str = "http://127.0.0.1:9") -> StripeGateway:
    options = {"api_key": KEY, "api_base": api_base, "timeout_s": 2.0}
    return make_stripe(GatewaySettings(name="stripe", plugin="stripe", options=options))


@pytest.fixture
def gateway(fake_stripe: FakeStripe) -> StripeGateway:
    return a_gateway(fake_stripe.url)


def read(*lines: str) -> ReportedSettlement:
    return a_gateway().read_settlement("\n".join(lines).encode())


def by_kind(report: ReportedSettlement) -> dict[SettlementKind, SettledLine]:
    """The lines by kind, where there is one of each."""
    found = {line.kind: line for line in report.lines}
    assert len(found) == len(report.lines)
    return found


def net(report: ReportedSettlement) -> int:
    """What the lines without the payout come to."""
    paid = (line for line in report.lines if line.kind is not SettlementKind.PAYOUT)
    return sum(line.settled_minor - line.fee_minor for line in paid)


@pytest.fixture
async def lived(
    gateway: StripeGateway, fake_stripe: FakeStripe, a_request: Charge, a_refund: Refund
) -> tuple[ChargeRequest, RefundRequest, str, str]:
    """A charge of ours, a refund of it that came back, and a dispute that was won: all in one payout."""
    charge = a_request("pm_ok")
    paid = await gateway.charge(charge)
    assert isinstance(paid, Succeeded)
    refund = a_refund(charge_ref=paid.gateway_ref, amount=Money(500, "EUR"))
    refunded = await gateway.refund(refund)
    assert isinstance(refunded, Refunded)
    fake_stripe.fail_refund(refunded.gateway_ref)
    fake_stripe.back.close_dispute(fake_stripe.open_dispute(paid.gateway_ref), "won")
    return charge, refund, paid.gateway_ref, fake_stripe.balance.pay_out()


# --- fetched ----------------------------------------------------------------------------------------------------------


async def test_every_movement_of_a_payout_is_told_with_our_names(
    gateway: StripeGateway, lived: tuple[ChargeRequest, RefundRequest, str, str]
) -> None:
    """Charge, refund and dispute are found by the gateway's names and by ours; fees stand on their lines."""
    charge, refund, charge_ref, payout = lived

    report = await gateway.fetch_settlement(payout)

    lines = by_kind(report)
    assert set(lines) == {
        SettlementKind.CHARGE,
        SettlementKind.REFUND,
        SettlementKind.REFUND_RETURNED,
        SettlementKind.DISPUTE,
        SettlementKind.DISPUTE_RETURNED,
        SettlementKind.PAYOUT,
    }
    paid = lines[SettlementKind.CHARGE]
    assert (paid.charge_ref, paid.attempt_id) == (charge_ref, charge.attempt_id)
    assert (paid.amount, paid.settled_minor, paid.fee_minor) == (Money(1999, "EUR"), 1999, 59)
    assert paid.payment_reference == charge.payment_reference
    back = lines[SettlementKind.REFUND]
    assert (back.charge_ref, back.part_id, back.settled_minor) == (charge_ref, refund.part_id, -500)
    assert lines[SettlementKind.REFUND_RETURNED].operation_ref == back.operation_ref
    assert (lines[SettlementKind.DISPUTE].settled_minor, lines[SettlementKind.DISPUTE].fee_minor) == (-1999, 1500)


async def test_the_lines_of_a_payout_come_to_what_was_paid_out(
    gateway: StripeGateway, fake_stripe: FakeStripe, lived: tuple[ChargeRequest, RefundRequest, str, str]
) -> None:
    """To the cent."""
    report = await gateway.fetch_settlement(lived[3])

    assert report.paid_out_minor == net(report) == fake_stripe.balance.payouts[lived[3]]["amount"]
    assert (report.report_ref, report.payout_ref, report.currency) == (lived[3], lived[3], "EUR")


async def test_every_page_of_a_payout_is_read(
    gateway: StripeGateway, fake_stripe: FakeStripe, lived: tuple[ChargeRequest, RefundRequest, str, str]
) -> None:
    """A payout holds thousands of lines."""
    fake_stripe.page_size = 1

    assert len((await gateway.fetch_settlement(lived[3])).lines) == 6


async def test_a_charge_in_another_currency_keeps_both(gateway: StripeGateway, fake_stripe: FakeStripe) -> None:
    """The customer paid dollars, the balance moved in euro; neither is computed from the other."""
    charge = {"id": "ch_a", "object": "charge", "amount": 2500, "currency": "usd", "payment_intent": "pi_a"}
    fake_stripe.balance.book("charge", 2311, "eur", charge)

    report = await gateway.fetch_settlement(fake_stripe.balance.pay_out())

    line = by_kind(report)[SettlementKind.CHARGE]
    assert (line.amount, line.settled_minor, report.currency) == (Money(2500, "USD"), 2311, "EUR")
    assert (line.charge_ref, line.other_charge_refs) == ("pi_a", ("ch_a",))


async def test_a_partly_captured_charge_is_one_line(gateway: StripeGateway, fake_stripe: FakeStripe) -> None:
    """Stripe books what was authorized and takes off what was never captured; the charge is what is left."""
    charge = {"id": "ch_a", "object": "charge", "amount": 2000, "currency": "eur", "payment_intent": "pi_a"}
    rest = {
        "id": "re_a",
        "object": "refund",
        "amount": 800,
        "currency": "eur",
        "charge": "ch_a",
        "payment_intent": "pi_a",
    }
    fake_stripe.balance.book("charge", 2000, "eur", charge)
    fake_stripe.balance.book("partial_capture_reversal", -800, "eur", rest)

    report = await gateway.fetch_settlement(fake_stripe.balance.pay_out())

    line = by_kind(report)[SettlementKind.CHARGE]
    assert (line.amount, line.settled_minor) == (Money(1200, "EUR"), 1200)
    assert report.paid_out_minor == net(report)


@pytest.mark.parametrize(
    ("category", "kind"),
    [
        ("charge_failure", SettlementKind.CHARGE_RETURNED),
        ("fee", SettlementKind.FEE),
        ("tax", SettlementKind.FEE),
        ("payout_reversal", SettlementKind.PAYOUT),
        ("topup", SettlementKind.OTHER),
        ("partial_capture_reversal", SettlementKind.OTHER),  # its charge stands in another payout
        ("invented_yesterday", SettlementKind.OTHER),
    ],
)
async def test_every_category_has_a_kind(
    gateway: StripeGateway, fake_stripe: FakeStripe, category: str, kind: SettlementKind
) -> None:
    """docs.stripe.com/reports/reporting-categories; an unheard-of one still counts in the balance."""
    source = {"id": "src_a", "object": "thing", "amount": 100, "currency": "eur"}
    fake_stripe.balance.book(category, -100, "eur", source)

    report = await gateway.fetch_settlement(fake_stripe.balance.pay_out())

    assert (report.lines[-1].kind, report.lines[-1].settled_minor) == (kind, -100)


async def test_what_can_not_be_fetched_says_why(gateway: StripeGateway, fake_stripe: FakeStripe) -> None:
    """A payout made by hand names no transactions; another account's is unknown; a name is a payout's."""
    by_hand = fake_stripe.balance.pay_out()
    fake_stripe.balance.payouts[by_hand]["automatic"] = False

    for name, why in ((by_hand, "by hand"), ("po_of_others", "resource_missing"), ("frr_a", "po_")):
        with pytest.raises(SettlementUnreadable, match=why):
            await gateway.fetch_settlement(name)


async def test_a_payout_that_is_still_worked_out_is_asked_for_again(
    gateway: StripeGateway, fake_stripe: FakeStripe
) -> None:
    """`payout.paid` may come before Stripe knows what it holds: that is no final answer."""
    payout = fake_stripe.balance.pay_out()
    fake_stripe.balance.payouts[payout]["reconciliation_status"] = "in_progress"

    with pytest.raises(StripeAnswerLost):
        await gateway.fetch_settlement(payout)


# --- uploaded ---------------------------------------------------------------------------------------------------------


async def test_the_uploaded_report_says_what_the_fetched_one_says(
    gateway: StripeGateway, fake_stripe: FakeStripe, lived: tuple[ChargeRequest, RefundRequest, str, str]
) -> None:
    """The same lines under the same names: a payout that comes both ways is known."""
    fetched = await gateway.fetch_settlement(lived[3])

    uploaded = gateway.read_settlement(fake_stripe.balance.report(lived[3]))

    def told(report: ReportedSettlement) -> set[tuple[Any, ...]]:
        return {
            (one.ref, one.kind, one.amount, one.settled_minor, one.fee_minor, one.charge_ref, one.part_id)
            for one in report.lines
            if one.kind is not SettlementKind.PAYOUT
        }

    assert told(uploaded) == told(fetched)
    assert (uploaded.report_ref, uploaded.currency) == (fetched.report_ref, fetched.currency)
    assert net(uploaded) == fetched.paid_out_minor


def test_the_least_report_is_enough() -> None:
    """Seven columns say what moved; everything else helps to find what it was for."""
    report = read(HEADER, ROW)

    assert report.lines == (
        SettledLine(
            ref="txn_a",
            kind=SettlementKind.CHARGE,
            amount=Money(1999, "EUR"),
            settled_minor=1999,
            fee_minor=59,
            occurred_at=datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
            description="charge",
        ),
    )
    assert (report.report_ref, report.paid_out_minor) == ("txn_a..txn_a", None)


@pytest.mark.parametrize(
    ("lines", "at", "why"),
    [
        ([], 1, "missing"),
        ([HEADER], None, "no transaction"),
        ([HEADER.replace(",fee", ""), ROW], 1, "fee"),
        ([HEADER, ROW, ROW.replace("txn_a", "txn_b").replace("19.99", "19.999")], 3, "19.999"),
        ([HEADER, ROW.replace("19.99", "19,99")], 2, "8 fields"),
        ([HEADER, ROW.replace("19.99", "ten")], 2, "ten"),
        ([HEADER, ROW.replace("19.99", "2E1").replace("19.40", "1941E-2")], 2, "2E1"),
        ([HEADER, ROW.replace("19.99", "1_9.99")], 2, "1_9.99"),
        ([HEADER, ROW.replace("19.40", "19.41")], 2, "net"),
        ([HEADER, ROW.replace("2026-11-23 09:00:00", "yesterday")], 2, "yesterday"),
        ([HEADER, ROW.replace("eur", "eux")], 2, "EUX"),
        ([HEADER, ROW.replace("txn_a", "")], 2, "no id"),
        ([HEADER, ROW, ROW], None, "twice"),
        ([HEADER, ROW, ROW.replace("txn_a", "txn_b").replace("eur", "usd")], None, "currencies"),
        ([HEADER, ROW.replace("charge", '"charge')], 2, "CSV"),
    ],
)
def test_a_report_that_can_not_be_read_names_the_line(lines: list[str], at: int | None, why: str) -> None:
    """Nothing is guessed, rounded or left out."""
    with pytest.raises(SettlementUnreadable, match=why) as refusal:
        read(*lines)

    assert refusal.value.line == at


def test_a_report_of_many_payouts_is_one_settlement() -> None:
    """A month's export; no single payout is said to have paid it."""
    rows = [f"{ROW.replace('txn_a', f'txn_{one}')},po_{one}" for one in "ab"]

    report = read(HEADER + ",automatic_payout_id", *rows)

    assert (report.report_ref, report.payout_ref) == ("po_a..po_b", None)


@given(content=st.binary(max_size=300))
def test_no_content_raises_anything_else(content: bytes) -> None:
    """Anybody with the right role can upload anything."""
    with pytest.raises(SettlementUnreadable):
        a_gateway().read_settlement(content)


@given(amounts=st.lists(st.tuples(st.integers(-(10**9), 10**9), st.integers(-(10**6), 10**6)), min_size=1, max_size=20))
def test_the_report_is_read_to_the_cent(amounts: list[tuple[int, int]]) -> None:
    """Signed amounts and fees of any size, and their sum."""

    def major(minor: int) -> str:
        return f"{'-' if minor < 0 else ''}{abs(minor) // 100}.{abs(minor) % 100:02d}"

    rows = [
        f"txn_{number},2026-11-23 09:00:00,eur,{major(gross)},{major(fee)},{major(gross - fee)},other_adjustment"
        for number, (gross, fee) in enumerate(amounts)
    ]

    report = read(HEADER, *rows)

    assert [(one.settled_minor, one.fee_minor) for one in report.lines] == amounts
