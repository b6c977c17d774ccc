"""Fixtures: a GoCardless on loopback, a gateway before it, and builders of requests."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from gocardless_fake import SECRET, TOKEN, FakeGoCardless
from gocardless_fake.books import CURRENCIES
from recoup_gocardless.gateway import GoCardlessGateway
from recoup_gocardless.making import make_gocardless
from recoup_gocardless.objects import METHODS
from recoup_plugins import ChargeRequest, GatewaySettings, Money, RefundRequest

BuildGateway = Callable[..., GoCardlessGateway]


@pytest.fixture
def fake() -> Iterator[FakeGoCardless]:
    fake = FakeGoCardless()
    yield fake
    fake.stop()


@pytest.fixture
def a_gateway(fake: FakeGoCardless) -> BuildGateway:
    """Build a gateway before the fake; say which options matter."""

    def build(**options: Any) -> GoCardlessGateway:
        given = {
            "access_token": TOKEN,
            "environment": "sandbox",
            "api_base": fake.url,
            "webhook_secrets": ["the-old-secret", SECRET],
            **options,
        }
        return make_gocardless(GatewaySettings(name="gocardless", plugin="gocardless", options=given))

    return build


@pytest.fixture
def gateway(a_gateway: BuildGateway) -> GoCardlessGateway:
    return a_gateway()


@pytest.fixture
def a_request() -> Callable[..., ChargeRequest]:
    """Build a fresh request on a mandate of the fake's; say only what matters."""

    def build(mandate: dict[str, Any], amount: int = 1999, **changes: Any) -> ChargeRequest:
        attempt_id = changes.pop("attempt_id", uuid4())
        values: dict[str, Any] = {
            "idempotency_key": f"key-{attempt_id}",
            "attempt_id": attempt_id,
            "payment_reference": f"inv-{attempt_id}",
            "amount": Money(amount, CURRENCIES[mandate["scheme"]]),
            "method": METHODS[mandate["scheme"]],
            "token": mandate["id"],
            "gateway_customer": mandate["links"]["customer"],
            "first_sent_at": datetime.now(UTC),
        }
        return ChargeRequest(**{**values, **changes})

    return build


@pytest.fixture
def a_refund() -> Callable[..., RefundRequest]:
    """Build a fresh refund of a payment of the fake's; say only what matters."""

    def build(payment: dict[str, Any], amount: int | None = None, **changes: Any) -> RefundRequest:
        part_id = changes.pop("part_id", uuid4())
        charged = Money(payment["amount"], payment["currency"])
        values: dict[str, Any] = {
            "idempotency_key": f"key-{part_id}",
            "part_id": part_id,
            "payment_reference": f"inv-{part_id}",
            "charge_ref": payment["id"],
            "charged": charged,
            "amount": Money(payment["amount"] if amount is None else amount, payment["currency"]),
            "method": METHODS[payment["scheme"]],
            "first_sent_at": datetime.now(UTC),
        }
        return RefundRequest(**{**values, **changes})

    return build
