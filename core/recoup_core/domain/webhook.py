"""Outbound webhooks: where a merchant's events are sent, and what became of each."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.machine import Machine


class EndpointState(StrEnum):
    """Whether events are sent to an endpoint."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    """By a person, by the endpoint itself (410 Gone), or because nothing reached it for long."""
    DELETED = "deleted"
    """Kept for its log; never shown again."""


class EndpointEvent(StrEnum):
    """What can happen to an endpoint."""

    DISABLE = "disable"
    ENABLE = "enable"
    DELETE = "delete"


ENDPOINT_TRANSITIONS: Final = {
    (EndpointState.ENABLED, EndpointEvent.DISABLE): EndpointState.DISABLED,
    (EndpointState.DISABLED, EndpointEvent.ENABLE): EndpointState.ENABLED,
    (EndpointState.ENABLED, EndpointEvent.DELETE): EndpointState.DELETED,
    (EndpointState.DISABLED, EndpointEvent.DELETE): EndpointState.DELETED,
}

ENDPOINT: Final = Machine("webhook endpoint", ENDPOINT_TRANSITIONS)


class DeliveryState(StrEnum):
    """Where one event on its way to one endpoint stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    """The endpoint answered 2xx."""
    FAILED = "failed"
    """Tried for about a day, in vain."""
    DROPPED = "dropped"
    """Its endpoint was switched off before it got there."""


class DeliveryEvent(StrEnum):
    """What can happen to a delivery."""

    DELIVER = "deliver"
    FAIL = "fail"
    DROP = "drop"
    REPLAY = "replay"


DELIVERY_TRANSITIONS: Final = {
    (DeliveryState.WAITING, DeliveryEvent.DELIVER): DeliveryState.DELIVERED,
    (DeliveryState.WAITING, DeliveryEvent.FAIL): DeliveryState.FAILED,
    (DeliveryState.WAITING, DeliveryEvent.DROP): DeliveryState.DROPPED,
    (DeliveryState.DELIVERED, DeliveryEvent.REPLAY): DeliveryState.WAITING,  # the same event, under the same id
    (DeliveryState.FAILED, DeliveryEvent.REPLAY): DeliveryState.WAITING,
    (DeliveryState.DROPPED, DeliveryEvent.REPLAY): DeliveryState.WAITING,
}

DELIVERY: Final = Machine("webhook delivery", DELIVERY_TRANSITIONS)


class WebhookEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An address that a merchant's events are posted to; its secrets are derived, and stand nowhere."""

    id: UUID
    merchant_id: str
    url: str
    description: str = ""
    kinds: tuple[str, ...] = ()
    """Kinds of events, or their beginnings (`refund.*`); empty: all of them."""
    ordered: bool = False
    """One at a time, in the order in which things were committed."""
    state: EndpointState = EndpointState.ENABLED
    disabled_because: str | None = None
    disabled_at: datetime | None = None
    """When it was switched off last."""
    generation: int = 1
    """Counts its secrets."""
    old_secret_until: datetime | None = None
    """Until then the secret before signs, too."""
    failing_since: datetime | None = None
    """The first of the failures since anything reached it; None: the last try did."""
    paused_until: datetime | None = None
    """Nothing is sent before: it asked for that, or is failing."""
    created_at: datetime
    changed_at: datetime

    def wants(self, kind: str) -> bool:
        """Return whether events of this kind are sent there."""
        return not self.kinds or any(
            kind.startswith(wanted[:-1]) if wanted.endswith(".*") else kind == wanted for wanted in self.kinds
        )


class WebhookDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to one endpoint."""

    id: UUID
    merchant_id: str
    endpoint_id: UUID
    event_id: int
    event_kind: str
    event_at: datetime
    state: DeliveryState
    tries: int
    """In this round; a replay begins another."""
    due_at: datetime
    because: str | None = None
    """Why it failed, was dropped, or is tried again."""
    replayed: int
    """How often it was sent anew."""
    created_at: datetime
    finished_at: datetime | None = None

    @property
    def message_id(self) -> str:
        """The `webhook-id`: the same for every try and every replay, so that a receiver tells doubles apart."""
        return f"msg_{self.id.hex}"


class WebhookTry(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and what came back."""

    id: UUID
    merchant_id: str
    endpoint_id: UUID
    delivery_id: UUID
    at: datetime
    ms: int
    status: int | None = None
    """None: there was no answer; `error` says why."""
    error: str | None = None
    response: str | None = None
    """How the answer begins, redacted."""
