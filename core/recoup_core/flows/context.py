"""What every flow is given: the database, the policies, the gateways and the clock."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID

import asyncpg

from recoup_core.domain.attempt import Attempt
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.happened import Event
from recoup_core.domain.payment import RetryOwner
from recoup_core.flows.draft import Draft
from recoup_core.flows.inbound_reading import Readers
from recoup_core.flows.messaging import Messaging
from recoup_core.flows.registry import PolicyRegistry
from recoup_core.ports import Clock, Gateway
from recoup_core.rules.engine.texts import Pinned
from recoup_core.storage.cases import load_cases, lock_accounts, lock_payments
from recoup_core.storage.changes import Changes
from recoup_core.storage.engine import Database
from recoup_core.web.calling import Caller

PIN_ROUNDS: Final = 5
"""Times that case files may turn out to be pinned to policies not at hand; one is usual, and only after a start."""


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

    def refund_outcome(self, gateway: str, outcome: str, category: str) -> None:
        """One answer about a refund's part counted; `category` says why it failed, and is empty where it did not."""
        ...

    def refunds_standing(self, in_flight: int, oldest_unknown_s: float, over: int) -> None:
        """How all refunds stand: parts whose money may be moving, the age of the oldest unknown, captures exceeded."""
        ...

    def followed(self, reader: str, lag_s: float) -> None:
        """A follower of events has taken what is new, or failed at it; so old is what it stands at."""
        ...

    def event_parked(self, reader: str) -> None:
        """A follower left out an event that it can't take."""
        ...

    def message_sent(self, notifier: str, channel: str, outcome: str, seconds: float) -> None:
        """One message was handed over: `accepted`, `not_accepted`, `not_now`, or `unknown`."""
        ...


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """What the settings say about a gateway beyond its own options."""

    retries_by: RetryOwner = RetryOwner.RECOUP
    opens_cases: bool = True
    """Whether failures that its webhooks tell of open cases; without, only reports do."""
    finds_backups: bool = True
    """Whether it is asked what else a customer has stored, where a policy tries a backup and none is known."""
    settles_within: timedelta = timedelta(days=10)
    """When at the latest its settlement reports tell of what is booked; none at all: it is never asked for."""
    settles_others: bool = False
    """Whether its reports tell of charges, too, that Recoup has nothing to do with."""
    exceptions_to: str = "finance"
    """Whose turn it is when a settlement exception opens: a role, or a person."""


@dataclass(frozen=True, slots=True)
class Context:
    """The parts flows work with; made once per process by `wiring`."""

    database: Database
    policies: PolicyRegistry
    gateways: Mapping[str, Gateway]
    gateway_merchants: Mapping[str, str]
    """Which merchant's account a gateway instance is."""
    clock: Clock
    measures: Measures
    gateway_rules: Mapping[str, GatewayRules] = field(default_factory=dict)
    """By the gateway's name; one that is not listed has the defaults."""
    readers: Readers = field(default_factory=Readers)
    """Read webhooks, each gateway's apart from the others'."""
    messaging: Messaging = field(default_factory=Messaging)
    """How customers and staff are reached."""
    webhooks: Caller = field(default_factory=Caller)
    """Posts to the endpoints of outbound webhooks."""

    def rules_of(self, gateway: str) -> GatewayRules:
        """Return what the settings say about a gateway."""
        return self.gateway_rules.get(gateway, GatewayRules())

    @property
    def backup_gateways(self) -> frozenset[str]:
        """The gateways that may be asked what else a customer has stored, and can say so."""
        return frozenset(
            name
            for name, gateway in self.gateways.items()
            if gateway.capabilities.lists_credentials and self.rules_of(name).finds_backups
        )


class Locked:
    """Case files read under their locks in one transaction, and what is to be written before it commits."""

    def __init__(
        self,
        context: Context,
        connection: asyncpg.Connection,
        files: Mapping[UUID, CaseFile],
        pinned: Mapping[str, Pinned],
    ) -> None:
        self.connection = connection
        self.changes = Changes()
        self.now = context.clock.now()
        asked = context.backup_gateways
        self._drafts = {
            key: Draft(
                file,
                self.changes,
                self.now,
                "",
                None,
                pinned.get(file.case.dunning_digest or ""),
                asked,
                pinned.get(file.case.policy_digest),
                context.messaging.contact,
            )
            for key, file in files.items()
        }
        self._pinned = pinned

    def draft(self, payment_id: UUID, actor: str, correlation_id: str | None) -> Draft | None:
        """Return the draft of a payment's file, as left by who had it before; None where there is no case."""
        draft = self._drafts.get(payment_id)
        if draft is not None:
            draft.actor, draft.correlation_id = actor, correlation_id
            # limits count per account: what this batch has just written down for other payments counts, too
            draft.file = draft.file.aware_of(self.changes.rows(Attempt))
        return draft

    def policy(self, draft: Draft) -> Pinned:
        """Return the policy that the case is pinned to, or why that can't be read any more."""
        return self._pinned[draft.file.case.policy_digest]


def locked_cases(
    context: Context, payment_ids: Collection[UUID], *, accounts: bool = False
) -> AbstractAsyncContextManager[Locked]:
    """Lock payments (and, for limits, the accounts behind them), hand out their files, write the changes, commit."""
    return _locked_cases(context, payment_ids, accounts)


@asynccontextmanager
async def _locked_cases(context: Context, payment_ids: Collection[UUID], accounts: bool) -> AsyncIterator[Locked]:
    pinned: dict[str, Pinned] = {}
    for _ in range(PIN_ROUNDS):
        async with context.database.transaction() as connection:
            await lock_payments(connection, payment_ids)
            if accounts:
                await lock_accounts(connection, payment_ids)
            files = await load_cases(connection, payment_ids, context.clock.now())
            missing = _pin(context, {digest for file in files.values() for digest in file.case.digests}, pinned)
            if not missing:
                locked = Locked(context, connection, files, pinned)
                yield locked
                await locked.changes.write(connection)
                break
        pinned |= await context.policies.pinned(missing)  # compiling takes its time: without locks
    else:
        raise RuntimeError(f"the cases of {len(payment_ids)} payments are moved to other policies without end")
    count_events(context, locked.changes)


def _pin(context: Context, digests: set[str], pinned: dict[str, Pinned]) -> list[str]:
    """Add to `pinned` what is at hand of the policies that cases keep; return the digests of the others."""
    for digest in digests - pinned.keys():
        known = context.policies.at_hand(digest)
        if known is not None:
            pinned[digest] = known
    return [digest for digest in digests if digest not in pinned]


def count_events(context: Context, changes: Changes) -> None:
    """Tell the measures what was committed."""
    for event in changes.rows(Event):
        context.measures.happened(event.kind)
