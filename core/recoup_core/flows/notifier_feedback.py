"""What a notifier's provider tells later: read by its plugin apart from everything else, checked, and applied at once.

Applied before it is answered and not stored first, unlike a gateway's webhook: it is small, applies in any order and
any number of times, and a second table of addresses is not wanted. What could not be applied is answered with an error,
and the provider sends it again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Final, cast

import msgspec
import structlog

from recoup_core.domain.errors import DomainError
from recoup_core.domain.redact import redact
from recoup_core.flows.context import Context
from recoup_core.flows.inbound_reading import on_a_thread
from recoup_core.flows.messages.feedback import apply_feedback
from recoup_core.ports import MAX_FEEDBACK_BYTES, Feedback, FeedbackNotifier, FeedbackRefused, Notifier

PARSE_TIMEOUT_S: Final = 3.0
"""A MiB is read in some milliseconds; providers wait ten seconds and more."""

APPLY_TIMEOUT_S: Final = 10.0

READ_AT_ONCE: Final = 8
"""Deliveries that all notifiers together read at a time; the next one is told to come again."""

MAX_TOLD: Final = 1_000
"""What one delivery may tell of."""

MAX_TEXT: Final = 500
"""Characters of an address, a provider's reference, or its words."""

log = structlog.get_logger(__name__)


class NoSuchNotifier(DomainError):
    """Feedback came in for a notifier that is not configured, or takes none."""

    code = "no_such_notifier"

    def __init__(self, name: str) -> None:
        super().__init__(f"no notifier that takes feedback is named {name!r}")
        self.name = name


class FeedbackNotTaken(DomainError):
    """Feedback that may be good could not be read or applied: it should be sent again."""

    code = "feedback_not_taken"

    def __init__(self, why: str) -> None:
        super().__init__(f"the feedback was not taken: {why}; send it again")


class FeedbackNotTrusted(DomainError):
    """Feedback that is not from the provider, or can't be read."""

    code = "feedback_refused"

    def __init__(self, why: str) -> None:
        super().__init__(f"the feedback is refused: {why}")


_places = asyncio.Semaphore(READ_AT_ONCE)


async def receive_feedback(context: Context, name: str, headers: Mapping[str, str], body: bytes) -> int:
    """Verify and apply what a provider tells; return of how many messages or addresses it told.

    Raises `NoSuchNotifier`, `FeedbackNotTrusted`, and, where it should be sent again, `FeedbackNotTaken` and
    `DatabaseUnavailable`.
    """
    notifier = context.messaging.notifiers.get(name)
    if notifier is None or not notifier.capabilities.feedback:
        raise NoSuchNotifier(name)
    if len(body) > MAX_FEEDBACK_BYTES:
        raise FeedbackNotTrusted("it is too long")
    told = await _parsed(notifier, headers, body)
    try:
        async with asyncio.timeout(APPLY_TIMEOUT_S):
            await apply_feedback(context, name, told)
    except TimeoutError:
        raise FeedbackNotTaken("the database is slow") from None
    return len(told)


async def _parsed(notifier: Notifier, headers: Mapping[str, str], body: bytes) -> Sequence[Feedback]:
    if _places.locked():
        raise FeedbackNotTaken("too much is read at the moment")
    reader = cast("FeedbackNotifier", notifier)
    await _places.acquire()
    try:
        async with asyncio.timeout(PARSE_TIMEOUT_S):
            return await on_a_thread(lambda: _read(reader, headers, body), _places.release)
    except FeedbackRefused as refused:
        raise FeedbackNotTrusted(redact(str(refused.reason))) from None
    except TimeoutError:
        log.error("feedback_unread", notifier=notifier.name, error="no answer in time")
        raise FeedbackNotTaken("it took too long to read") from None
    except Exception as failed:  # a plugin is foreign code: it may raise anything
        log.error("feedback_unread", notifier=notifier.name, error=type(failed).__name__)
        raise FeedbackNotTaken("it could not be read") from None


def _read(reader: FeedbackNotifier, headers: Mapping[str, str], body: bytes) -> Sequence[Feedback]:
    """Call the plugin, on its thread."""
    try:
        told = reader.parse_feedback(headers, body)
    except Exception:
        raise
    except BaseException as raised:  # SystemExit and its like are a plugin's failure, not our end
        raise RuntimeError(type(raised).__name__) from None
    if not isinstance(told, list | tuple) or len(told) > MAX_TOLD:
        raise TypeError("it answered with something else than a list, or with too much")
    return [_usable(one) for one in told]


def _usable(one: object) -> Feedback:
    """Return what can be kept: PostgreSQL keeps no NUL, and a moment has its zone."""
    if type(one) is not Feedback:
        raise TypeError(f"it answered with a {type(one).__name__}")
    kept: Feedback = msgspec.convert(msgspec.to_builtins(one), type=Feedback)
    at = kept.occurred_at
    return msgspec.structs.replace(
        kept,
        address=_text(kept.address),
        provider_ref=_text(kept.provider_ref),
        detail=None if kept.detail is None else redact(kept.detail.replace("\0", "")),
        occurred_at=at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at,
    )


def _text(text: str | None) -> str | None:
    """Return a text that can name something of ours; others name nothing."""
    return text if text and len(text) <= MAX_TEXT and "\0" not in text else None
