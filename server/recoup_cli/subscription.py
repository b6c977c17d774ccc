"""`recoup subscription`: what the billing system is asked to do with subscriptions, and what it answered."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import click

from recoup_cli.admin import with_open_database
from recoup_cli.refund_desk import json_option, print_json, telling, with_flows
from recoup_cli.refund_text import columns
from recoup_cli.single import MERCHANT
from recoup_core.domain.subscription_request import RequestState, SubscriptionRequest, Wish
from recoup_core.flows.context import Context
from recoup_core.flows.subscription_requests.answering import acknowledge as take_answer
from recoup_core.rules.deciding.words import moment
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_core.storage.subscription_requests import list_requests

merchant_option = click.option("--merchant", default=MERCHANT, show_default=True, help="Whose subscriptions.")


@click.group()
def subscription() -> None:
    """See what the billing system is asked to do, and answer in its place."""


@subscription.command("list", epilog="Example: recoup subscription list --state overdue")
@merchant_option
@click.option("--state", type=click.Choice([str(state) for state in RequestState]), help="Only those in this state.")
@click.option("--wish", type=click.Choice([str(wish) for wish in Wish]), help="Only those that ask for this.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)
@json_option
def list_command(merchant: str, state: str | None, wish: str | None, limit: int, as_json: bool) -> None:
    """List requests to the billing system, newest first: id, what is asked, state, how often and when it was told."""

    async def look(database: Database, _: Settings) -> list[SubscriptionRequest]:
        return await list_requests(database, merchant, {"state": state, "wish": wish}, None, limit)

    _tell(with_open_database(look), as_json)


@subscription.command(epilog="Example: recoup subscription acknowledge 01936f5e-7c1d-7000-8000-5b1f0c9f2a11 --done")
@click.argument("request_id", type=click.UUID, metavar="REQUEST")
@click.option("--done/--refused", "done", required=True, help="Whether it was carried out, or never will be.")
@click.option("--note", help="What there is to say about it.")
@merchant_option
@json_option
def acknowledge(request_id: UUID, done: bool, note: str | None, merchant: str, as_json: bool) -> None:
    """Answer a request in the billing system's place; nothing is told again. A refusal is put before a person."""

    async def answer(context: Context) -> SubscriptionRequest:
        return await take_answer(context, request_id, telling(merchant), done=done, note=note)

    _tell([with_flows(answer)], as_json)


def _tell(requests: Sequence[SubscriptionRequest], as_json: bool) -> None:
    if as_json:
        print_json(requests)
        return
    for line in _rows(requests):
        click.echo(line)
    if not requests:
        click.echo("there is no such request", err=True)


def _rows(requests: Sequence[SubscriptionRequest]) -> Iterator[str]:
    yield from columns(
        [
            (
                str(each.id),
                f"{each.wish} to {each.plan}" if each.plan else str(each.wish),
                str(each.state),
                f"told {each.asked} times" if each.asked > 1 else "told once",
                f"last {moment(each.asked_at)}",
                each.note or "",
            )
            for each in requests
        ]
    )
