"""`recoup message`: what was said to customers, by which channel, and what became of it."""

from uuid import UUID

import click

from recoup_cli.admin import with_open_database
from recoup_cli.case_finding import find_case
from recoup_cli.refund_desk import json_option, print_json
from recoup_cli.refusals import Refused
from recoup_cli.single import MERCHANT
from recoup_core.domain.message import Message, MessageState
from recoup_core.rules.deciding.words import moment
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_core.storage.messages import list_messages
from recoup_server.schemas_customers import message_detail, message_out

merchant_option = click.option("--merchant", default=MERCHANT, show_default=True, help="Whose messages.")


@click.group()
def message() -> None:
    """See what was said to customers."""


@message.command(
    "list", epilog="Examples: recoup message list --state failed   |   recoup message list --case INV-0042"
)
@merchant_option
@click.option("--state", type=click.Choice([str(state) for state in MessageState]), help="Only those in this state.")
@click.option("--case", "wanted", metavar="ID|REFERENCE", help="Only those about this case or payment.")
@click.option("--customer", metavar="REF", help="Only those to this customer.")
@click.option("--channel", help="Only those by this channel.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)
@json_option
def list_command(
    merchant: str,
    state: str | None,
    wanted: str | None,
    customer: str | None,
    channel: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List messages, newest first: id, when, to whom, what by which channel, and what became of it. Without words."""

    async def look(database: Database, _: Settings) -> list[Message]:
        case_id = None if wanted is None else await find_case(database, merchant, wanted)
        if wanted is not None and case_id is None:
            raise Refused(f"the merchant {merchant} has no case or payment {wanted}")
        filters = {"state": state, "case": case_id, "customer": customer, "channel": channel}
        return await list_messages(database, merchant, filters, None, limit)

    found = with_open_database(look)
    if as_json:
        print_json([message_out(each) for each in found])
        return
    for each in found:
        click.echo(_words(each))
    if not found:
        click.echo("there is no such message", err=True)


@message.command(epilog="Example: recoup message show 0199c0de-0000-7000-8000-000000000001")
@click.argument("message_id", metavar="ID", type=click.UUID)
@merchant_option
@json_option
def show(message_id: UUID, merchant: str, as_json: bool) -> None:
    """Show a message as it was written. The keys in its links are masked: who reads it here is not the customer."""

    async def look(database: Database, _: Settings) -> list[Message]:
        return await list_messages(database, merchant, {"id": message_id}, None, 1)

    found = with_open_database(look)
    if not found:
        raise Refused(f"the merchant {merchant} has no message {message_id}")
    shown = message_detail(found[0])
    if as_json:
        print_json(shown)
        return
    click.echo(_words(found[0]))
    if shown.text is None:
        click.echo("its words were erased", err=True)
        return
    if shown.subject:
        click.echo(f"\n{shown.subject}")
    click.echo(f"\n{shown.text}")


def _words(each: Message) -> str:
    because = f": {each.because}" if each.because else ""
    at = moment(each.sent_at or each.created_at)
    return f"{each.id}  {at}  {each.customer_ref}  {each.channel} {each.template}  {each.state}{because}"
