"""`recoup policy experiment`, `shadow-report` and `migrate`, on a real database with real cases."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from tests.cli.conftest import a_report, in_thread

from recoup_cli.compose import build_service
from recoup_cli.single import sandbox
from recoup_core.domain.payment import Customer
from recoup_core.flows.recover import open_case
from recoup_core.secret import SecretUrl
from recoup_core.settings import DatabaseSettings, Settings

Recoup = Callable[..., Any]
Open = Callable[..., list[str]]


def text_of(days: int, name: str = "cards-consumer", scope: str = "{method: card}") -> str:
    """A policy that waits so many days once, then gives up."""
    return (
        f"kind: retry\nname: {name}\napplies_to: {scope}\nrules:\n"
        f"  - {{name: wait {days}, when: {{attempt: 1}}, retry: {{after: [{days}d]}}}}\n"
        f"  - {{name: give up, stop: exhausted}}\nexamples:\n"
        f"  - {{given: {{}}, expect: wait {days}}}\n  - {{given: {{attempt: 2}}, expect: give up}}\n"
    )


@pytest.fixture
def open_cases(configured: str, tmp_path: Path) -> Open:
    """`open_cases(3)` reports failed payments of so many customers and returns their cases."""
    settings = Settings(
        environment="development",
        database=DatabaseSettings(url=SecretUrl(configured)),
        gateways=(sandbox(tmp_path),),
    )

    async def report(count: int, sweep: bool) -> list[str]:
        service = build_service(settings)
        await service.open()
        now = datetime.now(UTC)
        try:
            ids = []
            for number in range(count):
                one = msgspec.structs.replace(
                    a_report(now), reference=f"INV-{uuid4()}", customer=Customer(ref=f"customer-{number}", country="DE")
                )
                ids.append(str((await open_case(service.context, one, "key:test", None)).case.id))
            if sweep:
                await service.sweep(datetime.now(UTC))
            return ids
        finally:
            await service.close()

    def run(count: int, *, sweep: bool = False) -> list[str]:
        ids: list[str] = in_thread(report(count, sweep))
        return ids

    return run


@pytest.fixture
def version(tmp_path: Path, recoup: Recoup, open_cases: Open) -> Callable[..., str]:
    """`version(5, "activate")` brings a policy of the house in that waits five days, and returns its digest."""
    open_cases(0)  # a service puts the shipped files in force when it starts first: what follows stands in for them

    def bring(days: int, *acts: str, **fields: str) -> str:
        text = text_of(days, **fields)
        path = tmp_path / f"{uuid4()}.yaml"
        path.write_text(text)
        digest = sha256(text.encode()).hexdigest()[:12]
        for arguments in (("submit", path), *((act, digest) for act in acts)):
            done = recoup("policy", *arguments)
            assert done.code == 0, done.err
        return digest

    return bring


def experiment_of(recoup: Recoup, digest: str, *more: object) -> str:
    """Start an experiment and return its id."""
    done = recoup("policy", "experiment", "start", digest, "--share", 50, *more)
    assert done.code == 0, done.err
    found: str = done.out.split()[0]
    return found


def age(url: str, days: int) -> None:
    """Make everything older, as if so many days had passed."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute("UPDATE recovery_case SET opened_at = opened_at - $1::interval", timedelta(days))
        await connection.close()

    asyncio.run(run())


def test_experiment_from_start_to_stop(version: Any, recoup: Recoup) -> None:
    """Each command says in one line what the experiment is now."""
    version(2, "activate")
    digest = version(5)

    started = recoup("policy", "experiment", "start", digest, "--share", "12.5", "--author", "anna")
    identity, *line = started.out.split()
    assert line[:4] == ["retry/cards-consumer", "12.5", "%", "house"]
    assert started.out.endswith("running\n")
    ramped = recoup("policy", "experiment", "ramp", identity, "--share", 50)
    assert ramped.out.split()[2:4] == ["50", "%"]
    assert recoup("policy", "experiment", "list").out == ramped.out
    stopped = recoup("policy", "experiment", "stop", identity, "--because", "seen enough")
    assert stopped.out.endswith(": seen enough\n")
    assert recoup("policy", "experiment", "list").out == stopped.out
    again = recoup("policy", "experiment", "stop", identity, "--because", "again")
    assert (again.code, again.err.splitlines()[0]) == (1, "recoup: the experiment has ended")


def test_report_says_what_came_of_it(configured: str, version: Any, recoup: Recoup, open_cases: Open) -> None:
    """Customers, rates without a sign, money with its currency, differences in points with one, and the verdict."""
    version(2, "activate")
    identity = experiment_of(recoup, version(5), "--min-matured", 1)
    open_cases(8)

    young = recoup("policy", "experiment", "report", identity).out
    age(configured, 31)
    found = recoup("policy", "experiment", "report", identity)

    assert "0 matured, 0 of them recovered\n" in young
    assert "difference  can't be told yet" in young
    assert "=> too_early" in young
    lines = found.out.splitlines()
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == [
        "control", "treatment", "difference", "=>",
    ]  # fmt: skip
    assert "recovered: 0.0% [0.0%, " in found.out
    assert "0.00 EUR of " in found.out
    assert "difference  +0.0 [-" in found.out
    assert "=> running" in found.out
    assert max(map(len, lines)) <= 120
    told = json.loads(recoup("policy", "experiment", "report", identity, "--json").out)
    assert (told["experiment"]["id"], told["result"]["verdict"]) == (identity, "running")
    assert sum(arm["matured"] for arm in told["result"]["arms"].values()) == 8


def test_shadow_report_shows_both_outcomes(version: Any, recoup: Recoup, open_cases: Open) -> None:
    """The newest difference first, with what is in force above what would have been."""
    version(2, "activate")
    digest = version(5, "shadow")
    assert "looked at 0 decisions (none yet;" in recoup("policy", "shadow-report", digest).out
    cases = open_cases(2, sweep=True)

    lines = recoup("policy", "shadow-report", digest, "--limit", 1).out.splitlines()
    told = json.loads(recoup("policy", "shadow-report", digest, "--json").out)

    assert lines[0].startswith("looked at 2 decisions (")
    assert lines[0].endswith("would have made 2 otherwise")
    assert lines[1].endswith(f"case {cases[1]}")
    assert [line.split()[:2] for line in lines[2:]] == [["live", "retry"], ["shadow", "retry"]]
    assert [line.rpartition("(")[2] for line in lines[2:]] == ["wait 2)", "wait 5)"]
    assert told["seen"]["differed"] == 2
    assert [each["case_id"] for each in told["differences"]] == cases[::-1]


def test_cases_are_moved_after_a_look(version: Any, recoup: Recoup, open_cases: Open) -> None:
    """Without --yes nothing happens; the same call with it does what was shown; again it says why nothing is left."""
    old = version(2, "activate")
    cases = open_cases(3)
    new = version(5, "activate")

    looked = recoup("policy", "migrate", "--under", old)
    one = recoup("policy", "migrate", "--case", cases[0], "--yes")
    moved = recoup("policy", "migrate", "--under", old, "--to", new, "--yes", "--author", "anna")
    again = recoup("policy", "migrate", "--yes")

    first = looked.out.splitlines()
    assert first[0] == f"  case {cases[0]}  cards-consumer {old} -> cards-consumer {new}"
    assert "(wait 2)  ->  retry " in first[1]
    assert (first[-1], looked.err) == ("3 of 3 cases would move", "--yes moves them\n")
    assert one.out.splitlines()[-1] == "1 of 1 case moved"
    assert (moved.out.splitlines()[-1], moved.err) == ("2 of 2 cases moved", "")
    assert again.out.splitlines()[-2:] == [
        "not moved, 3 cases: the case is under this version already",
        "0 of 3 cases moved",
    ]


def test_of_many_cases_the_first_are_listed_and_all_count(
    version: Any, recoup: Recoup, open_cases: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are gone through to the end."""
    monkeypatch.setattr("recoup_cli.policy_trials.SHOWN_MOVES", 2)
    monkeypatch.setattr("recoup_core.flows.migrate.MAX_MOVED", 2)
    version(2, "activate")
    open_cases(5)
    version(5, "activate")

    lines = recoup("policy", "migrate").out.splitlines()

    assert sum(line.startswith("  case ") for line in lines) == 2
    assert lines[-2:] == ["  ... and 3 more", "5 of 5 cases would move"]


def test_what_can_not_be_meant_is_one_clear_line(version: Any, recoup: Recoup) -> None:
    """Unknown ids, a name of which nothing is live, a share with too many decimals, somebody else's cases."""
    digest = version(5, name="alone", scope="{method: card, country: FR, segment: consumer}")

    def refused(*arguments: object) -> str:
        done = recoup("policy", *arguments)
        assert (done.code, done.out) in ((1, ""), (2, ""))
        first: str = next(line for line in done.err.splitlines() if line.startswith(("recoup:", "Error:")))
        return first

    unknown = uuid4()
    assert "no live version of retry/alone to compare with" in refused("experiment", "start", digest, "--share", 10)
    assert "more than two decimals" in refused("experiment", "start", digest, "--share", "10.005")
    assert str(unknown) in refused("experiment", "report", unknown)
    assert str(unknown) in refused("experiment", "ramp", unknown, "--share", 10)
    assert "neither an id nor" in refused("shadow-report", "v1")
    assert "has no version abcdef" in refused("migrate", "--to", "abcdef")
    assert recoup("policy", "experiment", "list").err == "there is no experiment\n"
    assert recoup("policy", "migrate", "--merchant", "nobody").out == "0 of 0 cases would move\n"
