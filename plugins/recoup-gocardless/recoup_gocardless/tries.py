"""The tries of one payment: GoCardless collects it, and after a failure the same payment again, up to four times.

An event names the payment and not the try. But the events of a payment are a story: every try begins with the payment
itself or with a `resubmission_requested`, which carries back what its maker wrote into it. Whose try an answer belongs
to is read from there. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import msgspec

from recoup_gocardless.declines import decline_of
from recoup_gocardless.objects import ATTEMPT_KEY, METHODS, GoEvent, GoPayment, uuid_of
from recoup_plugins import Declined, Method, Pending, Succeeded

RESUBMITTED: Final = "resubmission_requested"
COLLECTED: Final = frozenset({"confirmed", "paid_out", "chargeback_cancelled"})
FAILED: Final = frozenset({"failed", "cancelled", "customer_approval_denied"})

UNDER_WAY: Final = frozenset({"pending_customer_approval", "pending_submission", "submitted"})
IN: Final = frozenset({"confirmed", "paid_out"})
"""States of a payment. The others are over: `failed` can be tried again, the rest can't."""


class Try(msgspec.Struct, frozen=True):
    """One time that a payment was, or is to be, collected."""

    number: int
    attempt_id: UUID | None
    """Ours; None where somebody else asked for it."""
    events: tuple[GoEvent, ...]
    """In order; the first one of a later try is the request for it."""

    @property
    def last_word(self) -> GoEvent | None:
        """The last event that says how it ended; a debit may fail after it was confirmed."""
        return next((each for each in reversed(self.events) if each.action in COLLECTED | FAILED), None)

    def collected_before(self, event_id: str) -> bool:
        """Whether the money had come in when something happened to this try."""
        before = self.events[: [each.id for each in self.events].index(event_id)]
        said = next((each for each in reversed(before) if each.action in COLLECTED | FAILED), None)
        return said is not None and said.action in COLLECTED


def tries_of(payment: GoPayment, events: Iterable[GoEvent]) -> tuple[Try, ...]:
    """Return a payment's tries from its events, in any order; the last one is the one that its state is about."""
    tries = [Try(1, payment.attempt_id, ())]
    for event in sorted(events, key=lambda each: each.created_at):
        if event.action == RESUBMITTED:
            tries.append(Try(len(tries) + 1, uuid_of(event.marked(ATTEMPT_KEY)), (event,)))
        else:
            last = tries.pop()
            tries.append(msgspec.structs.replace(last, events=(*last.events, event)))
    return tuple(tries)


def try_with(tries: Sequence[Try], event_id: str) -> Try | None:
    """Return the try that an event belongs to."""
    return next((each for each in tries if any(event.id == event_id for event in each.events)), None)


def try_ref(payment_id: str, number: int) -> str:
    """Name a try. GoCardless has no name for it; its place among the tries of the payment is one."""
    return f"{payment_id}/{number}"


def ended(payment: GoPayment, which: Try, method: Method) -> Succeeded | Declined | None:
    """Say how a try ended; None while it is under way, or where its events don't say so yet."""
    word = which.last_word
    if word is None:
        return None
    if word.action in COLLECTED:
        return collected(payment, which.number)
    decline = decline_of(word.details, METHODS.get(payment.scheme or "", method))
    return Declined(decline=decline, gateway_ref=payment.id, try_ref=try_ref(payment.id, which.number))


def found(
    payment: GoPayment, tries: Sequence[Try], which: Try, method: Method
) -> Succeeded | Declined | Pending | None:
    """As `ended`, with what the payment's own state adds; None where the state says more than the events explain."""
    outcome = ended(payment, which, method)
    if outcome is not None or which is not tries[-1]:
        return outcome or under_way(payment, which.number)
    said = by_state(payment, which.number)
    if said is None and which.number > 1:  # its events were read after the payment, which was still the failed one
        return under_way(payment, which.number)
    return said


def by_state(payment: GoPayment, number: int) -> Succeeded | Pending | None:
    """Say what a payment's state means for its last try; None where it failed: only an event says why."""
    if payment.status in IN:
        return collected(payment, number)
    return under_way(payment, number) if payment.status in UNDER_WAY else None


def collected(payment: GoPayment, number: int) -> Succeeded:
    """All of a payment came in: GoCardless collects no parts."""
    return Succeeded(gateway_ref=payment.id, amount=payment.money, try_ref=try_ref(payment.id, number))


def under_way(payment: GoPayment, number: int) -> Pending:
    """The banks have it, for some days."""
    return Pending(gateway_ref=payment.id, try_ref=try_ref(payment.id, number))
