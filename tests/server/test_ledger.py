"""The ledger through the API: chart, balances, trial balance, entries and exports, each merchant's own."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from recoup_core.domain.chart import CHART, FEE_CHARGED, MOVEMENTS, WRITTEN_OFF
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import LedgerEntry, postings, reversal_of
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Customer, Method, Payment
from recoup_core.storage.changes import Changes

START = datetime(2026, 11, 1, 23, 30, tzinfo=UTC)
"""Half past midnight of the second in Berlin."""


@pytest.fixture
async def booked(service: Any, merchants: tuple[str, str]) -> list[LedgerEntry]:
    """A fee of 0.25 EUR, a write-off of 9.00 EUR a day later, and the fee taken back another day later."""
    payment = Payment(
        id=new_id(),
        merchant_id=merchants[0],
        reference="inv-1",
        customer=Customer(ref="cus-1"),
        amount_minor=1,
        currency="EUR",
        gateway="sandbox",
        method=Method.CARD,
        created_at=START,
    )
    fee, write_off = (
        LedgerEntry(
            id=new_id(),
            merchant_id=merchants[0],
            kind=movement.kind,
            payment_id=payment.id,
            postings=postings(movement, amount, "sandbox"),
            occurred_at=START - timedelta(days=5),
            created_at=START + timedelta(days=days),
        )
        for movement, amount, days in ((FEE_CHARGED, Money(25, "EUR"), 0), (WRITTEN_OFF, Money(900, "EUR"), 1))
    )
    entries = [fee, write_off, reversal_of(entry=fee, at=START + timedelta(days=2))]
    changes = Changes()
    changes.add(payment, *entries)
    async with service.database.transaction() as connection:
        await changes.write(connection)
    return entries


def amounts(answer: Any) -> dict[str, int]:
    assert answer.status_code == 200, answer.text
    return {row["account"]: row["balance_minor"] for row in answer.json()["items"] if row["balance_minor"]}


FEE = {"fees": 25, "gateway_clearing:sandbox": -25}
WRITE_OFF = {"write_offs": 900, "receivable": -900}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, WRITE_OFF),
        ({"date": "2026-11-01"}, FEE),
        ({"date": "2026-11-01", "zone": "Europe/Berlin"}, {}),
        ({"date": "2026-11-02", "zone": "Europe/Berlin"}, FEE),
        ({"at": "2026-11-01T23:30:00Z"}, FEE),
        ({"at": "2026-11-01T23:29:59.999999Z"}, {}),
        ({"at": "2026-11-03T00:30:00+01:00"}, FEE | WRITE_OFF),
        ({"date": "2026-10-27", "by": "occurred"}, FEE | WRITE_OFF),
    ],
    ids=str,
)
async def test_balances_now_at_a_moment_and_at_the_end_of_a_day(
    api: Any, booked: Any, asked: dict[str, str], found: dict[str, int]
) -> None:
    """By either time, and by the days of any zone."""
    assert amounts(await api.get("/ledger/balances", **asked)) == found


async def test_days_are_the_merchants_own(api: Any, booked: Any, service: Any, merchants: tuple[str, str]) -> None:
    """Unless another zone is named."""
    async with service.database.connection() as connection:
        await connection.execute("UPDATE merchant SET timezone = 'Europe/Berlin' WHERE id = $1", merchants[0])

    assert amounts(await api.get("/ledger/balances", date="2026-11-01")) == {}
    assert amounts(await api.get("/ledger/balances", date="2026-11-01", zone="UTC")) == FEE


async def test_the_trial_balance_adds_up(api: Any, booked: Any) -> None:
    """Two columns, whose sums are equal."""
    answer = (await api.get("/ledger/trial-balance")).json()

    assert answer["balanced"] is True
    assert answer["totals"] == [{"currency": "EUR", "debit_minor": 900, "credit_minor": 900}]
    columns = {row["account"]: (row["debit_minor"], row["credit_minor"]) for row in answer["items"]}
    assert columns == {
        "fees": (0, 0), "gateway_clearing:sandbox": (0, 0), "receivable": (0, 900), "write_offs": (900, 0),
    }  # fmt: skip


async def test_entries_are_paged_newest_first(api: Any, booked: list[LedgerEntry]) -> None:
    """With their postings; the cursor of one order is none of the other."""
    first = (await api.get("/ledger/entries", limit=2)).json()
    second = (await api.get("/ledger/entries", limit=2, cursor=first["next_cursor"])).json()
    wrong = await api.get("/ledger/entries", by="occurred", cursor=first["next_cursor"])

    items = [*first["items"], *second["items"]]
    assert [UUID(item["id"]) for item in items] == [entry.id for entry in reversed(booked)]
    assert second["next_cursor"] is None
    assert items[0]["reverses"] == str(booked[0].id)
    assert items[2]["postings"] == [
        {"account": "fees", "amount_minor": 25, "currency": "EUR"},
        {"account": "gateway_clearing:sandbox", "amount_minor": -25, "currency": "EUR"},
    ]
    assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_cursor")


async def test_entries_are_filtered(api: Any, booked: list[LedgerEntry]) -> None:
    """By what they are about, what they are, where they post and when."""

    async def found(**asked: Any) -> list[int]:
        answer = await api.get("/ledger/entries", **asked)
        ids = [entry.id for entry in booked]
        return sorted(ids.index(UUID(item["id"])) for item in answer.json()["items"])

    assert await found(payment=str(booked[0].payment_id)) == [0, 1, 2]
    assert await found(payment=str(new_id())) == []
    assert await found(refund=str(new_id())) == []
    assert await found(kind="reversal") == [2]
    assert await found(account="gateway_clearing") == [0, 2]
    assert await found(account="write_offs") == [1]
    assert await found(since="2026-11-02T00:00:00Z", before="2026-11-03T00:00:00Z") == [1]


async def test_exports_are_files(api: Any, booked: list[LedgerEntry]) -> None:
    """CSV with a row for each posting, and plain text for beancount."""
    sheet = await api.get("/ledger/export/csv", **{"from": "2026-11-02", "until": "2026-11-02"})
    text = await api.get("/ledger/export/beancount")

    rows = list(csv.DictReader(io.StringIO(sheet.text)))
    assert [(row["account"], row["amount"]) for row in rows] == [("write_offs", "9.00"), ("receivable", "-9.00")]
    assert sheet.headers["content-type"].startswith("text/csv")
    assert sheet.headers["content-disposition"] == 'attachment; filename="ledger.csv"'
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text.count(' * "inv-1" ') == 3


async def test_the_chart_is_the_one_that_is_booked_by(api: Any) -> None:
    """Every account and every movement, each with its meaning."""
    chart = (await api.get("/ledger/accounts")).json()

    assert {account["name"]: account["meaning"] for account in chart["accounts"]} == {
        account.name: account.meaning for account in CHART.values()
    }
    assert [(each["name"], each["debit"], each["credit"]) for each in chart["movements"]] == [
        (movement.name, movement.debit, movement.credit) for movement in MOVEMENTS
    ]


@pytest.mark.parametrize("path", ["/ledger/balances", "/ledger/trial-balance", "/ledger/entries", "/ledger/export/csv"])
async def test_another_merchants_ledger_stays_theirs(other: Any, booked: Any, path: str) -> None:
    """Nothing of it is shown."""
    answer = await other.get(path)

    assert answer.status_code == 200
    assert "sandbox" not in answer.text
    assert "write_offs" not in answer.text


@pytest.mark.parametrize(
    ("path", "asked", "field"),
    [
        ("/ledger/balances", {"at": "2026-11-01T10:00:00Z", "date": "2026-11-01"}, "date"),
        ("/ledger/balances", {"at": "2026-11-01T10:00:00"}, "at"),
        ("/ledger/balances", {"at": "9999-12-31T23:59:59.999999Z"}, "at"),
        ("/ledger/balances", {"date": "9999-12-31"}, "date"),
        ("/ledger/balances", {"date": "2026-11-01", "zone": "Europe/Bern"}, "zone"),
        ("/ledger/balances", {"date": "2026-11-01", "zone": "../../etc/passwd"}, "zone"),
        ("/ledger/trial-balance", {"date": "0001-01-01"}, "date"),
        ("/ledger/entries", {"since": "2026-11-01T10:00:00"}, "since"),
        ("/ledger/entries", {"kind": "gift"}, "kind"),
        ("/ledger/export/csv", {"from": "0001-01-01"}, "from"),
        ("/ledger/export/beancount", {"zone": "nowhere"}, "zone"),
    ],
    ids=str,
)
async def test_what_can_not_be_meant_is_refused(api: Any, path: str, asked: dict[str, str], field: str) -> None:
    """Before anything is read, and the parameter at fault is named."""
    answer = await api.get(path, **asked)

    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_request", field)


async def test_a_viewer_may_read_and_nobody_else(client: Any, make_key: Any, api: Any, service: Any) -> None:
    """Every role reads the ledger; without a key there is nothing."""
    viewer = type(api)(client, await make_key("viewer"), service)
    nobody = type(api)(client, None, service)

    assert (await viewer.get("/ledger/balances")).status_code == 200
    assert (await nobody.get("/ledger/export/csv")).status_code == 401
