"""The sandbox's script for refunds: what stands behind the `~` of a token or of a reported charge's reference.

A script is a chain of steps, one for each refund of the charge, the last one repeated:
`tok_approve~low_balance|approve`, `sbx_reported_order_a~pending:2d+refused:declined`. Every word may carry the prefix
`refund_`. `plugins/README.md` lists all words.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from recoup_core.domain.refund import FailureCategory, RefundFailure
from recoup_core.reference import refund_rules
from recoup_plugins.gateways.sandbox_words import Habits, ScriptUnreadable, number, read_chain, read_step, seconds

PARTS_SCRIPT: Final = "~"
"""Parts what is charged, or the name of a reported charge, from what happens to its refunds."""

REPORTED: Final = "sbx_reported_"
"""What the reference of a charge starts with that the merchant reported and the bank has never seen."""

TAKEN_BACK: Final = "expired_or_canceled_card"
"""Why a refund comes back when its script gives no code."""

_PREFIX: Final = re.compile(r"(^|\+)\s*refund_")
_LOW_BALANCE: Final = re.compile(r"\b(?:refund_)?low_balance\*([0-9]{1,2})(?=\+|$)")


class RefundStep(Habits, frozen=True, kw_only=True):
    """What happens to one refund; without `failure` the money goes back."""

    failure: RefundFailure | None = None
    taken_back_s: float | None = None
    """So many seconds after its success the refund comes back to the merchant."""
    taken_back: RefundFailure | None = None
    fee_minor: int = 0


class RefundScript(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to all refunds of one charge."""

    authorized: bool
    """The charge is only promised until the bank captures it."""
    steps: tuple[RefundStep, ...]

    def step(self, position: int) -> RefundStep:
        """Return the step of a refund (0 is the first); the last step stays."""
        return self.steps[min(position, len(self.steps) - 1)]


def failure_of(code: str, category: str = "") -> RefundFailure:
    """Return a failure by a code of the reference table, a category of ours, or any code with its category."""
    own = category or (code if code in set(FailureCategory) else "")
    known = FailureCategory(own) if own in set(FailureCategory) else refund_rules("stripe").category(code)
    if known is None or not code:
        raise ScriptUnreadable(f"{code!r} is no code of a refused refund; write refused:<code>:<category>")
    return RefundFailure(category=known, code=code)


@lru_cache(maxsize=4096)
def parse_refunds(text: str) -> RefundScript:
    """Return what the script says; an empty one approves; anything else raises `ScriptUnreadable`."""
    steps = [_step(one) for chain in read_chain(text or "approve") for one in _spelled_out(chain)]
    authorized = [said.pop("authorized") for said in steps if "authorized" in said]  # of the charge, in whichever step
    return RefundScript(
        authorized=bool(authorized), steps=tuple(msgspec.convert(said, type=RefundStep) for said in steps)
    )


def script_of(token_or_ref: str) -> str:
    """Return what stands behind the `~`."""
    return token_or_ref.partition(PARTS_SCRIPT)[2]


def _spelled_out(step: str) -> list[str]:
    """Write `low_balance*2` as what it means: so many refunds are refused for want of balance, then it is fine."""
    times = _LOW_BALANCE.search(step)
    if times is None:
        return [step]
    refused, fine = (_LOW_BALANCE.sub(word, step) for word in ("low_balance", "approve"))
    return [refused] * number(times[1]) + [fine]


def _step(text: str) -> dict[str, object]:
    said = read_step(_PREFIX.sub(r"\1", text), _own)
    if "approved" in said and "failure" in said:
        raise ScriptUnreadable(f"{text!r} has two outcomes")
    said.pop("approved", None)
    return said


def _own(part: str) -> Mapping[str, object]:
    word, _, rest = part.partition(":")
    if word not in _WORDS:
        raise ScriptUnreadable(f"{part!r} is no word of the sandbox's refunds")
    return _WORDS[word](rest)


def _refused(rest: str) -> Mapping[str, object]:
    code, _, category = rest.partition(":")
    return {"failure": failure_of(code, category)}


def _taken_back(rest: str) -> Mapping[str, object]:
    after, _, code = rest.partition(":")
    return {"taken_back_s": seconds(after), "taken_back": failure_of(code or TAKEN_BACK)}


_WORDS: Final[Mapping[str, Callable[[str], Mapping[str, object]]]] = {
    "refused": _refused,
    "low_balance": lambda _: {"failure": failure_of("balance_insufficient")},
    "not_found": lambda _: {"failure": failure_of("resource_missing")},
    "taken_back": _taken_back,
    "fee": lambda rest: {"fee_minor": number(rest)},
    "authorized": lambda _: {"authorized": True},
}
