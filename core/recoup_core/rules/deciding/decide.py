"""From what is known of a failed payment to what happens next, with everything that explains it.

Pure: no clock, no database, no gateway. A policy proposes, the limits dispose: whatever a rule says, an attempt that a
network or scheme forbids is never planned (promise 6). The caller stores the decision.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.decline import Decline, Retryable
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Credential, CredentialRole
from recoup_core.rules.deciding.limits import Blocked, Finding, LimitQuestion, PastAttempt, check_limits
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.engine.trace import RuleTrace
from recoup_core.rules.facts import RetryFacts
from recoup_core.rules.language.schema import Day, RetrySpec, Rule, StopSpec
from recoup_core.rules.timing import DoesNotApply, Planned, TimingContext, earliest, next_time

MAX_LIMIT_ROUNDS: Final = 12
"""How often a time may be pushed by limits and pulled back into the policy's windows before the action gives up."""

EXHAUSTED: Final = "exhausted"


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs besides the facts that conditions see."""

    now: datetime
    payment_id: UUID
    amount: Money
    first_failed_at: datetime
    last_failed_at: datetime
    last_decline: Decline
    last_account: str | None
    """The account the latest decline was for; None where the report named no credential."""
    customer_acted_at: datetime | None = None
    """When the customer last gave a credential; a decline older than that says nothing about a new one."""
    credentials: tuple[Credential, ...]
    """Valid ones, primaries first, newest first."""
    history: Mapping[str, tuple[PastAttempt, ...]]
    """Every known attempt by account."""
    same: Mapping[str, tuple[str, ...]] = {}
    """By account, the others that may be the same card at another gateway: their attempts count as well."""
    acquirer_country: str | None
    uses: Mapping[str, int]
    """How many retries each rule has led to."""
    customer_zone: str | None
    country: str | None
    paydays: tuple[int, ...] = ()
    seed: str


class Retry(msgspec.Struct, frozen=True, kw_only=True, tag="retry"):
    """Try again at a time, on a credential, at a gateway."""

    at: datetime
    credential_id: UUID
    gateway: str


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """No further attempt; the reason is the policy's own, or `exhausted` where nothing applied any more."""

    reason: str


class ActionTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One action of the fired rule: what came of it and through which steps."""

    action: str
    """`retry` or `stop`, and `otherwise` in front where the first one did not apply."""
    applied: bool
    because: tuple[str, ...] = ()
    limits: tuple[Finding, ...] = ()


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why: the policy, each rule up to the one that fired, each action tried, each limit that spoke."""

    policy: str
    digest: str
    rule: str
    rules: tuple[RuleTrace, ...]
    actions: tuple[ActionTrace, ...]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome and its explanation."""

    outcome: Retry | Stop
    rule: str
    explanation: Explanation


def decide_retry(policy: CompiledPolicy, facts: RetryFacts, situation: Situation) -> Decision:
    """Return what the first matching rule says, as far as its timing, credentials and the limits allow."""
    rule = policy.verdict(facts)
    outcome, actions = act(rule, situation)
    explanation = Explanation(
        policy=policy.policy.name,
        digest=policy.digest,
        rule=rule.name,
        rules=policy.trace(facts),
        actions=actions,
    )
    return Decision(outcome=outcome, rule=rule.name, explanation=explanation)


def act(rule: Rule, situation: Situation) -> tuple[Retry | Stop, tuple[ActionTrace, ...]]:
    """Return what the first action of a rule that applies comes to, and what was tried; stop where none applies."""
    actions: list[ActionTrace] = []
    for name, action in _actions(rule):
        if isinstance(action, StopSpec):
            actions.append(ActionTrace(action=name, applied=True, because=(f"stop: {action.reason}",)))
            return Stop(reason=str(action.reason)), tuple(actions)
        result, trace = _try_retry(name, action, rule, situation)
        actions.append(trace)
        if result is not None:
            return result, tuple(actions)
    return Stop(reason=EXHAUSTED), tuple(actions)


def when_late(policy: CompiledPolicy, rule_name: str, situation: Situation) -> datetime | None:
    """Return when a retry that missed its time may be made: now, or when the rule's hours and days next allow it.

    A payday that was missed is not waited for once more: the money came, and late beats next month.
    None: the rule's time is over.
    """
    rule = next((rule for rule in policy.policy.rules if rule.name == rule_name), None)
    actions = (rule.action, rule.otherwise) if rule is not None else ()
    spec = next((action for action in actions if isinstance(action, RetrySpec)), None)
    if spec is None:
        return situation.now
    without_payday = msgspec.structs.replace(spec, on=None if spec.on == Day.PAYDAY else spec.on)
    found = earliest(situation.now, without_payday, _timing(rule_name, situation))
    return None if isinstance(found, DoesNotApply) else found.at


def check_account(
    situation: Situation, credential: Credential, at: datetime
) -> tuple[datetime | None, tuple[Finding, ...]]:
    """Ask the limits when an attempt on the credential's account may be sent, `at` the earliest; None means never."""
    verdict = check_limits(
        LimitQuestion(
            at=at,
            method=credential.method,
            network=credential.network,
            amount_minor=situation.amount.amount_minor,
            currency=situation.amount.currency,
            payment_id=situation.payment_id,
            acquirer_country=situation.acquirer_country,
            history=_history(situation, credential),
        )
    )
    return (None if isinstance(verdict, Blocked) else verdict.at), verdict.findings


def is_last_account(situation: Situation, credential: Credential) -> bool:
    """Whether the latest decline was for the account behind a credential, or may have been."""
    key = credential.account_key
    return situation.last_account in (None, key, *situation.same.get(key, ()))


def _history(situation: Situation, credential: Credential) -> tuple[PastAttempt, ...]:
    """Every attempt on the account, at whichever gateway: another route is no fresh start."""
    key = credential.account_key
    return tuple(past for each in (key, *situation.same.get(key, ())) for past in situation.history.get(each, ()))


def _actions(rule: Rule) -> Iterator[tuple[str, RetrySpec | StopSpec]]:
    for prefix, action in (("", rule.action), ("otherwise ", rule.otherwise)):
        if isinstance(action, RetrySpec | StopSpec):
            yield f"{prefix}{'stop' if isinstance(action, StopSpec) else 'retry'}", action


def _try_retry(name: str, spec: RetrySpec, rule: Rule, situation: Situation) -> tuple[Retry | None, ActionTrace]:
    credential = _credential_for(spec, situation)
    if credential is None:
        return None, ActionTrace(action=name, applied=False, because=(f"no {spec.credential} credential",))
    if refusal := unattended_refusal(situation, credential):
        return None, ActionTrace(action=name, applied=False, because=(refusal,))
    context = _timing(rule.name, situation)
    planned, findings = _settle_time(spec, context, situation, credential)
    if isinstance(planned, DoesNotApply):
        return None, ActionTrace(action=name, applied=False, because=(planned.reason,), limits=findings)
    gateway = spec.gateway or credential.gateway
    retry = Retry(at=planned.at, credential_id=credential.id, gateway=gateway)
    return retry, ActionTrace(action=name, applied=True, because=planned.because, limits=findings)


def _timing(rule_name: str, situation: Situation) -> TimingContext:
    return TimingContext(
        now=situation.now,
        first_failed_at=situation.first_failed_at,
        last_failed_at=situation.last_failed_at,
        used=situation.uses.get(rule_name, 0),
        customer_zone=situation.customer_zone,
        country=situation.country,
        paydays=situation.paydays,
        seed=situation.seed,
    )


def _settle_time(
    spec: RetrySpec, context: TimingContext, situation: Situation, credential: Credential
) -> tuple[Planned | DoesNotApply, tuple[Finding, ...]]:
    """Find a time that both the policy's timing and the limits accept; each round moves later only."""
    planned = next_time(spec, context)
    said: tuple[Finding, ...] = ()
    for _ in range(MAX_LIMIT_ROUNDS):
        if isinstance(planned, DoesNotApply):
            return planned, said
        allowed_at, findings = check_account(situation, credential, planned.at)
        said = findings or said
        if allowed_at is None:
            return DoesNotApply(reason="blocked_by_limits"), said
        if allowed_at <= planned.at:
            return planned, said
        pushed = earliest(allowed_at, spec, context)
        if isinstance(pushed, Planned):
            because = (*planned.because, "pushed later by network limits", *pushed.because)
            pushed = Planned(at=pushed.at, because=because)
        planned = pushed
    return DoesNotApply(reason="no_time_within_limits"), said


def _credential_for(spec: RetrySpec, situation: Situation) -> Credential | None:
    """The newest valid credential of the wanted role; a named gateway narrows the choice to its own tokens."""
    wanted = CredentialRole(spec.credential)
    fitting = [c for c in situation.credentials if c.role is wanted and spec.gateway in (None, c.gateway)]
    return fitting[0] if fitting else None


def unattended_refusal(situation: Situation, credential: Credential) -> str | None:
    """Return why the latest decline forbids an unattended try on this credential, or None.

    Promise 6: what the issuer called final, or what only the customer can mend, is not tried again on the same
    account; an unknown code counts as final. A credential given since is a new start.
    """
    if situation.last_decline.retryable is Retryable.YES:
        return None
    same_account = is_last_account(situation, credential)
    acted = situation.customer_acted_at is not None and situation.customer_acted_at > situation.last_failed_at
    if not same_account or (acted and situation.last_decline.retryable is Retryable.AFTER_CUSTOMER_ACTION):
        return None
    decline = situation.last_decline
    return f"decline {decline.code} is not retryable on the same account ({decline.retryable})"
