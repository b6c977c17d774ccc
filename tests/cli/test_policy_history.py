"""`recoup policy replay`, `history export` and `simulate`: on a database, and from files."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.cli.conftest import in_thread

from recoup_cli.crew import MANY
from recoup_cli.history_files import SUFFIXES, read_chunks
from recoup_core.flows.recover import Opened
from recoup_core.rules.study.history import HistoryRecord
from recoup_core.wiring import shipped_policies

SHIPPED = shipped_policies() / "retry" / "cards-consumer.yaml"


@pytest.fixture
def new_text(tmp_path: Path) -> Path:
    """The shipped policy with one change: no retry where the customer lacks funds."""
    text = SHIPPED.read_text()
    start = text.index("    retry: {on: payday")
    end = text.index("\n", start)
    file = tmp_path / "new.yaml"
    file.write_text(text[:start] + "    stop: needs_customer" + text[end:])
    return file


def sql(url: str, statement: str, *values: Any) -> list[Any]:
    """Ask the database directly."""

    async def ask() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    found: list[Any] = in_thread(ask())
    return found


def test_replay_says_that_all_is_the_same(reported: Opened, recoup: Callable[..., Any]) -> None:
    """Exit code 0, and how many decisions were made again."""
    done = recoup("policy", "replay", "--kind", "retry")

    assert done.code == 0
    assert done.out == "1 decision made again: all come out as they were stored\n"


def test_replay_fails_where_a_decision_differs(reported: Opened, configured: str, recoup: Callable[..., Any]) -> None:
    """Exit code 1, the decision, the place and both values; a task waits for a person."""
    (row,) = sql(
        configured,
        "INSERT INTO decision (id, merchant_id, case_id, kind, policy_digest, rule, facts, situation, outcome,"
        " explanation, decided_at) SELECT gen_random_uuid(), merchant_id, case_id, kind, policy_digest, rule, facts,"
        """ situation, '{"type": "stop", "reason": "tampered"}', explanation, decided_at FROM decision
        WHERE kind = 'retry' RETURNING id""",
    )

    done = recoup("policy", "replay", "--json", "--kind", "retry")

    assert done.code == 1
    found = json.loads(done.out)
    assert (found["decisions"], found["different"]) == (2, 1)
    assert found["differences"][0]["decision_id"] == str(row["id"])
    assert {"where": "outcome.reason", "stored": '"tampered"', "now": "nothing"} in found["differences"][0]["details"]
    assert len(sql(configured, "SELECT FROM human_task WHERE kind = 'replay_difference'")) == 1
    told = recoup("policy", "replay", "--kind", "retry")
    assert 'outcome.reason: stored "tampered", now nothing' in told.out
    assert told.out.endswith("2 decisions made again: 1 come out otherwise\n")


def test_replay_in_other_processes_says_the_same(reported: Opened, configured: str, recoup: Callable[..., Any]) -> None:
    """Where there is much to do, chunks travel to processes that are spawned for it."""
    sql(
        configured,
        "INSERT INTO decision (id, merchant_id, case_id, kind, policy_digest, rule, facts, situation, outcome,"
        " explanation, decided_at) SELECT gen_random_uuid(), merchant_id, case_id, kind, policy_digest, rule, facts,"
        " situation, outcome, explanation, decided_at FROM decision, generate_series(1, $1::integer)",
        MANY,
    )
    (count,) = sql(configured, "SELECT count(*) FROM decision")

    done = recoup("policy", "replay")

    assert count[0] > MANY
    assert (done.code, done.out) == (0, f"{count[0]:,} decisions made again: all come out as they were stored\n")


def test_notices_alone_are_not_simulated(tmp_path: Path, recoup: Callable[..., Any]) -> None:
    """Said in one line, with what to do instead: no history tells of charges that were to come."""
    file = tmp_path / "history.jsonl"
    file.write_text("")

    done = recoup("policy", "simulate", "--history", file, shipped_policies() / "notice")

    assert done.code == 1
    assert "notice policies can't be simulated" in done.err
    assert "`recoup policy test` runs them" in done.err


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_exported_can_be_simulated(
    reported: Opened, recoup: Callable[..., Any], new_text: Path, tmp_path: Path, suffix: str
) -> None:
    """All three formats say the same as the database itself."""
    file = tmp_path / f"history{suffix}"

    exported = recoup("policy", "history", "export", file, "--kind", "retry")
    from_file = recoup("policy", "simulate", "--history", file, new_text)
    from_database = recoup("policy", "simulate", "--history", "stored", new_text)

    assert exported.out == f"{file}: 1 decision of 1 case\n"
    assert from_file.code == from_database.code == 0
    assert from_file.out == from_database.out
    assert "stops where history went on: 1 case (49.00 EUR)" in from_file.out
    assert "tok_" not in file.read_bytes().decode("latin-1")


def test_a_file_that_is_there_is_not_overwritten(reported: Opened, recoup: Callable[..., Any], tmp_path: Path) -> None:
    """Last month's history is not lost to a typing error."""
    file = tmp_path / "history.jsonl"
    file.write_text("precious")

    done = recoup("policy", "history", "export", file)

    assert done.code == 2
    assert "is there already" in done.err
    assert file.read_text() == "precious"


def test_only_the_period_is_exported(reported: Opened, recoup: Callable[..., Any], tmp_path: Path) -> None:
    """By when cases were opened; an empty history is a file without records."""
    done = recoup("policy", "history", "export", tmp_path / "a.csv", "--until", "2020-01-01")

    assert done.out.endswith("0 decisions of 0 cases\n")
    with (tmp_path / "a.csv").open() as lines:
        assert len(list(csv.reader(lines))) == 1


def test_simulation_as_json_and_as_a_page(
    reported: Opened, recoup: Callable[..., Any], new_text: Path, tmp_path: Path
) -> None:
    """The same report for programs, and one that a manager can read without anything else."""
    page = tmp_path / "report.html"

    done = recoup("policy", "simulate", "--history", "stored", new_text, "--json", "--html", page)

    report = json.loads(done.out)
    assert report["read"] == {"cases": 1, "amounts": {"EUR": 4900}}
    assert report["changes"]["stops"]["examples"][0]["case"] == str(reported.case.id)
    text = page.read_text()
    assert str(reported.case.id) in text
    assert "src=" not in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_page_without_a_folder_is_refused_before_the_work(
    recoup: Callable[..., Any], new_text: Path, tmp_path: Path
) -> None:
    """A simulation takes minutes; where its report can't be written is told at once and in one line."""
    done = recoup("policy", "simulate", "--history", "missing.jsonl", new_text, "--html", tmp_path / "no" / "page.html")

    assert done.code == 2
    assert "page.html can't be written: there is no folder" in done.err


def test_an_export_computes_nothing_in_a_spreadsheet(
    reported: Opened, configured: str, recoup: Callable[..., Any], tmp_path: Path
) -> None:
    """A customer's tier like a formula is a text in CSV, and the same tier again when it is read."""
    told = '=HYPERLINK("x")'
    sql(
        configured,
        "INSERT INTO decision (id, merchant_id, case_id, kind, policy_digest, rule, facts, situation, outcome,"
        " explanation, decided_at) SELECT gen_random_uuid(), merchant_id, case_id, kind, policy_digest, '-1+1',"
        " facts || jsonb_build_object('customer', jsonb_build_object('tier', $1::text)), situation, outcome,"
        " explanation, decided_at FROM decision WHERE kind = 'retry'",
        told,
    )

    recoup("policy", "history", "export", tmp_path / "a.csv", "--kind", "retry")

    with (tmp_path / "a.csv").open() as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []
    assert {f"'{told}", "'-1+1"} <= set(cells)
    decisions = [each for (case,) in read_chunks(tmp_path / "a.csv") for each in case.decisions]
    assert "-1+1" in {each.rule for each in decisions}
    assert told in {json.loads(each.facts).get("customer", {}).get("tier") for each in decisions}


def test_a_text_with_mistakes_is_not_simulated(reported: Opened, recoup: Callable[..., Any], new_text: Path) -> None:
    """All mistakes are told, as by `check`."""
    new_text.write_text(new_text.read_text().replace("decline: processing_error}", "decline: processing_eror}"))

    done = recoup("policy", "simulate", "--history", "stored", new_text)

    assert done.code == 1
    assert "did you mean 'processing_error'?" in done.err


def test_a_text_that_clashes_with_what_is_in_force_is_refused(
    reported: Opened, recoup: Callable[..., Any], new_text: Path
) -> None:
    """Stored history is simulated as if the text went live beside the others."""
    new_text.write_text(new_text.read_text().replace("name: cards-consumer", "name: all-cards"))

    done = recoup("policy", "simulate", "--history", "stored", new_text)

    assert done.code == 1
    assert "can both cover a payment" in done.err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("h.jsonl", '{"kind": "retry"}', "h.jsonl:1"),
        ("h.jsonl", "\n{broken", "h.jsonl:2"),
        ("h.jsonl", b"\xff\xfe", "h.jsonl:1"),
        (
            "h.jsonl",
            f'{{"kind":"retry","facts":{"[" * 9_999}{"]" * 9_999}}}',
            "h.jsonl:1: the line is nested too deeply",
        ),
        (
            "h.csv",
            f"kind,case,at,outcome\nretry,a,2026-01-01T00:00:00Z,{'[' * 9_999}{']' * 9_999}\n",
            "nested too deeply",
        ),
        ("h.csv", "kind,case,at,outcome\nretry,a\n", "h.csv:2"),
        ("h.csv", "kind,case,at,outcome\nretry,a,never,stop\n", "h.csv:2"),
        ("h.csv", b"kind,case,at,outcome\nretry,\xff,2026-01-01T00:00:00Z,stop\n", "not UTF-8"),
        ("h.csv", "kind,case\n", "column 'at' is missing"),
        ("h.parquet", "no parquet", "no Parquet file"),
        ("h.xlsx", "", "must end in .jsonl, .csv, .parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_its_place(
    recoup: Callable[..., Any], new_text: Path, tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    """One clear line, never a traceback."""
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    done = recoup("policy", "simulate", "--history", name, new_text)

    assert done.code in (1, 2)
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_foreign_csv_is_simulated_as_far_as_it_goes(
    recoup: Callable[..., Any], new_text: Path, tmp_path: Path
) -> None:
    """Facts, amounts and outcomes are enough for stops; what can't be answered is named."""
    (tmp_path / "theirs.csv").write_text(
        "kind,case,at,amount_minor,currency,outcome,note,facts.amount,facts.method,facts.segment,facts.decline,"
        "facts.retryable,facts.attempt\n"
        "retry,c1,2026-03-01T10:00:00Z,4900,EUR,retry,ours,49.00 EUR,card,,insufficient_funds,yes,1\n"
        "retry,c2,2026-03-01T11:00:00Z,1000,EUR,retry,,10.00 EUR,card,,issuer_generic,yes,1\n"
    )

    done = recoup("policy", "simulate", "--history", "theirs.csv", new_text)

    assert done.code == 0, done.err
    assert "stops where history went on: 1 case (49.00 EUR)" in done.out
    assert "can't be answered in full: 1 case (10.00 EUR)" in done.out
    assert "when a retry would be made" in done.out


def test_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    """Cases are handed on some at a time, none twice and none torn apart."""
    record = {"kind": "retry", "at": "2026-03-01T10:00:00Z", "outcome": {"type": "stop"}, "facts": {}}
    lines = [json.dumps({**record, "case": f"case {n // 2}"}) for n in range(2_400)]
    (tmp_path / "h.jsonl").write_text("\n".join(lines))

    chunks = list(read_chunks(tmp_path / "h.jsonl"))

    cases = [case for chunk in chunks for case in chunk]
    assert len(chunks) == 3
    assert [case.case for case in cases] == [f"case {n}" for n in range(1_200)]
    assert {len(case.decisions) for case in cases} == {2}


def test_the_record_in_the_documentation_is_one(tmp_path: Path) -> None:
    """What people copy from the page is read, and its table names exactly the fields there are."""
    page = (Path(__file__).parents[2] / "docs" / "policies" / "history.md").read_text()
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "h.jsonl").write_text(" ".join(shown.split("\n")))
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", page, re.MULTILINE)

    ((case,),) = read_chunks(tmp_path / "h.jsonl")

    assert case.result == "recovered"
    assert {name for row in rows for name in re.findall("[a-z_]+", row)} == set(HistoryRecord.__struct_fields__)


def test_a_time_beyond_the_calendar_is_refused(configured: str, recoup: Callable[..., Any]) -> None:
    """In UTC it would be in the year 10,000."""
    done = recoup("policy", "replay", "--since", "9999-12-31T23:59:59-14:00")

    assert done.code == 2
    assert "--since: '9999-12-31T23:59:59-14:00' is no time" in done.err
