"""What follows from an answer, for the delivery and for its endpoint. Pure."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus
from typing import Final

import msgspec

from recoup_core.domain.webhook import DELIVERY, DeliveryEvent, WebhookDelivery, WebhookEndpoint
from recoup_core.web.calling import Answer

WAITS: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 36_000)
)
"""From each failed try to the next: eleven tries over 25.7 hours. The specification wants days rather than minutes, and
its example begins with seconds (standardwebhooks, "Deliverability and reliability")."""

ORDERED_WAITS: Final = (*WAITS[:4], *(timedelta(minutes=30),) * 50)
"""Where everything else waits behind the one that fails, it is tried every half hour, for 25.2 hours."""

JITTER: Final = 0.1
"""Waits differ by a tenth either way, so that what failed together does not come back together."""

MAX_RETRY_AFTER: Final = timedelta(hours=1)
"""The longest that an endpoint may have us wait by a Retry-After; it is asked again then."""

PAUSE_LEAST: Final = timedelta(seconds=5)
PAUSE_MOST: Final = timedelta(minutes=1)
"""While nothing reaches an endpoint, one delivery at a time is tried, so long apart."""

OUTAGE: Final = timedelta(minutes=10)
"""After nothing got through for so long and then something does, all that waits goes out at once, whatever its turn."""

DISABLE_AFTER: Final = timedelta(days=3)
"""An endpoint that nothing reached for so long is switched off,"""
DISABLE_TRIES: Final = 10
"""if it had so many tries since,"""
DISABLE_PATIENCE: Final = 5
"""and the delivery at hand has had so many: after days without events the first failure proves little."""

_BUSY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


def after_try(delivery: WebhookDelivery, answer: Answer, now: datetime, *, ordered: bool) -> WebhookDelivery:
    """Return the delivery as it is after a try: delivered, to be tried again, or failed for good."""
    tried = msgspec.structs.replace(delivery, tries=delivery.tries + 1)
    if answer.arrived:
        state = DELIVERY.after(delivery.state, DeliveryEvent.DELIVER)
        return msgspec.structs.replace(tried, state=state, because=None, finished_at=now)
    because = answer.error or f"the endpoint answered {answer.status}"
    waits = ORDERED_WAITS if ordered else WAITS
    if delivery.tries >= len(waits):
        state = DELIVERY.after(delivery.state, DeliveryEvent.FAIL)
        return msgspec.structs.replace(tried, state=state, because=because, finished_at=now)
    wait = waits[delivery.tries] * (1 + JITTER * _spread(delivery))
    due = now + max(wait, retry_after(answer, now) or wait)
    return msgspec.structs.replace(tried, due_at=due, because=because)


def _spread(delivery: WebhookDelivery) -> float:
    """Return a number from -1 to 1 that belongs to this try of this delivery."""
    digest = sha256(delivery.id.bytes + delivery.tries.to_bytes(4)).digest()
    return int.from_bytes(digest[:4]) / 0x7FFFFFFF - 1


def retry_after(answer: Answer, now: datetime) -> timedelta | None:
    """Return how long an endpoint asks us to wait, within bounds; None where it doesn't, or can't be understood."""
    if answer.status not in _BUSY or answer.retry_after is None:
        return None
    text = answer.retry_after.strip()
    if text.isascii() and text.isdigit():
        wait = timedelta(seconds=min(int(text[:9]), int(MAX_RETRY_AFTER.total_seconds())))
    else:
        try:
            until = parsedate_to_datetime(text)
            wait = (until if until.tzinfo else until.replace(tzinfo=UTC)) - now
        except (ValueError, OverflowError):
            return None
    return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)


def after_wave(endpoint: WebhookEndpoint, answers: list[Answer], now: datetime) -> WebhookEndpoint:
    """Return the endpoint as it is after answers that came together: whether it is failing, and paused until when."""
    asked = max((wait for answer in answers if (wait := retry_after(answer, now)) is not None), default=None)
    if any(answer.arrived for answer in answers):
        paused = None if asked is None else now + asked
        return msgspec.structs.replace(endpoint, failing_since=None, paused_until=paused)
    since = endpoint.failing_since or now
    pause = min(max((now - since) / 10, PAUSE_LEAST), PAUSE_MOST)
    return msgspec.structs.replace(endpoint, failing_since=since, paused_until=now + max(pause, asked or pause))


def gone(answers: list[Answer]) -> bool:
    """Return whether the endpoint says that it is no more."""
    return any(answer.status == HTTPStatus.GONE for answer in answers)


def came_back(before: WebhookEndpoint, after: WebhookEndpoint, now: datetime) -> bool:
    """Return whether an outage has ended with this."""
    return after.failing_since is None and before.failing_since is not None and now - before.failing_since >= OUTAGE


def hopeless(since: datetime, now: datetime, tries: int) -> bool:
    """Return whether an endpoint that fails since then, at a delivery tried so often, may be switched off."""
    return now - since >= DISABLE_AFTER and tries >= DISABLE_PATIENCE
