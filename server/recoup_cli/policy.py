"""`recoup policy`: is this file right, and what would it do?"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from recoup_cli.facts_text import read_facts
from recoup_cli.refusals import MISUSED, Refused
from recoup_cli.what_if import WhatIf, decide_if
from recoup_cli.words import explanation_lines, outcome_words
from recoup_core.rules.book import PolicyBook, ambiguities
from recoup_core.rules.compile import CompiledPolicy, compile_policy
from recoup_core.rules.decide import Decision
from recoup_core.rules.errors import PolicyInvalid, Problem
from recoup_core.rules.facts import RetryFacts
from recoup_core.rules.schema import Policy, parse_policy
from recoup_core.rules.yamltext import MAX_BYTES
from recoup_core.wiring import shipped_policies

path_argument = click.Path(path_type=Path, exists=True)


@click.group()
def policy() -> None:
    """Check policy files, and ask what they would do."""


@policy.command(epilog="Examples: recoup policy check policies   |   recoup policy check policies/retry/mine.yaml")
@click.argument("paths", nargs=-1, type=path_argument)
def check(paths: tuple[Path, ...]) -> None:
    """Read, compile and test policy files and whole folders (default: the policies that come with Recoup).

    Finds everything at once and names file, line and column: mistakes in the text, unknown facts and words (with the
    nearest right one), rules that can never fire, rules without an example, examples that come out differently, two
    policies that claim the same payments, and any difference between the two evaluators.

    Exits with 1 when there is something to mend.
    """
    good, problems = check_paths(paths or (shipped_policies(),))
    if problems:
        raise PolicyInvalid(problems)
    for compiled in good:
        rules, examples = len(compiled.policy.rules), len(compiled.policy.examples)
        click.echo(f"ok  {compiled.policy.source}  {rules} rules, {examples} examples, {compiled.engine_name}")


@policy.command(
    epilog="""\b
Examples:
  recoup policy explain policies/retry/cards-consumer.yaml --facts decline_code=insufficient_funds --facts attempt=2
  recoup policy explain mine.yaml --facts facts.json --facts amount="120.00 EUR" --now 2026-12-30T09:00Z --json
"""
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--facts",
    "given",
    multiple=True,
    metavar="NAME=VALUE|FILE.json",
    help="What is known of the payment; the rest is as in the policy's examples. May be repeated.",
)
@click.option("--now", "now_text", metavar="TIME", help="When the decision is made, ISO 8601 (default: now).")
@click.option("--used", type=click.IntRange(0, 100), help="Retries this rule has led to (default: the fact `retries`).")
@click.option("--zone", help="The customer's time zone, like Europe/Berlin (default: their country's main one).")
@click.option(
    "--payday",
    "paydays",
    multiple=True,
    type=click.IntRange(1, 31),
    help="A day of the month on which the customer is paid; may be repeated.",
)
@click.option("--acquirer", metavar="COUNTRY", help="Where the acquirer sits; some network limits differ by it.")
@click.option("--json", "as_json", is_flag=True, help="The decision as JSON, as it would be stored.")
def explain(
    file: Path,
    given: tuple[str, ...],
    now_text: str | None,
    used: int | None,
    zone: str | None,
    paydays: tuple[int, ...],
    acquirer: str | None,
    as_json: bool,
) -> None:
    """Say which rule fires for a payment and why those before it don't, when the retry would be, and what limits say.

    Decides exactly as the service does, on facts that you give. A decline code is looked up in the code tables. The
    account's history is taken to be the failed attempts that `attempt` and `days_since_failure` tell of.
    """
    compiled = compile_policy(_read(file))
    facts = read_facts(given, compiled.policy.baseline)
    situation = WhatIf(now=_moment(now_text), used=used, zone=zone, paydays=paydays, acquirer=acquirer)
    decision = decide_if(compiled, facts, situation)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"facts": facts, "decision": decision})).decode())
        return
    _tell(compiled, facts, decision)


def check_paths(paths: Sequence[Path]) -> tuple[list[CompiledPolicy], list[Problem]]:
    """Return the policies that are right and everything that is wrong with the others."""
    good: list[CompiledPolicy] = []
    problems: list[Problem] = []
    single: list[Policy] = []
    for path in paths:
        try:
            if path.is_dir():
                good.extend(PolicyBook.load(path).policies)
            else:
                single.append(_read(path))
                good.append(compile_policy(single[-1]))
        except PolicyInvalid as refusal:
            where = f"{path}/" if path.is_dir() else ""
            problems.extend(msgspec.structs.replace(each, file=f"{where}{each.file}") for each in refusal.problems)
    return good, [*problems, *ambiguities(single)]


def _read(path: Path) -> Policy:
    raw = path.read_bytes()[: MAX_BYTES + 1]
    if len(raw) > MAX_BYTES:
        raise Refused(f"{path} is larger than {MAX_BYTES // 1024} KiB")
    try:
        return parse_policy(raw.decode(), source=str(path))
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8") from None


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"--now: {text!r} is no time", "write it like 2026-12-30T09:00Z", code=MISUSED) from None
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)


def _tell(compiled: CompiledPolicy, facts: RetryFacts, decision: Decision) -> None:
    click.echo(f"{compiled.policy.name} ({compiled.digest[:12]}), decided by {compiled.engine_name}")
    if not compiled.policy.applies_to.covers(facts):
        click.echo("note: its `applies_to` does not cover these facts; another policy would decide")
    for line in explanation_lines(decision.explanation):
        click.echo(f"  {line}")
    click.echo(f"=> {outcome_words(decision.outcome)}")
