"""What a gateway told of a charge before its payment was reported: taken in with the report, in its transaction.

Refunds made elsewhere, disputes and the end of an authorisation: as if each had been told after the payment.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.refunds.about_payment import PaymentDraft
from recoup_core.flows.refunds.charges import take_standing
from recoup_core.flows.refunds.disputed import DisputeFacts, apply_dispute
from recoup_core.flows.refunds.draft import LockedRefunds
from recoup_core.flows.refunds.lastword import last_word
from recoup_core.flows.refunds.outcomes import Known, record_refund
from recoup_core.flows.refunds.reported import Elsewhere, counting, reported_refund
from recoup_core.ports import Canceled, GatewayEvent, Refused
from recoup_core.storage.changes import Changes
from recoup_core.storage.lookups import KnownCapture
from recoup_core.storage.refunds import load_accounts


class EarlyNews(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was told about one charge, in the order in which it happened, and who reports its payment."""

    events: Sequence[GatewayEvent]
    actor: str
    correlation_id: str | None
    now: datetime


def count_refunds(changes: Changes, account: PaymentAccount, told: EarlyNews) -> None:
    """Count what went back already, each refund once and as it ended; an amount that can't be is left to a person."""
    capture = account.captures[0]
    by_ref: dict[str, list[GatewayEvent]] = defaultdict(list)
    for event in told.events:
        if event.refund is not None and _fits(account, event):
            by_ref[event.refund.refund_ref].append(event)
    for ref, events in by_ref.items():
        word = last_word(events)
        news = events[0].refund
        if word is None or news is None or isinstance(word.outcome, Refused | Canceled):
            continue  # no money moved
        elsewhere = Elsewhere(gateway_ref=ref, amount=news.amount, at=word.at)
        draft = reported_refund(account, capture, elsewhere, changes, told.now, told.actor, told.correlation_id)
        record_refund(draft, draft.file.parts[0].id, word.outcome, Known(occurred_at=word.at))
        account = counting(account, draft)


async def take_early_news(connection: asyncpg.Connection, account: PaymentAccount, told: EarlyNews) -> Changes:
    """Bring a charge that was just stored to where its gateway says it stands, and return what is to be written.

    What contradicts the report is put before a person. Nothing is decided anew: nobody can have asked for a refund yet.
    """
    locked = LockedRefunds(connection, told.now, {}, {account.payment.id: account})
    about, capture = _about(locked, account, told), account.captures[0]
    for event in told.events:
        if event.refund is not None and not _fits(account, event):
            name = f"{capture.gateway} refund {event.refund.refund_ref}"
            await about.ask_amount(f"{name}: {event.refund.amount} of {capture.amount}")
        elif event.capture is not None:
            capture = await take_standing(about, capture, event.capture, event.occurred_at) or capture
    for event in {each.dispute.dispute_ref: each for each in told.events if each.dispute is not None}.values():
        await _take_dispute(locked, account, told, event)
    accounts = await load_accounts(connection, [account.payment.id])
    counted = LockedRefunds(connection, told.now, {}, accounts, locked.changes)
    await _about(counted, account, told).ask_if_over(capture.id)
    return locked.changes


async def _take_dispute(locked: LockedRefunds, account: PaymentAccount, told: EarlyNews, event: GatewayEvent) -> None:
    capture, news = account.captures[0], event.dispute
    assert news is not None  # the caller looks at disputes alone
    facts = DisputeFacts(
        merchant_id=account.payment.merchant_id,
        gateway=capture.gateway,
        capture=KnownCapture(account.payment.id, capture.id),
        news=news,
        actor=told.actor,
        correlation_id=told.correlation_id,
        occurred_at=event.occurred_at,
    )
    await apply_dispute(locked, facts)


def _about(locked: LockedRefunds, account: PaymentAccount, told: EarlyNews) -> PaymentDraft:
    return PaymentDraft(locked, account.payment.id, told.actor, told.correlation_id)


def _fits(account: PaymentAccount, event: GatewayEvent) -> bool:
    """Whether a refund that was told can be one of this charge."""
    news = event.refund
    assert news is not None  # callers look at refunds alone
    return news.amount.currency == account.payment.currency and news.amount.amount_minor > 0
