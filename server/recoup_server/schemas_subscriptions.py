"""What requests and answers about subscriptions carry: what the billing system is asked for, and what it says."""

from typing import Annotated

import msgspec
from msgspec import Meta

from recoup_core.domain.subscription_request import SubscriptionRequest
from recoup_core.flows.subscription_requests.answering import MAX_NOTE
from recoup_server.schemas_in import Body
from recoup_server.schemas_out import Out, SubscriptionRequestOut


class AcknowledgeIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the billing system did about a request."""

    done: bool
    """True: it is carried out. False: it never will be; a person is asked."""
    note: Annotated[str, Meta(min_length=1, max_length=MAX_NOTE)] | None = None


class SubscriptionRequestPage(Out, frozen=True, kw_only=True):
    """A page of requests, newest first."""

    items: list[SubscriptionRequestOut]
    next_cursor: str | None


def request_out(request: SubscriptionRequest) -> SubscriptionRequestOut:
    """Return a request as callers see it."""
    return msgspec.convert(request, SubscriptionRequestOut, from_attributes=True)
