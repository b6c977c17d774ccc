"""Events of the fake Stripe: a log of what happened, listed like Stripe's and delivered signed."""

import copy
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import stripe
from tests.plugins.fake_stripe_answers import Answer, name, page_of

from recoup_plugins.conformance import SignedWebhook

SECRET = "whsec_ZmFrZSBzdHJpcGU"


class FakeEvents:
    """The log; every event keeps the object as it was."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.log: list[dict[str, Any]] = []

    def tell(self, kind: str, about: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write down that something happened."""
        data: dict[str, Any] = {"object": copy.deepcopy(dict(about))}
        if before is not None:
            data["previous_attributes"] = dict(before)
        event = {
            "id": name("evt_"),
            "object": "event",
            "api_version": stripe.api_version,
            "created": int(self.now()),
            "livemode": False,
            "type": kind,
            "data": data,
        }
        self.log.append(event)
        return event

    def webhooks(self, since: int = 0) -> list[SignedWebhook]:
        """Return a delivery, signed now, of every event from the given position on."""
        return [delivery(event, at=int(self.now())) for event in self.log[since:]]

    def page(self, query: Mapping[str, str], page_size: int | None) -> Answer:
        since = int(query.get("created[gte]", 0))
        found = [one for one in reversed(self.log) if one["created"] >= since]
        return page_of(found, query, "/v1/events", page_size)


def delivery(event: Mapping[str, Any], secret: str = SECRET, at: int | None = None) -> SignedWebhook:
    """Return an event as Stripe posts it."""
    body = json.dumps(event)
    header = stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=at or int(time.time()))
    return SignedWebhook({"stripe-signature": header, "content-type": "application/json"}, body.encode())
