"""What the billing system is asked to do with a subscription: it acknowledges, or is asked again, or a person is."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.machine import Machine


class Wish(StrEnum):
    """What is to become of the subscription."""

    PAUSE = "pause"
    DOWNGRADE = "downgrade"
    CANCEL = "cancel"
    RESTORE = "restore"
    """What was taken away is given back: the debt is paid."""


class RequestState(StrEnum):
    """Where a request stands."""

    ASKED = "asked"
    OVERDUE = "overdue"
    """Asked as often as is reasonable; a person has a task."""
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class RequestEvent(StrEnum):
    """What can happen to a request."""

    ACKNOWLEDGE = "acknowledge"
    REFUSE = "refuse"
    GIVE_UP = "give_up"
    WITHDRAW = "withdraw"


REQUEST_TRANSITIONS: Final = {
    (RequestState.ASKED, RequestEvent.ACKNOWLEDGE): RequestState.ACKNOWLEDGED,
    (RequestState.ASKED, RequestEvent.REFUSE): RequestState.REFUSED,
    (RequestState.ASKED, RequestEvent.GIVE_UP): RequestState.OVERDUE,
    (RequestState.ASKED, RequestEvent.WITHDRAW): RequestState.WITHDRAWN,
    (RequestState.OVERDUE, RequestEvent.ACKNOWLEDGE): RequestState.ACKNOWLEDGED,
    (RequestState.OVERDUE, RequestEvent.REFUSE): RequestState.REFUSED,
    (RequestState.OVERDUE, RequestEvent.WITHDRAW): RequestState.WITHDRAWN,
}

REQUEST: Final = Machine("subscription request", REQUEST_TRANSITIONS)


class SubscriptionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the billing system is asked for, once for each step that wants it."""

    id: UUID
    merchant_id: str
    case_id: UUID
    payment_id: UUID
    step_id: UUID | None = None
    """The dunning step; None where the debt's payment asks for it (`restore`)."""
    wish: Wish
    plan: str | None = None
    """The plan to move to (`downgrade`)."""
    subscription: Mapping[str, Any] = {}
    state: RequestState = RequestState.ASKED
    asked: int = 1
    """How often the event was told."""
    asked_at: datetime
    answered_by: str | None = None
    note: str | None = None
    created_at: datetime
    finished_at: datetime | None = None
