"""A failed payment comes in: stored, its case opened under today's policy, its first step planned, all at once."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.attempt import Attempt, AttemptState, Origin
from recoup_core.domain.cardnumbers import refuse_card_numbers_in
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.decline import Decline
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import MAX_AMOUNT_MINOR, exponent
from recoup_core.domain.payment import Credential, CredentialRole, Customer, Method, Network, Payment
from recoup_core.domain.recovery import RecoveryCase, TimelineStep
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.draft import Draft
from recoup_core.flows.outcomes import paid_elsewhere
from recoup_core.flows.planning import plan_next
from recoup_core.flows.situation import facts_of
from recoup_core.ports import Succeeded
from recoup_core.storage.calls import Call, recall, remember
from recoup_core.storage.cases import account_history
from recoup_core.storage.changes import Changes
from recoup_core.storage.lookups import payment_by_reference

RETRY: Final = "retry"
"""The kind of the policies that decide about cases."""

OPEN_TRIES: Final = 3
"""Two first reports about one customer may race for the same new credential; the loser reads it and goes again."""


class ReportedCredential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stored means of payment as a merchant or a gateway reports it: a token, never a card number."""

    gateway: str
    token: str
    gateway_customer: str | None = None
    fingerprint: str | None = None
    """The gateway's fingerprint of the account; without it, gateway and token name the account."""
    method: Method
    network: Network | None = None
    role: CredentialRole = CredentialRole.PRIMARY
    issuer_country: str | None = None

    @property
    def account_key(self) -> str:
        """The name under which limits count attempts on this account."""
        return f"fp:{self.fingerprint}" if self.fingerprint else f"{self.gateway}:{self.token}"


class PriorAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that failed before Recoup was told; limits count it."""

    at: datetime
    decline: Decline
    token: str | None = None
    """Which of the reported credentials it was made on; None: the first primary."""
    gateway_ref: str | None = None


class FailureReport(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that failed, with everything tried so far; the latest attempt comes last."""

    merchant_id: str
    reference: str
    amount_minor: int
    currency: str
    customer: Customer
    gateway: str
    gateway_ref: str | None = None
    method: Method
    subscription: dict[str, Any] = {}
    credentials: tuple[ReportedCredential, ...] = ()
    attempts: tuple[PriorAttempt, ...]


class PaymentExists(DomainError):
    """The merchant has already reported a payment under this reference."""

    code = "payment_exists"

    def __init__(self, reference: str, payment_id: UUID) -> None:
        super().__init__(f"a payment with the reference {reference!r} is known already, as {payment_id}")
        self.payment_id = payment_id


class UnknownGateway(DomainError):
    """No gateway of that name is configured for the merchant."""

    code = "unknown_gateway"

    def __init__(self, name: str) -> None:
        super().__init__(f"no gateway named {name!r} is configured for this merchant")
        self.name = name


class InconsistentReport(DomainError):
    """The report contradicts itself or the present."""

    code = "inconsistent_report"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


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

    Raises `PaymentExists`, `UnknownGateway`, `InconsistentReport`, `CardNumberRefused`, `NoPolicyApplies`.
    With `call`, the answer is remembered under its idempotency key in the same transaction.
    """
    now = context.clock.now()
    _check(context, report, now)
    for attempt in range(1, OPEN_TRIES + 1):
        try:
            return await _open(context, report, actor, correlation_id, call, now)
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
    context: Context, report: FailureReport, actor: str, correlation_id: str | None, call: Call | None, now: datetime
) -> Opened:
    async with context.database.transaction() as connection:
        draft = await _draft(context, connection, report, actor, correlation_id, now)
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


def _check(context: Context, report: FailureReport, now: datetime) -> None:
    refuse_card_numbers_in(report)
    exponent(report.currency)
    for name in {report.gateway, *(c.gateway for c in report.credentials)}:
        if context.gateway_merchants.get(name) != report.merchant_id:
            raise UnknownGateway(name)
    if not 1 <= report.amount_minor <= MAX_AMOUNT_MINOR:
        raise InconsistentReport("amount_minor", f"must lie between 1 and {MAX_AMOUNT_MINOR}")
    if not report.attempts:
        raise InconsistentReport("attempts", "at least the failed attempt must be reported")
    if len({(c.gateway, c.token) for c in report.credentials}) < len(report.credentials):
        raise InconsistentReport("credentials", "the same token is reported twice")
    tokens = {credential.token for credential in report.credentials}
    for index, attempt in enumerate(report.attempts):
        if attempt.at.tzinfo is None or attempt.at > now:
            raise InconsistentReport(f"attempts[{index}].at", "lies in the future, or has no time zone")
        if attempt.token is not None and attempt.token not in tokens:
            raise InconsistentReport(f"attempts[{index}].token", "is none of the reported credentials")


async def _draft(
    context: Context,
    connection: asyncpg.Connection,
    report: FailureReport,
    actor: str,
    correlation_id: str | None,
    now: datetime,
) -> Draft:
    """Read what is known of the customer's accounts and build everything that is to be written."""
    keys = [credential.account_key for credential in report.credentials]
    charges = {report.gateway_ref, *(attempt.gateway_ref for attempt in report.attempts)}
    known = await account_history(
        connection,
        report.merchant_id,
        report.customer.ref,
        keys,
        now,
        gateway=report.gateway,
        charges=[charge for charge in charges if charge is not None],
    )
    by_token = {(c.gateway, c.token): c for c in known.credentials}
    fresh = [
        _credential(report, each, now) for each in report.credentials if (each.gateway, each.token) not in by_token
    ]
    credentials = (*known.credentials, *fresh)
    payment = _payment(report, now)
    case_id = new_id()
    attempts = _attempts(report, payment, case_id, credentials, now)
    file = CaseFile(
        payment=payment,
        case=RecoveryCase(
            id=case_id,
            merchant_id=report.merchant_id,
            payment_id=payment.id,
            policy_name="",
            policy_digest="",
            opened_at=now,
        ),
        acquirer_country=known.acquirer_country,
        attempts=attempts,
        credentials=credentials,
        other_attempts=known.attempts,
    )
    facts = facts_of(file, now)
    policy = context.book.choose(RETRY, facts)
    case = msgspec.structs.replace(file.case, policy_name=policy.policy.name, policy_digest=policy.digest)
    draft = Draft(file.with_case(case), Changes(), now, actor, correlation_id)
    # in one order for everybody: two reports of the same new credentials never wait for each other in a circle
    draft.changes.add(*sorted(fresh, key=lambda each: (each.gateway, each.token)), payment, case, *attempts)
    draft.tell(
        EventKind.PAYMENT_REPORTED,
        reference=payment.reference,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        attempts=len(attempts),
    )
    draft.tell(EventKind.CASE_OPENED, policy=case.policy_name, digest=case.policy_digest)
    for event in known.early:
        if isinstance(event.outcome, Succeeded):
            paid_elsewhere(draft, event.occurred_at, event.outcome)
    plan_next(draft, policy, facts)
    return draft


def _payment(report: FailureReport, now: datetime) -> Payment:
    return Payment(
        id=new_id(),
        merchant_id=report.merchant_id,
        reference=report.reference,
        customer=report.customer,
        amount_minor=report.amount_minor,
        currency=report.currency,
        gateway=report.gateway,
        gateway_ref=report.gateway_ref,
        method=report.method,
        subscription=report.subscription,
        first_failed_at=min(attempt.at for attempt in report.attempts),
        created_at=now,
    )


def _credential(report: FailureReport, given: ReportedCredential, now: datetime) -> Credential:
    return credential_of(report.merchant_id, report.customer.ref, given, now)


def credential_of(merchant_id: str, customer_ref: str, given: ReportedCredential, now: datetime) -> Credential:
    """Return a reported credential as it is stored."""
    return Credential(
        id=new_id(),
        merchant_id=merchant_id,
        customer_ref=customer_ref,
        gateway=given.gateway,
        token=given.token,
        gateway_customer=given.gateway_customer,
        account_key=given.account_key,
        method=given.method,
        network=given.network,
        role=given.role,
        issuer_country=given.issuer_country,
        created_at=now,
    )


def _attempts(
    report: FailureReport, payment: Payment, case_id: UUID, credentials: Sequence[Credential], now: datetime
) -> tuple[Attempt, ...]:
    ordered = sorted(report.attempts, key=lambda attempt: attempt.at)
    first = next((c.token for c in report.credentials if c.role is CredentialRole.PRIMARY), None)
    made_on = {credential.token: credential for credential in credentials}
    return tuple(
        reported_attempt(payment, case_id, number, each, made_on.get(each.token or first or ""), now)
        for number, each in enumerate(ordered, 1)
    )


def reported_attempt(
    payment: Payment, case_id: UUID, number: int, prior: PriorAttempt, credential: Credential | None, now: datetime
) -> Attempt:
    """Return an attempt made elsewhere as it is stored; limits count it like our own."""
    return Attempt(
        id=new_id(),
        merchant_id=payment.merchant_id,
        payment_id=payment.id,
        case_id=case_id,
        number=number,
        origin=Origin.REPORTED,
        gateway=payment.gateway,
        credential_id=credential.id if credential else None,
        account_key=credential.account_key if credential else None,
        method=payment.method,
        network=credential.network if credential else None,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        gateway_ref=prior.gateway_ref,
        state=AttemptState.DECLINED,
        decline=prior.decline,
        claim=0,
        created_at=now,
        submitted_at=prior.at,
        finished_at=prior.at,
    )
