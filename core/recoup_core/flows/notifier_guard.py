"""The only way flows call a notifier: whatever a plugin does wrong becomes an unknown outcome, never a lie.

A send that takes too long, raises, or answers with something that is no outcome is `Unknown`: its reader may have it.
"""

from typing import Final

import msgspec

from recoup_core.domain.redact import redact
from recoup_core.flows.guard import Unknown, ask_guarded, wrong_types
from recoup_core.ports import SEND_TIMEOUT_S, Accepted, NotAccepted, Notifier, NotNow, OutgoingMessage, SendOutcome

MAX_REF: Final = 500
"""Characters of a provider's name for a message; the table keeps no more."""

LONGEST_WAIT_S: Final = 24 * 3600.0
"""A provider that asks for more patience is asked again after a day all the same."""


async def send_guarded(
    notifier: Notifier, message: OutgoingMessage, *, timeout_s: float = SEND_TIMEOUT_S
) -> SendOutcome | Unknown:
    """Hand a message over; every misbehaviour is `Unknown`. What comes back is fit to be stored and shown."""
    answer = await ask_guarded(lambda: notifier.send(_shown(notifier, message)), _broken, timeout_s)
    match answer:
        case NotAccepted():
            return msgspec.structs.replace(answer, reason=redact(answer.reason))
        case NotNow(retry_after_s=wait):
            wait = None if wait is None else min(max(wait, 0.0), LONGEST_WAIT_S)
            return msgspec.structs.replace(answer, reason=redact(answer.reason), retry_after_s=wait)
    return answer


def _shown(notifier: Notifier, message: OutgoingMessage) -> OutgoingMessage:
    """Return the message as this notifier can show it."""
    if message.html is None or notifier.capabilities.html:
        return message
    return msgspec.structs.replace(message, html=None)


def _broken(answer: object) -> str | None:
    if type(answer) not in (Accepted, NotAccepted, NotNow):
        return f"the plugin answered with a {type(answer).__name__}"
    wrong = wrong_types(answer)
    if wrong is not None:
        return wrong
    if isinstance(answer, NotNow) and answer.retry_after_s is not None and answer.retry_after_s != answer.retry_after_s:
        return "the plugin's NotNow has a retry_after_s that is no number"
    ref = answer.provider_ref if isinstance(answer, Accepted) else None
    if ref is not None and (len(ref) > MAX_REF or "\0" in ref):  # PostgreSQL stores no NUL
        return "the plugin's Accepted has a provider_ref that can't be kept"
    return None
