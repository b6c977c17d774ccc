"""What gateways tell us: verified on the raw body, stored first, applied later, in any order and number."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal

import asyncpg
import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.ids import new_id
from recoup_core.flows.context import Context
from recoup_core.flows.credentials.news import take_credential_news
from recoup_core.flows.dead_letters import keep_failure
from recoup_core.flows.draft import INBOUND
from recoup_core.flows.inbound_charges import apply_to_charge
from recoup_core.flows.inbound_closing import EARLY_WAIT, close, look_again
from recoup_core.flows.inbound_reading import ReadEvent
from recoup_core.flows.refunds.news import Inbound, Taken, take_capture_news, take_dispute_news, take_refund_news
from recoup_core.flows.settlement.wanting import want_report
from recoup_core.ports import GatewayEvent, SettlementNews
from recoup_core.storage.changes import Changes, JobRef, NewJob
from recoup_core.storage.engine import DatabaseUnavailable
from recoup_core.storage.lookups import (
    InboundEvent,
    close_inbound,
    open_inbound,
    store_inbound,
)

AGAIN_PART: Final = 4
"""An event that can't be told yet what it is about waits for a quarter of its age, each time."""

NO_SUCH_CHARGE: Final = "it concerns no charge we know; if the payment is reported later, it is found then"

STORE_TIMEOUT_S: Final = 5.0
"""A webhook that can't be stored within it is not taken: the gateway still waits, and sends it again."""

NOT_FETCHED: Final = "its report can't be fetched from this gateway; upload it"

Take = Callable[[Context, Inbound, Any], Awaitable[Taken]]


async def take_settlement_news(context: Context, inbound: Inbound, news: SettlementNews) -> Taken:
    """Have the report that an event announces fetched, where its gateway can do so."""
    gateway = context.gateways.get(inbound.gateway)
    if gateway is None or not gateway.capabilities.fetches_settlements:
        await close(context, inbound.ref, "ignored", NOT_FETCHED)
        return Taken.CLOSED
    now, changes = context.clock.now(), Changes()
    async with context.database.transaction() as connection:
        want_report(changes, inbound.gateway, news.report_ref, now, inbound.ref.correlation_id)
        changes.finish(inbound.ref)
        await close_inbound(connection, inbound.stored.id, "applied", None, now)
        await changes.write(connection)
    return Taken.CLOSED


TAKEN_BY: Final[tuple[tuple[str, Take], ...]] = (
    ("refund", take_refund_news),
    ("dispute", take_dispute_news),
    ("capture", take_capture_news),
    ("credential", take_credential_news),
    ("settlement", take_settlement_news),
)
"""Which flow takes in which part of an event. An event says one thing; where several are set the first counts, and one
that has none of them is about a charge."""


class NoSuchGateway(DomainError):
    """A webhook came in for a gateway that is not configured."""

    code = "no_such_gateway"

    def __init__(self, name: str) -> None:
        super().__init__(f"no gateway is named {name!r}")
        self.name = name


class WebhookNotStored(DomainError):
    """The database is too slow: nothing was promised, and the gateway should send the webhook again."""

    code = "webhook_not_stored"

    def __init__(self) -> None:
        super().__init__("the webhook could not be stored in time; send it again")


class UnknownOwner(Exception):
    """Nobody can say whose event it is: its gateway is no longer configured, and no merchant was written down."""


async def receive_webhook(
    context: Context, gateway_name: str, headers: Mapping[str, str], body: bytes, correlation_id: str | None
) -> int:
    """Verify and store a webhook's events, all or none, with the jobs that apply them; return how many were new.

    Raises `NoSuchGateway`, `WebhookRefused`, and, where it should be sent again, `WebhookUnread`, `WebhookNotStored`
    and `DatabaseUnavailable`. Once this returns nothing can be lost: the gateway may be answered.
    """
    gateway = context.gateways.get(gateway_name)
    if gateway is None:
        raise NoSuchGateway(gateway_name)
    events = await context.readers.parse(gateway, headers, body)
    try:
        async with asyncio.timeout(STORE_TIMEOUT_S), context.database.transaction() as connection:
            return await store_events(context, connection, gateway_name, events, "webhook", correlation_id)
    except TimeoutError:
        raise WebhookNotStored from None


async def store_events(
    context: Context,
    connection: asyncpg.Connection,
    gateway: str,
    events: Sequence[ReadEvent],
    via: Literal["webhook", "catch_up"],
    correlation_id: str | None,
) -> int:
    """Store events in the caller's transaction, each with its job; return how many were not known before."""
    now = context.clock.now()
    rows = [
        InboundEvent(
            id=new_id(),
            merchant_id=context.gateway_merchants.get(gateway),
            gateway=gateway,
            external_id=each.event.external_id,
            kind=each.event.kind,
            body=msgspec.Raw(each.body),
            via=via,
            received_at=now,
        )
        for each in events
    ]
    fresh = await store_inbound(connection, rows) if rows else []
    changes = Changes()
    changes.add(*(NewJob(kind=INBOUND, subject_id=each, due_at=now, correlation_id=correlation_id) for each in fresh))
    await changes.write(connection)
    return len(fresh)


async def run_inbound(context: Context, refs: Sequence[JobRef]) -> None:
    """Apply stored events, each in its own right; what can't be applied is tried again, and given up in time."""
    for ref in refs:
        try:
            await _apply(context, ref)
        except DatabaseUnavailable:
            raise  # no fault of the event's: its lease ends, and so do those of the others
        except Exception as failure:
            await keep_failure(context, ref, failure)


async def _apply(context: Context, ref: JobRef) -> None:
    async with context.database.connection() as connection:
        inbound = await open_inbound(connection, [ref.subject_id])
    if not inbound:
        await close(context, ref, "applied", None)
        return
    stored = inbound[0]
    event = msgspec.json.decode(stored.body, type=GatewayEvent)
    # a gateway may have left the settings: its merchant's payments are still there, and so is what it told of them
    merchant = stored.merchant_id or context.gateway_merchants.get(stored.gateway)
    if merchant is None:
        raise UnknownOwner(f"the gateway {stored.gateway} is not configured, and whose it was is not known")
    for part, take in TAKEN_BY:
        news = getattr(event, part)
        if news is not None:
            await _after(context, (told := Inbound(ref, stored, event, merchant)), await take(context, told, news))
            return
    await apply_to_charge(context, ref, stored, event, merchant)


async def _after(context: Context, inbound: Inbound, taken: Taken) -> None:
    """Look at an event once more that came too early, and ignore what is not about anything we know."""
    stored, now = inbound.stored, context.clock.now()
    if taken is Taken.LATER:
        again = now + max(EARLY_WAIT, (now - stored.received_at) / AGAIN_PART)
        await look_again(context, inbound.ref, stored, again)
    elif taken is Taken.NOT_OURS and now < stored.received_at + EARLY_WAIT:
        await look_again(context, inbound.ref, stored, stored.received_at + EARLY_WAIT)
    elif taken is Taken.NOT_OURS:
        await close(context, inbound.ref, "ignored", NO_SUCH_CHARGE)
