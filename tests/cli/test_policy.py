"""`recoup policy check` and `explain`: what is wrong and where; what would be decided and why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoup_core.wiring import shipped_policies

CONSUMER = shipped_policies() / "retry" / "cards-consumer.yaml"


def test_the_shipped_policies_are_right(recoup: Callable[..., Any]) -> None:
    """Each file is named with what was checked."""
    done = recoup("policy", "check")

    assert done.code == 0
    assert done.out.count("ok  ") == len(list(shipped_policies().rglob("*.yaml")))


def test_a_mistake_is_named_with_file_line_and_column(tmp_path: Path, recoup: Callable[..., Any]) -> None:
    """An editor can jump there; the nearest right word is given."""
    broken = tmp_path / "mine.yaml"
    broken.write_text(CONSUMER.read_text().replace("insufficient_funds", "insuficient_funds"))

    done = recoup("policy", "check", broken)

    assert done.code == 1
    first = done.err.removeprefix("recoup: ").splitlines()[0]
    file, line, column, _ = first.split(":", 3)
    assert (file, line.isdigit(), column.isdigit()) == (str(broken), True, True)
    assert "'insufficient_funds'" in first


def test_all_files_problems_are_found_in_one_run(tmp_path: Path, recoup: Callable[..., Any]) -> None:
    """A folder with two broken files tells of both, with their paths from here."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("kind: retry\n")

    done = recoup("policy", "check", tmp_path)

    assert done.code == 1
    assert f"{tmp_path}/a.yaml:1:1" in done.err
    assert f"{tmp_path}/b.yaml:1:1" in done.err


def test_two_files_that_claim_the_same_payments_are_refused(tmp_path: Path, recoup: Callable[..., Any]) -> None:
    """Which policy a payment gets must never depend on the order of files."""
    twin = tmp_path / "twin.yaml"
    twin.write_text(CONSUMER.read_text().replace("name: cards-consumer", "name: twin"))

    done = recoup("policy", "check", CONSUMER, twin)

    assert done.code == 1
    assert "can both cover a payment" in done.err


def test_explain_names_the_rule_that_fires_and_those_that_do_not(recoup: Callable[..., Any]) -> None:
    """Each rule up to the one that fires stands there with its conditions and the facts' values."""
    done = recoup(
        "policy", "explain", CONSUMER, "--facts", "decline_code=insufficient_funds", "--facts", "attempt=2",
        "--now", "2026-12-30T09:00Z",
    )  # fmt: skip

    assert done.code == 0
    assert "no     unknown codes go to a person" in done.out
    assert "fires  insufficient funds wait for payday" in done.out
    assert "attempt is at most 4?  yes, it is 2" in done.out
    assert "=> try again at 2026-12-31" in done.out


def test_explain_follows_the_time_it_is_given(recoup: Callable[..., Any]) -> None:
    """The same facts a fortnight later lead to another payday."""
    facts = ("--facts", "decline_code=insufficient_funds", "--facts", "country=DE", "--payday", "15")

    early = recoup("policy", "explain", CONSUMER, *facts, "--now", "2026-09-10T12:00Z", "--json")
    late = recoup("policy", "explain", CONSUMER, *facts, "--now", "2026-09-24T12:00Z", "--json")

    assert json.loads(early.out)["outcome"]["at"].startswith("2026-09-15")
    assert json.loads(late.out)["outcome"]["at"].startswith("2026-10-15")


def test_a_decline_code_is_looked_up(recoup: Callable[..., Any]) -> None:
    """A stolen card is final, whatever the baseline of the examples says."""
    done = recoup("policy", "explain", CONSUMER, "--facts", "decline_code=stolen_card", "--json")

    told = json.loads(done.out)
    assert told["facts"]["retryable"] == "no"
    assert told["outcome"] == {"type": "stop", "reason": "not_retryable"}


def test_a_used_up_rule_does_not_apply(recoup: Callable[..., Any]) -> None:
    """`--used` tells how far the rule's own list of waits is."""
    done = recoup("policy", "explain", CONSUMER, "--facts", "decline_code=issuer_not_available", "--used", "5")

    assert "does not apply: all waits of `after` are used up" in done.out
    assert "=> stop: exhausted" in done.out


def test_facts_come_from_a_file_and_the_command_line_wins(tmp_path: Path, recoup: Callable[..., Any]) -> None:
    """A file holds a situation, single facts vary it; nested facts and amounts have their own forms."""
    facts = tmp_path / "facts.json"
    facts.write_text('{"attempt": 3, "amount": {"JPY": "4900"}, "customer": {"tier": "gold"}}')

    done = recoup("policy", "explain", CONSUMER, "--facts", facts, "--facts", "attempt=4", "--json")

    told = json.loads(done.out)["facts"]
    assert told["attempt"] == 4
    assert told["retries"] == 3
    assert told["amount"] == {"amount_minor": 4900, "currency": "JPY"}
    assert told["customer"] == {"tier": "gold"}


@pytest.mark.parametrize(
    ("fact", "says"),
    [
        ("atempt=2", "did you mean attempt?"),
        ("attempt=0", "attempt: '0'"),
        ("attempt=two", "attempt: 'two'"),
        ("network=visas", "did you mean visa?"),
        ("amount=49.001 EUR", "decimals"),
        ("amount=NaN EUR", "decimals"),
        ("has_backup=perhaps", "true or false"),
        ("currency=EUR", "amount="),
        ("nowhere.json", "nowhere.json"),
    ],
)
def test_a_wrong_fact_is_refused_with_what_is_right(fact: str, says: str, recoup: Callable[..., Any]) -> None:
    """No fact is guessed or rounded."""
    done = recoup("policy", "explain", CONSUMER, "--facts", fact)

    assert done.code == 2
    assert says in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--facts", "method=sepa_debit"), "cards: method is sepa_debit, not card"),
        (("--kind", "refund"), "the folder has no policy of this kind; see --kind"),
    ],
)
def test_where_no_policy_of_a_folder_decides_each_is_named_with_what_keeps_it_from_it(
    recoup: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    """Not only that none applies."""
    rules = "rules:\n  - {name: only, stop: exhausted}\nexamples:\n  - {given: {}, expect: only}\n"
    (tmp_path / "cards.yaml").write_text(f"kind: retry\nname: cards\napplies_to: {{method: card}}\n{rules}")

    done = recoup("policy", "explain", str(tmp_path), *arguments)

    assert done.code == 1
    assert told in done.err
