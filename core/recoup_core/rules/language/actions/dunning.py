"""Reads the actions of a dunning policy: `steps` and `quiet`, every mistake of them in one pass."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.language.actions.steps import (
    LEAST_NOTICE,
    SUBSCRIPTION_STEPS,
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
    WriteOff,
)
from recoup_core.rules.language.actions.values import MAX_WAIT, ValueReader
from recoup_core.rules.language.errors import shown
from recoup_core.rules.language.yamltext import Map, Node, Scalar, Seq, as_bool, as_list, as_map, as_text

MAX_STEPS: Final = 40
"""Steps of one rule; a customer who needs more letters needs a person."""

_MAYBE_MISSPELT: Final = frozenset({"missing_key", "no_effect"})
"""What is not said of a step with a misspelt key: it may be the one that is missed."""

MAX_CHANNELS: Final = 5
MAX_TASK_TEXT: Final = 200
MAX_REASON: Final = 200

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
_PLAN: Final = re.compile(r"[^\s\"'\\*](?:[^\"'\\\n]{0,62}[^\s\"'\\])?")


class DunningReader(ValueReader):
    """Reads the actions of one dunning policy."""

    def quiet(self, node: Node) -> QuietSpec | None:
        """Read why there is no dunning."""
        reason = self._short(node, "`quiet`", MAX_REASON)
        return None if reason is None else QuietSpec(reason=reason)

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
        mapping = as_map(node, "a step", self.report)
        if mapping is None:
            return None
        fields: dict[str, Any] = {}
        misspelt = False
        for key, value in mapping.entries:
            read = STEP_FIELDS.get(key.text) or STEP_ACTIONS.get(key.text)
            if read is None:
                hint = self.report.suggest(key.text, (*STEP_FIELDS, *STEP_ACTIONS))
                self.report.add(key, "unknown_key", f"a step has no key {shown(key.text)}", hint)
                misspelt = True
                continue
            fields[key.text] = read(self, value)
        found = _contradictions(mapping, fields)
        problems = [each for each in found if not (misspelt and each[1] in _MAYBE_MISSPELT)]
        for at, code, message in problems:
            self.report.add(mapping.get(at) or mapping, code, message)
        good = not misspelt and None not in fields.values()
        return _built(fields) if good and not problems else None

    def on(self, node: Node) -> On | None:
        """Read what the step's time is counted from."""
        word = self.word(node, "`on`", tuple(on.value for on in On))
        return None if word is None else On(word)

    def after(self, node: Node) -> timedelta | None:
        """Read how long after its moment the step comes."""
        return self.duration(node, "`after`", MAX_WAIT)

    def ahead(self, node: Node) -> timedelta | None:
        """Read how long before its retry the step comes."""
        ahead = self.duration(node, "`ahead`", MAX_WAIT)
        if ahead is None or ahead >= LEAST_NOTICE:
            return ahead
        self.report.add(node, "bad_duration", "`ahead` is at least 1h; later than that a notice is left out")
        return None

    def by(self, node: Node) -> tuple[str, ...] | None:
        """Read the channels of a message: one, or a list."""
        items: tuple[Node, ...] | None = (node,)
        if isinstance(node, Seq):
            items = as_list(node, "`by`", self.report, most=MAX_CHANNELS)
        if items is None:
            return None
        channels = [self._name(item, "a channel") for item in items]
        for number, (item, channel) in enumerate(zip(items, channels, strict=True)):
            if channel is not None and channel in channels[:number]:
                self.report.add(item, "duplicate_value", f"{shown(channel)} stands twice in `by`")
        found = tuple(channel for channel in channels if channel is not None)
        return found if len(set(found)) == len(channels) else None

    def message(self, node: Node) -> str | None:
        """Read the name of a template."""
        return self._name(node, "a template")

    def task(self, node: Node) -> str | None:
        """Read what a person is asked to do."""
        return self._short(node, "`task`", MAX_TASK_TEXT)

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

    def _name(self, node: Node, what: str) -> str | None:
        text = as_text(node, what, self.report)
        if text is None or _NAME.fullmatch(text):
            return text
        hint = "lower-case letters, digits, - and _, at most 60"
        self.report.add(node, "bad_name", f"{shown(text)} can't be {what}'s name", hint)
        return None

    def _short(self, node: Node, what: str, most: int) -> str | None:
        if isinstance(node, Scalar) and node.plain and node.text in ("true", "false"):
            self.report.add(node, "wrong_type", f"{what} must be a text that people read, not true or false")
            return None
        text = as_text(node, what, self.report)
        if text is not None and len(text) > most:
            self.report.add(node, "too_many", f"{what} is longer than {most} characters")
            return None
        return text


_Read = Callable[[DunningReader, Node], Any]
STEP_FIELDS: Final[Mapping[str, _Read]] = {
    "on": DunningReader.on,
    "after": DunningReader.after,
    "ahead": DunningReader.ahead,
    "between": DunningReader.between,
    "zone": DunningReader.zone,
    "by": DunningReader.by,
}
"""Per key of a step that says when and by what, how its value is read."""
STEP_ACTIONS: Final[Mapping[str, _Read]] = {
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


def _contradictions(at: Map, fields: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, code, message) for what a step lacks, has twice, or has without effect."""
    keys = {key.text for key, _ in at.entries}
    actions = [name for name in STEP_ACTIONS if name in keys]
    if not actions:
        yield "", "missing_key", f"a step needs an action: {', '.join(f'`{name}`' for name in STEP_ACTIONS)}"
    elif len(actions) > 1:
        both = " and ".join(f"`{name}`" for name in actions)
        yield actions[1], "two_actions", f"a step has one action, not {both}; make a second step"
    if "message" in keys and "by" not in keys:
        yield "message", "missing_key", "a message needs `by`: the channels it goes out by"
    if "by" in keys and "message" not in keys:
        yield "by", "no_effect", "`by` has no effect without `message`"
    if "zone" in keys and "between" not in keys:
        yield "zone", "no_effect", "`zone` has no effect without `between`"
    yield from _wrong_moments(keys, fields.get("on", On.OPENED))


def _wrong_moments(keys: set[str], on: On | None) -> Iterator[tuple[str, str, str]]:
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
