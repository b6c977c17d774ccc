"""What gateways tell of charges: an attempt of ours, one made elsewhere, or a debt that is new to us."""

from datetime import datetime
from uuid import UUID

import msgspec
import structlog

from recoup_core.domain.attempt import Attempt, AttemptState
from recoup_core.domain.decline import Decline
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import CredentialRole, Customer, RetryOwner
from recoup_core.flows.context import Context, Locked, count_events, locked_cases
from recoup_core.flows.draft import Draft
from recoup_core.flows.inbound_closing import EARLY_WAIT, close, look_again, refuse
from recoup_core.flows.outcomes import paid_elsewhere, record_outcome
from recoup_core.flows.owners import leave_to_owner, tried_again, two_owners, why_not_opened, with_owner
from recoup_core.flows.planning import TASK_AGE, plan_next, skip_retry
from recoup_core.flows.recover import PaymentExists, open_case
from recoup_core.flows.registry import PoliciesUnusable
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential, reported_attempt
from recoup_core.flows.returned import take_back_early
from recoup_core.flows.tries import own_try, told_try
from recoup_core.ports import Declined, GatewayEvent, ReportedFailure, Succeeded
from recoup_core.rules.engine.texts import Pinned
from recoup_core.storage.captured import lock_charge
from recoup_core.storage.changes import Changes, JobRef
from recoup_core.storage.lookups import (
    InboundEvent,
    close_inbound,
    payment_by_reference,
    payment_of_charge,
    tasks_asking,
    told_failures,
)

log = structlog.get_logger(__name__)


async def apply_to_charge(
    context: Context, ref: JobRef, stored: InboundEvent, event: GatewayEvent, merchant: str
) -> None:
    """Apply what an event says of a charge: an attempt of ours, one made elsewhere, or a debt that is new to us."""
    async with context.database.connection() as connection:
        payment_id = await payment_of_charge(connection, merchant, stored.gateway, event.attempt_id, event.gateway_ref)
        reference = event.failure.payment_reference if event.failure else event.payment_reference
        if payment_id is None and reference is not None:
            payment_id = await payment_by_reference(connection, merchant, reference)
        debt = (event.failure.debt_ref if event.failure else None) or reference
        if payment_id is None and debt is not None:  # reported under the merchant's own name, and the gateway's object
            payment_id = await payment_of_charge(connection, merchant, stored.gateway, None, debt)
    if payment_id is not None:
        await _apply_to_case(context, ref, stored, event, payment_id)
    elif event.failure is not None and (event.outcome is None or isinstance(event.outcome, Declined)):
        await _take_failure(context, ref, stored, event, merchant, event.failure)
    elif isinstance(event.outcome, Succeeded) and context.clock.now() < stored.received_at + EARLY_WAIT:
        await look_again(context, ref, stored, stored.received_at + EARLY_WAIT)
    else:
        await close(context, ref, "ignored", "it concerns no payment we know and opens none")


async def _take_failure(
    context: Context, ref: JobRef, stored: InboundEvent, event: GatewayEvent, merchant: str, failure: ReportedFailure
) -> None:
    """A failed payment that is new to us: its case opens, unless somebody else is still going to try it.

    A gateway may tell the try and who goes on in two events, in any order (Stripe: of the intent and of the invoice).
    """
    rules, now = context.rules_of(stored.gateway), context.clock.now()
    async with context.database.connection() as connection:
        told = await told_failures(connection, stored.gateway, failure.payment_reference)
    failure = with_owner(failure, told)
    why_not = why_not_opened(failure, rules, now)
    declined = event if isinstance(event.outcome, Declined) else next(filter(_is_decline, told), None)
    if why_not is None and declined is not None:
        await _open_from(context, ref, stored, _owned_as(declined, failure), merchant)
    elif why_not is None and now < stored.received_at + EARLY_WAIT:
        await look_again(context, ref, stored, stored.received_at + EARLY_WAIT)
    elif why_not is None:
        await refuse(context, ref, stored, merchant, f"{failure.payment_reference} failed, and no decline was told")
    elif rules.opens_cases and rules.retries_by is RetryOwner.RECOUP and tried_again(failure, now):
        await _ask_who_owns(context, ref, stored, merchant, failure, why_not)
    else:
        await close(context, ref, "ignored", why_not)


def _is_decline(event: GatewayEvent) -> bool:
    return isinstance(event.outcome, Declined) and event.failure is not None


def _owned_as(declined: GatewayEvent, failure: ReportedFailure) -> GatewayEvent:
    """Return the event that tells the try, with what is known of who goes on."""
    assert declined.failure is not None  # chosen for it
    known = msgspec.structs.replace(
        declined.failure, next_attempt_at=failure.next_attempt_at, retries_ended=failure.retries_ended
    )
    return msgspec.structs.replace(declined, failure=known)


async def _ask_who_owns(
    context: Context, ref: JobRef, stored: InboundEvent, merchant: str, failure: ReportedFailure, note: str
) -> None:
    """Two would try this debt: no case is opened, and a person is asked, once a debt."""
    reason, now = two_owners(stored.gateway, failure.payment_reference), context.clock.now()
    changes = Changes()
    async with context.database.transaction() as connection:
        await lock_charge(connection, stored.gateway, failure.payment_reference)
        if not await tasks_asking(connection, merchant, TaskKind.TWO_OWNERS, reason):
            task = HumanTask(
                id=new_id(),
                merchant_id=merchant,
                kind=TaskKind.TWO_OWNERS,
                reason=reason,
                opened_at=now,
                due_at=now + TASK_AGE,
            )
            changes.add(task, task_opened(task, f"gateway:{stored.gateway}", ref.correlation_id))
        await close_inbound(connection, stored.id, "ignored", note, now)
        changes.finish(ref)
        await changes.write(connection)
    count_events(context, changes)


async def _open_from(context: Context, ref: JobRef, stored: InboundEvent, event: GatewayEvent, merchant: str) -> None:
    """Open the case that a failure event tells of; a report that breaks a rule is refused once, not for ever."""
    report = _report(merchant, stored.gateway, event, context.clock.now())
    try:
        await open_case(context, report, f"gateway:{stored.gateway}", ref.correlation_id)
    except PaymentExists as known:  # the merchant reported it at the same moment
        await _apply_to_case(context, ref, stored, event, known.payment_id)
    except PoliciesUnusable:  # ours, not the event's: the job comes back until it is mended
        raise
    except DomainError as refusal:
        log.warning("inbound_event_refused", inbound_id=str(stored.id), code=refusal.code)
        await refuse(context, ref, stored, merchant, str(refusal))
    else:
        await close(context, ref, "applied", None)


async def _apply_to_case(
    context: Context, ref: JobRef, stored: InboundEvent, event: GatewayEvent, payment_id: UUID
) -> None:
    """Record what the event says about a payment we know, and close the event, in one transaction."""
    async with locked_cases(context, [payment_id]) as locked:
        draft = locked.draft(payment_id, f"gateway:{stored.gateway}", ref.correlation_id)
        changed = draft is not None and await _apply_to_draft(locked, draft, stored.gateway, event)
        await close_inbound(
            locked.connection,
            stored.id,
            "applied" if changed else "ignored",
            None if changed else "it says nothing new",
            locked.now,
        )
        locked.changes.finish(ref)


async def _apply_to_draft(locked: Locked, draft: Draft, gateway: str, event: GatewayEvent) -> bool:
    if event.outcome is None:
        return event.failure is not None and leave_to_owner(draft, gateway, event.failure)
    policy = locked.policy(draft)
    own = own_try(draft.file, event, gateway)
    if own is not None:
        changed = record_outcome(draft, own.id, event.outcome, policy)
    else:
        changed = _record_foreign(draft, event, gateway, policy)
    if event.failure is not None:
        changed = leave_to_owner(draft, gateway, event.failure) or changed
    if own is None:
        plan_next(draft, policy)
    if changed and isinstance(event.outcome, Succeeded):
        await take_back_early(locked.connection, draft, gateway, event.outcome.gateway_ref, event.occurred_at, policy)
    return changed


def _record_foreign(draft: Draft, event: GatewayEvent, gateway: str, policy: Pinned) -> bool:
    """Count an attempt somebody else made on this payment; a success by any route ends the case."""
    told, outcome = told_try(draft.file, event, gateway), event.outcome
    if isinstance(outcome, Succeeded):
        if told is not None and told.state is AttemptState.DECLINED:
            return record_outcome(draft, told.id, outcome, policy)  # the very try that was told to have failed
        return told is None and paid_elsewhere(draft, event.occurred_at, outcome, gateway)
    if not isinstance(outcome, Declined):
        return False
    if told is not None:
        return _name_try(draft, told, event, outcome)
    attempt = _foreign(draft, event, gateway, outcome)
    draft.add_attempt(attempt)
    draft.tell(EventKind.ATTEMPT_REPORTED, attempt.id, via=event.kind, category=str(outcome.decline.category))
    skip_retry(draft, "an attempt made elsewhere changed the situation")
    return True


def _name_try(draft: Draft, told: Attempt, event: GatewayEvent, outcome: Declined) -> bool:
    """Keep the gateway's name of a try that was reported without: the next one has another name."""
    if outcome.try_ref is None or told.try_ref is not None:
        return False
    named = msgspec.structs.replace(told, try_ref=outcome.try_ref, gateway_ref=told.gateway_ref or event.gateway_ref)
    draft.changes.update(named)
    draft.file = draft.file.with_attempt(named)
    return True


def _foreign(draft: Draft, event: GatewayEvent, gateway: str, outcome: Declined) -> Attempt:
    file = draft.file
    told = _told_credential(gateway, event.failure) if event.failure else None
    known = next((c for c in file.credentials if told and (c.gateway, c.token) == (told.gateway, told.token)), None)
    if told is None:  # as in a report: without a word about it, the primary was tried
        usable = file.usable()
        known = next((c for c in usable if c.gateway == gateway), next(iter(usable), None))
    prior = _prior(event, outcome.decline, draft.now)
    number = 1 + max((a.number for a in file.attempts), default=0)
    attempt = reported_attempt(file.payment, file.case.id, number, prior, known, draft.now)
    attempt = msgspec.structs.replace(attempt, gateway=gateway)
    if told is None or known is not None:
        return attempt
    # a token we don't know: limits still count it, for the account that its fingerprint names
    return msgspec.structs.replace(attempt, account_key=told.account_key, network=told.network)


def _report(merchant: str, gateway: str, event: GatewayEvent, now: datetime) -> FailureReport:
    """Turn a gateway's event about a failed payment into the report that opens its case."""
    failure, outcome = event.failure, event.outcome
    assert failure is not None  # the caller saw both
    assert isinstance(outcome, Declined)
    told = _told_credential(gateway, failure)
    return FailureReport(
        merchant_id=merchant,
        reference=failure.payment_reference,
        amount_minor=failure.amount.amount_minor,
        currency=failure.amount.currency,
        customer=Customer(ref=failure.customer_ref, country=failure.country),
        gateway=gateway,
        gateway_ref=failure.debt_ref or event.gateway_ref,
        method=failure.method,
        subscription=dict(failure.subscription),
        credentials=() if told is None else (told,),
        attempts=(_prior(event, outcome.decline, now),),
        retries_ended=failure.retries_ended,
    )


def _prior(event: GatewayEvent, decline: Decline, now: datetime) -> PriorAttempt:
    at = min(event.occurred_at, now)  # the gateway's clock may be ahead of ours; a case is not lost for that
    try_ref = event.outcome.try_ref if event.outcome is not None else None
    return PriorAttempt(at=at, decline=decline, gateway_ref=event.gateway_ref, try_ref=try_ref)


def _told_credential(gateway: str, failure: ReportedFailure) -> ReportedCredential | None:
    if failure.token is None:
        return None
    return ReportedCredential(
        gateway=gateway,
        token=failure.token,
        gateway_customer=failure.gateway_customer,
        fingerprint=failure.fingerprint,
        method=failure.method,
        network=failure.network,
        role=CredentialRole.PRIMARY,
        issuer_country=failure.country,
    )
