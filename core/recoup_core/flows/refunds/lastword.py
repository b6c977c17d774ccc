"""What all that a gateway has told of one refund or dispute comes to, in whatever order and number it arrived."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from recoup_core.domain.dispute import DISPUTE, DisputeEvent, DisputeState
from recoup_core.domain.refund import FailureCategory, PartState, RefundFailure, RefundPart
from recoup_core.flows.refunds.outcomes import Outcome
from recoup_core.ports import Canceled, DisputeNews, GatewayEvent, Pending, Refunded, RefundNews, Refused, TakenBack

_RANKS: Final[dict[type, int]] = {Pending: 0, Refunded: 1, Canceled: 2, Refused: 3, TakenBack: 4}
"""What is told of one second is taken in this order: a refund succeeds before it comes back."""

_NO: Final = (Refused, Canceled, TakenBack)

_MOVES: Final = {
    DisputeState.OPEN: DisputeEvent.OPEN,
    DisputeState.WON: DisputeEvent.WIN,
    DisputeState.LOST: DisputeEvent.LOSE,
    DisputeState.CLOSED: DisputeEvent.CLOSE,
}

_STANDS: Final[dict[DisputeState, int]] = {
    DisputeState.INQUIRY: 0,
    DisputeState.OPEN: 1,
    DisputeState.CLOSED: 2,
    DisputeState.WON: 3,
    DisputeState.LOST: 4,
}


class LastWord(msgspec.Struct, frozen=True):
    """What a gateway's events about one refund come to."""

    outcome: Outcome
    at: datetime


def last_word(events: Iterable[GatewayEvent], part: RefundPart | None = None) -> LastWord | None:
    """Return what the events about one refund come to; None where they say nothing new about the part.

    The last to have happened counts, and "pending" only while nothing else was told. A no after any success means that
    the money came back, also where the success arrives last.
    """
    told = sorted(_news(events), key=lambda each: (each[0], _RANKS[type(each[1].outcome)], each[2]))
    final = [each for each in told if not isinstance(each[1].outcome, Pending)]
    if not final:
        return LastWord(told[-1][1].outcome, told[-1][0]) if told else None
    at, news, _ = final[-1]
    outcome = news.outcome
    succeeded = part is not None and part.successes > 0
    succeeded |= any(isinstance(each.outcome, Refunded | TakenBack) for _, each, _ in final)
    if isinstance(outcome, Refused | Canceled) and succeeded:
        return LastWord(TakenBack(gateway_ref=news.refund_ref, failure=_failure(outcome)), at)
    if part is not None and part.state is PartState.TAKEN_BACK and isinstance(outcome, Refunded):
        by_events = any(isinstance(each.outcome, _NO) for _, each, _ in final)
        if not by_events and part.finished_at is not None and at <= part.finished_at:
            return None  # a look-up, asked later, has said that it came back
    return LastWord(outcome, at)


def last_standing(events: Iterable[GatewayEvent]) -> DisputeState | None:
    """Return how a dispute stands after all that was told, taken in the order in which it happened."""
    told: list[tuple[datetime, DisputeNews, str]] = [
        (event.occurred_at, event.dispute, event.external_id) for event in events if event.dispute is not None
    ]
    told.sort(key=lambda each: (each[0], _STANDS[each[1].standing], each[2]))
    standing: DisputeState | None = None
    for _, news, _ in told:
        if standing is None:
            standing = news.standing
            continue
        move = _MOVES.get(news.standing)
        if move is not None and DISPUTE.allows(standing, move):
            standing = DISPUTE.after(standing, move)
    return standing


def _news(events: Iterable[GatewayEvent]) -> list[tuple[datetime, RefundNews, str]]:
    return [(event.occurred_at, event.refund, event.external_id) for event in events if event.refund is not None]


def _failure(outcome: Refused | Canceled) -> RefundFailure:
    if isinstance(outcome, Refused):
        return outcome.failure
    return RefundFailure(category=FailureCategory.UNKNOWN, code="canceled", message="canceled at the gateway")
