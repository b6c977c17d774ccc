"""Stored decisions and the cases they were made in, read page by page by key: for replay, export and simulation.

Each page is one short statement that looks at a bounded number of rows, whatever the filter leaves of them.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.happened import HumanTask
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.study.history import MAX_CASE_DECISIONS, HistoryCase, HistoryDecision
from recoup_core.rules.study.replay import KeptDecision, KeptText
from recoup_core.storage.engine import Database

PAGE: Final = 500
"""Decisions, or cases with theirs, that one statement looks at."""

MAX_COUNTED: Final = 1_000_000
"""Rows that are counted for a progress bar; past it the bar only says how many were done."""

FIRST_ID: Final = UUID(int=0)
LAST_ID: Final = UUID(int=2**128 - 1)
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of history is meant: [since, until), and of whom and what kind where that is said."""

    since: datetime = BEGINNING
    until: datetime
    merchant_id: str | None = None
    kind: str | None = None


class DecisionPlace(msgspec.Struct, frozen=True):
    """Where a walk through all decisions stands."""

    at: datetime
    id: UUID


class DecisionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions of one page that are meant; `after` is None where nothing follows."""

    rows: Sequence[KeptDecision]
    texts: dict[str, KeptText]
    after: DecisionPlace | None


class CasePage(msgspec.Struct, frozen=True, kw_only=True):
    """Cases of one page that are meant; `after` is None where nothing follows."""

    cases: Sequence[HistoryCase]
    """Of each case its first `MAX_CASE_DECISIONS` decisions."""
    after: UUID | None
    scanned: int
    """Cases that were looked at, those not meant included."""


_DECISIONS: Final = """
    WITH scanned AS MATERIALIZED (
        SELECT decided_at, id FROM decision
        WHERE (decided_at, id) > ($1, $2) AND decided_at < $3 ORDER BY decided_at, id LIMIT $4)
    SELECT d.id, d.merchant_id, d.case_id, d.refund_id, d.charge_id, d.kind, d.policy_digest, d.rule,
           d.facts::text AS facts, d.situation::text AS situation, d.outcome::text AS outcome,
           d.explanation::text AS explanation, d.decided_at,
           ($5::text IS NULL OR d.merchant_id = $5) AND ($6::text IS NULL OR d.kind = $6) AS meant
    FROM scanned s JOIN decision d ON d.id = s.id ORDER BY d.decided_at, d.id"""

_COUNT_DECISIONS: Final = """
    SELECT count(*) FROM (SELECT FROM decision WHERE decided_at >= $1 AND decided_at < $2 LIMIT $3) counted"""

_CASES: Final = """
    WITH scanned AS MATERIALIZED (
        SELECT id FROM recovery_case WHERE {whose} AND id {beyond} $1 ORDER BY id {order} LIMIT $2)
    SELECT c.id, c.merchant_id, c.state, c.policy_name, c.policy_digest, c.stop_reason, c.closed_at,
           p.amount_minor, p.currency, c.opened_at >= $3 AND c.opened_at < $4 AS meant
    FROM scanned s JOIN recovery_case c ON c.id = s.id JOIN payment p ON p.id = c.payment_id ORDER BY c.id {order}"""
_WHOSE: Final = {True: "$5::text IS NULL", False: "merchant_id = $5"}
_WAY: Final = {True: ("<", "DESC"), False: (">", "ASC")}

_COUNT_CASES: Final = """
    SELECT count(*) FROM (SELECT FROM recovery_case WHERE opened_at >= $1 AND opened_at < $2
                          AND ($3::text IS NULL OR merchant_id = $3) LIMIT $4) counted"""

_OF_CASES: Final = """
    SELECT d.case_id, d.kind, d.policy_digest, t.name AS policy, d.rule, d.facts::text AS facts,
           d.situation::text AS situation, d.outcome::text AS outcome, d.decided_at
    FROM unnest($1::uuid[]) c (id) CROSS JOIN LATERAL (
        SELECT * FROM decision WHERE case_id = c.id AND ($2::text IS NULL OR kind = $2) ORDER BY id LIMIT $3) d
    JOIN policy_text t ON t.digest = d.policy_digest ORDER BY d.case_id, d.id"""

_TEXTS: Final = "SELECT digest, source, body FROM policy_text WHERE digest = ANY($1::text[])"

_OPEN_TASKS: Final = """
    INSERT INTO human_task (id, merchant_id, kind, case_id, refund_id, about_id, reason, opened_at, due_at)
    SELECT id, merchant_id, kind, case_id, refund_id, about_id, reason, opened_at, due_at
    FROM jsonb_populate_recordset(null::human_task, $1::jsonb)
    ON CONFLICT (id) DO NOTHING RETURNING id"""


async def read_decisions(
    database: Database, span: Span, after: DecisionPlace | None, known: Collection[str] = (), limit: int = PAGE
) -> DecisionPage:
    """Return the next decisions in order of time, with those of their policies' texts that are not `known`."""
    place = after or DecisionPlace(span.since, FIRST_ID)
    async with database.connection() as connection:
        found = await connection.fetch(_DECISIONS, place.at, place.id, span.until, limit, span.merchant_id, span.kind)
        rows = tuple(_decision(row) for row in found if row["meant"])
        digests = {row.policy_digest for row in rows} - set(known)
        texts = await connection.fetch(_TEXTS, list(digests)) if digests else []
    last = found[-1] if len(found) == limit else None
    return DecisionPage(
        rows=rows,
        texts={text["digest"]: KeptText(source=text["source"], body=text["body"]) for text in texts},
        after=None if last is None else DecisionPlace(last["decided_at"], last["id"]),
    )


async def count_decisions(database: Database, span: Span) -> int | None:
    """Return how many decisions a walk will see, of whomever; None where they are more than is worth counting."""
    async with database.connection() as connection:
        count: int = await connection.fetchval(_COUNT_DECISIONS, span.since, span.until, MAX_COUNTED)
    return count if count < MAX_COUNTED else None


async def read_case_history(
    database: Database, span: Span, after: UUID | None, limit: int = PAGE, *, newest: bool = False
) -> CasePage:
    """Return the next cases opened in the span, each once per kind of policy, with all that was decided in them.

    In the order in which they were opened, or with `newest` the other way round.
    """
    beyond, order = _WAY[newest]
    sql = _CASES.format(whose=_WHOSE[span.merchant_id is None], beyond=beyond, order=order)
    async with database.connection() as connection:
        start = after or (LAST_ID if newest else FIRST_ID)
        found = await connection.fetch(sql, start, limit, span.since, span.until, span.merchant_id)
        meant = [row for row in found if row["meant"]]
        ids = [row["id"] for row in meant]
        decisions = await connection.fetch(_OF_CASES, ids, span.kind, MAX_CASE_DECISIONS) if ids else []
    by_case: dict[tuple[UUID, str], list[asyncpg.Record]] = defaultdict(list)
    for decision in decisions:
        by_case[decision["case_id"], decision["kind"]].append(decision)
    in_order = [(row, kind) for row in meant for kind in PolicyKind if (row["id"], kind) in by_case]
    return CasePage(
        cases=[_case(row, kind, by_case[row["id"], kind]) for row, kind in in_order],
        after=found[-1]["id"] if len(found) == limit else None,
        scanned=len(found),
    )


async def count_cases(database: Database, span: Span) -> int | None:
    """Return how many cases were opened in the span; None where they are more than is worth counting."""
    async with database.connection() as connection:
        count: int = await connection.fetchval(_COUNT_CASES, span.since, span.until, span.merchant_id, MAX_COUNTED)
    return count if count < MAX_COUNTED else None


async def open_tasks_once(connection: asyncpg.Connection, tasks: Collection[HumanTask]) -> set[UUID]:
    """Insert tasks whose ids are new; return those."""
    rows = await connection.fetch(_OPEN_TASKS, msgspec.json.encode(list(tasks)).decode())
    return {row["id"] for row in rows}


def _decision(row: asyncpg.Record) -> KeptDecision:
    return KeptDecision(
        id=row["id"],
        merchant_id=row["merchant_id"],
        case_id=row["case_id"],
        refund_id=row["refund_id"],
        charge_id=row["charge_id"],
        kind=row["kind"],
        policy_digest=row["policy_digest"],
        rule=row["rule"],
        facts=row["facts"],
        situation=row["situation"],
        outcome=row["outcome"],
        explanation=row["explanation"],
        decided_at=row["decided_at"],
    )


def _case(row: asyncpg.Record, kind: str, made: Sequence[asyncpg.Record]) -> HistoryCase:
    return HistoryCase(
        case=str(row["id"]),
        kind=kind,
        merchant=row["merchant_id"],
        policy=made[0]["policy"],
        digest=made[0]["policy_digest"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        result=row["state"],
        reason=row["stop_reason"],
        recovered_at=row["closed_at"] if row["state"] == "recovered" else None,
        decisions=tuple(
            HistoryDecision(
                at=one["decided_at"],
                rule=one["rule"],
                facts=one["facts"],
                situation=one["situation"],
                outcome=one["outcome"],
            )
            for one in made
        ),
    )
