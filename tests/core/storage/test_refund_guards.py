"""The database itself refuses what would break the promises about refunds, whoever writes the SQL."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from recoup_core.domain.approval import Approval, Verdict
from recoup_core.domain.capture import Capture, CaptureState, LineKind, PaymentLine
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import EntryKind, LedgerEntry, Posting, capture_entry
from recoup_core.domain.payment import Customer, Method, Payment, PaymentState
from recoup_core.domain.refund import (
    Channel,
    Destination,
    FailureCategory,
    PartState,
    Refund,
    RefundFailure,
    RefundLine,
    RefundPart,
    RefundState,
)
from recoup_core.rules.facts import PolicyKind
from recoup_core.storage.changes import Changes, StoredDecision
from recoup_core.storage.engine import Database

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
NOTHING = msgspec.Raw(b"{}")
REFUSED = (asyncpg.IntegrityConstraintViolationError, asyncpg.CheckViolationError)


class Books:
    """One payment of 100.00 EUR that the sandbox captured, and ways to ask for refunds of it."""

    def __init__(self, database: Database, digest: str) -> None:
        self.database = database
        self.digest = digest
        self.payment = Payment(
            id=new_id(),
            merchant_id="default",
            reference=f"inv-{new_id().hex[-8:]}",
            customer=Customer(ref="cus-1"),
            amount_minor=10_000,
            currency="EUR",
            captured_minor=10_000,
            gateway="sandbox",
            method=Method.CARD,
            state=PaymentState.PAID,
            paid_at=NOW,
            created_at=NOW,
        )
        self.capture = Capture(
            id=new_id(),
            merchant_id="default",
            payment_id=self.payment.id,
            gateway="sandbox",
            gateway_ref="sbx_a",
            method=Method.CARD,
            amount_minor=10_000,
            currency="EUR",
            state=CaptureState.CAPTURED,
            captured_at=NOW,
            created_at=NOW,
        )
        self.line = PaymentLine(
            id=new_id(),
            merchant_id="default",
            payment_id=self.payment.id,
            number=1,
            ref="shirt",
            kind=LineKind.ITEM,
            quantity=4,
            amount_minor=10_000,
            tax_minor=1_597,
        )

    def refund(self, state: RefundState = RefundState.IN_REVIEW, **fields: Any) -> Refund:
        review = state is RefundState.IN_REVIEW
        closed = state in (RefundState.SUCCEEDED, RefundState.DENIED, RefundState.CANCELED)
        return Refund(
            **{
                "id": new_id(),
                "merchant_id": "default",
                "payment_id": self.payment.id,
                "customer_ref": "cus-1",
                "amount_minor": 4_000,
                "currency": "EUR",
                "reason": "requested_by_customer",
                "requested_by": "ana",
                "touched_by": ("ana",),
                "state": state,
                "levels": (("support_lead",), ("finance",)),
                "open_roles": ("support_lead",) if review else (),
                "created_at": NOW,
                "approved_at": NOW if state is RefundState.APPROVED else None,
                "finished_at": NOW if closed else None,
                **fields,
            }
        )

    def part(self, refund: Refund, state: PartState = PartState.RESERVED, **fields: Any) -> RefundPart:
        part_id = new_id()
        return RefundPart(
            **{
                "id": part_id,
                "merchant_id": "default",
                "refund_id": refund.id,
                "payment_id": self.payment.id,
                "capture_id": self.capture.id,
                "number": 1,
                "revision": 1,
                "destination": Destination.ORIGINAL_METHOD,
                "gateway": "sandbox",
                "amount_minor": refund.amount_minor,
                "currency": "EUR",
                "idempotency_key": f"recoup-{part_id}",
                "state": state,
                "created_at": NOW,
                **fields,
            }
        )

    def decision(self, refund: Refund, answer: str = "review") -> tuple[Refund, StoredDecision]:
        decision = StoredDecision(
            id=new_id(),
            merchant_id="default",
            refund_id=refund.id,
            kind=PolicyKind.REFUND,
            policy_digest=self.digest,
            rule="two approvers",
            facts=NOTHING,
            situation=NOTHING,
            outcome=msgspec.Raw(msgspec.json.encode({"type": answer})),
            explanation=NOTHING,
            decided_at=NOW,
        )
        return msgspec.structs.replace(refund, decision_id=decision.id), decision

    def approval(self, refund: Refund, person: str, level: int = 0, **fields: Any) -> Approval:
        return Approval(
            **{
                "id": new_id(),
                "merchant_id": "default",
                "refund_id": refund.id,
                "revision": refund.revision,
                "level": level,
                "role": ("support_lead", "finance")[level],
                "principal": person,
                "verdict": Verdict.APPROVE,
                "channel": "api",
                "decided_at": NOW,
                **fields,
            }
        )

    async def write(self, *rows: Any) -> None:
        changes = Changes()
        changes.add(*rows)
        async with self.database.transaction() as connection:
            await changes.write(connection)

    async def ask(self, amount_minor: int = 4_000, **fields: Any) -> tuple[Refund, RefundPart]:
        refund, decision = self.decision(self.refund(amount_minor=amount_minor, **fields))
        part = self.part(refund)
        await self.write(refund, decision, part)
        return refund, part

    async def sql(self, text: str, *values: Any) -> Any:
        async with self.database.transaction() as connection:
            return await connection.fetchval(text, *values)

    async def held(self) -> int:
        held: int = await self.sql("SELECT held_minor FROM capture WHERE id = $1", self.capture.id)
        return held


@pytest.fixture
async def books(shelf: Any, records: Any) -> AsyncIterator[Books]:
    found = Books(shelf.database, records.digest)
    await found.write(found.payment, found.capture, found.line)
    return found


async def test_every_part_that_holds_counts_against_its_capture(books: Books) -> None:
    """Promise 4: what was only asked for counts already, and what was released does not."""
    _, part = await books.ask(4_000)
    asked = await books.held()

    await books.sql("UPDATE refund_part SET state = 'canceled', finished_at = now() WHERE id = $1", part.id)

    assert (asked, await books.held()) == (4_000, 0)


@pytest.mark.parametrize("second", [6_001, 10_000])
async def test_asking_for_more_than_is_left_is_refused(books: Books, second: int) -> None:
    """The CHECK holds without any code of ours."""
    await books.ask(4_000)

    with pytest.raises(asyncpg.CheckViolationError, match="exceeds refundable"):
        await books.ask(second)

    assert await books.held() == 4_000


async def test_exactly_what_is_left_can_be_asked_for(books: Books) -> None:
    """The bound is exact, to the minor unit."""
    await books.ask(4_000)
    await books.ask(6_000)

    with pytest.raises(asyncpg.CheckViolationError):
        await books.ask(1)

    assert await books.held() == 10_000


async def test_disputed_money_is_not_left(books: Books) -> None:
    """A dispute freezes its amount, and a won one frees it again."""
    dispute = Dispute(
        id=new_id(),
        merchant_id="default",
        payment_id=books.payment.id,
        capture_id=books.capture.id,
        gateway="sandbox",
        gateway_ref="dp_a",
        amount_minor=7_000,
        currency="EUR",
        state=DisputeState.OPEN,
        opened_at=NOW,
    )
    await books.write(dispute)
    with pytest.raises(asyncpg.CheckViolationError):
        await books.ask(4_000)

    await books.sql("UPDATE dispute SET state = 'won', closed_at = now() WHERE id = $1", dispute.id)

    await books.ask(4_000)
    assert await books.held() == 4_000


@pytest.mark.parametrize("column", ["held_minor", "disputed_minor", "over_minor"])
async def test_nobody_sets_a_counter(books: Books, column: str) -> None:
    """The counters follow refunds and disputes; neither an update nor an insert can set them."""
    await books.ask(4_000)

    with pytest.raises(REFUSED):
        await books.sql(f"UPDATE capture SET {column} = 1 WHERE id = $1", books.capture.id)
    with pytest.raises(REFUSED):
        await books.sql(
            "INSERT INTO capture (id, merchant_id, payment_id, gateway, method, amount_minor, currency, state,"
            f" captured_at, created_at, {column})"
            " VALUES ($1, 'default', $2, 'sandbox', 'card', 5, 'EUR', 'captured', now(), now(), 1)",
            new_id(),
            books.payment.id,
        )


async def test_a_part_begins_unsent(books: Books) -> None:
    """A row that says "succeeded" out of nothing would be a refund nobody sent."""
    refund, decision = books.decision(books.refund())
    part = books.part(refund, PartState.SUCCEEDED, successes=1, finished_at=NOW)

    with pytest.raises(REFUSED, match="begins unsent"):
        await books.write(refund, decision, part)


async def test_a_part_can_not_go_over_another_payments_capture(books: Books) -> None:
    """Money of one customer never pays another."""
    other = Books(books.database, books.digest)
    await other.write(other.payment, other.capture)
    refund, decision = books.decision(books.refund())

    with pytest.raises(REFUSED, match="capture of its payment"):
        await books.write(refund, decision, books.part(refund, capture_id=other.capture.id))


async def test_no_part_leaves_before_its_refund_is_approved(books: Books) -> None:
    """Neither scheduled nor sent while people still decide."""
    _, part = await books.ask()

    with pytest.raises(REFUSED, match="before it is approved"):
        await books.sql("UPDATE refund_part SET state = 'scheduled' WHERE id = $1", part.id)


async def test_nobody_approves_a_refund_by_writing_so(books: Books) -> None:
    """Approved is what a policy, or all levels of people, said to this very revision."""
    refund, _ = await books.ask()

    with pytest.raises(REFUSED, match="neither policy nor people"):
        await books.sql(
            "UPDATE refund SET state = 'approved', open_roles = '{}', approved_at = now(), version = 2 WHERE id = $1",
            refund.id,
        )


async def test_one_level_of_two_is_not_enough(books: Books) -> None:
    """All levels of the revision count, not any."""
    refund, _ = await books.ask()
    await books.write(books.approval(refund, "ben"))

    with pytest.raises(REFUSED, match="neither policy nor people"):
        await books.sql(
            "UPDATE refund SET state = 'approved', open_roles = '{}', approved_at = now(), version = 2 WHERE id = $1",
            refund.id,
        )


async def test_a_policys_own_approval_is_enough_and_its_denial_is_not(books: Books) -> None:
    """What the decision's row says is what counts."""
    approved, yes = books.decision(books.refund(RefundState.APPROVED), "approve")
    denied, no = books.decision(books.refund(RefundState.APPROVED), "deny")

    await books.write(approved, yes)

    with pytest.raises(REFUSED, match="neither policy nor people"):
        await books.write(denied, no)


@pytest.mark.parametrize("fields", [{"principal": "ana"}, {"principal": "ben", "on_behalf_of": "ana"}])
async def test_whoever_touched_a_refund_can_not_approve_it(books: Books, fields: dict[str, str]) -> None:
    """Promise 8, in person and through a delegation."""
    refund, _ = await books.ask()

    with pytest.raises(REFUSED, match="touched"):
        await books.write(books.approval(refund, "nobody", **fields))


@pytest.mark.parametrize("second", [{"principal": "ben"}, {"principal": "eve", "on_behalf_of": "ben"}])
async def test_each_level_takes_another_person(books: Books, second: dict[str, str]) -> None:
    """Two signatures of one person are one."""
    refund, _ = await books.ask()
    await books.write(books.approval(refund, "ben"))

    with pytest.raises(REFUSED, match="another person"):
        await books.write(books.approval(refund, "", level=1, **second))


async def test_an_approval_is_for_the_present_revision(books: Books) -> None:
    """What was approved is what is there, not what was there before an edit."""
    refund, _ = await books.ask()

    with pytest.raises(REFUSED, match="present revision"):
        await books.write(books.approval(refund, "ben", revision=2))


@pytest.mark.parametrize(
    "change",
    [
        "version = 2, amount_minor = 1",
        "version = 2, destination = 'store_credit'",
        "version = 2, reason = 'other'",
        "version = 2, currency = 'USD'",
        "version = 2, customer_ref = 'cus-2'",
        "version = 2, requested_by = 'eve', touched_by = '{eve,ana}'",
        "version = 2, touched_by = '{ana,eve}', requested_by = 'eve'",
        "version = 2, revision = 3",
        "version = 2, revision = 2, level = 1",
        "version = 1",
    ],
)
async def test_an_edit_can_not_slip_past_its_approvals(books: Books, change: str) -> None:
    """Content changes with the revision only, and who touched it stays known."""
    refund, _ = await books.ask()

    with pytest.raises(REFUSED):
        await books.sql(f"UPDATE refund SET {change} WHERE id = $1", refund.id)


async def test_who_touched_it_is_never_forgotten(books: Books) -> None:
    """A name can be added to those who touched a refund, and none taken away."""
    refund, _ = await books.ask()
    await books.sql("UPDATE refund SET version = 2, touched_by = '{ana,ben}' WHERE id = $1", refund.id)

    with pytest.raises(REFUSED):
        await books.sql("UPDATE refund SET version = 3, touched_by = '{ana}' WHERE id = $1", refund.id)


@pytest.mark.parametrize(
    "change",
    [
        "amount_minor = 1",
        "currency = 'USD'",
        "idempotency_key = 'other'",
        "gateway = 'stripe'",
        "capture_id = NULL",
        "sends = -1",
        "tax_minor = 1",
    ],
)
async def test_what_a_part_sends_is_never_edited(books: Books, change: str) -> None:
    """The same key always comes with the same request; a reserved part can't have succeeded."""
    _, part = await books.ask()

    with pytest.raises((*REFUSED, asyncpg.PostgresError)):
        await books.sql(f"UPDATE refund_part SET {change} WHERE id = $1", part.id)

    assert await books.held() == 4_000


@pytest.mark.parametrize(
    "table",
    ["refund", "refund_part", "refund_line", "refund_approval", "capture", "payment_line", "dispute", "delegation"],
)
async def test_nothing_about_refunds_is_deleted(books: Books, table: str) -> None:
    """The audit trail and the books would name what is gone."""
    refund, decision = books.decision(books.refund())
    line = books_line(books, refund)
    await books.write(refund, decision, line, books.part(refund), books.approval(refund, "ben"))
    await books.write(_a_dispute(books))
    await books.sql(
        "INSERT INTO delegation"
        " VALUES ($1, 'default', 'a', 'b', '{finance}', now(), now() + interval '1 day', 'a', now())",
        new_id(),
    )

    with pytest.raises(REFUSED):
        await books.sql(f"DELETE FROM {table}")


async def test_lines_can_not_be_refunded_twice(books: Books) -> None:
    """Pieces, money and tax of a line are counted one by one."""
    first, yes = books.decision(books.refund())
    await books.write(first, yes, books_line(books, first, quantity=3, amount_minor=4_000))
    second, again = books.decision(books.refund())

    with pytest.raises(asyncpg.CheckViolationError):
        await books.write(second, again, books_line(books, second, quantity=2, amount_minor=4_000))

    left = await books.sql("SELECT quantity - held_quantity FROM payment_line WHERE id = $1", books.line.id)
    assert left == 1


async def test_a_released_line_is_free_again(books: Books) -> None:
    """Who was denied, or edited, holds nothing."""
    refund, decision = books.decision(books.refund())
    line = books_line(books, refund, quantity=4, amount_minor=10_000)
    await books.write(refund, decision, line)

    await books.sql("UPDATE refund_line SET holds = false WHERE id = $1", line.id)

    counters = await books.sql(
        "SELECT (held_quantity, held_minor, held_tax_minor) FROM payment_line WHERE id = $1", books.line.id
    )
    assert tuple(counters) == (0, 0, 0)


async def test_goodwill_never_exceeds_what_it_is_given_for(books: Books) -> None:
    """Store credit that no capture stands behind has a bound of its own."""
    for amount in (6_000, 4_000):
        refund, decision = books.decision(books.refund(purpose="goodwill", amount_minor=amount))
        await books.write(refund, decision, _credit(books, refund))
    refund, decision = books.decision(books.refund(purpose="goodwill", amount_minor=1))

    with pytest.raises(asyncpg.CheckViolationError, match="goodwill"):
        await books.write(refund, decision, _credit(books, refund))


async def test_a_late_success_is_booked_even_where_it_exceeds_the_capture(books: Books) -> None:
    """Facts are never refused: what a gateway did is counted, and the excess stands in plain sight."""
    approved, decision = books.decision(books.refund(RefundState.APPROVED), "approve")
    part = books.part(approved, PartState.SCHEDULED)
    await books.write(approved, decision, part)
    await books.sql(
        "UPDATE refund_part SET state = 'failed', failure = $2, finished_at = now() WHERE id = $1",
        part.id,
        msgspec.json.encode(RefundFailure(category=FailureCategory.REFUSED, code="x")).decode(),
    )
    await books.ask(10_000)

    await books.sql("UPDATE refund_part SET state = 'succeeded', successes = 1 WHERE id = $1", part.id)

    over = await books.sql("SELECT over_minor FROM capture WHERE id = $1", books.capture.id)
    assert (await books.held(), over) == (14_000, 4_000)


async def test_a_posting_can_not_be_added_to_an_old_entry(books: Books) -> None:
    """Not even a balanced pair: an entry has the lines that it was written with."""
    entry = _capture_entry(books)
    await books.write(entry)

    with pytest.raises(REFUSED, match="not balanced"):
        await books.sql(
            "INSERT INTO ledger_posting VALUES ($1, 3, 'refunds', 5, 'EUR'), ($1, 4, 'receivable', -5, 'EUR')", entry.id
        )


@pytest.mark.parametrize("amounts", [(9_999, -9_999), (-10_000, 10_001)])
async def test_a_reversal_takes_back_exactly_what_it_names(books: Books, amounts: tuple[int, int]) -> None:
    """Corrections are reversals, to the cent, and each entry is taken back once."""
    entry = _capture_entry(books)
    await books.write(entry)

    with pytest.raises(REFUSED):
        await books.sql(
            "WITH e AS (INSERT INTO ledger_entry (id, merchant_id, kind, payment_id, reverses, occurred_at, created_at)"
            " VALUES ($1, 'default', 'reversal', $2, $3, now(), now()))"
            " INSERT INTO ledger_posting VALUES ($1, 1, 'gateway_clearing:sandbox', $4, 'EUR'),"
            " ($1, 2, 'receivable', $5, 'EUR')",
            new_id(),
            books.payment.id,
            entry.id,
            *amounts,
        )


async def test_an_entry_is_reversed_once(books: Books) -> None:
    """A second reversal would invent money."""
    entry = _capture_entry(books)
    await books.write(entry)
    await books.write(_reversal(books, entry.id))

    with pytest.raises(asyncpg.UniqueViolationError):
        await books.write(_reversal(books, entry.id))


def books_line(books: Books, refund: Refund, quantity: int = 1, amount_minor: int = 2_500) -> RefundLine:
    return RefundLine(
        id=new_id(),
        merchant_id="default",
        refund_id=refund.id,
        payment_line_id=books.line.id,
        revision=1,
        quantity=quantity,
        amount_minor=amount_minor,
        tax_minor=0,
    )


def _credit(books: Books, refund: Refund) -> RefundPart:
    return books.part(refund, capture_id=None, gateway=None, idempotency_key=None, destination=Destination.STORE_CREDIT)


def _a_dispute(books: Books) -> Dispute:
    return Dispute(
        id=new_id(),
        merchant_id="default",
        payment_id=books.payment.id,
        capture_id=books.capture.id,
        gateway="sandbox",
        gateway_ref="dp_b",
        amount_minor=100,
        currency="EUR",
        state=DisputeState.INQUIRY,
        opened_at=NOW,
    )


def _capture_entry(books: Books) -> LedgerEntry:
    return capture_entry(
        entry_id=new_id(),
        merchant_id="default",
        payment_id=books.payment.id,
        attempt_id=None,
        capture_id=books.capture.id,
        gateway="sandbox",
        amount_minor=10_000,
        currency="EUR",
        at=NOW,
    )


def _reversal(books: Books, entry_id: UUID) -> LedgerEntry:
    return LedgerEntry(
        id=new_id(),
        merchant_id="default",
        kind=EntryKind.REVERSAL,
        payment_id=books.payment.id,
        reverses=entry_id,
        postings=(Posting("gateway_clearing:sandbox", -10_000, "EUR"), Posting("receivable", 10_000, "EUR")),
        occurred_at=NOW,
        created_at=NOW,
    )


async def test_nothing_is_sent_for_a_refund_that_others_made(books: Books) -> None:
    """It stands as approved because it happened, not because anybody here has said yes."""
    told = books.refund(RefundState.APPROVED, channel=Channel.REPORTED, levels=())
    await books.write(told)

    with pytest.raises(REFUSED, match="before it is approved"):
        await books.write(books.part(told, PartState.SCHEDULED))
