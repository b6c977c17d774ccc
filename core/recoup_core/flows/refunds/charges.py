"""An authorised charge becomes money, all of it or a part, or is given up, or comes back: told by its gateway."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from recoup_core.domain.capture import CAPTURE, Capture, CaptureEvent, CaptureState
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import LedgerEntry, entry_of_capture, reversal_of
from recoup_core.domain.payment import PAYMENT, PaymentEvent, PaymentState
from recoup_core.flows.refunds.about_payment import PaymentDraft
from recoup_core.ports import CaptureNews
from recoup_core.storage.ledger import entry_of_charge

_EVENTS: Final[Mapping[CaptureState, CaptureEvent]] = {
    CaptureState.CAPTURED: CaptureEvent.CAPTURE,
    CaptureState.VOIDED: CaptureEvent.VOID,
    CaptureState.RETURNED: CaptureEvent.RETURN,
}


def ends(capture: Capture, news: CaptureNews) -> CaptureEvent | None:
    """Return what news would do to a charge; None where they say nothing new."""
    event = _EVENTS.get(news.standing)
    return event if event is not None and CAPTURE.allows(capture.state, event) else None


async def take_standing(about: PaymentDraft, capture: Capture, news: CaptureNews, at: datetime) -> Capture | None:
    """Bring a charge without a recovery case to where its gateway says it stands; None where nothing changes.

    More than was authorised is never guessed about: a person is asked.
    """
    event = ends(capture, news)
    if event is None:
        await _ask_if_contradicted(about, capture, news)
        return None
    if event is CaptureEvent.VOID:
        return void_charge(about, capture)
    if event is CaptureEvent.RETURN:
        await about.ask_returned(f"{_name(capture, news)} came back, and nobody collects it: it has no recovery case")
        return return_charge_of(about, capture, await _booked(about, capture), at)
    if news.amount == capture.amount:
        return capture_charge(about, capture, at)
    if news.amount.currency == capture.currency and 0 < news.amount.amount_minor < capture.amount_minor:
        return capture_in_part(about, capture, news, at)
    await about.ask_amount(f"{_name(capture, news)}: {news.amount} were captured of the {capture.amount} authorised")
    return None


async def _ask_if_contradicted(about: PaymentDraft, capture: Capture, news: CaptureNews) -> None:
    """Put before a person money that is told and can't be: of what had been voided, or another amount than before."""
    if news.standing is not CaptureState.CAPTURED:
        return
    if capture.state is CaptureState.VOIDED:
        await about.ask_amount(f"{_name(capture, news)}: {news.amount} were captured of what had been voided")
    elif capture.state is CaptureState.CAPTURED and news.amount != capture.amount:
        await about.ask_amount(f"{_name(capture, news)}: {news.amount} were captured, {capture.amount} is booked")


def capture_charge(about: PaymentDraft, capture: Capture, at: datetime) -> Capture:
    """The money came in: booked, and refunded from now on instead of voided."""
    taken = min(at, about.now)
    captured = msgspec.structs.replace(
        capture, state=CAPTURE.after(capture.state, CaptureEvent.CAPTURE), captured_at=taken
    )
    about.changes.update(captured)
    _count(about, captured)
    return captured


def capture_in_part(about: PaymentDraft, capture: Capture, news: CaptureNews, at: datetime) -> Capture:
    """Less came in than was authorised: what was authorised is let go, and what came in is a charge of its own.

    It keeps the gateway's name, so whatever is told of the charge from now on, and refunds, go by the money.
    """
    void_charge(about, capture)
    captured = Capture(
        id=new_id(),
        merchant_id=capture.merchant_id,
        payment_id=capture.payment_id,
        gateway=capture.gateway,
        gateway_ref=capture.gateway_ref,
        method=capture.method,
        network=capture.network,
        amount_minor=news.amount.amount_minor,
        currency=capture.currency,
        captured_at=min(at, about.now),
        created_at=about.now,
    )
    about.changes.add(captured)
    _count(about, captured)
    return captured


def _count(about: PaymentDraft, captured: Capture) -> None:
    """Book a charge whose money came in, on the ledger and on its payment."""
    payment = about.account.payment
    about.changes.add(entry_of_capture(captured, at=about.now))
    counted = payment.captured_minor + captured.amount_minor
    about.keep_payment(
        msgspec.structs.replace(payment, captured_minor=counted, paid_at=payment.paid_at or captured.captured_at)
    )
    about.tell(
        EventKind.PAYMENT_CAPTURED,
        amount_minor=captured.amount_minor,
        currency=captured.currency,
        gateway=captured.gateway,
        gateway_ref=captured.gateway_ref,
    )


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


def return_charge_of(about: PaymentDraft, capture: Capture, booked: LedgerEntry | None, at: datetime) -> Capture:
    """The customer's bank took back money of a payment that has no recovery case: unbooked, and owed again."""
    returned = msgspec.structs.replace(capture, state=CAPTURE.after(capture.state, CaptureEvent.RETURN))
    about.changes.update(returned)
    if booked is not None:
        about.changes.add(reversal_of(entry=booked, at=about.now, occurred_at=at))
    payment = about.account.payment
    left = payment.captured_minor - capture.amount_minor
    if payment.state is PaymentState.PAID and left < payment.amount_minor:
        state = PAYMENT.after(payment.state, PaymentEvent.RETURN)
        payment = msgspec.structs.replace(payment, state=state, paid_at=None)
    about.keep_payment(msgspec.structs.replace(payment, captured_minor=left))
    about.tell(
        EventKind.CAPTURE_RETURNED,
        capture=str(capture.id),
        amount_minor=capture.amount_minor,
        currency=capture.currency,
        gateway=capture.gateway,
        gateway_ref=capture.gateway_ref,
    )
    return returned


async def _booked(about: PaymentDraft, capture: Capture) -> LedgerEntry | None:
    """Return the entry of a capture, also one that this transaction has just made."""
    entries: list[LedgerEntry] = [e for e in about.changes.rows(LedgerEntry) if e.capture_id == capture.id]
    return entries[0] if entries else await entry_of_charge(about.connection, capture)


def _name(capture: Capture, news: CaptureNews) -> str:
    return f"{capture.gateway} charge {news.charge_ref}"
