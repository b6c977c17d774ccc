"""What did not get there is sent again, and what was never sent: one delivery, or all of a time, step by step."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.webhook import DELIVERY, DeliveryEvent, DeliveryState, WebhookDelivery
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.operate import By, NotFound
from recoup_core.flows.webhooks_out.endpoints import EndpointInvalid, enabled_or_refused
from recoup_core.flows.webhooks_out.messages import TEST_KIND, EventBody, WebhookBody, headers_for
from recoup_core.flows.webhooks_out.sending import WEBHOOK
from recoup_core.flows.webhooks_out.switching import told
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import Changes
from recoup_core.storage.webhook_deliveries import last_event_before, lock_delivery, replay_one, replay_since
from recoup_core.storage.webhooks import find_endpoint, lock_endpoint, wake_endpoints
from recoup_core.web.calling import Answer

REPLAY_WITHIN: Final = timedelta(days=30)
"""How far back a replay reaches: for so long it is known what was delivered (`sweeping.DELIVERED_KEPT`)."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are to be sent again."""

    since: datetime
    until: datetime | None = None
    """None: up to now."""
    delivered: bool = False
    """Also what the endpoint said it has."""
    after: int | None = None
    """The event to go on after, as the step before told."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a replay."""

    replayed: int
    """Deliveries that go out."""
    after: int | None
    """Where the next step goes on; None: that was all."""


async def replay(context: Context, endpoint_id: UUID, by: By, span: Span) -> Replayed:
    """Send the events of a time that did not get there, were dropped, or were never sent; one bounded step of it.

    They go out under the ids that they had. The same call again returns its first answer. Raises `NotFound`,
    `NotAllowedNow` where the endpoint is off, `EndpointInvalid` for a time too long ago.
    """
    now = context.clock.now()
    if span.since < now - REPLAY_WITHIN:
        raise EndpointInvalid("since", f"must lie within the last {REPLAY_WITHIN.days} days")
    until = min(span.until or now, now) + timedelta(microseconds=1)
    changes = Changes()
    async with context.database.transaction() as connection:
        answered = None if by.call is None else await recall(connection, by.merchant_id, by.call)
        if answered is not None:
            return msgspec.json.decode(answered, type=Replayed)
        endpoint = await lock_endpoint(connection, endpoint_id, by.merchant_id)
        if endpoint is None:
            raise NotFound("webhook endpoint", endpoint_id)
        enabled_or_refused(endpoint)
        after = await last_event_before(connection, span.since) if span.after is None else span.after
        step = await replay_since(connection, endpoint, after, span.since, until, now, delivered=span.delivered)
        done = Replayed(replayed=step.put, after=step.after)
        if step.put:
            await wake_endpoints(connection, WEBHOOK, [endpoint.id], now)
            since = span.since.isoformat()
            data = {"since": since, "until": until.isoformat(), "count": step.put, "delivered": span.delivered}
            changes.add(told(endpoint, EventKind.WEBHOOK_REPLAYED, by.actor, now, by.correlation_id, **data))
        if by.call is not None:
            changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(done), now))
        await changes.write(connection)
    count_events(context, changes)
    return done


async def replay_delivery(context: Context, endpoint_id: UUID, delivery_id: UUID, by: By) -> WebhookDelivery:
    """Send one delivery again, now, whatever became of it; one that waits is due at once.

    The same call again returns its first answer. Raises `NotFound`, `NotAllowedNow` where the endpoint is off.
    """
    now = context.clock.now()
    changes = Changes()
    async with context.database.transaction() as connection:
        answered = None if by.call is None else await recall(connection, by.merchant_id, by.call)
        if answered is not None:
            return msgspec.json.decode(answered, type=WebhookDelivery)
        endpoint = await lock_endpoint(connection, endpoint_id, by.merchant_id)
        delivery = None if endpoint is None else await lock_delivery(connection, endpoint_id, delivery_id)
        if endpoint is None or delivery is None:
            raise NotFound("webhook delivery", delivery_id)
        enabled_or_refused(endpoint)
        again = _again(delivery, now)
        await replay_one(connection, delivery_id, now)
        await wake_endpoints(connection, WEBHOOK, [endpoint.id], now)
        data = {"delivery_id": str(delivery_id), "event_id": delivery.event_id, "count": 1}
        changes.add(told(endpoint, EventKind.WEBHOOK_REPLAYED, by.actor, now, by.correlation_id, **data))
        if by.call is not None:
            changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(again), now))
        await changes.write(connection)
    count_events(context, changes)
    return again


def _again(delivery: WebhookDelivery, now: datetime) -> WebhookDelivery:
    state = delivery.state
    if state is not DeliveryState.WAITING:
        state = DELIVERY.after(state, DeliveryEvent.REPLAY)
    return msgspec.structs.replace(
        delivery, state=state, tries=0, due_at=now, because=None, finished_at=None, replayed=delivery.replayed + 1
    )


async def try_endpoint(context: Context, endpoint_id: UUID, by: By) -> Answer:
    """Send a message of the kind `webhook.test` now, also to an endpoint that is off; return what came back.

    Nothing is written down. Raises `NotFound`.
    """
    endpoint = await find_endpoint(context.database, by.merchant_id, endpoint_id)
    if endpoint is None:
        raise NotFound("webhook endpoint", endpoint_id)
    now = context.clock.now()
    body = msgspec.json.encode(
        WebhookBody(
            type=TEST_KIND,
            timestamp=now,
            data=EventBody(id=0, merchant_id=by.merchant_id, actor=by.actor, data={"endpoint_id": str(endpoint.id)}),
        )
    )
    headers = headers_for(endpoint, context.messaging.keys, f"msg_test_{new_id().hex}", body, now)
    return await context.webhooks.post(endpoint.url, headers, body)
