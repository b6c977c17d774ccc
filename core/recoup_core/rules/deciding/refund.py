"""From what is known of a requested refund to its answer: approved, reviewed by whom, denied, or incomplete.

Pure: no clock, no database, no gateway. In this order: a reason that is not in the policy's list is denied before any
rule; the first rule whose condition is true decides; an approval counts only within all of its bounds, else `otherwise`
does; a denial stays one, anything else waits for the evidence that the reason needs. That no more goes back than came
in, and nothing under dispute, is not up to a policy: the flows hold it under lock, whatever is answered here.
"""

from datetime import datetime
from typing import Final

import msgspec

from recoup_core.domain.errors import CurrencyMismatch, DomainError
from recoup_core.domain.money import Money
from recoup_core.rules.deciding.decide import ActionTrace, Explanation
from recoup_core.rules.deciding.refund_bounds import BoundTrace, EarlierRefund, RefundSituation, check_bounds
from recoup_core.rules.deciding.review import Review, reviewed
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.engine.trace import Outcome
from recoup_core.rules.facts import RefundFacts
from recoup_core.rules.language.actions import ApproveSpec, DenySpec, ReviewSpec
from recoup_core.rules.language.reasons import Reasons
from recoup_core.rules.language.schema import Rule

__all__ = [
    "REASON_NOT_ALLOWED",
    "Approve",
    "BoundTrace",
    "Deny",
    "EarlierRefund",
    "Incomplete",
    "NothingToRefund",
    "ReasonTrace",
    "RefundDecision",
    "RefundExplanation",
    "RefundSituation",
    "Review",
    "act",
    "decide_refund",
]

REASON_NOT_ALLOWED: Final = "reason_not_allowed"
"""Why a refund is denied whose reason the policy doesn't list."""

NO_RULE: Final = ""
"""Stands for the rule where the answer came before any."""


class NothingToRefund(DomainError):
    """Asked for nothing, or less."""

    code = "nothing_to_refund"

    def __init__(self, amount: Money) -> None:
        super().__init__(f"asked to refund {amount}; it must be more than nothing")
        self.amount = amount


class Approve(msgspec.Struct, frozen=True, kw_only=True, tag="approve"):
    """It may go out without a person."""


class Deny(msgspec.Struct, frozen=True, kw_only=True, tag="deny"):
    """It is refused; the reason is the policy's own, or `REASON_NOT_ALLOWED`."""

    reason: str


class Incomplete(msgspec.Struct, frozen=True, kw_only=True, tag="incomplete"):
    """It is neither denied nor looked at before the evidence is there."""

    missing: tuple[str, ...]


RefundOutcome = Approve | Review | Deny | Incomplete


class ReasonTrace(msgspec.Struct, frozen=True, kw_only=True):
    """The reason given, and what the policy's list says to it."""

    given: str
    listed: bool | None
    """None: the policy has no list, any reason will do."""
    allowed: tuple[str, ...] = ()
    """The policy's list, where the reason is not in it."""
    evidence: tuple[str, ...] = ()
    """What the reason needs."""
    missing: tuple[str, ...] = ()


class RefundExplanation(Explanation, frozen=True, kw_only=True):
    """Why: besides the policy, its rules and the actions tried, the reason and every bound with its figures."""

    reason: ReasonTrace
    bounds: tuple[BoundTrace, ...] = ()


class RefundDecision(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome and its explanation."""

    outcome: RefundOutcome
    rule: str
    """The rule that fired, or `NO_RULE`."""
    explanation: RefundExplanation


def decide_refund(policy: CompiledPolicy, facts: RefundFacts, situation: RefundSituation) -> RefundDecision:
    """Return what the policy answers to a request.

    Raises `CurrencyMismatch` where the refund is not in the currency of its payment, and `NothingToRefund`.
    """
    _refuse_nonsense(facts)
    reason = _reason(policy.policy.reasons, facts.reason, situation)
    if reason.listed is False:
        explanation = _explained(policy, NO_RULE, reason)
        return RefundDecision(outcome=Deny(reason=REASON_NOT_ALLOWED), rule=NO_RULE, explanation=explanation)
    rule = policy.verdict(facts)
    outcome, actions, bounds = act(rule, facts, situation)
    if reason.missing and not isinstance(outcome, Deny):
        outcome = Incomplete(missing=reason.missing)
    explanation = msgspec.structs.replace(
        _explained(policy, rule.name, reason), rules=policy.trace(facts), actions=actions, bounds=bounds
    )
    return RefundDecision(outcome=outcome, rule=rule.name, explanation=explanation)


def _refuse_nonsense(facts: RefundFacts) -> None:
    for other in (facts.payment_amount, facts.refunded_before):
        if other.currency != facts.amount.currency:
            raise CurrencyMismatch(facts.amount.currency, other.currency)
    if facts.amount.amount_minor <= 0:
        raise NothingToRefund(facts.amount)


def _reason(reasons: Reasons | None, given: str, situation: RefundSituation) -> ReasonTrace:
    if reasons is None:
        return ReasonTrace(given=given, listed=None)
    listed = reasons.get(given)
    if listed is None:
        return ReasonTrace(given=given, listed=False, allowed=tuple(reasons))
    missing = tuple(kind for kind in listed.evidence if kind not in situation.evidence)
    return ReasonTrace(given=given, listed=True, evidence=listed.evidence, missing=missing)


def _explained(policy: CompiledPolicy, rule: str, reason: ReasonTrace) -> RefundExplanation:
    return RefundExplanation(
        policy=policy.policy.name, digest=policy.digest, rule=rule, rules=(), actions=(), reason=reason
    )


_Acted = tuple[RefundOutcome, tuple[ActionTrace, ...], tuple[BoundTrace, ...]]


def act(rule: Rule, facts: RefundFacts, situation: RefundSituation) -> _Acted:
    """Return what the rule's action comes to, or where its bounds don't allow it, `otherwise`."""
    if not isinstance(rule.action, ApproveSpec):
        outcome, trace = _answer(rule.action, "", facts.amount, situation.now)
        return outcome, (trace,), ()
    bounds = check_bounds(rule.action, facts, situation)
    refusing = tuple(bound.because for bound in bounds if bound.verdict is not Outcome.TRUE)
    if not refusing:
        because = tuple(bound.because for bound in bounds) or ("without bounds",)
        return Approve(), (ActionTrace(action="approve", applied=True, because=because),), bounds
    refused = ActionTrace(action="approve", applied=False, because=refusing)
    outcome, trace = _answer(rule.otherwise, "otherwise ", facts.amount, situation.now)
    return outcome, (refused, trace), bounds


def _answer(action: object, prefix: str, amount: Money, now: datetime) -> tuple[Review | Deny, ActionTrace]:
    """Return the answer of an action that always applies; a refund policy that was read has no other kinds here."""
    if isinstance(action, ReviewSpec):
        review, because = reviewed(action, amount, now)
        return review, ActionTrace(action=f"{prefix}review", applied=True, because=because)
    if isinstance(action, DenySpec):
        trace = ActionTrace(action=f"{prefix}deny", applied=True, because=(f"deny: {action.reason}",))
        return Deny(reason=action.reason), trace
    raise TypeError(f"{type(action).__name__} is no answer to a refund")
