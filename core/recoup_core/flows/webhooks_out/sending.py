"""The one job of an endpoint: it sends what waits, in waves, until nothing is due or its time is over.

Each wave is read, sent outside any transaction, and recorded in one. Whoever dies in between has the same messages sent
again, with the same ids. No more than one worker is ever at one endpoint, and never for long.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
import structlog

from recoup_core.domain.ids import new_id
from recoup_core.domain.webhook import EndpointState, WebhookEndpoint, WebhookTry
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.webhooks_out import judging
from recoup_core.flows.webhooks_out.messages import body_of, headers_for
from recoup_core.flows.webhooks_out.switching import switch_off
from recoup_core.storage.changes import Changes, JobRef
from recoup_core.storage.webhook_deliveries import (
    Outgoing,
    drop_deliveries,
    due_deliveries,
    failed_tries,
    hurry_deliveries,
    next_due,
    write_tries,
)
from recoup_core.storage.webhooks import lock_endpoint, lock_job, read_endpoint, rest_job, write_endpoint
from recoup_core.web.calling import Answer

WEBHOOK: Final = "webhook"
"""Job kind: send what waits for an endpoint. Subject: the endpoint."""

WAVE: Final = 20
"""Messages on their way to one endpoint at once; one, where order counts or nothing gets through."""

RUN_S: Final = 20.0
"""A run that has taken so long begins no further wave: with the slowest call it ends well before its lease (45 s)."""

WAVES: Final = 10_000
"""Waves of one run, whatever the clock says."""

DROP_PAGE: Final = 2_000
"""Deliveries that one transaction drops."""

log = structlog.get_logger(__name__)


async def run_webhooks(context: Context, refs: Sequence[JobRef]) -> None:
    """Send what waits for each of these endpoints; none waits for another."""
    ended = await asyncio.gather(*(_run(context, ref) for ref in refs), return_exceptions=True)
    for ref, failure in zip(refs, ended, strict=True):
        if isinstance(failure, Exception):  # the job comes back when its lease ends
            log.error("webhooks_not_sent", endpoint_id=str(ref.subject_id), error=repr(failure))


async def _run(context: Context, ref: JobRef) -> None:
    began = time.monotonic()
    for _ in range(WAVES):
        now = context.clock.now()
        async with context.database.connection() as connection:
            endpoint = await read_endpoint(connection, ref.subject_id)
            sends = endpoint is not None and endpoint.state is EndpointState.ENABLED and not _paused(endpoint, now)
            wave = await due_deliveries(connection, endpoint, now, _size(endpoint)) if endpoint and sends else []
        over = time.monotonic() - began >= RUN_S
        if endpoint is None or not wave or over:
            if await _rest(context, ref):
                return
            continue
        answers = await asyncio.gather(*(_send(context, endpoint, each, now) for each in wave))
        if not await _record(context, ref, wave, answers):
            return
    await _rest(context, ref)


def _paused(endpoint: WebhookEndpoint, now: datetime) -> bool:
    return endpoint.paused_until is not None and endpoint.paused_until > now


def _size(endpoint: WebhookEndpoint) -> int:
    return 1 if endpoint.ordered or endpoint.failing_since is not None else WAVE


async def _send(context: Context, endpoint: WebhookEndpoint, outgoing: Outgoing, now: datetime) -> Answer:
    body = body_of(outgoing.event)
    headers = headers_for(endpoint, context.messaging.keys, outgoing.delivery.message_id, body, now)
    return await context.webhooks.post(endpoint.url, headers, body)


async def _rest(context: Context, ref: JobRef) -> bool:
    """Give the job back until something is due, or end it; False where an endpoint that is off has more to drop."""
    now = context.clock.now()
    async with context.database.transaction() as connection:
        endpoint = await lock_endpoint(connection, ref.subject_id) or await read_endpoint(connection, ref.subject_id)
        if not await lock_job(connection, ref):
            return True  # it is somebody else's by now
        if endpoint is not None and endpoint.state is not EndpointState.ENABLED:
            because = f"the endpoint was {endpoint.state}"
            if await drop_deliveries(connection, endpoint.id, now, because, DROP_PAGE) == DROP_PAGE:
                return False
        due = None if endpoint is None else await next_due(connection, endpoint)
        if due is not None and endpoint is not None and endpoint.paused_until is not None:
            due = max(due, endpoint.paused_until)
        await rest_job(connection, ref, due)
    return True


async def _record(context: Context, ref: JobRef, wave: Sequence[Outgoing], answers: list[Answer]) -> bool:
    """Write down what came of a wave; False where the job is somebody else's by now, who sends the same again."""
    now = context.clock.now()
    changes = Changes()
    async with context.database.transaction() as connection:
        endpoint = await lock_endpoint(connection, ref.subject_id) or await read_endpoint(connection, ref.subject_id)
        if endpoint is None or not await lock_job(connection, ref):
            return False
        deliveries = [
            judging.after_try(each.delivery, answer, now, ordered=endpoint.ordered)
            for each, answer in zip(wave, answers, strict=True)
        ]
        tries = [_try(each, answer, now) for each, answer in zip(wave, answers, strict=True)]
        await write_tries(connection, deliveries, tries)
        if endpoint.state is EndpointState.ENABLED:
            after = judging.after_wave(endpoint, answers, now)
            because = await _why_to_switch_off(connection, after, answers, now, max(each.tries for each in deliveries))
            if because is not None:
                after = switch_off(changes, after, because, now)
            elif judging.came_back(endpoint, after, now):
                await hurry_deliveries(connection, endpoint.id, now)
            if after != endpoint:
                await write_endpoint(connection, after)
        await changes.write(connection)
    count_events(context, changes)
    return True


async def _why_to_switch_off(
    connection: asyncpg.Connection, endpoint: WebhookEndpoint, answers: list[Answer], now: datetime, tries: int
) -> str | None:
    """Return why nothing is to be sent there any more; None where there is hope."""
    if judging.gone(answers):
        return "it answered 410 Gone"
    since = endpoint.failing_since
    if since is None or not judging.hopeless(since, now, tries):
        return None
    if await failed_tries(connection, endpoint.id, since, judging.DISABLE_TRIES) < judging.DISABLE_TRIES:
        return None
    return f"nothing has reached it since {since.isoformat(timespec='minutes')}"


def _try(outgoing: Outgoing, answer: Answer, now: datetime) -> WebhookTry:
    return WebhookTry(
        id=new_id(),
        merchant_id=outgoing.delivery.merchant_id,
        endpoint_id=outgoing.delivery.endpoint_id,
        delivery_id=outgoing.delivery.id,
        at=now,
        ms=answer.ms,
        status=answer.status,
        error=answer.error,
        response=answer.response,
    )
