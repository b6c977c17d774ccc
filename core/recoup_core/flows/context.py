"""What every flow is given: the database, the policies, the gateways and the clock."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import asyncpg

from recoup_core.domain.attempt import Attempt
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.happened import Event
from recoup_core.flows.draft import Draft
from recoup_core.ports import Clock, Gateway
from recoup_core.rules.book import PolicyBook
from recoup_core.rules.compile import CompiledPolicy
from recoup_core.storage.cases import load_cases, lock_accounts, lock_payments
from recoup_core.storage.changes import Changes
from recoup_core.storage.engine import Database
from recoup_core.storage.lookups import policy_texts


class Measures(Protocol):
    """What flows tell about themselves; telemetry listens."""

    def gateway_call(self, gateway: str, call: str, outcome: str, seconds: float) -> None:
        """One call to a gateway ended."""
        ...

    def job_run(self, kind: str, outcome: str) -> None:
        """One job ended: `done`, `failed`, or `stale` (others hold it by now)."""
        ...

    def job_started(self, kind: str, late_s: float) -> None:
        """One job was taken up, so long after it was due."""
        ...

    def happened(self, kind: str) -> None:
        """One event was committed."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """The parts flows work with; made once per process by `wiring`."""

    database: Database
    book: PolicyBook
    gateways: Mapping[str, Gateway]
    gateway_merchants: Mapping[str, str]
    """Which merchant's account a gateway instance is."""
    clock: Clock
    measures: Measures


class Locked:
    """Case files read under their locks in one transaction, and what is to be written before it commits."""

    def __init__(self, context: Context, connection: asyncpg.Connection, files: Mapping[UUID, CaseFile]) -> None:
        self.connection = connection
        self.changes = Changes()
        self.now = context.clock.now()
        self._drafts = {key: Draft(file, self.changes, self.now, "", None) for key, file in files.items()}
        self._book = context.book

    def draft(self, payment_id: UUID, actor: str, correlation_id: str | None) -> Draft | None:
        """Return the draft of a payment's file, as left by who had it before; None where there is no case."""
        draft = self._drafts.get(payment_id)
        if draft is not None:
            draft.actor, draft.correlation_id = actor, correlation_id
            # limits count per account: what this batch has just written down for other payments counts, too
            draft.file = draft.file.aware_of(self.changes.rows(Attempt))
        return draft

    def policy(self, draft: Draft) -> CompiledPolicy:
        """Return the policy that the case opened with."""
        pinned = self._book.by_digest(draft.file.case.policy_digest)
        assert pinned is not None  # read in before the files were handed out
        return pinned


def locked_cases(
    context: Context, payment_ids: Collection[UUID], *, accounts: bool = False
) -> AbstractAsyncContextManager[Locked]:
    """Lock payments (and, for limits, the accounts behind them), hand out their files, write the changes, commit."""
    return _locked_cases(context, payment_ids, accounts)


@asynccontextmanager
async def _locked_cases(context: Context, payment_ids: Collection[UUID], accounts: bool) -> AsyncIterator[Locked]:
    async with context.database.transaction() as connection:
        await lock_payments(connection, payment_ids)
        if accounts:
            await lock_accounts(connection, payment_ids)
        files = await load_cases(connection, payment_ids, context.clock.now())
        await pin_policies(context, connection, [file.case.policy_digest for file in files.values()])
        locked = Locked(context, connection, files)
        yield locked
        await locked.changes.write(connection)
    count_events(context, locked.changes)


def count_events(context: Context, changes: Changes) -> None:
    """Tell the measures what was committed."""
    for event in changes.rows(Event):
        context.measures.happened(event.kind)


async def pin_policies(context: Context, connection: asyncpg.Connection, digests: Sequence[str]) -> None:
    """Make sure that the policies of these digests are compiled: a case keeps one that is no longer on disk."""
    missing = {digest for digest in digests if context.book.by_digest(digest) is None}
    if missing:
        for text in await policy_texts(connection, missing):
            context.book.add(text.body, text.source)
