"""From a refund's file and accounts to what a decision sees: facts for conditions, the situation for bounds."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from recoup_core.domain.capture import Capture, CaptureState
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.refund import HOLDING, Purpose, Refund, RefundPart
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.refunds.draft import RefundDraft
from recoup_core.rules.deciding.refund import EarlierRefund, RefundSituation
from recoup_core.rules.deciding.refund_bounds import MAX_EARLIER_REFUNDS
from recoup_core.rules.facts import RefundFacts
from recoup_core.rules.facts.refund import AgentFacts, RefundCustomerFacts, RefundSubscriptionFacts
from recoup_core.rules.facts.refund import Dispute as DisputeFact
from recoup_core.rules.language.actions.refund import MAX_CUSTOMER_WINDOW
from recoup_core.rules.timing.windows import local_day
from recoup_core.storage.refunds import Earlier, RefundHistory, Tallies, Tally, read_tallies, refund_history

_WINDOWS: Final = (7, 30, 365)
"""Days back that the facts about a customer count."""

_PERCENT: Final = 100


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What was read for a decision besides the file and the accounts."""

    history: RefundHistory
    tallies: Tallies
    now: datetime

    @property
    def day(self) -> date:
        """Today on the merchant's calendar."""
        return local_day(self.now, ZoneInfo(self.history.timezone))


async def read_known(connection: asyncpg.Connection, draft: RefundDraft) -> Known:
    """Read what a decision needs; within bounds it is read again under the bounds' lock."""
    refund = draft.file.refund
    history = await refund_history(
        connection,
        refund.merchant_id,
        refund.customer_ref,
        draft.now - MAX_CUSTOMER_WINDOW,
        payment_ids=[account.payment.id for account in touched(draft)],
        but=refund.id,
        limit=MAX_EARLIER_REFUNDS + 1,
    )
    day = local_day(draft.now, ZoneInfo(history.timezone))
    tallies = await read_tallies(connection, refund.merchant_id, refund.requested_by, day)
    return Known(history=history, tallies=tallies, now=draft.now)


def touched(draft: RefundDraft) -> list[PaymentAccount]:
    """Return the accounts that the refund goes over, the first first."""
    ids = dict.fromkeys(part.payment_id for part in _parts(draft)) or {draft.file.refund.payment_id: None}
    return [draft.accounts[payment_id] for payment_id in ids]


def facts_of(draft: RefundDraft, known: Known) -> RefundFacts:
    """Return what conditions may test about the refund; it counts in none of what went before it."""
    refund, accounts = draft.file.refund, touched(draft)
    payment = accounts[0].payment
    paid = Money(sum(account.captured_minor for account in accounts), refund.currency)
    before = _before(refund, known)
    capture = _main_capture(draft, accounts)
    made_at = min(_made_at(account) for account in accounts)
    return RefundFacts(
        amount=refund.amount,
        method=(capture or payment).method,
        network=capture.network if capture else None,
        gateway=(capture or payment).gateway,
        country=payment.customer.country,
        segment=payment.customer.segment,
        reason=refund.reason,
        payment_amount=paid,
        refunded_before=before,
        refunds_before=known.history.refunds_before,
        share_percent=-(-(before + refund.amount).amount_minor * _PERCENT // max(1, paid.amount_minor)),
        age_days=max(0, (draft.now - made_at).days),
        paid_on=local_day(made_at, ZoneInfo(known.history.timezone)).isoformat(),
        destination=refund.destination.value,
        purpose=refund.purpose.value,
        dispute=_dispute(draft, accounts).value,
        channel=refund.channel.value,
        payments=len(accounts),
        customer=_customer(accounts[0], refund.currency, known),
        subscription=_subscription(payment.subscription, known.day),
        agent=_agent(known.tallies.agent, refund.currency),
    )


def situation_of(draft: RefundDraft, known: Known) -> RefundSituation:
    """Return what bounds and evidence need to know."""
    return RefundSituation(
        now=draft.now,
        zone=known.history.timezone,
        evidence=tuple(dict.fromkeys(each.kind for each in draft.file.refund.evidence)),
        agent_day=_sums(known.tallies.agent),
        merchant_day=_sums(known.tallies.merchant),
        customer_refunds=tuple(
            EarlierRefund(at=each.at, amount=Money(each.amount_minor, each.currency)) for each in known.history.customer
        ),
    )


def _parts(draft: RefundDraft) -> list[RefundPart]:
    return [part for part in draft.file.parts if part.state in HOLDING]


def _before(refund: Refund, known: Known) -> Money:
    """Goodwill counts what was given as goodwill, too: else its share of the payment would never grow."""
    beside = known.history.goodwill_minor if refund.purpose is Purpose.GOODWILL else 0
    return Money(known.history.held_minor + beside, refund.currency)


def _main_capture(draft: RefundDraft, accounts: Sequence[PaymentAccount]) -> Capture | None:
    """Return the capture that most of the money goes back over; of goodwill beside a payment, its newest."""
    parts = [part for part in _parts(draft) if part.capture_id is not None]
    if not parts:
        return accounts[0].captures[-1] if accounts[0].captures else None
    largest = max(parts, key=lambda part: (part.amount_minor, -part.number))
    return draft.accounts[largest.payment_id].capture(largest.capture_id)


def _made_at(account: PaymentAccount) -> datetime:
    """Return when the payment was made: its oldest capture; what is only authorized counts from then."""
    captures = [each for each in account.captures if each.state is not CaptureState.VOIDED]
    return min((each.captured_at or each.created_at for each in captures), default=account.payment.created_at)


def _dispute(draft: RefundDraft, accounts: Sequence[PaymentAccount]) -> DisputeFact:
    """Return the standing that matters most, also of a dispute that this very transaction stores."""
    stored: Sequence[Dispute] = draft.changes.rows(Dispute)
    standing: set[DisputeState] = set()
    for account in accounts:
        disputes = {each.id: each for each in account.disputes}
        disputes |= {each.id: each for each in stored if each.payment_id == account.payment.id}
        state = msgspec.structs.replace(account, disputes=tuple(disputes.values())).dispute_state
        standing |= set() if state is None else {state}
    order = (DisputeState.OPEN, DisputeState.LOST, DisputeState.INQUIRY, DisputeState.WON)
    return next((DisputeFact(state.value) for state in order if state in standing), DisputeFact.NONE)


def _customer(account: PaymentAccount, currency: str, known: Known) -> RefundCustomerFacts:
    customer, earlier = account.payment.customer, known.history.customer
    windows: dict[str, int | Money | None] = {}
    for days in _WINDOWS:
        since = known.now - timedelta(days=days)
        counted = [each for each in earlier if each.at >= since]
        cut = len(earlier) > MAX_EARLIER_REFUNDS and len(counted) == len(earlier)
        windows[f"refunds_{days}d"] = None if cut else len(counted)
        windows[f"refunded_{days}d"] = None if cut else _came_to(counted, currency)
    facts = RefundCustomerFacts(
        tier=customer.tier,
        tenure_days=customer.tenure_days,
        vulnerable=customer.vulnerable,
        country=customer.country,
        segment=customer.segment,
    )
    return msgspec.structs.replace(facts, **windows)


def _came_to(earlier: Sequence[Earlier], currency: str) -> Money | None:
    amounts = [each.amount_minor for each in earlier if each.currency == currency]
    return Money(sum(amounts), currency) if amounts else None


def _agent(tallies: Sequence[Tally], currency: str) -> AgentFacts:
    amount = sum(each.amount_minor for each in tallies if each.currency == currency)
    return AgentFacts(
        refunds_today=sum(each.refunds for each in tallies),
        refunded_today=Money(amount, currency) if amount else None,
    )


def _sums(tallies: Sequence[Tally]) -> tuple[Money, ...]:
    return tuple(Money(each.amount_minor, each.currency) for each in sorted(tallies, key=lambda each: each.currency))


def _subscription(told: Mapping[str, object], today: date) -> RefundSubscriptionFacts | None:
    if not told:
        return None
    plan, interval = told.get("plan"), told.get("interval")
    return RefundSubscriptionFacts(
        plan=plan if isinstance(plan, str) else None,
        interval=interval if isinstance(interval, str) else None,
        used_percent=_used(told.get("period_start"), told.get("period_end"), today),
    )


def _used(start: object, end: object, today: date) -> int | None:
    """Return how much of the period paid for is over, in whole per cent rounded down; None where it isn't told."""
    first, last = _date(start), _date(end)
    if first is None or last is None or first >= last:
        return None
    used = (today - first).days * _PERCENT // (last - first).days
    return max(0, min(_PERCENT, used))


def _date(told: object) -> date | None:
    """Read an ISO 8601 date, or the date of a time; None for anything else."""
    if not isinstance(told, str):
        return None
    try:
        return datetime.fromisoformat(told).date()
    except ValueError:
        return None
