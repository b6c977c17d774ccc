"""What gateways' events say about refunds, charges and disputes: any number of times, in any order, one final state.

An event was stored before it comes here. Whatever it says is taken together with all that was told about the same
refund or dispute, so that the last thing to have happened counts and not the last to have arrived.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import asyncpg
import msgspec

from recoup_core.domain.capture import Capture, CaptureEvent, CaptureState
from recoup_core.domain.dispute import Dispute
from recoup_core.domain.happened import TaskKind
from recoup_core.domain.refund import RefundPart
from recoup_core.flows.context import Context, Locked
from recoup_core.flows.refunds.about_payment import PaymentDraft
from recoup_core.flows.refunds.charges import ends, take_standing
from recoup_core.flows.refunds.disputed import DisputeFacts, charge_refs, store_dispute
from recoup_core.flows.refunds.draft import LockedRefunds, locked_refunds
from recoup_core.flows.refunds.elsewhere import count_elsewhere
from recoup_core.flows.refunds.lastword import last_word
from recoup_core.flows.refunds.outcomes import Outcome, record_refund
from recoup_core.flows.refunds.recorder import balance_waits, count_outcome, known_of, needs_waits
from recoup_core.flows.refunds.reported import Elsewhere
from recoup_core.flows.returned import ReturnedCharge, return_charge
from recoup_core.ports import Canceled, CaptureNews, DisputeNews, GatewayEvent, Refunded, RefundNews, Refused
from recoup_core.storage.changes import JobRef
from recoup_core.storage.lookups import (
    InboundEvent,
    KnownCapture,
    OwnPart,
    answerless_part,
    capture_of_charge,
    charge_is_live,
    close_inbound,
    part_of_refund,
    told_of_refund,
    voids_under_way,
)
from recoup_core.storage.refunds import refunds_of_parts

NOTHING_NEW: Final = "it says nothing new"

OWN_PERHAPS: Final = timedelta(days=1)
"""How long an event about an unknown refund waits while a part of ours, just as large, has lost its answer: it may be
that one. Past that it counts as made elsewhere, and so does the part: too little is paid rather than too much."""


class Taken(StrEnum):
    """What became of an event."""

    CLOSED = "closed"
    LATER = "later"
    """It can't be told yet what it is about."""
    NOT_OURS = "not_ours"
    """It is about a charge that nobody has reported."""


class Inbound(msgspec.Struct, frozen=True):
    """One stored event on its way."""

    ref: JobRef
    stored: InboundEvent
    event: GatewayEvent
    merchant: str

    @property
    def gateway(self) -> str:
        """The gateway that sent it."""
        return self.stored.gateway

    @property
    def actor(self) -> str:
        """Who says so."""
        return f"gateway:{self.stored.gateway}"

    async def close(self, locked: LockedRefunds | Locked, changed: bool, note: str = NOTHING_NEW) -> None:
        """Close it in the transaction that took it in."""
        state = "applied" if changed else "ignored"
        await close_inbound(locked.connection, self.stored.id, state, None if changed else note, locked.now)
        locked.changes.finish(self.ref)


async def take_refund_news(context: Context, inbound: Inbound, news: RefundNews) -> Taken:
    """Record what an event says about a refund: a part of ours, or one that somebody else made."""
    async with context.database.connection() as connection:
        own = await _own(connection, inbound, news)
        charge = None if own else await _charge(connection, inbound, news)
    if own is not None:
        return await _take_own(context, inbound, news, own)
    if charge is None:
        return Taken.NOT_OURS
    return await _take_foreign(context, inbound, news, charge)


async def take_dispute_news(context: Context, inbound: Inbound, news: DisputeNews) -> Taken:
    """Record what an event says about a dispute."""
    async with context.database.connection() as connection:
        charge = await _charge(connection, inbound, news)
    if charge is None:
        return Taken.NOT_OURS
    facts = DisputeFacts(
        merchant_id=inbound.merchant,
        gateway=inbound.gateway,
        capture=charge,
        news=news,
        actor=inbound.actor,
        correlation_id=inbound.ref.correlation_id,
        occurred_at=inbound.event.occurred_at,
    )

    async def finish(locked: LockedRefunds, dispute: Dispute | None) -> None:
        await inbound.close(locked, dispute is not None, "its amount or charge contradicts what is known")

    await store_dispute(context, facts, finish)
    return Taken.CLOSED


async def take_capture_news(context: Context, inbound: Inbound, news: CaptureNews) -> Taken:
    """Record that an authorised charge was captured, or voided, by whomever, or that a charge came back."""
    if news.standing is CaptureState.RETURNED:
        return await _take_return(context, inbound, news)
    async with context.database.connection() as connection:
        charge = await _charge(connection, inbound, news)
        voiding = await voids_under_way(connection, charge.capture_id) if charge else []
    if charge is None:
        return Taken.NOT_OURS
    async with locked_refunds(context, [own.refund_id for own in voiding], more_payments=[charge.payment_id]) as locked:
        capture = locked.accounts[charge.payment_id].capture(charge.capture_id)
        changed = capture is not None and await _apply_to_charge(locked, inbound, news, capture, voiding)
        await inbound.close(locked, changed)
    return Taken.CLOSED


async def _take_return(context: Context, inbound: Inbound, news: CaptureNews) -> Taken:
    """A charge came back; one whose success has not been told yet waits for it."""
    async with context.database.connection() as connection:
        charge = await _charge(connection, inbound, news)
        live = await charge_is_live(connection, inbound.merchant, inbound.gateway, charge_refs(news))
    if live and (charge is None or charge.state is not CaptureState.CAPTURED):
        return Taken.LATER
    if charge is None:
        return Taken.NOT_OURS
    told = ReturnedCharge(
        charge=charge,
        decline=news.decline,
        occurred_at=inbound.event.occurred_at,
        actor=inbound.actor,
        correlation_id=inbound.ref.correlation_id,
    )

    async def finish(locked: Locked, changed: bool) -> None:
        await inbound.close(locked, changed)

    await return_charge(context, told, finish)
    return Taken.CLOSED


async def _own(connection: asyncpg.Connection, inbound: Inbound, news: RefundNews) -> OwnPart | None:
    return await part_of_refund(connection, inbound.merchant, inbound.gateway, news.part_id, news.refund_ref)


async def _charge(
    connection: asyncpg.Connection, inbound: Inbound, news: RefundNews | DisputeNews | CaptureNews
) -> KnownCapture | None:
    refs = charge_refs(news)
    return await capture_of_charge(connection, inbound.merchant, inbound.gateway, refs) if refs else None


async def _take_own(context: Context, inbound: Inbound, news: RefundNews, own: OwnPart) -> Taken:
    waits = await balance_waits(context, {own.refund_id}) if needs_waits(news.outcome) else {}
    async with locked_refunds(context, [own.refund_id]) as locked:
        draft = locked.draft(own.refund_id, inbound.actor, inbound.ref.correlation_id)
        part = draft.file.part(own.part_id) if draft else None
        changed = draft is not None and part is not None
        if draft is not None and part is not None:
            outcome, at = await _said_of(locked, inbound, news, part)
            known = msgspec.structs.replace(await known_of(locked.connection, draft, part, waits), occurred_at=at)
            changed = outcome is not None and record_refund(draft, part.id, outcome, known)
            if changed and outcome is not None:
                count_outcome(context, draft, part.id, outcome)
        await inbound.close(locked, changed)
    return Taken.CLOSED


async def _said_of(
    locked: LockedRefunds, inbound: Inbound, news: RefundNews, part: RefundPart
) -> tuple[Outcome | None, datetime]:
    """Return what all events about the part come to; one with another amount is never booked by guessing."""
    if news.amount != part.amount:
        return Refunded(gateway_ref=news.refund_ref, amount=news.amount), inbound.event.occurred_at
    told = await told_of_refund(locked.connection, inbound.gateway, news.refund_ref)
    word = last_word([event for event in told if event.refund and event.refund.amount == part.amount], part)
    return (None, inbound.event.occurred_at) if word is None else (word.outcome, word.at)


async def _take_foreign(context: Context, inbound: Inbound, news: RefundNews, charge: KnownCapture) -> Taken:
    async with locked_refunds(context, [], more_payments=[charge.payment_id]) as locked:
        own = await _own(locked.connection, inbound, news)
        if own is None:
            if await _may_be_ours(locked, inbound, news, charge):
                return Taken.LATER
            await _count(context, locked, inbound, news, charge)
            return Taken.CLOSED
    return await _take_own(context, inbound, news, own)  # its answer was recorded while we waited for the lock


async def _may_be_ours(locked: LockedRefunds, inbound: Inbound, news: RefundNews, charge: KnownCapture) -> bool:
    """Whether the refund may be a part of ours whose answer is still on its way, or lost."""
    if locked.now >= inbound.stored.received_at + OWN_PERHAPS:
        return False
    return await answerless_part(locked.connection, charge.capture_id, news.amount.amount_minor)


async def _count(
    context: Context, locked: LockedRefunds, inbound: Inbound, news: RefundNews, charge: KnownCapture
) -> None:
    """Write down what somebody else did; a refund that came to nothing needs no row."""
    account = locked.accounts[charge.payment_id]
    capture = account.capture(charge.capture_id)
    assert capture is not None  # captures are never deleted
    word = last_word(await told_of_refund(locked.connection, inbound.gateway, news.refund_ref))
    if word is None or isinstance(word.outcome, Refused | Canceled):
        await inbound.close(locked, changed=False, note="nothing went back")
        return
    if news.amount.currency != capture.currency or news.amount.amount_minor <= 0:
        about = PaymentDraft(locked, charge.payment_id, inbound.actor, inbound.ref.correlation_id)
        await about.ask_amount(f"{inbound.gateway} refund {news.refund_ref}: {news.amount} of {capture.amount}")
        await inbound.close(locked, changed=False, note="its amount contradicts the charge")
        return
    draft = count_elsewhere(
        locked.changes,
        account,
        capture,
        Elsewhere(gateway_ref=news.refund_ref, amount=news.amount, at=word.at),
        word.outcome,
        now=locked.now,
        actor=inbound.actor,
        correlation_id=inbound.ref.correlation_id,
    )
    if news.part_id is not None and await refunds_of_parts(locked.connection, [news.part_id]):
        reason = (
            f"{inbound.gateway} made the refund {news.refund_ref} of a part that went back under another name already"
        )
        draft.ask_human(TaskKind.OVER_REFUNDED, reason)
    count_outcome(context, draft, draft.file.parts[0].id, word.outcome)
    await inbound.close(locked, changed=True)


async def _apply_to_charge(
    locked: LockedRefunds, inbound: Inbound, news: CaptureNews, capture: Capture, voiding: list[OwnPart]
) -> bool:
    about = PaymentDraft(locked, capture.payment_id, inbound.actor, inbound.ref.correlation_id)
    voided = ends(capture, news) is CaptureEvent.VOID
    if voided and any(_voided_by(locked, inbound, news, own) for own in voiding):
        return True
    return await take_standing(about, capture, news, inbound.event.occurred_at) is not None


def _voided_by(locked: LockedRefunds, inbound: Inbound, news: CaptureNews, own: OwnPart) -> bool:
    """A void of ours whose answer is still awaited has done it."""
    draft = locked.draft(own.refund_id, inbound.actor, inbound.ref.correlation_id)
    part = draft.file.part(own.part_id) if draft else None
    if draft is None or part is None:
        return False
    return record_refund(draft, part.id, Refunded(gateway_ref=news.charge_ref, amount=part.amount))
