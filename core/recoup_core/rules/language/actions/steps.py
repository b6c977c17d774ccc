"""What a rule of a dunning policy does: the steps of a campaign, each with its moment, or nothing for a reason."""

import re
from collections.abc import Mapping
from datetime import time, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Final

import msgspec

from recoup_core.domain.recovery import StepKind

LEAST_NOTICE: Final = timedelta(hours=1)
"""What comes before a retry comes at least this long before it, or not at all."""

MAX_KEYS: Final = 4_096
"""Steps whose keys are kept at hand: a hundred policies."""

_WORDS: Final = re.compile(r"[a-z0-9]+")
_SLUG_CHARS: Final = 30
_DIGEST_CHARS: Final = 6


class On(StrEnum):
    """What a step's time is counted from."""

    OPENED = "opened"
    BEFORE_RETRY = "before_retry"
    """Once for each planned retry."""
    AFTER_RETRY = "after_retry"
    """Once for each declined retry."""
    EXHAUSTED = "exhausted"


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=StepKind.MESSAGE.value):
    """Write to the customer."""

    template: str
    channels: tuple[str, ...]


class Task(msgspec.Struct, frozen=True, kw_only=True, tag=StepKind.HUMAN_TASK.value):
    """Ask a person to do something."""

    text: str


class PauseSubscription(msgspec.Struct, frozen=True, kw_only=True, tag=StepKind.PAUSE_SUBSCRIPTION.value):
    """Ask the billing system to pause the subscription."""


class DowngradeSubscription(msgspec.Struct, frozen=True, kw_only=True, tag=StepKind.DOWNGRADE_SUBSCRIPTION.value):
    """Ask the billing system to move the subscription to a smaller plan."""

    plan: str


class CancelSubscription(msgspec.Struct, frozen=True, kw_only=True, tag=StepKind.CANCEL_SUBSCRIPTION.value):
    """Ask the billing system to end the subscription."""


class WriteOff(msgspec.Struct, frozen=True, kw_only=True, tag=StepKind.WRITE_OFF.value):
    """Give the debt up."""


StepAction = Message | Task | PauseSubscription | DowngradeSubscription | CancelSubscription | WriteOff

_KINDS: Final[Mapping[type, StepKind]] = {
    Message: StepKind.MESSAGE,
    Task: StepKind.HUMAN_TASK,
    PauseSubscription: StepKind.PAUSE_SUBSCRIPTION,
    DowngradeSubscription: StepKind.DOWNGRADE_SUBSCRIPTION,
    CancelSubscription: StepKind.CANCEL_SUBSCRIPTION,
    WriteOff: StepKind.WRITE_OFF,
}
SUBSCRIPTION_STEPS: Final = frozenset(
    {StepKind.PAUSE_SUBSCRIPTION, StepKind.DOWNGRADE_SUBSCRIPTION, StepKind.CANCEL_SUBSCRIPTION}
)


class StepSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One step; `rules/deciding/dunning.py` turns it into an instant."""

    on: On = On.OPENED
    after: timedelta = timedelta()
    """From the moment of `on`; none for `before_retry`."""
    ahead: timedelta | None = None
    """How long before the retry; of `before_retry` only."""
    between: tuple[time, time] | None = None
    """Local window [from, to); may cross midnight."""
    zone: str = "UTC"
    """"customer" or an IANA name; what `between` is read in."""
    do: StepAction

    @property
    def kind(self) -> StepKind:
        """What the step does."""
        return kind_of(self.do)

    @property
    def key(self) -> str:
        """Names the step by what it does and when, wherever it stands: `opened+3d/message/reminder`."""
        return step_key(self.on, self.after, self.ahead, self.do)


class StepsSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of a campaign; no two have the same key."""

    steps: tuple[StepSpec, ...]


class QuietSpec(msgspec.Struct, frozen=True, kw_only=True):
    """No dunning, for a reason that people read."""

    reason: str


def kind_of(action: StepAction) -> StepKind:
    """Return what kind of step does this."""
    return _KINDS[type(action)]


@lru_cache(maxsize=MAX_KEYS)
def step_key(on: str, after: timedelta, ahead: timedelta | None, do: StepAction) -> str:
    """Return what names a step that does something so long after a moment, or `ahead` of it."""
    moment = f"{on}+{_length(after)}" if after else f"{on}"
    if ahead is not None:
        moment = f"{on}-{_length(ahead)}"
    return "/".join((moment, kind_of(do).value, *_detail_of(do)))


def _detail_of(action: StepAction) -> tuple[str, ...]:
    if isinstance(action, Message):
        return (action.template,)
    if isinstance(action, Task):
        slug = "-".join(_WORDS.findall(action.text.lower()))[:_SLUG_CHARS].strip("-")
        digest = sha256(action.text.encode()).hexdigest()[:_DIGEST_CHARS]
        return ("-".join(filter(None, (slug, digest))),)
    return (action.plan,) if isinstance(action, DowngradeSubscription) else ()


def _length(wait: timedelta) -> str:
    minutes = wait // timedelta(minutes=1)
    hours, odd = divmod(minutes, 60)
    if odd:
        return f"{minutes}m"
    return f"{hours}h" if hours % 24 else f"{hours // 24}d"
