"""`recoup policy test`: runs the tests that stand in policy files, and says what they leave untried."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from recoup_cli.checking import files_of, sentence, text_of
from recoup_cli.junit import junit_xml
from recoup_cli.refusals import FAILED, MISUSED, Refused
from recoup_cli.timeline_table import timeline_lines
from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.names import is_names, read_names
from recoup_core.rules.language.schema import read_policy
from recoup_core.rules.study.coverage import Branch, Coverage
from recoup_core.rules.study.rehearsal import Rehearsal
from recoup_core.rules.study.self_test import SelfTest, self_test
from recoup_core.settings_reader import near
from recoup_core.wiring import shipped_policies

EVERY: Final = ""
"""`--timeline` without a name."""


@click.command(
    epilog="""\b
Examples:
  recoup policy test policies
  recoup policy test mine.yaml --show-missing --min-coverage 90 --junit results.xml
  recoup policy test mine.yaml --timeline "three soft declines"
"""
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--min-coverage", type=click.IntRange(0, 100), help="Fail below this share of each policy, in per cent.")
@click.option("--show-missing", is_flag=True, help="List what is not covered, with facts that would cover it.")
@click.option(
    "--timeline",
    is_flag=False,
    flag_value=EVERY,
    metavar="[NAME]",
    help="Print each timeline, or the one of that name, as a table: when, what, why, limits.",
)
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write the results as JUnit XML.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def test(
    paths: tuple[Path, ...],
    min_coverage: int | None,
    show_missing: bool,
    timeline: str | None,
    junit: Path | None,
    as_json: bool,
) -> int:
    """Run the examples and timelines of policy files and folders (default: the policies that come with Recoup).

    Covered is what decided at least once: each rule's action and its `otherwise`, and each comparison, `all`, `any` and
    `not` of the conditions with both results, true and not true. What no facts can lead to doesn't count.

    Exits with 1 when a test fails, a file can't be read, or a policy is covered less than --min-coverage.
    """
    if timeline and Path(timeline).exists():  # the option took what was meant as a path
        paths, timeline = (*paths, Path(timeline)), EVERY
    runs, problems = _try_all(paths or (shipped_policies(),))
    if junit is not None:
        _write(junit, junit_xml(runs, problems))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(_report(runs, problems, min_coverage))).decode())
    else:
        for line in _lines(runs, problems, show_missing, _chosen(runs, timeline)):
            click.echo(line)
        for line in _short_of(runs, min_coverage):
            click.echo(line, err=True)
    return 0 if _passed(runs, problems, min_coverage) else FAILED


def _try_all(paths: Iterable[Path]) -> tuple[list[SelfTest], list[Problem]]:
    """Run every policy that can be read; return with it what is wrong with the others."""
    problems: list[Problem] = []
    runs: list[SelfTest] = []
    for path in files_of(paths, problems):
        text = text_of(path, str(path), problems)
        if text is None:
            continue
        if is_names(text):
            problems.extend(read_names(text, source=str(path))[1])
            continue
        policy, found = read_policy(text, source=str(path))
        if policy is None:
            problems.extend(found)
        else:
            runs.append(self_test(policy))
    return runs, problems


def _chosen(runs: Sequence[SelfTest], name: str | None) -> Sequence[Rehearsal]:
    """Return the timelines that are to be printed; a name that none has is refused."""
    every = [rehearsal for run in runs for rehearsal in run.rehearsals]
    if not name:
        return every if name == EVERY else ()
    found = [rehearsal for rehearsal in every if rehearsal.timeline.name == name]
    if not found:
        like = near(name, [rehearsal.timeline.name for rehearsal in every])
        raise Refused(f"no timeline is named {name!r}", like and f"did you mean {like!r}?", code=MISUSED)
    return found


def _passed(runs: Sequence[SelfTest], problems: Sequence[Problem], least: int | None) -> bool:
    return not problems and not any(run.failed for run in runs) and not list(_short_of(runs, least))


def _short_of(runs: Sequence[SelfTest], least: int | None) -> Iterator[str]:
    for run in runs:
        if least is not None and run.coverage.percent < least:
            yield f"{run.policy.source}: {run.coverage.percent} % is covered, {least} % is asked for"


def _lines(
    runs: Sequence[SelfTest], problems: Sequence[Problem], show_missing: bool, chosen: Sequence[Rehearsal]
) -> Iterator[str]:
    for run in runs:
        yield _summary(run)
        for problem in (problem for test in run.results for problem in test.problems):
            yield f"    {problem.file}:{problem.line}:{problem.column}: {sentence(problem)}"
        if show_missing:
            yield from _missing_lines(run.coverage)
        for rehearsal in run.rehearsals:
            if rehearsal in chosen:
                yield from timeline_lines(rehearsal)
    for problem in problems:
        yield str(problem)
    tests, failed = sum(len(run.results) for run in runs), sum(run.failed for run in runs)
    unread = f", {len(problems)} problem{'s' if len(problems) != 1 else ''} in files" if problems else ""
    yield f"{tests} tests, {failed} failed{unread}"


def _summary(run: SelfTest) -> str:
    examples = sum(1 for test in run.results if test.kind == "example")
    timelines = len(run.results) - examples
    also = f", {timelines} timeline{'s' if timelines != 1 else ''}" if timelines else ""
    covered, total = run.coverage.parts
    word = "FAIL" if run.failed else "ok"
    share = f"{run.coverage.percent} % covered ({covered} of {total})"
    return f"{word:<4}  {run.policy.source}  {examples} examples{also}, {share}"


def _missing_lines(coverage: Coverage) -> Iterator[str]:
    for rule in coverage.rules:
        for part in rule.missing:
            yield f"    line {rule.line}: rule {rule.rule!r}: its {part} was never tried"
    for branch in coverage.missing:
        yield f"    line {branch.line}: {_place(branch)}: never {branch.wanted.value}: {branch.condition}"
        if branch.given is not None:
            yield f"        try  given: {branch.given}"


def _place(branch: Branch) -> str:
    return f"rule {branch.rule!r}" if branch.rule is not None else f"define {branch.define!r}"


def _report(runs: Sequence[SelfTest], problems: Sequence[Problem], least: int | None) -> dict[str, Any]:
    return {
        "passed": _passed(runs, problems, least),
        "policies": [_policy_report(run) for run in runs],
        "problems": problems,
    }


def _policy_report(run: SelfTest) -> dict[str, Any]:
    policy, coverage = run.policy, run.coverage
    covered, total = coverage.parts
    return {
        "file": policy.source,
        "kind": policy.kind,
        "name": policy.name,
        "digest": policy.digest,
        "tests": run.results,
        "coverage": {
            "percent": coverage.percent,
            "covered": covered,
            "total": total,
            "rules": coverage.rules,
            "missing": coverage.missing,
        },
        "timelines": [
            {"name": each.timeline.name, "passed": not each.problems, "steps": each.run.steps}
            for each in run.rehearsals
        ],
    }


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise Refused(f"{path} can't be written: {error.strerror}") from error
