"""Endpoints are switched off and on: told as events, and where no person did it, put before one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from recoup_core.domain.happened import Event, EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.webhook import ENDPOINT, EndpointEvent, WebhookEndpoint
from recoup_core.flows.draft import SYSTEM
from recoup_core.flows.planning import TASK_AGE
from recoup_core.storage.changes import Changes


def told(
    endpoint: WebhookEndpoint, kind: EventKind, actor: str, now: datetime, correlation_id: str | None, **data: Any
) -> Event:
    """Return the event about an endpoint. Of its URL only the host is told: the rest may hold a secret."""
    return Event(
        at=now,
        merchant_id=endpoint.merchant_id,
        kind=kind,
        actor=actor,
        correlation_id=correlation_id,
        data={"endpoint_id": str(endpoint.id), "host": urlsplit(endpoint.url).hostname or "", **data},
    )


def disabled(endpoint: WebhookEndpoint, because: str, now: datetime) -> WebhookEndpoint:
    """Return the endpoint switched off."""
    state = ENDPOINT.after(endpoint.state, EndpointEvent.DISABLE)
    return msgspec.structs.replace(
        endpoint, state=state, disabled_because=because, disabled_at=now, paused_until=None, changed_at=now
    )


def switch_off(changes: Changes, endpoint: WebhookEndpoint, because: str, now: datetime) -> WebhookEndpoint:
    """Switch an endpoint off because of what came back from it, and ask a person."""
    after = disabled(endpoint, because, now)
    task = HumanTask(
        id=new_id(),
        merchant_id=endpoint.merchant_id,
        kind=TaskKind.WEBHOOK_ENDPOINT_DISABLED,
        reason=task_reason(endpoint),
        opened_at=now,
        due_at=now + TASK_AGE,
    )
    changes.add(told(after, EventKind.WEBHOOK_ENDPOINT_DISABLED, SYSTEM, now, None, because=because))
    changes.add(task, task_opened(task, SYSTEM, None))
    return after


def task_reason(endpoint: WebhookEndpoint) -> str:
    """Return the one wording of the task about an endpoint, by which it is found again."""
    return f"the webhook endpoint {endpoint.id} was switched off: `recoup webhook show {endpoint.id}` says why"


def close_tasks(changes: Changes, tasks: Sequence[HumanTask], resolution: str, actor: str, now: datetime) -> None:
    """Take the tasks about an endpoint out of the queue: somebody looked after it."""
    for task in tasks:
        changes.update(msgspec.structs.replace(task, resolved_at=now, resolved_by=actor, resolution=resolution))
        changes.add(
            Event(
                at=now,
                merchant_id=task.merchant_id,
                kind=EventKind.TASK_RESOLVED,
                actor=actor,
                data={"task": str(task.kind), "task_id": str(task.id)},
            )
        )
