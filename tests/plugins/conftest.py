"""Fixtures of the plugins' tests."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.counterparts.adyen_documents import adyen_documents
from tests.plugins.fake_adyen import FakeAdyen
from tests.plugins.fake_stripe import FakeStripe

from recoup_core.domain.ids import new_id
from recoup_plugins import ChargeRequest, Method, Money, RefundRequest
from recoup_plugins.gateways.sandbox_rows import new_name


class Standing:
    """A clock that moves only when told."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def forward(self, **duration: float) -> None:
        self.at += timedelta(**duration)


@pytest.fixture
def standing_clock() -> Standing:
    return Standing(datetime(2026, 11, 23, 9, 0, tzinfo=UTC))


@pytest.fixture
def a_request() -> Callable[..., ChargeRequest]:
    """Build a fresh charge request; say only what matters."""

    def build(token: str = "tok_approve", **changes: Any) -> ChargeRequest:
        attempt_id = changes.pop("attempt_id", new_id())
        values: dict[str, Any] = {
            "idempotency_key": f"key-{attempt_id}",
            "attempt_id": attempt_id,
            "payment_reference": f"inv-{attempt_id}",
            "amount": Money(1999, "EUR"),
            "method": Method.CARD,
            "token": token,
            "first_sent_at": datetime.now(UTC),
        }
        return ChargeRequest(**{**values, **changes})

    return build


@pytest.fixture
def a_refund() -> Callable[..., RefundRequest]:
    """Build a fresh refund request of a charge that was reported to the sandbox; say only what matters."""

    def build(script: str = "approve", **changes: Any) -> RefundRequest:
        part_id = changes.pop("part_id", new_id())
        values: dict[str, Any] = {
            "idempotency_key": f"key-{part_id}",
            "part_id": part_id,
            "payment_reference": f"inv-{part_id}",
            "charge_ref": f"sbx_reported_{new_name()}~{script}",
            "charged": Money(1999, "EUR"),
            "amount": Money(1999, "EUR"),
            "method": Method.CARD,
            "first_sent_at": datetime.now(UTC),
        }
        return RefundRequest(**{**values, **changes})

    return build


@pytest.fixture
def fake_stripe() -> Iterator[FakeStripe]:
    """Our Stripe; whatever it was sent has to be what Stripe's own document allows."""
    fake = FakeStripe()
    yield fake
    fake.stop()
    assert fake.violations == []


@pytest.fixture
def fake_adyen() -> Iterator[FakeAdyen]:
    """Our Adyen; Adyen's own documents, where they are at hand, have to allow whatever is said in both directions."""
    documents, _ = adyen_documents()
    fake = FakeAdyen(documents)
    yield fake
    fake.stop()
    assert fake.violations == []
