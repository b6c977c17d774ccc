"""Where a merchant's events are sent: made, changed, switched off and on, given another secret, deleted."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import Event, EventKind, TaskKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.webhook import ENDPOINT, EndpointEvent, EndpointState, WebhookEndpoint
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.operate import By, NotAllowedNow, NotFound
from recoup_core.flows.webhooks_out.sending import WEBHOOK
from recoup_core.flows.webhooks_out.switching import close_tasks, disabled, task_reason, told
from recoup_core.settings_reader import near
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import Changes
from recoup_core.storage.settlement_exceptions import waiting_tasks
from recoup_core.storage.webhooks import add_endpoint, count_endpoints, lock_endpoint, wake_endpoints, write_endpoint
from recoup_core.web.urls import read_url

ENDPOINTS_MAX: Final = 50
"""Endpoints of one merchant; each event may be sent to all of them."""
KINDS_MAX: Final = 100
MAX_DESCRIPTION: Final = 200
MAX_BECAUSE: Final = 400

ROLL_HOURS: Final = 24
"""How long the secret before signs beside a new one, where nothing else is said."""
ROLL_HOURS_MAX: Final = 168

KINDS: Final = tuple(str(kind) for kind in EventKind)
GROUPS: Final = tuple(dict.fromkeys(f"{kind.partition('.')[0]}.*" for kind in KINDS))

Act = Callable[[WebhookEndpoint, datetime, Changes], WebhookEndpoint]


class EndpointInvalid(DomainError):
    """What was said about a webhook endpoint can't be kept."""

    code = "endpoint_invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class TooManyEndpoints(DomainError):
    """The merchant has as many webhook endpoints as it may have."""

    code = "too_many_endpoints"

    def __init__(self) -> None:
        super().__init__(f"a merchant has at most {ENDPOINTS_MAX} webhook endpoints; delete one that is not needed")


class EndpointEdit(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be different about an endpoint."""

    url: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    kinds: Sequence[str] | UnsetType = UNSET
    ordered: bool | UnsetType = UNSET


async def create_endpoint(context: Context, by: By, wanted: EndpointEdit) -> WebhookEndpoint:
    """Write down a new endpoint; it hears of what happens from now on. The same call again returns the first one.

    Raises `UrlRefused`, `EndpointInvalid`, `TooManyEndpoints`, `CardNumberRefused`.
    """
    now = context.clock.now()
    if wanted.url is UNSET:
        raise EndpointInvalid("url", "is missing")
    blank = WebhookEndpoint(id=new_id(), merchant_id=by.merchant_id, url=wanted.url, created_at=now, changed_at=now)
    endpoint = _edited(context, blank, wanted)
    changes = Changes()
    async with context.database.transaction() as connection:
        answered = None if by.call is None else await recall(connection, by.merchant_id, by.call)
        if answered is not None:
            return msgspec.json.decode(answered, type=WebhookEndpoint)
        if await count_endpoints(connection, by.merchant_id) >= ENDPOINTS_MAX:
            raise TooManyEndpoints
        await add_endpoint(connection, endpoint)
        changes.add(_event(endpoint, EventKind.WEBHOOK_ENDPOINT_CREATED, by, now))
        if by.call is not None:
            changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(endpoint), now, 201))
        await changes.write(connection)
    count_events(context, changes)
    return endpoint


async def change_endpoint(context: Context, endpoint_id: UUID, by: By, edit: EndpointEdit) -> WebhookEndpoint:
    """Change what is given; what waits goes to the new address. Raises as `create_endpoint` does, and `NotFound`."""

    def act(endpoint: WebhookEndpoint, now: datetime, changes: Changes) -> WebhookEndpoint:
        after = _edited(context, endpoint, edit)
        fields = [name for name in EndpointEdit.__struct_fields__ if getattr(after, name) != getattr(endpoint, name)]
        if not fields:
            return endpoint
        if "url" in fields:  # what the old address did says nothing about the new one
            after = msgspec.structs.replace(after, failing_since=None, paused_until=None)
        changes.add(_event(after, EventKind.WEBHOOK_ENDPOINT_CHANGED, by, now, fields=fields))
        return msgspec.structs.replace(after, changed_at=now)

    return await _change(context, endpoint_id, by, act)


async def disable_endpoint(context: Context, endpoint_id: UUID, by: By, because: str) -> WebhookEndpoint:
    """Send nothing more there: what waits is dropped, and what happens meanwhile is not kept for it.

    Raises `NotFound`, `IllegalTransition` where it is off already, `EndpointInvalid`, `CardNumberRefused`.
    """
    refuse_card_numbers(because, "because")
    if not because.strip() or len(because) > MAX_BECAUSE:
        raise EndpointInvalid("because", f"must be 1 to {MAX_BECAUSE} characters")

    def act(endpoint: WebhookEndpoint, now: datetime, changes: Changes) -> WebhookEndpoint:
        after = disabled(endpoint, because, now)
        changes.add(_event(after, EventKind.WEBHOOK_ENDPOINT_DISABLED, by, now, because=because))
        return after

    return await _change(context, endpoint_id, by, act)


async def enable_endpoint(context: Context, endpoint_id: UUID, by: By) -> WebhookEndpoint:
    """Send there again what happens from now on; `replay` sends what it missed.

    Raises `NotFound`, `IllegalTransition` where it is on already.
    """

    def act(endpoint: WebhookEndpoint, now: datetime, changes: Changes) -> WebhookEndpoint:
        state = ENDPOINT.after(endpoint.state, EndpointEvent.ENABLE)
        after = msgspec.structs.replace(
            endpoint, state=state, disabled_because=None, failing_since=None, paused_until=None, changed_at=now
        )
        changes.add(_event(after, EventKind.WEBHOOK_ENDPOINT_ENABLED, by, now))
        return after

    return await _change(context, endpoint_id, by, act, looked_after="the endpoint was switched on again")


async def delete_endpoint(context: Context, endpoint_id: UUID, by: By) -> WebhookEndpoint:
    """Forget an endpoint; its log stays for as long as logs do. Raises `NotFound`."""

    def act(endpoint: WebhookEndpoint, now: datetime, changes: Changes) -> WebhookEndpoint:
        state = ENDPOINT.after(endpoint.state, EndpointEvent.DELETE)
        changes.add(_event(endpoint, EventKind.WEBHOOK_ENDPOINT_DELETED, by, now))
        return msgspec.structs.replace(endpoint, state=state, disabled_because=None, changed_at=now)

    return await _change(context, endpoint_id, by, act, looked_after="the endpoint was deleted")


async def roll_secret(context: Context, endpoint_id: UUID, by: By, hours: int = ROLL_HOURS) -> WebhookEndpoint:
    """Give an endpoint another secret; the one before signs beside it for so many hours, any older one no more.

    Raises `NotFound`, `EndpointInvalid`.
    """
    if not 0 <= hours <= ROLL_HOURS_MAX:
        raise EndpointInvalid("hours", f"must be 0 to {ROLL_HOURS_MAX}")

    def act(endpoint: WebhookEndpoint, now: datetime, changes: Changes) -> WebhookEndpoint:
        until = now + timedelta(hours=hours)
        changes.add(_event(endpoint, EventKind.WEBHOOK_ENDPOINT_SECRET_ROLLED, by, now, old_until=until.isoformat()))
        return msgspec.structs.replace(
            endpoint, generation=endpoint.generation + 1, old_secret_until=until, changed_at=now
        )

    return await _change(context, endpoint_id, by, act)


async def _change(
    context: Context, endpoint_id: UUID, by: By, act: Act, looked_after: str | None = None
) -> WebhookEndpoint:
    now = context.clock.now()
    changes = Changes()
    async with context.database.transaction() as connection:
        answered = None if by.call is None else await recall(connection, by.merchant_id, by.call)
        if answered is not None:
            return msgspec.json.decode(answered, type=WebhookEndpoint)
        endpoint = await lock_endpoint(connection, endpoint_id, by.merchant_id)
        if endpoint is None:
            raise NotFound("webhook endpoint", endpoint_id)
        after = act(endpoint, now, changes)
        await write_endpoint(connection, after)
        if looked_after is not None:
            kind, reason = TaskKind.WEBHOOK_ENDPOINT_DISABLED, task_reason(endpoint)
            tasks = await waiting_tasks(connection, endpoint.merchant_id, kind, reason)
            close_tasks(changes, tasks, looked_after, by.actor, now)
        await wake_endpoints(connection, WEBHOOK, [endpoint.id], now)
        if by.call is not None:
            changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(after), now))
        await changes.write(connection)
    count_events(context, changes)
    return after


def _edited(context: Context, endpoint: WebhookEndpoint, edit: EndpointEdit) -> WebhookEndpoint:
    fields = {name: value for name in edit.__struct_fields__ if (value := getattr(edit, name)) is not UNSET}
    refuse_card_numbers({name: fields[name] for name in ("url", "description") if name in fields})
    if "url" in fields:
        read_url(fields["url"], context.webhooks.reach)
    if len(fields.get("description", "")) > MAX_DESCRIPTION:
        raise EndpointInvalid("description", f"must be at most {MAX_DESCRIPTION} characters")
    if "kinds" in fields:
        fields["kinds"] = _kinds(fields["kinds"])
    return msgspec.structs.replace(endpoint, **fields)


def _kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    if len(kinds) > KINDS_MAX:
        raise EndpointInvalid("kinds", f"must be at most {KINDS_MAX}; leave them out for all")
    for kind in kinds:
        if kind not in KINDS and kind not in GROUPS:
            hint = near(kind, [*KINDS, *GROUPS])
            refuse_card_numbers(kind, "kinds")
            raise EndpointInvalid("kinds", f"no event is of the kind {kind[:80]!r}" + (f"; {hint}?" if hint else ""))
    return tuple(dict.fromkeys(kinds))


def _event(endpoint: WebhookEndpoint, kind: EventKind, by: By, now: datetime, **data: object) -> Event:
    return told(endpoint, kind, by.actor, now, by.correlation_id, **data)


def enabled_or_refused(endpoint: WebhookEndpoint) -> None:
    """Raise `NotAllowedNow` where an endpoint is off."""
    if endpoint.state is not EndpointState.ENABLED:
        raise NotAllowedNow("the endpoint is switched off; enable it first")
