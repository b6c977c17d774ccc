"""`migrate`, and processes that refuse to start on what they can't work with."""

from collections.abc import Callable
from typing import Any

import pytest


def test_migrate_applies_once_and_says_what(
    monkeypatch: pytest.MonkeyPatch, empty_database_url: str, recoup: Callable[..., Any]
) -> None:
    """--check reports what is missing by its exit code; a second run has nothing to do."""
    monkeypatch.setenv("RECOUP_DATABASE_URL", empty_database_url)

    before = recoup("migrate", "--check")
    applied = recoup("migrate")
    again = recoup("migrate")
    after = recoup("migrate", "--check")

    assert (before.code, applied.code, again.code, after.code) == (1, 0, 0, 0)
    assert before.out.startswith("missing  ")
    assert applied.out.startswith("applied  ")
    assert "up to date already" in again.out
    assert "is up to date" in after.out


@pytest.mark.parametrize("command", ["api", "worker", "scheduler"])
def test_processes_refuse_a_database_that_lacks_migrations(
    command: str, monkeypatch: pytest.MonkeyPatch, empty_database_url: str, recoup: Callable[..., Any]
) -> None:
    """New code never serves on an old schema; the remedy is named."""
    monkeypatch.setenv("RECOUP_DATABASE_URL", empty_database_url)

    done = recoup(command)

    assert done.code == 1
    assert "recoup migrate" in done.err


@pytest.mark.parametrize("command", ["api", "worker", "scheduler", "migrate"])
def test_processes_need_a_database(command: str, recoup: Callable[..., Any]) -> None:
    """The embedded one is for `up` and `demo` only."""
    done = recoup(command)

    assert done.code == 1
    assert "RECOUP_DATABASE_URL" in done.err


@pytest.mark.parametrize("command", ["worker", "scheduler"])
def test_workers_and_schedulers_need_a_broker(command: str, configured: str, recoup: Callable[..., Any]) -> None:
    """A wrong set-up is told as a setting, with exit code 2."""
    done = recoup(command)

    assert done.code == 2
    assert "amqp.url" in done.err
