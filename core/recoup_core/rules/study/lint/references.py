"""Words that nothing answers to: roles nobody has, templates nobody wrote, channels, gateways, plans there are not."""

from collections.abc import Iterator
from typing import Final

from recoup_core.rules.language.actions.notices import NoticesSpec
from recoup_core.rules.language.actions.retry import RetrySpec
from recoup_core.rules.language.actions.review import ReviewSpec
from recoup_core.rules.language.actions.steps import DowngradeSubscription, Message, StepAction, StepsSpec
from recoup_core.rules.language.conditions import Condition, walk
from recoup_core.rules.language.errors import Problem, Report, Severity, shown
from recoup_core.rules.language.names import Names
from recoup_core.rules.language.schema import Action, Policy
from recoup_core.rules.study.lint.finding import finding
from recoup_core.rules.study.lint.places import place_of

CODES: Final = {
    "roles": "unknown_role",
    "templates": "unknown_template",
    "channels": "unknown_channel",
    "gateways": "unknown_gateway",
    "plans": "unknown_plan",
}
_FACTS: Final = {"gateway": "gateways", "subscription.plan": "plans", "agent.role": "roles"}
"""Facts whose values are such words."""

_Reference = tuple[str, str, int, str | None]
"""Which list, the word, the line, and the rule."""


def references(policy: Policy, names: Names) -> Iterator[Problem]:
    """Yield each word of a policy that is in no list, once per rule."""
    near = Report(policy.source)
    told: set[tuple[str, str, str | None]] = set()
    for what, word, line, rule in _references(policy):
        known = names.words(what)
        if known is None or word in known or (what, word, rule) in told:
            continue
        told.add((what, word, rule))
        declared = names.declared(what)
        where = f"in {names.source}" if declared else "that come with Recoup"
        severity = Severity.ERROR if declared else Severity.WARNING
        message = f"{shown(word)} is none of the {what} {where}"
        yield finding(
            CODES[what],
            policy,
            line,
            message,
            rule=rule,
            hint=_hint(near.suggest(word, known), declared=declared),
            severity=severity,
            at=place_of(policy.text, line, word),
        )


def _hint(near: str | None, *, declared: bool) -> str | None:
    own = None if declared else "list your own in a file of `kind: names`"
    return "; ".join(part for part in (near, own) if part) or None


def _references(policy: Policy) -> Iterator[_Reference]:
    for fact, words in policy.applies_to.only.items():
        if fact in _FACTS:
            yield from ((_FACTS[fact], word, policy.applies_to.line, None) for word in words)
    for rule in policy.rules:
        if rule.when is not None:
            yield from ((what, word, line, rule.name) for what, word, line in _asked(rule.when))
        for action in (rule.action, rule.otherwise):
            if action is not None:
                yield from ((what, word, rule.line, rule.name) for what, word in _named(action))


def _asked(condition: Condition) -> Iterator[tuple[str, str, int]]:
    for leaf in walk(condition):
        what = _FACTS.get(leaf.fact.name)
        if what is not None:
            yield from ((what, str(value), leaf.line) for value in leaf.values)


def _named(action: Action) -> Iterator[tuple[str, str]]:
    if isinstance(action, RetrySpec) and action.gateway is not None:
        yield "gateways", action.gateway
    elif isinstance(action, ReviewSpec):
        yield from (("roles", role) for level in action.levels for role in level)
        yield from (("roles", role) for role in action.escalate_to)
    elif isinstance(action, StepsSpec):
        for step in action.steps:
            yield from _said(step.do)
    elif isinstance(action, NoticesSpec):
        for notice in action.notices:
            yield from _said(notice.do)


def _said(action: StepAction) -> Iterator[tuple[str, str]]:
    if isinstance(action, Message):
        yield "templates", action.template
        yield from (("channels", channel) for channel in action.channels)
    elif isinstance(action, DowngradeSubscription):
        yield "plans", action.plan
