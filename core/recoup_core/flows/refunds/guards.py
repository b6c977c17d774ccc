"""What a due part must still be checked for, under lock, just before it leaves: facts change after an approval."""

from datetime import timedelta
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

CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""By how much the clocks of two hosts may differ; they are kept by NTP, within well under a second."""


def capture_of(draft: RefundDraft, part: RefundPart) -> Capture | None:
    """Return the capture that a part goes back over; None for goodwill as store credit."""
    return draft.accounts[part.payment_id].capture(part.capture_id)


def freezing_dispute(account: PaymentAccount, part: RefundPart) -> Dispute | None:
    """Return the dispute that holds the part's capture, if there is one: the customer's bank pays them back."""
    disputes = (d for d in account.disputes if d.capture_id == part.capture_id and d.state in FREEZES)
    return max(disputes, key=lambda dispute: dispute.opened_at, default=None)


def overtaken(draft: RefundDraft, part: RefundPart, decided: str | None) -> bool:
    """Whether a dispute holds the part's charge that the decision did not know of; `decided` is the one it knew.

    What it knew says so, not the clocks of two hosts; only a dispute that opened long after the approval is another
    one for certain, under whatever standing.
    """
    dispute = freezing_dispute(draft.accounts[part.payment_id], part)
    if dispute is None:
        return False
    payments = {each.payment_id for each in draft.file.parts if each.state in HOLDING}
    approved_at = draft.file.refund.approved_at
    if approved_at is None or dispute.opened_at - approved_at > CLOCKS_DIFFER:
        return True
    return decided not in {draft.accounts[payment_id].dispute_state for payment_id in payments}


def over_minor(draft: RefundDraft, capture: Capture) -> int:
    """By how much facts from outside exceed the capture, after what this transaction has released already."""
    parts: list[RefundPart] = list(draft.changes.rows(RefundPart))
    released = sum(p.amount_minor for p in parts if p.capture_id == capture.id and p.state not in HOLDING)
    return max(0, capture.over_minor - released)


def voids(draft: RefundDraft, part: RefundPart, capture: Capture) -> bool:
    """Whether the part cancels an authorisation: as its charge stands now, unless its gateway has just said otherwise.

    What has left once is never changed: the same key always comes with the same request.
    """
    if part.sends > 0:
        return part.void
    said = _said_of_charge(draft, part, capture)
    return capture.state is CaptureState.AUTHORIZED if said is None else said is FailureCategory.NOT_CAPTURED


def _said_of_charge(draft: RefundDraft, part: RefundPart, capture: Capture) -> FailureCategory | None:
    """Return what the gateway said of the charge when it refused the part before, unless it was captured since."""
    replaced = draft.file.part(part.follows) if part.follows is not None else None
    if replaced is None or replaced.failure is None or replaced.failure.category not in OTHER_WAY:
        return None
    since = replaced.finished_at
    if since is not None and capture.captured_at is not None and capture.captured_at > since:
        return None
    return replaced.failure.category


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
    if capture.state is CaptureState.VOIDED and _captured_in_part(draft, part, capture):
        return _no(
            FailureCategory.ALREADY_CAPTURED, "captured_in_part", "less was captured than authorised: ask for it"
        )
    if capture.state is CaptureState.VOIDED:
        return _no(FailureCategory.ALREADY_REFUNDED, "charge_voided", "the charge was voided elsewhere")
    if capture.state is CaptureState.RETURNED:
        return _no(FailureCategory.ALREADY_REFUNDED, "charge_returned", "the customer's bank took the charge back")
    if capture.gateway_ref is None:
        return _no(FailureCategory.CONFIGURATION, "no_charge_ref", "nobody told the gateway's id of the charge")
    return None if gateway is None else _unable(draft, part, capture, gateway)


def _captured_in_part(draft: RefundDraft, part: RefundPart, capture: Capture) -> bool:
    """Whether a voided authorisation was let go because less than it was captured, under the same name."""
    others = draft.accounts[part.payment_id].captures
    name = (capture.gateway, capture.gateway_ref)
    return any(c.id != capture.id and (c.gateway, c.gateway_ref) == name and c.captured_at for c in others)


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
