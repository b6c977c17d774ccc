"""What gateways tell us: verified on the raw body, stored first, applied later, in any order and number."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog

from recoup_core.domain.attempt import Attempt, Origin
from recoup_core.domain.decline import Decline
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import CredentialRole, Customer
from recoup_core.flows.context import Context, count_events, locked_cases
from recoup_core.flows.draft import INBOUND, Draft
from recoup_core.flows.outcomes import paid_elsewhere, record_outcome
from recoup_core.flows.planning import TASK_AGE, plan_next, skip_retry
from recoup_core.flows.recover import PaymentExists, open_case
from recoup_core.flows.refunds.news import Inbound, Taken, take_capture_news, take_dispute_news, take_refund_news
from recoup_core.flows.registry import PoliciesUnusable
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential, reported_attempt
from recoup_core.flows.scrubbing import scrubbed
from recoup_core.ports import Declined, GatewayEvent, ReportedFailure, Succeeded
from recoup_core.storage.changes import Changes, JobRef, NewJob
from recoup_core.storage.lookups import (
    InboundEvent,
    close_inbound,
    open_inbound,
    payment_by_reference,
    payment_of_charge,
    store_inbound,
)

log = structlog.get_logger(__name__)

SAME_ATTEMPT: Final = timedelta(minutes=5)
"""A failure told twice, by merchant and gateway, differs by clocks and transport; two real tries lie further apart."""

EARLY_WAIT: Final = timedelta(minutes=2)
"""A success may come before its payment: whoever opens the case later reads it from the store, and who was about to
when it was stored has committed by then (longer than any transaction lives). Else a paid debt would be collected."""


AGAIN_PART: Final = 4
"""An event that can't be told yet what it is about waits for a quarter of its age, each time."""

NO_SUCH_CHARGE: Final = "it concerns no charge we know; if the payment is reported later, it is found then"


class NoSuchGateway(DomainError):
    """A webhook came in for a gateway that is not configured."""

    code = "no_such_gateway"

    def __init__(self, name: str) -> None:
        super().__init__(f"no gateway is named {name!r}")
        self.name = name


async def receive_webhook(
    context: Context, gateway_name: str, headers: Mapping[str, str], body: bytes, correlation_id: str | None
) -> int:
    """Verify and store a webhook's events with the jobs that apply them; return how many were new.

    Raises `NoSuchGateway` and `WebhookRefused`. Once this returns nothing can be lost: the gateway may be answered.
    """
    gateway = context.gateways.get(gateway_name)
    if gateway is None:
        raise NoSuchGateway(gateway_name)
    events = gateway.parse_event(headers, body)
    now = context.clock.now()
    rows = [
        InboundEvent(
            id=new_id(),
            gateway=gateway_name,
            external_id=event.external_id,
            kind=event.kind,
            body=msgspec.Raw(scrubbed(event)),
            received_at=now,
        )
        for event in events
    ]
    async with context.database.transaction() as connection:
        fresh = await store_inbound(connection, rows)
        changes = Changes()
        changes.add(
            *(NewJob(kind=INBOUND, subject_id=each, due_at=now, correlation_id=correlation_id) for each in fresh)
        )
        await changes.write(connection)
    return len(fresh)


async def run_inbound(context: Context, refs: Sequence[JobRef]) -> None:
    """Apply stored events, each in its own right; what can't be applied now comes back with its lease's end."""
    for ref in refs:
        try:
            await _apply(context, ref)
        except Exception as failure:
            log.error("inbound_event_not_applied", inbound_id=str(ref.subject_id), error=repr(failure))


async def _apply(context: Context, ref: JobRef) -> None:
    async with context.database.connection() as connection:
        inbound = await open_inbound(connection, [ref.subject_id])
    if not inbound:
        await _close(context, ref, "applied", None)
        return
    stored = inbound[0]
    event = msgspec.json.decode(stored.body, type=GatewayEvent)
    merchant = context.gateway_merchants[stored.gateway]
    if event.refund is None and event.dispute is None and event.capture is None:
        await _apply_to_charge(context, ref, stored, event, merchant)
    else:
        await _apply_news(context, Inbound(ref, stored, event, merchant))


async def _apply_news(context: Context, inbound: Inbound) -> None:
    """Take in what an event says of money that goes back; one that comes too early is looked at once more."""
    event, stored = inbound.event, inbound.stored
    if event.refund is not None:
        taken = await take_refund_news(context, inbound, event.refund)
    elif event.dispute is not None:
        taken = await take_dispute_news(context, inbound, event.dispute)
    else:
        assert event.capture is not None  # the caller saw one of the three
        taken = await take_capture_news(context, inbound, event.capture)
    now = context.clock.now()
    if taken is Taken.LATER:
        again = now + max(EARLY_WAIT, (now - stored.received_at) / AGAIN_PART)
        await _look_again(context, inbound.ref, stored, again)
    elif taken is Taken.NOT_OURS and now < stored.received_at + EARLY_WAIT:
        await _look_again(context, inbound.ref, stored, stored.received_at + EARLY_WAIT)
    elif taken is Taken.NOT_OURS:
        await _close(context, inbound.ref, "ignored", NO_SUCH_CHARGE)


async def _apply_to_charge(
    context: Context, ref: JobRef, stored: InboundEvent, event: GatewayEvent, merchant: str
) -> None:
    """Apply what an event says of a charge: an attempt of ours, one made elsewhere, or a debt that is new to us."""
    async with context.database.connection() as connection:
        payment_id = await payment_of_charge(connection, merchant, stored.gateway, event.attempt_id, event.gateway_ref)
        reference = event.failure.payment_reference if event.failure else event.payment_reference
        if payment_id is None and reference is not None:
            payment_id = await payment_by_reference(connection, merchant, reference)
    if payment_id is not None:
        await _apply_to_case(context, ref, stored, event, payment_id)
    elif event.failure is not None and isinstance(event.outcome, Declined):
        await _open_from(context, ref, stored, event, merchant)
    elif isinstance(event.outcome, Succeeded) and context.clock.now() < stored.received_at + EARLY_WAIT:
        await _look_again(context, ref, stored, stored.received_at + EARLY_WAIT)
    else:
        await _close(context, ref, "ignored", "it concerns no payment we know and opens none")


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
        await _refuse(context, ref, stored, merchant, str(refusal))
    else:
        await _close(context, ref, "applied", None)


async def _apply_to_case(
    context: Context, ref: JobRef, stored: InboundEvent, event: GatewayEvent, payment_id: UUID
) -> None:
    """Record what the event says about a payment we know, and close the event, in one transaction."""
    async with locked_cases(context, [payment_id]) as locked:
        draft = locked.draft(payment_id, f"gateway:{stored.gateway}", ref.correlation_id)
        changed = False
        if draft is not None and event.outcome is not None:
            own = _own_attempt(draft, event)
            if own is not None:
                changed = record_outcome(draft, own.id, event.outcome, locked.policy(draft))
            else:
                changed = _record_foreign(draft, event)
                plan_next(draft, locked.policy(draft))
        await close_inbound(
            locked.connection,
            stored.id,
            "applied" if changed else "ignored",
            None if changed else "it says nothing new",
            locked.now,
        )
        locked.changes.finish(ref)


def _own_attempt(draft: Draft, event: GatewayEvent) -> Attempt | None:
    """The attempt the event is about: by our id in its metadata, else by the gateway's reference."""
    if event.attempt_id is not None and (own := draft.file.attempt(event.attempt_id)) is not None:
        return own
    if event.gateway_ref is None:
        return None
    return next(
        (a for a in draft.file.attempts if a.gateway_ref == event.gateway_ref and a.origin is not Origin.REPORTED), None
    )


def _record_foreign(draft: Draft, event: GatewayEvent) -> bool:
    """Count an attempt somebody else made on this payment; a success by any route ends the case."""
    if isinstance(event.outcome, Succeeded):
        return paid_elsewhere(draft, event.occurred_at, event.outcome)
    if not isinstance(event.outcome, Declined):
        return False
    file = draft.file
    if any(_same_attempt(a, event) for a in file.attempts):
        return False
    attempt = _foreign(draft, event, event.outcome.decline)
    draft.add_attempt(attempt)
    draft.tell(EventKind.ATTEMPT_REPORTED, attempt.id, via=event.kind, category=str(event.outcome.decline.category))
    skip_retry(draft, "an attempt made elsewhere changed the situation")
    return True


def _foreign(draft: Draft, event: GatewayEvent, decline: Decline) -> Attempt:
    file = draft.file
    told = _told_credential(file.payment.gateway, event.failure) if event.failure else None
    known = next((c for c in file.credentials if told and (c.gateway, c.token) == (told.gateway, told.token)), None)
    if told is None:  # as in a report: without a word about it, the primary was tried
        known = next(iter(file.usable()), None)
    prior = PriorAttempt(at=event.occurred_at, decline=decline, gateway_ref=event.gateway_ref)
    number = 1 + max((a.number for a in file.attempts), default=0)
    attempt = reported_attempt(file.payment, file.case.id, number, prior, known, draft.now)
    if told is None or known is not None:
        return attempt
    # a token we don't know: limits still count it, for the account that its fingerprint names
    return msgspec.structs.replace(attempt, account_key=told.account_key, network=told.network)


def _same_attempt(attempt: Attempt, event: GatewayEvent) -> bool:
    """Whether the event tells of a failure that was reported already, by the merchant or by an earlier event."""
    if attempt.submitted_at is None or attempt.gateway_ref not in (None, event.gateway_ref):
        return False
    return attempt.origin is Origin.REPORTED and abs(attempt.submitted_at - event.occurred_at) < SAME_ATTEMPT


def _report(merchant: str, gateway: str, event: GatewayEvent, now: datetime) -> FailureReport:
    """Turn a gateway's event about a failed payment into the report that opens its case."""
    failure, outcome = event.failure, event.outcome
    assert failure is not None  # the caller saw both
    assert isinstance(outcome, Declined)
    told = _told_credential(gateway, failure)
    at = min(event.occurred_at, now)  # the gateway's clock may be ahead of ours; a case is not lost for that
    return FailureReport(
        merchant_id=merchant,
        reference=failure.payment_reference,
        amount_minor=failure.amount.amount_minor,
        currency=failure.amount.currency,
        customer=Customer(ref=failure.customer_ref, country=failure.country),
        gateway=gateway,
        gateway_ref=event.gateway_ref,
        method=failure.method,
        credentials=() if told is None else (told,),
        attempts=(PriorAttempt(at=at, decline=outcome.decline, gateway_ref=event.gateway_ref),),
    )


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


async def _look_again(context: Context, ref: JobRef, stored: InboundEvent, at: datetime) -> None:
    """Look at the event once more: whoever is opening its case right now may have read before it was stored."""
    again = NewJob(kind=INBOUND, subject_id=stored.id, due_at=at, correlation_id=ref.correlation_id)
    async with context.database.transaction() as connection:
        changes = Changes()
        changes.add(again)
        await changes.write(connection)


async def _refuse(context: Context, ref: JobRef, stored: InboundEvent, merchant: str, why: str) -> None:
    """Close an event that breaks a rule and put it before a person: a failed payment is behind it."""
    now = context.clock.now()
    task = HumanTask(
        id=new_id(),
        merchant_id=merchant,
        kind=TaskKind.EVENT_REFUSED,
        reason=f"{stored.gateway} event {stored.external_id} ({stored.kind}): {why}",
        opened_at=now,
        due_at=now + TASK_AGE,
    )
    async with context.database.transaction() as connection:
        await close_inbound(connection, ref.subject_id, "refused", why, now)
        changes = Changes()
        changes.finish(ref)
        changes.add(task, task_opened(task, f"gateway:{stored.gateway}", ref.correlation_id))
        await changes.write(connection)
    count_events(context, changes)


async def _close(context: Context, ref: JobRef, state: str, note: str | None) -> None:
    async with context.database.transaction() as connection:
        await close_inbound(connection, ref.subject_id, state, note, context.clock.now())
        changes = Changes()
        changes.finish(ref)
        await changes.write(connection)
