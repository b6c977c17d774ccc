"""What must always hold is held by the database: every attempt to break a promise is made through raw SQL."""

from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from recoup_core.domain.attempt import ATTEMPT, AttemptState
from recoup_core.domain.inbound import INBOUND_EVENT, InboundState
from recoup_core.domain.payment import PAYMENT, PaymentState
from recoup_core.domain.recovery import CASE, STEP, CaseState, StepKind, StepState


def legal(machine: Any) -> set[tuple[str, str]]:
    """The pairs of states that the domain's table connects."""
    return {(str(before), str(after)) for (before, _), after in machine.table.items() if before != after}


async def connected(shelf: Any, table: str, states: Mapping[str, str], where: str) -> set[tuple[str, str]]:
    """Try every UPDATE from state to state by raw SQL; return the pairs the database took.

    `states` gives, for each state, the other columns that its CHECK constraints ask for.
    """
    taken = set()
    for before, before_columns in states.items():
        for after, after_columns in states.items():
            try:
                async with shelf.database.transaction() as connection:
                    await connection.execute("SET LOCAL session_replication_role = replica")
                    await connection.execute(f"UPDATE {table} SET state = '{before}' {before_columns} WHERE {where}")
                    await connection.execute("SET LOCAL session_replication_role = origin")
                    await connection.execute(f"UPDATE {table} SET state = '{after}' {after_columns} WHERE {where}")
                    raise Took
            except Took:
                taken.add((before, after))
            except asyncpg.IntegrityConstraintViolationError as refusal:
                if "can't go from" not in str(refusal):  # refused for another reason than the state table
                    raise
    return {(before, after) for before, after in taken if before != after}


class Took(Exception):
    """The database accepted the change; raised to take it back."""


async def test_payment_states_are_held_by_the_database(shelf: Any, records: Any) -> None:
    """The trigger allows exactly the domain's pairs."""
    payment = records.payment()
    await shelf.write(payment)

    taken = await connected(shelf, "payment", dict.fromkeys(PaymentState, ""), f"id = '{payment.id}'")

    assert taken == legal(PAYMENT)


async def test_attempt_states_are_held_by_the_database(shelf: Any, records: Any) -> None:
    """The trigger allows exactly the domain's pairs; nothing leads out of a success."""
    payment = records.payment()
    case = records.case(payment)
    attempt = records.attempt(case)
    await shelf.write(payment, case, attempt)
    over = ", finished_at = now(), decline = '{}'"
    columns = {
        state: over if state in ("succeeded", "declined", "not_sent", "canceled") else ", finished_at = NULL"
        for state in AttemptState
    }

    taken = await connected(shelf, "attempt", columns, f"id = '{attempt.id}'")

    assert taken == legal(ATTEMPT)


async def test_case_states_are_held_by_the_database(shelf: Any, records: Any) -> None:
    """The trigger allows exactly the domain's pairs."""
    payment = records.payment()
    case = records.case(payment)
    await shelf.write(payment, case)
    columns = {s: f", closed_at = {'NULL' if s in ('open', 'paused') else 'now()'}" for s in CaseState}

    taken = await connected(shelf, "recovery_case", columns, f"id = '{case.id}'")

    assert taken == legal(CASE)


async def test_step_states_are_held_by_the_database(shelf: Any, records: Any) -> None:
    """The trigger allows exactly the domain's pairs; a retry, besides, is never done before it was under way."""
    payment = records.payment()
    case = records.case(payment)
    step, retry = records.step(case, kind=StepKind.HUMAN_TASK), records.step(case)
    await shelf.write(payment, case, step, retry)
    columns = {
        StepState.PLANNED: ", finished_at = NULL, skipped_because = NULL",
        StepState.RUNNING: ", finished_at = NULL, skipped_because = NULL",
        StepState.DONE: ", finished_at = now(), skipped_because = NULL",
        StepState.SKIPPED: ", finished_at = now(), skipped_because = 'x'",
    }

    taken = await connected(shelf, "timeline_step", columns, f"id = '{step.id}'")
    of_retries = await connected(shelf, "timeline_step", columns, f"id = '{retry.id}'")

    assert taken == legal(STEP)
    assert of_retries == taken - {(StepState.PLANNED, StepState.DONE)}


async def test_inbound_event_states_are_held_by_the_database(shelf: Any) -> None:
    """What was applied stays applied; what was not may be handed in again."""
    await shelf.sql(
        "INSERT INTO inbound_event (id, gateway, external_id, kind, body, state, received_at)"
        " VALUES (gen_random_uuid(), 'sandbox', 'evt_1', 'x', '{}', 'received', now())"
    )
    columns = dict.fromkeys(InboundState, ", applied_at = now()") | {InboundState.RECEIVED: ", applied_at = NULL"}

    taken = await connected(shelf, "inbound_event", columns, "true")

    assert taken == legal(INBOUND_EVENT)


@pytest.fixture
async def world(shelf: Any, records: Any) -> Mapping[str, Any]:
    """One paid payment of this merchant, one open one, and one of another merchant."""
    paid, owed, other = records.payment(), records.payment(), records.payment(merchant_id="other")
    paid_case, case, other_case = records.case(paid), records.case(owed), records.case(other)
    succeeded = records.attempt(paid_case, AttemptState.SUCCEEDED)
    live = records.attempt(case, AttemptState.SUBMITTED)
    credential = records.credential()
    other_credential = records.credential(merchant_id="other")
    step, decision = records.step(case), records.decision(case)
    capture = records.capture(succeeded)
    entry = records.booked(capture)
    rows = (paid, owed, other, paid_case, case, other_case, credential, other_credential, decision)
    await shelf.write(*rows, step, succeeded, live, capture, entry, records.event(paid.id))
    return {
        "owed": owed.id, "case": case.id, "other": other.id, "other_case": other_case.id, "live": live.id,
        "paid": paid.id, "paid_case": paid_case.id, "succeeded": succeeded.id, "step": step.id, "entry": entry.id,
        "decision": decision.id, "credential": credential.id, "other_credential": other_credential.id,
        "capture": capture.id,
    }  # fmt: skip


ATTEMPT_INTO = """INSERT INTO attempt (id, merchant_id, payment_id, case_id, number, origin, gateway, method,
    amount_minor, currency, idempotency_key, state, sends, claim, created_at, submitted_at, credential_id, finished_at)
    VALUES (gen_random_uuid(), """
STEP_INTO = """INSERT INTO timeline_step (id, merchant_id, case_id, payment_id, kind, state, due_at, rule,
    planned_by, created_at, credential_id, key) VALUES (gen_random_uuid(), """
ENTRY_INTO = """INSERT INTO ledger_entry (id, merchant_id, kind, payment_id, capture_id, occurred_at, created_at)
    VALUES """

NEW_ATTEMPT = (
    ATTEMPT_INTO + "'default', '{paid}', '{paid_case}', 99, 'policy', 'sandbox', 'card', 1, 'EUR', {key}, '{state}', 1,"
    " 0, now(), now(), {credential}, {finished})"
)


def new_attempt(**fields: str) -> str:
    """An INSERT that the database takes as it stands; each case below spoils one thing."""
    good = {"key": "'key-99'", "state": "submitted", "credential": "NULL", "finished": "NULL"}
    text = NEW_ATTEMPT
    for name, value in {**good, **fields}.items():
        text = text.replace(f"{{{name}}}", value)
    return text


UNIQUE, CHECK, FOREIGN, REFUSED = "23505", "23514", "23503", "23000"

BREAKS: Mapping[str, tuple[str, str]] = {
    "a second live attempt": (
        new_attempt().replace("{paid}", "{owed}").replace("{paid_case}", "{case}"), UNIQUE),
    "an idempotency key used again": (
        new_attempt(key="(SELECT idempotency_key FROM attempt WHERE id = '{live}')"), UNIQUE),
    "an attempt of ours without a key": (new_attempt(key="NULL"), CHECK),
    "a key longer than gateways take": (new_attempt(key="repeat('k', 65)"), CHECK),
    "a decline without its reason": (new_attempt(state="declined", finished="now()"), CHECK),
    "an attempt that is over without a time": (new_attempt(state="succeeded"), CHECK),
    "an attempt that is live and over": (new_attempt(finished="now()"), CHECK),
    "an attempt on another merchant's credential": (new_attempt(credential="'{other_credential}'"), FOREIGN),
    "an attempt in another merchant's case": (new_attempt().replace("{paid_case}", "{other_case}"), FOREIGN),
    "an attempt on another merchant's payment": (
        new_attempt().replace("{paid}", "{other}").replace("{paid_case}", "{other_case}"), FOREIGN),
    "an attempt moved to another payment": ("UPDATE attempt SET payment_id = '{paid}' WHERE id = '{live}'", REFUSED),
    "an edited amount of an attempt": ("UPDATE attempt SET amount_minor = 1 WHERE id = '{live}'", REFUSED),
    "an edited currency of an attempt": ("UPDATE attempt SET currency = 'USD' WHERE id = '{live}'", REFUSED),
    "an edited key": ("UPDATE attempt SET idempotency_key = 'other' WHERE id = '{live}'", REFUSED),
    "an edited account": ("UPDATE attempt SET account_key = 'fp:other' WHERE id = '{live}'", REFUSED),
    "an edited credential": ("UPDATE attempt SET credential_id = '{credential}' WHERE id = '{live}'", REFUSED),
    "an edited gateway": ("UPDATE attempt SET gateway = 'other' WHERE id = '{live}'", REFUSED),
    "an attempt made unsent": ("UPDATE attempt SET sends = 0 WHERE id = '{live}'", REFUSED),
    "an attempt whose sending is forgotten": ("UPDATE attempt SET submitted_at = NULL WHERE id = '{live}'", CHECK),
    "a deleted attempt": ("DELETE FROM attempt WHERE id = '{live}'", REFUSED),
    "an attempt of nothing": (new_attempt().replace(", 1, 'EUR'", ", 0, 'EUR'"), CHECK),
    "an edited debt": ("UPDATE payment SET amount_minor = 1 WHERE id = '{owed}'", REFUSED),
    "an edited currency of a debt": ("UPDATE payment SET currency = 'JPY' WHERE id = '{owed}'", REFUSED),
    "an edited reference": ("UPDATE payment SET reference = 'x' WHERE id = '{owed}'", REFUSED),
    "a payment given to another merchant": ("UPDATE payment SET merchant_id = 'other' WHERE id = '{owed}'", REFUSED),
    "less than nothing captured": ("UPDATE payment SET captured_minor = -1 WHERE id = '{owed}'", CHECK),
    "a reference used again": (
        "INSERT INTO payment SELECT (jsonb_populate_record(p, jsonb_build_object('id', gen_random_uuid()))).*"
        " FROM payment p WHERE id = '{owed}'", UNIQUE),
    "a second case of one payment": (
        "INSERT INTO recovery_case SELECT (jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid()))).*"
        " FROM recovery_case c WHERE id = '{case}'", UNIQUE),
    "a case moved to another policy": (
        "UPDATE recovery_case SET policy_digest = repeat('0', 64) WHERE id = '{case}'", REFUSED),
    "a case under an unknown policy": (
        "INSERT INTO recovery_case SELECT (jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid(),"
        " 'payment_id', gen_random_uuid(), 'policy_digest', repeat('0', 64)))).* FROM recovery_case c"
        " WHERE id = '{case}'", FOREIGN),
    "a closed case without a time": ("UPDATE recovery_case SET state = 'canceled' WHERE id = '{case}'", CHECK),
    "an open case with a closing time": ("UPDATE recovery_case SET closed_at = now() WHERE id = '{case}'", CHECK),
    "a case of another merchant's payment": (
        "INSERT INTO recovery_case SELECT (jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid(),"
        " 'payment_id', '{other}'))).* FROM recovery_case c WHERE id = '{case}'", UNIQUE),
    "a second planned retry": (
        STEP_INTO + "'default', '{case}', '{owed}', 'retry', 'planned', now(), 'x', 'policy', now(), NULL, NULL)",
        UNIQUE),
    "a step on another merchant's credential": (
        STEP_INTO + "'default', '{case}', '{owed}', 'message', 'planned', now(), 'x', 'policy', now(),"
        " '{other_credential}', 'a')", FOREIGN),
    "a step in another merchant's case": (
        STEP_INTO + "'default', '{other_case}', '{owed}', 'message', 'planned', now(), 'x', 'policy', now(), NULL,"
        " 'a')", FOREIGN),
    "a dunning step without a key": (
        STEP_INTO + "'default', '{case}', '{owed}', 'message', 'planned', now(), 'x', 'policy', now(), NULL, NULL)",
        CHECK),
    "a skipped step without a reason": (
        "UPDATE timeline_step SET state = 'skipped', finished_at = now() WHERE id = '{step}'", CHECK),
    "a capture booked twice": (
        ENTRY_INTO + "(gen_random_uuid(), 'default', 'capture', '{paid}', '{capture}', now(), now())", UNIQUE),
    "an entry without postings": (
        ENTRY_INTO + "(gen_random_uuid(), 'default', 'fee', '{owed}', NULL, now(), now())", REFUSED),
    "an entry of another merchant's payment": (
        ENTRY_INTO + "(gen_random_uuid(), 'default', 'fee', '{other}', NULL, now(), now())", FOREIGN),
    "a posting added later that unbalances": (
        "INSERT INTO ledger_posting VALUES ('{entry}', 3, 'receivable', 1, 'EUR')", REFUSED),
    "a posting in another currency": (
        "INSERT INTO ledger_posting VALUES ('{entry}', 3, 'tax', 5, 'USD'), ('{entry}', 4, 'tax', -5, 'EUR')", REFUSED),
    "a posting to an account that is not in the chart": (
        "INSERT INTO ledger_posting VALUES ('{entry}', 3, 'cash', 5, 'EUR')", CHECK),
    "a posting of nothing": ("INSERT INTO ledger_posting VALUES ('{entry}', 3, 'receivable', 0, 'EUR')", CHECK),
    "a policy text that is not its digest": (
        "INSERT INTO policy_text VALUES (repeat('a', 64), 'retry', 'x', 'x', 'body', now())", CHECK),
    "a deleted inbound event": (
        "INSERT INTO inbound_event (id, gateway, external_id, kind, body, state, received_at)"
        " VALUES (gen_random_uuid(), 'g', 'e', 'k', '{{}}', 'received', now()); DELETE FROM inbound_event", REFUSED),
    "a task resolved by nobody": (
        "INSERT INTO human_task (id, merchant_id, kind, reason, opened_at, due_at, resolved_at)"
        " VALUES (gen_random_uuid(), 'default', 'stuck_job', 'x', now(), now(), now())", CHECK),
}  # fmt: skip


async def test_each_promise_is_held_against_raw_sql(shelf: Any, world: Mapping[str, Any]) -> None:
    """Every way to break a promise is refused as an integrity violation of the right kind."""
    verdicts = {}
    for name, (statement, _) in BREAKS.items():
        verdicts[name] = (await shelf.refused(statement.format(**world))).sqlstate

    assert verdicts == {name: sqlstate for name, (_, sqlstate) in BREAKS.items()}


async def test_what_the_spoiled_statements_spoil_is_good(shelf: Any, world: Mapping[str, Any]) -> None:
    """Unspoiled, the same statements pass: each refusal above is for its own reason."""
    await shelf.sql(new_attempt().format(**world))
    message = STEP_INTO + "'default', '{case}', '{owed}', 'message', 'planned', now(), 'x', 'policy', now(), NULL, 'a')"
    await shelf.sql(message.format(**world))
    await shelf.sql(
        (ENTRY_INTO + "('{owed}', 'default', 'fee', '{owed}', NULL, now(), now())").format(**world),
        "INSERT INTO ledger_posting VALUES ('{owed}', 1, 'fees', 7, 'EUR'), ('{owed}', 2, 'tax', -7, 'EUR')".format(
            **world
        ),
    )


APPEND_ONLY = ["event", "event_seal", "decision", "ledger_entry", "ledger_posting", "policy_text"]


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_what_is_written_for_good_is_never_changed(shelf: Any, world: Mapping[str, Any], table: str) -> None:
    """Neither edited, deleted nor emptied."""
    await shelf.sql(
        "INSERT INTO event_seal VALUES (1, '{{1}}', ARRAY['x'::bytea], '1', 1, decode(repeat('00', 32), 'hex'),"
        " decode(repeat('00', 32), 'hex'), now())".replace("{{", "{").replace("}}", "}")
    )
    column = {"event_seal": "number", "ledger_posting": "line", "policy_text": "name"}.get(table, "merchant_id")

    for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
        refusal = await shelf.refused(statement)
        assert refusal.sqlstate == REFUSED, statement
        assert "append-only" in str(refusal)
    assert await shelf.one(f"SELECT count(*) FROM {table}") > 0


async def test_an_unbalanced_entry_is_refused_at_commit(shelf: Any, world: Mapping[str, Any]) -> None:
    """Line by line it may be unbalanced for a moment; what is committed is balanced."""
    entry = (ENTRY_INTO + "('{owed}', 'default', 'fee', '{owed}', NULL, now(), now())").format(**world)
    first = "INSERT INTO ledger_posting VALUES ('{owed}', 1, 'fees', 700, 'EUR')".format(**world)
    second = "INSERT INTO ledger_posting VALUES ('{owed}', 2, 'tax', {amount}, 'EUR')"

    one_line = await shelf.refused(entry, first)
    off_by_one = await shelf.refused(entry, first, second.format(**world, amount=-699))
    await shelf.sql(entry, first, second.format(**world, amount=-700))

    assert (one_line.sqlstate, off_by_one.sqlstate) == (REFUSED, REFUSED)
    assert await shelf.one("SELECT sum(amount_minor) FROM ledger_posting") == 0
