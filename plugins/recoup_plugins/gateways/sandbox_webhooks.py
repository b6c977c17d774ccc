"""The sandbox's webhooks on their way: signed as Standard Webhooks are, verified, and delivered by a postman.

Signature (github.com/standard-webhooks/standard-webhooks, spec): headers `webhook-id`, `webhook-timestamp` (seconds)
and `webhook-signature` (`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, several parted by blanks).
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import httpx

from recoup_core.ports import (
    MAX_WEBHOOK_BYTES,
    Clock,
    SystemClock,
    WebhookRefused,
)
from recoup_plugins.gateways.sandbox_bank import SandboxBank
from recoup_plugins.gateways.sandbox_rows import Delivery

TOLERANCE_S: Final = 300
"""How far a webhook's time may lie from ours, before or after (the specification's own default)."""

DELIVERY_BATCH: Final = 200
DELIVERY_CONCURRENCY: Final = 16
DELIVERY_TRIES: Final = 8
DELIVERY_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.2


def sign(secret: str, message_id: str, at: datetime, body: bytes) -> Mapping[str, str]:
    """Return the headers of one signed delivery."""
    timestamp = int(at.timestamp())
    signature = base64.b64encode(_digest(secret, message_id, timestamp, body)).decode()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> None:
    """Return when one of the secrets signed the body within the tolerance; raise `WebhookRefused` otherwise."""
    if len(body) > MAX_WEBHOOK_BYTES:
        raise WebhookRefused("the body is too long")
    message_id, stamp, header = (headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
    if not message_id or not header or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise WebhookRefused("a signature header is missing or unreadable")
    if abs(int(stamp) - now.timestamp()) > TOLERANCE_S:
        raise WebhookRefused("the timestamp is too old or in the future")
    given = [one.removeprefix("v1,").encode() for one in header.split(" ") if one.startswith("v1,")]
    expected = [base64.b64encode(_digest(secret, message_id, int(stamp), body)) for secret in secrets]
    fitting = [mine for mine in expected for theirs in given if hmac.compare_digest(mine, theirs)]
    if not fitting:
        raise WebhookRefused("no signature fits")


def _digest(secret: str, message_id: str, timestamp: int, body: bytes) -> bytes:
    return hmac.new(_key(secret), f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()


def _key(secret: str) -> bytes:
    """Return the key's bytes: base64 after `whsec_`, as the specification says; any other text as it stands."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


class SandboxPostman:
    """Delivers the bank's webhooks over HTTP, with the duplicates and delays their tokens asked for."""

    def __init__(
        self,
        bank: SandboxBank,
        url: str,
        secret: str,
        *,
        client: httpx.AsyncClient,
        clock: Clock | None = None,
    ) -> None:
        self._bank, self._url, self._secret = bank, url, secret
        self._client = client
        self._clock = clock or SystemClock()
        self._at_once = asyncio.Semaphore(DELIVERY_CONCURRENCY)

    async def deliver_due(self) -> int:
        """Deliver one batch of what is due; return how many webhooks were accepted (any 2xx)."""
        deliveries = await asyncio.to_thread(self._bank.due_deliveries, DELIVERY_BATCH)
        return sum(await asyncio.gather(*(self._deliver(delivery) for delivery in deliveries)))

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until told to stop; one postman per bank."""
        while not stop.is_set():
            if await self.deliver_due() == 0:
                try:
                    await asyncio.wait_for(stop.wait(), POLL_S)
                except TimeoutError:
                    continue

    async def _deliver(self, delivery: Delivery) -> bool:
        async with self._at_once:
            accepted = [await self._post(delivery) for _ in range(delivery.copies)]
        tries = delivery.tries + 1
        retry_in = timedelta(seconds=2**tries) if tries < DELIVERY_TRIES else None
        record = self._bank.record_delivery
        await asyncio.to_thread(record, delivery, delivered=any(accepted), retry_in=retry_in)
        return any(accepted)

    async def _post(self, delivery: Delivery) -> bool:
        headers = sign(self._secret, delivery.event_id, self._clock.now(), delivery.body)
        try:
            answer = await self._client.post(
                self._url, content=delivery.body, headers=dict(headers), timeout=DELIVERY_TIMEOUT_S
            )
        except httpx.HTTPError:
            return False
        return answer.is_success
