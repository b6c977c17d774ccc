"""What a report says happened is recorded as if the gateway had just told it: by the flows that every answer takes.

Each step is a transaction of its own, idempotent by the state tables: killed half way, the line is judged once more.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final

from recoup_core.domain.attempt import Attempt
from recoup_core.domain.capture import CaptureState
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.refund import FailureCategory, RefundFailure
from recoup_core.domain.settlement import SettlementLine
from recoup_core.flows.context import Context, Locked, locked_cases
from recoup_core.flows.outcomes import paid_elsewhere, record_outcome
from recoup_core.flows.planning import plan_next
from recoup_core.flows.refunds.about_payment import PaymentDraft
from recoup_core.flows.refunds.charges import take_standing
from recoup_core.flows.refunds.disputed import DisputeFacts, store_dispute
from recoup_core.flows.refunds.draft import LockedRefunds, locked_refunds
from recoup_core.flows.refunds.elsewhere import count_elsewhere
from recoup_core.flows.refunds.outcomes import Outcome, record_refund
from recoup_core.flows.refunds.recorder import count_outcome, known_of
from recoup_core.flows.refunds.reported import Elsewhere
from recoup_core.flows.returned import ReturnedCharge, return_charge
from recoup_core.flows.settlement.judging import Step
from recoup_core.ports import CaptureNews, DisputeNews, Refunded, Succeeded, TakenBack
from recoup_core.storage.lookups import KnownCapture, answerless_part, part_of_refund
from recoup_core.storage.settlement_matching import Found

CAME_BACK: Final = RefundFailure(
    category=FailureCategory.UNKNOWN, code="settled_back", message="a settlement report says that the refund came back"
)


async def act(context: Context, found: Found, step: Step) -> None:
    """Record what a line says has happened; nothing changes where our books can't take it."""
    await _STEPS[step](context, found)


def _actor(line: SettlementLine) -> str:
    return f"gateway:{line.gateway}"


def _correlation(line: SettlementLine) -> str:
    return f"settlement-{line.report_id}"


def _at(line: SettlementLine, now: datetime) -> datetime:
    return min(line.occurred_at, now)


def _charge_ref(line: SettlementLine) -> str:
    return line.charge_refs[0] if line.charge_refs else line.ref


# ------------------------------------------------------------------------------------------------------------- charges


async def _attempt_succeeded(context: Context, found: Found) -> None:
    attempt, line = found.attempt, found.line
    assert attempt is not None  # the verdict saw it
    async with locked_cases(context, [attempt.payment_id]) as locked:
        draft = locked.draft(attempt.payment_id, _actor(line), _correlation(line))
        known = draft.file.attempt(attempt.id) if draft else None
        if draft is None or known is None or line.amount_minor <= 0:
            return
        ref = _charge_ref(line) if line.charge_refs else known.gateway_ref or line.ref
        outcome = Succeeded(gateway_ref=ref, amount=line.amount)
        if _by_another_try(known, line):
            paid_elsewhere(draft, _at(line, locked.now), outcome, line.gateway)
            plan_next(draft, locked.policy(draft))
        else:
            record_outcome(draft, known.id, outcome, locked.policy(draft))


def _by_another_try(attempt: Attempt, line: SettlementLine) -> bool:
    """Whether a line with our mark names another try than our attempt's: the mark stays on the gateway's object,
    whoever tries it next."""
    names_a_try = set(line.charge_refs) - {attempt.gateway_ref}
    return bool(names_a_try) and attempt.try_ref is not None and attempt.try_ref not in line.charge_refs


async def _paid_elsewhere(context: Context, found: Found) -> None:
    payment, line = found.payment, found.line
    assert payment is not None  # the verdict saw it
    async with locked_cases(context, [payment.id]) as locked:
        draft = locked.draft(payment.id, _actor(line), _correlation(line))
        if draft is not None and line.amount_minor > 0:
            outcome = Succeeded(gateway_ref=_charge_ref(line), amount=line.amount)
            paid_elsewhere(draft, _at(line, locked.now), outcome, line.gateway)
            plan_next(draft, locked.policy(draft))


async def _captured(context: Context, found: Found) -> None:
    capture, line = found.capture, found.line
    assert capture is not None  # the verdict saw it
    news = CaptureNews(charge_ref=_charge_ref(line), amount=line.amount, standing=CaptureState.CAPTURED)
    async with locked_refunds(context, [], more_payments=[capture.payment_id]) as locked:
        about = PaymentDraft(locked, capture.payment_id, _actor(line), _correlation(line))
        standing = about.account.capture(capture.id)
        if standing is not None:
            await take_standing(about, standing, news, _at(line, locked.now))


async def _returned(context: Context, found: Found) -> None:
    capture, line = found.capture, found.line
    assert capture is not None  # the verdict saw it
    told = ReturnedCharge(
        charge=KnownCapture(capture.payment_id, capture.id),
        occurred_at=line.occurred_at,
        actor=_actor(line),
        correlation_id=_correlation(line),
    )

    async def nothing_more(_: Locked, __: bool) -> None:
        """The line is booked in a transaction of its own."""

    await return_charge(context, told, nothing_more)


# ------------------------------------------------------------------------------------------------------------- refunds


async def _refunded(context: Context, found: Found) -> None:
    await _record(context, found, Refunded(gateway_ref=_refund_ref(found), amount=found.line.amount))


async def _taken_back(context: Context, found: Found) -> None:
    await _record(context, found, TakenBack(gateway_ref=_refund_ref(found), failure=CAME_BACK))


def _refund_ref(found: Found) -> str:
    known = found.part.gateway_ref if found.part else None
    return found.line.operation_ref or known or found.line.ref


async def _record(context: Context, found: Found, outcome: Outcome) -> None:
    part, line = found.part, found.line
    assert part is not None  # the verdict saw it
    async with locked_refunds(context, [part.refund_id]) as locked:
        draft = locked.draft(part.refund_id, _actor(line), _correlation(line))
        standing = draft.file.part(part.id) if draft else None
        if draft is None or standing is None:
            return
        known = await known_of(locked.connection, draft, standing, {})
        if record_refund(draft, part.id, outcome, known):
            count_outcome(context, draft, part.id, outcome)


async def _refunded_elsewhere(context: Context, found: Found) -> None:
    await _count(context, found, Refunded(gateway_ref=_refund_ref(found), amount=found.line.amount))


async def _taken_back_elsewhere(context: Context, found: Found) -> None:
    await _count(context, found, TakenBack(gateway_ref=_refund_ref(found), failure=CAME_BACK))


async def _count(context: Context, found: Found, outcome: Refunded | TakenBack) -> None:
    """Count a refund that somebody else made; while a part as large waits for its answer, it may be that one."""
    capture, line = found.capture, found.line
    assert capture is not None  # the verdict saw it
    ref = _refund_ref(found)
    async with locked_refunds(context, [], more_payments=[capture.payment_id]) as locked:
        if line.currency != capture.currency or line.amount_minor <= 0:
            return
        own = await part_of_refund(locked.connection, line.merchant_id, line.gateway, line.part_ref, ref)
        if own is not None or await answerless_part(locked.connection, capture.id, line.amount_minor):
            return
        account = locked.accounts[capture.payment_id]
        told = Elsewhere(gateway_ref=ref, amount=line.amount, at=_at(line, locked.now))
        count_elsewhere(
            locked.changes,
            account,
            account.capture(capture.id) or capture,
            told,
            outcome,
            now=locked.now,
            actor=_actor(line),
            correlation_id=_correlation(line),
        )


# ------------------------------------------------------------------------------------------------------------ disputes


async def _disputed(context: Context, found: Found) -> None:
    await _tell_dispute(context, found, DisputeState.OPEN)


async def _dispute_won(context: Context, found: Found) -> None:
    await _tell_dispute(context, found, DisputeState.WON)


async def _tell_dispute(context: Context, found: Found, standing: DisputeState) -> None:
    """Bring a dispute to where its money is; its fee is told with it, so that a webhook doesn't book it once more."""
    line, dispute = found.line, found.dispute
    charge = _known_charge(found)
    assert charge is not None  # the verdict saw the dispute, or its charge
    fee = Money(line.fee_minor, line.settled_currency) if dispute is None and line.fee_minor > 0 else None
    news = DisputeNews(
        dispute_ref=dispute.gateway_ref if dispute else line.operation_ref or line.ref,
        charge_ref=_charge_ref(line),
        amount=dispute.amount if dispute else line.amount,
        standing=standing,
        fee=fee,
    )
    told = DisputeFacts(
        merchant_id=line.merchant_id,
        gateway=line.gateway,
        capture=charge,
        news=news,
        actor=_actor(line),
        correlation_id=_correlation(line),
    )

    async def nothing_more(_: LockedRefunds, __: Dispute | None) -> None:
        """The line is booked in a transaction of its own."""

    await store_dispute(context, told, nothing_more)


def _known_charge(found: Found) -> KnownCapture | None:
    if found.dispute is not None:
        return KnownCapture(found.dispute.payment_id, found.dispute.capture_id)
    return KnownCapture(found.capture.payment_id, found.capture.id) if found.capture else None


_STEPS: Final[Mapping[Step, Callable[[Context, Found], Awaitable[None]]]] = {
    Step.ATTEMPT_SUCCEEDED: _attempt_succeeded,
    Step.PAID_ELSEWHERE: _paid_elsewhere,
    Step.CAPTURED: _captured,
    Step.RETURNED: _returned,
    Step.REFUNDED: _refunded,
    Step.TAKEN_BACK: _taken_back,
    Step.REFUNDED_ELSEWHERE: _refunded_elsewhere,
    Step.TAKEN_BACK_ELSEWHERE: _taken_back_elsewhere,
    Step.DISPUTED: _disputed,
    Step.DISPUTE_WON: _dispute_won,
}
