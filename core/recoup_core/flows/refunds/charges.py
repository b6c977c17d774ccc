"""An authorised charge becomes money, or is given up, by whomever: told by its gateway."""

from datetime import datetime

import msgspec

from recoup_core.domain.capture import CAPTURE, Capture, CaptureEvent
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ledger import entry_of_capture
from recoup_core.flows.refunds.about_payment import PaymentDraft


def capture_charge(about: PaymentDraft, capture: Capture, at: datetime) -> None:
    """The money came in: booked, and refunded from now on instead of voided."""
    taken = min(at, about.now)
    captured = msgspec.structs.replace(
        capture, state=CAPTURE.after(capture.state, CaptureEvent.CAPTURE), captured_at=taken
    )
    payment = about.account.payment
    about.changes.update(captured)
    about.changes.add(entry_of_capture(captured, at=about.now))
    about.changes.update(
        msgspec.structs.replace(
            payment, captured_minor=payment.captured_minor + capture.amount_minor, paid_at=payment.paid_at or taken
        )
    )
    about.tell(
        EventKind.PAYMENT_CAPTURED,
        amount_minor=capture.amount_minor,
        currency=capture.currency,
        gateway=capture.gateway,
        gateway_ref=capture.gateway_ref,
    )


def void_charge(about: PaymentDraft, capture: Capture) -> None:
    """The authorisation is gone: nothing of it can be asked back any more."""
    about.changes.update(msgspec.structs.replace(capture, state=CAPTURE.after(capture.state, CaptureEvent.VOID)))
    about.tell(
        EventKind.CAPTURE_VOIDED,
        capture=str(capture.id),
        amount_minor=capture.amount_minor,
        currency=capture.currency,
        gateway_ref=capture.gateway_ref,
    )
