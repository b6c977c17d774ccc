"""A gateway's event before it is stored: without card numbers, whatever it held, and without secrets in its texts."""

import msgspec

from recoup_core.domain.cardnumbers import holds_card_number
from recoup_core.domain.redact import redact, redacted
from recoup_core.ports import Declined, GatewayEvent, Refused, TakenBack


def scrubbed(event: GatewayEvent) -> bytes:
    """Return the event as JSON without any card number: first the payload goes, then what we read of a failure."""
    event = _without_secrets(event)
    text = msgspec.json.encode(event)
    if holds_card_number(text.decode()):
        event = msgspec.structs.replace(event, payload={"removed": "it held a card number"})
        text = msgspec.json.encode(event)
    if holds_card_number(text.decode()) and event.failure is not None:
        text = msgspec.json.encode(msgspec.structs.replace(event, failure=None))
    return text


def _without_secrets(event: GatewayEvent) -> GatewayEvent:
    """Redact the free texts in which a provider says why."""
    if isinstance(event.outcome, Declined):
        outcome = msgspec.structs.replace(event.outcome, decline=redacted(event.outcome.decline))
        event = msgspec.structs.replace(event, outcome=outcome)
    told = event.refund.outcome if event.refund else None
    if event.refund is not None and isinstance(told, Refused | TakenBack):
        said = msgspec.structs.replace(told, failure=redacted(told.failure))
        news = msgspec.structs.replace(event.refund, outcome=said)
        event = msgspec.structs.replace(event, refund=news)
    if event.dispute is not None and event.dispute.reason:
        news_of_dispute = msgspec.structs.replace(event.dispute, reason=redact(event.dispute.reason))
        event = msgspec.structs.replace(event, dispute=news_of_dispute)
    return event
