"""The only way flows call a gateway: whatever a plugin does wrong becomes an unknown outcome, never a lie.

A call that takes too long, raises, or answers with something that is no outcome is `Unknown`: money may have moved.
Only the cancellation of our own task passes through.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from recoup_core.domain.redact import redact
from recoup_core.ports import (
    CHARGE_TIMEOUT_S,
    ChargeOutcome,
    ChargeRequest,
    Declined,
    FoundCharge,
    Gateway,
    NotFound,
    NotSent,
    Pending,
    Succeeded,
)


class Unknown(msgspec.Struct, frozen=True, kw_only=True, tag="unknown"):
    """Nobody knows whether money moved; `reason` is safe to store and show."""

    reason: str


_CHARGE_ANSWERS: Final = (Succeeded, Declined, Pending, NotSent)
_FOUND_ANSWERS: Final = (Succeeded, Declined, Pending, NotFound)

Answer = TypeVar("Answer")


async def charge_guarded(
    gateway: Gateway, request: ChargeRequest, *, timeout_s: float = CHARGE_TIMEOUT_S
) -> ChargeOutcome | Unknown:
    """Charge through the gateway; every misbehaviour is `Unknown` and is settled by look-up or webhook."""
    return await _guarded(gateway.charge, request, _CHARGE_ANSWERS, timeout_s)


async def find_charge_guarded(
    gateway: Gateway, request: ChargeRequest, *, timeout_s: float = CHARGE_TIMEOUT_S
) -> FoundCharge | Unknown:
    """Look up a charge; `Unknown` means that the gateway could not be asked, so nothing is settled."""
    return await _guarded(gateway.find_charge, request, _FOUND_ANSWERS, timeout_s)


async def _guarded(
    call: Callable[[ChargeRequest], Awaitable[Answer]],
    request: ChargeRequest,
    allowed: tuple[type[Any], ...],
    timeout_s: float,
) -> Answer | Unknown:
    try:
        async with asyncio.timeout(timeout_s):
            answer = await call(request)
        broke = _broken_answer(answer, request, allowed)
    except asyncio.CancelledError:
        if _we_are_canceled():
            raise
        return Unknown(reason="CancelledError: the plugin canceled itself")
    except TimeoutError:
        return Unknown(reason="TimeoutError: no answer in time")
    except Exception as raised:  # promise 2: whatever a gateway raises is unknown, never failed
        return Unknown(reason=f"{type(raised).__name__}: {redact(_text(raised))}")
    if broke is not None:
        return Unknown(reason=f"TypeError: {broke}")
    return _without_secrets(answer)


def _without_secrets(answer: Answer) -> Answer:
    """Redact the one free text an answer holds: it is stored, shown and told (promise 11)."""
    if not isinstance(answer, Declined) or not answer.decline.message:
        return answer
    decline = msgspec.structs.replace(answer.decline, message=redact(answer.decline.message))
    return msgspec.structs.replace(answer, decline=decline)


def _we_are_canceled() -> bool:
    """Tell our own cancellation from one that a plugin lets escape (an inner task it canceled)."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _text(raised: Exception) -> str:
    try:
        return str(raised)
    except Exception:  # a plugin's exception may even fail to print itself
        return "(no message)"


def _broken_answer(answer: object, request: ChargeRequest, allowed: tuple[type[Any], ...]) -> str | None:
    if type(answer) not in allowed:
        return f"the plugin answered with a {type(answer).__name__}"
    try:
        # Structs don't check themselves when made; converting there and back does.
        msgspec.convert(msgspec.to_builtins(answer), type=type(answer))
    except (msgspec.ValidationError, TypeError) as wrong:
        return f"the plugin's {type(answer).__name__} has fields of a wrong type: {redact(str(wrong))}"
    if isinstance(answer, Succeeded | Pending) and not answer.gateway_ref:
        return f"the plugin's {type(answer).__name__} has no gateway_ref"
    if isinstance(answer, Succeeded) and answer.amount.currency != request.amount.currency:
        return f"the plugin collected {answer.amount.currency} for a charge in {request.amount.currency}"
    if isinstance(answer, Succeeded) and answer.amount.amount_minor <= 0:
        return "the plugin says it succeeded and collected nothing"
    return None
