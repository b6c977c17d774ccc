"""`recoup policy experiment`, `shadow-report` and `migrate`: what a version would do, tried on real payments."""

from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID

import click
import msgspec

from recoup_cli.policy_desk import SHORT, change_of, changes, merchant_option, one_version, with_policies
from recoup_cli.progress import progress
from recoup_cli.refusals import Refused
from recoup_cli.spans import counted
from recoup_core.analytics.experiments import Interval
from recoup_core.domain.experiment import (
    DEFAULT_MATURITY,
    DEFAULT_MIN_MATURED,
    MAX_MATURITY,
    WHOLE_BP,
    Arm,
    Experiment,
)
from recoup_core.domain.money import Money
from recoup_core.flows import experiments as flow
from recoup_core.flows.context import Context
from recoup_core.flows.migrate import Move, Moves, NextStep, move_cases, preview_moves
from recoup_core.flows.operate import By
from recoup_core.flows.shadow import ShadowReport, shadow_report
from recoup_core.storage.experiments import list_experiments
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_core.storage.moves import ChosenCases
from recoup_core.storage.shadows import ShadowDifference
from recoup_core.storage.versions import read_version

DEFAULT_MERCHANT = "default"
SHOWN_MOVES = 20
"""Cases of a preview that are listed; all of them count."""


def _two_decimals(_: click.Context, __: click.Parameter, share: float) -> float:
    if round(share, 2) != share:
        raise click.BadParameter("more than two decimals")
    return share


_share = click.option(
    "--share",
    type=click.FloatRange(0, 100),
    required=True,
    callback=_two_decimals,
    help="The version's share of new cases, in per cent, to two decimals.",
)
_case_merchant = click.option("--merchant", default=DEFAULT_MERCHANT, show_default=True, help="Whose cases.")


@click.group()
def experiment() -> None:
    """Let a version decide for a share of the new cases, and see what came of it."""


@experiment.command(epilog="Example: recoup policy experiment start 1a2b3c4d --share 10")
@click.argument("wanted", metavar="VERSION")
@_share
@click.option("--maturity-days", type=click.IntRange(1, MAX_MATURITY), default=DEFAULT_MATURITY, show_default=True)
@click.option("--min-matured", type=click.IntRange(1), default=DEFAULT_MIN_MATURED, show_default=True)
@changes
def start(wanted: str, share: float, maturity_days: int, min_matured: int, merchant: str | None, author: str) -> None:
    """Start an experiment: customers are dealt by a hash; the rest gets the live version of the same name."""
    change = change_of(merchant, author)

    async def begin(context: Context) -> Experiment:
        version_id = await one_version(context, merchant, wanted)
        setup = flow.Setup(share_bp=_bp(share), maturity_days=maturity_days, min_matured=min_matured)
        return await flow.start(context, version_id, setup, change)

    click.echo(_line(with_policies(begin)))


@experiment.command(epilog="Example: recoup policy experiment ramp 0190c1f2-... --share 50")
@click.argument("experiment_id", metavar="EXPERIMENT", type=click.UUID)
@_share
@changes
def ramp(experiment_id: UUID, share: float, merchant: str | None, author: str) -> None:
    """Change the share of cases to come; those that are in keep their version and their arm."""

    async def change_share(context: Context) -> Experiment:
        return await flow.ramp(context, experiment_id, _bp(share), change_of(merchant, author))

    click.echo(_line(with_policies(change_share)))


@experiment.command(epilog='Example: recoup policy experiment stop 0190c1f2-... --because "it recovers more"')
@click.argument("experiment_id", metavar="EXPERIMENT", type=click.UUID)
@click.option("--because", required=True, help="For the audit trail.")
@changes
def stop(experiment_id: UUID, because: str, merchant: str | None, author: str) -> None:
    """End an experiment; its version goes back to shadow, its cases go on under it."""

    async def end(context: Context) -> Experiment:
        return await flow.stop(context, experiment_id, because, change_of(merchant, author))

    click.echo(_line(with_policies(end)))


@experiment.command("list", epilog="Example: recoup policy experiment list --merchant default")
@merchant_option
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)
def list_all(merchant: str | None, limit: int) -> None:
    """List experiments, newest first: the house's and, with --merchant, that merchant's."""

    async def look(context: Context) -> list[Experiment]:
        return await list_experiments(context.database, merchant, None, limit)

    found = with_policies(look)
    for each in found:
        click.echo(_line(each))
    if not found:
        click.echo("there is no experiment", err=True)


@experiment.command(epilog="Example: recoup policy experiment report 0190c1f2-...")
@click.argument("experiment_id", metavar="EXPERIMENT", type=click.UUID)
@merchant_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def report(experiment_id: UUID, merchant: str | None, as_json: bool) -> None:
    """Say what an experiment has shown: matured cohorts, the difference with its bounds, and the stop rule's word."""

    async def look(context: Context) -> flow.Report:
        return await flow.report(context, merchant, experiment_id)

    found = with_policies(look)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    click.echo(_line(found.experiment))
    for arm in Arm:
        _tell_arm(found, arm)
    result = found.result
    click.echo(f"difference  {_points(result.difference)}  for one look; treatment less control, in points")
    click.echo(f"            {_points(result.always_valid)}  however often one looks; the stop rule goes by these")
    click.echo(f"=> {result.verdict}  (split as it was set: p = {result.split_p:.3f})")


@click.command("shadow-report", epilog="Example: recoup policy shadow-report 1a2b3c4d")
@click.argument("wanted", metavar="VERSION")
@merchant_option
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def shadow_seen(wanted: str, merchant: str | None, limit: int, as_json: bool) -> None:
    """Say what a version in shadow would have decided otherwise, newest first."""

    async def look(context: Context) -> ShadowReport:
        return await shadow_report(context, await one_version(context, merchant, wanted), merchant, None, limit)

    found = with_policies(look)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    seen = found.seen
    until = (
        "none yet; it follows the live version within a minute"
        if seen.seen_until is None
        else f"until {seen.seen_until:%Y-%m-%d %H:%M}Z"
    )
    click.echo(f"looked at {seen.decided} decisions ({until}), would have made {seen.differed} otherwise")
    for each in found.differences:
        live, beside = (_outcome(msgspec.json.decode(raw)) for raw in (each.outcome, each.shadow_outcome))
        about = _about(each)
        click.echo(f"{each.decided_at:%Y-%m-%d %H:%M}Z  {about}")
        click.echo(f"    live    {live}  ({each.rule})")
        click.echo(f"    shadow  {beside}  ({each.shadow_rule})")


@click.command(
    epilog="""\b
Examples:
  recoup policy migrate --under 1a2b3c4d                 what would change for the cases under a version
  recoup policy migrate --under 1a2b3c4d --to 9f8e7d6c --yes
"""
)
@click.option("--kind", type=click.Choice(["retry", "dunning"]), default="retry", show_default=True)
@click.option("--under", metavar="VERSION", help="Only cases under this version: id or beginning of its digest.")
@click.option("--to", "target", metavar="VERSION", help="The version (default: what each case would get today).")
@click.option("--case", "cases", type=click.UUID, multiple=True, help="Only this case; may be repeated.")
@click.option("--yes", is_flag=True, help="Do it; without, it is only said what would change.")
@_case_merchant
@click.option("--author", default="cli", show_default=True, help="Who, as the audit trail names it.")
def migrate(
    kind: str, under: str | None, target: str | None, cases: tuple[UUID, ...], yes: bool, merchant: str, author: str
) -> None:
    """Move running cases to another version of their policy; each is decided anew at once, and the move is audited."""

    by = By(merchant_id=merchant, actor=f"operator:{author}"[:200])

    async def go(context: Context) -> _Tally:
        under_digest = None if under is None else await _digest(context, merchant, under)
        to_digest = None if target is None else await _digest(context, merchant, target)
        chosen = ChosenCases(kind=kind, ids=cases or None, under_digest=under_digest)
        tally = _Tally()
        with progress("moving cases" if yes else "looking at cases", None) as advance:
            while True:  # pages of cases in the order of their ids: it ends with the last
                page = await (
                    move_cases(context, by, chosen, to_digest)
                    if yes
                    else preview_moves(context, merchant, chosen, to_digest)
                )
                tally.take(page)
                advance(len(page.items))
                if page.next_after is None:
                    return tally
                chosen = msgspec.structs.replace(chosen, after=page.next_after)

    _tell_moves(with_policies(go), done=yes)


class _Tally:
    """What became of any number of cases, and the first of them."""

    def __init__(self) -> None:
        self.shown: list[Move] = []
        self.total = self.movable = 0
        self.stay: Counter[str] = Counter()

    def take(self, page: Moves) -> None:
        """Count a page."""
        movers = [move for move in page.items if move.refused is None]
        self.shown += movers[: SHOWN_MOVES - len(self.shown)]
        self.total += len(page.items)
        self.movable += page.movable
        self.stay.update(move.refused for move in page.items if move.refused is not None)


async def _digest(context: Context, merchant: str, wanted: str) -> str:
    for owner in (merchant, None):
        try:
            version_id = await one_version(context, owner, wanted)
        except Refused:
            if owner is None:
                raise
            continue
        async with context.database.connection() as connection:
            version = await read_version(connection, version_id)
        assert version is not None  # just found
        return version.digest
    raise AssertionError("unreachable: the house's look raises")


def _tell_moves(tally: _Tally, *, done: bool) -> None:
    for move in tally.shown:
        where = "no policy" if move.from_digest is None else f"{move.from_policy} {move.from_digest[:SHORT]}"
        assert move.to_digest is not None  # only those that move are listed
        click.echo(f"  case {move.case_id}  {where} -> {move.to_policy} {move.to_digest[:SHORT]}")
        click.echo(f"      {_next(move.before)}  ->  {_next(move.after)}")
    if tally.movable > len(tally.shown):
        click.echo(f"  ... and {tally.movable - len(tally.shown):,} more")
    for because, count in tally.stay.most_common():
        click.echo(f"not moved, {counted(count, 'case')}: {because}")
    click.echo(f"{tally.movable:,} of {counted(tally.total, 'case')} {'moved' if done else 'would move'}")
    if tally.movable and not done:
        click.echo("--yes moves them", err=True)


def _next(step: NextStep | None) -> str:
    if step is None:
        return "nothing planned"
    if step.at is None:
        return f"stop: {step.stop}"
    more = f" and {step.steps - 1} more" if step.steps > 1 else ""
    return f"{step.what} {step.at:%Y-%m-%d %H:%M}Z{more} ({step.rule})"


def _about(difference: ShadowDifference) -> str:
    if difference.charge_id is not None:
        return f"upcoming charge {difference.charge_id}"
    return f"case {difference.case_id}" if difference.refund_id is None else f"refund {difference.refund_id}"


def _outcome(outcome: dict[str, Any]) -> str:
    steps = [counted(len(outcome["steps"]), "step")] if "steps" in outcome else []
    said = {**outcome, "at": f"{datetime.fromisoformat(outcome['at']):%Y-%m-%d %H:%MZ}"} if "at" in outcome else outcome
    return " ".join([*(str(said[key]) for key in ("type", "at", "reason") if key in said), *steps])


def _bp(share: float) -> int:
    return round(share * WHOLE_BP / 100)


def _line(each: Experiment) -> str:
    state = "running" if each.stopped_at is None else f"stopped {each.stopped_at:%Y-%m-%d}: {each.stopped_because}"
    won = "" if each.winner is None else f"; {each.winner} was better"
    return (
        f"{each.id}  {each.kind}/{each.name}  {each.share_bp / 100:g} %  {each.merchant_id or 'house'}"
        f"  since {each.started_at:%Y-%m-%d}  {state}{won}"
    )


def _tell_arm(found: flow.Report, arm: Arm) -> None:
    result = found.result.arms[arm]
    rate = "" if result.rate is None else f": {_percent(result.rate)}"
    click.echo(
        f"{arm:<10}  {counted(result.opened, 'customer')}, {result.matured:,} matured,"
        f" {result.recovered:,} of them recovered{rate}"
    )
    for money in found.money:
        if money.arm == arm:
            got, owed = (Money(minor, money.currency) for minor in (money.recovered_minor, money.owed_minor))
            click.echo(f"            {got} of {owed}")


def _percent(interval: Interval) -> str:
    return f"{interval.estimate:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def _points(interval: Interval | None) -> str:
    if interval is None:
        return "can't be told yet"
    return f"{100 * interval.estimate:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
