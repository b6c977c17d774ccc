"""The sandbox's token language: what a token says is what happens.

A token is a chain of steps, one for each attempt of the payment, the last one repeated:
`tok_insufficient_funds|insufficient_funds|approve`. A step is one outcome with faults and webhook habits added:
`lose+approve+duplicate_webhook`. Behind a `~` stands what happens to refunds (`sandbox_refund_script`).
`plugins/README.md` lists all words.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from recoup_core.domain.decline import DeclineCategory, DeclineSource
from recoup_core.reference import classify
from recoup_plugins.gateways.sandbox_odds import PERCENT, Odds
from recoup_plugins.gateways.sandbox_refund_script import PARTS_SCRIPT, parse_refunds
from recoup_plugins.gateways.sandbox_words import (
    MAX_TOKEN,
    Habits,
    ScriptUnreadable,
    number,
    read_chain,
    read_step,
)


class ScriptedDecline(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decline by Stripe's decline code, with the network's own code and Mastercard's advice where given."""

    code: str
    network_code: str | None = None
    advice_code: str | None = None


class Step(Habits, frozen=True, kw_only=True):
    """What happens to one attempt; without `decline` and `odds` it is approved."""

    decline: ScriptedDecline | None = None
    odds: Odds | None = None


@lru_cache(maxsize=4096)
def parse_script(token: str) -> tuple[Step, ...]:
    """Return the token's steps; anything that is not in the language raises `ScriptUnreadable`."""
    if len(token) > MAX_TOKEN:
        raise ScriptUnreadable(f"a token has at most {MAX_TOKEN} characters")
    charges, _, refunds = token.partition(PARTS_SCRIPT)
    parse_refunds(refunds)  # a typing error is told when the charge is made, not when it goes back
    return tuple(_step(text) for text in read_chain(charges.removeprefix("tok_")))


def _step(text: str) -> Step:
    said = read_step(text, _own)
    if said.keys() >= {"decline", "odds"} or ("approved" in said and said.keys() & {"decline", "odds"}):
        raise ScriptUnreadable(f"{text!r} has two outcomes")
    said.pop("approved", None)
    return msgspec.convert(said, type=Step)


def _own(part: str) -> Mapping[str, object]:
    word, _, rest = part.partition(":")
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
    if not seed or number(percent) > PERCENT:
        raise ScriptUnreadable("write random:<seed>:<percent that can be recovered>[:<decline code>]")
    return {"odds": Odds(seed=seed, recoverable_percent=number(percent), cause=cause or None)}


_WORDS: Final[Mapping[str, Callable[[str], Mapping[str, object]]]] = {"decline": _decline, "random": _random}
