"""A gateway's event before it is stored: without card numbers, whatever it held, and without secrets in its texts."""

from collections.abc import Collection

import msgspec

from recoup_core.domain.cardnumbers import holds_card_number, references_in, refuse_card_numbers
from recoup_core.domain.errors import CardNumberRefused
from recoup_core.domain.redact import redact, redacted
from recoup_core.ports import Declined, GatewayEvent, Refused, TakenBack


def scrubbed(event: GatewayEvent) -> bytes:
    """Return the event as JSON without any card number: first the payload goes, then what we read of a failure.

    The gateway's own references stay, in the payload, too: they are what everything else is found by.
    """
    event = _without_secrets(event)
    text = msgspec.json.encode(event)
    if not holds_card_number(text.decode()):
        return text
    told = {key: value for key, value in msgspec.to_builtins(event).items() if key != "payload"}
    if _refused(event.payload, references_in(told)):
        event = msgspec.structs.replace(event, payload={"removed": "it held a card number"})
    if event.failure is not None and _refused(told):
        event = msgspec.structs.replace(event, failure=None)
    if event.credential is not None and _refused(msgspec.to_builtins(event.credential)):
        event = msgspec.structs.replace(event, credential=None)
    if _refused(event.payment_reference):  # no payment of ours is named so: reports with such a name are refused
        event = msgspec.structs.replace(event, payment_reference=None)
    return msgspec.json.encode(event)


def _refused(value: object, known: Collection[str] = ()) -> bool:
    try:
        refuse_card_numbers(value, known=known)
    except CardNumberRefused:
        return True
    return False


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
    if event.capture is not None and event.capture.decline is not None:
        news_of_charge = msgspec.structs.replace(event.capture, decline=redacted(event.capture.decline))
        event = msgspec.structs.replace(event, capture=news_of_charge)
    if event.credential is not None and event.credential.reason:
        news_of_credential = msgspec.structs.replace(event.credential, reason=redact(event.credential.reason))
        event = msgspec.structs.replace(event, credential=news_of_credential)
    if event.dispute is not None and event.dispute.reason:
        news_of_dispute = msgspec.structs.replace(event.dispute, reason=redact(event.dispute.reason))
        event = msgspec.structs.replace(event, dispute=news_of_dispute)
    return event
