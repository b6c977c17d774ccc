"""The one place where a refund is decided on: facts are read, the policy asked, the answer stored and carried out.

A request, an edit, a submission and a dispute all come here. What is decided on again goes on under the next revision,
so that no approval given before counts for it (promise 8).
"""

from typing import Final

import asyncpg
import msgspec

from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.refund import UNSENT, PartEvent, RefundEvent
from recoup_core.flows.context import Context
from recoup_core.flows.refunds.approved import approve, take_back_approval
from recoup_core.flows.refunds.draft import RefundDraft
from recoup_core.flows.refunds.situation import Known, facts_of, read_known, situation_of
from recoup_core.flows.refunds.timers import EXPIRES_AFTER, put_timer
from recoup_core.rules.deciding.refund import (
    Approve,
    Deny,
    Incomplete,
    RefundDecision,
    RefundSituation,
    Review,
    decide_refund,
)
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import PolicyKind, RefundFacts
from recoup_core.storage.changes import StoredDecision
from recoup_core.storage.refunds import lock_bounds

_BY_AGE: Final = "within"
"""The one bound that other refunds say nothing about."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy answered, and everything to ask it once more."""

    policy_name: str
    policy_digest: str
    decision: RefundDecision
    facts: RefundFacts
    situation: RefundSituation


async def decide(context: Context, connection: asyncpg.Connection, draft: RefundDraft, *, hold: bool) -> RefundDecision:
    """Decide on a refund anew, under its next revision: what changed (a dispute, its evidence) may change the answer.

    Nothing of it may be in flight or paid. The parts stay as they are, unsent, until the answer says what becomes of
    them. Runs inside `context.policies.in_force`, which passes `hold`; may raise `PoliciesMoved`, `NoPolicyApplies`.
    """
    await reopen(connection, draft)
    judged = await judge(context, connection, draft, hold=hold)
    await carry_out(connection, draft, judged)
    return judged.decision


async def reopen(connection: asyncpg.Connection, draft: RefundDraft, **fields: object) -> None:
    """Begin the next revision, with what is changed in it: neither approvals nor a time to decide by remain."""
    await take_back_approval(connection, draft)
    draft.change(revision=draft.file.refund.revision + 1, level=0, **fields)


async def judge(
    context: Context, connection: asyncpg.Connection, draft: RefundDraft, *, hold: bool, binding: bool = True
) -> Judged:
    """Ask the policy, and write nothing.

    An approval within bounds that count other refunds is asked for again under the bounds' lock: nobody else approves
    for this merchant then until the transaction is over, so together no two go beyond a bound. What is not `binding`
    is only looked at, and keeps nobody waiting.
    """
    known = await read_known(connection, draft)
    merchant = draft.file.refund.merchant_id
    book = await context.policies.current(connection, merchant, known.history.policy_epoch, hold=hold)
    policy = book.choose(PolicyKind.REFUND, facts_of(draft, known))
    judged = _asked(policy, draft, known)
    if binding and isinstance(judged.decision.outcome, Approve) and _counts_others(judged.decision):
        await lock_bounds(connection, merchant)
        judged = _asked(policy, draft, await read_known(connection, draft))
    return judged


async def carry_out(connection: asyncpg.Connection, draft: RefundDraft, judged: Judged) -> None:
    """Store the decision and do what it says: approve, ask people, wait for evidence, or deny."""
    stored = _stored(draft, judged)
    draft.changes.add(stored)
    draft.change(
        policy_name=judged.policy_name,
        policy_digest=judged.policy_digest,
        decision_id=stored.id,
        levels=(),
        level=0,
        escalate_to=(),
        decide_by=None,
        escalated_at=None,
        expires_at=None,
        stop_reason=None,
    )
    match judged.decision.outcome:
        case Approve():
            await approve(connection, draft)
        case Review() as review:
            _review(draft, review)
        case Incomplete(missing=missing):
            _wait_for_evidence(draft, missing)
        case Deny(reason=reason):
            _deny(draft, reason)


def _asked(policy: CompiledPolicy, draft: RefundDraft, known: Known) -> Judged:
    facts, situation = facts_of(draft, known), situation_of(draft, known)
    return Judged(
        policy_name=policy.policy.name,
        policy_digest=policy.digest,
        decision=decide_refund(policy, facts, situation),
        facts=facts,
        situation=situation,
    )


def _counts_others(decision: RefundDecision) -> bool:
    return any(bound.bound != _BY_AGE for bound in decision.explanation.bounds)


def _stored(draft: RefundDraft, judged: Judged) -> StoredDecision:
    refund, decision = draft.file.refund, judged.decision
    return StoredDecision(
        id=new_id(),
        merchant_id=refund.merchant_id,
        refund_id=refund.id,
        kind=PolicyKind.REFUND,
        policy_digest=judged.policy_digest,
        rule=decision.rule,
        facts=msgspec.Raw(msgspec.json.encode(judged.facts)),
        situation=msgspec.Raw(msgspec.json.encode(judged.situation)),
        outcome=msgspec.Raw(msgspec.json.encode(decision.outcome)),
        explanation=msgspec.Raw(msgspec.json.encode(decision.explanation)),
        decided_at=draft.now,
    )


def _review(draft: RefundDraft, review: Review) -> None:
    draft.move(
        RefundEvent.REVIEW,
        levels=review.levels,
        open_roles=review.levels[0],
        escalate_to=review.escalate_to,
        decide_by=review.decide_by,
        expires_at=review.expires_at or draft.now + EXPIRES_AFTER,
        approved_at=None,
    )
    draft.tell(
        EventKind.REFUND_IN_REVIEW,
        revision=draft.file.refund.revision,
        levels=[list(level) for level in review.levels],
        roles=list(review.levels[0]),
        requested_by=draft.file.refund.requested_by,
    )
    put_timer(draft)


def _wait_for_evidence(draft: RefundDraft, missing: tuple[str, ...]) -> None:
    draft.move(RefundEvent.ASK_EVIDENCE, expires_at=draft.now + EXPIRES_AFTER, approved_at=None)
    draft.tell(EventKind.REFUND_INCOMPLETE, missing=list(missing), requested_by=draft.file.refund.requested_by)
    put_timer(draft)


def _deny(draft: RefundDraft, reason: str) -> None:
    """What was reserved is free again; what never was, because the request is new, is never written."""
    for part in draft.file.parts:
        if part.state in UNSENT:
            draft.move_part(part, PartEvent.CANCEL)
    draft.move(RefundEvent.DENY, stop_reason=reason, approved_at=None)
    draft.tell(EventKind.REFUND_DENIED, reason=reason, requested_by=draft.file.refund.requested_by)
    put_timer(draft)
