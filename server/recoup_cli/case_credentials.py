"""`recoup case credentials` and `recoup case link`: what a customer has stored, and the page where it is renewed."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import click
import msgspec

from recoup_cli.admin import with_open_database
from recoup_cli.case_finding import find_case
from recoup_cli.refund_desk import telling, with_flows
from recoup_cli.refusals import Refused
from recoup_cli.single import MERCHANT
from recoup_core.domain.payment import Credential
from recoup_core.flows.context import Context
from recoup_core.flows.credentials.links import update_link
from recoup_core.rules.deciding.words import moment
from recoup_core.settings import Settings
from recoup_core.storage.credentials import StoredLink, credentials_of_case
from recoup_core.storage.engine import Database


@click.command("credentials", epilog="Example: recoup case credentials INV-0042")
@click.argument("wanted", metavar="ID|REFERENCE")
@click.option("--merchant", default=MERCHANT, show_default=True)
def credentials_command(wanted: str, merchant: str) -> None:
    """List what the customer has stored to pay with: role, gateway, whether it may be tried and why not.

    In the order in which policies choose; what is blocked comes last. A blocked one is tried again once the customer
    or a person has given it again. Tokens are not shown.
    """

    async def look(database: Database, _: Settings) -> Sequence[Credential]:
        case_id = await _case_id(database, merchant, wanted)
        return await credentials_of_case(database, merchant, case_id) or ()

    found = with_open_database(look)
    for line in _credential_lines(found):
        click.echo(line)
    if not found:
        click.echo("the customer has nothing stored", err=True)


@click.command("link", epilog="Examples: recoup case link INV-0042   |   recoup case link INV-0042 --gateway stripe-eu")
@click.argument("wanted", metavar="ID|REFERENCE")
@click.option("--gateway", help="Whose page; the payment's own gateway's if not given.")
@click.option("--merchant", default=MERCHANT, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="All that is known of the page, as JSON.")
def link_command(wanted: str, gateway: str | None, merchant: str, as_json: bool) -> None:
    """Print the address of a gateway's own page where the customer renews a means of payment, or pays.

    While a page works the same one is printed again. Whoever has the address may act for the customer: send it to
    nobody else, and keep it out of logs and tickets.
    """

    async def ask(context: Context) -> StoredLink:
        case_id = await _case_id(context.database, merchant, wanted)
        return await update_link(context, case_id, telling(merchant), gateway)

    link = with_flows(ask)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(link)).decode())
        return
    click.echo(link.url)
    does = "the debt can be paid there" if link.pays else "the means of payment is renewed there"
    click.echo(f"{does}; {link.gateway} lets it work until {moment(link.expires_at)}", err=True)


async def _case_id(database: Database, merchant: str, wanted: str) -> UUID:
    case_id = await find_case(database, merchant, wanted)
    if case_id is None:
        raise Refused(f"the merchant {merchant} has no case or payment {wanted}")
    return case_id


def _credential_lines(credentials: Sequence[Credential]) -> Iterator[str]:
    for each in credentials:
        why = str(each.blocked_because or "no longer valid").replace("_", " ")
        stands = "valid" if each.valid else f"blocked: {why}"
        renewed = f", renewed {moment(each.renewed_at)}" if each.renewed_at else ""
        kind = f"{each.method} {each.network}" if each.network else str(each.method)
        yield f"{each.id}  {each.role}  {each.gateway}  {kind}  {stands}{renewed}"
