"""The sandbox's token language: what a token says is what happens.

A token is a chain of steps, one for each attempt of the payment, the last one repeated:
`tok_insufficient_funds|insufficient_funds|approve`. A step is one outcome with faults and webhook habits added:
`lose+approve+duplicate_webhook`. `plugins/README.md` lists all words.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from recoup_core.domain.decline import DeclineCategory, DeclineSource
from recoup_core.reference import classify
from recoup_plugins.gateways.sandbox_odds import PERCENT, Odds

MAX_TOKEN: Final = 500
MAX_STEPS: Final = 40
PENDING_S: Final = 1.0
"""How long a `pending` charge takes when its step gives no time."""

BUSY_S: Final = 1.0
MAX_DURATION_S: Final = 90 * 86_400.0

FAULTS: Final = frozenset({"unreachable", "busy", "lose_before", "error500", "lose", "hang"})
BEFORE: Final = frozenset({"unreachable", "busy", "lose_before", "error500"})
"""Faults that strike before the bank has done anything."""


class ScriptUnreadable(ValueError):
    """The token is no script; the sandbox declines it as a gateway declines a token it does not know."""


class ScriptedDecline(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decline by Stripe's decline code, with the network's own code and Mastercard's advice where given."""

    code: str
    network_code: str | None = None
    advice_code: str | None = None


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong on the way, on the first `times` sends of an attempt."""

    kind: str
    times: int = 1


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to one attempt; without `decline` and `odds` it is approved."""

    decline: ScriptedDecline | None = None
    odds: Odds | None = None
    fault: Fault | None = None
    pending_s: float | None = None
    """The answer is Pending; the result stands after so many seconds."""
    delay_s: float = 0.0
    """The bank does it at once and answers so much later."""
    webhook_late_s: float = 0.0
    webhook_copies: int = 1
    shuffled: bool = False

    def fault_of_send(self, number: int) -> str | None:
        """Return the fault that strikes the given send (1 is the first) of an attempt."""
        return self.fault.kind if self.fault is not None and number <= self.fault.times else None


@lru_cache(maxsize=4096)
def parse_script(token: str) -> tuple[Step, ...]:
    """Return the token's steps; anything that is not in the language raises `ScriptUnreadable`."""
    if len(token) > MAX_TOKEN:
        raise ScriptUnreadable(f"a token has at most {MAX_TOKEN} characters")
    steps = token.removeprefix("tok_").split("|")
    if len(steps) > MAX_STEPS:
        raise ScriptUnreadable(f"a token has at most {MAX_STEPS} steps")
    return tuple(_step(text) for text in steps)


def _step(text: str) -> Step:
    said: dict[str, object] = {}
    for part in text.split("+"):
        for field, value in _part(part.strip()).items():
            if field in said:
                raise ScriptUnreadable(f"{text!r} says two things about its {field}")
            said[field] = value
    if said.keys() >= {"decline", "odds"} or ("approved" in said and said.keys() & {"decline", "odds"}):
        raise ScriptUnreadable(f"{text!r} has two outcomes")
    said.pop("approved", None)
    return msgspec.convert(said, type=Step)


def _part(part: str) -> Mapping[str, object]:
    word, _, rest = part.partition(":")
    name, _, times = word.partition("*")
    if name in FAULTS:
        return {"fault": Fault(name, _number(times) if times else 1)}
    if word in _WORDS:
        return _WORDS[word](rest)
    if not rest and re.fullmatch(r"(decline_)?[a-z0-9_]+", word):
        return {"decline": _known_decline(word.removeprefix("decline_"))}
    raise ScriptUnreadable(f"{part!r} is no word of the sandbox")


def _known_decline(code: str) -> ScriptedDecline:
    """A bare word must be a code of the table, so that a typing error is not taken for a decline."""
    if classify(DeclineSource.STRIPE, code).category is DeclineCategory.UNKNOWN:
        raise ScriptUnreadable(f"{code!r} is no decline code; write decline:{code} if you mean an unknown one")
    return ScriptedDecline(code)


def _decline(rest: str) -> Mapping[str, object]:
    code, *more = rest.split(":")
    if not code or len(more) > 2:
        raise ScriptUnreadable("write decline:<code>[:<network code>[:<advice code>]]")
    return {"decline": ScriptedDecline(code, *(one or None for one in more))}


def _random(rest: str) -> Mapping[str, object]:
    seed, _, tail = rest.partition(":")
    percent, _, cause = tail.partition(":")
    if not seed or _number(percent) > PERCENT:
        raise ScriptUnreadable("write random:<seed>:<percent that can be recovered>[:<decline code>]")
    return {"odds": Odds(seed=seed, recoverable_percent=_number(percent), cause=cause or None)}


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text):
        raise ScriptUnreadable(f"{text!r} is no whole number")
    return int(text)


def _seconds(text: str) -> float:
    read = re.fullmatch(r"(\d{1,7})(ms|s|m|h|d)", text)
    if read is None:
        raise ScriptUnreadable(f"{text!r} is no duration (2s, 500ms, 5m, 1h, 3d)")
    seconds = int(read[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}[read[2]]
    if seconds > MAX_DURATION_S:
        raise ScriptUnreadable(f"{text!r} is longer than the sandbox waits")
    return float(seconds)


_WORDS: Final[Mapping[str, Callable[[str], Mapping[str, object]]]] = {
    "approve": lambda _: {"approved": True},
    "decline": _decline,
    "random": _random,
    "pending": lambda rest: {"pending_s": _seconds(rest) if rest else PENDING_S},
    "delay": lambda rest: {"delay_s": _seconds(rest)},
    "late_webhook": lambda rest: {"webhook_late_s": _seconds(rest)},
    "duplicate_webhook": lambda _: {"webhook_copies": 2},
    "shuffled_webhooks": lambda _: {"shuffled": True},
}
