"""A decision on facts that somebody makes up: the code that decides about real payments, on a made-up history.

What facts leave open is taken to be ordinary: earlier attempts lie evenly between the first failure and now; a planned
retry is a day ahead; a charge was announced just now, and is made at the same hour of its day; a refund's evidence is
there, and who asks has had approved today what the facts say.
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.decline import Decline
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Credential, CredentialRole, Method, Network
from recoup_core.rules.deciding.decide import Situation, decide_retry
from recoup_core.rules.deciding.deciders import AnyDecision
from recoup_core.rules.deciding.dunning import DeclinedRetry, DunningSituation, PlannedRetry, decide_dunning
from recoup_core.rules.deciding.limits import PastAttempt
from recoup_core.rules.deciding.notice import NoticeSituation, decide_notice
from recoup_core.rules.deciding.refund import EarlierRefund, RefundSituation, decide_refund
from recoup_core.rules.deciding.refund_bounds import MAX_EARLIER_REFUNDS
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import DunningFacts, Facts, NoticeFacts, RefundCustomerFacts, RefundFacts, RetryFacts
from recoup_core.rules.language.actions.values import CUSTOMER_ZONE
from recoup_core.rules.language.given import decline_of
from recoup_core.rules.language.schema import Policy, RetrySpec
from recoup_core.rules.timing import zone_of

_YESTERDAY: Final = timedelta(days=1)
_BEFORE_THE_WEEK: Final = timedelta(days=8)
_BEFORE_LATELY: Final = timedelta(days=31)

MAX_HISTORY: Final = 100
"""Made-up attempts; no account comes near it inside the limits."""

MAX_DAYS: Final = 36_500
"""Days that a first failure may lie back; more is taken to be this much."""

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2100
"""Made-up times lie between these years: far from where calendars end."""

RETRY_AHEAD: Final = timedelta(days=1)

_PLACES: Final = 16
"""Ids of made-up credentials: the role below this, the number of the gateway above."""

PAYMENT: Final = UUID(int=0)
"""The made-up payment."""


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs besides the facts; None stands for the ordinary."""

    now: datetime
    used: int | None = None
    """Retries that the firing rule has led to; None: as many as the fact `retries` says."""
    zone: str | None = None
    """The customer's zone, IANA; of a refund, the merchant's."""
    paydays: tuple[int, ...] = ()
    acquirer: str | None = None
    retry_at: datetime | None = None
    """For dunning: when the planned retry is due; None: in a day."""
    evidence: tuple[str, ...] | None = None
    """For refunds: what was handed in; None: all that the reason needs."""


def decide_if(policy: CompiledPolicy, facts: Facts, what_if: WhatIf) -> AnyDecision:
    """Decide on made-up facts of the policy's kind, as of `now`."""
    if isinstance(facts, DunningFacts):
        return decide_dunning(policy, facts, _dunning(facts, what_if))
    if isinstance(facts, RefundFacts):
        return decide_refund(policy, facts, made_up_refund(policy, facts, what_if))
    if isinstance(facts, NoticeFacts):
        return decide_notice(policy, facts, made_up_notice(facts, what_if))
    assert isinstance(facts, RetryFacts)  # the last of four kinds
    return decide_retry(policy, facts, _retry(policy, facts, what_if))


def _retry(policy: CompiledPolicy, facts: RetryFacts, what_if: WhatIf) -> Situation:
    """Return a situation in which the latest attempt has just failed."""
    decline = decline_of(facts)
    first = _first_failure(facts, what_if.now)
    rule = policy.verdict(facts)
    return Situation(
        now=what_if.now,
        payment_id=PAYMENT,
        amount=facts.amount,
        first_failed_at=first,
        last_failed_at=what_if.now,
        last_decline=decline,
        last_account=CredentialRole.PRIMARY,
        credentials=made_up_credentials(policy.policy, facts, first),
        history={CredentialRole.PRIMARY.value: _history(facts, decline, first, what_if.now)},
        acquirer_country=what_if.acquirer,
        uses={rule.name: facts.retries if what_if.used is None else what_if.used},
        customer_zone=what_if.zone,
        country=facts.country,
        paydays=what_if.paydays,
        seed="what if",
    )


def _dunning(facts: DunningFacts, what_if: WhatIf) -> DunningSituation:
    """Return a situation in which the latest attempt has just failed; retries are over where none is planned."""
    now = what_if.now
    planned = PlannedRetry(id=UUID(int=facts.retries + 1), at=what_if.retry_at or now + RETRY_AHEAD)
    return DunningSituation(
        now=now,
        opened_at=_first_failure(facts, now),
        retry=planned if facts.retry_planned else None,
        declined=DeclinedRetry(id=UUID(int=facts.retries), at=now) if facts.retries else None,
        exhausted_at=None if facts.retry_planned else now,
        customer_zone=what_if.zone,
        country=facts.country,
    )


def made_up_notice(facts: NoticeFacts, what_if: WhatIf) -> NoticeSituation:
    """Return a situation in which the charge has just been announced; its days are counted as the facts' are."""
    now, left = what_if.now, facts.card_expires_in_days
    if left is not None and facts.card_expires_before_charge:
        left = min(left, facts.charge_in_days - 1)  # 0 of both: it ended before today
    today = now.astimezone(zone_of(CUSTOMER_ZONE, what_if.zone, facts.country))
    return NoticeSituation(
        now=now,
        announced_at=now,
        charge_at=(today + timedelta(days=min(facts.charge_in_days, MAX_DAYS))).astimezone(UTC),
        card_expires=None if left is None else today.date() + timedelta(days=min(left, MAX_DAYS)),
        customer_zone=what_if.zone,
        country=facts.country,
    )


def _first_failure(facts: RetryFacts, now: datetime) -> datetime:
    return now - timedelta(days=min(facts.days_since_failure, MAX_DAYS))


def made_up_refund(policy: CompiledPolicy, facts: RefundFacts, what_if: WhatIf) -> RefundSituation:
    """Return a situation in which today and the last year were as the facts say, and nobody else was refunded."""
    agent, nothing = facts.agent, Money(0, facts.amount.currency)
    today = nothing if agent is None else agent.refunded_today or nothing
    listed = (policy.policy.reasons or {}).get(facts.reason)
    needed = () if listed is None else listed.evidence
    return RefundSituation(
        now=what_if.now,
        zone=what_if.zone or "UTC",
        evidence=needed if what_if.evidence is None else what_if.evidence,
        agent_day=(today,),
        merchant_day=(today,),
        customer_refunds=_earlier(facts.customer or RefundCustomerFacts(), nothing, what_if.now),
    )


def _earlier(customer: RefundCustomerFacts, nothing: Money, now: datetime) -> tuple[EarlierRefund, ...]:
    """Return the refunds that the facts tell of, each as recent as they allow.

    Those of 7 days were yesterday, what 30 days had besides them 8 days ago, what the year had besides 31 days ago.
    Where nothing is said of 7 days, those of 30 days were yesterday: no bound looks kinder than it is.
    """
    week = (customer.refunds_7d or 0, customer.refunded_7d or nothing)
    month = (customer.refunds_30d or 0, customer.refunded_30d or nothing)
    year = (customer.refunds_365d or 0, customer.refunded_365d or nothing)
    before_week = _BEFORE_THE_WEEK if week[0] or week[1].amount_minor else _YESTERDAY
    return (
        *_refunds(*week, now - _YESTERDAY),
        *_refunds(*_besides(month, week), now - before_week),
        *_refunds(*_besides(year, month), now - _BEFORE_LATELY),
    )


def _besides(longer: tuple[int, Money], shorter: tuple[int, Money]) -> tuple[int, Money]:
    """Return what a window has that isn't in the shorter one."""
    rest = longer[1]
    if rest.currency == shorter[1].currency:
        rest = Money(max(0, rest.amount_minor - shorter[1].amount_minor), rest.currency)
    return max(0, longer[0] - shorter[0]), rest


def _refunds(count: int, together: Money, at: datetime) -> tuple[EarlierRefund, ...]:
    """Return so many refunds, at least one where they come to something; the first carries the whole sum."""
    many = min(max(count, bool(together.amount_minor)), MAX_EARLIER_REFUNDS + 1)
    none = Money(0, together.currency)
    return tuple(EarlierRefund(at=at, amount=none if number else together) for number in range(many))


def made_up_credentials(policy: Policy, facts: RetryFacts, at: datetime) -> tuple[Credential, ...]:
    """Return a primary credential such as the facts tell of, and a backup where they say there is one.

    They are stored at the gateway of the facts and at every other that the policy's retries name; `role_of` tells the
    role by the id.
    """
    roles = (CredentialRole.PRIMARY, CredentialRole.BACKUP) if facts.has_backup else (CredentialRole.PRIMARY,)
    actions = (action for rule in policy.rules for action in (rule.action, rule.otherwise))
    named = (action.gateway for action in actions if isinstance(action, RetrySpec) and action.gateway is not None)
    gateways = dict.fromkeys((facts.gateway, *named))
    return tuple(_credential(facts, role, at, place, name) for role in roles for place, name in enumerate(gateways))


def role_of(credential_id: UUID) -> CredentialRole:
    """Return the role of a made-up credential."""
    return list(CredentialRole)[credential_id.int % _PLACES - 1]


def past_attempt(facts: RetryFacts, decline: Decline, at: datetime) -> PastAttempt:
    """Return a declined attempt to collect the facts' amount."""
    return PastAttempt(
        at=at,
        amount_minor=facts.amount.amount_minor,
        currency=facts.amount.currency,
        payment_id=PAYMENT,
        succeeded=False,
        network_code=decline.network_code,
        advice_code=decline.advice_code,
        visa_category=decline.visa_category,
        category=decline.category,
        source=decline.source,
        code=decline.code,
    )


def _credential(facts: RetryFacts, role: CredentialRole, at: datetime, place: int, gateway: str) -> Credential:
    return Credential(
        id=UUID(int=1 + list(CredentialRole).index(role) + _PLACES * place),
        merchant_id="default",
        customer_ref="what-if",
        gateway=gateway,
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
    return tuple(past_attempt(facts, decline, last - number * apart) for number in range(count))
