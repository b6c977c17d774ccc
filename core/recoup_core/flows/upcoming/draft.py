"""An upcoming charge being worked on: each change is seen by what follows, and collected to be written together."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.happened import Event, EventKind, HumanTask, TaskKind, task_opened
from recoup_core.domain.ids import new_id
from recoup_core.domain.upcoming import CHARGE, NOTICE, ChargeEvent, ChargeFile, ChargeState, Notice, NoticeEvent
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.messages.canceling import CalledOff, cancel_for_notices
from recoup_core.flows.planning import TASK_AGE
from recoup_core.rules.engine.texts import Pinned
from recoup_core.storage.changes import Changes, NewJob
from recoup_core.storage.upcoming import announced_to, digests_of, lock_charges

DUE_NOTICE: Final = "notice"
"""Job kind: do what a due notice says. Subject: the notice."""
CHARGE_TURN: Final = "upcoming_charge"
"""Job kind: look at a charge again: its card was renewed, it failed, or its time is over. Subject: the charge."""


MAX_CHARGES: Final = 100
"""Charges of some customers that decide anew at once; more would find out when their notice is due."""


class ChargeDraft:
    """One charge's file, the changes made to it so far, who makes them and when."""

    def __init__(
        self,
        file: ChargeFile,
        changes: Changes,
        now: datetime,
        actor: str,
        correlation_id: str | None,
        policy: Pinned | None,
    ) -> None:
        self.file = file
        self.changes = changes
        self.now = now
        self.actor = actor
        self.correlation_id = correlation_id
        self.ended: str | None = None
        """Why nothing more is said, where that was found just now."""
        self.policy = policy
        """What its notices are planned with; None where no policy covers it."""

    def tell(self, kind: EventKind, **data: Any) -> None:
        """Add an event about this charge."""
        charge = self.file.charge
        self.changes.add(
            Event(
                at=self.now,
                merchant_id=charge.merchant_id,
                kind=kind,
                actor=self.actor,
                correlation_id=self.correlation_id,
                data={"charge": str(charge.id), "reference": charge.reference, "customer": charge.customer.ref, **data},
            )
        )

    def ask_human(self, kind: TaskKind, reason: str) -> None:
        """Put a task about this charge before a person."""
        task = HumanTask(
            id=new_id(),
            merchant_id=self.file.charge.merchant_id,
            kind=kind,
            about_id=self.file.charge.id,
            reason=reason,
            opened_at=self.now,
            due_at=self.now + TASK_AGE,
        )
        self.changes.add(task, task_opened(task, self.actor, self.correlation_id))

    def change(self, **fields: Any) -> None:
        """Change the charge; each change is a version."""
        charge = self.file.charge
        changed = msgspec.structs.replace(charge, changed_at=self.now, version=charge.version + 1, **fields)
        self.changes.update(changed)
        self.file = self.file.with_charge(changed)

    def move(self, event: ChargeEvent, because: str) -> None:
        """Apply an event to the charge: whatever it is, nothing more is said before it."""
        state = CHARGE.after(self.file.charge.state, event)
        self.change(state=state, finished_at=self.now)
        self.ended = because
        for notice in self.file.planned:
            self.skip(notice, because)
        self.changes.drop_job(CHARGE_TURN, self.file.charge.id)

    def add(self, notice: Notice) -> None:
        """Write down a new notice and the job that wakes it."""
        self.changes.add(notice)
        self.file = self.file.with_notice(notice)
        self.wake(notice, notice.due_at)

    def move_notice(self, notice: Notice, event: NoticeEvent, **fields: Any) -> Notice:
        """Apply an event to a notice; a finished one drops its job."""
        state = NOTICE.after(notice.state, event)
        if event is not NoticeEvent.MOVE:
            fields["finished_at"] = self.now
            self.changes.drop_job(DUE_NOTICE, notice.id)
        moved = msgspec.structs.replace(notice, state=state, **fields)
        self.changes.update(moved)
        self.file = self.file.with_notice(moved)
        return moved

    def skip(self, notice: Notice, because: str, **fields: Any) -> None:
        """Leave a notice out, and say why."""
        self.move_notice(notice, NoticeEvent.SKIP, skipped_because=because, **fields)
        self.tell(EventKind.NOTICE_SKIPPED, notice=str(notice.id), key=notice.key, because=because)

    def wake(self, notice: Notice, at: datetime) -> None:
        """Have a notice woken then."""
        self._put(DUE_NOTICE, notice.id, at)

    def look_again(self, at: datetime) -> None:
        """Have the charge looked at then."""
        self._put(CHARGE_TURN, self.file.charge.id, at)

    def _put(self, kind: str, subject_id: UUID, at: datetime) -> None:
        self.changes.add(NewJob(kind=kind, subject_id=subject_id, due_at=at, correlation_id=self.correlation_id))


class LockedCharges:
    """Charges' files read under their locks in one transaction, and what is to be written before it commits."""

    def __init__(self, connection: asyncpg.Connection, now: datetime, drafts: dict[UUID, ChargeDraft]) -> None:
        self.connection = connection
        self.now = now
        self.changes = Changes()
        self._drafts = drafts

    def draft(self, charge_id: UUID | None, actor: str, correlation_id: str | None) -> ChargeDraft | None:
        """Return the draft of a charge, as left by who had it before; None where there is none."""
        draft = self._drafts.get(charge_id) if charge_id else None
        if draft is not None:
            draft.actor, draft.correlation_id = actor, correlation_id
        return draft

    async def cancel_messages(self) -> None:
        """Call off what was said before charges that are over, as far as it has not left."""
        called_off = {
            notice.id: CalledOff(because=draft.ended, actor=draft.actor)
            for draft in self._drafts.values()
            if draft.ended is not None
            for notice in draft.file.notices
        }
        await cancel_for_notices(self.connection, self.changes, called_off, self.now)

    def fill(self, drafts: dict[UUID, ChargeDraft]) -> None:
        """Take the drafts, which share the changes."""
        self._drafts = drafts

    @property
    def announced(self) -> list[ChargeDraft]:
        """The charges that are still to come."""
        return [draft for draft in self._drafts.values() if draft.file.charge.state is ChargeState.ANNOUNCED]


@asynccontextmanager
async def locked_charges(context: Context, charge_ids: Collection[UUID]) -> AsyncIterator[LockedCharges]:
    """Lock charges, hand out their drafts, write the changes, commit.

    A charge keeps its policy for good, so what is needed is compiled before anything is locked.
    """
    async with context.database.connection() as connection:
        digests = await digests_of(connection, charge_ids)
    pinned = {digest: known for digest in digests if (known := context.policies.at_hand(digest)) is not None}
    if missing := digests - pinned.keys():
        pinned |= await context.policies.pinned(missing)
    async with context.database.transaction() as connection:
        files = await lock_charges(connection, charge_ids)
        locked = LockedCharges(connection, context.clock.now(), {})
        locked.fill(
            {
                key: ChargeDraft(
                    file, locked.changes, locked.now, "", None, pinned.get(file.charge.policy_digest or "")
                )
                for key, file in files.items()
            }
        )
        yield locked
        await locked.cancel_messages()
        await locked.changes.write(connection)
    count_events(context, locked.changes)


async def put_charges(
    connection: asyncpg.Connection,
    changes: Changes,
    merchant_id: str,
    customers: Collection[str],
    now: datetime,
    correlation_id: str | None,
) -> None:
    """Have the charges to come of these customers looked at again: their means of payment changed."""
    for charge_id in await announced_to(connection, merchant_id, customers, MAX_CHARGES):
        changes.add(NewJob(kind=CHARGE_TURN, subject_id=charge_id, due_at=now, correlation_id=correlation_id))
