"""An authorised charge becomes money, or is given up, by whomever: told by its gateway."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from recoup_core.domain.capture import CAPTURE, Capture, CaptureEvent, CaptureState
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ledger import entry_of_capture
from recoup_core.flows.refunds.about_payment import PaymentDraft
from recoup_core.ports import CaptureNews

_EVENTS: Final[Mapping[CaptureState, CaptureEvent]] = {
    CaptureState.CAPTURED: CaptureEvent.CAPTURE,
    CaptureState.VOIDED: CaptureEvent.VOID,
}


def ends(capture: Capture, news: CaptureNews) -> CaptureEvent | None:
    """Return what news would do to a charge; None where they say nothing new."""
    event = _EVENTS.get(news.standing)
    return event if event is not None and CAPTURE.allows(capture.state, event) else None


async def take_standing(about: PaymentDraft, capture: Capture, news: CaptureNews, at: datetime) -> Capture | None:
    """Bring a charge to where its gateway says it stands and return it; None where nothing changes.

    Another amount than was authorised is never guessed about: a person is asked.
    """
    event = ends(capture, news)
    name = f"{capture.gateway} charge {news.charge_ref}"
    if event is None:
        if (capture.state, news.standing) == (CaptureState.VOIDED, CaptureState.CAPTURED):
            await about.ask_amount(f"{name}: {news.amount} were captured of what had been voided")
        return None
    if event is CaptureEvent.VOID:
        return void_charge(about, capture)
    if news.amount != capture.amount:
        await about.ask_amount(f"{name}: {news.amount} were captured of the {capture.amount} authorised")
        return None
    return capture_charge(about, capture, at)


def capture_charge(about: PaymentDraft, capture: Capture, at: datetime) -> Capture:
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
    return captured


def void_charge(about: PaymentDraft, capture: Capture) -> Capture:
    """The authorisation is gone: nothing of it can be asked back any more."""
    voided = msgspec.structs.replace(capture, state=CAPTURE.after(capture.state, CaptureEvent.VOID))
    about.changes.update(voided)
    about.tell(
        EventKind.CAPTURE_VOIDED,
        capture=str(capture.id),
        amount_minor=capture.amount_minor,
        currency=capture.currency,
        gateway_ref=capture.gateway_ref,
    )
    return voided
