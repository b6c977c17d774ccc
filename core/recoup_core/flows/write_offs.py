"""Debts given up, in the ledger: what is written off is always what is outstanding."""

from recoup_core.domain.ledger import reversal_of, write_off_entry
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.draft import Draft


def write_off(draft: Draft) -> None:
    """Book that the debt is given up: all that is outstanding of it, if anything is."""
    payment = draft.file.payment
    if payment.outstanding.amount_minor <= 0:
        return
    entry = write_off_entry(payment=payment, case_id=draft.file.case.id, at=draft.now)
    draft.changes.add(entry)
    draft.file = draft.file.with_write_off(entry)


def correct_write_off(draft: Draft) -> None:
    """Money came in for a debt that was given up: the write-off is taken back, and booked anew for what is still owed.

    An entry is taken back whole or not at all. Called with the money already counted as captured.
    """
    entry = draft.file.write_off
    if entry is None:
        return
    draft.changes.add(reversal_of(entry=entry, at=draft.now))
    draft.file = draft.file.with_write_off(None)
    if draft.file.case.state is CaseState.WRITTEN_OFF:
        write_off(draft)
