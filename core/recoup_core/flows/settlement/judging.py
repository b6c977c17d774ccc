"""What a line of a report means for what is known here: it settles something, lacks something, or nothing explains it.

Pure. Lines are counted against what the ledger saw, not against the order they come in: so many refunds of a part as
were settled, it must have been paid; so many chargebacks as were settled, the dispute must have taken the money.
"""

from collections import Counter
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.attempt import ATTEMPT, AttemptEvent
from recoup_core.domain.capture import Capture, CaptureState
from recoup_core.domain.settlement import Problem, SettlementKind, SettlementLine
from recoup_core.storage.settlement_matching import Found

_K: Final = SettlementKind


class Step(StrEnum):
    """What has to be recorded before a line can be booked, since the gateway says that it happened."""

    ATTEMPT_SUCCEEDED = "attempt_succeeded"
    PAID_ELSEWHERE = "paid_elsewhere"
    CAPTURED = "captured"
    RETURNED = "returned"
    REFUNDED = "refunded"
    TAKEN_BACK = "taken_back"
    REFUNDED_ELSEWHERE = "refunded_elsewhere"
    TAKEN_BACK_ELSEWHERE = "taken_back_elsewhere"
    DISPUTED = "disputed"
    DISPUTE_WON = "dispute_won"


class Settles(msgspec.Struct, frozen=True, kw_only=True):
    """The line settles something that is booked, or is a movement of its own."""

    booked_minor: int = 0
    """What the operation's own entry did to the clearing account, in the line's currency."""
    fee_booked_minor: int = 0
    differs: bool = False
    """Whether the gateway names another amount than is booked."""
    payment_id: UUID | None = None
    capture_id: UUID | None = None
    part_id: UUID | None = None
    dispute_id: UUID | None = None
    about_capture: UUID | None = None
    about_refund: UUID | None = None


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing here explains the line."""

    problem: Problem
    reason: str


class Lacks(msgspec.Struct, frozen=True, kw_only=True):
    """What the line settles has not been recorded here so far."""

    step: Step
    otherwise: Doubt
    """What to say where the step changes nothing."""


class Later(msgspec.Struct, frozen=True):
    """Another line of the same batch may be the one: look again once that is booked."""


Verdict = Settles | Lacks | Doubt | Later


class Seen:
    """What the lines of one batch have settled before the one at hand."""

    def __init__(self) -> None:
        self._settled: Counter[tuple[SettlementKind, UUID]] = Counter()
        self._fees: Counter[UUID] = Counter()

    def add(self, found: Found, verdict: Verdict) -> None:
        """Count a line that was judged."""
        subject = subject_of(found)
        if subject is not None and isinstance(verdict, Settles | Lacks):
            self._settled[found.line.kind, subject] += 1
        if subject is not None and isinstance(verdict, Settles):
            self._fees[subject] += verdict.fee_booked_minor

    def settled(self, found: Found) -> int:
        """Return how many lines of the kind the batch has counted for what this one is about."""
        subject = subject_of(found)
        return 0 if subject is None else self._settled[found.line.kind, subject]

    def fee_left(self, found: Found) -> int:
        """Return what was told of fees of the part or the dispute and settled by no line."""
        subject = subject_of(found)
        return found.fee_told_minor - (self._fees[subject] if subject is not None else 0)


def subject_of(found: Found) -> UUID | None:
    """Return what a line is about: a capture, a part or a dispute; None where it is unknown, or there is none."""
    kind = found.line.kind
    if kind in (_K.CHARGE, _K.CHARGE_RETURNED):
        return found.capture.id if found.capture else None
    if kind in (_K.REFUND, _K.REFUND_RETURNED):
        return found.part.id if found.part else None
    if kind in (_K.DISPUTE, _K.DISPUTE_RETURNED):
        return found.dispute.id if found.dispute else None
    if kind is _K.FEE and (known := found.part or found.dispute) is not None:
        return known.id
    return None


def judge(found: Found, seen: Seen) -> Verdict:
    """Return what a line means, after the lines of its batch that were counted before."""
    kind = found.line.kind
    if kind is _K.CHARGE:
        return _charge(found, seen)
    if kind is _K.CHARGE_RETURNED:
        return _returned(found, seen)
    if kind in (_K.REFUND, _K.REFUND_RETURNED):
        return _refund(found, seen)
    if kind in (_K.DISPUTE, _K.DISPUTE_RETURNED):
        return _dispute(found, seen)
    return _movement(found, seen)


def _charge(found: Found, seen: Seen) -> Verdict:
    line, capture = found.line, found.capture
    if capture is None:
        return _uncaptured(found)
    if capture.state is CaptureState.AUTHORIZED:
        return Lacks(step=Step.CAPTURED, otherwise=_contradicts(line, f"the charge is only authorized ({capture.id})"))
    if capture.state is CaptureState.VOIDED:
        return _contradicts(line, f"the charge {capture.id} was voided")
    if seen.settled(found):
        return Later()
    if found.settled:
        return _twice(line, f"the charge {capture.id}")
    return _of_capture(line, capture, capture.amount_minor)


def _returned(found: Found, seen: Seen) -> Verdict:
    line, capture = found.line, found.capture
    if capture is None:
        return _uncaptured(found)
    if capture.state is CaptureState.CAPTURED:
        return Lacks(step=Step.RETURNED, otherwise=_contradicts(line, f"the charge {capture.id} could not be returned"))
    if capture.state is not CaptureState.RETURNED:
        return _contradicts(line, f"the charge {capture.id} is {capture.state}")
    if seen.settled(found):
        return Later()
    if found.settled:
        return _twice(line, f"the return of the charge {capture.id}")
    return _of_capture(line, capture, -capture.amount_minor)


def _uncaptured(found: Found) -> Verdict:
    """No charge is known: perhaps an attempt without its answer, or a debt that somebody else collected."""
    line, attempt, payment = found.line, found.attempt, found.payment
    if attempt is not None:
        otherwise = _contradicts(line, f"the attempt {attempt.id} is {attempt.state}, and nothing was captured by it")
        if ATTEMPT.allows(attempt.state, AttemptEvent.SUCCEED):
            return Lacks(step=Step.ATTEMPT_SUCCEEDED, otherwise=otherwise)
        return otherwise
    unknown = Doubt(problem=Problem.UNKNOWN_CHARGE, reason=f"{_named(line)}: nobody has told of this charge")
    if payment is not None and payment.has_case:
        return Lacks(step=Step.PAID_ELSEWHERE, otherwise=unknown)
    return unknown


def _of_capture(line: SettlementLine, capture: Capture, booked_minor: int) -> Settles | Doubt:
    if line.currency != capture.currency:
        return _other_currency(line, capture.currency)
    return Settles(
        booked_minor=booked_minor,
        differs=_differs(line, booked_minor),
        payment_id=capture.payment_id,
        capture_id=capture.id,
        about_capture=capture.id,
    )


def _refund(found: Found, seen: Seen) -> Verdict:
    line, part, back = found.line, found.part, found.line.kind is _K.REFUND_RETURNED
    if part is None:
        unknown = Doubt(problem=Problem.UNKNOWN_REFUND, reason=f"{_named(line)}: nobody has told of this refund")
        if found.capture is None or line.operation_ref is None:
            return unknown
        return Lacks(step=Step.TAKEN_BACK_ELSEWHERE if back else Step.REFUNDED_ELSEWHERE, otherwise=unknown)
    if line.currency != part.currency:
        return _other_currency(line, part.currency)
    if part.void:
        return _contradicts(line, f"the part {part.id} voids an authorization")
    known = found.returned if back else part.successes
    if found.settled + seen.settled(found) >= known:
        step = Step.TAKEN_BACK if back else Step.REFUNDED
        told = "the return of " if back else ""
        otherwise = _twice(line, f"{told}the part {part.id}") if known else _contradicts(line, f"the part {part.id}")
        if line.amount_minor != part.amount_minor and not known:
            otherwise = Doubt(problem=Problem.AMOUNT_DIFFERS, reason=f"{_named(line)}: the part is over {part.amount}")
        return Lacks(step=step, otherwise=otherwise)
    booked = part.amount_minor if back else -part.amount_minor
    return Settles(
        booked_minor=booked,
        fee_booked_minor=0 if back or not line.fee_minor else seen.fee_left(found),
        differs=_differs(line, booked),
        payment_id=part.payment_id,
        part_id=part.id,
        about_capture=part.capture_id,
        about_refund=part.refund_id,
    )


def _dispute(found: Found, seen: Seen) -> Verdict:
    line, dispute, back = found.line, found.dispute, found.line.kind is _K.DISPUTE_RETURNED
    if dispute is None:
        unknown = Doubt(problem=Problem.UNKNOWN_DISPUTE, reason=f"{_named(line)}: nobody has told of this dispute")
        if found.capture is None or line.operation_ref is None or line.amount_minor <= 0:
            return unknown
        return Lacks(step=Step.DISPUTED, otherwise=unknown)
    if line.currency != dispute.currency:
        return _other_currency(line, dispute.currency)
    known = found.returned if back else found.taken
    if found.settled + seen.settled(found) >= known:
        first = back and found.taken <= found.returned  # it can't come back before it was taken
        step = Step.DISPUTE_WON if back and not first else Step.DISPUTED
        told = "the return of " if back else ""
        return Lacks(step=step, otherwise=_twice(line, f"{told}the dispute {dispute.id}"))
    booked = dispute.amount_minor if back else -dispute.amount_minor
    return Settles(
        booked_minor=booked,
        fee_booked_minor=0 if back or not line.fee_minor else seen.fee_left(found),
        differs=_differs(line, booked),
        payment_id=dispute.payment_id,
        dispute_id=dispute.id,
        about_capture=dispute.capture_id,
    )


def _movement(found: Found, seen: Seen) -> Settles:
    """A fee by itself, a payout, another movement: it needs no counterpart; a fee may have been told before."""
    part, dispute, capture = found.part, found.dispute, found.capture
    if found.line.kind is not _K.FEE or (part is None and dispute is None):
        return Settles(payment_id=found.payment_id, about_capture=capture.id if capture else None)
    known = part or dispute
    assert known is not None  # one of the two, as was just seen
    return Settles(
        fee_booked_minor=seen.fee_left(found),
        payment_id=known.payment_id,
        part_id=part.id if part else None,
        dispute_id=dispute.id if dispute and not part else None,
        about_capture=known.capture_id,
        about_refund=part.refund_id if part else None,
    )


def _differs(line: SettlementLine, booked_minor: int) -> bool:
    if line.amount_minor != abs(booked_minor):
        return True
    return line.currency == line.settled_currency and line.settled_minor != booked_minor


def _other_currency(line: SettlementLine, currency: str) -> Doubt:
    return Doubt(problem=Problem.CURRENCY_DIFFERS, reason=f"{_named(line)}: it is booked in {currency}")


def _twice(line: SettlementLine, what: str) -> Doubt:
    return Doubt(problem=Problem.SETTLED_TWICE, reason=f"{_named(line)}: {what} is settled by another line already")


def _contradicts(line: SettlementLine, why: str) -> Doubt:
    return Doubt(problem=Problem.CONTRADICTS, reason=f"{_named(line)}: {why}")


def _named(line: SettlementLine) -> str:
    return f"{line.gateway} line {line.ref} ({line.kind} of {line.amount})"
