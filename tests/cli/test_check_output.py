"""`recoup policy check`: what it reads, in which forms it tells what it found, and how it ends."""

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from recoup_cli.check_output import MAX_EXCERPT, excerpt
from recoup_core.rules.language.problem_codes import PROBLEM_CODES, page_of
from recoup_core.wiring import shipped_policies

CONSUMER = (shipped_policies() / "retry" / "cards-consumer.yaml").read_text()
BROKEN = CONSUMER.replace("attempt: {lte: 4}}\n", "atempt: {lte: 4}}\n", 1)
DOUBTFUL = """kind: retry
name: doubtful
applies_to: {method: card}
rules:
  - {name: elsewhere, when: {attempt: {lte: 2}}, retry: {after: [3d, 4d], gateway: nowhere}}
  - {name: give up, stop: exhausted}
examples:
  - {given: {}, expect: elsewhere}
  - {given: {attempt: 3}, expect: give up}
"""
SARIF = json.loads(Path(__file__).with_name("sarif-2.1.0.json").read_text())
LINE, COLUMN = next(
    (number, line.index("atempt") + 1) for number, line in enumerate(BROKEN.splitlines(), 1) if "atempt" in line
)

Recoup = Callable[..., Any]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A file with one mistake in a folder that paths are told from."""
    (tmp_path / "mine.yaml").write_text(BROKEN)
    return Path("mine.yaml")


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """A file with a warning and no error."""
    (tmp_path / "doubtful.yaml").write_text(DOUBTFUL)
    return Path("doubtful.yaml")


# --- text -----------------------------------------------------------------------------------------------------------


def test_the_text_shows_the_line_with_a_caret_under_the_column(broken: Path, recoup: Recoup) -> None:
    """One sees the mistake without opening the file."""
    done = recoup("policy", "check", broken)

    first, source, caret, count = done.err.splitlines()
    assert (done.code, done.out) == (1, "")
    assert first.startswith(f"mine.yaml:{LINE}:{COLUMN}: error: rule 'insufficient funds wait for payday': ")
    assert first.endswith("(did you mean 'attempt'?) [unknown_fact]")
    assert source.index("atempt") == caret.index("^")
    assert count == "1 error found"


@pytest.mark.parametrize(
    ("before", "gap"), [("", ""), ("ab", "  "), ("字", "  "), ("\t", "\t"), ("e\u0301", " "), ("\u202e", " ")]
)
def test_the_caret_stands_below_its_character(before: str, gap: str) -> None:
    """A terminal shows some characters on two columns and some on none; a tab is as wide as it is."""
    _, caret = map(click.unstyle, excerpt(f"{before}x: 1", 7, len(before) + 1))

    assert caret == f"       | {gap}^"


def test_a_line_can_not_speak_to_the_terminal() -> None:
    """What a terminal would obey is shown as a replacement character."""
    source, _ = map(click.unstyle, excerpt("a: \u202e \x1b]0;title\x07", 1, 1))

    assert source == "     1 | a: \ufffd \ufffd]0;title\ufffd"


def test_of_a_long_line_the_part_around_the_column_is_shown() -> None:
    """A quarter of a megabyte on one line would hide the message."""
    source, caret = map(click.unstyle, excerpt("x" * 5_000 + "!" + "y" * 5_000, 1, 5_001))

    assert len(source) <= MAX_EXCERPT + 9
    assert source[caret.index("^")] == "!"


def test_colours_are_for_terminals(broken: Path, recoup: Recoup, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log file holds no escape sequences; a terminal gets none where NO_COLOR is set."""
    assert "\x1b[" not in recoup("policy", "check", broken).err

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert "\x1b[" in recoup("policy", "check", broken).err

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in recoup("policy", "check", broken).err


# --- json -----------------------------------------------------------------------------------------------------------


def test_json_has_always_the_same_shape(broken: Path, recoup: Recoup) -> None:
    """A script needs no guard for keys that come and go."""
    done = recoup("policy", "check", broken, "--format", "json")

    told = json.loads(done.out)
    assert (done.code, done.err) == (1, "")
    assert {key: told[key] for key in ("version", "valid", "errors", "warnings", "policies")} == {
        "version": 1,
        "valid": False,
        "errors": 1,
        "warnings": 0,
        "policies": [],
    }
    assert told["problems"] == [
        {
            "file": "mine.yaml",
            "line": LINE,
            "column": COLUMN,
            "severity": "error",
            "code": "unknown_fact",
            "message": "unknown fact or condition 'atempt'",
            "rule": "insufficient funds wait for payday",
            "hint": "did you mean 'attempt'?",
        }
    ]


def test_json_lists_the_policies_without_errors(doubtful: Path, recoup: Recoup) -> None:
    """With the digest that names the version; a warning does not keep one from being listed."""
    told = json.loads(recoup("policy", "check", doubtful, "--format", "json").out)

    assert (told["valid"], told["errors"], told["warnings"]) == (True, 0, len(told["problems"]))
    [policy] = told["policies"]
    assert (policy["file"], policy["kind"], policy["name"], policy["rules"]) == (
        "doubtful.yaml",
        "retry",
        "doubtful",
        2,
    )
    assert re.fullmatch("[0-9a-f]{64}", policy["digest"])


# --- SARIF ----------------------------------------------------------------------------------------------------------


def sarif(recoup: Recoup, *arguments: object) -> Any:
    """Return the one run of a log that is valid SARIF."""
    log = json.loads(recoup("policy", "check", *arguments, "--format", "sarif").out)
    jsonschema.Draft4Validator(SARIF, format_checker=jsonschema.FormatChecker()).validate(log)
    [run] = log["runs"]
    return run


def test_sarif_is_valid_and_points_at_the_place(broken: Path, doubtful: Path, recoup: Recoup) -> None:
    """Held to the schema of SARIF 2.1.0; errors and warnings have their levels."""
    run = sarif(recoup, broken, doubtful, "--docs-url", "https://example.org/docs/")

    levels = {result["ruleId"]: result["level"] for result in run["results"]}
    assert levels == {"unknown_fact": "error", "unknown_gateway": "warning"}
    result = next(result for result in run["results"] if result["ruleId"] == "unknown_fact")
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "unknown_fact"
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "mine.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": LINE, "startColumn": COLUMN},
    }


def test_sarif_without_problems_is_valid(tmp_path: Path, recoup: Recoup) -> None:
    """A clean run takes back what an earlier one found."""
    (tmp_path / "good.yaml").write_text(DOUBTFUL.replace(", gateway: nowhere", ""))

    assert sarif(recoup, "good.yaml")["results"] == []


def test_sarif_rules_lead_to_their_pages(broken: Path, recoup: Recoup) -> None:
    """Where the documents are published is up to the installation; without an address the page is named."""
    linked = sarif(recoup, broken, "--docs-url", "https://example.org/docs/")["tool"]["driver"]["rules"]
    plain = sarif(recoup, broken)["tool"]["driver"]["rules"]

    assert [rule["helpUri"] for rule in linked] == ["https://example.org/docs/policies/problems.md#unknown_fact"]
    assert "helpUri" not in plain[0]
    assert "docs/policies/problems.md#unknown_fact" in plain[0]["help"]["markdown"]


def test_a_fingerprint_outlives_a_move_of_its_line(broken: Path, tmp_path: Path, recoup: Recoup) -> None:
    """A finding that somebody has dismissed stays dismissed when lines come in above it."""
    before = sarif(recoup, broken)["results"]
    (tmp_path / broken).write_text("# one\n# two\n" + BROKEN)
    after = sarif(recoup, broken)["results"]

    assert [each["partialFingerprints"] for each in before] == [each["partialFingerprints"] for each in after]
    assert before[0]["locations"] != after[0]["locations"]


def test_two_findings_on_equal_lines_are_told_apart(tmp_path: Path, recoup: Recoup) -> None:
    """The second of its like is another finding."""
    rules = "rules: [\n  {name: a, nam: 1},\n  {nam: 1}\n]\n" + "define:\n  x: {atempt: 1}\n  y: {atempt: 1}\n"
    (tmp_path / "twice.yaml").write_text("kind: retry\n" + rules + "note: {}\n")

    prints = [each["partialFingerprints"]["primaryLocationLineHash"] for each in sarif(recoup, "twice.yaml")["results"]]

    assert len(set(prints)) == len(prints) > 4


# --- GitHub ---------------------------------------------------------------------------------------------------------


def test_github_gets_one_command_for_each_problem(broken: Path, doubtful: Path, recoup: Recoup) -> None:
    """An annotation at the line of the pull request."""
    done = recoup("policy", "check", broken, doubtful, "--format", "github")

    warning, error = done.out.splitlines()
    assert warning.startswith(
        "::warning file=doubtful.yaml,line=5,col=84,title=unknown_gateway (recoup)::rule 'elsewhere'"
    )
    assert error == (
        f"::error file=mine.yaml,line={LINE},col={COLUMN},title=unknown_fact (recoup)::"
        "rule 'insufficient funds wait for payday': unknown fact or condition 'atempt' (did you mean 'attempt'?)"
    )


def test_a_command_can_not_be_broken_out_of(tmp_path: Path, recoup: Recoup) -> None:
    """Names and messages of somebody's file never end a property, a command or a line."""
    name = "50%,a:b\n::error::x.yaml"

    done = recoup_stdin(recoup, "kind: retri%\n", name)

    command = done.out.splitlines()[-1]
    assert command.startswith("::error file=50%25%2Ca%3Ab%0A%3A%3Aerror%3A%3Ax.yaml,line=1,col=7,")
    assert command.endswith("`kind` is never 'retri%25' (did you mean 'retry'?)")


def recoup_stdin(recoup: Recoup, text: str | bytes, name: str, form: str = "github") -> Any:
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return recoup("policy", "check", "-", "--name", name, "--format", form)


# --- what is read, and how it ends ----------------------------------------------------------------------------------


def test_warnings_fail_only_a_strict_check(doubtful: Path, recoup: Recoup) -> None:
    """A doubt is worth a look; whether it stops a pipeline is up to its owner."""
    usual, strict = recoup("policy", "check", doubtful), recoup("policy", "check", doubtful, "--strict")

    assert (usual.code, strict.code) == (0, 1)
    assert "warning: rule 'elsewhere'" in usual.err
    assert usual.err.endswith("1 warning found\n")
    assert usual.out.startswith("ok  doubtful.yaml")


def test_standard_input_is_checked_under_a_name(recoup: Recoup) -> None:
    """An editor pipes what is not saved yet."""
    done = recoup_stdin(recoup, BROKEN, "policies/new.yaml", "text")

    assert done.code == 1
    assert done.err.startswith(f"policies/new.yaml:{LINE}:{COLUMN}: error: ")


def test_files_and_folders_are_one_set(tmp_path: Path, recoup: Recoup) -> None:
    """A twin in another folder is found; a file that is named twice is read once."""
    for folder, name in (("a", "cards-consumer"), ("b", "twin")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.yaml").write_text(CONSUMER.replace("name: cards-consumer", f"name: {name}"))

    once = recoup("policy", "check", "a", "a/x.yaml", tmp_path / "a" / "x.yaml")
    both = recoup("policy", "check", "a", "b")

    assert (once.code, once.out.count("ok  ")) == (0, 1)
    assert both.code == 1
    assert "can both cover a payment" in both.err


@pytest.mark.parametrize(
    ("raw", "place", "code"),
    [
        ("kind: retry\nname: é".encode("latin-1"), "2:7", "not_utf8"),
        ("kind: retry".encode("utf-16"), "1:1", "not_utf8"),
        (b"# " + b"x" * 256 * 1024, "1:1", "too_large"),
        (b"", "1:1", "empty"),
        (b"\x00", "1:1", "control_character"),
    ],
)
def test_a_file_that_can_not_be_read_is_a_problem_like_any_other(
    raw: bytes, place: str, code: str, tmp_path: Path, recoup: Recoup
) -> None:
    """Those beside it are still checked."""
    (tmp_path / "bad.yaml").write_bytes(raw)
    (tmp_path / "mine.yaml").write_text(BROKEN)

    done = recoup("policy", "check", ".")

    assert done.code == 1
    assert done.err.startswith(f"bad.yaml:{place}: error: ")
    assert f"[{code}]" in done.err.splitlines()[0]
    assert "[unknown_fact]" in done.err


def test_a_file_out_of_reach_is_a_problem(tmp_path: Path, recoup: Recoup) -> None:
    """A link that leads to itself can't be opened by anybody."""
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    (tmp_path / "mine.yaml").write_text(BROKEN)

    done = recoup("policy", "check", "mine.yaml", ".")

    assert done.code == 1
    assert "[unknown_fact]" in done.err


def test_a_folder_without_policies_and_a_file_of_another_ending_are_told(tmp_path: Path, recoup: Recoup) -> None:
    """What would be passed over in silence is said."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.yml").write_text(CONSUMER)

    done = recoup("policy", "check", "empty", "other")

    assert "empty:1:1: error: there is no policy file (*.yaml) below [no_policies]" in done.err
    assert "other/mine.yml:1:1: error: a policy file must end in .yaml [file_name]" in done.err


# --- beside it ------------------------------------------------------------------------------------------------------


def test_the_schema_is_printed_or_written(tmp_path: Path, recoup: Recoup) -> None:
    """The same text as in the folder of policies."""
    committed = (shipped_policies() / "schema.json").read_text()

    assert recoup("policy", "schema").out == committed
    assert recoup("policy", "schema", "--out", tmp_path / "s.json").code == 0
    assert (tmp_path / "s.json").read_text() == committed
    assert recoup("policy", "schema", "--out", tmp_path / "no" / "s.json").code == 1


def test_a_code_is_explained(recoup: Recoup) -> None:
    """With its severity, what it means, how to mend it, and the page with more; a near code for a wrong one."""
    done = recoup("policy", "problems", "unknown_role")

    known = PROBLEM_CODES["unknown_role"]
    assert done.out == f"unknown_role (warning): {known.meaning} {known.mend}\nmore: docs/{page_of('unknown_role')}\n"
    assert len(recoup("policy", "problems").out.splitlines()) == len(PROBLEM_CODES)
    wrong = recoup("policy", "problems", "unkown_role")
    assert (wrong.code, "did you mean unknown_role?" in wrong.err) == (2, True)


def test_a_file_of_names_alone_is_told_to_be_right(tmp_path: Path, recoup: Callable[..., Any]) -> None:
    """Silence would leave its author in doubt whether it was read."""
    file = tmp_path / "names.yaml"
    file.write_text("kind: names\nroles: [finance]\n")

    assert recoup("policy", "check", file).out == f"ok  {file}  names\n"
