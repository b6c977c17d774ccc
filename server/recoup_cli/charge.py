"""`recoup charge`: charges that are to come, and what is told before them."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import click

from recoup_cli.admin import with_open_database
from recoup_cli.refund_desk import json_option, print_json, telling, with_flows
from recoup_cli.refund_text import columns
from recoup_cli.refusals import Refused
from recoup_cli.single import MERCHANT
from recoup_core.domain.upcoming import ChargeFile, ChargeState, UpcomingCharge
from recoup_core.flows.context import Context
from recoup_core.flows.upcoming.announcing import call_off as take_call_off
from recoup_core.rules.deciding.words import moment
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_core.storage.upcoming import charge_by_reference, list_charges, load_charges

merchant_option = click.option("--merchant", default=MERCHANT, show_default=True, help="Whose charges.")


@click.group()
def charge() -> None:
    """See charges that billing systems have announced, and what their customers are told before them."""


@charge.command("list", epilog="Example: recoup charge list --state announced")
@merchant_option
@click.option("--state", type=click.Choice([str(state) for state in ChargeState]), help="Only those in this state.")
@click.option("--customer", help="Only those of this customer.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)
@json_option
def list_command(merchant: str, state: str | None, customer: str | None, limit: int, as_json: bool) -> None:
    """List charges, newest first: reference, amount, time, state, and the month in which the card ends."""

    async def look(database: Database, _: Settings) -> list[UpcomingCharge]:
        return await list_charges(database, merchant, {"state": state, "customer": customer}, None, limit)

    charges = with_open_database(look)
    if as_json:
        print_json(charges)
        return
    for line in columns([_row(each) for each in charges]):
        click.echo(line)
    if not charges:
        click.echo("there is no such charge", err=True)


@charge.command("show", epilog="Example: recoup charge show sub-4711-2027-01")
@click.argument("reference")
@merchant_option
@json_option
def show_command(reference: str, merchant: str, as_json: bool) -> None:
    """Show a charge with its notices: when each is due or was said, and why one was held back or left out."""

    async def look(database: Database, _: Settings) -> ChargeFile:
        async with database.connection() as connection:
            charge_id = await charge_by_reference(connection, merchant, reference)
            found = await load_charges(connection, [] if charge_id is None else [charge_id])
        if charge_id is None:
            raise Refused(f"the merchant {merchant} has announced no charge {reference}")
        return found[charge_id]

    _tell(with_open_database(look), as_json)


@charge.command("call-off", epilog="Example: recoup charge call-off sub-4711-2027-01 --reason 'the customer left'")
@click.argument("reference")
@click.option("--reason", required=True, help="Why it will not be made; kept with the event.")
@merchant_option
@json_option
def call_off(reference: str, reason: str, merchant: str, as_json: bool) -> None:
    """Say that a charge will not be made: nothing more is told before it. The billing system is not told."""

    async def act(context: Context) -> ChargeFile:
        async with context.database.connection() as connection:
            charge_id: UUID | None = await charge_by_reference(connection, merchant, reference)
        if charge_id is None:
            raise Refused(f"the merchant {merchant} has announced no charge {reference}")
        return await take_call_off(context, charge_id, telling(merchant), reason)

    _tell(with_flows(act), as_json)


def _tell(file: ChargeFile, as_json: bool) -> None:
    if as_json:
        print_json(file)
        return
    for line in columns([_row(file.charge)]):
        click.echo(line)
    for line in _notices(file):
        click.echo(f"  {line}")


def _row(each: UpcomingCharge) -> Sequence[str]:
    card = f"card ends {each.expires_on}" if each.expires_on else ""
    return (each.reference, str(each.amount), moment(each.charge_at), str(each.state), each.customer.ref, card)


def _notices(file: ChargeFile) -> Iterator[str]:
    yield from columns(
        [
            (
                moment(each.finished_at or each.due_at),
                str(each.detail.get("template") or each.detail.get("text") or each.kind),
                str(each.state),
                each.skipped_because or (f"held back: {each.held_because}" if each.held_because else ""),
            )
            for each in file.notices
        ]
    )
