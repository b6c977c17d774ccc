"""Subscriptions that are paused or ended, or debts given up, before the customer was told, or while retries go on.

*Before the customer was told*: no message of the same rule surely comes before the step. Surely means whatever happens:
counted from the same moment and earlier (a window of hours may hold a message back by up to a day); or counted from the
opening and the step from exhaustion, with a longer wait than the message's, because retries may be exhausted at once.
A message that hangs on a retry is never sure. A message sent at once when the case opens comes before every step that
waits for exhaustion.

*While retries go on*: the step is counted from the opening, and a retry policy that stands beside this one and may be
for the same payment plans a retry later than that (`played.py`). For a pause or a downgrade, which can be taken back,
that is a warning.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.actions.steps import Message, On, StepSpec, StepsSpec
from recoup_core.rules.language.errors import Problem, Severity, shown
from recoup_core.rules.language.schema import Policy, Rule
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.lint.finding import finding
from recoup_core.rules.study.lint.places import key_place
from recoup_core.rules.study.lint.played import START, Game
from recoup_core.rules.timing import in_words

CODE: Final = "suspension_before_notice"
MAX_PLAYED: Final = 500
"""Payments played to learn how long one retry policy goes on."""

_DAY: Final = timedelta(days=1)
_FOR_GOOD: Final = frozenset({StepKind.CANCEL_SUBSCRIPTION, StepKind.WRITE_OFF})
_HARSH: Final = _FOR_GOOD | {StepKind.PAUSE_SUBSCRIPTION, StepKind.DOWNGRADE_SUBSCRIPTION}


def early_suspensions(policy: Policy, beside: Sequence[Policy], budget: Budget) -> Iterator[Problem]:
    """Yield the steps of a dunning policy that may come too early; `beside` are all policies of the folder."""
    retrying = _longest(policy, beside, budget) if any(_counted(rule) for rule in policy.rules) else []
    for rule in policy.rules:
        if not isinstance(rule.action, StepsSpec):
            continue
        messages = [step for step in rule.action.steps if isinstance(step.do, Message)]
        for step in rule.action.steps:
            if step.kind not in _HARSH:
                continue
            if not any(_surely_before(message, step) for message in messages):
                message = f"{_words(step)} may come before the customer was told: no message surely comes earlier"
                hint = "let a message come first, counted from the same moment"
                at = key_place(policy.text, rule.line, step.kind.value)
                yield finding(CODE, policy, rule.line, message, rule=rule.name, hint=hint, at=at)
            for other, longest in retrying:
                if step.on is On.OPENED and step.after < longest:
                    yield _while_retrying(policy, rule, step, other, longest)


def _while_retrying(policy: Policy, rule: Rule, step: StepSpec, other: Policy, longest: timedelta) -> Problem:
    message = (
        f"{_words(step)} may come before the last retry: {shown(other.name)} ({other.source}) plans retries "
        f"until {in_words(longest)} after the first failure"
    )
    severity = Severity.ERROR if step.kind in _FOR_GOOD else Severity.WARNING
    hint = "write `on: exhausted`, which is when retries are over"
    at = key_place(policy.text, rule.line, step.kind.value)
    return finding(CODE, policy, rule.line, message, rule=rule.name, hint=hint, severity=severity, at=at)


def _counted(rule: Rule) -> bool:
    """Return whether a rule has steps that are held against the last retry."""
    steps = rule.action.steps if isinstance(rule.action, StepsSpec) else ()
    return any(step.kind in _HARSH and step.on is On.OPENED for step in steps)


def _surely_before(message: StepSpec, step: StepSpec) -> bool:
    if message.on not in (On.OPENED, step.on) or message.on in (On.BEFORE_RETRY, On.AFTER_RETRY):
        return False
    if message.on is not step.on and not message.after and message.between is None:
        return True
    held_back = _DAY if message.between is not None else timedelta()
    return message.after + held_back < step.after


def _words(step: StepSpec) -> str:
    when = f"{in_words(step.after)} after " if step.after else "at once when "
    what = {On.OPENED: "opening", On.EXHAUSTED: "retries are exhausted"}.get(step.on, step.on.value)
    if step.on is On.OPENED and not step.after:
        what = "the case opens"
    return f"`{step.kind.value}` ({when}{what})"


def _longest(policy: Policy, beside: Sequence[Policy], budget: Budget) -> list[tuple[Policy, timedelta]]:
    """Return the retry policies that may be for the same payments, and how long their retries go on."""
    retrying = [other for other in beside if other.kind is PolicyKind.RETRY]
    return [(other, _last_retry(other, budget)) for other in retrying if other.applies_to.overlaps(policy.applies_to)]


def _last_retry(policy: Policy, budget: Budget) -> timedelta:
    """Return the latest retry of the payments played; those that took too long to find are left out."""
    game = Game(policy)
    longest = timedelta()
    for number, facts in enumerate(game.beginnings(budget)):
        if facts is None or number >= MAX_PLAYED:
            break
        longest = max([longest, *(each.at - START for each in game.tries(facts))])
    return longest
