"""Records what became of parts: the answers of one batch share a transaction, as those of attempts do."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.refund import FailureCategory, PartState, RefundPart
from recoup_core.flows.context import Context
from recoup_core.flows.recorder import Gatherer
from recoup_core.flows.refunds.draft import LockedRefunds, RefundDraft, locked_refunds
from recoup_core.flows.refunds.outcomes import BALANCE_RETRIES, Known, Outcome, record_refund
from recoup_core.ports import Canceled, NotSent, Pending, Refunded, Refused, TakenBack
from recoup_core.rules.engine.texts import UnreadablePolicy
from recoup_core.storage.ledger import entries_of_part
from recoup_core.storage.lookups import policies_of_refunds

Waits = Mapping[UUID, Sequence[timedelta]]
"""By refund: the waits after which its policy tries a balance again."""


class RefundAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a part, and who says so."""

    refund_id: UUID
    part_id: UUID
    outcome: Outcome
    actor: str
    correlation_id: str | None = None


class RefundRecorder(Gatherer[RefundAnswer]):
    """Records what became of parts."""

    async def write_once(self, answers: list[RefundAnswer]) -> list[bool]:
        """Write answers in one transaction; return for each whether it changed anything."""
        short = {answer.refund_id for answer in answers if needs_waits(answer.outcome)}
        waits = await balance_waits(self._context, short)
        changed = []
        async with locked_refunds(self._context, {answer.refund_id for answer in answers}) as locked:
            for answer in answers:
                draft = locked.draft(answer.refund_id, answer.actor, answer.correlation_id)
                changed.append(draft is not None and await _record(self._context, locked, draft, answer, waits))
        return changed

    def name_of(self, answer: RefundAnswer) -> str:
        """Return the part's id."""
        return str(answer.part_id)


def needs_waits(outcome: Outcome) -> bool:
    """Whether the policy's waits decide what follows from an answer."""
    if not isinstance(outcome, Refused | TakenBack):
        return False
    return outcome.failure.category is FailureCategory.INSUFFICIENT_BALANCE


async def balance_waits(context: Context, refund_ids: Collection[UUID]) -> Waits:
    """Return the waits of these refunds' own policies. Not inside a transaction: a policy may have to be compiled.

    A refund whose policy gives none, or can't be read any more, is left out: the default holds.
    """
    if not refund_ids:
        return {}
    async with context.database.connection() as connection:
        digests = await policies_of_refunds(connection, refund_ids)
    missing = {digest for digest in digests.values() if context.policies.at_hand(digest) is None}
    read = await context.policies.pinned(missing) if missing else {}
    found: dict[UUID, Sequence[timedelta]] = {}
    for refund_id, digest in digests.items():
        policy = context.policies.at_hand(digest) or read.get(digest)
        if policy is None or isinstance(policy, UnreadablePolicy) or policy.policy.balance_retries is None:
            continue
        found[refund_id] = policy.policy.balance_retries
    return found


async def known_of(connection: asyncpg.Connection, draft: RefundDraft, part: RefundPart | None, waits: Waits) -> Known:
    """Read what an answer's recording needs besides the file; the caller holds the locks."""
    booked = await entries_of_part(connection, part.id) if part and part.state is PartState.SUCCEEDED else []
    retries = waits.get(draft.file.refund.id, BALANCE_RETRIES)
    return Known(booked=tuple(booked), balance_retries=retries)


def count_outcome(context: Context, draft: RefundDraft, part_id: UUID, outcome: Outcome) -> None:
    """Tell the measures how a part ended, by gateway and category."""
    part = draft.file.part(part_id)
    category = str(outcome.failure.category) if isinstance(outcome, Refused | TakenBack) else ""
    context.measures.refund_outcome(part.gateway or "" if part else "", _WORDS.get(type(outcome), "unknown"), category)


_WORDS: Mapping[type, str] = {
    Refunded: "refunded",
    Refused: "refused",
    Pending: "pending",
    NotSent: "not_sent",
    Canceled: "canceled",
    TakenBack: "taken_back",
}


async def _record(
    context: Context, locked: LockedRefunds, draft: RefundDraft, answer: RefundAnswer, waits: Waits
) -> bool:
    known = await known_of(locked.connection, draft, draft.file.part(answer.part_id), waits)
    changed = record_refund(draft, answer.part_id, answer.outcome, known)
    if changed:
        count_outcome(context, draft, answer.part_id, answer.outcome)
    return changed
