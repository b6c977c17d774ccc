"""Reports come in: once, read strictly, fetched patiently, announced by events."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money
from recoup_core.domain.settlement import SettlementKind
from recoup_core.flows.settlement.csv_format import read_csv
from recoup_core.flows.settlement.exceptions import assign, resolve
from recoup_core.flows.settlement.fetching import FETCH_WAITS
from recoup_core.flows.settlement.importing import import_report
from recoup_core.flows.settlement.reading import checked
from recoup_core.flows.settlement.wanting import want_report
from recoup_core.ports import ReportedSettlement, SettledLine, SettlementUnreadable
from recoup_core.storage.changes import Changes

HEAD = "recoup-settlement,1\nreport_ref,R-1\ncurrency,EUR\n"
COLUMNS = "line_ref,kind,amount,currency,settled,fee,charge_ref,occurred_at\n"
CARD = "4242424242424242"
ROW = "l-1,charge,10.00,EUR,10.00,0.30,ch_1,2026-11-20T10:00:00Z\n"


def csv(head: str = HEAD, columns: str = COLUMNS, *rows: str) -> bytes:
    """A file in our own format."""
    return f"{head}\n{columns}{''.join(rows or (ROW,))}".encode()


def test_our_own_format_is_read_exactly() -> None:
    """Amounts by the decimals of their currency; empty values are none."""
    yen = "l-2,refund,500,JPY,-3.10,,ch_2,2026-11-20T12:00:00+02:00\n"

    report = read_csv(csv(HEAD + "paid_out,6.60\npayout_ref,po_1\n", COLUMNS, ROW, yen))

    assert (report.report_ref, report.currency, report.paid_out_minor, report.payout_ref) == ("R-1", "EUR", 660, "po_1")
    first, second = report.lines
    assert (first.amount, first.settled_minor, first.fee_minor) == (Money(1_000, "EUR"), 1_000, 30)
    assert (second.kind, second.amount, second.settled_minor) == (SettlementKind.REFUND, Money(500, "JPY"), -310)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (csv(HEAD, COLUMNS, ROW.replace("10.00,EUR", "10.001,EUR")), "line 6"),
        (csv(HEAD, COLUMNS, ROW.replace("10.00,EUR", "1e3,EUR")), "line 6"),
        (csv(HEAD, COLUMNS, ROW.replace("10.00,EUR", "-10.00,EUR")), "negative"),
        (csv(HEAD, COLUMNS, ROW.replace("EUR", "EURO")), "line 6"),
        (csv(HEAD, COLUMNS, ROW, ROW.replace("Z", "").replace("l-1", "l-2")), "line 7: occurred_at has no time zone"),
        (csv(HEAD, COLUMNS, ROW.replace(",ch_1", "")), "7 of 8 values"),
        (csv(HEAD, COLUMNS.replace("charge_ref", "charge_id")), "charge_id"),
        (csv(HEAD, COLUMNS.replace("settled,", "")), "settled is missing"),
        (csv(HEAD.replace("currency,EUR\n", "")), "currency"),
        (csv(HEAD + "paid_out,1.234\n"), "paid_out"),
        (csv(HEAD + "color,red\n"), "line 4"),
        (b"recoup-settlement,1\nreport_ref,\xff", "UTF-8"),
    ],
)
def test_what_is_not_exact_is_refused_by_its_line(content: bytes, named: str) -> None:
    """Nothing is rounded, guessed or left out."""
    with pytest.raises(SettlementUnreadable) as refusal:
        read_csv(content)

    assert named in str(refusal.value)


def test_every_bad_line_is_named() -> None:
    """Whoever mends a file sees all of it at once."""
    bad = [ROW.replace("charge,", "chrage,").replace("l-1", f"l-{number}") for number in range(3)]

    with pytest.raises(SettlementUnreadable) as refusal:
        read_csv(csv(HEAD, COLUMNS, *bad))

    assert [f"line {number}" in str(refusal.value) for number in (6, 7, 8)] == [True] * 3


LINE = SettledLine(
    ref="l-1",
    kind=SettlementKind.CHARGE,
    amount=Money(1_000, "EUR"),
    settled_minor=1_000,
    occurred_at=read_csv(csv()).lines[0].occurred_at,
)


@pytest.mark.parametrize("lines", [(LINE, LINE), (None,), [LINE]], ids=["twice", "none", "list"])
def test_a_plugins_broken_report_is_refused(lines: Any) -> None:
    """Structs don't check themselves: a movement told twice, or no line at all, never reaches the database."""
    with pytest.raises(SettlementUnreadable):
        checked(ReportedSettlement(report_ref="R-1", currency="EUR", lines=lines))


@pytest.mark.parametrize(
    "change",
    [
        {"settled_minor": 10.5},
        {"amount": Money(-1, "EUR")},
        {"ref": ""},
        {"charge_ref": "a\0b"},
        {"kind": "charges"},
        {"occurred_at": datetime.fromisoformat("9999-12-31T23:59:59-12:00")},
    ],
)
def test_a_line_of_a_wrong_type_is_refused(change: dict[str, Any]) -> None:
    """No float and no NUL comes near the books, whatever a plugin returns."""
    fields = {name: getattr(LINE, name) for name in LINE.__struct_fields__} | change

    with pytest.raises(SettlementUnreadable) as refusal:
        checked(ReportedSettlement(report_ref="R-1", currency="EUR", lines=(SettledLine(**fields),)))

    assert refusal.value.line == 1


def test_a_report_that_can_not_be_added_up_is_refused() -> None:
    """Each amount fits, their sum does not."""
    fields = {name: getattr(LINE, name) for name in LINE.__struct_fields__} | {"settled_minor": MAX_AMOUNT_MINOR}
    lines = tuple(SettledLine(**{**fields, "ref": f"l-{number}"}) for number in range(600))

    with pytest.raises(SettlementUnreadable) as refusal:
        checked(ReportedSettlement(report_ref="R-1", currency="EUR", lines=lines))

    assert refusal.value.line == 513


async def test_the_same_content_is_known_before_it_is_read(finance: Any, shop: Any) -> None:
    """Brought again, nothing is done."""
    first = await import_report(finance.context, "sandbox", csv(), shop.by())
    again = await import_report(finance.context, "sandbox", csv(), shop.by())

    assert (first.known, first.fresh_lines) == (False, 1)
    assert (again.known, again.report.id) == (True, first.report.id)


async def test_a_description_is_kept_as_far_as_it_can_be(finance: Any) -> None:
    """What the database can't hold, nobody misses."""
    columns, row = COLUMNS.replace("\n", ",description\n"), ROW.replace("\n", ",a\0b \t4242424242424242\n")

    await import_report(finance.context, "sandbox", csv(HEAD, columns, row), finance.shop.by())

    [line] = await finance.lines()
    assert line.description == "ab ################"


@pytest.mark.parametrize(
    "row", [ROW.replace("ch_1", CARD), ROW.replace("l-1", CARD), ROW.replace("\n", f",{CARD}\n")], ids=str
)
def test_no_card_number_comes_in_by_our_own_format(row: str) -> None:
    """People put such files together, and columns get mixed up. The refusal does not repeat the number."""
    columns = COLUMNS.replace("\n", ",payment_reference\n") if row.count(",") > ROW.count(",") else COLUMNS

    with pytest.raises(SettlementUnreadable) as refusal:
        read_csv(csv(HEAD, columns, row))

    assert "line 6" in str(refusal.value)
    assert CARD not in str(refusal.value)


async def test_a_name_of_a_debt_that_may_be_a_card_number_is_not_kept(finance: Any) -> None:
    """A provider's report repeats whatever a shop once wrote there; the report is taken in all the same."""
    named = finance.charge("l-1", "ch_1", payment_reference=f"order {CARD}")

    await finance.bring(named)

    [line] = await finance.lines()
    assert CARD not in (line.payment_reference or "")


async def test_an_announced_report_is_fetched_and_matched(finance: Any, shop: Any) -> None:
    """Wanted twice, it is taken in once."""
    await finance.captured(10_000)
    name = finance.bank.settle()
    for _ in range(2):
        changes = Changes()
        want_report(changes, "sandbox", name, shop.clock.now(), "corr-1")
        async with shop.service.database.transaction() as connection:
            await changes.write(connection)
        await shop.run_due()

    assert (await finance.balances())["bank EUR"] == 9_800
    assert len(await finance.lines()) == 2
    await finance.adds_up()


async def test_a_report_that_can_not_be_fetched_is_put_before_a_person(finance: Any, shop: Any) -> None:
    """A name that the gateway does not know will not become one; the exception closes once it is fetched."""
    changes = Changes()
    want_report(changes, "sandbox", "sbs_nothing", shop.clock.now(), None)
    async with shop.service.database.transaction() as connection:
        await changes.write(connection)

    await shop.live(sum(FETCH_WAITS, timedelta()))

    [exception] = await finance.exceptions()
    assert (exception.kind, exception.owner) == ("not_fetched", "finance")


async def test_what_a_person_resolved_is_not_opened_again(finance: Any, shop: Any) -> None:
    """Retries of the line find it as it was, and ask nobody once more; assigned and resolved are audited."""
    await finance.bring(finance.charge("l-1", "ch_unknown"))
    [exception] = await finance.exceptions()

    await assign(finance.context, exception.id, shop.by(), "maria")
    await resolve(finance.context, exception.id, shop.by(), "the web shop's own order")
    shop.clock.advance(timedelta(days=2))
    await finance.sweep()

    assert await finance.problems() == []
    kinds = await shop.rows("SELECT kind, actor FROM event WHERE kind LIKE 'settlement.exception%' ORDER BY id")
    assert [(row["kind"].rpartition("_")[2], row["actor"]) for row in kinds] == [
        ("opened", "system"),
        ("assigned", "operator:anna"),
        ("resolved", "operator:anna"),
    ]
