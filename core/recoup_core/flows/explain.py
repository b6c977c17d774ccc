"""Explains decisions of the database: what was decided about a case, and what would be decided now. Changes nothing."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.context import Context
from recoup_core.flows.dunning import dunning_facts, dunning_situation
from recoup_core.flows.operate import NotFound
from recoup_core.flows.situation import facts_of, situation_of
from recoup_core.rules.deciding.decide import decide_retry
from recoup_core.rules.deciding.dunning import decide_dunning
from recoup_core.rules.deciding.explain import Explained, explain, explained
from recoup_core.rules.deciding.what_if import WhatIf
from recoup_core.rules.deciding.words import moment, stored_words
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.engine.texts import UnreadablePolicy
from recoup_core.rules.facts import VOCABULARIES, PolicyKind
from recoup_core.rules.language.given import facts_given
from recoup_core.storage.cases import load_cases, payments_of_cases
from recoup_core.storage.listing import DecisionRow, read_story

SHORT: Final = 12
"""Characters of a digest that are shown."""

MAX_DECISIONS: Final = 200
"""The latest decisions of a case that are explained; no case makes as many."""


class DecisionTold(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as it was stored, and in words."""

    id: UUID
    decided_at: datetime
    kind: PolicyKind
    digest: str
    """Of the policy version that decided."""
    rule: str
    facts: msgspec.Raw
    outcome: msgspec.Raw
    explanation: msgspec.Raw
    words: tuple[str, ...]


class CaseTold(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about a case, the latest first; or what would be decided now."""

    case_id: UUID
    state: CaseState
    decisions: tuple[DecisionTold, ...] = ()
    now: tuple[Explained, ...] = ()
    """Made just now and not stored: by the retry policy, and by the dunning policy where the case has one."""
    note: str | None = None
    """Why nothing is decided now, or what stands in the way of acting on it."""

    @property
    def words(self) -> Iterator[str]:
        """All of it, line by line."""
        yield f"case {self.case_id}, {self.state}"
        for decision in self.decisions:
            outcome, *lines = decision.words
            made = f"{moment(decision.decided_at)}  {decision.kind} by {decision.digest[:SHORT]}"
            yield f"{made}: {outcome}  [{decision.id}]"
            yield from (f"    {line}" for line in lines)
        if self.note:
            yield f"note: {self.note}"
        for each in self.now:
            yield from each.words


async def explain_live(
    context: Context, merchant_id: str, kind: PolicyKind, given: Mapping[str, Any], what_if: WhatIf
) -> Explained:
    """Decide about made-up facts by the policies in force for a merchant.

    Raises `FactsInvalid`, and `NoPolicyApplies` where none covers the facts. A matter of milliseconds, for the policies
    are compiled: it does not wait where texts are worked on.
    """
    book = await context.policies.refresh(merchant_id)
    vocabulary = VOCABULARIES[kind]
    facts = facts_given(given, vocabulary, vocabulary.baseline)
    chosen = book.choose(kind, facts)
    return await context.policies.in_thread(explain, chosen, facts, what_if, book.policies)


async def explain_case(context: Context, merchant_id: str, case_id: UUID, decision_id: UUID | None = None) -> CaseTold:
    """Return a case's stored decisions, or the one that is asked for; raises `NotFound`."""
    story = await read_story(context.database, merchant_id, case_id)
    if story is None:
        raise NotFound("recovery case", case_id)
    rows = [row for row in reversed(story.decisions) if decision_id in (None, row.id)]
    if decision_id is not None and not rows:
        raise NotFound("decision", decision_id)
    decisions = tuple(_told(row) for row in rows[:MAX_DECISIONS])
    return CaseTold(case_id=case_id, state=story.case.state, decisions=decisions)


async def decide_again(context: Context, merchant_id: str, case_id: UUID) -> CaseTold:
    """Return what a case's policies would decide at this moment; nothing is planned or stored. Raises `NotFound`."""
    now = context.clock.now()
    async with context.database.connection() as connection:
        payment_id = (await payments_of_cases(connection, [case_id])).get(case_id)
        file = None if payment_id is None else (await load_cases(connection, [payment_id], now)).get(payment_id)
    if file is None or file.payment.merchant_id != merchant_id:
        raise NotFound("recovery case", case_id)
    note = _idle(file)
    if note is not None:
        return CaseTold(case_id=case_id, state=file.case.state, note=note)
    pinned = await context.policies.pinned(file.case.digests)
    for one in pinned.values():
        if isinstance(one, UnreadablePolicy):
            note = f"the policy {one.name} can't be read any more: {one.because}"
            return CaseTold(case_id=case_id, state=file.case.state, note=note)
    policies = {digest: one for digest, one in pinned.items() if isinstance(one, CompiledPolicy)}
    made = tuple(_now(file, now, policies))
    return CaseTold(case_id=case_id, state=file.case.state, now=made, note=_waits(file))


def _told(row: DecisionRow) -> DecisionTold:
    return DecisionTold(
        id=row.id,
        decided_at=row.decided_at,
        kind=row.kind,
        digest=row.policy_digest,
        rule=row.rule,
        facts=row.facts,
        outcome=row.outcome,
        explanation=row.explanation,
        words=stored_words(row.kind, row.outcome, row.explanation),
    )


def _idle(file: CaseFile) -> str | None:
    """Return why nothing is decided about a case any more, or yet."""
    if file.payment.state is not PaymentState.OWED:
        return f"the payment is {file.payment.state}: nothing is decided any more"
    if file.last_declined is None:
        return "nothing has failed yet: nothing is decided before"
    return None


def _waits(file: CaseFile) -> str | None:
    """Return what stands in the way of acting on a new decision."""
    if file.case.state is not CaseState.OPEN:
        return f"the case is {file.case.state}: no retry would be planned"
    if file.live_attempt is not None:
        return "an attempt is under way: its answer is waited for"
    if file.planned_retry is not None:
        return f"a retry is planned for {moment(file.planned_retry.due_at)} and stays; a decision follows its answer"
    return None


def _now(file: CaseFile, now: datetime, policies: dict[str, CompiledPolicy]) -> Iterator[Explained]:
    facts = facts_of(file, now)
    retry = policies[file.case.policy_digest]
    yield explained(retry, facts, decide_retry(retry, facts, situation_of(file, now)))
    dunning = policies.get(file.case.dunning_digest or "")
    if dunning is not None:
        about = dunning_facts(file, facts)
        yield explained(dunning, about, decide_dunning(dunning, about, dunning_situation(file, now)))
