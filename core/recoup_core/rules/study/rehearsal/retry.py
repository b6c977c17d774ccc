"""Runs a retry policy through a timeline."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from recoup_core.domain.payment import CredentialRole
from recoup_core.rules.deciding.decide import Decision, Retry, Situation, decide_retry
from recoup_core.rules.deciding.limits import PastAttempt
from recoup_core.rules.deciding.what_if import PAYMENT, made_up_credentials, past_attempt, role_of
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import RetryFacts
from recoup_core.rules.language.actions import RetrySpec
from recoup_core.rules.language.given import decline_of
from recoup_core.rules.language.schema import Policy, Rule
from recoup_core.rules.language.timelines import RETRY, STOP, Timeline
from recoup_core.rules.study.coverage import Try
from recoup_core.rules.study.rehearsal.came import Came, Run
from recoup_core.rules.study.rehearsal.failures import facts_after


def without_jitter(policy: Policy) -> Policy:
    """Return the policy with every retry at its earliest time."""
    rules = (
        msgspec.structs.replace(rule, action=_calm(rule.action), otherwise=_calm(rule.otherwise))
        for rule in policy.rules
    )
    return msgspec.structs.replace(policy, rules=tuple(rules))


def run_retries(policy: Policy, compiled: CompiledPolicy, timeline: Timeline) -> Run:
    """Decide after each failure; `compiled` is the policy without jitter."""
    running = _Running(policy, compiled, timeline)
    steps = tuple(running.steps())
    return Run(steps=steps, tries=tuple(running.tries), left_over=running.left_over)


class _Running:
    """One payment's way through its failures."""

    def __init__(self, policy: Policy, compiled: CompiledPolicy, timeline: Timeline) -> None:
        self.policy = policy
        self.compiled = compiled
        self.timeline = timeline
        self.history: dict[str, list[PastAttempt]] = {}
        self.uses: Counter[str] = Counter()
        self.account = CredentialRole.PRIMARY.value
        self.tries: list[Try] = []
        self.left_over = 0

    def steps(self) -> Iterator[Came]:
        """Yield what is decided after each failure, until it is to stop, the money came or the failures are told."""
        at = self.timeline.start
        for made, failure in enumerate(self.timeline.failures):
            if failure is None:
                return
            facts = facts_after(self.policy, self.timeline, failure, made, at)
            decision = self._decide(facts, at)
            came = self._came(decision, facts, at)
            yield came
            if not isinstance(decision.outcome, Retry):
                self.left_over = len(self.timeline.failures) - made - 1
                return
            at = decision.outcome.at
            self.uses[decision.rule] += 1
            self.account = str(came.detail)

    def _decide(self, facts: RetryFacts, at: datetime) -> Decision:
        attempt = past_attempt(facts, decline_of(facts), at)
        self.history.setdefault(self.account, []).append(attempt)
        return decide_retry(self.compiled, facts, self._situation(facts, at))

    def _situation(self, facts: RetryFacts, at: datetime) -> Situation:
        timeline = self.timeline
        return Situation(
            now=at,
            payment_id=PAYMENT,
            amount=facts.amount,
            first_failed_at=timeline.start,
            last_failed_at=at,
            last_decline=decline_of(facts),
            last_account=self.account,
            credentials=made_up_credentials(self.policy, facts, timeline.start),
            history={account: tuple(attempts) for account, attempts in self.history.items()},
            acquirer_country=timeline.acquirer,
            uses=dict(self.uses),
            customer_zone=timeline.zone,
            country=facts.country,
            paydays=timeline.paydays,
            seed="timeline",
        )

    def _came(self, decision: Decision, facts: RetryFacts, at: datetime) -> Came:
        outcome, actions = decision.outcome, decision.explanation.actions
        retry = outcome if isinstance(outcome, Retry) else None
        otherwise = actions[-1].action.startswith("otherwise")
        self.tries.append(Try(facts=facts, otherwise=otherwise))
        rule = next(rule for rule in self.policy.rules if rule.name == decision.rule)
        return Came(
            decided_at=at,
            failure=facts.decline,
            what=STOP if retry is None else RETRY,
            at=None if retry is None else retry.at,
            detail=_detail(outcome),
            rule=decision.rule,
            because=tuple(why for action in actions for why in action.because),
            limits=tuple(finding for action in actions for finding in action.limits),
            jitter=timedelta() if retry is None else _jitter(rule, otherwise),
        )


def _detail(outcome: Any) -> str:
    """Return which of the made-up credentials a retry is for, or why it stops."""
    if isinstance(outcome, Retry):
        return role_of(outcome.credential_id).value
    return str(outcome.reason)


def _jitter(rule: Rule, otherwise: bool) -> timedelta:
    action = rule.otherwise if otherwise else rule.action
    return action.jitter if isinstance(action, RetrySpec) else timedelta()


def _calm(action: Any) -> Any:
    if isinstance(action, RetrySpec) and action.jitter:
        return msgspec.structs.replace(action, jitter=timedelta())
    return action
