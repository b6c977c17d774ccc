"""`recoup inbound`, `recoup gateway` and `recoup attempt`: what gateways told, and what is settled by hand."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

Recoup = Callable[..., Any]
Sql = Callable[..., list[Any]]


@pytest.fixture
def sql(shop: None, configured: str) -> Sql:
    """Asks the shop's database."""

    async def ask(text: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(configured)
        try:
            return list(await connection.fetch(text, *values))
        finally:
            await connection.close()

    return lambda text, *values: asyncio.run(ask(text, *values))


@pytest.fixture
def event(sql: Sql) -> Callable[..., UUID]:
    """`event(state)` stores something that the sandbox told; returns its id."""

    def make(state: str = "dead", *, kind: str = "charge.unheard_of", owner: str | None = "default") -> UUID:
        body = {"external_id": "e", "kind": kind, "occurred_at": "2026-11-23T09:00:00Z", "payload": {"note": "hello"}}
        closed = None if state == "received" else datetime.now(UTC)
        [row] = sql(
            "INSERT INTO inbound_event (id, merchant_id, gateway, external_id, kind, body, state, tries, last_error,"
            " received_at, applied_at) VALUES (gen_random_uuid(), $1, 'sandbox', $2, $3, $4, $5, 8, 'TypeError: x',"
            " now(), $6) RETURNING id",
            owner,
            str(uuid4()),
            kind,
            json.dumps(body),
            state,
            closed,
        )
        found: UUID = row["id"]
        return found

    return make


def test_events_are_listed_and_shown(event: Callable[..., UUID], recoup: Recoup) -> None:
    """One line each, and the whole of one as JSON."""
    dead = event()
    event("ignored", kind="customer.updated")

    everything = recoup("inbound", "list")
    only = recoup("inbound", "list", "--state", "dead")
    shown = recoup("inbound", "show", dead)

    assert len(everything.out.splitlines()) == 2
    assert f"{dead}  sandbox  charge.unheard_of  dead, tried 8 times: TypeError: x" in only.out
    assert json.loads(shown.out)["body"]["payload"] == {"note": "hello"}
    assert recoup("inbound", "show", uuid4()).code == 1
    assert "no such event" in recoup("inbound", "list", "--kind", "nothing").err


def test_what_is_dead_is_handed_in_again(event: Callable[..., UUID], recoup: Recoup, sql: Sql) -> None:
    """One by its id, or all of a gateway, once a fault was mended."""
    one, others = event(), [event() for _ in range(3)]

    first = recoup("inbound", "apply", one)
    rest = recoup("inbound", "apply", "--all-dead", "--gateway", "sandbox", "--json")
    none = recoup("inbound", "apply", "--all-dead")
    again = recoup("inbound", "apply", one)

    assert (first.code, "received" in first.out) == (0, True)
    assert {row["id"] for row in json.loads(rest.out)} == {str(each) for each in others}
    assert (none.code, "no such event" in none.err) == (0, True)
    assert again.code == 1
    assert sql("SELECT count(*) FROM job WHERE kind = 'inbound'")[0][0] == 4


@pytest.mark.parametrize("arguments", [(), ("--gateway", "sandbox"), ("--all-dead", str(uuid4()))])
def test_what_is_to_be_handed_in_is_said_once(recoup: Recoup, arguments: tuple[str, ...]) -> None:
    """Nothing is guessed."""
    assert recoup("inbound", "apply", *arguments).code == 2


def test_an_event_is_dismissed_with_a_reason(event: Callable[..., UUID], recoup: Recoup) -> None:
    """It stays with the event."""
    dead = event()

    without = recoup("inbound", "dismiss", dead)
    done = recoup("inbound", "dismiss", dead, "--reason", "a test, ticket 4713")

    assert without.code == 2
    assert "dismissed" in done.out
    assert "a test, ticket 4713" in recoup("inbound", "list", "--state", "dismissed").out


def test_what_belongs_to_nobody_known_is_seen_here_only(event: Callable[..., UUID], recoup: Recoup) -> None:
    """No merchant's list holds it."""
    lost = event(owner=None)

    assert str(lost) in recoup("inbound", "list", "--unowned").out
    assert str(lost) not in recoup("inbound", "list").out


def test_a_gateway_without_a_list_of_events_says_so(shop: None, recoup: Recoup) -> None:
    """So does one that nobody configured."""
    nobody = recoup("gateway", "catch-up", "nobody", "--since", "2026-11-20")

    assert (nobody.code, "nobody can't be asked for its events" in nobody.err) == (1, True)


def test_an_unknown_outcome_is_settled_by_hand(
    shop: None, recoup: Recoup, sql: Sql, key_of: Callable[..., Path]
) -> None:
    """By an operator's key, with evidence; an agent may not."""
    unknown = uuid4()

    agent = recoup(
        "attempt", "resolve", unknown, "--outcome", "succeeded", "--evidence", "x", "--key-file", key_of("mia")
    )
    operator = key_of("otto", role="operator")
    missing = recoup("attempt", "resolve", unknown, "--outcome", "succeeded", "--evidence", "x", "--key-file", operator)

    assert (agent.code, "none of the roles" in agent.err) == (1, True)
    assert (missing.code, f"no attempt {unknown}" in missing.err) == (1, True)
