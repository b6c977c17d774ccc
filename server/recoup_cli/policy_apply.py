"""`recoup policy apply`: makes what is in force be what a folder says; shows first what that changes, then asks."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from recoup_cli.policy_desk import SHORT, change_of, changes, notes, with_policies
from recoup_cli.refusals import MISUSED, Refused
from recoup_core.flows.context import Context
from recoup_core.flows.deploy import Plan, PlanLine, PlannedAct, apply_policies
from recoup_core.flows.desk import Change
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.sets.folder import PolicyFile, read_folder

_SIGNS: Final = {PlannedAct.ADD: "+", PlannedAct.CHANGE: "~", PlannedAct.REMOVE: "-"}
_WORDS: Final = {PlannedAct.ADD: "new", PlannedAct.CHANGE: "changed", PlannedAct.REMOVE: "retired: no file has them"}


@click.command(epilog="Examples: recoup policy apply policies --dry-run   |   recoup policy apply policies --yes")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--yes", is_flag=True, help="Don't ask; needed where nobody can answer.")
@changes
@notes
def apply(folder: Path, dry_run: bool, yes: bool, merchant: str | None, author: str, note: str | None) -> None:
    """Make the policies in force exactly those of a folder: all in one transaction, or nothing at all.

    \b
    + is new    ~ gets another version    - has no file and is retired    = stays as it is

    Running cases keep the version they opened with. Doing it again changes nothing.
    """
    files, problems = read_folder(folder)
    if problems:
        raise PolicyInvalid(problems)
    change = change_of(merchant, author, note)
    plan = _run(files, change, dry_run=True)
    for warning in plan.warnings:
        click.echo(str(warning), err=True)
    for line in plan_lines(plan):
        click.echo(line)
    if not plan.changes:
        click.echo("nothing to do")
        return
    if dry_run:
        return
    _ask(plan, yes=yes)
    _run(files, change, shown=plan)
    click.echo(f"done: {_count(plan)}")


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield a plan as it is shown, one line a change."""
    for line in plan.changes:
        yield f"{_SIGNS[line.act]} {line.kind}/{line.name}  {_digests(line)}"
    kept = len(plan.lines) - len(plan.changes)
    if kept:
        yield f"= {kept} unchanged"
    if plan.changes:
        acts = Counter(line.act for line in plan.changes)
        yield "plan: " + ", ".join(f"{acts[act]} {word}" for act, word in _WORDS.items() if acts[act])


def _digests(line: PlanLine) -> str:
    return " -> ".join(digest[:SHORT] for digest in (line.live, line.digest) if digest is not None)


def _run(files: Sequence[PolicyFile], change: Change, *, dry_run: bool = False, shown: Plan | None = None) -> Plan:
    async def work(context: Context) -> Plan:
        return await apply_policies(context, files, change, dry_run=dry_run, shown=shown)

    return with_policies(work)


def _ask(plan: Plan, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("nobody can be asked here", "look at the plan above and say --yes", code=MISUSED)
    click.confirm(f"Apply {_count(plan)}?", abort=True)


def _count(plan: Plan) -> str:
    count = len(plan.changes)
    return f"{count} change{'s' if count != 1 else ''}"
