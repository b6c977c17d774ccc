"""What requests and answers about outbound webhooks carry."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from recoup_core.domain.webhook import DeliveryState, EndpointState, WebhookDelivery, WebhookEndpoint, WebhookTry
from recoup_core.flows.webhooks_out.endpoints import (
    KINDS_MAX,
    MAX_BECAUSE,
    MAX_DESCRIPTION,
    ROLL_HOURS,
    ROLL_HOURS_MAX,
)
from recoup_core.web.calling import Answer
from recoup_core.web.urls import MAX_URL
from recoup_server.schemas_in import Body
from recoup_server.schemas_out import Out

Url = Annotated[str, Meta(min_length=1, max_length=MAX_URL)]
Description = Annotated[str, Meta(max_length=MAX_DESCRIPTION)]
Kinds = Annotated[list[Annotated[str, Meta(min_length=1, max_length=80)]], Meta(max_length=KINDS_MAX)]


class WebhookEndpointIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where events are to be sent."""

    url: Url
    """`https`, on a public address; no user name, no fragment."""
    description: Description = ""
    kinds: Kinds = msgspec.field(default_factory=list)
    """Kinds of events (`refund.succeeded`) or their groups (`refund.*`); none: all of them."""
    ordered: bool = False
    """One at a time, in the order in which things were committed: one that fails holds the others up."""


class WebhookEndpointEditIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays."""

    url: Url | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    kinds: Kinds | UnsetType = UNSET
    ordered: bool | UnsetType = UNSET


class WebhookDisableIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why nothing more is to be sent."""

    because: Annotated[str, Meta(min_length=1, max_length=MAX_BECAUSE)]


class WebhookRollIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the secret before signs, too."""

    hours: Annotated[int, Meta(ge=0, le=ROLL_HOURS_MAX)] = ROLL_HOURS


class WebhookReplayIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events are to be sent again."""

    since: Annotated[datetime, Meta(tz=True)]
    """At most 30 days ago."""
    until: Annotated[datetime, Meta(tz=True)] | None = None
    """Null: up to now."""
    delivered: bool = False
    """Also those that the endpoint said it has."""
    after: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None
    """`after` of the answer before, to go on."""


class WebhookEndpointOut(Out, frozen=True, kw_only=True):
    """Where events are sent, and how that goes."""

    id: UUID
    url: str
    description: str
    kinds: list[str]
    ordered: bool
    state: EndpointState
    disabled_because: str | None
    disabled_at: datetime | None
    """When it was switched off last."""
    old_secret_until: datetime | None
    """Until then the secret before signs, too."""
    failing_since: datetime | None
    """The first of the failures since anything reached it; null: the last try did."""
    created_at: datetime
    changed_at: datetime


class WebhookEndpointSecretOut(Out, frozen=True, kw_only=True):
    """An endpoint with the secret by which it verifies what it receives."""

    endpoint: WebhookEndpointOut
    secret: str
    """`whsec_` and base64, as libraries for Standard Webhooks take it."""


class WebhookEndpointList(Out, frozen=True, kw_only=True):
    """All endpoints of the merchant, newest first."""

    items: list[WebhookEndpointOut]


class WebhookAnswerOut(Out, frozen=True, kw_only=True):
    """What came back from a test."""

    ms: int
    status: int | None
    """Null: there was no answer; `error` says why."""
    error: str | None
    response: str | None
    """How the answer begins, redacted."""


class WebhookReplayOut(Out, frozen=True, kw_only=True):
    """One step of a replay."""

    replayed: int
    """Deliveries that go out."""
    after: int | None
    """Send the same request with this `after` to go on; null: that was all."""


class WebhookDeliveryOut(Out, frozen=True, kw_only=True):
    """One event on its way to an endpoint."""

    id: UUID
    message_id: str
    """The header `webhook-id`, the same for every try."""
    event_id: int
    event_kind: str
    event_at: datetime
    state: DeliveryState
    tries: int
    """In this round; a replay begins another."""
    due_at: datetime
    """When it is tried next; of a finished one, when that was due."""
    because: str | None
    replayed: int
    created_at: datetime
    finished_at: datetime | None


class WebhookTryOut(Out, frozen=True, kw_only=True):
    """One request, and what came back."""

    at: datetime
    ms: int
    status: int | None
    error: str | None
    response: str | None


class WebhookDeliveryDetailOut(WebhookDeliveryOut, frozen=True, kw_only=True):
    """A delivery with its tries."""

    log: list[WebhookTryOut]
    """Newest first, at most 100."""


class WebhookDeliveryPage(Out, frozen=True, kw_only=True):
    """A page of deliveries, newest first."""

    items: list[WebhookDeliveryOut]
    next_cursor: str | None


def endpoint_out(endpoint: WebhookEndpoint) -> WebhookEndpointOut:
    """Return an endpoint as the API tells it."""
    return msgspec.convert(endpoint, WebhookEndpointOut, from_attributes=True)


def answer_out(answer: Answer) -> WebhookAnswerOut:
    """Return what came back from an endpoint."""
    return msgspec.convert(answer, WebhookAnswerOut, from_attributes=True)


def delivery_out(delivery: WebhookDelivery) -> WebhookDeliveryOut:
    """Return a delivery as the API tells it."""
    return msgspec.convert(delivery, WebhookDeliveryOut, from_attributes=True)


def delivery_detail_out(delivery: WebhookDelivery, tries: list[WebhookTry]) -> WebhookDeliveryDetailOut:
    """Return a delivery with its log."""
    log = [msgspec.convert(each, WebhookTryOut, from_attributes=True) for each in tries]
    return WebhookDeliveryDetailOut(**msgspec.structs.asdict(delivery_out(delivery)), log=log)
