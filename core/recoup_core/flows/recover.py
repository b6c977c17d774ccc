"""A failed payment comes in: stored, its case opened under today's policy, its first step planned, all at once."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import Credential, Payment
from recoup_core.domain.recovery import RecoveryCase, TimelineStep
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.customers.telling import take_contact
from recoup_core.flows.draft import Draft
from recoup_core.flows.dunning import dunning_policy
from recoup_core.flows.outcomes import paid_elsewhere
from recoup_core.flows.owners import check_owner, two_owners
from recoup_core.flows.planning import plan_next
from recoup_core.flows.reports import FailureReport, attempts_of, check_report, credential_of, payment_of
from recoup_core.flows.returned import take_back_early
from recoup_core.flows.situation import facts_of
from recoup_core.flows.tries import with_told
from recoup_core.flows.upcoming.draft import CHARGE_TURN
from recoup_core.ports import Succeeded
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.sets.trials import Assigned
from recoup_core.storage.calls import Call, recall, remember
from recoup_core.storage.cases import AccountHistory, account_history
from recoup_core.storage.changes import Changes
from recoup_core.storage.customers import standing_of
from recoup_core.storage.lookups import payment_by_reference

OPEN_TRIES: Final = 3
"""Two first reports about one customer may race for the same new credential; the loser reads it and goes again."""


class PaymentExists(DomainError):
    """The merchant has already reported a payment under this reference."""

    code = "payment_exists"

    def __init__(self, reference: str, payment_id: UUID) -> None:
        super().__init__(f"a payment with the reference {reference!r} is known already, as {payment_id}")
        self.payment_id = payment_id


class Opened(msgspec.Struct, frozen=True):
    """A payment with its new case."""

    payment: Payment
    case: RecoveryCase
    next_step: TimelineStep | None = None
    """The retry that was planned at once; None where the policy stopped."""
    replayed: bool = False
    """Whether this is the remembered answer of an earlier call."""


async def open_case(
    context: Context, report: FailureReport, actor: str, correlation_id: str | None, call: Call | None = None
) -> Opened:
    """Store a failed payment, open its case and plan what happens next; all of it or nothing.

    Raises `PaymentExists`, `UnknownGateway`, `InconsistentReport`, `ContactInvalid`, `CardNumberRefused`, `TwoOwners`,
    `NoPolicyApplies`, `PoliciesUnusable`. With `call`, the answer is remembered under its idempotency key in the same
    transaction.
    """
    now = context.clock.now()
    check_report(report, context.gateway_merchants, now)
    check_owner(report, context.rules_of(report.gateway), now)

    async def open_it(hold: bool) -> Opened:
        return await _open(context, report, actor, correlation_id, call, now, hold)

    for attempt in range(1, OPEN_TRIES + 1):
        try:
            return await context.policies.in_force(report.merchant_id, open_it)
        except asyncpg.UniqueViolationError as clash:
            answer = await _answered_before(context, report, call)
            if answer is not None:
                return answer
            if clash.constraint_name == "payment_merchant_id_reference_key":
                raise await _exists(context, report) from None
            if attempt == OPEN_TRIES:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


async def _open(
    context: Context,
    report: FailureReport,
    actor: str,
    correlation_id: str | None,
    call: Call | None,
    now: datetime,
    hold: bool,
) -> Opened:
    async with context.database.transaction() as connection:
        draft = await _draft(context, connection, report, actor, correlation_id, now, hold)
        opened = Opened(draft.file.payment, draft.file.case, draft.file.planned_retry)
        if call is not None:
            draft.changes.add(remember(call, report.merchant_id, msgspec.json.encode(opened), now))
        await draft.changes.write(connection)
    count_events(context, draft.changes)
    return opened


async def _answered_before(context: Context, report: FailureReport, call: Call | None) -> Opened | None:
    """Return what the same call was answered; a key of another request raises `IdempotencyKeyReused`."""
    if call is None:
        return None
    async with context.database.connection() as connection:
        body = await recall(connection, report.merchant_id, call)
    if body is None:
        return None
    return msgspec.structs.replace(msgspec.json.decode(body, type=Opened), replayed=True)


async def _exists(context: Context, report: FailureReport) -> PaymentExists:
    async with context.database.connection() as connection:
        known = await payment_by_reference(connection, report.merchant_id, report.reference)
    assert known is not None  # payments are never deleted
    return PaymentExists(report.reference, known)


async def _draft(
    context: Context,
    connection: asyncpg.Connection,
    report: FailureReport,
    actor: str,
    correlation_id: str | None,
    now: datetime,
    hold: bool,
) -> Draft:
    """Build everything that is to be written: the case under the policy that applies today, and its first step."""
    file, fresh, known = await _read(connection, report, now)
    facts = facts_of(file, now)
    book = await context.policies.current(connection, report.merchant_id, known.policy_epoch, hold=hold)
    retry = book.assign(PolicyKind.RETRY, facts, report.merchant_id, report.customer.ref)
    case = _pinned(file.case, retry)
    dunning = dunning_policy(book, file.with_case(case), facts)
    if dunning is not None:
        case = _pinned(case, dunning)
    accompanies = dunning.policy if dunning else None
    draft = Draft(
        file.with_case(case),
        Changes(),
        now,
        actor,
        correlation_id,
        accompanies,
        context.backup_gateways,
        contact=context.messaging.contact,
    )
    # in one order for everybody: two reports of the same new credentials never wait for each other in a circle
    fresh = sorted(fresh, key=lambda each: (each.gateway, each.token))
    draft.changes.add(*fresh, file.payment, case, *file.attempts)
    about = (report.merchant_id, report.customer.ref)
    take_contact(draft.changes, known.customer, report.contact, about, now, actor=actor, correlation_id=correlation_id)
    draft.tell(
        EventKind.PAYMENT_REPORTED,
        reference=report.reference,
        amount_minor=report.amount_minor,
        currency=report.currency,
        attempts=len(file.attempts),
    )
    more: dict[str, Any] = {} if case.arm is None else {"experiment": str(case.experiment_id), "arm": case.arm}
    if dunning is not None:
        more |= {"dunning_policy": case.dunning_name, "dunning_digest": case.dunning_digest}
    draft.tell(EventKind.CASE_OPENED, policy=case.policy_name, digest=case.policy_digest, **more)
    for event in known.early:
        if isinstance(event.outcome, Succeeded):
            paid_elsewhere(draft, event.occurred_at, event.outcome)
            ref = event.outcome.gateway_ref
            await take_back_early(connection, draft, report.gateway, ref, event.occurred_at, retry.policy)
    if known.announced is not None:  # nothing more is said before a charge that has failed
        draft.put_job(CHARGE_TURN, known.announced, now)
    draft.file = msgspec.structs.replace(draft.file, open_tasks=known.owner_tasks)
    draft.close_tasks({TaskKind.TWO_OWNERS}, "its case was opened")
    plan_next(draft, retry.policy, None if known.early else facts)
    return draft


def _pinned(case: RecoveryCase, assigned: Assigned) -> RecoveryCase:
    """Return the case with the version it keeps, and its arm where it came into an experiment."""
    policy = assigned.policy
    if policy.policy.kind is PolicyKind.RETRY:
        case = msgspec.structs.replace(case, policy_name=policy.policy.name, policy_digest=policy.digest)
    else:
        case = msgspec.structs.replace(case, dunning_name=policy.policy.name, dunning_digest=policy.digest)
    if assigned.experiment_id is None:
        return case
    return msgspec.structs.replace(
        case, experiment_id=assigned.experiment_id, arm=assigned.arm, experiment_ramp=assigned.experiment_ramp
    )


async def _read(
    connection: asyncpg.Connection, report: FailureReport, now: datetime
) -> tuple[CaseFile, list[Credential], AccountHistory]:
    """Return the new case's file with what is known of the customer's accounts, which of its credentials are new, and
    what else was read: the number of the policies in force, and what the gateway told before we knew the payment."""
    charges = {report.gateway_ref, *(attempt.gateway_ref for attempt in report.attempts)}
    known = await account_history(
        connection,
        report.merchant_id,
        report.customer.ref,
        [credential.account_key for credential in report.credentials],
        now,
        gateway=report.gateway,
        charges=[charge for charge in charges if charge is not None],
        reference=report.reference,
        question=two_owners(report.gateway, report.reference),
    )
    report = with_told(report, known.failures, now)
    tokens = {(c.gateway, c.token) for c in known.credentials}
    fresh = [
        credential_of(report.merchant_id, report.customer.ref, each, now)
        for each in report.credentials
        if (each.gateway, each.token) not in tokens
    ]
    payment, case_id, credentials = payment_of(report, now), new_id(), (*known.credentials, *fresh)
    file = CaseFile(
        payment=payment,
        case=RecoveryCase(
            id=case_id,
            merchant_id=report.merchant_id,
            payment_id=payment.id,
            policy_name="",  # chosen by what this very file says
            policy_digest="",
            opened_at=now,
        ),
        acquirer_country=known.acquirer_country,
        attempts=attempts_of(report, payment, case_id, credentials, now),
        credentials=credentials,
        other_attempts=known.attempts,
        standing=standing_of(known.customer),
    )
    return file, fresh, known
