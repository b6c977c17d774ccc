"""What a due part must still be checked for, under lock, just before it leaves: facts change after an approval."""

from typing import Final

from recoup_core.domain.capture import Capture, CaptureState
from recoup_core.domain.dispute import FREEZES, Dispute
from recoup_core.domain.refund import HOLDING, Destination, FailureCategory, RefundFailure, RefundPart
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.refunds.draft import RefundDraft
from recoup_core.flows.refunds.successors import OTHER_WAY
from recoup_core.ports import Gateway

DISPUTED: Final = RefundFailure(
    category=FailureCategory.DISPUTED, code="disputed", message="a dispute came before this part had left"
)


def capture_of(draft: RefundDraft, part: RefundPart) -> Capture | None:
    """Return the capture that a part goes back over; None for goodwill as store credit."""
    return draft.accounts[part.payment_id].capture(part.capture_id)


def freezing_dispute(account: PaymentAccount, part: RefundPart) -> Dispute | None:
    """Return the dispute that holds the part's capture, if there is one: the customer's bank pays them back."""
    disputes = (d for d in account.disputes if d.capture_id == part.capture_id and d.state in FREEZES)
    return max(disputes, key=lambda dispute: dispute.opened_at, default=None)


def over_minor(draft: RefundDraft, capture: Capture) -> int:
    """By how much facts from outside exceed the capture, after what this transaction has released already."""
    parts: list[RefundPart] = list(draft.changes.rows(RefundPart))
    released = sum(p.amount_minor for p in parts if p.capture_id == capture.id and p.state not in HOLDING)
    return max(0, capture.over_minor - released)


def voids(draft: RefundDraft, part: RefundPart, capture: Capture) -> bool:
    """Whether the part cancels an authorisation: as its charge stands now, unless its gateway has just said otherwise.

    What has left once is never changed: the same key always comes with the same request.
    """
    replaced = draft.file.part(part.follows) if part.follows is not None else None
    told = replaced is not None and replaced.failure is not None and replaced.failure.category in OTHER_WAY
    if part.sends > 0 or told:
        return part.void
    return capture.state is CaptureState.AUTHORIZED


def obstacle(draft: RefundDraft, part: RefundPart, gateway: Gateway | None) -> RefundFailure | None:
    """Return why the part can't leave any more, for good; a gateway that is away is no obstacle, only a wait."""
    capture = capture_of(draft, part)
    if capture is None:
        return None
    if over_minor(draft, capture) > 0:
        category = FailureCategory.DISPUTED if capture.disputed_minor else FailureCategory.ALREADY_REFUNDED
        return _no(category, "exceeds_charge", "less is left of the charge than is asked back")
    if part.destination is Destination.STORE_CREDIT:
        return None
    if capture.state is CaptureState.VOIDED:
        return _no(FailureCategory.ALREADY_REFUNDED, "charge_voided", "the charge was voided elsewhere")
    if capture.gateway_ref is None:
        return _no(FailureCategory.CONFIGURATION, "no_charge_ref", "nobody told the gateway's id of the charge")
    return None if gateway is None else _unable(draft, part, capture, gateway)


def _unable(draft: RefundDraft, part: RefundPart, capture: Capture, gateway: Gateway) -> RefundFailure | None:
    can = gateway.capabilities
    if not can.refunds:
        return _no(FailureCategory.CONFIGURATION, "cannot_refund", f"{gateway.name} gives no money back")
    if voids(draft, part, capture):
        if not can.voids:
            return _no(FailureCategory.CONFIGURATION, "cannot_void", f"{gateway.name} can't void a charge")
        if part.amount_minor != capture.amount_minor:
            return _no(
                FailureCategory.NOT_CAPTURED, "partial_void", "an authorised charge is voided whole or not at all"
            )
        return None
    window = can.refund_windows.get(capture.method)
    if window is not None and capture.captured_at is not None and draft.now > capture.captured_at + window:
        return _no(FailureCategory.TOO_OLD, "refund_window_passed", f"taken for {window.days} days after the charge")
    return None


def _no(category: FailureCategory, code: str, message: str) -> RefundFailure:
    return RefundFailure(category=category, code=code, message=message)
