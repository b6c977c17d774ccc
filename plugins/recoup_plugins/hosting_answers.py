"""What foreign gateways and notifiers may answer: plain values of the contract's own types, of a bounded size.

An answer is copied before anybody else sees it, so that nothing in it can run code, grow, or change afterwards.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from recoup_core.ports import (
    Accepted,
    Canceled,
    Capabilities,
    Declined,
    EventPage,
    Feedback,
    GatewayEvent,
    NoLink,
    NotAccepted,
    NotFound,
    NotifierCapabilities,
    NotNow,
    NotSent,
    Owned,
    Pending,
    Refunded,
    Refused,
    ReportedSettlement,
    StoredCredential,
    Succeeded,
    TakenBack,
    UpdateLink,
)

MAX_EVENTS: Final = 1000
"""Events of one webhook or one page; a webhook has at most 1 MiB, and providers' largest pages hold 500."""

MAX_CREDENTIALS: Final = 200
"""Stored means of payment of one customer; Stripe's largest page holds 100."""

MAX_LINES: Final = 1_000_000
"""Lines of one settlement report, three times what fits into the largest one (`MAX_SETTLEMENT_BYTES`)."""

MAX_ANSWER: Final = 4 * 1024 * 1024
"""Characters, numbers and names in one answer, settlement reports aside: four times the largest webhook."""

MAX_DEPTH: Final = 64
"""How deep a payload may be nested: deeper ones break JSON encoders further on."""


class WrongAnswer(Exception):
    """A foreign plugin answered with something that the contract doesn't know."""


Struct = TypeVar("Struct", bound=msgspec.Struct)
Check = Callable[[object], Any]


def _one_of(*shapes: type[msgspec.Struct]) -> Check:
    def check(answer: object) -> Any:
        if type(answer) not in shapes:
            raise WrongAnswer(f"it answered with a {type(answer).__name__}")
        return plain(answer, type(answer))

    return check


def _nothing(answer: object) -> None:
    """Whatever `health` returns means that it did return."""


def _many(shape: type[msgspec.Struct], limit: int) -> Check:
    def check(answer: object) -> Any:
        if not isinstance(answer, Iterable):
            raise WrongAnswer(f"it answered with a {type(answer).__name__}")
        taken = tuple(islice(answer, limit + 1))
        if len(taken) > limit:
            raise WrongAnswer(f"it answered with more than {limit} of {shape.__name__}")
        wrong = next((type(one).__name__ for one in taken if type(one) is not shape), None)
        if wrong is not None:
            raise WrongAnswer(f"it answered with a {wrong} among {shape.__name__}")
        return plain(taken, tuple[shape, ...])  # type: ignore[valid-type] # the shape is known at run time only

    return check


def _page(answer: object) -> EventPage:
    if type(answer) is not EventPage:
        raise WrongAnswer(f"it answered with a {type(answer).__name__}")
    return EventPage(events=_events(answer.events), cursor=plain(answer.cursor, str | None))


def _report(answer: object) -> ReportedSettlement:
    if type(answer) is not ReportedSettlement:
        raise WrongAnswer(f"it answered with a {type(answer).__name__}")
    if type(answer.lines) is not tuple or len(answer.lines) > MAX_LINES:
        raise WrongAnswer(f"its lines are no tuple of at most {MAX_LINES}")
    report: ReportedSettlement = plain(answer, ReportedSettlement, weighed=False)
    return report


_events: Final = _many(GatewayEvent, MAX_EVENTS)

CHECKS: Final[Mapping[str, Check]] = {
    "charge": _one_of(Succeeded, Declined, Pending, NotSent, Owned),
    "find_charge": _one_of(Succeeded, Declined, Pending, NotFound),
    "health": _nothing,
    "refund": _one_of(Refunded, Refused, Pending, NotSent),
    "find_refund": _one_of(Refunded, Refused, Pending, Canceled, TakenBack, NotFound),
    "cancel_refund": _one_of(Canceled, Refused, NotSent),
    "list_credentials": _many(StoredCredential, MAX_CREDENTIALS),
    "update_link": _one_of(UpdateLink, NoLink),
    "list_events": _page,
    "fetch_settlement": _report,
    "parse_event": _events,
    "read_settlement": _report,
    "capabilities": _one_of(Capabilities),
    "send": _one_of(Accepted, NotAccepted, NotNow),
    "parse_feedback": _many(Feedback, MAX_EVENTS),
    "notifier_capabilities": _one_of(NotifierCapabilities),
}
"""Per call what makes a plain copy of its answer, or raises `WrongAnswer`."""


def plain(answer: object, shape: Any, *, weighed: bool = True) -> Any:
    """Return a copy made of nothing but plain values of the right types; raises `WrongAnswer`."""
    try:
        parts = msgspec.to_builtins(answer)
        if weighed:
            _weigh(parts, MAX_ANSWER, 0)
        return msgspec.convert(parts, type=shape)
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as wrong:
        raise WrongAnswer(f"its {getattr(shape, '__name__', 'answer')} has a field of a wrong type: {wrong}") from None


def _weigh(part: object, left: int, depth: int) -> int:
    """Return what is left of the room for an answer once this part of it is in."""
    if depth > MAX_DEPTH:
        raise WrongAnswer(f"its answer is nested deeper than {MAX_DEPTH}")
    left -= len(part) if isinstance(part, str | bytes) else 1
    if isinstance(part, Mapping):
        for name, value in part.items():
            left = _weigh(value, left - len(str(name)), depth + 1)
    elif isinstance(part, list | tuple):
        for value in part:
            left = _weigh(value, left, depth + 1)
    if left < 0:
        raise WrongAnswer(f"its answer is larger than {MAX_ANSWER}")
    return left
