"""`recoup gateway`: ask a gateway for events whose webhooks may never have come."""

from datetime import UTC, datetime
from typing import Final

import click

from recoup_cli.refund_desk import json_option, print_json, with_flows
from recoup_core.flows.catch_up import CaughtUp, catch_up
from recoup_core.flows.context import Context

MOMENT: Final = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"])


@click.group()
def gateway() -> None:
    """Ask gateways."""


@gateway.command(
    "catch-up",
    epilog="Examples: recoup gateway catch-up stripe   |   recoup gateway catch-up stripe --since 2026-11-20T00:00:00Z",
)
@click.argument("name")
@click.option("--since", type=MOMENT, metavar="MOMENT", help="From then on (default: where its feed is complete).")
@json_option
def catch_up_command(name: str, since: datetime | None, as_json: bool) -> None:
    """Ask a gateway for its events and store those that no webhook told; workers apply them soon after.

    Schedulers do the same every 15 minutes. By hand it is for what lies further back: an endpoint that was set up
    wrongly, a restored backup. What is known already falls away. A date alone means its first second in UTC.
    """
    from_then = None if since is None else since.astimezone(UTC) if since.tzinfo else since.replace(tzinfo=UTC)

    async def ask(context: Context) -> CaughtUp:
        return await catch_up(context, name, from_then)

    done = with_flows(ask)
    if as_json:
        print_json(done)
        return
    click.echo(f"{name} told of {done.seen} events, {done.new} of them new")
    if not done.complete:
        click.echo("there are more than one call asks for: call it again with a later --since", err=True)
