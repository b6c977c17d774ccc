"""A shop with refunds in any state, people who may decide on them, and a policy of two levels."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from recoup_core.domain.approval import Verdict
from recoup_core.domain.capture import Capture
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import Customer, Method, Payment, PaymentState
from recoup_core.domain.refund import (
    UNDECIDED,
    Destination,
    PartState,
    Refund,
    RefundPart,
    RefundState,
)
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.approvals import decide_refund
from recoup_core.flows.refunds.draft import REFUND_TIMER, locked_refunds
from recoup_core.flows.refunds.timers import run_timers
from recoup_core.rules.engine.compile import compile_policy
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.schema import parse_policy
from recoup_core.storage.calls import Call
from recoup_core.storage.changes import Changes, JobRef, StoredDecision
from recoup_core.storage.merchants import Role, mint_key, revoke_key

POLICY = """
kind: refund
name: levels
applies_to: {purpose: refund}
rules:
  - {name: lost is lost, when: {dispute: lost}, deny: disputed}
  - {name: the bank has it, when: {dispute: open}, review: {levels: [[finance]], within: 1d}}
  - name: two people
    review: {levels: [[support_lead, team_lead], [finance]], within: 2d, escalate_to: [director], expires: 14d}
examples:
  - {given: {dispute: lost}, expect: lost is lost}
  - {given: {dispute: open}, expect: the bank has it}
  - {given: {}, expect: two people}
"""
DIGEST = compile_policy(parse_policy(POLICY, source="levels.yaml")).digest

OVER = {
    RefundState.SUCCEEDED,
    RefundState.DENIED,
    RefundState.REJECTED,
    RefundState.EXPIRED,
    RefundState.CANCELED,
}
PAID = {RefundState.APPROVED, RefundState.SUCCEEDED, RefundState.FAILED}


class Desk:
    """Where refunds wait, and who sits there."""

    digest = DIGEST

    def __init__(self, shop: Any) -> None:
        self.shop = shop
        self.context = shop.context
        self.clock = shop.clock
        self._count = 0

    # -- what there is

    async def write(self, *rows: Any) -> None:
        """Write rows as flows do."""
        changes = Changes()
        changes.add(*rows)
        async with self.context.database.transaction() as connection:
            await changes.write(connection)

    async def paid(self, amount_minor: int = 10_000) -> tuple[Payment, Capture]:
        """A payment that the sandbox collected."""
        self._count += 1
        now = self.clock.now()
        payment = Payment(
            id=new_id(),
            merchant_id="default",
            reference=f"order-{self._count}",
            customer=Customer(ref=f"cus-{self._count}", country="DE"),
            amount_minor=amount_minor,
            currency="EUR",
            captured_minor=amount_minor,
            gateway="sandbox",
            method=Method.CARD,
            state=PaymentState.PAID,
            paid_at=now,
            created_at=now,
        )
        capture = Capture(
            id=new_id(),
            merchant_id="default",
            payment_id=payment.id,
            gateway="sandbox",
            gateway_ref=f"sbx_{self._count}",
            method=Method.CARD,
            amount_minor=amount_minor,
            currency="EUR",
            captured_at=now,
            created_at=now,
        )
        await self.write(payment, capture)
        return payment, capture

    async def refund(self, state: RefundState = RefundState.IN_REVIEW, **fields: Any) -> Refund:
        """A refund of 40.00 EUR that ana has asked for, with a decision and what it reserves."""
        payment, capture = await self.paid()
        now = self.clock.now()
        refund_id, decision_id = new_id(), new_id()
        refund = Refund(
            **{
                "id": refund_id,
                "merchant_id": "default",
                "payment_id": payment.id,
                "customer_ref": payment.customer.ref,
                "amount_minor": 4_000,
                "currency": "EUR",
                "reason": "damaged",
                "requested_by": "ana",
                "touched_by": ("ana",),
                "state": state,
                "policy_name": "levels",
                "policy_digest": DIGEST,
                "decision_id": decision_id,
                "levels": (("support_lead", "team_lead"), ("finance",)),
                "open_roles": ("support_lead", "team_lead") if state is RefundState.IN_REVIEW else (),
                "escalate_to": ("director",),
                "decide_by": now + timedelta(days=2),
                "expires_at": now + timedelta(days=14),
                "created_at": now,
                "approved_at": now if state in PAID else None,
                "finished_at": now if state in OVER else None,
                **fields,
            }
        )
        answer = "approve" if state in PAID else "review"
        decision = StoredDecision(
            id=decision_id,
            merchant_id="default",
            refund_id=refund_id,
            kind=PolicyKind.REFUND,
            policy_digest=DIGEST,
            rule="two people",
            facts=msgspec.Raw(b"{}"),
            situation=msgspec.Raw(b"{}"),
            outcome=msgspec.Raw(msgspec.json.encode({"type": answer})),
            explanation=msgspec.Raw(b"{}"),
            decided_at=now,
        )
        part_id = new_id()
        part = RefundPart(
            id=part_id,
            merchant_id="default",
            refund_id=refund_id,
            payment_id=payment.id,
            capture_id=capture.id,
            number=1,
            revision=refund.revision,
            destination=Destination.ORIGINAL_METHOD,
            gateway="sandbox",
            amount_minor=refund.amount_minor,
            currency="EUR",
            idempotency_key=f"recoup-{part_id}",
            state=PartState.SCHEDULED if state is RefundState.APPROVED else PartState.RESERVED,
            created_at=now,
        )
        holds = state in UNDECIDED or state is RefundState.APPROVED
        await self.write(refund, decision, *([part] if holds else []))
        return refund

    async def dispute(self, refund: Refund, state: DisputeState, amount_minor: int = 10_000) -> None:
        """The customer goes to their bank, and nobody decides anew."""
        (row,) = await self.rows("SELECT id FROM capture WHERE payment_id = $1", refund.payment_id)
        self._count += 1
        now = self.clock.now()
        await self.write(
            Dispute(
                id=new_id(),
                merchant_id="default",
                payment_id=refund.payment_id,
                capture_id=row["id"],
                gateway="sandbox",
                gateway_ref=f"dp_{self._count}",
                amount_minor=amount_minor,
                currency="EUR",
                state=state,
                opened_at=now,
                closed_at=now if state is DisputeState.LOST else None,
            )
        )

    # -- who there is

    def by(self, person: str, *approves: str, key: str | None = None, request: bytes = b"", **fields: Any) -> By:
        """Somebody with a key for these approval roles."""
        call = None if key is None else Call(key, request)
        return By(
            **{
                "merchant_id": "default",
                "actor": f"key:{person}",
                "principal": person,
                "approves": approves,
                "call": call,
                **fields,
            }
        )

    async def hire(self, person: str, *approves: str, **fields: Any) -> UUID:
        """Give a person a key for these approval roles."""
        minted = await mint_key(
            self.context.database,
            "default",
            person,
            [Role.VIEWER],
            self.clock.now(),
            actor="test",
            approves=approves,
            **fields,
        )
        return minted.key.id

    async def dismiss(self, key_id: UUID) -> None:
        """Take a key back."""
        await revoke_key(self.context.database, "default", key_id, self.clock.now(), actor="test")

    # -- what they do, and what became of it

    async def say(self, refund: Refund, by: By, verdict: Verdict = Verdict.APPROVE, **fields: Any) -> RefundFile:
        """Decide on a refund as it is now."""
        if "if_match" not in fields:
            fields["if_match"] = (await self.file(refund)).refund.version
        given = {"comment": "looked at it", **fields}
        return await decide_refund(self.context, refund.id, by, verdict, **given)

    async def file(self, refund: Refund) -> RefundFile:
        """The refund as it is stored."""
        async with locked_refunds(self.context, [refund.id]) as locked:
            draft = locked.draft(refund.id, "test", None)
            assert draft is not None
            return draft.file

    async def held(self, refund: Refund) -> int:
        """What refunds hold of the payment's capture."""
        (row,) = await self.rows("SELECT held_minor FROM capture WHERE payment_id = $1", refund.payment_id)
        held: int = row["held_minor"]
        return held

    async def events(self, refund: Refund) -> list[str]:
        """The kinds of what happened to a refund, in order."""
        rows = await self.rows("SELECT kind FROM event WHERE refund_id = $1 ORDER BY id", refund.id)
        return [row["kind"] for row in rows]

    async def told(self, refund: Refund, kind: str) -> dict[str, Any]:
        """What the last event of a kind says."""
        rows = await self.rows(
            "SELECT actor, data::text FROM event WHERE refund_id = $1 AND kind = $2 ORDER BY id", refund.id, kind
        )
        return {"actor": rows[-1]["actor"], **msgspec.json.decode(rows[-1]["data"])}

    async def timer_due(self, refund: Refund) -> datetime | None:
        """When the refund's timer goes off."""
        rows = await self.rows("SELECT due_at FROM job WHERE kind = $1 AND subject_id = $2", REFUND_TIMER, refund.id)
        return rows[0]["due_at"] if rows else None

    async def ring(self, *refunds: Refund) -> None:
        """Let timers go off, due or not, whoever holds them."""
        await run_timers(self.context, [JobRef(0, REFUND_TIMER, refund.id, 0) for refund in refunds])

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        """Ask the database directly."""
        found: list[Any] = await self.shop.rows(sql, *values)
        return found


@pytest.fixture
def desk_of() -> Callable[[Any], Desk]:
    """`desk_of(shop)`: the desk of a shop under policies of the test's own."""
    return Desk


@pytest.fixture
async def desk(shop_under: Callable[..., Awaitable[Any]]) -> Desk:
    """The desk of a shop whose refunds take two people."""
    return Desk(await shop_under(POLICY))
