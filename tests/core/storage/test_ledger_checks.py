"""`verify_ledger`: a whole ledger passes, and of a spoilt one the first row that does not fit is named."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from recoup_core.domain.capture import Capture, PaymentLine
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import dispute_entries, entry_of_capture, refund_entries, reversal_of, write_off_entry
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.domain.refund import (
    Channel,
    Destination,
    PartState,
    Purpose,
    Refund,
    RefundLine,
    RefundPart,
    RefundState,
)
from recoup_core.storage.ledger_checks import CHECKS, LedgerFault, verify_ledger

SUCCEEDED: dict[str, Any] = {"state": PartState.SUCCEEDED, "successes": 1}


class World:
    """A payment of 100.00 EUR in two lines, of which 40.00 went back, 10.00 are disputed, 5.00 are goodwill as store
    credit; and a debt of 19.99 that was written off."""

    def __init__(self, records: Any) -> None:
        self.now = records.now
        self.payment = records.payment(
            amount_minor=10_000, captured_minor=10_000, state=PaymentState.PAID, paid_at=records.now
        )
        self.capture = Capture(
            id=new_id(),
            merchant_id="default",
            payment_id=self.payment.id,
            gateway="sandbox",
            gateway_ref="sbx_1",
            method=Method.CARD,
            amount_minor=10_000,
            currency="EUR",
            captured_at=self.now,
            created_at=self.now,
        )
        self.line, self.shipping = self._line(1, 9_500), self._line(2, 500)
        self.refund, self.goodwill = self._refund(4_000), self._refund(500, purpose=Purpose.GOODWILL)
        self.part = self._part(self.refund, capture_id=self.capture.id, gateway="sandbox", tax_minor=639)
        self.credit = self._part(self.goodwill, destination=Destination.STORE_CREDIT)
        self.refund_line = RefundLine(
            id=new_id(),
            merchant_id="default",
            refund_id=self.refund.id,
            payment_line_id=self.line.id,
            revision=1,
            quantity=1,
            amount_minor=4_000,
            tax_minor=639,
        )
        self.dispute = Dispute(
            id=new_id(),
            merchant_id="default",
            payment_id=self.payment.id,
            capture_id=self.capture.id,
            gateway="sandbox",
            gateway_ref="dp_1",
            amount_minor=1_000,
            currency="EUR",
            state=DisputeState.OPEN,
            turns=1,
            opened_at=self.now,
        )
        self.debt = records.payment(state=PaymentState.CLOSED)
        self.case = records.case(self.debt, state=CaseState.WRITTEN_OFF)
        self.captured = entry_of_capture(self.capture, at=self.now)
        self.refunded, self.tax, self.fee = refund_entries(
            part=self.part, refund=self.refund, fee=Money(25, "EUR"), at=self.now
        )
        (self.credited,) = refund_entries(part=self.credit, refund=self.goodwill, at=self.now)
        (self.taken,) = dispute_entries(dispute=self.dispute, booked=[], at=self.now)
        self.written_off = write_off_entry(payment=self.debt, case_id=self.case.id, at=self.now)

    def _line(self, number: int, amount_minor: int) -> PaymentLine:
        return PaymentLine(
            id=new_id(),
            merchant_id="default",
            payment_id=self.payment.id,
            number=number,
            ref=f"line-{number}",
            quantity=2,
            amount_minor=amount_minor,
            tax_minor=amount_minor // 6,
        )

    def _refund(self, amount_minor: int, **fields: Any) -> Refund:
        return Refund(
            id=new_id(),
            merchant_id="default",
            payment_id=self.payment.id,
            customer_ref="cus-1",
            amount_minor=amount_minor,
            currency="EUR",
            reason="reported",
            channel=Channel.REPORTED,
            requested_by="gateway:sandbox",
            touched_by=("gateway:sandbox",),
            state=RefundState.SUCCEEDED,
            refunded_minor=amount_minor,
            created_at=self.now,
            approved_at=self.now,
            finished_at=self.now,
            **fields,
        )

    def _part(self, refund: Refund, **fields: Any) -> RefundPart:
        return RefundPart(
            **{
                "id": new_id(),
                "merchant_id": "default",
                "refund_id": refund.id,
                "payment_id": self.payment.id,
                "number": 1,
                "revision": 1,
                "destination": Destination.ORIGINAL_METHOD,
                "amount_minor": refund.amount_minor,
                "currency": "EUR",
                "created_at": self.now,
                "finished_at": self.now,
                **SUCCEEDED,
                **fields,
            }
        )

    def rows(self) -> list[Any]:
        return [
            *(self.payment, self.capture, self.line, self.shipping, self.refund, self.goodwill, self.part, self.credit),
            *(self.refund_line, self.dispute, self.debt, self.case),
            *(self.captured, self.refunded, self.tax, self.fee, self.credited, self.taken, self.written_off),
        ]

    def id_of(self, name: str) -> UUID:
        found: UUID = getattr(self, name).id
        return found


@pytest.fixture
async def world(shelf: Any, records: Any) -> World:
    """The rows, written as flows write them."""
    world = World(records)
    await shelf.write(*world.rows())
    return world


async def fault_after(shelf: Any, world: World, *statements: str) -> LedgerFault | None:
    """Spoil the books with all rights, triggers switched off, and return what the verification says."""
    ids = {name: row.id for name, row in vars(world).items() if hasattr(row, "id")}
    await shelf.by_hand(*(statement.format(**ids) for statement in statements))
    return (await verify_ledger(shelf.database)).fault


async def test_whole_books_pass(shelf: Any, world: World) -> None:
    """And it is told how much was looked at."""
    result = await verify_ledger(shelf.database)

    assert result.fault is None
    assert result.rows == {
        "ledger_entry": 7, "ledger_posting": 7, "capture": 1, "payment": 2, "payment_line": 2, "refund": 2,
        "refund_part": 2, "dispute": 1, "settlement_line": 0, "settlement_report": 0,
    }  # fmt: skip


async def test_empty_books_pass(shelf: Any) -> None:
    """A fresh installation."""
    assert (await verify_ledger(shelf.database)).fault is None


POSTED = "UPDATE ledger_posting SET amount_minor = amount_minor"
REVERSAL = (
    "INSERT INTO ledger_entry (id, merchant_id, kind, payment_id, reverses, occurred_at, created_at)"
    " VALUES ('{debt}', 'default', 'reversal', '{payment}', '{fee}', now(), now())"
)
SPOILT: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "a posting altered": ((POSTED + " + 1 WHERE entry_id = '{fee}' AND line = 1",), "balance", "ledger_entry", "fee"),
    "a posting removed": (
        ("DELETE FROM ledger_posting WHERE entry_id = '{fee}' AND line = 1",), "lines", "ledger_entry", "fee"),
    "a balanced pair slipped in": (
        ("INSERT INTO ledger_posting VALUES ('{tax}', 3, 'fees', 5, 'EUR'), ('{tax}', 4, 'tax', -5, 'EUR')",),
        "lines", "ledger_entry", "tax"),
    "an entry deleted, its postings left": (
        ("DELETE FROM ledger_entry WHERE id = '{fee}'",), "entry", "ledger_posting", "fee"),
    "a reversal of another amount": (
        (REVERSAL, "INSERT INTO ledger_posting VALUES ('{debt}', 1, 'fees', -24, 'EUR'),"
         " ('{debt}', 2, 'gateway_clearing:sandbox', 24, 'EUR')"), "reversal", "ledger_entry", "debt"),
    "a capture booked too low": ((POSTED + " / 2 WHERE entry_id = '{captured}'",), "booked", "capture", "capture"),
    "a capture that was never booked": (
        ("DELETE FROM ledger_posting WHERE entry_id = '{captured}'",
         "DELETE FROM ledger_entry WHERE id = '{captured}'"), "booked", "capture", "capture"),
    "held money let go": (("UPDATE capture SET held_minor = 0",), "counters", "capture", "capture"),
    "disputed money let go": (("UPDATE capture SET disputed_minor = 0",), "counters", "capture", "capture"),
    "room beyond a capture": (("UPDATE capture SET over_minor = 50000",), "counters", "capture", "capture"),
    "a payment that came to more": (
        ("UPDATE payment SET captured_minor = 10001 WHERE id = '{payment}'",), "captured", "payment", "payment"),
    "goodwill forgotten": (("UPDATE payment SET goodwill_minor = 0",), "goodwill", "payment", "payment"),
    "a line made dearer": (
        ("UPDATE payment_line SET amount_minor = 501 WHERE id = '{shipping}'",), "lines", "payment", "payment"),
    "a write-off made smaller": ((POSTED + " / 2 WHERE entry_id = '{written_off}'",), "write_off", "payment", "debt"),
    "a debt that was not given up": (
        ("UPDATE recovery_case SET state = 'canceled' WHERE id = '{case}'",), "write_off", "payment", "debt"),
    "a line let go": (
        ("UPDATE payment_line SET held_quantity = 0 WHERE id = '{line}'",), "counters", "payment_line", "line"),
    "a line's tax let go": (
        ("UPDATE payment_line SET held_tax_minor = 0 WHERE id = '{line}'",), "counters", "payment_line", "line"),
    "a refund that says less": (
        ("UPDATE refund SET refunded_minor = 1 WHERE id = '{refund}'",), "refunded", "refund", "refund"),
    "a refund whose lines say less": (
        ("UPDATE refund_line SET amount_minor = 3999",
         "UPDATE refund SET channel = 'api', decision_id = gen_random_uuid() WHERE id = '{refund}'",
         "UPDATE payment_line SET held_minor = 3999 WHERE id = '{line}'"), "lines", "refund", "refund"),
    "a refund booked too low": ((POSTED + " / 2 WHERE entry_id = '{refunded}'",), "booked", "refund_part", "part"),
    "a refund booked at another gateway": (
        ("UPDATE ledger_posting SET account = 'gateway_clearing:other' WHERE entry_id = '{refunded}' AND line = 2",),
        "booked", "refund_part", "part"),
    "a refund's tax booked too low": ((POSTED + " / 2 WHERE entry_id = '{tax}'",), "booked", "refund_part", "part"),
    "store credit booked too low": (
        (POSTED + " / 2 WHERE entry_id = '{credited}'",), "booked", "refund_part", "credit"),
    "a dispute booked too low": ((POSTED + " / 2 WHERE entry_id = '{taken}'",), "booked", "dispute", "dispute"),
    "a dispute that was lost all the same": (
        ("UPDATE dispute SET state = 'lost', closed_at = now()",), "booked", "dispute", "dispute"),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
async def test_the_first_row_that_does_not_fit_is_named(shelf: Any, world: World, what: str) -> None:
    """Whoever altered it, triggers switched off: the check, the table and the row."""
    statements, check, table, row = SPOILT[what]

    fault = await fault_after(shelf, world, *statements)

    assert fault is not None
    assert (fault.check, fault.table, fault.id) == (check, table, world.id_of(row))


def test_every_check_has_its_culprit() -> None:
    """A check that nothing above trips over could be wrong unseen; those of settlement have theirs beside its flows
    (tests/core/flows/settlement/test_guards.py)."""
    here = {(c.name, c.table) for c in CHECKS if not c.table.startswith("settlement")}
    assert {(check, table) for _, check, table, _ in SPOILT.values()} == here


async def test_a_refund_taken_back_fits_too(shelf: Any, world: World) -> None:
    """What was reversed no longer counts; the tax goes with it, the fee stays."""
    await shelf.write(reversal_of(entry=world.refunded, at=world.now), reversal_of(entry=world.tax, at=world.now))
    await shelf.by_hand(
        f"UPDATE refund_part SET state = 'taken_back', failure = '{{}}' WHERE id = '{world.part.id}'",
        f"UPDATE refund SET refunded_minor = 0 WHERE id = '{world.refund.id}'",
        "UPDATE capture SET held_minor = 0",
        "UPDATE refund_line SET holds = false",
        "UPDATE payment_line SET held_quantity = 0, held_minor = 0, held_tax_minor = 0",
    )

    assert (await verify_ledger(shelf.database)).fault is None


async def test_pages_of_one_row_see_the_same(shelf: Any, world: World) -> None:
    """The last row is looked at like the first."""
    whole = await verify_ledger(shelf.database, page=1)

    last = max(world.line.id, world.shipping.id)
    await shelf.by_hand(f"UPDATE payment_line SET held_quantity = held_quantity + 1 WHERE id = '{last}'")
    fault = (await verify_ledger(shelf.database, page=1)).fault

    assert (whole.fault, whole.rows["ledger_entry"], whole.rows["payment_line"]) == (None, 7, 2)
    assert fault is not None
    assert fault.id == last


@pytest.mark.parametrize("table", ["ledger_entry", "ledger_posting"])
@pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0} CASCADE"])
async def test_the_database_keeps_what_is_booked(shelf: Any, world: World, table: str, statement: str) -> None:
    """Neither edited, deleted nor emptied, by whatever SQL."""
    column = "kind" if table == "ledger_entry" else "account"

    refusal = await shelf.refused(statement.format(table, column))

    assert isinstance(refusal, asyncpg.IntegrityConstraintViolationError)
    assert "append-only" in str(refusal)
    assert await shelf.one(f"SELECT count(*) FROM {table}") > 0


@pytest.mark.parametrize("reversed_entry", ["fee", "captured"])
async def test_a_reversal_is_not_reversed(shelf: Any, world: World, reversed_entry: str) -> None:
    """What was taken back by mistake is booked anew, so that a chain of reversals never has to be followed."""
    back = reversal_of(entry=getattr(world, reversed_entry), at=world.now)
    await shelf.write(back)

    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="does not take back"):
        await shelf.write(reversal_of(entry=back, at=world.now))
