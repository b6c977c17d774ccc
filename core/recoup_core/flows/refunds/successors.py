"""What follows a part that its gateway refused: another try with a key of its own, or nothing more.

The merchant's balance fills up again, and an authorisation that was captured meanwhile is refunded instead of voided;
everything else needs a person.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from recoup_core.domain.refund import Channel, FailureCategory, RefundPart, RefundState
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.refunds.draft import RefundDraft
from recoup_core.flows.refunds.spread import following

OTHER_WAY: Final = frozenset({FailureCategory.NOT_CAPTURED, FailureCategory.ALREADY_CAPTURED})
"""Refusals that say: void instead of refunding, or the other way round."""


def successor(
    draft: RefundDraft, part: RefundPart, *, void: bool | None = None, not_before: datetime | None = None
) -> RefundPart:
    """Return the scheduled part that takes a failed one's place, with a key of its own."""
    number = 1 + max(known.number for known in draft.file.parts)
    replacing = following(part, number, draft.now)
    return msgspec.structs.replace(replacing, void=part.void if void is None else void, not_before=not_before)


def next_try(draft: RefundDraft, failed: RefundPart, waits: Sequence[timedelta]) -> RefundPart | None:
    """Return the part that goes on where this one was refused; None where only a person can."""
    refund = draft.file.refund
    if refund.state is not RefundState.APPROVED or failed.failure is None:
        return None
    if refund.channel is Channel.REPORTED:
        return None  # its maker sees to it; nobody has approved it here
    if any(part.follows == failed.id for part in draft.file.parts):
        return None  # it goes on already
    categories = [part.failure.category for part in chain(draft.file, failed) if part.failure is not None]
    category = failed.failure.category
    if category in OTHER_WAY:
        return _other_way(draft, failed, category) if sum(each in OTHER_WAY for each in categories) == 1 else None
    if category is FailureCategory.INSUFFICIENT_BALANCE:
        tried = categories.count(category)
        if tried <= len(waits):
            return successor(draft, failed, not_before=draft.now + waits[tried - 1])
    return None


def _other_way(draft: RefundDraft, failed: RefundPart, category: FailureCategory) -> RefundPart | None:
    """Void what turned out to be only authorised, refund what was captured; a part of a charge is never voided."""
    void = category is FailureCategory.NOT_CAPTURED
    if void is failed.void:
        return None  # the refusal contradicts what was sent
    capture = draft.accounts[failed.payment_id].capture(failed.capture_id)
    if void and (capture is None or capture.amount_minor != failed.amount_minor):
        return None
    return successor(draft, failed, void=void)


def chain(file: RefundFile, part: RefundPart) -> Iterator[RefundPart]:
    """Yield a part and those that it followed, the latest first."""
    at: RefundPart | None = part
    while at is not None:
        yield at
        at = file.part(at.follows) if at.follows is not None else None
