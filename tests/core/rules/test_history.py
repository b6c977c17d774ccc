"""History as records: nothing in them could make an attempt, and what is read decides as what was stored."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from tests.core.rules.simulation.cases import OLD, START, a_case

from recoup_core.rules.deciding.decide import Situation, decide_retry
from recoup_core.rules.engine.compile import EngineChoice, compile_policy
from recoup_core.rules.facts import RetryFacts
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.simulation.past import Reader
from recoup_core.rules.study.history import HistoryInvalid, HistoryRecord, cases_of, records_of, without_tokens
from recoup_core.rules.study.history_table import JSON_COLUMNS, check_columns, columns, record_of, row_of

SECRETS = ("tok_secret", "cus_secret", "anna@example.com")


def test_no_record_holds_a_token_or_a_customers_name() -> None:
    """Neither as a value nor as a key, though accounts are named after tokens where a gateway has no fingerprint."""
    case = a_case("issuer_generic", "issuer_generic")
    assert all(secret in (case.decisions[0].situation or "") for secret in SECRETS)

    text = b"".join(msgspec.json.encode(record) for record in records_of(case)).decode()

    assert [secret for secret in SECRETS if secret in text] == []


def test_no_record_holds_a_card_number() -> None:
    """Even where one had found its way into a text that was stored."""
    case = a_case(subscription={"plan": "4242 4242 4242 4242"})

    text = b"".join(msgspec.json.encode(record) for record in records_of(case)).decode()

    assert "4242" not in text


def test_a_providers_own_words_stay_in_the_house() -> None:
    """The message of a decline is free text; nothing is decided by it."""
    situation = msgspec.json.decode(a_case().decisions[0].situation or "")
    situation["last_decline"]["message"] = "Anna Example, ring 030 1234"

    assert b"Anna" not in without_tokens(msgspec.json.encode(situation).decode())


def test_without_tokens_the_same_is_decided() -> None:
    """What belongs to one account still does: rule, moment and credential come out the same."""
    policy = compile_policy(parse_policy(OLD, source="old.yaml"), engine=EngineChoice.CLOSURES)
    decision = a_case().decisions[0]
    assert decision.situation is not None
    facts = msgspec.json.decode(decision.facts, type=RetryFacts)

    told = msgspec.json.decode(without_tokens(decision.situation), type=Situation)

    assert told.last_account == told.credentials[0].account_key == next(iter(told.history))
    outcome = decide_retry(policy, facts, told).outcome
    assert msgspec.json.encode(outcome).decode() == decision.outcome


def test_records_become_the_same_cases_again() -> None:
    """Whatever was known of a case and its decisions."""
    cases = [a_case("issuer_generic", "fraud", name="a", result="recovered"), a_case(name="b", currency="JPY")]

    records = [(f"line {n}", record) for n, record in enumerate(r for case in cases for r in records_of(case))]
    again = list(cases_of(records))

    assert [(c.case, c.result, c.recovered_at, c.currency, c.amount_minor) for c in again] == [
        (c.case, c.result, c.recovered_at, c.currency, c.amount_minor) for c in cases
    ]
    assert [[d.facts for d in c.decisions] for c in again] == [[d.facts for d in c.decisions] for c in cases]


def test_a_case_that_comes_back_is_refused_with_its_place() -> None:
    """Its decisions would be taken for those of two cases."""
    first, other = (next(records_of(a_case(name=name))) for name in ("a", "b"))

    with pytest.raises(HistoryInvalid) as refusal:
        list(cases_of([("x:1", first), ("x:2", other), ("x:3", first)]))

    assert refusal.value.where == "x:3"


def test_decisions_out_of_order_are_refused() -> None:
    """The first difference would be another one."""
    record = next(records_of(a_case()))
    earlier = msgspec.structs.replace(record, at=START - timedelta(hours=1))

    with pytest.raises(HistoryInvalid, match="order of time"):
        list(cases_of([("x:1", record), ("x:2", earlier)]))


def test_rows_hold_what_records_hold() -> None:
    """A table loses nothing: amounts, dates, truth values and what is missing come back as they were."""
    case = a_case(
        "issuer_generic", has_backup=True, amount_minor=12_34, **{"customer.tier": "gold", "customer.tenure_days": 7}
    )
    record = next(records_of(case))

    row = {
        name: msgspec.json.encode(value).decode().strip('"')
        for name, value in row_of(record).items()
        if name not in JSON_COLUMNS
    }
    row |= {name: value for name, value in row_of(record).items() if name in JSON_COLUMNS}
    again = record_of(row, "row 1")

    assert row["facts.amount"] == "12.34 EUR"
    assert set(row) <= set(columns())
    (one,), (other,) = (list(cases_of([("", each)])) for each in (record, again))
    reader = Reader([])
    assert [d.facts for d in reader.read(one)] == [d.facts for d in reader.read(other)]
    assert one.case == other.case
    assert one.decisions[0].situation == other.decisions[0].situation


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("kind", "case", "at", "outcome", "facts.decilne_code"), "facts.decline_code"),
        (("kind", "case", "outcome"), "'at' is missing"),
    ],
)
def test_wrong_columns_are_refused(names: tuple[str, ...], says: str) -> None:
    """A misspelt fact is told with the near one; columns that are nobody's facts may stay."""
    with pytest.raises(HistoryInvalid, match=says):
        check_columns(names, "file")

    check_columns(("kind", "case", "at", "outcome", "our_own_note"), "file")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"kind": "retry", "case": "a", "outcome": "stop"}, "`at` is missing"),
        ({"kind": "retry", "case": "a", "at": "yesterday", "outcome": "stop"}, "at"),
        ({"kind": "retry", "case": "a", "at": "2026-01-01T00:00:00Z", "outcome": "{"}, "no JSON"),
    ],
)
def test_wrong_cells_are_refused_with_their_place(row: dict[str, Any], says: str) -> None:
    """Never a traceback."""
    with pytest.raises(HistoryInvalid, match=says) as refusal:
        record_of(row, "theirs.csv:7")

    assert refusal.value.where == "theirs.csv:7"


def test_an_outcome_may_be_one_word() -> None:
    """What somebody else's system knows: that there was a stop, and no more."""
    record = record_of({"kind": "retry", "case": "a", "at": "2026-01-01T00:00:00Z", "outcome": "stop"}, "row")

    assert isinstance(record, HistoryRecord)
    assert bytes(record.outcome) == b'{"type":"stop"}'


def test_ids_stay() -> None:
    """An example case can be looked up where it came from."""
    situation = msgspec.json.decode(without_tokens(a_case().decisions[0].situation or ""))

    assert situation["credentials"][0]["id"] == str(UUID(int=2))
