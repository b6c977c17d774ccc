"""Adyen's settlement details report, read to the cent, and fetched from nowhere but where the account's reports lie."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plugins.adyen_benches import a_gateway
from tests.plugins.adyen_reports import COLUMNS, a_report, a_row, whole_batch
from tests.plugins.fake_adyen import REPORT_LOGIN, FakeAdyen
from tests.plugins.fake_adyen_answers import MERCHANT

from recoup_core.domain.ids import new_id
from recoup_plugins import Money, SettledLine, SettlementKind, SettlementUnreadable
from recoup_plugins.gateways.adyen_errors import AdyenAnswerLost
from recoup_plugins.gateways.adyen_settlement import read_report

CSV = "settlement_detail_report_batch_4.csv"


def the_line(row: dict[str, str]) -> SettledLine:
    (line,) = read_report(a_report(row), MERCHANT).lines
    return line


def test_a_whole_batch_adds_up_to_what_was_paid_out() -> None:
    """Charges, refunds, disputes, fees and what was carried over, less all costs."""
    report = read_report(a_report(*whole_batch()), MERCHANT)

    nets = [(line.kind, line.settled_minor - line.fee_minor) for line in report.lines]
    assert report.report_ref == f"{MERCHANT} batch 4"
    assert (report.currency, report.payout_ref, report.paid_out_minor) == ("EUR", "TX210457171XT", 280)
    assert report.paid_out_at == datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
    assert sum(net for kind, net in nets if kind is not SettlementKind.PAYOUT) == 280
    assert [line.kind for line in report.lines] == [
        SettlementKind.CHARGE,
        SettlementKind.REFUND,
        SettlementKind.DISPUTE,
        SettlementKind.DISPUTE_RETURNED,
        SettlementKind.REFUND_RETURNED,
        SettlementKind.CHARGE_RETURNED,
        SettlementKind.FEE,
        SettlementKind.FEE,
        SettlementKind.OTHER,
        SettlementKind.PAYOUT,
    ]


def test_a_charge_is_told_gross_with_its_costs_beside() -> None:
    """The net amount is what Adyen left over."""
    attempt = new_id()
    row = a_row(
        "Settled",
        psp="A" * 16,
        operation="B" * 16,
        method="mc",
        gross_credit="19.99",
        net_credit="19.40",
        reference=f"recoup-attempt-{attempt}",
        order="inv-1",
    )

    line = the_line(row)

    assert (line.amount, line.settled_minor, line.fee_minor) == (Money(1999, "EUR"), 1999, 59)
    assert (line.charge_ref, line.other_charge_refs, line.operation_ref) == ("A" * 16, ("B" * 16,), None)
    assert (line.attempt_id, line.payment_reference) == (attempt, "inv-1")
    assert line.occurred_at == datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def test_a_refund_and_a_dispute_name_their_operation() -> None:
    """Matched by the gateway's own references; the part is known where the report has its column."""
    part = new_id()
    refund = the_line(
        a_row(
            "Refunded", psp="A" * 16, operation="C" * 16, part=f"recoup-part-{part}", gross_debit="5", net_debit="5.10"
        )
    )
    dispute = the_line(a_row("Chargeback", psp="A" * 16, operation="E" * 16, gross_debit="10.00", net_debit="25.00"))

    assert (refund.operation_ref, refund.part_id, refund.charge_ref) == ("C" * 16, part, "A" * 16)
    assert (refund.amount, refund.settled_minor, refund.fee_minor) == (Money(500, "EUR"), -500, 10)
    assert (dispute.operation_ref, dispute.settled_minor, dispute.fee_minor) == ("E" * 16, -1000, 1500)


def test_another_currency_takes_its_costs_from_the_columns() -> None:
    """They have more decimals than the currency; the net amount is exact whatever they come to."""
    row = a_row(
        "Settled",
        psp="A" * 16,
        gross="JPY",
        gross_credit="1500",
        net="EUR",
        net_credit="9.10",
        interchange="0.1234",
        scheme="0.05",
        markup="0.10",
    )

    line = the_line(row)

    assert line.amount == Money(1500, "JPY")
    assert (line.settled_minor, line.fee_minor) == (937, 27)
    assert line.settled_minor - line.fee_minor == 910


def test_a_fee_by_itself_is_no_fee_of_another_line() -> None:
    """It would be taken off twice."""
    line = the_line(a_row("Fee", operation="Monthly", gross="", net_debit="12.50"))

    assert (line.kind, line.amount, line.settled_minor, line.fee_minor) == (
        SettlementKind.FEE,
        Money(1250, "EUR"),
        -1250,
        0,
    )
    assert (line.charge_ref, line.description) == (None, "Fee Monthly")


@pytest.mark.parametrize("kind", ["ManualCorrected", "DepositCorrection", "SomethingNew"])
def test_what_nobody_knows_is_kept_with_its_amount(kind: str) -> None:
    """The report adds up all the same."""
    line = the_line(a_row(kind, gross="", net_credit="1.00"))

    assert (line.kind, line.settled_minor) == (SettlementKind.OTHER, 100)


def test_lines_that_look_alike_have_names_of_their_own() -> None:
    """Two equal fees are two fees, and the same two when the report comes again."""
    refs = [[line.ref for line in read_report(a_report(*whole_batch()), MERCHANT).lines] for _ in range(2)]

    assert refs[0] == refs[1]
    assert len(set(refs[0])) == len(refs[0])


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 10), ("CEST", 8), ("EST", 15), ("PDT", 17), ("XYZ", 10), ("", 10)])
def test_times_are_read_in_the_accounts_zone(zone: str, hour: int) -> None:
    """An abbreviation that nobody knows counts as UTC."""
    assert the_line(a_row("Settled", psp="A", gross_credit="1", net_credit="1", zone=zone)).occurred_at.hour == hour


def test_columns_may_come_in_any_order_and_with_others_between() -> None:
    """Accounts choose their columns."""
    columns = ["Booking Date", *COLUMNS[::-1]]

    assert read_report(b"\xef\xbb\xbf" + a_report(*whole_batch(), columns=columns), MERCHANT) == read_report(
        a_report(*whole_batch()), MERCHANT
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no column"),
        (b"\xff\xfe", "UTF-8"),
        (b"<html></html>", "no column"),
        (a_report(), "no lines"),
        (a_report(*whole_batch(), columns=[one for one in COLUMNS if one != "Type"]), "'Type'"),
        (a_report(a_row("Settled", gross_credit="much")), "line 2: Gross Credit"),
        (a_report(a_row("Settled", gross_credit="NaN")), "line 2: Gross Credit"),
        (a_report(a_row("Settled", gross_credit="1.2E+05", net_credit="1.2E+05")), "line 2: Gross Credit"),
        (a_report(a_row("Settled", gross_credit="1_000", net_credit="1_000")), "line 2: Gross Credit"),
        (a_report(a_row("Settled", gross_credit="1.001", net_credit="1")), "line 2"),
        (a_report(a_row("Settled", gross_credit="1", net_credit="1", gross="ZZZ1")), "line 2"),
        (a_report(a_row("Settled", at="yesterday", gross_credit="1", net_credit="1")), "line 2: Creation Date"),
        (a_report(*whole_batch(), a_row("Fee", batch="5")), "one batch"),
        (a_report(*whole_batch(), a_row("Fee", batch="")), "one batch"),
        (a_report(*whole_batch(), a_row("Fee", net="USD")), "one net currency"),
        (a_report(*whole_batch(), a_row("Fee", merchant="Other")), "merchant account"),
        (a_report(*whole_batch()) + b"a,b,c\n", "line 12"),
        (a_report(*whole_batch()) + b",".join([b"x"] * 99) + b"\n", "line 12"),
        (a_report(*whole_batch()) + b'"\n', "CSV"),
    ],
)
def test_what_can_not_be_read_says_where_and_why(content: bytes, why: str) -> None:
    """A line that is left out would be money that is left out."""
    with pytest.raises(SettlementUnreadable, match=why):
        read_report(content, MERCHANT)


@given(
    gross=st.integers(1, 10**9),
    fee=st.integers(-100, 10**6),
    kind=st.sampled_from(["Settled", "Refunded", "Chargeback"]),
)
def test_no_cent_is_lost_between_gross_and_net(gross: int, fee: int, kind: str) -> None:
    """Whatever the amounts are, what is settled less the fee is the net."""
    comes = kind == "Settled"
    net = gross - fee if comes else -gross - fee
    side = "credit" if comes else "debit"
    cells = {f"gross_{side}": _major(gross), f"net_{'credit' if net >= 0 else 'debit'}": _major(abs(net))}

    line = the_line(a_row(kind, psp="A" * 16, method="mc", **cells))

    assert (line.settled_minor, line.fee_minor) == (gross if comes else -gross, fee)


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_content_raises_anything_else(content: bytes) -> None:
    """People upload the wrong file."""
    with pytest.raises(SettlementUnreadable):
        read_report(content, MERCHANT)


def _major(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"


# --- fetching ---------------------------------------------------------------------------------------------------------


def a_fetching_gateway(fake: FakeAdyen, **options: Any) -> Any:
    user, password = REPORT_LOGIN
    values = {"report_user": user, "report_password": password, "report_base": f"{fake.url}/reports"}
    return a_gateway(fake, **{**values, **options})


async def test_a_report_is_fetched_by_its_name(fake_adyen: FakeAdyen) -> None:
    """With the report user's login, from the account's own folder."""
    fake_adyen.reports[CSV] = a_report(*whole_batch())

    report = await a_fetching_gateway(fake_adyen).fetch_settlement(CSV)

    assert report == read_report(fake_adyen.reports[CSV], MERCHANT)


@pytest.mark.parametrize("name", ["https://evil.example/settlement_detail_report.csv", "../x.csv", "", "x.csv"])
async def test_only_a_reports_name_is_asked_for(fake_adyen: FakeAdyen, name: str) -> None:
    """Never an address: whoever wrote it would be sent the password."""
    with pytest.raises(SettlementUnreadable):
        await a_fetching_gateway(fake_adyen).fetch_settlement(name)

    assert fake_adyen.queries == []


async def test_a_report_that_is_not_there_is_said_so(fake_adyen: FakeAdyen) -> None:
    """For good; anything else is tried again."""
    with pytest.raises(SettlementUnreadable, match="no report"):
        await a_fetching_gateway(fake_adyen).fetch_settlement(CSV)
    with pytest.raises(AdyenAnswerLost):
        await a_fetching_gateway(fake_adyen, report_password="wrong").fetch_settlement(CSV)


async def test_without_a_report_user_nothing_is_fetched(fake_adyen: FakeAdyen) -> None:
    """The capabilities say so."""
    gateway: Any = a_gateway(fake_adyen)

    assert not gateway.capabilities.fetches_settlements
    with pytest.raises(SettlementUnreadable):
        await gateway.fetch_settlement(CSV)
