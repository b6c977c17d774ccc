"""Unknown outcomes: ask the gateway, re-send with the same key inside its lifetime, else ask a person. Never blindly.

Runs as a job per attempt, so it survives everything; the webhook that tells the answer first simply ends it.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.attempt import Attempt, AttemptState
from recoup_core.domain.happened import TaskKind
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.collect import Send, charge_request, limits_allow, resubmit, send
from recoup_core.flows.context import Context, locked_cases
from recoup_core.flows.draft import SETTLE, SYSTEM, Draft
from recoup_core.flows.guard import Unknown, find_charge_guarded
from recoup_core.flows.outcomes import MAX_SENDS, SETTLE_AFTER_UNKNOWN, lose
from recoup_core.flows.planning import open_task
from recoup_core.flows.recorder import Answer, Recorder
from recoup_core.ports import ChargeRequest, Declined, Gateway, NotFound, Pending, Succeeded
from recoup_core.storage.cases import payments_of_attempts
from recoup_core.storage.changes import JobRef
from recoup_core.storage.jobs import hurry_jobs

LOOK_AGAIN: Final = tuple(timedelta(minutes=m) for m in (1, 5, 15, 60, 180, 360))
"""Waits between look-ups that could not tell; the last one repeats until the age limit."""

UNKNOWN_AGE: Final = timedelta(hours=24)
"""An outcome unknown for longer is put before a person; the look-ups go on daily."""

PENDING_AGE: Final = timedelta(days=14)
"""Bank debits may take two weeks to be told; a charge pending for longer is put before a person."""

AGED_LOOK: Final = timedelta(days=1)

HURRY_EVERY: Final = timedelta(minutes=1)
"""How often reading something may bring its look-up forward."""

KEY_MARGIN: Final = timedelta(hours=1)
"""A key is not used again this close to the end of its lifetime."""


class Search(msgspec.Struct, frozen=True):
    """An attempt whose answer is to be found out."""

    payment_id: UUID
    gateway: str
    request: ChargeRequest
    pending: bool


async def run_settle(context: Context, recorder: Recorder, refs: Sequence[JobRef]) -> None:
    """Settle attempts, each in its own right."""
    searches = await _open_searches(context, refs)
    works = (_settle(context, recorder, search, ref) for search, ref in searches)
    await asyncio.gather(*works, return_exceptions=True)  # what failed comes back with its lease's end


async def _open_searches(context: Context, refs: Sequence[JobRef]) -> list[tuple[Search, JobRef]]:
    """Read what is to be settled; a sender that died is noticed here."""
    async with context.database.connection() as connection:
        payments = await payments_of_attempts(connection, [ref.subject_id for ref in refs])
    searches: list[tuple[Search, JobRef]] = []
    async with locked_cases(context, set(payments.values())) as locked:
        for ref in refs:
            payment_id = payments.get(ref.subject_id)
            draft = locked.draft(payment_id, SYSTEM, ref.correlation_id) if payment_id else None
            search = _search(draft, ref) if draft else None
            if search is not None:
                searches.append((search, ref))
            elif draft is None:
                locked.changes.finish(ref)
    return searches


def _search(draft: Draft, ref: JobRef) -> Search | None:
    attempt = draft.file.attempt(ref.subject_id)
    assert attempt is not None  # its payment was found by it
    if attempt.state is AttemptState.SUBMITTED:
        if attempt.claim >= ref.claim:
            return None  # its sender is at work
        attempt = lose(draft, attempt, "the worker that sent it never came back")
        return None
    if attempt.state not in (AttemptState.UNKNOWN, AttemptState.PENDING):
        draft.changes.finish(ref)
        return None
    credential = next((c for c in draft.file.credentials if c.id == attempt.credential_id), None)
    assert credential is not None  # credentials are never deleted
    request = charge_request(attempt, credential, draft.file.payment, draft.correlation_id)
    return Search(draft.file.payment.id, attempt.gateway, request, attempt.state is AttemptState.PENDING)


async def _settle(context: Context, recorder: Recorder, search: Search, ref: JobRef) -> None:
    gateway = context.gateways.get(search.gateway)
    found = await _find(context, gateway, search)
    if isinstance(found, Succeeded | Declined) or (isinstance(found, Pending) and not search.pending):
        await recorder.record(
            Answer(
                payment_id=search.payment_id,
                attempt_id=search.request.attempt_id,
                outcome=found,
                actor=f"gateway:{search.gateway}",
                correlation_id=search.request.correlation_id,
            )
        )
        return
    work = await _wait_or_resend(context, gateway, search, ref, found)
    if work is not None:
        # where no look-up can tell, a "not sent" speaks of this send only: the earlier one may still have arrived
        sure = gateway is not None and gateway.capabilities.finds_charges
        await send(context, recorder, work, not_sent_is_sure=sure)


async def _find(
    context: Context, gateway: Gateway | None, search: Search
) -> Succeeded | Declined | Pending | NotFound | Unknown:
    if gateway is None:
        return Unknown(reason=f"no gateway is named {search.gateway}")
    if not gateway.capabilities.finds_charges:
        return NotFound()
    started = time.perf_counter()
    found = await find_charge_guarded(gateway, search.request)
    spent = time.perf_counter() - started
    context.measures.gateway_call(search.gateway, "find_charge", type(found).__name__.lower(), spent)
    return found


async def _wait_or_resend(
    context: Context,
    gateway: Gateway | None,
    search: Search,
    ref: JobRef,
    found: Pending | NotFound | Unknown,
) -> Send | None:
    """The look-up could not tell: re-send where that is safe, else look again later, and tell a person in time."""
    async with locked_cases(context, [search.payment_id], accounts=True) as locked:
        draft = locked.draft(search.payment_id, SYSTEM, ref.correlation_id)
        attempt = draft.file.attempt(search.request.attempt_id) if draft else None
        if draft is None or attempt is None or attempt.state not in (AttemptState.UNKNOWN, AttemptState.PENDING):
            return None  # answered meanwhile
        if gateway is not None and isinstance(found, NotFound) and may_resend(draft, attempt, gateway):
            resubmit(draft, attempt, ref)
            return Send(search.payment_id, search.gateway, search.request)
        _look_again(draft, attempt, found)
    return None


def may_resend(draft: Draft, attempt: Attempt, gateway: Gateway) -> bool:
    """Whether the same key may go again: it is still wanted and allowed, the look-up is sure, the key surely known.

    A lost attempt of a case that is paid, canceled or paused stays lost: sending it would collect what nobody asks for.
    One that was just sent again waits longer each time, or an hour in which a provider is away would use up all sends.
    """
    if draft.now < resend_at(attempt.last_sent_at, attempt.sends):
        return False
    credential = next((c for c in draft.file.credentials if c.id == attempt.credential_id), None)
    if draft.file.case.state is not CaseState.OPEN or credential is None or not credential.valid:
        return False
    first_sent = attempt.submitted_at or attempt.created_at
    age = draft.now - first_sent
    known = age < gateway.capabilities.key_lifetime - KEY_MARGIN
    sure = not gateway.capabilities.finds_charges or age >= gateway.capabilities.find_lag
    if attempt.state is not AttemptState.UNKNOWN or not known or not sure or attempt.sends >= MAX_SENDS:
        return False
    return limits_allow(draft, attempt, credential)


def resend_at(last_sent_at: datetime | None, sends: int) -> datetime:
    """Return before when what left so often is not sent again: at once after the first time, then as `LOOK_AGAIN`."""
    if last_sent_at is None or sends <= 1:
        return datetime.min.replace(tzinfo=UTC)
    return last_sent_at + LOOK_AGAIN[min(sends - 2, len(LOOK_AGAIN) - 1)]


def next_look(age: timedelta) -> timedelta:
    """Return how long to wait before the next look-up of what has been unknown, or pending, for so long."""
    spent = timedelta()
    for wait in LOOK_AGAIN:
        spent += wait
        if age < spent:
            return wait
    return LOOK_AGAIN[-1]


async def hurry_settlement(context: Context, attempts: Iterable[Attempt]) -> None:
    """Have attempts that somebody is looking at right now, and whose outcome is open, looked up at once.

    Nothing is asked here: their jobs become due, each at most once in `HURRY_EVERY`; those at work are left alone.
    """
    now = context.clock.now()
    open_ones = (each for each in attempts if each.state in (AttemptState.UNKNOWN, AttemptState.PENDING))
    waiting = [each.id for each in open_ones if may_hurry(each.last_sent_at, now)]
    if waiting:
        async with context.database.connection() as connection:
            await hurry_jobs(connection, SETTLE, waiting, now, HURRY_EVERY)


def may_hurry(last_sent_at: datetime | None, now: datetime) -> bool:
    """Whether what left then may be looked up: a lost answer may still be on its way for a while, whoever looks."""
    return last_sent_at is None or now - last_sent_at >= SETTLE_AFTER_UNKNOWN


def _look_again(draft: Draft, attempt: Attempt, found: Pending | NotFound | Unknown) -> None:
    age = draft.now - (attempt.submitted_at or attempt.created_at)
    pending = attempt.state is AttemptState.PENDING
    if age < (PENDING_AGE if pending else UNKNOWN_AGE):
        draft.put_job(SETTLE, attempt.id, draft.now + next_look(age))
        return
    draft.put_job(SETTLE, attempt.id, draft.now + AGED_LOOK)
    kind = TaskKind.PENDING_TOO_LONG if pending else TaskKind.UNKNOWN_OUTCOME
    open_task_once(
        draft, kind, attempt, f"the gateway's answer is {type(found).__name__.lower()} after {age.days} days"
    )


def open_task_once(draft: Draft, kind: TaskKind, attempt: Attempt, reason: str) -> None:
    """Ask a person, unless the same question about the same attempt is already waiting."""
    if (kind, attempt.id) not in {(task.kind, task.attempt_id) for task in draft.file.open_tasks}:
        open_task(draft, kind, reason, attempt.id)
