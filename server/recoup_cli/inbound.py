"""`recoup inbound`: what gateways told, and a second chance for what could not be applied."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import click

from recoup_cli.admin import with_open_database
from recoup_cli.refund_desk import json_option, print_json, telling, with_flows
from recoup_cli.refusals import Refused
from recoup_cli.single import MERCHANT
from recoup_core.domain.inbound import InboundState
from recoup_core.flows.context import Context
from recoup_core.flows.dead_letters import apply_again, dismiss
from recoup_core.rules.deciding.words import moment
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.inbound import InboundDetail, InboundRow, list_inbound, list_unowned, read_inbound
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE

MAX_AT_ONCE: Final = 10_000
"""Events that one call hands in; after a fault of ours there may be many."""

merchant_option = click.option("--merchant", default=MERCHANT, show_default=True, help="Whose events.")


@click.group()
def inbound() -> None:
    """See what gateways told, and handle what could not be applied."""


@inbound.command(
    "list", epilog="Examples: recoup inbound list --state dead   |   recoup inbound list --gateway stripe --limit 200"
)
@merchant_option
@click.option("--state", type=click.Choice([str(state) for state in InboundState]), help="Only those in this state.")
@click.option("--gateway", metavar="NAME", help="Only those of this gateway.")
@click.option("--kind", metavar="KIND", help="Only those that the gateway calls so.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)
@click.option("--unowned", is_flag=True, help="Those that wait, or are dead, of which nobody knows whose they are.")
@json_option
def list_command(
    merchant: str, state: str | None, gateway: str | None, kind: str | None, limit: int, unowned: bool, as_json: bool
) -> None:
    """List events that gateways told, newest first: when, what, how far it got, and why."""

    async def look(database: Database, _: Settings) -> list[InboundRow]:
        if unowned:
            return await list_unowned(database, None, limit)
        return await list_inbound(database, merchant, {"state": state, "gateway": gateway, "kind": kind}, None, limit)

    _tell(with_open_database(look), as_json)


@inbound.command(epilog="Example: recoup inbound show 0199c0de-0000-7000-8000-000000000001")
@click.argument("inbound_id", metavar="ID", type=click.UUID)
@merchant_option
def show(inbound_id: UUID, merchant: str) -> None:
    """Show one event as JSON: what became of it, in our words, and what the gateway said itself."""

    async def look(database: Database, _: Settings) -> InboundDetail | None:
        return await read_inbound(database, merchant, inbound_id)

    found = with_open_database(look)
    if found is None:
        raise Refused(f"the merchant {merchant} has no inbound event {inbound_id}")
    print_json(found)


@inbound.command(
    epilog="Examples: recoup inbound apply 0199c0de-0000-7000-8000-000000000001   |   recoup inbound apply --all-dead"
)
@click.argument("inbound_ids", metavar="[ID]...", type=click.UUID, nargs=-1)
@click.option("--all-dead", is_flag=True, help="All that are dead, oldest first: for after a fault was mended.")
@click.option("--gateway", metavar="NAME", help="With --all-dead: only those of this gateway.")
@merchant_option
@json_option
def apply(inbound_ids: tuple[UUID, ...], all_dead: bool, gateway: str | None, merchant: str, as_json: bool) -> None:
    """Hand events in again that are dead, refused, dismissed or were ignored; workers apply them soon after."""
    if bool(inbound_ids) == all_dead or (gateway is not None and not all_dead):
        raise click.UsageError("name the events, or say --all-dead (which --gateway narrows)")

    async def hand_in(context: Context) -> list[InboundRow]:
        wanted = inbound_ids or await _dead(context.database, merchant, gateway)
        return [await apply_again(context, each, telling(merchant)) for each in wanted]

    _tell(with_flows(hand_in), as_json)


@inbound.command(
    "dismiss",
    epilog='Example: recoup inbound dismiss 0199c0de-0000-7000-8000-000000000001 --reason "a test, ticket 4713"',
)
@click.argument("inbound_id", metavar="ID", type=click.UUID)
@click.option("--reason", required=True, help="Why it is not to be applied; it stays with the event.")
@merchant_option
@json_option
def dismiss_command(inbound_id: UUID, reason: str, merchant: str, as_json: bool) -> None:
    """Put an event aside for good that is dead, refused or waits to be applied; its task is done with."""

    async def put_aside(context: Context) -> list[InboundRow]:
        return [await dismiss(context, inbound_id, telling(merchant), reason)]

    _tell(with_flows(put_aside), as_json)


async def _dead(database: Database, merchant: str, gateway: str | None) -> list[UUID]:
    """Return the dead, oldest first: what happened first is best applied first."""
    found: list[UUID] = []
    before: UUID | None = None
    filters = {"state": str(InboundState.DEAD), "gateway": gateway}
    while len(found) < MAX_AT_ONCE:
        page = await list_inbound(database, merchant, filters, before, MAX_PAGE)
        found += [row.id for row in page]
        if len(page) < MAX_PAGE:
            break
        before = page[-1].id
    return sorted(found[:MAX_AT_ONCE])


def _tell(rows: Sequence[InboundRow], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    for row in rows:
        why = row.note or row.last_error
        tried = f", tried {row.tries} times" if row.tries else ""
        click.echo(f"{moment(row.received_at)}  {row.id}  {row.gateway}  {row.kind}  {row.state}{tried}", nl=not why)
        if why:
            click.echo(f": {why}")
    if not rows:
        click.echo("there is no such event", err=True)
