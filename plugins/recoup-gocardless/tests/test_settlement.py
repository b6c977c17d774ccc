"""Payouts as reports: fetched and uploaded, every line in its place, to the cent."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocardless_fake import FakeGoCardless
from recoup_gocardless.gateway import GoCardlessGateway
from recoup_gocardless.objects import GoPayout, GoPayoutItem
from recoup_gocardless.settlement import item_lines, read_export, report_of
from recoup_plugins import ReportedSettlement, SettlementKind, SettlementUnreadable

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
HEAD = (
    "resources.type,resources.description,resources.created_at,resources.status,gross_amount,gocardless_fees,app_fees,"
    "net_amount,currency,payouts.id,payouts.arrival_date,payments.id,refunds.id,mandates.id"
)


def export(*rows: str) -> bytes:
    return "\r\n".join(["\ufeff" + HEAD, *rows]).encode()


def net(report: ReportedSettlement) -> int:
    return sum(line.settled_minor - line.fee_minor for line in report.lines)


async def test_a_payout_is_fetched_with_all_that_it_is_made_of(
    fake: FakeGoCardless, gateway: GoCardlessGateway
) -> None:
    """Charges, late failures, chargebacks, refunds and fees; the payout itself brings the sum to nothing."""
    payout = fake.books.pay_out(
        ("payment_paid_out", "5000.0", "PM1"),
        ("payment_failed", "-1000.0", "PM2"),
        ("payment_charged_back", "-500.0", "PM3"),
        ("payment_refunded", "-200.0", "RF4"),
        ("refund_funds_returned", "200.0", "RF4"),
        ("gocardless_fee", "-20.0", "PM1"),
        ("tomorrows_item", "3.0", "PM1"),
    )

    report = await gateway.fetch_settlement(payout["id"])

    assert [line.kind for line in report.lines] == [
        SettlementKind.CHARGE,
        SettlementKind.CHARGE_RETURNED,
        SettlementKind.DISPUTE,
        SettlementKind.REFUND,
        SettlementKind.REFUND_RETURNED,
        SettlementKind.FEE,
        SettlementKind.OTHER,
        SettlementKind.PAYOUT,
    ]
    assert report.lines[0].charge_ref == "PM1"
    assert report.lines[2].operation_ref == "PM3:chargeback"
    assert report.lines[3].operation_ref == "RF4"
    assert (report.lines[5].settled_minor, report.lines[5].fee_minor) == (0, 20)
    assert (report.report_ref, report.currency, report.paid_out_minor) == (payout["id"], "EUR", 3483)
    assert net(report) == 0


async def test_a_payout_that_is_not_there_is_unreadable(gateway: GoCardlessGateway) -> None:
    """A person may have mistyped it."""
    with pytest.raises(SettlementUnreadable, match="does not give out"):
        await gateway.fetch_settlement("PO999999")


@pytest.mark.parametrize("name", ["../creditors", "", ".", "PO1?x=1"])
async def test_a_name_that_is_a_path_is_never_asked_for(
    fake: FakeGoCardless, gateway: GoCardlessGateway, name: str
) -> None:
    """What a person types must not become another call."""
    with pytest.raises(SettlementUnreadable):
        await gateway.fetch_settlement(name)

    assert not fake.sent


tenths = st.integers(min_value=-(10**7), max_value=10**7).map(lambda each: str(Decimal(each) / 10))


@given(
    amounts=st.lists(tenths, max_size=30), rounding=st.sampled_from([ROUND_HALF_UP, ROUND_HALF_EVEN, ROUND_HALF_DOWN])
)
def test_half_cents_are_rounded_so_that_the_sum_is_the_payouts(amounts: list[str], rounding: str) -> None:
    """GoCardless rounds the sum and nothing else, whichever way a half goes; whole amounts are left alone."""
    exact = sum((Decimal(each) for each in amounts), Decimal(0))
    payout = GoPayout(
        id="PO1", amount=int(exact.quantize(Decimal(1), rounding)), currency="EUR", status="paid", created_at=NOW
    )

    lines = tuple(item_lines(payout, [GoPayoutItem(type="gocardless_fee", amount=each) for each in amounts], NOW))
    report = report_of("PO1", "EUR", lines, payout.amount, NOW)

    assert net(report) == 0
    told = [(-line.fee_minor, Decimal(each)) for line, each in zip(lines, amounts, strict=True)]
    assert all(abs(minor - exact) <= 1 for minor, exact in told)
    assert all(minor == exact for minor, exact in told if exact == exact.to_integral_value())


def test_names_of_lines_are_unique_and_stay_the_same() -> None:
    """A report that comes twice is known by them; a payment may be paid out, fail, and be paid out again."""
    rows = [
        "payment,,2026-11-20T09:00:00Z,paid_out,10.00,0.20,0,9.80,EUR,PO1,2026-11-25,PM1,,MD1",
        "payment,,2026-11-20T09:00:00Z,paid_out,10.00,0.20,0,9.80,EUR,PO1,2026-11-25,PM1,,MD1",
    ]

    first, second = (read_export(export(*rows)) for _ in range(2))

    names = [line.ref for line in first.lines]
    assert len(set(names)) == len(names)
    assert names == [line.ref for line in second.lines]


def test_an_export_is_read_in_minor_units_with_its_signs() -> None:
    """What it kept is what lies between gross and net, whatever the columns of fees are called."""
    report = read_export(
        export(
            'payment,"Plan, gold",2026-11-20T09:00Z,paid_out,"1,010.50",0.20,0.10,1010.20,EUR,PO1,2026-11-25,PM1,,MD1',
            "payment,,2026-11-20,failed,-10.00,-0.20,0,-9.80,EUR,PO1,2026-11-25,PM2,,MD1",
            "payment,,2026-11-20,charged_back,-5.00,0,0,-5.00,EUR,PO1,2026-11-25,PM3,,MD1",
            "refund,,2026-11-20,paid,-3.00,0,0,-3.00,EUR,PO1,2026-11-25,PM4,RF4,MD1",
            "moon,,2026-11-20,,1.00,0,0,1.00,EUR,PO1,2026-11-25,,,",
        )
    )

    assert [(line.kind, line.settled_minor, line.fee_minor) for line in report.lines[:-1]] == [
        (SettlementKind.CHARGE, 101_050, 30),
        (SettlementKind.CHARGE_RETURNED, -1000, -20),
        (SettlementKind.DISPUTE, -500, 0),
        (SettlementKind.REFUND, -300, 0),
        (SettlementKind.OTHER, 100, 0),
    ]
    assert report.lines[0].description == "Plan, gold"
    assert report.lines[3].operation_ref == "RF4"
    assert report.paid_out_at is not None
    assert net(report) == 0


@pytest.mark.parametrize("content", [
    b"",
    b"\xff\xfe",
    b"a,b\r\n1,2",
    export(),
    export("payment,,2026-11-20,paid_out,ten,0,0,9.80,EUR,PO1,2026-11-25,PM1,,MD1"),
    export("payment,,2026-11-20,paid_out,10.001,0,0,9.80,EUR,PO1,2026-11-25,PM1,,MD1"),
    export("payment,,2026-11-20,paid_out,NaN,0,0,9.80,EUR,PO1,2026-11-25,PM1,,MD1"),
    export("payment,,2026-11-20,paid_out,1e400,0,0,9.80,EUR,PO1,2026-11-25,PM1,,MD1"),
    export('payment,,2026-11-20,paid_out,"10,00",0,0,"9,80",EUR,PO1,2026-11-25,PM1,,MD1'),
    export("payment,,2026-11-20,paid_out,1E+3,0,0,1E+3,EUR,PO1,2026-11-25,PM1,,MD1"),
    export("payment,,yesterday,paid_out,10.00,0,0,9.80,EUR,PO1,2026-11-25,PM1,,MD1"),
    export("payment,,2026-11-20,paid_out,10.00,0,0,9.80,EUR,,2026-11-25,PM1,,MD1"),
    export(
        "payment,,2026-11-20,paid_out,10.00,0,0,9.80,EUR,PO1,2026-11-25,PM1,,MD1",
        "payment,,2026-11-20,paid_out,10.00,0,0,9.80,EUR,PO2,2026-11-25,PM1,,MD1",
    ),
])  # fmt: skip
def test_a_file_that_can_not_be_read_is_refused(content: bytes) -> None:
    """Whole, and with the line where there is one; half a report would be booked as all of it."""
    with pytest.raises(SettlementUnreadable):
        read_export(content)


@given(st.binary(max_size=200))
def test_whatever_is_uploaded_is_read_or_refused(content: bytes) -> None:
    """Anybody may upload anything; nothing else is ever raised."""
    with pytest.raises(SettlementUnreadable):
        read_export(content)
