"""Reads the actions of a dunning policy: `steps` and `quiet`, every mistake of them in one pass."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.language.actions.spoken import Contradiction, SpokenReader, read_step, usual_contradictions
from recoup_core.rules.language.actions.steps import (
    SUBSCRIPTION_STEPS,
    CancelSubscription,
    DowngradeSubscription,
    Message,
    On,
    PauseSubscription,
    StepAction,
    StepSpec,
    StepsSpec,
    Task,
    WriteOff,
)
from recoup_core.rules.language.errors import shown
from recoup_core.rules.language.yamltext import Map, Node, as_bool, as_list, as_text

MAX_STEPS: Final = 40
"""Steps of one rule; a customer who needs more letters needs a person."""

_PLAN: Final = re.compile(r"[^\s\"'\\*](?:[^\"'\\\n]{0,62}[^\s\"'\\])?")


class DunningReader(SpokenReader):
    """Reads the actions of one dunning policy."""

    def steps(self, node: Node) -> StepsSpec | None:
        """Read the steps of a campaign; what repeats itself or comes after the end is refused."""
        items = as_list(node, "`steps`", self.report, most=MAX_STEPS)
        if items is None:
            return None
        placed = [(item, step) for item in items if (step := self._step(item)) is not None]
        seen: dict[str, int] = {}
        for at, step in placed:
            if step.key in seen:
                message = f"the same step, at the same time, is already on line {seen[step.key]}"
                self.report.add(at, "duplicate_step", message, _once_hint(step))
            seen.setdefault(step.key, at.line)
        for at, message in _after_the_end(placed):
            self.report.add(at, "after_the_end", message)
        return StepsSpec(steps=tuple(step for _, step in placed)) if len(placed) == len(items) else None

    def _step(self, node: Node) -> StepSpec | None:
        fields = read_step(self, node, "a step", STEP_FIELDS | STEP_ACTIONS, _contradictions)
        return None if fields is None else _built(fields)

    def on(self, node: Node) -> On | None:
        """Read what the step's time is counted from."""
        word = self.word(node, "`on`", tuple(on.value for on in On))
        return None if word is None else On(word)

    def plan(self, node: Node) -> str | None:
        """Read the plan that the subscription is moved to."""
        plan = as_text(node, "`downgrade_subscription`", self.report)
        if plan is None or _PLAN.fullmatch(plan):
            return plan
        hint = "up to 64 characters, without quotes, backslashes or a leading *"
        self.report.add(node, "bad_name", f"{shown(plan)} can't be a plan's name", hint)
        return None

    def yes(self, node: Node) -> bool | None:
        """Read the `true` of an action that has nothing more to say."""
        said = as_bool(node, "what is to happen", self.report)
        if said is False:
            self.report.add(node, "no_effect", "`false` has no effect; leave the step out")
        return said or None


_Read = Callable[[DunningReader, Node], Any]
STEP_FIELDS: Final[dict[str, _Read]] = {
    "on": DunningReader.on,
    "after": DunningReader.after,
    "ahead": DunningReader.ahead,
    "between": DunningReader.between,
    "zone": DunningReader.zone,
    "by": DunningReader.by,
}
"""Per key of a step that says when and by what, how its value is read."""
STEP_ACTIONS: Final[dict[str, _Read]] = {
    "message": DunningReader.message,
    "task": DunningReader.task,
    "pause_subscription": DunningReader.yes,
    "downgrade_subscription": DunningReader.plan,
    "cancel_subscription": DunningReader.yes,
    "write_off": DunningReader.yes,
}
"""Per action of a step, how its value is read."""
_BUILT: Final[Mapping[str, Callable[[Mapping[str, Any]], StepAction]]] = {
    "message": lambda fields: Message(template=fields["message"], channels=fields["by"]),
    "task": lambda fields: Task(text=fields["task"]),
    "pause_subscription": lambda _: PauseSubscription(),
    "downgrade_subscription": lambda fields: DowngradeSubscription(plan=fields["downgrade_subscription"]),
    "cancel_subscription": lambda _: CancelSubscription(),
    "write_off": lambda _: WriteOff(),
}
_ONCE: Final = ("pause_subscription", "downgrade_subscription", "cancel_subscription", "write_off")
"""Actions that happen once in a case and so can't hang on each retry."""


def _built(fields: Mapping[str, Any]) -> StepSpec:
    [action] = [name for name in STEP_ACTIONS if name in fields]
    timing = {name: value for name, value in fields.items() if name in STEP_FIELDS and name != "by"}
    return StepSpec(do=_BUILT[action](fields), **timing)


def _contradictions(at: Map, fields: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Yield what a step lacks, has twice, or has without effect."""
    keys = {key.text for key, _ in at.entries}
    yield from usual_contradictions(keys, "a step", tuple(STEP_ACTIONS))
    yield from _wrong_moments(keys, fields.get("on", On.OPENED))


def _wrong_moments(keys: set[str], on: On | None) -> Iterator[Contradiction]:
    if on is None:
        return  # not readable, and told so
    if on is On.BEFORE_RETRY and "ahead" not in keys:
        yield "on", "missing_key", "`on: before_retry` needs `ahead`: how long before the retry"
    if on is On.BEFORE_RETRY and "after" in keys:
        yield "after", "wrong_moment", "what comes before a retry has `ahead`, not `after`"
    if on is not On.BEFORE_RETRY and "ahead" in keys:
        yield "ahead", "wrong_moment", "`ahead` goes with `on: before_retry` only; write `after`"
    if on in (On.BEFORE_RETRY, On.AFTER_RETRY):
        for name in _ONCE:
            if name in keys:
                yield name, "wrong_moment", f"`{name}` happens once; it can't hang on each retry"


def _after_the_end(placed: Sequence[tuple[Node, StepSpec]]) -> Iterator[tuple[Node, str]]:
    """Yield steps that come when, by the same clock, the debt was given up or the subscription ended before."""
    ends = [(at, step) for at, step in placed if step.kind in (StepKind.WRITE_OFF, StepKind.CANCEL_SUBSCRIPTION)]
    for ended, end in ends:
        for at, step in placed:
            if step is end or step.on is not end.on or step.after < end.after:
                continue
            if end.kind is StepKind.WRITE_OFF:
                yield at, f"nothing comes at the time of the write-off on line {ended.line}, or after it"
            elif step.kind in SUBSCRIPTION_STEPS:
                yield at, f"the subscription is canceled by then (line {ended.line})"


def _once_hint(step: StepSpec) -> str | None:
    return "name all its channels in one `by`" if step.kind is StepKind.MESSAGE else None
