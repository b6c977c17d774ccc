"""Where policies are changed: one transaction, one change at a time, and the outcome checked before it counts."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import asyncpg
import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.experiment import Arm, Experiment
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.versions import PolicyVersion, VersionEvent, VersionOrigin, VersionState
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.registry import effective
from recoup_core.rules.engine.texts import CompiledTexts
from recoup_core.rules.language.errors import PolicyInvalid, Problem
from recoup_core.rules.language.schema import Policy, parse_policy
from recoup_core.rules.sets.ambiguity import ambiguities
from recoup_core.storage.changes import Changes
from recoup_core.storage.experiments import running_of_version, stale_experiments, stop_experiment
from recoup_core.storage.lookups import PolicyText, keep_policy_texts
from recoup_core.storage.versions import (
    VersionText,
    add_version,
    live_version,
    live_versions,
    lock_policies,
    move_version,
    read_version,
    version_of_text,
)

HOUSE: Final = "default"
"""The merchant whose events tell of the house's policies; their data says `house: true`."""

REPLACED: Final = "another version took its place"
CONTROL_GONE: Final = "the version that it was compared with is not in force any more"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Whose policies are changed, and by whom."""

    merchant_id: str | None
    """None for the house's, which hold for every merchant that has none of its own."""
    actor: str
    origin: VersionOrigin
    note: str | None = None
    """What the author says about new versions."""
    correlation_id: str | None = None


class Desk:
    """Versions under the lock of all changes. What is told here is written when the transaction ends well."""

    def __init__(self, context: Context, connection: asyncpg.Connection, change: Change) -> None:
        self.connection = connection
        self.change = change
        self.changes = Changes()
        self.now = context.clock.now()
        self._policies = context.policies
        self._touched: set[str] = set()

    async def bring(self, policy: Policy) -> tuple[PolicyVersion, bool]:
        """Return the owner's version of this text and whether it is new; a new one is a draft."""
        known = await version_of_text(self.connection, self.change.merchant_id, policy.digest)
        if known is not None:
            return known, False
        kept = PolicyText(
            digest=policy.digest,
            kind=policy.kind,
            name=policy.name,
            source=policy.source,
            body=policy.text,
            first_used_at=self.now,
        )
        version = PolicyVersion(
            id=new_id(),
            merchant_id=self.change.merchant_id,
            kind=policy.kind,
            name=policy.name,
            digest=policy.digest,
            origin=self.change.origin,
            author=self.change.actor,
            note=self.change.note,
            created_at=self.now,
            changed_at=self.now,
        )
        await keep_policy_texts(self.connection, [kept])
        await add_version(self.connection, version)
        self._tell(EventKind.POLICY_SUBMITTED, version, note=version.note)
        return version, True

    async def activate(self, version: PolicyVersion, told_as: EventKind = EventKind.POLICY_ACTIVATED) -> PolicyVersion:
        """Put a version in force in place of the owner's live one of its name; a live one is left as it is."""
        if version.state is VersionState.LIVE:
            return version
        before = await live_version(self.connection, version.merchant_id, version.kind, version.name)
        if before is not None:
            await self.move(before, VersionEvent.RETIRE, EventKind.POLICY_RETIRED, because=REPLACED)
        replaced = None if before is None else before.digest
        return await self.move(version, VersionEvent.ACTIVATE, told_as, replaced=replaced)

    async def move(self, version: PolicyVersion, event: VersionEvent, told_as: EventKind, **data: Any) -> PolicyVersion:
        """Apply an event to a version and tell of it; an illegal one raises `IllegalTransition`."""
        if version.state is VersionState.EXPERIMENT:
            await self._end_experiment(version, f"the version was moved: {event}", None)
        moved = version.after(event, self.now)
        await move_version(self.connection, moved)
        self._tell(told_as, moved, **data)
        if VersionState.LIVE in (version.state, moved.state):
            self._touched.add(version.kind)
        return moved

    async def end_experiment(self, version: PolicyVersion, because: str, winner: Arm | None = None) -> Experiment:
        """End the experiment that a version is in; the version goes back to shadow, its cases go on as they are."""
        ended = await self._end_experiment(version, because, winner)
        await move_version(self.connection, version.after(VersionEvent.SHADOW, self.now))
        return ended

    async def _end_experiment(self, version: PolicyVersion, because: str, winner: Arm | None) -> Experiment:
        running = await running_of_version(self.connection, version.id)
        assert running is not None  # written together with the version's state, under the same lock
        ended = msgspec.structs.replace(running, stopped_at=self.now, stopped_because=because, winner=winner)
        await stop_experiment(self.connection, ended)
        self.tell_of_experiment(EventKind.EXPERIMENT_STOPPED, ended, because=because, winner=winner)
        return ended

    def tell_of_experiment(self, kind: EventKind, experiment: Experiment, **data: Any) -> None:
        """Add an event about an experiment."""
        about = {"experiment": str(experiment.id), "policy": f"{experiment.kind}/{experiment.name}"}
        self._add(kind, experiment.merchant_id, {**about, **data})

    async def _end_stale(self) -> None:
        """End the experiments whose control is no longer in force: two versions were compared, and no third."""
        for experiment in await stale_experiments(self.connection, self._touched):
            version = await read_version(self.connection, experiment.version_id)
            assert version is not None  # versions are never deleted
            await self.end_experiment(msgspec.convert(version, PolicyVersion, from_attributes=True), CONTROL_GONE)

    async def check(self) -> None:
        """Raise `PolicyInvalid` where what is live now leaves open, for any merchant, which policy a payment gets."""
        if not self._touched:
            return
        await self._end_stale()
        live = await live_versions(self.connection, self._touched)
        problems = await self._policies.in_thread(_unclear, live, self.change.merchant_id, self._policies.texts)
        if problems:
            raise PolicyInvalid(problems)

    def _tell(self, kind: EventKind, version: PolicyVersion, **data: Any) -> None:
        about = {"version": str(version.id), "policy": f"{version.kind}/{version.name}", "digest": version.digest}
        self._add(kind, version.merchant_id, {**about, **data})

    def _add(self, kind: EventKind, owner: str | None, data: dict[str, Any]) -> None:
        self.changes.add(
            Event(
                at=self.now,
                merchant_id=owner or HOUSE,
                kind=kind,
                actor=self.change.actor,
                correlation_id=self.change.correlation_id,
                data={"house": owner is None, **data},
            )
        )


def changing_policies(context: Context, change: Change) -> AbstractAsyncContextManager[Desk]:
    """Open the desk; when the block ends well, what it did is checked as a whole and committed, or nothing of it is."""
    return _changing_policies(context, change)


@asynccontextmanager
async def _changing_policies(context: Context, change: Change) -> AsyncIterator[Desk]:
    refuse_card_numbers(change.actor, "author")
    refuse_card_numbers(change.note or "", "note")
    async with context.database.transaction() as connection:
        await lock_policies(connection)
        desk = Desk(context, connection, change)
        yield desk
        await desk.check()
        await desk.changes.write(connection)
    count_events(context, desk.changes)


def _unclear(live: Collection[VersionText], changed: str | None, texts: CompiledTexts) -> list[Problem]:
    """Return what is ambiguous in the sets that a change touches: the merchant's own, or everybody's."""
    own: dict[str | None, list[VersionText]] = defaultdict(list)
    for version in live:
        own[version.merchant_id].append(version)
    merchants = {changed} if changed is not None else {None, *own}
    parsed = {version.digest: _parsed(version, texts) for version in live}
    problems: list[Problem] = []
    for merchant in sorted(merchants, key=lambda name: name or ""):
        placed = effective([*own[None], *(own[merchant] if merchant is not None else ())])
        policies = [policy for version in placed if (policy := parsed[version.digest]) is not None]
        problems += [_for(merchant, problem) for problem in ambiguities(policies)]
    return problems


def _parsed(version: VersionText, texts: CompiledTexts) -> Policy | None:
    """Return a live version's policy; None for one that today's parser refuses, so that it can be replaced."""
    known = texts.get(version.digest)
    if known is not None:
        return known.policy
    try:
        return parse_policy(version.body, source=version.source)
    except PolicyInvalid:
        return None


def _for(merchant: str | None, problem: Problem) -> Problem:
    if merchant is None:
        return problem
    return msgspec.structs.replace(problem, message=f"for the merchant {merchant}: {problem.message}")
