"""Reading case files: lock first, then load, a whole batch in two round trips.

Lock order, for every writer: payments by id, then the credentials behind the accounts by id. So no two transactions
wait for each other in a circle, and what a flow decides from a case file stays true until it commits.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.attempt import Attempt
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.happened import HumanTask
from recoup_core.domain.payment import Credential
from recoup_core.ports import GatewayEvent
from recoup_core.storage.customers import KNOWN_CUSTOMER, KnownCustomer
from recoup_core.storage.ledger import STANDING_WRITE_OFF

ACCOUNT_HISTORY: Final = timedelta(days=200)
"""How far back attempts on an account are read: beyond the longest window of any limit (Nacha, 180 days).
What an issuer called final is read however old it is: it blocks the account for good."""

ACCOUNT_HISTORY_ROWS: Final = 1_000
"""The newest attempts of a customer's accounts that are read; no account comes near it inside the limits."""

TOLD_FAILURES: Final = 200
"""Failed tries of one debt that are read from what its gateway told; network limits allow a few dozen."""

_LOCK_PAYMENTS: Final = "SELECT id FROM payment WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"

_LOCK_ACCOUNTS: Final = """
    SELECT a.id FROM credential a WHERE (a.merchant_id, a.account_key) IN (
        SELECT c.merchant_id, c.account_key FROM payment p
        JOIN credential c ON c.merchant_id = p.merchant_id AND c.customer_ref = p.customer ->> 'ref'
        WHERE p.id = ANY($1::uuid[]))
    ORDER BY a.id FOR NO KEY UPDATE"""

_ATTEMPTS: Final = f"""
    SELECT coalesce(json_agg(row_to_json(h) ORDER BY h.submitted_at), '[]') FROM (
        SELECT h.* FROM attempt h
        WHERE h.merchant_id = {{merchant}} AND h.account_key = ANY ({{keys}})
          AND (h.submitted_at > $2 OR h.decline ->> 'retryable' = 'no') {{but}}
        ORDER BY h.submitted_at DESC LIMIT {ACCOUNT_HISTORY_ROWS}) h"""

_KEYS: Final = (
    "ARRAY(SELECT c.account_key FROM credential c"
    " WHERE c.merchant_id = p.merchant_id AND c.customer_ref = p.customer ->> 'ref')"
)

_LOAD: Final = f"""
    SELECT json_build_object(
        'payment', row_to_json(p),
        'case', row_to_json(c),
        'acquirer_country', m.acquirer_country,
        'attempts', (SELECT coalesce(json_agg(row_to_json(a) ORDER BY a.number), '[]')
                     FROM attempt a WHERE a.payment_id = p.id),
        'steps', (SELECT coalesce(json_agg(row_to_json(s) ORDER BY s.due_at, s.id), '[]')
                  FROM timeline_step s WHERE s.case_id = c.id),
        'credentials', (SELECT coalesce(json_agg(row_to_json(k) ORDER BY k.created_at, k.id), '[]') FROM credential k
                        WHERE k.merchant_id = p.merchant_id AND k.customer_ref = p.customer ->> 'ref'),
        'open_tasks', (SELECT coalesce(json_agg(row_to_json(t) ORDER BY t.id), '[]') FROM human_task t
                       WHERE t.payment_id = p.id AND t.resolved_at IS NULL),
        'standing', coalesce((SELECT json_build_object('timezone', x.timezone, 'country', x.country,
                                  'do_not_contact', x.do_not_contact, 'vulnerable', x.vulnerable)
                              FROM customer x WHERE x.merchant_id = p.merchant_id AND x.ref = p.customer ->> 'ref'),
                             '{{}}'::json),
        'requests', (SELECT coalesce(json_agg(row_to_json(q) ORDER BY q.id), '[]')
                     FROM subscription_request q WHERE q.case_id = c.id),
        'write_off', CASE WHEN c.state = 'written_off' THEN ({STANDING_WRITE_OFF}) END,
        'other_attempts', ({_ATTEMPTS.format(merchant="p.merchant_id", keys=_KEYS, but="AND h.payment_id <> p.id")})
    )::text
    FROM payment p
    JOIN recovery_case c ON c.payment_id = p.id
    JOIN merchant m ON m.id = p.merchant_id
    WHERE p.id = ANY($1::uuid[])"""


class AccountHistory(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a customer's credentials and accounts before a payment of theirs is stored."""

    credentials: tuple[Credential, ...]
    attempts: tuple[Attempt, ...]
    """Every known attempt on the customer's accounts."""
    acquirer_country: str | None
    policy_epoch: int
    """The number of the policies in force, as of this very read."""
    early: tuple[GatewayEvent, ...]
    """Successes that the gateway told of before any payment was known by these charges: events come in any order."""
    failures: tuple[GatewayEvent, ...]
    """Failed tries of this debt that the gateway told of while somebody else was its owner; the newest first."""
    announced: UUID | None = None
    """The upcoming charge that this debt was announced as."""
    owner_tasks: tuple[HumanTask, ...]
    """Questions who tries this debt again that still wait for a person."""
    customer: KnownCustomer | None = None
    """How the customer is reached, as far as anybody told."""


_ACCOUNTS: Final = f"""
    WITH known AS (SELECT * FROM credential WHERE merchant_id = $1 AND customer_ref = $3)
    SELECT json_build_object(
        'credentials', (SELECT coalesce(json_agg(row_to_json(k) ORDER BY k.created_at, k.id), '[]') FROM known k),
        'attempts', ({
    _ATTEMPTS.format(merchant="$1", keys="$4::text[] || ARRAY(SELECT k.account_key FROM known k)", but="")
}),
        'acquirer_country', (SELECT acquirer_country FROM merchant WHERE id = $1),
        'policy_epoch', (SELECT number FROM policy_epoch),
        'early', (SELECT coalesce(json_agg(e.body ORDER BY e.id), '[]') FROM inbound_event e
                  WHERE e.gateway = $5 AND e.body ->> 'gateway_ref' = ANY ($6::text[])
                    AND e.state IN ('received', 'ignored', 'dead') AND e.body #>> '{{outcome,type}}' = 'succeeded'),
        'failures', (SELECT coalesce(json_agg(f.body ORDER BY f.id DESC), '[]') FROM (
            SELECT e.id, e.body FROM inbound_event e
            WHERE e.gateway = $5 AND e.body #>> '{{failure,payment_reference}}' = $7
              AND e.state IN ('received', 'ignored', 'dead') AND e.body #>> '{{outcome,type}}' = 'declined'
            ORDER BY e.id DESC LIMIT {TOLD_FAILURES}) f),
        'announced', (SELECT u.id FROM upcoming_charge u
                      WHERE u.merchant_id = $1 AND u.reference = $7 AND u.state = 'announced'),
        'owner_tasks', (SELECT coalesce(json_agg(row_to_json(t) ORDER BY t.id), '[]') FROM human_task t
            WHERE t.merchant_id = $1 AND t.kind = 'two_owners' AND t.reason = $8
              AND t.payment_id IS NULL AND t.resolved_at IS NULL),
        'customer', ({KNOWN_CUSTOMER.format(merchant="$1", ref="$3")})
    )::text"""


async def lock_payments(connection: asyncpg.Connection, payment_ids: Collection[UUID]) -> None:
    """Take the payments' row locks, in id order; held until the transaction ends."""
    await connection.fetch(_LOCK_PAYMENTS, list(payment_ids))


async def lock_accounts(connection: asyncpg.Connection, payment_ids: Collection[UUID]) -> None:
    """Take the locks of every credential on the payers' accounts: limits are counted per account, over payments."""
    await connection.fetch(_LOCK_ACCOUNTS, list(payment_ids))


async def load_cases(
    connection: asyncpg.Connection, payment_ids: Collection[UUID], now: datetime
) -> dict[UUID, CaseFile]:
    """Return the case files by payment id; payments without a case are left out."""
    rows = await connection.fetch(_LOAD, list(payment_ids), now - ACCOUNT_HISTORY)
    files = (msgspec.json.decode(row[0], type=CaseFile) for row in rows)
    return {file.payment.id: file for file in files}


async def account_history(
    connection: asyncpg.Connection,
    merchant_id: str,
    customer_ref: str,
    account_keys: Sequence[str],
    now: datetime,
    *,
    gateway: str,
    charges: Collection[str],
    reference: str,
    question: str,
) -> AccountHistory:
    """Return a customer's credentials, every known attempt on their accounts and on `account_keys`, and what the
    gateway has told of these charges and of the debt by that reference, or asked (`question`) about it."""
    since = now - ACCOUNT_HISTORY
    row = await connection.fetchval(
        _ACCOUNTS, merchant_id, since, customer_ref, list(account_keys), gateway, list(charges), reference, question
    )
    return msgspec.json.decode(row, type=AccountHistory)


async def payments_of_cases(connection: asyncpg.Connection, case_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Return case id to payment id."""
    rows = await connection.fetch("SELECT id, payment_id FROM recovery_case WHERE id = ANY($1::uuid[])", list(case_ids))
    return {row["id"]: row["payment_id"] for row in rows}


async def payments_of_steps(connection: asyncpg.Connection, step_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Return step id to payment id."""
    rows = await connection.fetch("SELECT id, payment_id FROM timeline_step WHERE id = ANY($1::uuid[])", list(step_ids))
    return {row["id"]: row["payment_id"] for row in rows}


async def payments_of_attempts(connection: asyncpg.Connection, attempt_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Return attempt id to payment id."""
    rows = await connection.fetch("SELECT id, payment_id FROM attempt WHERE id = ANY($1::uuid[])", list(attempt_ids))
    return {row["id"]: row["payment_id"] for row in rows}
