"""`recoup settlement`: what gateways say that they settled, what it was matched to, and what does not fit."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click

from recoup_cli.admin import with_open_database
from recoup_cli.refund_desk import acting, json_option, key_option, print_json, telling, with_flows
from recoup_cli.refusals import Refused
from recoup_cli.single import MERCHANT
from recoup_core.domain.money import Money
from recoup_core.domain.settlement import LineState, Problem, SettlementException, SettlementLine, SettlementReport
from recoup_core.flows.context import Context
from recoup_core.flows.settlement.exceptions import assign as assign_exception
from recoup_core.flows.settlement.exceptions import resolve as resolve_exception
from recoup_core.flows.settlement.fetching import ask_for_report
from recoup_core.flows.settlement.importing import Imported, import_report
from recoup_core.ports import MAX_SETTLEMENT_BYTES
from recoup_core.rules.deciding.words import moment
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_core.storage.merchants import Role
from recoup_core.storage.settlement_exceptions import list_exceptions
from recoup_core.storage.settlements import Standing, list_lines, list_reports, report_standing

SHOWN_LINES: Final = 100
"""Unmatched lines that `show` prints."""

merchant_option = click.option("--merchant", default=MERCHANT, show_default=True, help="Whose gateways.")
gateway_option = click.option("--gateway", help="Only those of this gateway.")
limit_option = click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)


@click.group()
def settlement() -> None:
    """Bring in what gateways settled, and look after what does not fit."""


@settlement.command("import", epilog="Example: recoup settlement import november.csv --gateway stripe-eu")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--gateway", required=True, help="Whose report it is.")
@merchant_option
def import_command(file: Path, gateway: str, merchant: str) -> None:
    """Bring in a report: as the gateway lets one download it, or as recoup-settlement CSV (docs/settlement.md).

    The same file again changes nothing. A worker matches its lines; `recoup settlement show` says how far it is.
    """
    content = _content(file)

    async def work(context: Context) -> Imported:
        return await import_report(context, gateway, content, telling(merchant))

    done = with_flows(work)
    if done.known:
        click.echo(f"{done.report.report_ref} was brought in before; nothing was done")
    else:
        click.echo(f"{done.report.report_ref}: {done.fresh_lines} new lines ({done.report.id})")


@settlement.command(epilog="Example: recoup settlement fetch po_1Q2w3E --gateway stripe-eu")
@click.argument("report_ref")
@click.option("--gateway", required=True, help="Whose report it is.")
@merchant_option
def fetch(report_ref: str, gateway: str, merchant: str) -> None:
    """Have a worker fetch a report from its gateway, by the gateway's own name of it."""

    async def work(context: Context) -> None:
        await ask_for_report(context, gateway, report_ref, telling(merchant))

    with_flows(work)
    click.echo(f"{report_ref} will be fetched from {gateway}")


@settlement.command("list", epilog="Example: recoup settlement list --gateway stripe-eu")
@merchant_option
@gateway_option
@limit_option
@json_option
def list_command(merchant: str, gateway: str | None, limit: int, as_json: bool) -> None:
    """List reports, newest first: id, gateway, name, what was paid out, lines, and whether it adds up."""

    async def look(database: Database, _: Settings) -> list[SettlementReport]:
        return await list_reports(database, merchant, {"gateway": gateway}, None, limit)

    reports = with_open_database(look)
    if as_json:
        print_json(reports)
        return
    for report in reports:
        click.echo(_report_line(report))
    if not reports:
        click.echo("there is no settlement report", err=True)


@settlement.command(
    epilog="Examples: recoup settlement show po_1Q2w3E   |   recoup settlement show po_1 --gateway stripe-eu"
)
@click.argument("report", metavar="ID|NAME")
@merchant_option
@gateway_option
@json_option
def show(report: str, merchant: str, gateway: str | None, as_json: bool) -> None:
    """Show a report, how far its lines got, and the lines that nothing explains so far."""

    async def look(database: Database, _: Settings) -> tuple[SettlementReport, Standing, list[SettlementLine]]:
        found = await _find(database, merchant, report, gateway)
        filters = {"report": found.id, "state": LineState.UNMATCHED}
        lines = await list_lines(database, merchant, filters, None, SHOWN_LINES)
        async with database.connection() as connection:
            return found, await report_standing(connection, found.id), lines

    shown, standing, lines = with_open_database(look)
    if as_json:
        print_json({"report": shown, "standing": standing, "unmatched": lines})
        return
    click.echo(_report_line(shown))
    click.echo(f"lines: {standing.matched} matched, {standing.unmatched} unmatched, {standing.waiting} waiting")
    for line in lines:
        click.echo(f"  {line.ref}  {line.kind}  {line.amount}  settled {line.settled}  {moment(line.occurred_at)}")


@settlement.command(epilog="Example: recoup settlement exceptions --gateway stripe-eu --owner finance")
@merchant_option
@gateway_option
@click.option("--kind", type=click.Choice([str(kind) for kind in Problem]), help="Only those of this kind.")
@click.option("--owner", help="Only those of this role or person.")
@click.option("--resolved", is_flag=True, help="Those that are resolved, instead of those that wait.")
@limit_option
@json_option
def exceptions(
    merchant: str, gateway: str | None, kind: str | None, owner: str | None, resolved: bool, limit: int, as_json: bool
) -> None:
    """List what does not fit, the oldest first: id, age in days, kind, owner, amount, and why."""

    async def look(database: Database, _: Settings) -> list[SettlementException]:
        filters = {"gateway": gateway, "kind": kind, "owner": owner}
        return await list_exceptions(database, merchant, filters, None, limit, resolved=resolved)

    found = with_open_database(look)
    if as_json:
        print_json(found)
        return
    for each in found:
        click.echo(_exception_line(each))
    if not found:
        click.echo("no settlement exception " + ("is resolved" if resolved else "waits"), err=True)


@settlement.command(epilog="Example: recoup settlement assign 0198d5f0-0000-7000-8000-000000000102 --to maria")
@click.argument("exception", type=click.UUID)
@click.option("--to", "owner", required=True, help="A role, or a person.")
@key_option
def assign(exception: UUID, owner: str, key: str) -> None:
    """Say whose turn it is to look after an exception: a role or a person; it is audited."""

    async def work(context: Context) -> SettlementException:
        return await assign_exception(context, exception, await acting(context, key, Role.OPERATOR), owner)

    click.echo(_exception_line(with_flows(work)))


@settlement.command(
    epilog='Example: recoup settlement resolve 0198d5f0-0000-7000-8000-000000000102 --evidence "order 4711 of the shop"'
)
@click.argument("exception", type=click.UUID)
@click.option("--evidence", required=True, help="What was found out and done about it.")
@key_option
def resolve(exception: UUID, evidence: str, key: str) -> None:
    """Close an exception with what was found out and done about it; it moves no money."""

    async def work(context: Context) -> SettlementException:
        return await resolve_exception(context, exception, await acting(context, key, Role.OPERATOR), evidence)

    click.echo(_exception_line(with_flows(work)))


async def _find(database: Database, merchant: str, wanted: str, gateway: str | None) -> SettlementReport:
    """Return the report that is meant: by its gateway's name first, for a name may look like anything."""
    lookups: list[dict[str, Any]] = [{"ref": wanted, "gateway": gateway}]
    with suppress(ValueError):
        lookups.append({"id": UUID(wanted), "gateway": gateway})
    for filters in lookups:
        found = await list_reports(database, merchant, filters, None, MAX_PAGE)
        if len(found) > 1:
            told = ", ".join(sorted(each.gateway for each in found))
            raise Refused(f"several gateways have a report {wanted}: {told}", "say which by --gateway")
        if found:
            return found[0]
    raise Refused(f"the merchant {merchant} has no settlement report {wanted}", "`recoup settlement list` shows all")


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_SETTLEMENT_BYTES + 1)
    except OSError as broken:
        raise Refused(f"{file} can't be read: {broken.strerror}") from None
    if len(content) > MAX_SETTLEMENT_BYTES:
        raise Refused(f"{file} is larger than {MAX_SETTLEMENT_BYTES} bytes", "bring it in pieces, under one report_ref")
    return content


def _report_line(report: SettlementReport) -> str:
    paid = "no payout told"
    if report.paid_out_minor is not None:
        paid = f"paid out {Money(report.paid_out_minor, report.currency)}"
    sums = "adds up" if report.adds_up else "does not add up"
    return f"{report.id}  {report.gateway} {report.report_ref}  {paid}  {report.lines} lines  {sums}"


def _exception_line(each: SettlementException) -> str:
    age = (each.resolved_at or datetime.now(UTC)) - each.opened_at
    amount = (
        "" if each.amount_minor is None or each.currency is None else f"  {Money(each.amount_minor, each.currency)}"
    )
    end = "" if each.resolution is None else f"  resolved by {each.resolved_by}: {each.resolution}"
    return f"{each.id}  {age.days} d  {each.kind}  {each.owner}{amount}  {each.reason}{end}"
