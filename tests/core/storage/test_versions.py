"""Versions of policies as the database holds them: every attempt to break a promise is made through raw SQL."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

UNIQUE, CHECK, FOREIGN, REFUSED = "23505", "23514", "23503", "23000"
OTHER_TEXT = "kind: retry\nname: test\nnote: other\n"
OTHER = sha256(OTHER_TEXT.encode()).hexdigest()

TEXT_INTO = f"INSERT INTO policy_text VALUES ('{OTHER}', 'retry', 'test', 'test.yaml', '{OTHER_TEXT}', now())"


def version_into(
    version: object, digest: str, state: str, *, merchant: str = "NULL", name: str = "test", times: str = ""
) -> str:
    """An INSERT of one version; `times` gives `live_since, retired_at`."""
    times = times or {"live": "now(), NULL", "retired": "NULL, now()"}.get(state, "NULL, NULL")
    return (
        "INSERT INTO policy_version (id, merchant_id, kind, name, digest, state, origin, author, created_at,"
        f" changed_at, live_since, retired_at) VALUES ('{version}', {merchant}, 'retry', '{name}', '{digest}',"
        f" '{state}', 'cli', 'operator:cli', now(), now(), {times})"
    )


@pytest.fixture
async def world(shelf: Any, records: Any) -> Mapping[str, Any]:
    """A live version, a draft and an experiment of it, and a case with a decision and a step."""
    payment = records.payment()
    case = records.case(payment)
    step, decision = records.step(case), records.decision(case)
    await shelf.write(payment, case, decision, step)
    live, draft, trial = uuid4(), uuid4(), uuid4()
    await shelf.sql(
        TEXT_INTO,
        version_into(live, records.digest, "live"),
        version_into(draft, OTHER, "draft"),
        "INSERT INTO policy_experiment (id, kind, name, version_id, control_digest, share_bp, salt, maturity_days,"
        f" min_cases, started_at) VALUES ('{trial}', 'retry', 'test', '{draft}', '{records.digest}', 5000, 'salt',"
        " 30, 100, now())",
    )
    return {
        "live": live, "draft": draft, "trial": trial, "case": case.id, "payment": payment.id, "step": step.id,
        "decision": decision.id, "digest": records.digest, "other": OTHER, "new": uuid4(),
    }  # fmt: skip


MOVE = "UPDATE recovery_case SET policy_digest = '{other}', migrations = migrations + {by} WHERE id = '{case}'"
STEP_INTO = (
    "INSERT INTO timeline_step (id, merchant_id, case_id, payment_id, kind, state, due_at, rule, planned_by,"
    " created_at, key) VALUES (gen_random_uuid(), 'default', '{case}', '{payment}', 'message', 'planned', now(), 'x',"
    " 'policy', now(), 'opened:first')"
)
SHADOW_INTO = (
    "INSERT INTO shadow_decision (version_id, decision_id, merchant_id, case_id, agrees, outcome, decided_at)"
    " VALUES ('{draft}', '{decision}', '{merchant}', '{case}', true, '{{}}', now())"
)

BREAKS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "a second live version of one name": (
        ("UPDATE policy_version SET state = 'live', live_since = now() WHERE id = '{draft}'",), UNIQUE),
    "the same text twice": ((version_into("{new}", "{other}", "draft"),), UNIQUE),
    "two experiments of one name at once": (
        ("UPDATE policy_version SET state = 'experiment' WHERE id = '{draft}'",
         version_into("{new}", "{digest}", "experiment")), UNIQUE),
    "a version of a text that is not kept": ((version_into("{new}", "0" * 64, "draft"),), FOREIGN),
    "a version of an unknown merchant": ((version_into("{new}", "{other}", "draft", merchant="'who'"),), FOREIGN),
    "a live version without its time": ((version_into("{new}", "{other}", "live", merchant="'other'",
                                                       times="NULL, NULL"),), CHECK),
    "a retired version without its time": (
        ("UPDATE policy_version SET state = 'retired' WHERE id = '{live}'",), CHECK),
    "a version brought back to draft": (
        ("UPDATE policy_version SET state = 'draft' WHERE id = '{live}'",), REFUSED),
    "a version with another text": (
        ("UPDATE policy_version SET digest = '{other}' WHERE id = '{live}'",), REFUSED),
    "a version under another name": (("UPDATE policy_version SET name = 'x' WHERE id = '{draft}'",), REFUSED),
    "a version of another kind": (("UPDATE policy_version SET kind = 'refund' WHERE id = '{draft}'",), REFUSED),
    "a version by another author": (("UPDATE policy_version SET author = 'x' WHERE id = '{draft}'",), REFUSED),
    "a version given away": (
        ("UPDATE policy_version SET merchant_id = 'other' WHERE id = '{draft}'",), REFUSED),
    "a deleted version": (("DELETE FROM policy_version WHERE id = '{draft}'",), REFUSED),
    "a second number of what is in force": (("INSERT INTO policy_epoch VALUES (false, 7)",), CHECK),
    "no number of what is in force": (("DELETE FROM policy_epoch",), REFUSED),
    "a second running experiment": (
        ("INSERT INTO policy_experiment SELECT"
         " (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid()))).* FROM policy_experiment e",),
        UNIQUE),
    "an experiment on more than all cases": (("UPDATE policy_experiment SET share_bp = 10001",), CHECK),
    "an experiment that shuffles its cases": (("UPDATE policy_experiment SET salt = 'other'",), REFUSED),
    "an experiment against another version": (
        ("UPDATE policy_experiment SET control_digest = '{other}'",), REFUSED),
    "an experiment stopped without a reason": (("UPDATE policy_experiment SET stopped_at = now()",), CHECK),
    "an experiment that goes on after its end": (
        ("UPDATE policy_experiment SET stopped_at = now(), stopped_because = 'x'",
         "UPDATE policy_experiment SET stopped_at = NULL, stopped_because = NULL"), REFUSED),
    "a case moved without being counted": ((MOVE.replace("{by}", "0"),), REFUSED),
    "a case moved and counted twice": ((MOVE.replace("{by}", "2"),), REFUSED),
    "a case moved and counted back": ((MOVE.replace("{by}", "1"), MOVE.replace("{by}", "-1")), REFUSED),
    "a case renamed": (("UPDATE recovery_case SET policy_name = 'x' WHERE id = '{case}'",), REFUSED),
    "a case put under a dunning policy later": (
        ("UPDATE recovery_case SET dunning_name = 'x', dunning_digest = '{other}' WHERE id = '{case}'",), REFUSED),
    "a case put into an experiment later": (
        ("UPDATE recovery_case SET experiment_id = '{trial}', arm = 'new' WHERE id = '{case}'",), REFUSED),
    "a case put into another arm when it is moved": (
        ("UPDATE recovery_case SET arm = 'new', migrations = migrations + 1 WHERE id = '{case}'",), REFUSED),
    "a case moved to an unknown text": (
        ("UPDATE recovery_case SET policy_digest = repeat('0', 64), migrations = migrations + 1"
         " WHERE id = '{case}'",), FOREIGN),
    "a case given to another payment": (
        ("UPDATE recovery_case SET payment_id = gen_random_uuid(), migrations = migrations + 1"
         " WHERE id = '{case}'",), REFUSED),
    "an edited shadow decision": (
        (SHADOW_INTO.replace("{merchant}", "default"), "UPDATE shadow_decision SET agrees = false"), REFUSED),
    "a shadow decision about another merchant's case": ((SHADOW_INTO.replace("{merchant}", "other"),), FOREIGN),
    "a dunning step planned twice": ((STEP_INTO, STEP_INTO), UNIQUE),
}  # fmt: skip


async def test_each_promise_is_held_against_raw_sql(shelf: Any, world: Mapping[str, Any]) -> None:
    """Every way to break a promise is refused as an integrity violation of the right kind."""
    verdicts = {}
    for name, (statements, _) in BREAKS.items():
        given = [statement.format(**world) for statement in statements]
        verdicts[name] = (await shelf.refused(*given)).sqlstate

    assert verdicts == {name: sqlstate for name, (_, sqlstate) in BREAKS.items()}


async def test_what_the_spoiled_statements_spoil_is_good(shelf: Any, world: Mapping[str, Any]) -> None:
    """Unspoiled, the same statements pass: each refusal above is for its own reason."""
    await shelf.sql(
        MOVE.format(**world, by=1),
        STEP_INTO.format(**world),
        "UPDATE timeline_step SET state = 'skipped', skipped_because = 'x', finished_at = now() WHERE key IS NOT NULL",
        STEP_INTO.format(**world),
        SHADOW_INTO.format(**world, merchant="default"),
        "UPDATE policy_experiment SET share_bp = 10000",
        "UPDATE policy_experiment SET stopped_at = now(), stopped_because = 'x', winner = 'control'",
        version_into(world["new"], world["digest"], "live", merchant="'other'"),
    )


CHANGES_IN_USE = {
    "UPDATE policy_version SET state = 'shadow' WHERE id = '{draft}'": 1,
    "UPDATE policy_version SET state = 'retired', retired_at = now() WHERE id = '{live}'": 1,
    "UPDATE policy_version SET state = 'retired', retired_at = now() WHERE id = '{draft}'": 0,
    "UPDATE policy_experiment SET share_bp = 1000": 1,
    "UPDATE policy_version SET changed_at = now() WHERE id = '{live}'": 0,
}


@pytest.mark.parametrize("statement", CHANGES_IN_USE)
async def test_every_change_of_what_is_in_use_moves_the_number(
    statement: str, shelf: Any, world: Mapping[str, Any]
) -> None:
    """Even one made by hand, so that every process notices; what is in nobody's use doesn't move it."""
    before = await shelf.one("SELECT number FROM policy_epoch")

    await shelf.sql(statement.format(**world))

    assert await shelf.one("SELECT number FROM policy_epoch") - before == CHANGES_IN_USE[statement]
