"""A payment that money goes back over, or that the customer disputes, is no longer collected."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from recoup_core.domain.happened import EventKind
from recoup_core.domain.payment import PaymentEvent, PaymentState
from recoup_core.domain.recovery import CASE, CaseEvent, CaseState
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.draft import Draft
from recoup_core.flows.outcomes import WHILE_OWED, cancel_unsent
from recoup_core.flows.planning import skip_planned
from recoup_core.flows.refunds.draft import LockedRefunds
from recoup_core.flows.subscription_requests.asking import withdraw
from recoup_core.storage.cases import load_cases

REFUNDED: Final = "refunded"
DISPUTED: Final = "disputed"
"""Why a case was canceled that nobody asked to cancel."""

COLLECTING: Final = frozenset({CaseState.OPEN, CaseState.PAUSED, CaseState.EXHAUSTED})
"""States in which a debt may still be asked for; an exhausted case goes on with a new credential, or is dunned."""


def is_collected(account: PaymentAccount) -> bool:
    """Whether somebody still asks the customer for this payment."""
    return account.payment.state is PaymentState.OWED and account.case_state in COLLECTING


async def stop_collecting(locked: LockedRefunds, payments: Mapping[UUID, str], actor: str, because: str) -> None:
    """Cancel the recovery cases of payments, each with its correlation id, in the caller's transaction and locks.

    Money that still comes in is booked all the same, and put before a person.
    """
    files = await load_cases(locked.connection, list(payments), locked.now) if payments else {}
    for payment_id, file in files.items():
        draft = Draft(file, locked.changes, locked.now, actor, payments[payment_id] or None)
        if not CASE.allows(file.case.state, CaseEvent.CANCEL) or file.payment.state is not PaymentState.OWED:
            continue
        why = f"the payment is {because}"
        draft.move_case(CaseEvent.CANCEL, stop_reason=because)
        draft.tell(EventKind.CASE_CANCELED, reason=because)
        skip_planned(draft, why)
        cancel_unsent(draft, why)
        draft.close_tasks(WHILE_OWED, why)
        draft.move_payment(PaymentEvent.CLOSE)
        draft.tell(EventKind.PAYMENT_CLOSED, reason=because)
        withdraw(draft, why)
