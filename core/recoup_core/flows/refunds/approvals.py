"""People decide on refunds: one level after the other, one refund or many, whichever way they come.

The API, a bulk, a console and the command line all call `decide_refund`; whoever may decide is told in `people`.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.approval import Approval, Verdict
from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.dispute import FREEZES
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.refund import (
    UNSENT,
    RefundEvent,
    RefundPart,
    RefundState,
)
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.approved import approve
from recoup_core.flows.refunds.deciding import decide
from recoup_core.flows.refunds.draft import LockedRefunds, RefundDraft
from recoup_core.flows.refunds.people import in_person, seat_of
from recoup_core.flows.refunds.refusals import RefundExceedsRefundable, RefundInvalid, RefundNotOpen
from recoup_core.flows.refunds.timers import close_unpaid, open_roles, put_timer
from recoup_core.flows.refunds.working import found, require_version, run
from recoup_core.storage.approvals import decided_dispute, lent_to, open_call
from recoup_core.storage.calls import Call

COMMENT_MAX: Final = 1_000
"""Characters in which an approver says why; the database's own limit."""

BULK_MOST: Final = 100
"""Refunds of one bulk decision."""

BULK: Final = "bulk"
"""The channel of approvals that were given many at once."""

_DONE: Final = {Verdict.APPROVE: "approved", Verdict.REJECT: "rejected", Verdict.SEND_BACK: "sent back"}


class BulkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One refund of a bulk decision, as it was when it was read."""

    refund_id: UUID
    if_match: int


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one refund of a bulk decision: its file, or why it was refused."""

    refund_id: UUID
    ok: bool
    file: RefundFile | None = None
    problem: DomainError | None = None


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says about one refund at one version."""

    verdict: Verdict
    comment: str | None
    if_match: int
    channel: str


async def decide_refund(
    context: Context,
    refund_id: UUID,
    by: By,
    verdict: Verdict,
    comment: str | None,
    if_match: int,
    *,
    channel: str | None = None,
) -> RefundFile:
    """Approve the open level, reject the refund or send it back; the last level's approval sends the money.

    Where the payment has come under a dispute that the policy didn't know of, an approval counts for nothing: the
    policy decides anew, and the file that comes back shows what it says. Raises `NotFound`, `RefundNotOpen`,
    `VersionConflict`, `FourEyes`, `NotYourLevel`, `RefundExceedsRefundable`, `RefundInvalid`, `CardNumberRefused`,
    `IdempotencyKeyReused` and `PoliciesUnusable`.
    """
    comment = _checked(verdict, comment)
    by = in_person(by)
    said = _Said(verdict=verdict, comment=comment, if_match=if_match, channel=channel or str(by.channel))

    async def act(locked: LockedRefunds, hold: bool) -> RefundFile:
        draft = found(locked, refund_id, by)
        approval = await _seated(locked.connection, draft, by, said)
        if verdict is not Verdict.APPROVE:
            _refuse(draft, approval)
        elif await _under_new_dispute(locked.connection, draft):
            await decide(context, locked.connection, draft, hold=hold)
        else:
            await _approve(locked.connection, draft, approval)
        return draft.file

    return await run(context, by, act, refunds=[refund_id])


async def decide_many(
    context: Context, items: Sequence[BulkItem], by: By, verdict: Verdict, comment: str | None
) -> list[BulkResult]:
    """Say the same about many refunds, each in a transaction of its own: one that is refused holds up no other.

    The same call again gets the same answers and does what an interruption left undone: each item has an idempotency
    key made from the call's. Raises, before anything is done, `RefundInvalid`, `CardNumberRefused` and
    `IdempotencyKeyReused`.
    """
    _check_items(items)
    _checked(verdict, comment)
    own = in_person(by)
    if own.call is not None:
        async with context.database.transaction() as connection:
            await open_call(connection, own.merchant_id, own.call, context.clock.now())
    return [await _one_of_many(context, item, by, verdict, comment) for item in items]


async def _one_of_many(context: Context, item: BulkItem, by: By, verdict: Verdict, comment: str | None) -> BulkResult:
    own = msgspec.structs.replace(by, call=by.call and _call_of(by.call, item))
    try:
        file = await decide_refund(context, item.refund_id, own, verdict, comment, item.if_match, channel=BULK)
    except DomainError as refusal:
        return BulkResult(refund_id=item.refund_id, ok=False, problem=refusal)
    return BulkResult(refund_id=item.refund_id, ok=True, file=file)


def _call_of(call: Call, item: BulkItem) -> Call:
    """Return the item's own call; its key is no longer than a key may be, whatever the length of the bulk's."""
    key = sha256(f"{call.key}\n{item.refund_id}".encode()).hexdigest()
    return Call(f"bulk-{key}", b"\n".join([call.request, msgspec.json.encode(item)]))


def _check_items(items: Sequence[BulkItem]) -> None:
    if not 0 < len(items) <= BULK_MOST:
        raise RefundInvalid("items", f"must be 1 to {BULK_MOST} refunds")
    if len({item.refund_id for item in items}) < len(items):
        raise RefundInvalid("items", "names a refund twice")


def _checked(verdict: Verdict, comment: str | None) -> str | None:
    """Return the comment as it is kept; whoever doesn't approve says why."""
    kept = (comment or "").strip() or None
    if kept is None and verdict is not Verdict.APPROVE:
        raise RefundInvalid("comment", f"must say why the refund is {_DONE[verdict]}")
    if kept is not None and (len(kept) > COMMENT_MAX or "\x00" in kept):
        raise RefundInvalid("comment", f"must be at most {COMMENT_MAX} characters of text")
    refuse_card_numbers(kept, "comment")
    return kept


async def _seated(connection: asyncpg.Connection, draft: RefundDraft, by: By, said: _Said) -> Approval:
    """Return what is said as it will be kept, if it may be said now and by this person."""
    refund = draft.file.refund
    if refund.state is not RefundState.IN_REVIEW:
        raise RefundNotOpen(refund.state, _DONE[said.verdict])
    if refund.expires_at is not None and refund.expires_at <= draft.now:  # its timer is late: it is over all the same
        raise RefundNotOpen(RefundState.EXPIRED, _DONE[said.verdict])
    require_version(refund, said.if_match)
    lent = await lent_to(connection, by.merchant_id, by.principal, draft.now)
    seat = seat_of(refund, draft.file.approvals, person=by.principal, own=by.approves, lent=lent, now=draft.now)
    return Approval(
        id=new_id(),
        merchant_id=refund.merchant_id,
        refund_id=refund.id,
        revision=refund.revision,
        level=refund.level,
        role=seat.role,
        principal=by.principal,
        on_behalf_of=seat.on_behalf_of,
        verdict=said.verdict,
        comment=said.comment,
        channel=said.channel,
        decided_at=draft.now,
    )


async def _under_new_dispute(connection: asyncpg.Connection, draft: RefundDraft) -> bool:
    """Whether a payment of it is under a dispute, or lost in one, that the last decision didn't know of."""
    payments = {part.payment_id for part in _unsent(draft)}
    standing = {draft.accounts[payment_id].dispute_state for payment_id in payments} & FREEZES
    if not standing:
        return False
    return await decided_dispute(connection, draft.file.refund.decision_id) not in standing


async def _approve(connection: asyncpg.Connection, draft: RefundDraft, approval: Approval) -> None:
    """Count the level; behind the last one the refund is approved."""
    _refuse_over(draft)
    draft.add_approval(approval)
    refund = draft.file.refund
    level = refund.level + 1
    draft.tell(EventKind.REFUND_LEVEL_APPROVED, levels=len(refund.levels), **_told(approval))
    if level < len(refund.levels):
        draft.change(level=level, open_roles=open_roles(refund, level))
    else:
        draft.change(level=level)
        await approve(connection, draft)
    put_timer(draft)


def _refuse_over(draft: RefundDraft) -> None:
    """Refuse what can't be paid any more: another channel has refunded meanwhile, or a dispute holds the money."""
    over = 0
    for part in _unsent(draft):
        capture = draft.accounts[part.payment_id].capture(part.capture_id)
        if capture is not None:
            over += min(capture.over_minor, part.amount_minor)
    if over:
        asked = draft.file.refund.amount
        raise RefundExceedsRefundable(asked, Money(max(0, asked.amount_minor - over), asked.currency))


def _unsent(draft: RefundDraft) -> list[RefundPart]:
    """Return the parts that an approval sends; those of an earlier revision stay where only facts have changed."""
    return [part for part in draft.file.parts if part.state in UNSENT]


def _refuse(draft: RefundDraft, approval: Approval) -> None:
    """Reject the refund, or send it back to whoever asked; what is sent back stays reserved."""
    draft.add_approval(approval)
    told = _told(approval)
    if approval.verdict is Verdict.REJECT:
        because = approval.comment or approval.verdict
        close_unpaid(draft, RefundEvent.REJECT, because, EventKind.REFUND_REJECTED, **told)
        return
    draft.move(RefundEvent.SEND_BACK)
    draft.tell(EventKind.REFUND_SENT_BACK, requested_by=draft.file.refund.requested_by, **told)
    put_timer(draft)


def _told(approval: Approval) -> dict[str, object]:
    """Return what events say about a verdict."""
    return {
        "level": approval.level + 1,
        "role": approval.role,
        "principal": approval.principal,
        "on_behalf_of": approval.on_behalf_of,
        "comment": approval.comment,
        "channel": approval.channel,
    }
