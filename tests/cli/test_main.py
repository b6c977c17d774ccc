"""Help worth reading, and failures told in a line."""

from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from recoup_cli.main import cli


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(cli))


def test_every_promised_command_is_there() -> None:
    """The names are part of the contract with scripts and compose files."""
    assert {" ".join(path) for path in ALL} == {
        "up", "demo", "api", "worker", "scheduler", "migrate", "policy check", "policy explain", "case show",
        "case credentials", "case link",
        "audit verify", "keys create", "keys list", "keys revoke",
        "policy apply", "policy versions", "policy show", "policy submit", "policy shadow", "policy activate",
        "policy retire", "policy rollback", "policy test", "policy schema", "policy problems", "policy diff",
        "policy simulate", "policy history export", "policy replay", "policy shadow-report", "policy migrate",
        "policy experiment start", "policy experiment ramp", "policy experiment stop", "policy experiment list",
        "policy experiment report", "payment report-captured",
        "refund request", "refund preview", "refund show", "refund list", "refund edit", "refund submit",
        "refund cancel", "refund retry", "refund resolve", "refund approve",
        "refund reject", "refund send-back", "approvals list", "approvals decide",
        "template list", "template preview", "template check", "plugin new", "plugin check", "plugin list",
        "notifier list", "notifier test",
        "delegation create", "delegation list", "delegation revoke", "dispute list", "dispute report",
        "customer show", "customer set", "customer do-not-contact", "customer release", "customer erase",
        "message list", "message show",
        "subscription list", "subscription acknowledge", "charge list", "charge show", "charge call-off",
        "settlement import", "settlement fetch", "settlement list", "settlement show", "settlement exceptions",
        "settlement assign", "settlement resolve",
        "webhook create", "webhook list", "webhook show", "webhook log", "webhook test", "webhook secret",
        "webhook roll", "webhook disable", "webhook enable", "webhook delete", "webhook replay",
        "ledger verify", "ledger balances", "ledger trial-balance", "ledger export",
        "inbound list", "inbound show", "inbound apply", "inbound dismiss", "gateway catch-up", "attempt resolve",
        "staff list", "staff mute", "staff unmute", "staff test",
    }  # fmt: skip


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_explains_and_gives_an_example(path: tuple[str, ...], recoup: Callable[..., Any]) -> None:
    """Help says more than the command's name and shows a whole call of it."""
    done = recoup(*path, "--help")

    assert done.code == 0
    assert "Example" in done.out
    assert f"recoup {' '.join(path)}" in done.out.partition("Example")[2]
    assert len(ALL[path].help or "") > 60


def test_version_is_the_distributions(recoup: Callable[..., Any]) -> None:
    """`recoup --version` names the installed release."""
    done = recoup("--version")

    assert (done.code, done.out.split()[-1].count(".")) == (0, 2)


@pytest.mark.parametrize("arguments", [("nothing",), ("policy", "diff"), ("up", "--port", "70000")])
def test_misuse_exits_with_2(arguments: tuple[str, ...], recoup: Callable[..., Any]) -> None:
    """Scripts can tell a wrong call from a failure."""
    done = recoup(*arguments)

    assert done.code == 2
    assert "Usage" in done.err


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch, recoup: Callable[..., Any]) -> None:
    """One start shows all mistakes, and no traceback."""
    monkeypatch.setenv("RECOUP_WORKER_THREADS", "many")
    monkeypatch.setenv("RECOUP_LOG_LEVEL", "loud")

    done = recoup("keys", "list")

    assert done.code == 2
    assert "RECOUP_WORKER_THREADS" in done.err
    assert "RECOUP_LOG_LEVEL" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("arguments", [("keys", "list"), ("audit", "verify"), ("case", "show", "INV-1")])
def test_without_a_database_the_way_to_one_is_named(arguments: tuple[str, ...], recoup: Callable[..., Any]) -> None:
    """Nothing configured and nothing running is an expected failure."""
    done = recoup(*arguments)

    assert done.code == 1
    assert "RECOUP_DATABASE_URL" in done.err


def test_a_database_out_of_reach_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, database_url: str, recoup: Callable[..., Any]
) -> None:
    """`DatabaseUnavailable` is a line, and a secret stays one."""
    monkeypatch.setenv("RECOUP_DATABASE_URL", database_url.rpartition("/")[0] + "/no_such_database")

    done = recoup("audit", "verify")

    assert done.code == 1
    assert "no_such_database" in done.err
    assert "Traceback" not in done.err
