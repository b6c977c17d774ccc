"""Lines of reports meet what is known here: booked to the cent, finished or failed, or put before a person."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.money import Money
from recoup_core.domain.settlement import LineState, SettlementKind
from recoup_core.ports import SettledLine

CLEARING = "gateway_clearing:sandbox EUR"


async def test_a_charge_is_settled_with_its_fee_and_paid_out(finance: Any) -> None:
    """The clearing account is empty again, the fee is an expense, and the bank has the rest."""
    ref = await finance.captured(10_000)

    await finance.bring(finance.charge("l-1", ref, fee_minor=320), paid_out_minor=9_680)

    balances = await finance.balances()
    assert (balances.get(CLEARING), balances["bank EUR"], balances["fees EUR"]) == (None, 9_680, 320)
    assert [line.state for line in await finance.lines()] == [LineState.MATCHED] * 2
    assert await finance.problems() == []
    await finance.adds_up()


async def test_the_banks_own_report_of_a_whole_life_adds_up(finance: Any, shop: Any) -> None:
    """Charged by us, charged elsewhere, refunded elsewhere, disputed: the bank's report leaves nothing in clearing."""
    opened = await shop.open("approve")
    await shop.live(timedelta(days=30))
    one, two = await finance.captured(8_000), await finance.captured(5_000)
    finance.bank.refund_elsewhere(one, Money(3_000, "EUR"))
    finance.bank.open_dispute(two, fee_minor=1_500)

    imported = await finance.settle()

    assert imported.fresh_lines == 6
    assert await finance.problems() == []
    balances = await finance.balances()
    assert balances.get(CLEARING) is None
    assert balances["bank EUR"] == imported.report.paid_out_minor
    assert balances["disputes EUR"] == 5_000
    assert (await shop.file(opened.payment.id)).payment.state == "paid"
    await finance.adds_up()


async def test_a_charge_whose_answer_was_lost_is_finished(finance: Any, shop: Any) -> None:
    """The report is the answer: the attempt succeeded, the case is over."""
    opened = await shop.open("tok_pending:2000h+approve")
    await shop.live(timedelta(days=10))
    [live] = [each for each in (await shop.file(opened.payment.id)).attempts if each.idempotency_key]
    assert live.state == "pending"

    await finance.bring(finance.charge("l-1", "ch_1", 1_999, attempt_id=live.id))

    after = await shop.file(opened.payment.id)
    assert (after.payment.state, after.case.state) == ("paid", "recovered")
    assert await finance.problems() == []
    await finance.adds_up()


async def test_a_debt_that_somebody_else_collected_is_paid(finance: Any, shop: Any) -> None:
    """A charge that names the payment by its reference ends its case."""
    opened = await shop.open("decline insufficient_funds")

    line = finance.charge("l-1", "ch_theirs", 1_999, payment_reference=opened.payment.reference)
    await finance.bring(line)

    file = await shop.file(opened.payment.id)
    assert (file.payment.state, file.case.state) == ("paid", "recovered")
    assert await finance.problems() == []


def unnamed(finance: Any, ref: str, opened: Any) -> SettledLine:
    """A charge that the report knows by nothing but the payment's reference."""
    line: SettledLine = finance.charge(ref, "", 1_999, payment_reference=opened.payment.reference)
    return msgspec.structs.replace(line, charge_ref=None)


async def test_a_charge_without_a_name_is_booked_once(finance: Any, shop: Any) -> None:
    """Somebody else collected the debt: paid, and settled by that very line."""
    opened = await shop.open("decline insufficient_funds")

    await finance.bring(unnamed(finance, "l-1", opened))

    assert (await shop.file(opened.payment.id)).payment.state == "paid"
    assert await finance.problems() == []
    assert (await finance.balances())[CLEARING] == 1_999
    await finance.adds_up()


@pytest.mark.parametrize("token", ["approve", "tok_pending:2000h+approve"])
async def test_a_charge_without_a_name_is_the_one_that_we_made(finance: Any, shop: Any, token: str) -> None:
    """Collected by us, or under way: it is no second collection. One more such line is put before a person."""
    opened = await shop.open(token)
    await shop.live(timedelta(days=10))

    await finance.bring(unnamed(finance, "l-1", opened))
    await finance.bring(unnamed(finance, "l-2", opened), report_ref="R-2")

    file = await shop.file(opened.payment.id)
    assert (file.payment.state, file.payment.captured_minor) == ("paid", 1_999)
    assert await finance.problems() == ["settled_twice"]
    assert (await finance.balances())["suspense EUR"] == -1_999
    await finance.adds_up()


async def test_an_unknown_charge_waits_for_a_person_and_is_matched_once_it_is_reported(finance: Any, shop: Any) -> None:
    """It stands as suspense meanwhile, so that the report adds up; explained, it closes its own exception."""
    await finance.bring(finance.charge("l-1", "sbx_reported_1", 10_000, 300), paid_out_minor=9_700)
    assert await finance.problems() == ["unknown_charge"]
    assert (await finance.balances())["suspense EUR"] == -10_000
    await finance.adds_up()

    await finance.captured(10_000)
    shop.clock.advance(timedelta(hours=2))
    await finance.sweep()

    assert await finance.problems() == []
    assert (await finance.balances()).get("suspense EUR") is None
    assert (await finance.balances()).get(CLEARING) is None
    assert [each.resolved_by for each in await finance.exceptions(resolved=True)] == ["system"]
    await finance.adds_up()


async def test_another_amount_is_an_exception_and_the_difference_suspense(finance: Any) -> None:
    """Nothing is guessed and nothing is hidden: the clearing account shows what was settled."""
    ref = await finance.captured(10_000)

    await finance.bring(finance.charge("l-1", ref, 9_900), paid_out_minor=9_900)

    assert await finance.problems() == ["amount_differs"]
    balances = await finance.balances()
    assert (balances.get(CLEARING), balances["suspense EUR"]) == (None, 100)
    await finance.adds_up()


async def test_a_charge_is_settled_once(finance: Any) -> None:
    """A second line about it is put before a person."""
    ref = await finance.captured(10_000)

    await finance.bring(finance.charge("l-1", ref), finance.charge("l-2", ref))

    assert await finance.problems() == ["settled_twice"]
    await finance.adds_up()


async def test_another_currency_is_exchanged(finance: Any) -> None:
    """What was booked in the charge's currency leaves the clearing account, what was settled comes in."""
    ref = await finance.captured(10_000, "USD")

    line = finance.charge("l-1", ref, 9_200, 100, amount=Money(10_000, "USD"))
    await finance.bring(line, paid_out_minor=9_100)

    balances = await finance.balances()
    assert {name: total for name, total in balances.items() if name.startswith(("gateway", "exchange", "bank"))} == {
        "exchange USD": 10_000,
        "exchange EUR": -9_200,
        "bank EUR": 9_100,
    }
    assert await finance.problems() == []
    await finance.adds_up()


async def test_a_report_that_does_not_add_up_is_put_before_a_person_until_it_does(finance: Any) -> None:
    """The missing piece may come later, under the same name."""
    one, two = await finance.captured(10_000), await finance.captured(5_000)
    await finance.bring(finance.charge("l-1", one), paid_out_minor=15_000)
    assert await finance.problems() == ["does_not_add_up"]

    await finance.bring(finance.charge("l-2", two, 5_000))

    assert await finance.problems() == []
    assert (await finance.balances()).get(CLEARING) is None
    await finance.adds_up()


async def test_the_same_line_in_two_reports_is_one(finance: Any) -> None:
    """A movement is known by the gateway's own id of it."""
    ref = await finance.captured(10_000)
    await finance.bring(finance.charge("l-1", ref, fee_minor=100))
    before = await finance.balances()

    await finance.bring(finance.charge("l-1", ref, fee_minor=100), report_ref="R-2")

    assert await finance.balances() == before
    assert len(await finance.lines()) == 1


async def test_a_line_told_differently_is_put_before_a_person(finance: Any) -> None:
    """The first word is kept."""
    ref = await finance.captured(10_000)
    await finance.bring(finance.charge("l-1", ref))

    await finance.bring(finance.charge("l-1", ref, 9_000))

    assert await finance.problems() == ["told_differently"]


async def test_what_is_booked_and_never_settled_is_found(finance: Any, shop: Any) -> None:
    """After the days that the settings allow, once the gateway has ever sent a report; a late line closes it."""
    early = await finance.captured(1_000)
    shop.clock.advance(timedelta(hours=1))
    await finance.bring(finance.charge("l-1", await finance.captured(10_000), occurred_at=shop.clock.now()))
    late = await finance.captured(5_000)
    shop.clock.advance(timedelta(days=11))

    await finance.sweep()
    await finance.sweep()

    [missing] = await finance.exceptions()
    assert (missing.kind, missing.amount_minor, missing.owner) == ("not_settled", 5_000, "finance")
    assert str(await finance.capture_id(late)) in missing.subject
    assert early not in missing.reason

    await finance.bring(finance.charge("l-9", late, 5_000), report_ref="R-9")

    assert await finance.problems() == []


@pytest.mark.parametrize("returned_first", [True, False])
async def test_a_disputes_money_is_told_by_lines_in_any_order(finance: Any, shop: Any, returned_first: bool) -> None:
    """Taken and given back: the dispute is won, whichever line comes first."""
    ref = await finance.captured(10_000)
    eur = Money(10_000, "EUR")
    taken = finance.line("l-1", SettlementKind.DISPUTE, eur, -10_000, charge_ref=ref, operation_ref="dp_1")
    back = finance.line("l-2", SettlementKind.DISPUTE_RETURNED, eur, 10_000, charge_ref=ref, operation_ref="dp_1")

    for number, line in enumerate([back, taken] if returned_first else [taken, back]):
        await finance.bring(line, report_ref=f"R-{number}")

    [dispute] = await shop.rows("SELECT state FROM dispute")
    assert dispute["state"] == "won"
    assert (await finance.balances())[CLEARING] == 10_000
    assert await finance.problems() == []
    await finance.adds_up()


@pytest.mark.parametrize("returned_first", [True, False])
async def test_a_refund_made_elsewhere_that_came_back_is_told_in_any_order(
    finance: Any, shop: Any, returned_first: bool
) -> None:
    """Counted once, and taken back once."""
    ref = await finance.captured(10_000)
    eur = Money(4_000, "EUR")
    paid = finance.line("l-1", SettlementKind.REFUND, eur, -4_000, charge_ref=ref, operation_ref="re_1")
    back = finance.line("l-2", SettlementKind.REFUND_RETURNED, eur, 4_000, charge_ref=ref, operation_ref="re_1")

    for number, line in enumerate([back, paid] if returned_first else [paid, back]):
        await finance.bring(line, report_ref=f"R-{number}")

    [part] = await shop.rows("SELECT state, successes FROM refund_part")
    assert tuple(part) == ("taken_back", 1)
    assert (await finance.balances())[CLEARING] == 10_000
    assert await finance.problems() == []
    await finance.adds_up()


async def test_a_returned_charge_is_owed_again(finance: Any, shop: Any) -> None:
    """The bank took a debit back: the capture is reversed and the case reopens."""
    opened = await shop.open("approve")
    await shop.live(timedelta(days=30))
    [capture] = await shop.rows("SELECT gateway_ref, attempt_id FROM capture")
    minor = opened.payment.amount_minor
    charge = finance.charge("l-1", capture["gateway_ref"], minor)
    back = finance.line(
        "l-2", SettlementKind.CHARGE_RETURNED, Money(minor, "EUR"), -minor, charge_ref=capture["gateway_ref"]
    )

    await finance.bring(charge, back)

    assert (await shop.file(opened.payment.id)).payment.state == "owed"
    assert (await finance.balances()).get(CLEARING) is None
    assert await finance.problems() == []
    await finance.adds_up()


async def test_other_movements_and_fees_have_their_accounts(finance: Any) -> None:
    """Fees by themselves, reserves and what was carried over; a report about nothing else is booked, too."""
    zero = Money(0, "EUR")
    fee = finance.line("l-1", SettlementKind.FEE, zero, -250)
    rebate = finance.line("l-2", SettlementKind.FEE, zero, 0, fee_minor=-50)
    reserve = finance.line("l-3", SettlementKind.OTHER, zero, -1_000)

    await finance.bring(fee, rebate, reserve, paid_out_minor=-1_200)

    assert await finance.balances() == {"fees EUR": 200, "adjustments EUR": 1_000, "bank EUR": -1_200}
    assert await finance.problems() == []
    await finance.adds_up()


async def test_one_task_stands_for_a_gateways_exceptions(finance: Any, shop: Any) -> None:
    """Whoever looks after the queue is told once, and no more after the last is gone."""
    await finance.bring(finance.charge("l-1", "sbx_reported_1"), finance.charge("l-2", "sbx_reported_2"))
    tasks = "SELECT kind FROM human_task WHERE resolved_at IS NULL AND kind = 'settlement_exception'"
    assert len(await shop.rows(tasks)) == 1

    await finance.captured()
    await finance.captured()
    shop.clock.advance(timedelta(hours=2))
    await finance.sweep()

    assert await shop.rows(tasks) == []
