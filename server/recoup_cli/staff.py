"""`recoup staff`: who of the staff is told what, muting it, and trying it out."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import click

from recoup_cli.refund_desk import json_option, print_json, telling, with_flows
from recoup_cli.refusals import Refused
from recoup_cli.single import MERCHANT
from recoup_core.domain.staff import StaffKind
from recoup_core.flows.context import Context
from recoup_core.flows.guard import Unknown
from recoup_core.flows.staff.muting import ReaderView, list_staff, mute, send_test, unmute
from recoup_core.ports import Accepted, SendOutcome
from recoup_core.rules.deciding.words import moment

merchant_option = click.option("--merchant", default=MERCHANT, show_default=True, help="Whose staff.")
kind_option = click.option(
    "--kind", type=click.Choice([str(kind) for kind in StaffKind]), help="Only this kind (default: every kind)."
)


@click.group()
def staff() -> None:
    """See who of the staff is told what, and mute it. Readers stand in recoup.toml, as `[[staff]]`."""


@staff.command("list", epilog="Example: recoup staff list")
@merchant_option
@json_option
def list_command(merchant: str, as_json: bool) -> None:
    """List readers with what each is told of, what is muted, and when they last heard."""

    async def look(context: Context) -> list[ReaderView]:
        return await list_staff(context, merchant)

    _tell(with_flows(look), as_json)


@staff.command("mute", epilog="Example: recoup staff mute anna --kind task_opened --hours 12")
@click.argument("name")
@kind_option
@click.option("--hours", type=click.IntRange(1, 24 * 366), help="For so long (default: until it is unmuted).")
@merchant_option
@json_option
def mute_command(name: str, kind: str | None, hours: int | None, merchant: str, as_json: bool) -> None:
    """Tell a reader nothing of a kind; what waits to be told is dropped."""

    async def act(context: Context) -> list[ReaderView]:
        until: datetime | None = None if hours is None else context.clock.now() + timedelta(hours=hours)
        return [await mute(context, name, _kind(kind), until, telling(merchant))]

    _tell(with_flows(act), as_json)


@staff.command("unmute", epilog="Example: recoup staff unmute anna")
@click.argument("name")
@kind_option
@merchant_option
@json_option
def unmute_command(name: str, kind: str | None, merchant: str, as_json: bool) -> None:
    """Tell a reader again what happens from now on; what happened while it was muted stays untold."""

    async def act(context: Context) -> list[ReaderView]:
        return [await unmute(context, name, _kind(kind), telling(merchant))]

    _tell(with_flows(act), as_json)


@staff.command("test", epilog="Example: recoup staff test anna")
@click.argument("name")
@merchant_option
def test_command(name: str, merchant: str) -> None:
    """Send a reader a test, muted or not, and say what came of it; nothing is written down."""

    async def act(context: Context) -> SendOutcome | Unknown:
        return await send_test(context, merchant, name)

    outcome = with_flows(act)
    if not isinstance(outcome, Accepted):
        raise Refused(f"{name} was not reached: {outcome.reason}")
    click.echo(f"{name}: on its way")


def _kind(name: str | None) -> StaffKind | None:
    return None if name is None else StaffKind(name)


def _tell(readers: Sequence[ReaderView], as_json: bool) -> None:
    if as_json:
        print_json(readers)
        return
    for reader in readers:
        click.echo(f"{reader.name}  {reader.channel} by {reader.notifier}, {reader.locale}, {reader.timezone}")
        for heard in reader.kinds:
            until = f" until {moment(heard.muted_until)}" if heard.muted_until else ""
            muted = f"  muted by {heard.muted_by}{until}" if heard.muted else ""
            last = f"  last told {moment(heard.last_sent_at)}" if heard.last_sent_at else ""
            click.echo(f"  {heard.kind}{last}{muted}")
    if not readers:
        click.echo("the settings name nobody of the staff", err=True)
