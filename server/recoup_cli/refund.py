"""`recoup refund`: ask for money to go back, see what would be decided, and how a refund stands."""

from typing import Any
from uuid import UUID

import click
import msgspec

from recoup_cli.admin import with_open_database
from recoup_cli.refund_ask import Wanted, ask_of, asks
from recoup_cli.refund_change import cancel, edit, resolve, retry, submit
from recoup_cli.refund_decide import approve, reject, send_back
from recoup_cli.refund_desk import acting, json_option, key_option, merchant_option, money, print_json, with_flows
from recoup_cli.refund_preview import line_names, preview_lines
from recoup_cli.refund_text import refund_rows, story_lines, tell_refund
from recoup_cli.refusals import Refused
from recoup_core.domain.refund import Refund, RefundState
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.preview import RefundPreview, preview_refund
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.settings import Settings
from recoup_core.storage.calls import Call
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_core.storage.lookups import payment_by_reference
from recoup_core.storage.merchants import Role
from recoup_core.storage.refund_lists import RefundStory, list_refunds, read_refund_story

ASKS = (Role.AGENT, Role.OPERATOR)
"""The roles of which a key needs one to ask for a refund, as over HTTP."""


@click.group()
def refund() -> None:
    """Ask for refunds, decide them, and see how they stand.

    Who asks for, changes or decides a refund is named by an API key, so that one person is one principal whichever
    way they come: whoever touched a refund never decides it.
    """


@refund.command(
    epilog="Examples: recoup refund request INV-7 --amount 25.00 EUR --reason withdrawal   |   recoup refund request"
    " INV-7 --amount 20.00 EUR --reason damaged --pieces mug 2 --evidence photo=https://example.com/7.jpg"
)
@asks
@click.option("--idempotency-key", help="The same key with the same request is one refund, however often it is said.")
@key_option
@json_option
def request(key: str, as_json: bool, idempotency_key: str | None, **given: Any) -> None:
    """Ask for money to go back. PAYMENT is its reference or id; the policy decides at once and says why.

    What is asked for is reserved from this moment on, decided or not.
    """
    wanted = Wanted(**given)

    async def ask(context: Context) -> RefundFile:
        by = await acting(context, key, *ASKS)
        asked = await ask_of(context, by.merchant_id, wanted)
        return await request_refund(context, asked, _once(by, idempotency_key, asked))

    tell_refund(with_flows(ask), as_json)


@refund.command(epilog="Example: recoup refund preview INV-7 --amount 25.00 EUR --reason withdrawal")
@asks
@click.option("--why", is_flag=True, help="Each rule that would not fire, too, with every condition's value.")
@key_option
@json_option
def preview(key: str, as_json: bool, why: bool, **given: Any) -> None:
    """Say what would be decided and why, and over what it would go; writes nothing."""
    wanted = Wanted(**given)

    async def look(context: Context) -> tuple[RefundPreview, dict[UUID, str]]:
        by = await acting(context, key, *ASKS)
        found = await preview_refund(context, await ask_of(context, by.merchant_id, wanted), by)
        return found, await line_names(context, by.merchant_id, found)

    found, names = with_flows(look)
    if as_json:
        print_json(found)
        return
    for line in preview_lines(found, money(wanted.amount).currency, names, full=why):
        click.echo(line)


@refund.command(epilog="Example: recoup refund show 0199a2f4-... --why")
@click.argument("refund_id", metavar="REFUND", type=click.UUID)
@merchant_option
@click.option("--why", is_flag=True, help="Each rule that did not fire, too, with every condition's value.")
@json_option
def show(refund_id: UUID, merchant: str, why: bool, as_json: bool) -> None:
    """Show a refund: its parts, lines and approvals, everything that was decided and done, and why."""

    async def look(database: Database, _: Settings) -> RefundStory | None:
        return await read_refund_story(database, merchant, refund_id)

    story = with_open_database(look)
    if story is None:
        raise Refused(f"the merchant {merchant} has no refund {refund_id}", "`recoup refund list` shows them")
    if as_json:
        print_json(story)
        return
    for line in story_lines(story, full=why):
        click.echo(line)


@refund.command("list", epilog="Examples: recoup refund list --state failed   |   recoup refund list --payment INV-7")
@merchant_option
@click.option("--state", type=click.Choice([str(state) for state in RefundState]), help="Only those in this state.")
@click.option("--payment", metavar="REFERENCE", help="Only those that go over this payment.")
@click.option("--customer", metavar="REF", help="Only this customer's.")
@click.option("--order", metavar="REF", help="Only this order's.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)
@json_option
def list_command(
    merchant: str,
    state: str | None,
    payment: str | None,
    customer: str | None,
    order: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List refunds, newest first: id, amount, state, reason, who asked and when."""

    async def look(database: Database, _: Settings) -> list[Refund]:
        filters: dict[str, Any] = {"state": state, "customer": customer, "order": order}
        if payment is not None:
            async with database.connection() as connection:
                filters["payment"] = await payment_by_reference(connection, merchant, payment)
            if filters["payment"] is None:
                raise Refused(f"the merchant {merchant} has no payment {payment}")
        return await list_refunds(database, merchant, filters, None, limit)

    found = with_open_database(look)
    if as_json:
        print_json(found)
        return
    for line in refund_rows(found):
        click.echo(line)
    if not found:
        click.echo("there is no such refund", err=True)


def _once(by: By, key: str | None, asked: RefundAsk) -> By:
    if key is None:
        return by
    return msgspec.structs.replace(by, call=Call(key, b"recoup refund request\n" + msgspec.json.encode(asked)))


for command in (edit, submit, cancel, retry, resolve, approve, reject, send_back):
    refund.add_command(command)
