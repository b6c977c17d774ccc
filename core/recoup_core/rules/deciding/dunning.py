"""From what is known of a case to the steps that accompany its retries, each with its time and what led to it.

Pure: no clock, no database. A policy is asked anew at every turn of a case; what was done once is never planned again,
and the caller plans, moves and skips until the timeline is what the latest decision wants.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.engine.trace import RuleTrace
from recoup_core.rules.facts import DunningFacts
from recoup_core.rules.language.actions.steps import (
    LEAST_NOTICE,
    SUBSCRIPTION_STEPS,
    On,
    QuietSpec,
    StepSpec,
    StepsSpec,
)
from recoup_core.rules.language.schema import Rule
from recoup_core.rules.timing import first_within, in_words, last_within, zone_of

LATE: Final = timedelta(hours=1)
"""A step this long after its time is late: of several late messages only the last is sent, and hours count anew."""

_MESSAGES: Final = frozenset({StepKind.MESSAGE})
_AS_IT_IS: Final[tuple[str, ...]] = ()
_Time = tuple[datetime | None, tuple[str, ...]]
"""When a step comes, None where it does not; and how that came about."""


class PlannedRetry(msgspec.Struct, frozen=True, kw_only=True):
    """The retry that is to come."""

    id: UUID
    """Its step."""
    at: datetime


class DeclinedRetry(msgspec.Struct, frozen=True, kw_only=True):
    """The retry that was declined last."""

    id: UUID
    """Its step."""
    at: datetime
    """When the decline became known."""


class DunningSituation(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs besides the facts that conditions see; with both it can be made again."""

    now: datetime
    opened_at: datetime
    retry: PlannedRetry | None = None
    declined: DeclinedRetry | None = None
    exhausted_at: datetime | None = None
    """Since when no retry follows any more; None while retries go on."""
    settled: tuple[str, ...] = ()
    """Keys of the steps that are done, or were tried in vain."""
    customer_zone: str | None = None
    country: str | None = None


class WantedStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step that should stand on the timeline."""

    key: str
    """Unique in the case; of a step that hangs on a retry it names the retry, too."""
    kind: StepKind
    at: datetime
    """Aware UTC, never before `now`."""
    detail: Mapping[str, Any] = {}
    """What it says or does: template and channels, plan, or the task's text."""
    retry_step_id: UUID | None = None
    """The retry it hangs on."""


class Campaign(msgspec.Struct, frozen=True, kw_only=True, tag="steps"):
    """All steps that are still to come, in the order of their times."""

    steps: tuple[WantedStep, ...]


class Quiet(msgspec.Struct, frozen=True, kw_only=True, tag="quiet"):
    """No dunning."""

    reason: str


class StepTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the fired rule: when it comes and how that came about, or why it doesn't."""

    key: str
    at: datetime | None
    """None where it is not planned."""
    because: tuple[str, ...]


class DunningExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why: the policy, each rule up to the one that fired, each of its steps."""

    policy: str
    digest: str
    rule: str
    rules: tuple[RuleTrace, ...]
    steps: tuple[StepTrace, ...]


class DunningDecision(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome and its explanation."""

    outcome: Campaign | Quiet
    rule: str
    explanation: DunningExplanation


class _Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the rule on the way to its time."""

    key: str
    spec: StepSpec
    retry_step_id: UUID | None = None
    due: datetime | None = None
    """When it should have come, or should come; None where nothing it hangs on has happened."""
    because: tuple[str, ...] = ()


def decide_dunning(policy: CompiledPolicy, facts: DunningFacts, situation: DunningSituation) -> DunningDecision:
    """Return the steps that the first matching rule wants from now on; the case must be going on."""
    rule = policy.verdict(facts)
    outcome, steps = act(rule, situation)
    explanation = DunningExplanation(
        policy=policy.policy.name,
        digest=policy.digest,
        rule=rule.name,
        rules=policy.trace(facts),
        steps=steps,
    )
    return DunningDecision(outcome=outcome, rule=rule.name, explanation=explanation)


def act(rule: Rule, situation: DunningSituation) -> tuple[Campaign | Quiet, tuple[StepTrace, ...]]:
    """Return what a rule's action comes to, and how each of its steps got its time or why it has none."""
    if isinstance(rule.action, QuietSpec):
        return Quiet(reason=rule.action.reason), ()
    assert isinstance(rule.action, StepsSpec)  # the reader of this kind knows no third action
    placed = [_placed(spec, situation) for spec in rule.action.steps]
    times = {each.key: _when(each, placed, situation) for each in placed}
    traces: list[StepTrace] = []
    wanted: list[WantedStep] = []
    for each in placed:
        at, because = _last_of_all(each, placed, times) if each.spec.kind is StepKind.WRITE_OFF else times[each.key]
        traces.append(StepTrace(key=each.key, at=at, because=because))
        if at is not None:
            detail = {key: value for key, value in msgspec.to_builtins(each.spec.do).items() if key != "type"}
            step = WantedStep(key=each.key, kind=each.spec.kind, at=at, detail=detail, retry_step_id=each.retry_step_id)
            wanted.append(step)
    return Campaign(steps=tuple(sorted(wanted, key=lambda step: step.at))), tuple(traces)


def _placed(spec: StepSpec, situation: DunningSituation) -> _Placed:
    """Find what the step hangs on and, from that, when it is due; a window moves it later."""
    if spec.on is On.BEFORE_RETRY:
        return _before(spec, situation)
    declined = situation.declined if spec.on is On.AFTER_RETRY else None
    base = situation.opened_at if spec.on is On.OPENED else situation.exhausted_at
    if spec.on is On.AFTER_RETRY:
        base = declined.at if declined else None
    key = f"{spec.key}#{declined.id}" if declined else spec.key
    if base is None:
        return _Placed(key=key, spec=spec, because=(_MISSING[spec.on],))
    due, moved = _into_hours(base + spec.after, spec, situation)
    since = f"{in_words(spec.after)} after {_EVENTS[spec.on]}" if spec.after else f"at once: {_EVENTS[spec.on]}"
    return _Placed(
        key=key,
        spec=spec,
        retry_step_id=declined.id if declined else None,
        due=due,
        because=(since, *moved),
    )


_MISSING: Final = {On.AFTER_RETRY: "no retry was declined", On.EXHAUSTED: "the case is not exhausted"}
_EVENTS: Final = {
    On.OPENED: "the case opened",
    On.AFTER_RETRY: "the retry was declined",
    On.EXHAUSTED: "the case was exhausted",
}


def _before(spec: StepSpec, situation: DunningSituation) -> _Placed:
    """Place a step ahead of the planned retry; a window moves it earlier, for the notice is promised."""
    retry, ahead = situation.retry, spec.ahead or timedelta()
    if retry is None:
        return _Placed(key=spec.key, spec=spec, because=("no retry is planned",))
    zone = zone_of(spec.zone, situation.customer_zone, situation.country)
    nominal = (retry.at - ahead).astimezone(UTC)
    due = last_within(nominal, spec.between, zone)
    moved = (f"moved back into {_hours(spec, zone.key)}",) if due < nominal else ()
    because = (f"{in_words(ahead)} before the retry", *moved)
    return _Placed(key=f"{spec.key}#{retry.id}", spec=spec, retry_step_id=retry.id, due=due, because=because)


def _when(each: _Placed, placed: list[_Placed], situation: DunningSituation) -> _Time:
    """Return when the step comes from now on, and the steps of thought; None where it does not."""
    if each.key in situation.settled:
        return None, ("had its turn",)
    if each.due is None:
        return None, each.because
    at, moved = each.due, _AS_IT_IS
    if at < situation.now:
        if newer := _superseded_by(each, placed, situation):
            return None, (*each.because, f"its time is over, and {newer} is later in the row")
        at, moved = _into_hours(situation.now, each.spec, situation)
        moved = ("not before now", *moved)
    retry = situation.retry
    if each.spec.on is On.BEFORE_RETRY and retry is not None and at > retry.at - LEAST_NOTICE:
        return None, (*each.because, *moved, f"left out: less than {in_words(LEAST_NOTICE)} before the retry")
    return at, (*each.because, *moved)


def _last_of_all(each: _Placed, placed: list[_Placed], times: Mapping[str, _Time]) -> _Time:
    """Return when a write-off comes: not before what billing is asked for earlier in the row, however late that is.

    It ends everything; a subscription that was to be canceled first would go on for good.
    """
    at, because = times[each.key]
    if at is None or each.due is None:
        return at, because
    before = [
        (comes, other.key)
        for other in placed
        if other.spec.kind in SUBSCRIPTION_STEPS and other.due is not None
        and (other.spec.on is each.spec.on or other.due < each.due)  # by one clock nothing may follow a write-off
        and (comes := times[other.key][0]) is not None
    ]  # fmt: skip
    latest, key = max(before, default=(at, each.key))
    return (latest, (*because, f"not before {key}")) if latest > at else (at, because)


def _superseded_by(each: _Placed, placed: list[_Placed], situation: DunningSituation) -> str | None:
    """Return the step that takes the place of a late one: the last of its group whose time has come, too.

    So nobody who was down, or paused, for a week gets three letters in a minute, nor a pause after the end.
    """
    group = _MESSAGES if each.spec.kind in _MESSAGES else SUBSCRIPTION_STEPS
    if each.due is None or each.spec.on is On.BEFORE_RETRY or each.spec.kind not in group:
        return None
    if each.due > situation.now - LATE:
        return None
    later = [other for other in _come(placed, situation) if other.spec.kind in group and other.due > each.due]
    return max(later, key=lambda other: other.due).key if later else None


class _Come(msgspec.Struct, frozen=True):
    key: str
    spec: StepSpec
    due: datetime


def _come(placed: list[_Placed], situation: DunningSituation) -> Iterator[_Come]:
    """Yield the steps whose time has come, done or not; what precedes a retry has a time of its own."""
    for other in placed:
        if other.due is not None and other.due <= situation.now and other.spec.on is not On.BEFORE_RETRY:
            yield _Come(other.key, other.spec, other.due)


def _into_hours(at: datetime, spec: StepSpec, situation: DunningSituation) -> tuple[datetime, tuple[str, ...]]:
    zone = zone_of(spec.zone, situation.customer_zone, situation.country)
    moved = first_within(at, spec.between, zone)
    return moved, (f"moved into {_hours(spec, zone.key)}",) if moved > at else ()


def _hours(spec: StepSpec, zone: str) -> str:
    return f"{spec.between[0]:%H:%M}-{spec.between[1]:%H:%M} {zone}" if spec.between else zone
