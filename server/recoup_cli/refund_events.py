"""What happened to a refund, in words for somebody who was not there."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from recoup_core.domain.happened import EventKind
from recoup_core.domain.money import Money
from recoup_core.rules.deciding.words import moment
from recoup_core.storage.listing import StoredEvent

_BEFORE_DECIDING: Final = frozenset({EventKind.REFUND_REQUESTED, EventKind.REFUND_EDITED})


def comes_first(kind: str) -> bool:
    """Whether an event leads to the decision of the same moment, and is to be read before it."""
    return kind in _BEFORE_DECIDING


def event_words(event: StoredEvent) -> str:
    """Return what happened, by whom, over how much of the money, and why, as far as the event says it."""
    data = event.data
    told = _TOLD.get(event.kind, _why)(data)
    over = f" {Money(data['part_minor'], data['currency'])}" if {"part_minor", "currency"} <= data.keys() else ""
    return f"{event.kind}{over}  by {event.actor}" + (f": {told}" if told else "")


def _why(data: Mapping[str, Any]) -> str:
    if category := data.get("category"):
        return f"{_plain(category)} (code {data.get('code')})"
    return _plain(data.get("reason") or "")


def _edited(data: Mapping[str, Any]) -> str:
    if not data.get("changed"):
        return "handed in again"
    before = data.get("before_minor", data["amount_minor"])
    was = f", {Money(before, data['currency'])} before" if "amount_minor" in data["changed"] else ""
    return f"another {', '.join('amount' if name == 'amount_minor' else _plain(name) for name in data['changed'])}{was}"


def _waits(data: Mapping[str, Any]) -> str:
    return f"{_plain(data['because'])}, until {moment(datetime.fromisoformat(data['until']))}"


def _missing(data: Mapping[str, Any]) -> str:
    return f"lacks {', '.join(map(_plain, data['missing']))}"


def _may_decide(data: Mapping[str, Any]) -> str:
    return f"{' or '.join(map(_plain, data['roles']))} may decide"


def _resolved(data: Mapping[str, Any]) -> str:
    return f"{_plain(data['outcome'])}: {data['evidence']}"


_TOLD: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    EventKind.REFUND_EDITED: _edited,
    EventKind.REFUND_WAITS: _waits,
    EventKind.REFUND_INCOMPLETE: _missing,
    EventKind.REFUND_IN_REVIEW: _may_decide,
    EventKind.REFUND_ESCALATED: _may_decide,
    EventKind.REFUND_RESOLVED: _resolved,
}
"""Events that say more than a reason."""


def _plain(word: object) -> str:
    return str(word).replace("_", " ")
