"""What a rule of a notice policy does: what a customer is told before a charge, and when; or nothing, for a reason."""

from collections.abc import Callable, Iterator, Mapping
from datetime import time, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.language.actions.spoken import Contradiction, SpokenReader, read_step, usual_contradictions
from recoup_core.rules.language.actions.steps import Message, Task, kind_of, step_key
from recoup_core.rules.language.yamltext import Map, Node, as_list

MAX_NOTICES: Final = 10
"""Notices of one rule; nobody reads more before one charge."""


class NoticeOn(StrEnum):
    """What a notice's time is counted from."""

    ANNOUNCED = "announced"
    """The moment the billing system told of the charge."""
    BEFORE_CHARGE = "before_charge"
    BEFORE_EXPIRY = "before_expiry"
    """The end of the last day on which the card is good, by the customer's calendar."""


class NoticeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One notice; `rules/deciding/notice.py` turns it into an instant."""

    on: NoticeOn = NoticeOn.ANNOUNCED
    after: timedelta = timedelta()
    """From the announcement."""
    ahead: timedelta | None = None
    """How long before the charge, or the card's end; of those two only."""
    between: tuple[time, time] | None = None
    """Local window [from, to); may cross midnight."""
    zone: str = "UTC"
    """"customer" or an IANA name; what `between` is read in."""
    do: Message | Task

    @property
    def kind(self) -> StepKind:
        """Whether it is a message or a task."""
        return kind_of(self.do)

    @property
    def key(self) -> str:
        """Names the notice by what it says and when: `before_charge-30d/message/upcoming_renewal`."""
        return step_key(self.on, self.after, self.ahead, self.do)


class NoticesSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All notices of a charge; no two have the same key."""

    notices: tuple[NoticeSpec, ...]


class NoticeReader(SpokenReader):
    """Reads the actions of one notice policy."""

    def notices(self, node: Node) -> NoticesSpec | None:
        """Read the notices of a rule; what repeats itself is refused."""
        items = as_list(node, "`notices`", self.report, most=MAX_NOTICES)
        if items is None:
            return None
        placed = [(item, notice) for item in items if (notice := self._notice(item)) is not None]
        seen: dict[str, int] = {}
        for at, notice in placed:
            if notice.key in seen:
                message = f"the same notice, at the same time, is already on line {seen[notice.key]}"
                hint = "name all its channels in one `by`" if isinstance(notice.do, Message) else None
                self.report.add(at, "duplicate_step", message, hint)
            seen.setdefault(notice.key, at.line)
        return NoticesSpec(notices=tuple(notice for _, notice in placed)) if len(placed) == len(items) else None

    def on(self, node: Node) -> NoticeOn | None:
        """Read what the notice's time is counted from."""
        word = self.word(node, "`on`", tuple(on.value for on in NoticeOn))
        return None if word is None else NoticeOn(word)

    def _notice(self, node: Node) -> NoticeSpec | None:
        fields = read_step(self, node, "a notice", NOTICE_FIELDS | NOTICE_ACTIONS, _contradictions)
        if fields is None:
            return None
        timing = {name: value for name, value in fields.items() if name in NOTICE_FIELDS and name != "by"}
        if "task" in fields:
            return NoticeSpec(do=Task(text=fields["task"]), **timing)
        return NoticeSpec(do=Message(template=fields["message"], channels=fields["by"]), **timing)


_Read = Callable[[NoticeReader, Node], Any]
NOTICE_FIELDS: Final[dict[str, _Read]] = {
    "on": NoticeReader.on,
    "after": NoticeReader.after,
    "ahead": NoticeReader.ahead,
    "between": NoticeReader.between,
    "zone": NoticeReader.zone,
    "by": NoticeReader.by,
}
"""Per key of a notice that says when and by what, how its value is read."""
NOTICE_ACTIONS: Final[dict[str, _Read]] = {"message": NoticeReader.message, "task": NoticeReader.task}
"""Per action of a notice, how its value is read."""


def _contradictions(at: Map, fields: Mapping[str, Any]) -> Iterator[Contradiction]:
    keys = {key.text for key, _ in at.entries}
    yield from usual_contradictions(keys, "a notice", tuple(NOTICE_ACTIONS))
    on = fields.get("on", NoticeOn.ANNOUNCED)
    if on is None:
        return  # not readable, and told so
    before = on is not NoticeOn.ANNOUNCED
    if before and "ahead" not in keys:
        yield "on", "missing_key", f"`on: {on}` needs `ahead`: how long before"
    if before and "after" in keys:
        yield "after", "wrong_moment", f"`on: {on}` goes with `ahead`, not with `after`"
    if not before and "ahead" in keys:
        yield "ahead", "wrong_moment", "`ahead` goes with `on: before_charge` or `before_expiry`; else write `after`"
