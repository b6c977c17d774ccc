"""The words that all scripts of the sandbox share: what goes wrong on the way, how answers and webhooks travel."""

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

MAX_TOKEN: Final = 500
MAX_STEPS: Final = 40
PENDING_S: Final = 1.0
"""How long what is `pending` takes when its step gives no time."""

BUSY_S: Final = 1.0
MAX_DURATION_S: Final = 90 * 86_400.0

FAULTS: Final = frozenset({"unreachable", "busy", "lose_before", "error500", "lose", "hang"})
BEFORE: Final = frozenset({"unreachable", "busy", "lose_before", "error500"})
"""Faults that strike before the bank has done anything."""


class ScriptUnreadable(ValueError):
    """The text is no script; the sandbox says no to it as a gateway does to a token it does not know."""


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong on the way, on the first `times` sends of a key."""

    kind: str
    times: int = 1


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """How one call to the bank goes and how its webhooks travel, whatever comes of it."""

    fault: Fault | None = None
    pending_s: float | None = None
    """The answer is Pending; the result stands after so many seconds."""
    delay_s: float = 0.0
    """The bank does it at once and answers so much later."""
    webhook_late_s: float = 0.0
    webhook_copies: int = 1
    shuffled: bool = False

    def fault_of_send(self, number: int) -> str | None:
        """Return the fault that strikes the given send (1 is the first) of a key."""
        return self.fault.kind if self.fault is not None and number <= self.fault.times else None


def read_chain(text: str) -> list[str]:
    """Part a chain into the texts of its steps."""
    if len(text) > MAX_TOKEN:
        raise ScriptUnreadable(f"a script has at most {MAX_TOKEN} characters")
    steps = text.split("|")
    if len(steps) > MAX_STEPS:
        raise ScriptUnreadable(f"a script has at most {MAX_STEPS} steps")
    return steps


def read_step(text: str, own: Callable[[str], Mapping[str, object]]) -> dict[str, object]:
    """Return what a step says, by field; `own` reads the words that are not shared."""
    said: dict[str, object] = {}
    for part in text.split("+"):
        word = part.strip()
        found = _shared(word)
        for field, value in (own(word) if found is None else found).items():
            if field in said:
                raise ScriptUnreadable(f"{text!r} says two things about its {field}")
            said[field] = value
    return said


def number(text: str) -> int:
    """Read a whole number of at most six digits."""
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ScriptUnreadable(f"{text!r} is no whole number")
    return int(text)


def seconds(text: str) -> float:
    """Read a duration (`2s`, `500ms`, `5m`, `1h`, `3d`) as seconds."""
    read = re.fullmatch(r"([0-9]{1,7})(ms|s|m|h|d)", text)
    if read is None:
        raise ScriptUnreadable(f"{text!r} is no duration (2s, 500ms, 5m, 1h, 3d)")
    found = int(read[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}[read[2]]
    if found > MAX_DURATION_S:
        raise ScriptUnreadable(f"{text!r} is longer than the sandbox waits")
    return float(found)


def _shared(part: str) -> Mapping[str, object] | None:
    word, _, rest = part.partition(":")
    name, _, times = word.partition("*")
    if name in FAULTS:
        return {"fault": Fault(name, number(times) if times else 1)}
    return _WORDS[word](rest) if word in _WORDS else None


_WORDS: Final[Mapping[str, Callable[[str], Mapping[str, object]]]] = {
    "approve": lambda _: {"approved": True},
    "pending": lambda rest: {"pending_s": seconds(rest) if rest else PENDING_S},
    "delay": lambda rest: {"delay_s": seconds(rest)},
    "late_webhook": lambda rest: {"webhook_late_s": seconds(rest)},
    "duplicate_webhook": lambda _: {"webhook_copies": 2},
    "shuffled_webhooks": lambda _: {"shuffled": True},
}
