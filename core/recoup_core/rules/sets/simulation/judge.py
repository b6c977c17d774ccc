"""One decision under the new text: made whole where the situation is known, else as far as facts alone lead."""

from typing import Any, Final

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.rules.deciding import decide, dunning
from recoup_core.rules.deciding.decide import ActionTrace, Retry, Situation, Stop
from recoup_core.rules.deciding.dunning import DunningSituation, Quiet
from recoup_core.rules.deciding.refund import REASON_NOT_ALLOWED, Approve, Deny, RefundSituation, decide_refund
from recoup_core.rules.deciding.review import reviewers
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import Facts, RefundFacts
from recoup_core.rules.language.actions import ApproveSpec, DenySpec, RetrySpec, ReviewSpec, StopSpec
from recoup_core.rules.language.actions.steps import QuietSpec
from recoup_core.rules.sets.simulation.compare import PastRetry, PastStop

WHEN: Final = "when a retry would be made, and whether its waits, its credential and the limits allow one"
WHICH_STEPS: Final = "which dunning steps there would be, and when"
WITHIN_BOUNDS: Final = "whether an approval would stay within its bounds"
EVIDENCE: Final = "whether the evidence that the reason needs was there"


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What the new text comes to."""

    rule: str
    outcome: Any
    """None where it can't be told."""
    questions: tuple[str, ...] = ()
    """What can't be told of it."""
    actions: tuple[ActionTrace, ...] = ()
    """What the rule's actions came to."""


def judge(policy: CompiledPolicy, facts: Facts, situation: Any) -> Judged:
    """Decide again; `situation` None means that history doesn't hold it."""
    match situation:
        case Situation():
            return _retry(policy, facts, situation)
        case DunningSituation():
            rule = policy.verdict(facts)
            return Judged(rule=rule.name, outcome=dunning.act(rule, situation)[0])
        case RefundSituation():
            return _refund(policy, facts, situation)
    return _by_facts(policy, facts)


def _retry(policy: CompiledPolicy, facts: Facts, situation: Situation) -> Judged:
    rule = policy.verdict(facts)
    outcome, actions = decide.act(rule, situation)
    return Judged(rule=rule.name, outcome=past(outcome), actions=actions)


def _refund(policy: CompiledPolicy, facts: Facts, situation: RefundSituation) -> Judged:
    assert isinstance(facts, RefundFacts)  # read by the kind's own type
    try:
        decision = decide_refund(policy, facts, situation)
    except DomainError as refusal:
        return Judged(rule="", outcome=None, questions=(f"what is asked for can't be decided: {refusal.code}",))
    return Judged(rule=decision.rule, outcome=decision.outcome, actions=decision.explanation.actions)


def _by_facts(policy: CompiledPolicy, facts: Facts) -> Judged:
    """Return what follows from the rule that fires, without the situation that its action would need."""
    reasons = policy.policy.reasons
    if isinstance(facts, RefundFacts) and reasons is not None and facts.reason not in reasons:
        return Judged(rule="", outcome=Deny(reason=REASON_NOT_ALLOWED))
    rule = policy.verdict(facts)
    needs_evidence = isinstance(facts, RefundFacts) and reasons is not None and bool(reasons[facts.reason].evidence)
    match rule.action:
        case StopSpec():
            return Judged(rule=rule.name, outcome=PastStop(reason=str(rule.action.reason)))
        case QuietSpec():
            return Judged(rule=rule.name, outcome=Quiet(reason=rule.action.reason))
        case DenySpec():
            return Judged(rule=rule.name, outcome=Deny(reason=rule.action.reason))
        case ReviewSpec() | ApproveSpec() if needs_evidence:
            return Judged(rule=rule.name, outcome=None, questions=(EVIDENCE,))
        case ReviewSpec():
            return Judged(rule=rule.name, outcome=reviewers(rule.action, facts.amount))
        case ApproveSpec():
            bounded = rule.action.bounded
            return Judged(
                rule=rule.name, outcome=None if bounded else Approve(), questions=(WITHIN_BOUNDS,) if bounded else ()
            )
        case RetrySpec():
            return Judged(rule=rule.name, outcome=PastRetry(), questions=(WHEN,))
    return Judged(rule=rule.name, outcome=None, questions=(WHICH_STEPS,))


def past(outcome: Retry | Stop) -> PastRetry | PastStop:
    """Return an outcome in the form in which history has it."""
    if isinstance(outcome, Stop):
        return PastStop(reason=outcome.reason)
    return PastRetry(at=outcome.at, credential_id=outcome.credential_id, gateway=outcome.gateway)
