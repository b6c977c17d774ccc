"""The only way flows call a gateway: whatever a plugin does wrong becomes an unknown outcome, never a lie.

A call that takes too long, raises, or answers with something that is no outcome is `Unknown`: money may have moved.
Only the cancellation of our own task passes through. The refund calls are for gateways whose
`capabilities.refunds` (and `cancels_refunds`) say that they are there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import msgspec

from recoup_core.domain.money import Money
from recoup_core.domain.redact import redact, redacted
from recoup_core.ports import (
    CHARGE_TIMEOUT_S,
    Canceled,
    CancelingGateway,
    CancelOutcome,
    ChargeOutcome,
    ChargeRequest,
    Declined,
    FoundCharge,
    FoundRefund,
    Gateway,
    NotFound,
    NotSent,
    Owned,
    Pending,
    Refunded,
    RefundGateway,
    RefundOutcome,
    RefundRequest,
    Refused,
    Succeeded,
    TakenBack,
)

MAX_REF: Final = 255
"""Characters of a gateway's own id; Stripe's longest have some 30 (docs.stripe.com/upgrades allows for 255)."""


class Unknown(msgspec.Struct, frozen=True, kw_only=True, tag="unknown"):
    """Nobody knows whether money moved; `reason` is safe to store and show."""

    reason: str


_CHARGE_ANSWERS: Final = (Succeeded, Declined, Pending, NotSent, Owned)
_FOUND_ANSWERS: Final = (Succeeded, Declined, Pending, NotFound)
_REFUND_ANSWERS: Final = (Refunded, Refused, Pending, NotSent)
_FOUND_REFUND_ANSWERS: Final = (Refunded, Refused, Pending, Canceled, TakenBack, NotFound)
_CANCEL_ANSWERS: Final = (Canceled, Refused, NotSent)

Request = TypeVar("Request", ChargeRequest, RefundRequest)
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


async def refund_guarded(
    gateway: Gateway, request: RefundRequest, *, timeout_s: float = CHARGE_TIMEOUT_S
) -> RefundOutcome | Unknown:
    """Refund or void through the gateway; every misbehaviour, another amount included, is `Unknown`."""
    return await _guarded(cast("RefundGateway", gateway).refund, request, _REFUND_ANSWERS, timeout_s)


async def find_refund_guarded(
    gateway: Gateway, request: RefundRequest, *, timeout_s: float = CHARGE_TIMEOUT_S
) -> FoundRefund | Unknown:
    """Look up a refund; `Unknown` means that the gateway could not be asked, so nothing is settled."""
    return await _guarded(cast("RefundGateway", gateway).find_refund, request, _FOUND_REFUND_ANSWERS, timeout_s)


async def cancel_refund_guarded(
    gateway: Gateway, request: RefundRequest, *, timeout_s: float = CHARGE_TIMEOUT_S
) -> CancelOutcome | Unknown:
    """Cancel a pending refund; `Unknown` leaves it pending, for a look-up to say what became of it."""
    return await _guarded(cast("CancelingGateway", gateway).cancel_refund, request, _CANCEL_ANSWERS, timeout_s)


async def _guarded(
    call: Callable[[Request], Awaitable[Answer]],
    request: Request,
    allowed: tuple[type[Any], ...],
    timeout_s: float,
) -> Answer | Unknown:
    answer = await ask_guarded(
        lambda: call(request), lambda given: _broken_answer(given, request.amount, allowed), timeout_s
    )
    return answer if isinstance(answer, Unknown) else _without_secrets(answer)


async def ask_guarded(
    call: Callable[[], Awaitable[Answer]], broken: Callable[[Answer], str | None], timeout_s: float
) -> Answer | Unknown:
    """Return what a plugin's call answers; `Unknown` where it misbehaves or `broken` says what is wrong with it."""
    try:
        async with asyncio.timeout(timeout_s):
            answer = await call()
        broke = broken(answer)
    except asyncio.CancelledError:
        if _we_are_canceled():
            raise
        return Unknown(reason="CancelledError: the plugin canceled itself")
    except TimeoutError:
        return Unknown(reason="TimeoutError: no answer in time")
    except Exception as raised:  # promise 2: whatever a gateway raises is unknown, never failed
        return Unknown(reason=f"{type(raised).__name__}: {redact(_text(raised))}")
    return answer if broke is None else Unknown(reason=f"TypeError: {broke}")


def _without_secrets(answer: Answer) -> Answer:
    """Redact the free texts an answer holds: they are stored, shown and told (promise 11)."""
    match answer:
        case Declined() if redacted(answer.decline) != answer.decline:
            return msgspec.structs.replace(answer, decline=redacted(answer.decline))
        case Refused() | TakenBack() if redacted(answer.failure) != answer.failure:
            return msgspec.structs.replace(answer, failure=redacted(answer.failure))
        case NotSent() | Owned() if redact(answer.reason) != answer.reason:
            return msgspec.structs.replace(answer, reason=redact(answer.reason))
    return answer


def _we_are_canceled() -> bool:
    """Tell our own cancellation from one that a plugin lets escape (an inner task it canceled)."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _text(raised: Exception) -> str:
    try:
        return str(raised)
    except Exception:  # a plugin's exception may even fail to print itself
        return "(no message)"


def _broken_answer(answer: object, asked: Money, allowed: tuple[type[Any], ...]) -> str | None:
    if type(answer) not in allowed:
        return f"the plugin answered with a {type(answer).__name__}"
    wrong = wrong_types(answer)
    if wrong is not None:
        return wrong
    if isinstance(answer, Succeeded | Pending | Refunded | TakenBack) and not answer.gateway_ref:
        return f"the plugin's {type(answer).__name__} has no gateway_ref"
    for field in ("gateway_ref", "try_ref"):
        ref = getattr(answer, field, None) or ""
        if len(ref) > MAX_REF or "\0" in ref:  # PostgreSQL stores no NUL: the answer could never be written down
            return f"the plugin's {type(answer).__name__} has a {field} that can't be kept"
    if isinstance(answer, Succeeded):
        return _broken_collection(answer.amount, asked)
    return _broken_refund(answer, asked) if isinstance(answer, Refunded) else None


def wrong_types(answer: object) -> str | None:
    """Return which field of a plugin's Struct has a value of another type than it promises, or None."""
    try:
        # Structs don't check themselves when made; converting there and back does.
        msgspec.convert(msgspec.to_builtins(answer), type=type(answer))
    except (msgspec.ValidationError, TypeError) as wrong:
        return f"the plugin's {type(answer).__name__} has fields of a wrong type: {redact(str(wrong))}"
    return None


def _broken_collection(amount: Money, asked: Money) -> str | None:
    if amount.currency != asked.currency:
        return f"the plugin collected {amount.currency} for a charge in {asked.currency}"
    if amount.amount_minor <= 0:
        return "the plugin says it succeeded and collected nothing"
    return None


def _broken_refund(answer: Refunded, asked: Money) -> str | None:
    """Refunds are exact: a part whose money went back by another amount would be booked wrong either way."""
    if answer.amount != asked:
        given = f"{answer.amount.amount_minor} {answer.amount.currency}"
        return f"the plugin gave back {redact(given)} minor units for a refund of {asked.amount_minor} {asked.currency}"
    if answer.fee is not None and answer.fee.amount_minor < 0:
        return "the plugin tells of a negative fee"
    return None
