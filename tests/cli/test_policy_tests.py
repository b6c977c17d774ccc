"""`recoup policy test`: tests beside policies are run, told, counted and exported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from recoup_core.wiring import shipped_policies

POLICY = """\
kind: retry
name: mine
applies_to: {method: card}
rules:
  - name: soft
    when: {retryable: yes, attempt: {lte: 3}}
    retry: {after: [1d, 2d], jitter: 30m}
  - name: give up
    stop: exhausted
examples:
  - {given: {}, expect: soft}
  - {given: {retryable: no}, expect: give up}
timelines:
  - name: in vain
    start: 2026-03-02T10:00
    zone: Europe/Berlin
    failures: [issuer_generic, issuer_generic, issuer_generic]
    expect:
      - {retry: 2026-03-03T10:00, rule: soft}
      - {retry: 2026-03-05T10:00}
      - {stop: exhausted}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A policy with one timeline, and one branch untried."""
    path = tmp_path / "mine.yaml"
    path.write_text(POLICY)
    return path


def test_the_shipped_policies_pass_and_try_all_of_themselves(recoup: Callable[..., Any]) -> None:
    """Without a path, those are tested; each that runs over time has timelines."""
    done = recoup("policy", "test", "--min-coverage", 100, "--json")

    assert done.code == 0
    told = json.loads(done.out)["policies"]
    assert len(told) == len(list(shipped_policies().rglob("*.yaml")))
    assert all(len(each["timelines"]) >= 2 for each in told if each["kind"] != "refund")


def test_what_is_missing_is_listed_with_facts_that_cover_it(mine: Path, recoup: Callable[..., Any]) -> None:
    """Each with its line; the facts are ready for an example's `given`."""
    done = recoup("policy", "test", mine, "--show-missing")

    assert done.code == 0
    assert "2 examples, 1 timeline, 87 % covered (7 of 8)" in done.out
    assert "line 6: rule 'soft': never not true: {attempt: {lte: 3}}" in done.out
    assert "try  given: {attempt: 4}" in done.out


def test_following_the_suggestion_completes_the_coverage(mine: Path, recoup: Callable[..., Any]) -> None:
    """100 % can be reached."""
    mine.write_text(POLICY.replace("examples:\n", "examples:\n  - {given: {attempt: 4}, expect: give up}\n"))

    assert "100 % covered" in recoup("policy", "test", mine).out


def test_too_little_coverage_fails(mine: Path, recoup: Callable[..., Any]) -> None:
    """The minimum holds for each policy."""
    assert recoup("policy", "test", mine, "--min-coverage", 87).code == 0

    done = recoup("policy", "test", mine, "--min-coverage", 88)

    assert done.code == 1
    assert "87 % is covered, 88 % is asked for" in done.err


def test_failing_tests_are_told_and_fail(mine: Path, recoup: Callable[..., Any]) -> None:
    """An example and a timeline that come out otherwise, each with its place."""
    mine.write_text(
        POLICY.replace("given: {retryable: no}", "given: {attempt: 2}").replace("2026-03-05T10:00", "2026-03-06T10:00")
    )

    done = recoup("policy", "test", mine)

    assert done.code == 1
    assert f"FAIL  {mine}" in done.out
    assert f"{mine}:12:5: expected 'give up', but 'soft' fires" in done.out
    assert f"{mine}:20:9: timeline 'in vain', step 2: expected {{retry: 2026-03-06T10:00+01:00}}" in done.out
    assert "3 tests, 2 failed" in done.out


def test_a_timeline_is_printed_as_a_table(mine: Path, recoup: Callable[..., Any]) -> None:
    """When, after which failure, what and why, what production may add, and what the limits said."""
    done = recoup("policy", "test", mine, "--timeline", "in vain")

    assert done.code == 0
    assert (
        "2026-03-02T10:00+01:00  issuer_generic  -> retry: 2026-03-03T10:00+01:00  (up to 30m later: jitter)"
        in done.out
    )
    assert "soft: waited 1d" in done.out
    assert "-> stop: exhausted" in done.out
    assert "limit " in done.out


def test_every_timeline_is_printed_without_a_name(mine: Path, recoup: Callable[..., Any]) -> None:
    """A path behind the option is a path."""
    assert "timeline 'in vain'" in recoup("policy", "test", mine, "--timeline").out
    assert "timeline 'in vain'" in recoup("policy", "test", "--timeline", mine).out
    assert "timeline 'in vain'" not in recoup("policy", "test", mine).out


def test_an_unknown_timeline_is_refused_with_the_near_name(mine: Path, recoup: Callable[..., Any]) -> None:
    """Nothing is printed in its place."""
    done = recoup("policy", "test", mine, "--timeline", "in vane")

    assert done.code == 2
    assert "did you mean 'in vain'?" in done.err


def test_everything_is_there_as_json(mine: Path, recoup: Callable[..., Any]) -> None:
    """For scripts: results, coverage and the timelines' steps."""
    told = json.loads(recoup("policy", "test", mine, "--json", "--min-coverage", 90).out)

    assert told["passed"] is False
    [policy] = told["policies"]
    assert [test["name"] for test in policy["tests"]] == ["1: soft", "2: give up", "in vain"]
    assert policy["coverage"]["percent"] == 87
    assert policy["coverage"]["missing"][0]["given"] == "{attempt: 4}"
    assert [step["what"] for step in policy["timelines"][0]["steps"]] == ["retry", "retry", "stop"]


def test_junit_has_a_case_for_each_test(mine: Path, tmp_path: Path, recoup: Callable[..., Any]) -> None:
    """Failures and files that can't be read stand in it; CI systems count them."""
    mine.write_text(POLICY.replace("2026-03-05T10:00", "2026-03-06T10:00"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: retry\n")
    out = tmp_path / "results.xml"

    done = recoup("policy", "test", mine, broken, "--junit", out)

    assert done.code == 1
    suites = {suite.get("name"): suite for suite in ElementTree.fromstring(out.read_bytes())}
    assert set(suites) == {"retry/mine", "files"}
    assert (suites["retry/mine"].get("tests"), suites["retry/mine"].get("failures")) == ("3", "1")
    [failure] = suites["retry/mine"].iter("failure")
    assert failure.get("type") == "timeline_failed"
    assert len(list(suites["files"].iter("error"))) == int(suites["files"].get("errors", 0)) > 0


def test_a_file_that_can_not_be_read_fails(tmp_path: Path, recoup: Callable[..., Any]) -> None:
    """Its problems are told as `check` tells them; the others are tested all the same."""
    (tmp_path / "a.yaml").write_text(POLICY.replace("retryable: yes,", "retriable: yes,"))
    (tmp_path / "b.yaml").write_text(POLICY)
    (tmp_path / "names.yaml").write_text("kind: names\nroles: [agent]\n")

    done = recoup("policy", "test", tmp_path)

    assert done.code == 1
    assert "a.yaml:6:" in done.out
    assert "ok    " in done.out
    assert "3 tests, 0 failed, 1 problem in files" in done.out


def test_a_failing_timeline_keeps_a_policy_from_being_used(mine: Path, recoup: Callable[..., Any]) -> None:
    """`check`, and with it loading a folder, refuses it."""
    mine.write_text(POLICY.replace("2026-03-05T10:00", "2026-03-06T10:00"))

    done = recoup("policy", "check", mine)

    assert done.code == 1
    assert "[timeline_failed]" in done.err
