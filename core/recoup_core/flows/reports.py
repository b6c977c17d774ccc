"""Reports of failed payments: what a merchant or a gateway tells, checked, and turned into what is stored."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from recoup_core.domain.attempt import Attempt, AttemptState, Origin
from recoup_core.domain.cardnumbers import refuse_card_numbers_in
from recoup_core.domain.decline import Decline
from recoup_core.domain.errors import DomainError
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import MAX_AMOUNT_MINOR, exponent
from recoup_core.domain.payment import Credential, CredentialRole, Customer, Method, Network, Payment
from recoup_core.flows.customers.telling import ReportedContact, check_contact


class ReportedCredential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stored means of payment as a merchant or a gateway reports it: a token, never a card number."""

    gateway: str
    token: str
    gateway_customer: str | None = None
    fingerprint: str | None = None
    """The gateway's fingerprint of the account; without it, gateway and token name the account."""
    par: str | None = None
    """The payment account reference (EMVCo), where the gateway tells it: it names one card at all gateways."""
    method: Method
    network: Network | None = None
    role: CredentialRole = CredentialRole.PRIMARY
    issuer_country: str | None = None
    expires_on: str | None = None
    """The month on the card (`YYYY-MM`), where it is known."""

    @property
    def account_key(self) -> str:
        """The name under which limits count attempts on this account."""
        return account_key(self.gateway, self.token, self.fingerprint, self.par)


def account_key(gateway: str, token: str, fingerprint: str | None, par: str | None = None) -> str:
    """Return the name of the account behind a token: the widest that is known, so that one card counts once."""
    if par is not None:
        return f"par:{par}"
    return f"fp:{fingerprint}" if fingerprint else f"{gateway}:{token}"


def renewed_account(known: Credential, fingerprint: str | None, par: str | None = None) -> str:
    """Return the account of a token that is told of once more: another one only where another card is behind it.

    A further name of the same card must not begin its count anew; a payment account reference outlives the number.
    """
    if par is not None and known.par is not None:
        return known.account_key if par == known.par else f"par:{par}"
    if not fingerprint or known.par is not None or known.account_key == f"fp:{fingerprint}":
        return known.account_key
    return account_key(known.gateway, known.token, fingerprint, par)


class PriorAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that failed before Recoup was told; limits count it."""

    at: datetime
    decline: Decline
    token: str | None = None
    """Which of the reported credentials it was made on; None: the first primary, of the payment's gateway if any."""
    gateway_ref: str | None = None
    try_ref: str | None = None
    """The gateway's name of this one try, where it names tries: one that it tells of later is known by it."""


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
    order_ref: str | None = None
    """The merchant's order that the payment belongs to."""
    subscription: dict[str, Any] = {}
    credentials: tuple[ReportedCredential, ...] = ()
    attempts: tuple[PriorAttempt, ...]
    next_attempt_at: datetime | None = None
    """When somebody else (the gateway, a biller) is going to try it again; then the debt has its owner."""
    retries_ended: bool = False
    """Whether such an owner has given up."""
    contact: ReportedContact = ReportedContact()
    """How the customer is reached; kept with the customer, not with the payment."""


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


def check_report(report: FailureReport, gateway_merchants: Mapping[str, str], now: datetime) -> None:
    """Raise what is wrong with a report: `UnknownGateway`, `InconsistentReport`, `UnknownCurrency`,
    `ContactInvalid`, `CardNumberRefused`; `gateway_merchants` says whose account each gateway is."""
    refuse_card_numbers_in(report)
    check_contact(report.contact)
    exponent(report.currency)
    for name in {report.gateway, *(c.gateway for c in report.credentials)}:
        if gateway_merchants.get(name) != report.merchant_id:
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


def payment_of(report: FailureReport, now: datetime) -> Payment:
    """Return the payment that a report tells of."""
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
        order_ref=report.order_ref,
        first_failed_at=min(attempt.at for attempt in report.attempts),
        created_at=now,
    )


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
        par=given.par,
        expires_on=given.expires_on,
        created_at=now,
    )


def attempts_of(
    report: FailureReport, payment: Payment, case_id: UUID, credentials: Sequence[Credential], now: datetime
) -> tuple[Attempt, ...]:
    """Return a report's attempts as they are stored, the earliest first."""
    ordered = sorted(report.attempts, key=lambda attempt: attempt.at)
    primaries = [c for c in report.credentials if c.role is CredentialRole.PRIMARY]
    own = [c for c in primaries if c.gateway == report.gateway]
    first = next((c.token for c in (*own, *primaries)), None)
    # two gateways may call what they store the same: the payment failed at its own
    made_on = {c.token: c for c in sorted(credentials, key=lambda c: c.gateway == report.gateway)}
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
        try_ref=prior.try_ref,
        state=AttemptState.DECLINED,
        decline=prior.decline,
        claim=0,
        created_at=now,
        submitted_at=prior.at,
        finished_at=prior.at,
    )
