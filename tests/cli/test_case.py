"""`recoup case show`: found by any name, told in words or JSON."""

import json
from collections.abc import Callable
from typing import Any

from recoup_core.flows.recover import Opened


def test_a_case_is_told_with_its_reasons_and_what_comes_next(reported: Opened, recoup: Callable[..., Any]) -> None:
    """Past, decision, rule and the planned step stand in the story."""
    done = recoup("case", "show", "INV-1")

    assert done.code == 0
    assert "payment INV-1  49.00 EUR  owed" in done.out
    assert "attempt 1 (reported) declined: insufficient_funds" in done.out
    assert "fires  insufficient funds wait for payday" in done.out
    assert "to come at" in done.out
    assert "unknown codes go to a person" not in done.out


def test_its_dunning_is_told_with_each_steps_time(reported: Opened, recoup: Callable[..., Any]) -> None:
    """Which dunning policy, which steps are to come and when, and why others are not."""
    done = recoup("case", "show", "INV-1")

    assert "dunning consumer " in done.out
    assert "fires  ordinary campaign" in done.out
    assert "opened+7d/message/reminder_2: " in done.out
    assert "-> opened+3d/message/reminder: to come at" in done.out


def test_why_shows_the_rules_that_did_not_fire(reported: Opened, recoup: Callable[..., Any]) -> None:
    """Every condition that was false stands there with the fact's value."""
    done = recoup("case", "show", "INV-1", "--why")

    assert "no     unknown codes go to a person" in done.out
    assert "decline is unknown?  no, it is insufficient_funds" in done.out


def test_it_is_found_by_each_of_its_ids(reported: Opened, recoup: Callable[..., Any]) -> None:
    """Case id, payment id and reference mean the same case."""
    names = (reported.case.id, reported.payment.id, "INV-1")

    found = [json.loads(recoup("case", "show", name, "--json").out)["case"]["id"] for name in names]

    assert found == [str(reported.case.id)] * 3


def test_another_merchants_case_is_not_found(reported: Opened, recoup: Callable[..., Any]) -> None:
    """Merchants see their own rows only."""
    done = recoup("case", "show", reported.case.id, "--merchant", "other")

    assert done.code == 1
    assert "no case or payment" in done.err


def test_what_is_still_to_come_is_told_beforehand(reported: Opened, recoup: Callable[..., Any]) -> None:
    """The planned retry, and what follows its decline, which is marked so; as JSON, too."""
    told = recoup("case", "show", "INV-1", "--forecast")
    data = json.loads(recoup("case", "show", "INV-1", "--forecast", "--json").out)

    assert told.code == 0
    assert "planned    retry at sandbox" in told.out
    assert "projected  pause subscription" in told.out
    assert "each retry is declined" in told.out
    assert {entry["certainty"] for entry in data["entries"]} == {"planned", "projected"}
