"""A decision on facts that somebody makes up: the same code that decides about real payments, on a made-up history."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from recoup_cli.facts_text import decline_of
from recoup_core.domain.decline import Decline
from recoup_core.domain.payment import Credential, CredentialRole, Method, Network
from recoup_core.rules.compile import CompiledPolicy
from recoup_core.rules.decide import Decision, Situation, decide_retry
from recoup_core.rules.facts import RetryFacts
from recoup_core.rules.limits import PastAttempt

MAX_HISTORY: Final = 100
"""Made-up attempts; no account comes near it inside the limits."""

_ID: Final = UUID(int=0)


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs besides the facts."""

    now: datetime
    used: int | None = None
    """Retries that the firing rule has led to; None: as many as the fact `retries` says."""
    zone: str | None = None
    paydays: tuple[int, ...] = ()
    acquirer: str | None = None


def decide_if(policy: CompiledPolicy, facts: RetryFacts, what_if: WhatIf) -> Decision:
    """Decide as if the latest attempt had just failed and the earlier ones were spread evenly since the first."""
    decline = decline_of(facts)
    first = what_if.now - timedelta(days=facts.days_since_failure)
    rule = policy.verdict(facts)
    credentials = [_credential(facts, CredentialRole.PRIMARY, first)]
    if facts.has_backup:
        credentials.append(_credential(facts, CredentialRole.BACKUP, first))
    situation = Situation(
        now=what_if.now,
        payment_id=_ID,
        amount=facts.amount,
        first_failed_at=first,
        last_failed_at=what_if.now,
        last_decline=decline,
        last_account=CredentialRole.PRIMARY,
        credentials=tuple(credentials),
        history={CredentialRole.PRIMARY.value: _history(facts, decline, first, what_if.now)},
        acquirer_country=what_if.acquirer,
        uses={rule.name: facts.retries if what_if.used is None else what_if.used},
        customer_zone=what_if.zone,
        country=facts.country,
        paydays=what_if.paydays,
        seed="what if",
    )
    return decide_retry(policy, facts, situation)


def _credential(facts: RetryFacts, role: CredentialRole, at: datetime) -> Credential:
    return Credential(
        id=UUID(int=1 + list(CredentialRole).index(role)),
        merchant_id="default",
        customer_ref="what-if",
        gateway=facts.gateway,
        token=role,
        account_key=role,
        method=Method(facts.method),
        network=Network(facts.network) if facts.network else None,
        role=role,
        issuer_country=facts.issuer_country,
        created_at=at,
    )


def _history(facts: RetryFacts, decline: Decline, first: datetime, last: datetime) -> tuple[PastAttempt, ...]:
    count = min(facts.attempt, MAX_HISTORY)
    apart = (last - first) / max(1, count - 1)
    return tuple(
        PastAttempt(
            at=last - number * apart,
            amount_minor=facts.amount.amount_minor,
            currency=facts.amount.currency,
            payment_id=_ID,
            succeeded=False,
            network_code=decline.network_code,
            advice_code=decline.advice_code,
            visa_category=decline.visa_category,
            category=decline.category,
            source=decline.source,
            code=decline.code,
        )
        for number in range(count)
    )
