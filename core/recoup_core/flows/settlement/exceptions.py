"""Settlement exceptions: opened once, explained by a later report or resolved by a person, with evidence."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import Event, EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.settlement import Problem, SettlementException
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.draft import SYSTEM
from recoup_core.flows.operate import By, NotAllowedNow, NotFound
from recoup_core.flows.planning import TASK_AGE
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.changes import Changes
from recoup_core.storage.settlement_exceptions import exceptions_about, lock_exception, open_exceptions, waiting_tasks

MAX_REASON: Final = 1_000
MAX_EVIDENCE: Final = 1_000
"""Characters in which a person says what was done about an exception."""
MAX_OWNER: Final = 200


Act = Callable[[SettlementException, datetime], SettlementException]


class ExceptionInvalid(DomainError):
    """What was said about a settlement exception can't be kept."""

    code = "exception_invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A thing that does not fit."""

    kind: Problem
    subject: str
    reason: str
    report_id: UUID | None = None
    line_id: UUID | None = None
    payment_id: UUID | None = None
    amount_minor: int | None = None
    currency: str | None = None


class Ledge:
    """The exceptions of one gateway about some subjects, as one transaction finds and changes them."""

    def __init__(
        self,
        merchant_id: str,
        gateway: str,
        owner: str,
        known: Mapping[str, list[SettlementException]],
        now: datetime,
        correlation_id: str | None,
    ) -> None:
        self._merchant_id = merchant_id
        self._gateway = gateway
        self._owner = owner
        self._known = {subject: list(exceptions) for subject, exceptions in known.items()}
        self._now = now
        self._correlation_id = correlation_id
        self.opened: list[SettlementException] = []
        self.closed: list[SettlementException] = []
        self.events: list[Event] = []

    def open(self, found: Found) -> None:
        """Open an exception, unless it waits already or a person has dealt with it."""
        same = [each for each in self._known.get(found.subject, []) if each.kind is found.kind]
        if any(each.resolved_at is None or each.resolved_by != SYSTEM for each in same):
            return
        exception = SettlementException(
            id=new_id(),
            merchant_id=self._merchant_id,
            gateway=self._gateway,
            kind=found.kind,
            subject=found.subject,
            reason=found.reason[:MAX_REASON],
            report_id=found.report_id,
            line_id=found.line_id,
            payment_id=found.payment_id,
            amount_minor=found.amount_minor,
            currency=found.currency,
            owner=self._owner,
            opened_at=self._now,
        )
        self._known.setdefault(found.subject, []).append(exception)
        self.opened.append(exception)
        self.events.append(
            _told(exception, EventKind.SETTLEMENT_EXCEPTION_OPENED, SYSTEM, self._now, self._correlation_id)
        )

    def explain(self, subject: str, because: str, kinds: Collection[Problem] | None = None) -> None:
        """Close what waits about a subject: a report has explained it."""
        for exception in self._known.get(subject, []):
            if exception.resolved_at is not None or (kinds is not None and exception.kind not in kinds):
                continue
            closed = msgspec.structs.replace(exception, resolved_at=self._now, resolved_by=SYSTEM, resolution=because)
            self._known[subject] = [closed if each.id == closed.id else each for each in self._known[subject]]
            self.closed.append(closed)
            self.events.append(
                _told(closed, EventKind.SETTLEMENT_EXCEPTION_RESOLVED, SYSTEM, self._now, self._correlation_id)
            )

    async def write_to(self, connection: asyncpg.Connection, changes: Changes) -> None:
        """Collect everything to be written; whoever looks after the gateway has one task while anything waits."""
        gone = {each.id for each in self.closed}
        changes.add(*(each for each in self.opened if each.id not in gone), *self.events)
        for each in self.closed:
            changes.update(each)
        if self.opened or self.closed:
            waits = any(each.id not in gone for each in self.opened)
            waits = waits or await open_exceptions(connection, self._merchant_id, self._gateway, without=gone)
            await ask_or_close(
                connection, changes, self._merchant_id, self._gateway, self._now, waits, self._correlation_id
            )


async def ledge_of(
    context: Context,
    connection: asyncpg.Connection,
    merchant_id: str,
    gateway: str,
    subjects: Iterable[str],
    now: datetime,
    correlation_id: str | None,
) -> Ledge:
    """Read the exceptions about these subjects, to be opened and closed in the caller's transaction."""
    known = await exceptions_about(connection, frozenset(subjects))
    owner = context.rules_of(gateway).exceptions_to
    return Ledge(merchant_id, gateway, owner, known, now, correlation_id)


async def ask_or_close(
    connection: asyncpg.Connection,
    changes: Changes,
    merchant_id: str,
    gateway: str,
    now: datetime,
    waits: bool,
    correlation_id: str | None,
) -> None:
    """Keep one task per gateway in the queue while exceptions wait, and take it out after the last."""
    reason = f"settlement exceptions of {gateway} wait: `recoup settlement exceptions --gateway {gateway}`"
    tasks = await waiting_tasks(connection, merchant_id, TaskKind.SETTLEMENT_EXCEPTION, reason)
    if waits and not tasks:
        task = HumanTask(
            id=new_id(),
            merchant_id=merchant_id,
            kind=TaskKind.SETTLEMENT_EXCEPTION,
            reason=reason,
            opened_at=now,
            due_at=now + TASK_AGE,
        )
        changes.add(task, task_opened(task, SYSTEM, correlation_id))
    for task in [] if waits else tasks:
        told = "no exception of the gateway waits any more"
        changes.update(msgspec.structs.replace(task, resolved_at=now, resolved_by=SYSTEM, resolution=told))
        changes.add(
            Event(
                at=now,
                merchant_id=merchant_id,
                kind=EventKind.TASK_RESOLVED,
                actor=SYSTEM,
                correlation_id=correlation_id,
                data={"task": str(task.kind), "task_id": str(task.id)},
            )
        )


async def assign(context: Context, exception_id: UUID, by: By, owner: str) -> SettlementException:
    """Hand an exception to a role or a person; the same call again returns its first answer.

    Raises `NotFound`, `NotAllowedNow` where it is resolved, `ExceptionInvalid`, `CardNumberRefused`.
    """
    _check("owner", owner, MAX_OWNER)

    def act(exception: SettlementException, _: datetime) -> SettlementException:
        return msgspec.structs.replace(exception, owner=owner)

    return await _change(context, exception_id, by, EventKind.SETTLEMENT_EXCEPTION_ASSIGNED, act)


async def resolve(context: Context, exception_id: UUID, by: By, evidence: str) -> SettlementException:
    """Close an exception with what was found out and done about it; the same call again returns its first answer.

    It changes no money: what stands as suspense stays there until a line is matched, or your own books take it up.
    Raises `NotFound`, `NotAllowedNow` where it is resolved, `ExceptionInvalid`, `CardNumberRefused`.
    """
    _check("evidence", evidence, MAX_EVIDENCE)

    def act(exception: SettlementException, now: datetime) -> SettlementException:
        return msgspec.structs.replace(exception, resolved_at=now, resolved_by=by.actor, resolution=evidence)

    return await _change(context, exception_id, by, EventKind.SETTLEMENT_EXCEPTION_RESOLVED, act)


def _check(field: str, text: str, most: int) -> None:
    refuse_card_numbers(text, field)
    if not 1 <= len(text) <= most or not text.strip() or "\0" in text:
        raise ExceptionInvalid(field, f"must be 1 to {most} characters")


async def _change(context: Context, exception_id: UUID, by: By, kind: EventKind, act: Act) -> SettlementException:
    now = context.clock.now()
    changes = Changes()
    async with context.database.transaction() as connection:
        exception = await lock_exception(connection, by.merchant_id, exception_id)
        if exception is None:
            raise NotFound("settlement exception", exception_id)
        answered = None if by.call is None else await recall(connection, by.merchant_id, by.call)
        if answered is not None:
            return msgspec.json.decode(answered, type=SettlementException)
        if exception.resolved_at is not None:
            raise NotAllowedNow("the exception is resolved already")
        changed = act(exception, now)
        changes.update(changed)
        changes.add(_told(changed, kind, by.actor, now, by.correlation_id))
        if changed.resolved_at is not None and not await open_exceptions(
            connection, changed.merchant_id, changed.gateway, without=[changed.id]
        ):
            await ask_or_close(connection, changes, changed.merchant_id, changed.gateway, now, False, by.correlation_id)
        if by.call is not None:
            changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(changed), now))
        await changes.write(connection)
    count_events(context, changes)
    return changed


def _told(
    exception: SettlementException, kind: EventKind, actor: str, now: datetime, correlation_id: str | None
) -> Event:
    return Event(
        at=now,
        merchant_id=exception.merchant_id,
        kind=kind,
        actor=actor,
        payment_id=exception.payment_id,
        correlation_id=correlation_id,
        data={
            "exception_id": str(exception.id),
            "problem": str(exception.kind),
            "gateway": exception.gateway,
            "subject": exception.subject,
            "owner": exception.owner,
            "amount_minor": exception.amount_minor,
            "currency": exception.currency,
            **({"resolution": exception.resolution} if exception.resolution else {"reason": exception.reason}),
        },
    )
