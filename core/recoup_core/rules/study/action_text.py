"""What rules do, in words for people who don't read policies."""

from collections.abc import Mapping
from datetime import time
from typing import Final

from recoup_core.domain.payment import CredentialRole
from recoup_core.rules.language.actions.notices import NoticeOn, NoticeSpec, NoticesSpec
from recoup_core.rules.language.actions.refund import ApproveSpec, DenySpec
from recoup_core.rules.language.actions.retry import Day, RetrySpec, StopSpec
from recoup_core.rules.language.actions.review import ReviewSpec
from recoup_core.rules.language.actions.steps import (
    CancelSubscription,
    DowngradeSubscription,
    Message,
    On,
    PauseSubscription,
    QuietSpec,
    StepAction,
    StepSpec,
    StepsSpec,
    Task,
)
from recoup_core.rules.language.actions.values import CUSTOMER_ZONE
from recoup_core.rules.language.as_given import major_text
from recoup_core.rules.language.schema import Action, Rule
from recoup_core.rules.timing import in_words

_DAYS: Final = {Day.PAYDAY.value: "on a payday", Day.BUSINESS_DAY.value: "on a business day"}
_MOMENTS: Final = {
    On.OPENED: "when the case opens",
    On.BEFORE_RETRY: "each retry",
    On.AFTER_RETRY: "each declined retry",
    On.EXHAUSTED: "when retries are exhausted",
}

_CHARGES: Final = {
    NoticeOn.ANNOUNCED: "when the charge is announced",
    NoticeOn.BEFORE_CHARGE: "the charge",
    NoticeOn.BEFORE_EXPIRY: "the card ends",
}


def rule_lines(rule: Rule) -> tuple[str, ...]:
    """Say what a rule does; a campaign is a line a step."""
    lines = action_lines(rule.action)
    if rule.otherwise is None:
        return lines
    return (*lines, f"where that does not apply: {'; '.join(action_lines(rule.otherwise))}")


def action_lines(action: Action) -> tuple[str, ...]:
    """Say what one action does."""
    match action:
        case RetrySpec():
            return (_retry(action),)
        case StopSpec(reason=reason):
            return (f"stop: {reason.value.replace('_', ' ')}",)
        case StepsSpec(steps=steps):
            return tuple(_step(step) for step in steps)
        case NoticesSpec(notices=notices):
            return tuple(_notice(notice) for notice in notices)
        case QuietSpec(reason=reason):
            return (f"nothing is said: {reason}",)
        case ApproveSpec():
            return (_approve(action),)
        case ReviewSpec():
            return (_review(action),)
        case DenySpec(reason=reason):
            return (f"deny: {reason.replace('_', ' ')}",)


def _retry(spec: RetrySpec) -> str:
    parts = [f"after {', '.join(in_words(wait) for wait in spec.after)}"] if spec.after else []
    if spec.on is not None:
        parts.append(_DAYS[spec.on])
    if spec.between is not None:
        parts.append(_window(spec.between, spec.zone))
    if spec.jitter:
        parts.append(f"up to {in_words(spec.jitter)} later")
    if spec.within is not None:
        parts.append(f"within {in_words(spec.within)} of the first failure")
    if spec.max is not None:
        parts.append(f"at most {spec.max} times")
    if spec.credential != CredentialRole.PRIMARY:
        parts.append(f"with the {spec.credential} credential")
    if spec.gateway is not None:
        parts.append(f"through {spec.gateway}")
    return f"try again {', '.join(parts)}"


def _window(between: tuple[time, time], zone: str) -> str:
    place = "the customer's time" if zone == CUSTOMER_ZONE else zone
    return f"between {between[0]:%H:%M} and {between[1]:%H:%M} ({place})"


def _step(step: StepSpec) -> str:
    if step.ahead is not None:
        when = f"{in_words(step.ahead)} before {_MOMENTS[step.on]}"
    elif step.after:
        word = {On.OPENED: "the case opened", On.EXHAUSTED: "retries are exhausted"}.get(step.on, _MOMENTS[step.on])
        when = f"{in_words(step.after)} after {word}"
    else:
        when = f"after {_MOMENTS[step.on]}" if step.on is On.AFTER_RETRY else _MOMENTS[step.on]
    window = "" if step.between is None else f", {_window(step.between, step.zone)}"
    return f"{when}{window}: {_do(step.do)}"


def _notice(notice: NoticeSpec) -> str:
    if notice.ahead is not None:
        when = f"{in_words(notice.ahead)} before {_CHARGES[notice.on]}"
    else:
        when = f"{in_words(notice.after)} after the charge is announced" if notice.after else _CHARGES[notice.on]
    window = "" if notice.between is None else f", {_window(notice.between, notice.zone)}"
    return f"{when}{window}: {_do(notice.do)}"


def _do(action: StepAction) -> str:
    match action:
        case Message(template=template, channels=channels):
            return f"send {template} by {', '.join(channels)}"
        case Task(text=text):
            return f"task: {text}"
        case PauseSubscription():
            return "pause the subscription"
        case DowngradeSubscription(plan=plan):
            return f"downgrade the subscription to {plan}"
        case CancelSubscription():
            return "cancel the subscription"
        case _:
            return "write the debt off"


def _approve(spec: ApproveSpec) -> str:
    bounds: list[str] = []
    if spec.within is not None:
        bounds.append(f"payments up to {in_words(spec.within)} old")
    if spec.per_agent_day is not None:
        bounds.append(f"{_amounts(spec.per_agent_day)} per agent and day")
    if spec.per_day is not None:
        bounds.append(f"{_amounts(spec.per_day)} per day")
    if spec.per_customer is not None:
        bound = spec.per_customer
        count = [] if bound.count is None else [f"{bound.count} refunds"]
        amount = [] if bound.amount is None else [_amounts(bound.amount)]
        bounds.append(f"{' and '.join((*count, *amount))} per customer in {in_words(bound.within)}")
    return f"approve within bounds: {'; '.join(bounds)}" if bounds else "approve"


def _review(spec: ReviewSpec) -> str:
    parts = [f"review by {_people(spec)}"]
    if spec.within is not None:
        parts.append(f"within {in_words(spec.within)}")
    if spec.escalate_to:
        parts.append(f"after that also by {' or '.join(spec.escalate_to)}")
    if spec.expires is not None:
        parts.append(f"closed after {in_words(spec.expires)}")
    return ", ".join(parts)


def _people(spec: ReviewSpec) -> str:
    levels = [" or ".join(level) for level in spec.levels]
    if not spec.limits:
        return ", then by ".join(levels)
    limits = [f" up to {_amounts(limit)}" for limit in spec.limits]
    if len(limits) < len(levels):
        return ", else by ".join(f"{level}{limit}" for level, limit in zip(levels, [*limits, ""], strict=True))
    alone = ", else by ".join(f"{level}{limit}" for level, limit in zip(levels, limits, strict=True))
    return f"{alone}, else by all of them in order"


def _amounts(amounts: Mapping[str, int]) -> str:
    return " / ".join(f"{major_text(minor, currency)} {currency}" for currency, minor in amounts.items())
