"""From a charge that is to come to what the customer is told before it, each notice with its time and what led to it.

Pure: no clock, no database. A policy is asked when a charge is announced and whenever something about it changes; what
was said once is never said again. A notice counted back from the charge, or from the card's end, is promised: a window
of hours moves it earlier, and one whose time is over (the charge was announced late) is sent at once, unless a later
one of the same moment takes its place. Nothing ever comes after the charge, or in the last hour before it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.deciding.dunning import StepTrace
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.engine.trace import RuleTrace
from recoup_core.rules.facts import NoticeFacts
from recoup_core.rules.language.actions.notices import NoticeOn, NoticeSpec, NoticesSpec
from recoup_core.rules.language.actions.steps import LEAST_NOTICE, QuietSpec
from recoup_core.rules.language.actions.values import CUSTOMER_ZONE
from recoup_core.rules.language.schema import Rule
from recoup_core.rules.timing import first_within, in_words, last_within, zone_of

SOON: Final = timedelta(days=1)
"""A late message gives way to one of the same moment that comes within this: nobody is written to twice in a day."""

_DAY: Final = timedelta(days=1)


class NoticeSituation(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs besides the facts that conditions see; with both it can be made again."""

    now: datetime
    announced_at: datetime
    charge_at: datetime
    card_expires: date | None = None
    """The last day on which the card is good; None: not known, or no card."""
    settled: tuple[str, ...] = ()
    """Keys of the notices that had their turn: sent, tried in vain, or left out for good."""
    customer_zone: str | None = None
    country: str | None = None


class WantedNotice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A notice that is still to come."""

    key: str
    """Unique for the charge."""
    kind: StepKind
    """A message, or a human task."""
    at: datetime
    """Aware UTC, never before `now`."""
    detail: Mapping[str, Any] = {}
    """What it says: template and channels, or the task's text."""
    latest: datetime
    """It comes no later than this, or not at all: an hour before the charge."""


class Notices(msgspec.Struct, frozen=True, kw_only=True, tag="notices"):
    """All notices that are still to come, in the order of their times."""

    steps: tuple[WantedNotice, ...]


class Quiet(msgspec.Struct, frozen=True, kw_only=True, tag="quiet"):
    """The customer is told nothing."""

    reason: str


class NoticeExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why: the policy, each rule up to the one that fired, each of its notices."""

    policy: str
    digest: str
    rule: str
    rules: tuple[RuleTrace, ...]
    steps: tuple[StepTrace, ...]


class NoticeDecision(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome and its explanation."""

    outcome: Notices | Quiet
    rule: str
    explanation: NoticeExplanation


class NoticeDays(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of `NoticeFacts` that follow from the calendar; their names are those of the facts."""

    charge_in_days: int
    card_expires_in_days: int | None
    card_expires_before_charge: bool


class _Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A notice of the rule on the way to its time."""

    spec: NoticeSpec
    due: datetime | None
    """When it should come, or should have come; None where what it is counted from isn't known."""
    because: tuple[str, ...]


def notice_days(
    now: datetime, charge_at: datetime, card_expires: date | None, *, zone: str | None, country: str | None
) -> NoticeDays:
    """Count the days of a charge's facts by the calendar of the customer's zone, else of their country, else of UTC."""
    local = zone_of(CUSTOMER_ZONE, zone, country)
    today, charged = now.astimezone(local).date(), charge_at.astimezone(local).date()
    return NoticeDays(
        charge_in_days=max(0, (charged - today).days),
        card_expires_in_days=None if card_expires is None else max(0, (card_expires - today).days),
        card_expires_before_charge=card_expires is not None and card_expires < charged,
    )


def decide_notice(policy: CompiledPolicy, facts: NoticeFacts, situation: NoticeSituation) -> NoticeDecision:
    """Return the notices that the first matching rule wants from now on."""
    rule = policy.verdict(facts)
    outcome, steps = act(rule, situation)
    explanation = NoticeExplanation(
        policy=policy.policy.name,
        digest=policy.digest,
        rule=rule.name,
        rules=policy.trace(facts),
        steps=steps,
    )
    return NoticeDecision(outcome=outcome, rule=rule.name, explanation=explanation)


def act(rule: Rule, situation: NoticeSituation) -> tuple[Notices | Quiet, tuple[StepTrace, ...]]:
    """Return what a rule's action comes to, and how each of its notices got its time or why it has none."""
    if isinstance(rule.action, QuietSpec):
        return Quiet(reason=rule.action.reason), ()
    assert isinstance(rule.action, NoticesSpec)  # the reader of this kind knows no third action
    placed = [_placed(spec, situation) for spec in rule.action.notices]
    latest = (situation.charge_at - LEAST_NOTICE).astimezone(UTC)
    traces: list[StepTrace] = []
    wanted: list[WantedNotice] = []
    for each in placed:
        spec = each.spec
        at, because = _when(each, placed, situation, latest)
        traces.append(StepTrace(key=spec.key, at=at, because=because))
        if at is not None:
            detail = {key: value for key, value in msgspec.to_builtins(spec.do).items() if key != "type"}
            wanted.append(WantedNotice(key=spec.key, kind=spec.kind, at=at, detail=detail, latest=latest))
    return Notices(steps=tuple(sorted(wanted, key=lambda notice: notice.at))), tuple(traces)


def _placed(spec: NoticeSpec, situation: NoticeSituation) -> _Placed:
    """Find what the notice is counted from and, from that, when it is due."""
    if spec.on is NoticeOn.ANNOUNCED:
        due, moved = _into_hours(situation.announced_at + spec.after, spec, situation)
        since = f"{in_words(spec.after)} after the charge was announced" if spec.after else "the charge was announced"
        return _Placed(spec=spec, due=due, because=(since, *moved))
    moment, what = situation.charge_at, "the charge"
    if spec.on is NoticeOn.BEFORE_EXPIRY:
        if situation.card_expires is None:
            return _Placed(spec=spec, due=None, because=("it isn't known when the card ends",))
        moment, what = _end_of(situation.card_expires, situation), "the card ends"
    ahead, zone = spec.ahead or timedelta(), _zone(spec, situation)
    nominal = (moment - ahead).astimezone(UTC)
    due = last_within(nominal, spec.between, zone)
    moved = (f"moved back into {_hours(spec, zone)}",) if due < nominal else ()
    return _Placed(spec=spec, due=due, because=(f"{in_words(ahead)} before {what}", *moved))


def _end_of(day: date, situation: NoticeSituation) -> datetime:
    """Return the first moment after a day, by the customer's calendar."""
    zone = zone_of(CUSTOMER_ZONE, situation.customer_zone, situation.country)
    return datetime.combine(day + _DAY, time(), zone).astimezone(UTC)


def _when(
    each: _Placed, placed: Sequence[_Placed], situation: NoticeSituation, latest: datetime
) -> tuple[datetime | None, tuple[str, ...]]:
    """Return when the notice comes from now on, None where it does not; and how that came about."""
    if each.spec.key in situation.settled:
        return None, ("had its turn",)
    if each.due is None:
        return None, each.because
    at, because = each.due, each.because
    if at < situation.now:
        if newer := _superseded_by(each, placed, situation, latest):
            return None, (*because, f"its time is over, and {newer} is later in the row")
        at, moved = _into_hours(situation.now, each.spec, situation)
        because = (*because, "not before now", *moved)
    if at > latest:
        return None, (*because, f"left out: less than {in_words(LEAST_NOTICE)} before the charge, or after it")
    return at, because


def _superseded_by(
    each: _Placed, placed: Sequence[_Placed], situation: NoticeSituation, latest: datetime
) -> str | None:
    """Return the message that takes the place of a late one: a later one of the same moment whose time is near or over.

    Messages of other moments say something else: that the card ends is no news of the charge.
    """
    if each.due is None or each.spec.kind is not StepKind.MESSAGE:
        return None
    near = min(situation.now + SOON, latest)
    later = [
        (other.due, other.spec.key)
        for other in placed
        if other.due is not None and each.due < other.due <= near
        and other.spec.on is each.spec.on and other.spec.kind is StepKind.MESSAGE
    ]  # fmt: skip
    return max(later)[1] if later else None


def _into_hours(at: datetime, spec: NoticeSpec, situation: NoticeSituation) -> tuple[datetime, tuple[str, ...]]:
    zone = _zone(spec, situation)
    moved = first_within(at, spec.between, zone)
    return moved, (f"moved into {_hours(spec, zone)}",) if moved > at else ()


def _zone(spec: NoticeSpec, situation: NoticeSituation) -> ZoneInfo:
    return zone_of(spec.zone, situation.customer_zone, situation.country)


def _hours(spec: NoticeSpec, zone: ZoneInfo) -> str:
    return f"{spec.between[0]:%H:%M}-{spec.between[1]:%H:%M} {zone.key}" if spec.between else zone.key
