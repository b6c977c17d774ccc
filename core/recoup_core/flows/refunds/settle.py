"""Parts that nobody knows about, or that are pending: ask the gateway, re-send where that is safe, else ask a person.

Runs as a job per part, so it survives everything; the webhook that tells the answer first simply ends it. Never blindly
again: past the life of its key a part is only looked up.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.errors import IllegalTransition
from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.refund import FailureCategory, PartState, RefundFailure, RefundPart
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.context import Context
from recoup_core.flows.draft import SYSTEM
from recoup_core.flows.guard import Unknown, find_refund_guarded
from recoup_core.flows.operate import HUMAN_EVIDENCE, By, NotFound
from recoup_core.flows.outcomes import MAX_SENDS
from recoup_core.flows.refunds.draft import SETTLE_REFUND, RefundDraft, locked_refunds
from recoup_core.flows.refunds.guards import capture_of, freezing_dispute, over_minor
from recoup_core.flows.refunds.outcomes import lose, record_refund
from recoup_core.flows.refunds.recorder import RefundAnswer, RefundRecorder, count_outcome, known_of
from recoup_core.flows.refunds.sending import SendRefund, refund_request, resubmit, send_refund
from recoup_core.flows.settle import AGED_LOOK, HURRY_EVERY, KEY_MARGIN, UNKNOWN_AGE, may_hurry, next_look, resend_at
from recoup_core.ports import (
    FoundRefund,
    Gateway,
    Pending,
    Refunded,
    RefundRequest,
    Refused,
)
from recoup_core.ports import (
    NotFound as RefundNotFound,
)
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import JobRef
from recoup_core.storage.jobs import hurry_jobs
from recoup_core.storage.refunds import refunds_of_parts

PENDING_REFUND_AGE: Final = timedelta(days=30)
"""A refund pending for longer is put before a person. Gateways give "up to 10 business days" (docs.stripe.com/refunds)
and, for some methods, up to 40 (docs.adyen.com/online-payments/refund); the look-ups go on meanwhile and after."""

PENDING_LOOK: Final = timedelta(days=1)
"""Wait between look-ups of a pending refund: its webhook tells the result long before."""


class Search(msgspec.Struct, frozen=True):
    """A part whose answer is to be found out."""

    refund_id: UUID
    gateway: str
    request: RefundRequest
    pending: bool


class PartResolution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person found out about a part nobody could settle."""

    outcome: Literal["succeeded", "failed", "never_arrived"]
    evidence: str
    gateway_ref: str | None = None


async def run_settle_refunds(context: Context, refs: Sequence[JobRef]) -> None:
    """Settle parts, each in its own right."""
    searches = await _open_searches(context, refs)
    recorder = RefundRecorder(context)
    works = (_settle(context, recorder, search, ref) for search, ref in searches)
    await asyncio.gather(*works, return_exceptions=True)  # what failed comes back with its lease's end


async def hurry_refund(context: Context, parts: Iterable[RefundPart]) -> None:
    """Have parts that somebody is looking at right now, and whose outcome is open, looked up at once; no gateway is
    asked here, and each is hurried at most once in `HURRY_EVERY`."""
    now = context.clock.now()
    open_ones = (part for part in parts if part.state in (PartState.UNKNOWN, PartState.PENDING))
    waiting = [part.id for part in open_ones if may_hurry(part.last_sent_at, now)]
    if waiting:
        async with context.database.connection() as connection:
            await hurry_jobs(connection, SETTLE_REFUND, waiting, now, HURRY_EVERY)


async def resolve_part(context: Context, part_id: UUID, by: By, resolution: PartResolution) -> RefundFile:
    """Settle by hand, with evidence, a part that no look-up could tell of; the same call returns its first answer.

    Raises `NotFound`, `CardNumberRefused`, `IdempotencyKeyReused`, and `IllegalTransition` where the part is neither
    unknown nor pending, or a pending one (the gateway took it) is said never to have arrived.
    """
    refuse_card_numbers(resolution.evidence, "evidence")
    async with context.database.connection() as connection:
        refund_id = (await refunds_of_parts(connection, [part_id])).get(part_id)
    if refund_id is None:
        raise NotFound("refund part", part_id)
    async with locked_refunds(context, [refund_id]) as locked:
        draft = locked.draft(refund_id, by.actor, by.correlation_id)
        if draft is None or draft.file.refund.merchant_id != by.merchant_id:
            raise NotFound("refund part", part_id)
        answered = None if by.call is None else await recall(locked.connection, by.merchant_id, by.call)
        if answered is not None:
            return msgspec.json.decode(answered, type=RefundFile)
        part = draft.file.part(part_id)
        assert part is not None  # its refund was found by it
        outcome = _by_hand(part, resolution)
        draft.tell(
            EventKind.REFUND_RESOLVED, part=str(part_id), outcome=resolution.outcome, evidence=resolution.evidence
        )
        known = await known_of(locked.connection, draft, part, {})
        record_refund(draft, part_id, outcome, known)
        count_outcome(context, draft, part_id, outcome)
        if by.call is not None:
            draft.changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(draft.file), locked.now))
        return draft.file


def _by_hand(part: RefundPart, resolution: PartResolution) -> Refunded | Refused:
    settles = {PartState.UNKNOWN} if resolution.outcome == "never_arrived" else {PartState.UNKNOWN, PartState.PENDING}
    if part.state not in settles:
        raise IllegalTransition("refund part", part.state, f"resolve as {resolution.outcome}")
    if resolution.outcome == "succeeded":
        ref = resolution.gateway_ref or part.gateway_ref or f"by-hand-{part.id}"
        return Refunded(gateway_ref=ref, amount=part.amount)
    code = "never_arrived" if resolution.outcome == "never_arrived" else "resolved_by_hand"
    failure = RefundFailure(category=FailureCategory.UNKNOWN, code=code, message=resolution.evidence[:HUMAN_EVIDENCE])
    return Refused(failure=failure, gateway_ref=resolution.gateway_ref)


async def _open_searches(context: Context, refs: Sequence[JobRef]) -> list[tuple[Search, JobRef]]:
    """Read what is to be settled; a sender that died is noticed here."""
    async with context.database.connection() as connection:
        refunds = await refunds_of_parts(connection, [ref.subject_id for ref in refs])
    searches: list[tuple[Search, JobRef]] = []
    async with locked_refunds(context, set(refunds.values())) as locked:
        for ref in refs:
            refund_id = refunds.get(ref.subject_id)
            draft = locked.draft(refund_id, SYSTEM, ref.correlation_id) if refund_id else None
            search = _search(draft, ref) if draft else None
            if search is not None:
                searches.append((search, ref))
            elif draft is None:
                locked.changes.finish(ref)
    return searches


def _search(draft: RefundDraft, ref: JobRef) -> Search | None:
    part = draft.file.part(ref.subject_id)
    assert part is not None  # its refund was found by it
    if part.state is PartState.SUBMITTED:
        if part.claim < ref.claim:
            lose(draft, part, "the worker that sent it never came back")
        return None  # else its sender is at work
    if part.state not in (PartState.UNKNOWN, PartState.PENDING) or part.gateway is None:
        draft.changes.finish(ref)
        return None
    return Search(draft.file.refund.id, part.gateway, refund_request(draft, part), part.state is PartState.PENDING)


async def _settle(context: Context, recorder: RefundRecorder, search: Search, ref: JobRef) -> None:
    gateway = context.gateways.get(search.gateway)
    found = await _find(context, gateway, search)
    told = not isinstance(found, RefundNotFound | Unknown)
    if told and not (search.pending and isinstance(found, Pending)):
        assert not isinstance(found, RefundNotFound)  # seen above; this is for the types
        await recorder.record(
            RefundAnswer(
                refund_id=search.refund_id,
                part_id=search.request.part_id,
                outcome=found,
                actor=f"gateway:{search.gateway}",
                correlation_id=search.request.correlation_id,
            )
        )
        return
    work = await _wait_or_resend(context, gateway, search, ref, found)
    if work is not None:
        # where no look-up can tell, a "not sent" speaks of this send only: the earlier one may still have arrived
        sure = gateway is not None and gateway.capabilities.finds_refunds
        await send_refund(context, recorder, work, not_sent_is_sure=sure)


async def _find(context: Context, gateway: Gateway | None, search: Search) -> FoundRefund | Unknown:
    if gateway is None:
        return Unknown(reason=f"no gateway is named {search.gateway}")
    if not gateway.capabilities.finds_refunds:
        return RefundNotFound()
    started = time.perf_counter()
    found = await find_refund_guarded(gateway, search.request)
    spent = time.perf_counter() - started
    context.measures.gateway_call(search.gateway, "find_refund", type(found).__name__.lower(), spent)
    return found


async def _wait_or_resend(
    context: Context, gateway: Gateway | None, search: Search, ref: JobRef, found: FoundRefund | Unknown
) -> SendRefund | None:
    """The look-up could not tell: re-send where that is safe, else look again later, and tell a person in time."""
    async with locked_refunds(context, [search.refund_id]) as locked:
        draft = locked.draft(search.refund_id, SYSTEM, ref.correlation_id)
        part = draft.file.part(search.request.part_id) if draft else None
        if draft is None or part is None or part.state not in (PartState.UNKNOWN, PartState.PENDING):
            return None  # answered meanwhile
        if gateway is not None and isinstance(found, RefundNotFound) and may_resend(draft, part, gateway):
            resubmit(draft, part, ref)
            return SendRefund(search.refund_id, search.gateway, search.request)
        _look_again(draft, part, gateway, found)
    return None


def may_resend(draft: RefundDraft, part: RefundPart, gateway: Gateway) -> bool:
    """Whether the same key may go again: it is surely known, the look-up is sure, and the money is still to go back.

    A part whose charge the customer disputes meanwhile stays lost: the bank pays them back, we would do it again.
    """
    if part.state is not PartState.UNKNOWN or part.idempotency_key is None or part.sends >= MAX_SENDS:
        return False
    if draft.now < resend_at(part.last_sent_at, part.sends):
        return False
    capture = capture_of(draft, part)
    account = draft.accounts[part.payment_id]
    if capture is None or freezing_dispute(account, part) is not None or over_minor(draft, capture) > 0:
        return False
    age = _age(draft, part)
    sure = not gateway.capabilities.finds_refunds or age >= gateway.capabilities.refund_find_lag
    return sure and _key_lives(draft, part, gateway)


def _key_lives(draft: RefundDraft, part: RefundPart, gateway: Gateway | None) -> bool:
    return gateway is not None and _age(draft, part) < gateway.capabilities.key_lifetime - KEY_MARGIN


def _age(draft: RefundDraft, part: RefundPart) -> timedelta:
    return draft.now - (part.submitted_at or part.created_at)


def _look_again(draft: RefundDraft, part: RefundPart, gateway: Gateway | None, found: FoundRefund | Unknown) -> None:
    """Put the next look-up, and ask a person where time will not settle it."""
    age, word = _age(draft, part), type(found).__name__.lower()
    if part.state is PartState.PENDING:
        draft.put_job(SETTLE_REFUND, part.id, draft.now + PENDING_LOOK)
        if age >= PENDING_REFUND_AGE:
            reason = f"{part.amount} have been pending at {part.gateway} for {age.days} days"
            draft.ask_human(TaskKind.REFUND_PENDING_TOO_LONG, reason)
        return
    helpless = isinstance(found, RefundNotFound) and not _is_still_sought(draft, part, gateway)
    if helpless or age >= UNKNOWN_AGE:
        draft.put_job(SETTLE_REFUND, part.id, draft.now + AGED_LOOK)
        reason = f"nobody knows whether {part.amount} went back: {part.gateway}'s look-up says {word}"
        draft.ask_human(TaskKind.REFUND_UNKNOWN, reason)
        return
    draft.put_job(SETTLE_REFUND, part.id, draft.now + next_look(age))


def _is_still_sought(draft: RefundDraft, part: RefundPart, gateway: Gateway | None) -> bool:
    """Whether a later look-up, or a re-send with the same key, may still settle it by itself."""
    if gateway is None:
        return False
    can = gateway.capabilities
    lags = can.finds_refunds and _age(draft, part) < can.refund_find_lag
    account = draft.accounts[part.payment_id]
    wanted = freezing_dispute(account, part) is None and part.sends < MAX_SENDS
    return lags or (wanted and _key_lives(draft, part, gateway))
