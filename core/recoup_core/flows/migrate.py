"""Moving running cases to another version of their policy: looked at first, then done, each case on the record.

A case keeps the version it opened with (promise 7) until somebody moves it here. A preview decides for every chosen
case what would come next under the other version, and writes nothing. The move itself is done under the locks, each
case decided anew at that moment, and told by an event that names both versions.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.errors import DomainError
from recoup_core.domain.experiment import Arm
from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.context import Context, Locked, locked_cases
from recoup_core.flows.draft import POLICY, SYSTEM, Draft
from recoup_core.flows.dunning import dunning_facts
from recoup_core.flows.operate import By
from recoup_core.flows.planning import accompany, plan_next
from recoup_core.flows.situation import facts_of
from recoup_core.rules.deciding.contact import ContactRules
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.engine.texts import Pinned, UnreadablePolicy
from recoup_core.rules.facts import PolicyKind, RetryFacts
from recoup_core.rules.language.errors import NoPolicyApplies
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.storage.cases import load_cases
from recoup_core.storage.changes import Changes
from recoup_core.storage.moves import ChosenCases, MovableCase, choose_cases, may_use

MAX_MOVED: Final = 1_000
"""Cases that one call looks at; the answer says whether there are more."""

BATCH: Final = 50
"""Cases read, or moved, in one transaction."""


class PolicyUnknown(DomainError):
    """No version with this digest is the merchant's or the house's."""

    code = "policy_unknown"

    def __init__(self, kind: PolicyKind, digest: str) -> None:
        super().__init__(f"no {kind} policy with the digest {digest} is yours to use")
        self.digest = digest


class NextStep(msgspec.Struct, frozen=True, kw_only=True):
    """What comes next in a case under the kind of policy that is moved."""

    at: datetime | None = None
    """When; None where nothing does."""
    what: str | None = None
    """`retry`, or the kind of the next dunning step."""
    steps: int = 0
    """How many steps are planned: one retry at most, any number of dunning steps."""
    stop: str | None = None
    """Why nothing comes."""
    rule: str


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One case, where it is and where it would be, or is now."""

    case_id: UUID
    from_policy: str | None
    """None where the case had no dunning policy."""
    from_digest: str | None
    to_policy: str | None = None
    to_digest: str | None = None
    before: NextStep | None = None
    """None where nothing is planned: an attempt is under way, or the case is paused."""
    after: NextStep | None = None
    """None where nothing is decided yet, for the same reasons."""
    refused: str | None = None
    """Why this case can't be moved; it stays as it is."""


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """What a call would do, or did."""

    items: tuple[Move, ...]
    next_after: UUID | None = None
    """Where the next call goes on; None where these were all."""

    @property
    def movable(self) -> int:
        """How many of them can be, or were, moved."""
        return sum(1 for move in self.items if move.refused is None)


class _Target:
    """Which version a case goes to: the one that was named, or what a new case like it would get today."""

    def __init__(self, kind: PolicyKind, named: CompiledPolicy | None, book: PolicyBook) -> None:
        self.kind = kind
        self._named = named
        self._book = book

    def of(self, file: CaseFile, now: datetime) -> CompiledPolicy | str:
        """Return the version, or why this case can't go there."""
        if not _goes_on(file, self.kind):
            return f"the case is {file.case.state}"
        facts: RetryFacts = facts_of(file, now)
        if self.kind is PolicyKind.DUNNING:
            facts = dunning_facts(file, facts)
        if self._named is None:
            try:
                target = self._today(file, facts)
            except NoPolicyApplies as none:
                return str(none)
        else:
            target = self._named
            if not target.policy.applies_to.covers(facts):
                return f"the policy {target.policy.name} does not cover this payment"
        return target if target.digest != _pin(file, self.kind)[1] else "the case is under this version already"

    def _today(self, file: CaseFile, facts: RetryFacts) -> CompiledPolicy:
        """Return what a new case like it would get; one that is treated in a running experiment stays treated."""
        live = self._book.choose(self.kind, facts)
        for trial in self._book.trials:
            experiment, treatment = trial.experiment, trial.treatment
            treated = (experiment.id, Arm.TREATMENT) == (file.case.experiment_id, file.case.arm)
            same = (experiment.kind, experiment.name) == (live.policy.kind, live.policy.name)
            if treated and same and treatment.policy.applies_to.covers(facts):
                return treatment
        return live


async def preview_moves(context: Context, merchant_id: str, chosen: ChosenCases, to_digest: str | None = None) -> Moves:
    """Say what moving the chosen cases would change; writes nothing.

    `to_digest` names the version; None means what each case would get if it opened today. Raises `PolicyUnknown`.
    """
    target, found, more = await _prepare(context, merchant_id, chosen, to_digest)
    moves: list[Move] = []
    for batch in _batches(found):
        now = context.clock.now()
        async with context.database.connection() as connection:
            files = await load_cases(connection, [each.payment_id for each in batch], now)
        moves += [_would(files[each.payment_id], target, now, context.messaging.contact) for each in batch]
    return Moves(items=tuple(moves), next_after=found[-1].id if more else None)


async def move_cases(context: Context, by: By, chosen: ChosenCases, to_digest: str | None = None) -> Moves:
    """Move the chosen cases, what is planned by their policy included; each is decided anew at once.

    A case that changed since the preview is judged as it is now. Raises `PolicyUnknown`; cases that can't be moved are
    told apart and stay as they are.
    """
    target, found, more = await _prepare(context, by.merchant_id, chosen, to_digest)
    moves: list[Move] = []
    for batch in _batches(found):
        async with locked_cases(context, [each.payment_id for each in batch], accounts=True) as locked:
            drafts = [locked.draft(each.payment_id, by.actor, by.correlation_id) for each in batch]
            moves += [_move(draft, target, locked) for draft in drafts if draft is not None]
    return Moves(items=tuple(moves), next_after=found[-1].id if more else None)


async def _prepare(
    context: Context, merchant_id: str, chosen: ChosenCases, to_digest: str | None
) -> tuple[_Target, list[MovableCase], bool]:
    book = await context.policies.refresh(merchant_id)
    kind = PolicyKind(chosen.kind)
    named = None if to_digest is None else await _named(context, merchant_id, kind, to_digest)
    async with context.database.connection() as connection:
        found = await choose_cases(connection, merchant_id, chosen, MAX_MOVED + 1)
    return _Target(kind, named, book), found[:MAX_MOVED], len(found) > MAX_MOVED


async def _named(context: Context, merchant_id: str, kind: PolicyKind, digest: str) -> CompiledPolicy:
    async with context.database.connection() as connection:
        if not await may_use(connection, merchant_id, kind, digest):
            raise PolicyUnknown(kind, digest)
    known = context.policies.at_hand(digest) or (await context.policies.pinned([digest])).get(digest)
    if known is None or isinstance(known, UnreadablePolicy):
        raise PolicyUnknown(kind, digest)
    return known


def _would(file: CaseFile, target: _Target, now: datetime, contact: ContactRules) -> Move:
    """Decide on a copy of the case that nobody writes down."""
    draft = Draft(file, Changes(), now, SYSTEM, None, contact=contact)
    policy = target.of(file, now)
    move = _from(file, target.kind)
    if isinstance(policy, str):
        return msgspec.structs.replace(move, refused=policy)
    return _moved(draft, policy, target.kind, policy if target.kind is PolicyKind.RETRY else None, move)


def _move(draft: Draft, target: _Target, locked: Locked) -> Move:
    before = draft.file
    policy = target.of(before, draft.now)
    move = _from(before, target.kind)
    if isinstance(policy, str):
        return msgspec.structs.replace(move, refused=policy)
    deciding = policy if target.kind is PolicyKind.RETRY else locked.policy(draft)
    return _moved(draft, policy, target.kind, deciding, move)


def _moved(draft: Draft, policy: CompiledPolicy, kind: PolicyKind, deciding: Pinned | None, move: Move) -> Move:
    """Pin the case to the other version, take back what its policy planned, and decide anew."""
    draft.repin(kind, policy)
    draft.tell(
        EventKind.CASE_MIGRATED,
        policy_kind=str(kind),
        from_policy=move.from_policy,
        from_digest=move.from_digest,
        to_policy=policy.policy.name,
        to_digest=policy.digest,
    )
    draft.close_tasks({TaskKind.POLICY_UNREADABLE}, "the case was moved to another version")
    planned = draft.file.planned_retry
    if kind is PolicyKind.RETRY and planned is not None and planned.planned_by == POLICY:
        draft.skip_step(planned, f"the case was moved to {policy.policy.name} {policy.digest[:12]}")
    if deciding is None:
        accompany(draft)
    else:
        plan_next(draft, deciding)
    after = _from(draft.file, kind).before
    return msgspec.structs.replace(move, to_policy=policy.policy.name, to_digest=policy.digest, after=after)


def _from(file: CaseFile, kind: PolicyKind) -> Move:
    name, digest = _pin(file, kind)
    return Move(case_id=file.case.id, from_policy=name, from_digest=digest, before=_next(file, kind))


def _goes_on(file: CaseFile, kind: PolicyKind) -> bool:
    """Whether the policy still decides about the case; dunning goes on where retries have come to their end."""
    if file.case.state is CaseState.EXHAUSTED:
        return kind is PolicyKind.DUNNING and file.case.dunning_digest is not None
    return file.case.state in (CaseState.OPEN, CaseState.PAUSED)


def _pin(file: CaseFile, kind: PolicyKind) -> tuple[str | None, str | None]:
    case = file.case
    if kind is PolicyKind.DUNNING:
        return case.dunning_name, case.dunning_digest
    return case.policy_name, case.policy_digest


def _next(file: CaseFile, kind: PolicyKind) -> NextStep | None:
    """Return what is planned; None where nothing is, for an attempt is under way or the case is paused."""
    if kind is PolicyKind.DUNNING:
        planned = sorted(file.planned_dunning, key=lambda step: step.due_at)
    else:
        planned = [] if file.planned_retry is None else [file.planned_retry]
    if planned:
        first = planned[0]
        return NextStep(at=first.due_at, what=str(first.kind), steps=len(planned), rule=first.rule)
    if kind is PolicyKind.RETRY and file.case.stop_reason is not None:
        return NextStep(stop=file.case.stop_reason, rule="")
    return None


def _batches(found: Sequence[MovableCase]) -> list[Sequence[MovableCase]]:
    return [found[start : start + BATCH] for start in range(0, len(found), BATCH)]
