"""What people may do to a case: pause, resume, cancel, try now, give a new credential, settle an unknown by hand.

Each is one transaction under the payment's lock, remembered under its idempotency key, and never above the limits.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.cardnumbers import refuse_card_numbers, refuse_card_numbers_in
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.errors import DomainError, IllegalTransition
from recoup_core.domain.happened import EventKind
from recoup_core.domain.money import Money
from recoup_core.domain.payment import PaymentEvent, PaymentState
from recoup_core.domain.principal import canonical
from recoup_core.domain.recovery import CaseEvent, CaseState
from recoup_core.domain.refund import Channel
from recoup_core.flows.collect import BY_HAND
from recoup_core.flows.context import Context, Locked, locked_cases
from recoup_core.flows.credentials.reconsider import NEW_CREDENTIAL, take_credential, use_new
from recoup_core.flows.credentials.trying import reopen, try_now
from recoup_core.flows.draft import Draft
from recoup_core.flows.outcomes import ASKING_WHAT_NEXT, WHILE_OWED, cancel_unsent, give_up, record_outcome
from recoup_core.flows.planning import plan_next, skip_planned
from recoup_core.flows.reports import ReportedCredential, UnknownGateway
from recoup_core.flows.subscription_requests.asking import withdraw
from recoup_core.ports import Declined, Succeeded
from recoup_core.storage.calls import Call, recall, remember
from recoup_core.storage.cases import payments_of_attempts, payments_of_cases

HUMAN_EVIDENCE: Final = 500
"""Characters of the evidence a person gives when settling by hand."""


class NotFound(DomainError):
    """The merchant has nothing of that kind under that id."""

    code = "not_found"

    def __init__(self, kind: str, wanted: object) -> None:
        super().__init__(f"there is no {kind} {wanted}")
        self.kind = kind


class NotAllowedNow(DomainError):
    """What was asked for is not possible in the present state; says why and, where known, when it will be."""

    code = "not_allowed_now"

    def __init__(self, message: str, possible_at: datetime | None = None) -> None:
        super().__init__(message)
        self.possible_at = possible_at


class By(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, for which merchant, under which key."""

    merchant_id: str
    actor: str
    correlation_id: str | None = None
    call: Call | None = None
    principal: str = ""
    """The person or system behind the key; one person's keys share it."""
    approves: tuple[str, ...] = ()
    """The principal's own approval roles."""
    channel: Channel = Channel.API
    """How the request came."""

    def __post_init__(self) -> None:
        """Let every flow see one name of one person, however a key or a command writes it (promise 8)."""
        msgspec.structs.force_setattr(self, "principal", canonical(self.principal))


class Resolution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person found out about an attempt nobody could settle."""

    outcome: Literal["succeeded", "declined", "never_arrived"]
    evidence: str
    gateway_ref: str | None = None


async def pause(context: Context, case_id: UUID, by: By) -> CaseFile:
    """Stop planning and sending until resumed; an attempt that may have left is still settled."""

    def act(draft: Draft, _: Locked) -> None:
        draft.move_case(CaseEvent.PAUSE, paused_at=draft.now)
        draft.tell(EventKind.CASE_PAUSED)
        skip_planned(draft, "the case is paused")
        cancel_unsent(draft, "the case is paused")

    return await _on_case(context, case_id, by, act)


async def resume(context: Context, case_id: UUID, by: By) -> CaseFile:
    """Go on: what happens next is decided anew, from the present."""

    def act(draft: Draft, locked: Locked) -> None:
        draft.move_case(CaseEvent.RESUME, paused_at=None)
        draft.tell(EventKind.CASE_RESUMED)
        draft.close_tasks(ASKING_WHAT_NEXT, "the case was resumed")
        plan_next(draft, locked.policy(draft))

    return await _on_case(context, case_id, by, act)


async def cancel(context: Context, case_id: UUID, by: By, reason: str) -> CaseFile:
    """End the case for good: the debt is no longer owed here. Money that still comes in is booked all the same."""

    def act(draft: Draft, _: Locked) -> None:
        draft.move_case(CaseEvent.CANCEL, stop_reason="canceled")
        draft.tell(EventKind.CASE_CANCELED, reason=reason)
        skip_planned(draft, "the case is canceled")
        cancel_unsent(draft, "the case is canceled")
        draft.close_tasks(WHILE_OWED, "the case is canceled")
        if draft.file.payment.state is PaymentState.OWED:
            draft.move_payment(PaymentEvent.CLOSE)
            draft.tell(EventKind.PAYMENT_CLOSED, reason=reason)
        withdraw(draft, "the case is canceled")

    return await _on_case(context, case_id, by, act)


async def retry_now(context: Context, case_id: UUID, by: By) -> CaseFile:
    """Try at once on the primary credential, in place of what was planned; limits hold, a person's wish or not."""

    def act(draft: Draft, _: Locked) -> None:
        _require_owed(draft)
        if draft.file.case.state is CaseState.EXHAUSTED:
            reopen(draft, "retry-now")
        _require_open(draft)
        usable = draft.file.usable()
        if not usable:
            raise NotAllowedNow("the customer has no valid credential")
        refusal = try_now(draft, usable[0], BY_HAND, by.actor)
        if refusal is not None:
            raise NotAllowedNow(refusal.because, refusal.possible_at)

    return await _on_case(context, case_id, by, act, accounts=True)


async def update_credential(context: Context, case_id: UUID, by: By, given: ReportedCredential) -> CaseFile:
    """Take a new credential and try it at once where the rules allow; where they don't, it is used when they do."""
    refuse_card_numbers_in(given)
    if context.gateway_merchants.get(given.gateway) != by.merchant_id:
        raise UnknownGateway(given.gateway)

    def act(draft: Draft, locked: Locked) -> None:
        _require_owed(draft)
        credential = take_credential(draft, given)
        draft.tell(EventKind.CREDENTIAL_UPDATED, credential=str(credential.id), role=str(credential.role))
        if draft.file.case.state is CaseState.EXHAUSTED:
            reopen(draft, NEW_CREDENTIAL)
        use_new(draft, credential, locked.policy(draft))

    return await _on_case(context, case_id, by, act, accounts=True)


async def resolve_attempt(context: Context, attempt_id: UUID, by: By, resolution: Resolution) -> CaseFile:
    """Settle by hand, with evidence, an attempt whose outcome no look-up could tell."""
    refuse_card_numbers(resolution.evidence, "evidence")

    def act(draft: Draft, locked: Locked) -> None:
        attempt = draft.file.attempt(attempt_id)
        assert attempt is not None  # its payment was found by it
        if attempt.state not in (AttemptState.UNKNOWN, AttemptState.PENDING):
            raise IllegalTransition("attempt", attempt.state, f"resolve as {resolution.outcome}")
        draft.tell(EventKind.ATTEMPT_RESOLVED, attempt.id, outcome=resolution.outcome, evidence=resolution.evidence)
        policy = locked.policy(draft)
        if resolution.outcome == "never_arrived":
            if attempt.state is AttemptState.PENDING:
                raise IllegalTransition("attempt", attempt.state, "resolve as never_arrived")
            draft.changes.drop_job("settle", attempt.id)
            give_up(draft, attempt, f"by hand: {resolution.evidence}", policy)
        elif resolution.outcome == "succeeded":
            ref = resolution.gateway_ref or attempt.gateway_ref or f"by-hand-{attempt.id}"
            amount = Money(attempt.amount_minor, attempt.currency)
            record_outcome(draft, attempt.id, Succeeded(gateway_ref=ref, amount=amount), policy)
        else:
            record_outcome(draft, attempt.id, Declined(decline=_decline_by_hand(resolution)), policy)

    payments = await _payments(context, attempts=[attempt_id])
    return await _on_payment(context, payments.get(attempt_id), ("attempt", attempt_id), by, act)


Act = Callable[[Draft, Locked], None]


async def _on_case(context: Context, case_id: UUID, by: By, act: Act, *, accounts: bool = False) -> CaseFile:
    payments = await _payments(context, cases=[case_id])
    return await _on_payment(context, payments.get(case_id), ("recovery case", case_id), by, act, accounts=accounts)


async def _on_payment(
    context: Context, payment_id: UUID | None, wanted: tuple[str, UUID], by: By, act: Act, *, accounts: bool = False
) -> CaseFile:
    """Run one operation under the payment's lock; the same call again returns its first answer."""
    if payment_id is None:
        raise NotFound(*wanted)
    async with locked_cases(context, [payment_id], accounts=accounts) as locked:
        draft = locked.draft(payment_id, by.actor, by.correlation_id)
        if draft is None or draft.file.payment.merchant_id != by.merchant_id:
            raise NotFound(*wanted)
        if by.call is not None:
            answered = await recall(locked.connection, by.merchant_id, by.call)
            if answered is not None:
                return msgspec.json.decode(answered, type=CaseFile)
        act(draft, locked)
        if by.call is not None:
            body = msgspec.json.encode(draft.file)
            draft.changes.add(remember(by.call, by.merchant_id, body, locked.now))
        return draft.file


async def _payments(
    context: Context, cases: list[UUID] | None = None, attempts: list[UUID] | None = None
) -> dict[UUID, UUID]:
    async with context.database.connection() as connection:
        if cases is not None:
            return await payments_of_cases(connection, cases)
        return await payments_of_attempts(connection, attempts or [])


def _require_owed(draft: Draft) -> None:
    if draft.file.payment.state is not PaymentState.OWED:
        raise NotAllowedNow(f"the payment is {draft.file.payment.state}")


def _require_open(draft: Draft) -> None:
    if draft.file.case.state is not CaseState.OPEN:
        raise NotAllowedNow(f"the case is {draft.file.case.state}")
    if draft.file.live_attempt is not None:
        raise NotAllowedNow("an attempt is live; its answer decides what comes next")


def _decline_by_hand(resolution: Resolution) -> Decline:
    return Decline(
        code="resolved_by_hand",
        source=DeclineSource.ISO8583,
        category=DeclineCategory.UNKNOWN,
        retryable=Retryable.NO,
        message=resolution.evidence[:HUMAN_EVIDENCE],
    )
