"""From a case file to what a decision sees: the facts that conditions test and the situation that timing needs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from recoup_core.domain.attempt import IN_FLIGHT, Attempt, AttemptState, Origin
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.decline import Decline
from recoup_core.domain.payment import CredentialRole, may_be_one_account
from recoup_core.rules.deciding.decide import Situation
from recoup_core.rules.deciding.limits import PastAttempt
from recoup_core.rules.facts import CustomerFacts, RetryFacts, SubscriptionFacts

_TRIED: Final = IN_FLIGHT | {AttemptState.SUCCEEDED, AttemptState.DECLINED}
"""States in which an attempt counts against network limits: it reached the network, or may have."""


class NothingFailed(RuntimeError):
    """A decision was asked about a payment without any declined attempt; flows never do that."""


def facts_of(file: CaseFile, now: datetime) -> RetryFacts:
    """Return what conditions may test about this payment."""
    payment, customer = file.payment, file.payment.customer
    failed = _last_declined(file)
    decline = failed.decline
    assert decline is not None  # the table's CHECK: a declined attempt has its decline
    declined = [a for a in file.attempts if a.failed]
    credential = next((c for c in file.credentials if c.id == failed.credential_id), None)
    usable = file.usable()
    return RetryFacts(
        amount=payment.amount,
        method=payment.method,
        network=failed.network or (credential.network if credential else None),
        gateway=failed.gateway,
        country=customer.country,
        segment=customer.segment,
        decline=decline.category,
        decline_code=decline.code,
        decline_source=decline.source,
        retryable=decline.retryable,
        network_code=decline.network_code,
        advice_code=decline.advice_code,
        visa_category=decline.visa_category,
        attempt=len(declined),
        retries=sum(1 for a in file.attempts if a.origin is not Origin.REPORTED),
        days_since_failure=max(0, (now - payment.failing_since).days),
        has_backup=any(c.role is CredentialRole.BACKUP for c in usable),
        customer=CustomerFacts(
            tier=customer.tier,
            tenure_days=customer.tenure_days,
            vulnerable=file.vulnerable,
            country=customer.country,
            segment=customer.segment,
        ),
        subscription=_subscription(payment.subscription),
        issuer_country=credential.issuer_country if credential else None,
    )


def situation_of(file: CaseFile, now: datetime) -> Situation:
    """Return what timing, credential choice and limits need to know."""
    payment, customer = file.payment, file.payment.customer
    failed = _last_declined(file)
    assert failed.decline is not None  # as above
    usable = file.usable()
    gave = [at for c in usable if (at := c.renewed_at or c.created_at) > payment.created_at]
    return Situation(
        now=now,
        payment_id=payment.id,
        amount=payment.outstanding,
        first_failed_at=payment.failing_since,
        last_failed_at=failed.failed_at,
        last_decline=failed.decline,
        last_account=failed.account_key,
        customer_acted_at=max(gave, default=None),
        credentials=usable,
        history=history_by_account(file.account_attempts),
        same=_same_accounts(file),
        acquirer_country=file.acquirer_country,
        uses=file.rule_uses,
        customer_zone=file.customer_zone,
        country=file.country,
        paydays=customer.paydays,
        seed=f"{file.case.id}:{len(file.attempts)}",
    )


def history_by_account(
    attempts: Iterable[Attempt], without: UUID | None = None
) -> Mapping[str, tuple[PastAttempt, ...]]:
    """Return what the limits count, by account; `without` leaves out the attempt that is about to be judged."""
    by_account: dict[str, list[PastAttempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.account_key is not None and attempt.state in _TRIED and attempt.id != without:
            by_account[attempt.account_key].append(_past(attempt))
    return {key: tuple(past) for key, past in by_account.items()}


def _same_accounts(file: CaseFile) -> Mapping[str, tuple[str, ...]]:
    """Return per usable account the others that may be the same; an invalid token's tries count as well."""
    same: dict[str, set[str]] = defaultdict(set)
    for one in file.usable():
        same[one.account_key] |= {c.account_key for c in file.credentials if may_be_one_account(one, c)}
    return {key: tuple(sorted(keys - {key})) for key, keys in same.items() if keys - {key}}


def _past(attempt: Attempt) -> PastAttempt:
    decline: Decline | None = attempt.decline
    return PastAttempt(
        at=attempt.made_at,
        amount_minor=attempt.amount_minor,
        currency=attempt.currency,
        payment_id=attempt.payment_id,
        succeeded=attempt.state is AttemptState.SUCCEEDED and not attempt.failed,
        network_code=decline.network_code if decline else None,
        advice_code=decline.advice_code if decline else None,
        visa_category=decline.visa_category if decline else None,
        category=decline.category if decline else None,
        source=decline.source if decline else None,
        code=decline.code if decline else None,
        blocked_by_gateway=decline.blocked_by_gateway if decline else False,
    )


def _last_declined(file: CaseFile) -> Attempt:
    failed = file.last_declined
    if failed is None:
        raise NothingFailed(f"payment {file.payment.id} has no declined attempt")
    return failed


def _subscription(known: Mapping[str, object]) -> SubscriptionFacts | None:
    if not known:
        return None
    plan, interval = known.get("plan"), known.get("interval")
    return SubscriptionFacts(
        plan=plan if isinstance(plan, str) else None, interval=interval if isinstance(interval, str) else None
    )
