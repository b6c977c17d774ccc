"""The ledger read back: balances at any moment by either time, pages, streams; whatever is booked and taken back."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoup_core.domain.chart import DISPUTE_TAKEN, FEE_CHARGED, GOODWILL_TAX, WRITTEN_OFF, Movement
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import LedgerEntry, postings, reversal_of
from recoup_core.domain.money import Money
from recoup_core.storage import ledger
from recoup_core.storage.changes import Changes
from recoup_core.storage.ledger import (
    Balance,
    Basis,
    Place,
    entries_of_dispute,
    entries_of_part,
    list_entries,
    read_balances,
    stream_entries,
    time_of,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
FREE = (FEE_CHARGED, GOODWILL_TAX, WRITTEN_OFF, DISPUTE_TAKEN)
"""Movements that the database lets stand without a capture, a part or a dispute."""


def an_entry(payment: Any, movement: Movement, amount: Money, at: datetime, **fields: Any) -> LedgerEntry:
    return LedgerEntry(
        **{
            "id": new_id(),
            "merchant_id": payment.merchant_id,
            "kind": movement.kind,
            "payment_id": payment.id,
            "postings": postings(movement, amount, fields.pop("gateway", "sandbox")),
            "occurred_at": at,
            "created_at": at,
            **fields,
        }
    )


def expected(
    entries: Sequence[LedgerEntry], merchant_id: str, before: datetime, basis: Basis
) -> dict[tuple[str, str], int]:
    """The balances, worked out from the entries one by one; those that come to nothing included."""
    sums: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        if entry.merchant_id == merchant_id and time_of(entry, basis) < before:
            for posting in entry.postings:
                sums[posting.account, posting.currency] += posting.amount_minor
    return dict(sums)


def by_account(balances: Sequence[Balance]) -> dict[tuple[str, str], int]:
    return {(each.account, each.currency): each.balance_minor for each in balances}


bookings = st.lists(
    st.tuples(
        st.sampled_from(FREE),
        st.integers(1, 10**15),
        st.sampled_from(["EUR", "USD", "JPY", "KWD"]),
        st.sampled_from(["stripe", "adyen"]),
        st.integers(0, 40),  # hours until it moved
        st.integers(0, 40),  # hours until it was booked
        st.booleans(),  # whether it is taken back
        st.booleans(),  # whether it is the other merchant's
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=bookings, hours=st.integers(0, 50), basis=st.sampled_from(Basis))
async def test_every_balance_is_what_its_entries_come_to(
    shelf: Any, records: Any, plan: Any, hours: int, basis: Basis
) -> None:
    """At any moment, by either time, for one merchant alone; and all of them together come to nothing."""
    merchant = f"m-{new_id()}"
    await shelf.sql(f"INSERT INTO merchant VALUES ('{merchant}', 'x', NULL, now())")
    payments = [records.payment(merchant_id=merchant), records.payment(merchant_id="other", reference=merchant)]
    entries = []
    for movement, amount, currency, gateway, occurred, booked, back, others in plan:
        at = {"occurred_at": START + occurred * HOUR, "created_at": START + booked * HOUR}
        entry = an_entry(payments[others], movement, Money(amount, currency), START, gateway=gateway, **at)
        entries.append(entry)
        if back:
            entries.append(reversal_of(entry=entry, at=at["created_at"] + HOUR))
    await shelf.write(*payments, *entries)
    before = START + hours * HOUR

    balances = await read_balances(shelf.database, merchant, before, basis)

    assert by_account(balances) == expected(entries, merchant, before, basis)
    for currency in {each.currency for each in balances}:
        assert sum(each.balance_minor for each in balances if each.currency == currency) == 0
    assert all(each.debited_minor >= 0 and each.credited_minor >= 0 for each in balances)


async def test_balances_without_a_moment_are_those_of_now(shelf: Any, records: Any) -> None:
    """Everything counts, and what was taken back stands in both columns."""
    payment = records.payment()
    entry = an_entry(payment, FEE_CHARGED, Money(25, "EUR"), START)
    await shelf.write(payment, entry, reversal_of(entry=entry, at=START))

    fees = next(each for each in await read_balances(shelf.database, "default", None) if each.account == "fees")

    assert (fees.debited_minor, fees.credited_minor, fees.balance_minor) == (25, 25, 0)


async def booked(shelf: Any, records: Any, count: int) -> tuple[Any, list[LedgerEntry]]:
    """Entries of one payment, an hour apart; they occurred in the opposite order."""
    payment = records.payment()
    entries = [
        an_entry(
            payment,
            FREE[number % len(FREE)],
            Money(number + 1, "EUR"),
            START,
            gateway="stripe" if number % 2 else "adyen",
            created_at=START + number * HOUR,
            occurred_at=START - number * HOUR,
        )
        for number in range(count)
    ]
    await shelf.write(payment, *entries)
    return payment, entries


async def all_pages(database: Any, filters: Any, limit: int, **more: Any) -> list[UUID]:
    found: list[UUID] = []
    after: Place | None = None
    while True:
        page = await list_entries(database, "default", filters, after, limit, **more)
        found += [entry.id for entry in page.entries]
        if page.after is None:
            return found
        after = page.after


@pytest.mark.parametrize("basis", Basis)
async def test_pages_join_without_gap_or_overlap(shelf: Any, records: Any, basis: Basis) -> None:
    """Newest first by the time that is asked for."""
    _, entries = await booked(shelf, records, 7)

    found = await all_pages(shelf.database, {}, 3, basis=basis)

    newest_first = sorted(entries, key=lambda entry: time_of(entry, basis), reverse=True)
    assert found == [entry.id for entry in newest_first]


async def test_entries_of_one_moment_are_paged_too(shelf: Any, records: Any) -> None:
    """What one transaction books has one time."""
    payment = records.payment()
    entries = [an_entry(payment, FEE_CHARGED, Money(n, "EUR"), START) for n in range(1, 6)]
    await shelf.write(payment, *entries)

    found = await all_pages(shelf.database, {}, 2)

    assert found == sorted((entry.id for entry in entries), reverse=True)


async def test_filters_narrow_the_list(shelf: Any, records: Any) -> None:
    """By payment, time, kind and account; a gateway's account by its name, those of all gateways by the family's."""
    payment, entries = await booked(shelf, records, 8)
    stranger = records.payment()
    other = an_entry(stranger, FEE_CHARGED, Money(1, "EUR"), START + 20 * HOUR)
    await shelf.write(stranger, other)
    of_stripe = [e.id for e in entries if any(p.account == "gateway_clearing:stripe" for p in e.postings)]
    cleared = [e.id for e in entries if any(p.account.startswith("gateway_clearing") for p in e.postings)]

    async def found(filters: Any, **more: Any) -> list[UUID]:
        return (await all_pages(shelf.database, filters, 100, **more))[::-1]

    ids = [entry.id for entry in entries]
    assert await found({"payment": payment.id}) == ids
    assert await found({"since": START + 2 * HOUR, "before": START + 5 * HOUR}) == ids[2:5]
    assert await found({"payment": payment.id}, kind="fee") == ids[0::4]
    assert await found({"payment": payment.id}, account="gateway_clearing") == cleared
    assert await found({"payment": payment.id}, account="gateway_clearing:stripe") == of_stripe
    assert await found({"payment": payment.id}, account="gateway_clearing:str") == []
    assert await found({"payment": new_id()}) == []


async def test_another_merchants_entries_are_not_listed(shelf: Any, records: Any) -> None:
    """Not even where their payment is named."""
    payment = records.payment(merchant_id="other")
    await shelf.write(payment, an_entry(payment, FEE_CHARGED, Money(1, "EUR"), START))

    assert await all_pages(shelf.database, {"payment": payment.id}, 10) == []


async def test_a_page_gives_up_scanning_and_goes_on(shelf: Any, records: Any) -> None:
    """One fitting entry far back is found by following the cursor, each page looking at so many and no more."""
    payment = records.payment()
    oldest = an_entry(payment, WRITTEN_OFF, Money(9, "EUR"), START - HOUR)
    changes = Changes()
    changes.add(*(an_entry(payment, FEE_CHARGED, Money(1, "EUR"), START) for _ in range(ledger.ENTRIES_SCANNED)))
    await shelf.write(payment, oldest, changes=changes)

    first = await list_entries(shelf.database, "default", {}, None, 10, kind="write_off")
    second = await list_entries(shelf.database, "default", {}, first.after, 10, kind="write_off")

    assert (first.entries, second.entries, second.after) == ([], [oldest], None)


async def test_a_stream_gives_every_entry_of_its_time_once(shelf: Any, records: Any) -> None:
    """Oldest first, the end excluded, beyond one page, with the payment's reference."""
    payment = records.payment()
    at = [START + timedelta(seconds=n // 3) for n in range(ledger.STREAM_PAGE + 10)]
    entries = [an_entry(payment, FEE_CHARGED, Money(1, "EUR"), each) for each in at]
    late = an_entry(payment, FEE_CHARGED, Money(1, "EUR"), START + HOUR)
    await shelf.write(payment, *entries, late)

    since, before = START + timedelta(seconds=1), START + HOUR
    found = [entry async for entry in stream_entries(shelf.database, "default", since, before)]

    wanted = sorted((e for e in entries if e.created_at >= since), key=lambda e: (e.created_at, e.id))
    assert [entry.id for entry in found] == [entry.id for entry in wanted]
    assert {entry.reference for entry in found} == {payment.reference}
    assert found[0].postings == entries[3].postings


async def test_what_stands_is_what_was_not_taken_back(shelf: Any, records: Any) -> None:
    """A dispute's entries, oldest turn first, without those that a reversal names and without reversals."""
    payment = records.payment()
    case = records.case(payment)
    attempt = records.attempt(case, "succeeded")
    capture = records.capture(attempt)
    dispute = new_id()
    first, second = (
        an_entry(payment, DISPUTE_TAKEN, Money(500, "EUR"), START, dispute_id=dispute, turn=turn) for turn in (1, 2)
    )
    fee = an_entry(payment, FEE_CHARGED, Money(5, "EUR"), START, dispute_id=dispute, turn=2)
    await shelf.write(payment, case, attempt, capture)
    await shelf.sql(
        "INSERT INTO dispute (id, merchant_id, payment_id, capture_id, gateway, gateway_ref, amount_minor, currency,"
        f" state, turns, opened_at) VALUES ('{dispute}', 'default', '{payment.id}', '{capture.id}', 'sandbox', 'dp',"
        " 500, 'EUR', 'open', 2, now())"
    )
    await shelf.write(first, reversal_of(entry=first, at=START), second, fee)

    async with shelf.database.connection() as connection:
        of_dispute = await entries_of_dispute(connection, dispute)
        of_part = await entries_of_part(connection, new_id())

    assert of_dispute == sorted([second, fee], key=lambda entry: entry.id)
    assert of_part == []
