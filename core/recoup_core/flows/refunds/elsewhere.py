"""A refund that somebody else made is taken in: counted against its charge, whether that has room for it or not."""

from datetime import datetime

from recoup_core.domain.capture import Capture
from recoup_core.domain.refund import HOLDING
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.refunds.draft import RefundDraft
from recoup_core.flows.refunds.outcomes import Known, Outcome, record_refund
from recoup_core.flows.refunds.reported import Elsewhere, reported_refund
from recoup_core.flows.refunds.standing import ask_if_over
from recoup_core.storage.changes import Changes


def count_elsewhere(
    changes: Changes,
    account: PaymentAccount,
    capture: Capture,
    told: Elsewhere,
    outcome: Outcome,
    *,
    now: datetime,
    actor: str,
    correlation_id: str | None,
) -> RefundDraft:
    """Write down a refund made elsewhere, of one charge of a payment whose lock the caller holds, as its outcome says.

    Nobody decides on it, and it is never sent; a charge that is exceeded by it is put before a person.
    """
    draft = reported_refund(account, capture, told, changes, now, actor, correlation_id)
    record_refund(draft, draft.file.parts[0].id, outcome, Known(occurred_at=told.at))
    if draft.file.parts[0].state in HOLDING:
        ask_if_over(draft, capture.id, told.amount.amount_minor)
    return draft
