"""`recoup policy explain` on folders, on what is in force, and on cases."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoup_core.flows.recover import Opened
from recoup_core.wiring import shipped_policies

RETRIES = shipped_policies() / "retry"
SEPA = ("--facts", "method=sepa_debit", "--facts", "network=")


def test_a_folder_says_which_policy_decides_and_why_not_the_others(recoup: Callable[..., Any]) -> None:
    """The narrowest that covers the facts."""
    done = recoup("policy", "explain", RETRIES, "--facts", "segment=business")

    assert done.code == 0
    assert done.out.startswith("cards-business (")
    assert "not cards-consumer (cards-consumer.yaml): it covers this, too, but cards-business is narrower" in done.out
    assert "not direct-debit (direct-debit.yaml): method is card, not sepa_debit or" in done.out
    assert "not reached: " in done.out


def test_facts_that_no_policy_covers_are_told(tmp_path: Path, recoup: Callable[..., Any]) -> None:
    """One line, no traceback."""
    (tmp_path / "cards.yaml").write_text((RETRIES / "cards-consumer.yaml").read_text())

    done = recoup("policy", "explain", tmp_path, *SEPA)

    assert done.code == 1
    assert "no retry policy applies" in done.err


def test_a_charge_that_is_to_come_is_explained(recoup: Callable[..., Any]) -> None:
    """Of a folder of all kinds, by `--kind notice`: when each notice would come, and why."""
    done = recoup(
        *("policy", "explain", shipped_policies(), "--kind", "notice", "--now", "2026-12-01T09:00Z"),
        *("--facts", "subscription.interval=year", "--zone", "Europe/Berlin"),
    )

    assert done.code == 0
    assert "before_charge-30d/message/upcoming_renewal: 2026-12-01 09:00 UTC: 30d before the charge" in done.out
    assert "=> 2 notices to come, the first one at 2026-12-01 09:00 UTC" in done.out
    assert "not direct-debit (notice/direct-debit.yaml): method is card" in done.out


def test_the_policies_in_force_are_asked(reported: Opened, recoup: Callable[..., Any]) -> None:
    """As they stand in the database."""
    done = recoup("policy", "explain", "--live", *SEPA, "--json")

    told = json.loads(done.out)
    assert (told["policy"], told["covers"]) == ("direct-debit", True)
    assert {other["policy"] for other in told["others"]} == {"cards-business", "cards-consumer"}


def test_a_cases_decisions_are_told_latest_first(reported: Opened, recoup: Callable[..., Any]) -> None:
    """Each in words with its id, and alone with --at."""
    done = recoup("policy", "explain", "--case", "INV-1")

    assert done.code == 0
    assert f"case {reported.case.id}, open" in done.out
    assert "retry by " in done.out
    assert "fires  insufficient funds wait for payday" in done.out
    assert "no     unknown codes go to a person" in done.out

    first = json.loads(recoup("policy", "explain", "--case", "INV-1", "--json").out)["decisions"][-1]
    alone = json.loads(recoup("policy", "explain", "--case", "INV-1", "--at", first["id"], "--json").out)
    assert [each["id"] for each in alone["decisions"]] == [first["id"]]


def test_a_case_is_decided_again_without_being_touched(reported: Opened, recoup: Callable[..., Any]) -> None:
    """What would be decided now, and why it would not be acted on."""
    before = recoup("case", "show", "INV-1", "--json").out

    done = recoup("policy", "explain", "--case", "INV-1", "--again")

    assert done.code == 0
    assert "note: a retry is planned for" in done.out
    assert "=> try again at" in done.out
    assert recoup("case", "show", "INV-1", "--json").out == before


def test_no_token_is_told(reported: Opened, recoup: Callable[..., Any]) -> None:
    """The credential of the reported payment has the token `approve`; it stands in the stored situation only."""
    for more in ([], ["--again"]):
        done = recoup("policy", "explain", "--case", "INV-1", "--json", *more)
        assert done.code == 0
        assert '"approve"' not in done.out
        assert "token" not in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "give a file or folder"),
        (["--live", "--case", "INV-1"], 2, "give a file or folder"),
        ([str(RETRIES), "--again"], 2, "go with --case"),
        ([str(RETRIES), "--now", "tomorrow"], 2, "is no time"),
        ([str(RETRIES), "--now", "0001-01-01T00:00Z"], 2, "between the years"),
        ([str(RETRIES), "--zone", "Mars/Base"], 2, "no time zone"),
        ([str(RETRIES), "--facts", "atempt=1", "--facts", "network=vsa"], 2, "did you mean visa?"),
        ([str(RETRIES / "direct-debit.yaml"), "--kind", "refund"], 2, "is a retry policy"),
    ],
)
def test_misuse_is_one_clear_refusal(arguments: list[str], code: int, says: str, recoup: Callable[..., Any]) -> None:
    """With what would be right."""
    done = recoup("policy", "explain", *arguments)

    assert (done.code, says in done.err) == (code, True), done.err


def test_another_merchants_case_is_not_found(reported: Opened, recoup: Callable[..., Any]) -> None:
    """By its id neither."""
    done = recoup("policy", "explain", "--case", reported.case.id, "--merchant", "other")

    assert done.code == 1
    assert "no case or payment" in done.err
