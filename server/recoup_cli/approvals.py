"""`recoup approvals` and `recoup delegation`: what waits for one's word, and who may give it in one's place."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

import click

from recoup_cli.admin import with_open_database
from recoup_cli.refund_desk import (
    acting,
    json_option,
    key_option,
    merchant_option,
    print_json,
    usable_key,
    with_flows,
)
from recoup_cli.refund_text import decidable_rows, delegation_rows
from recoup_core.domain.approval import Delegation, Verdict
from recoup_core.domain.principal import canonical
from recoup_core.flows.context import Context
from recoup_core.flows.refunds.approvals import BulkItem, BulkResult, decide_many
from recoup_core.flows.refunds.delegations import DelegationAsk, delegate, revoke_delegation
from recoup_core.flows.refunds.queue import queue
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_core.storage.merchants import Role
from recoup_core.storage.refund_lists import Decidable, list_delegations

DAY: Final = click.DateTime(["%Y-%m-%d"])

limit_option = click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)


@click.group()
def approvals() -> None:
    """See which refunds wait for your decision, and decide many at once."""


@approvals.command("list", epilog="Example: recoup approvals list --role finance")
@click.option("--role", help="Only those that this role decides.")
@limit_option
@key_option
@json_option
def list_queue(role: str | None, limit: int, key: str, as_json: bool) -> None:
    """List the refunds that you may decide now, oldest first: by your own roles and by those lent to you.

    What you touched is not among them. `recoup refund show` tells each one's story.
    """

    async def look(context: Context) -> list[Decidable]:
        return await queue(context, await acting(context, key), None, limit, role=role)

    found = with_flows(look)
    if as_json:
        print_json(found)
        return
    for line in decidable_rows(found):
        click.echo(line)
    if not found:
        click.echo("nothing waits for you", err=True)


@approvals.command(
    epilog='Example: recoup approvals decide approve 0199a2f4-...@2 0199a2f5-...@1 --comment "all seen"   (ID@VERSION)'
)
@click.argument("verdict", type=click.Choice([verdict.replace("_", "-") for verdict in Verdict]))
@click.argument("refunds", nargs=-1, required=True, metavar="REFUND@VERSION...", callback=lambda _c, _o, v: _items(v))
@click.option("--comment", help="Why; needed unless you approve.")
@key_option
@json_option
def decide(verdict: str, refunds: list[BulkItem], comment: str | None, key: str, as_json: bool) -> int:
    """Say the same about many refunds, each as you read it; one that is refused holds up no other.

    Exits with 1 where one was refused.
    """

    async def work(context: Context) -> list[BulkResult]:
        by = await acting(context, key)
        return await decide_many(context, refunds, by, Verdict(verdict.replace("-", "_")), comment)

    results = with_flows(work)
    told = [
        {"refund_id": str(each.refund_id), "ok": each.ok, "problem": str(each.problem) if each.problem else None}
        for each in results
    ]
    if as_json:
        print_json(told)
    else:
        for each, line in zip(results, told, strict=True):
            state = each.file.refund.state if each.file else f"refused: {line['problem']}"
            click.echo(f"{each.refund_id}  {state}")
    return 0 if all(each.ok for each in results) else 1


def _items(texts: tuple[str, ...]) -> list[BulkItem]:
    """Read `ID@VERSION`, the version being the one that was read."""
    items = []
    for text in texts:
        refund_id, _, version = text.partition("@")
        try:
            items.append(BulkItem(refund_id=UUID(refund_id), if_match=int(version)))
        except ValueError:
            raise click.BadParameter(f"{text!r} must be a refund's id, @ and the version that you read") from None
    return items


@click.group()
def delegation() -> None:
    """Lend your approval roles to somebody for a time, and take them back."""


@delegation.command(
    epilog="Example: recoup delegation create --to ben --role finance --until 2027-01-07   (its last day, in UTC)"
)
@click.option("--to", "delegate_to", required=True, help="The principal who may decide in the owner's place.")
@click.option("--role", "roles", multiple=True, required=True, help="Which of the owner's roles; may be given often.")
@click.option("--from", "first", type=DAY, help="The first day, in UTC (default: from now on).")
@click.option("--until", "last", type=DAY, required=True, help="The last day, in UTC; at most 90 days ahead.")
@click.option("--owner", help="Whose roles (default: your own); for others only with an admin's key.")
@key_option
@json_option
def create(
    delegate_to: str,
    roles: tuple[str, ...],
    first: datetime | None,
    last: datetime,
    owner: str | None,
    key: str,
    as_json: bool,
) -> None:
    """Lend approval roles: worth what their owner could do at that moment, and both count as having decided."""
    ask = DelegationAsk(
        owner=owner,
        delegate=delegate_to,
        roles=roles,
        starts_at=None if first is None else _midnight(first.date()),
        ends_at=_midnight(last.date() + timedelta(days=1)),
    )

    async def lend(context: Context) -> Delegation:
        admin = Role.ADMIN in (await usable_key(context, key)).roles
        return await delegate(context, ask, await acting(context, key), admin=admin)

    _tell(with_flows(lend), as_json)


@delegation.command("list", epilog="Example: recoup delegation list --to ben")
@merchant_option
@click.option("--owner", help="Only what this principal lent.")
@click.option("--to", "delegate_to", help="Only what was lent to this principal.")
@limit_option
@json_option
def list_delegations_command(
    merchant: str, owner: str | None, delegate_to: str | None, limit: int, as_json: bool
) -> None:
    """List delegations, newest first, those that are over included: owner, delegate, roles, from and until when."""

    async def look(database: Database, _: Settings) -> list[Delegation]:
        filters = {"owner": owner and canonical(owner), "delegate": delegate_to and canonical(delegate_to)}
        return await list_delegations(database, merchant, filters, None, limit)

    found = with_open_database(look)
    if as_json:
        print_json(found)
        return
    for line in delegation_rows(found, datetime.now(UTC)):
        click.echo(line)
    if not found:
        click.echo("there is no such delegation", err=True)


@delegation.command(epilog="Example: recoup delegation revoke 0199a2f4-...")
@click.argument("delegation_id", metavar="DELEGATION", type=click.UUID)
@key_option
@json_option
def revoke(delegation_id: UUID, key: str, as_json: bool) -> None:
    """Take lent roles back, at once and for good; their owner may do so, and an admin."""

    async def take(context: Context) -> Delegation:
        admin = Role.ADMIN in (await usable_key(context, key)).roles
        return await revoke_delegation(context, delegation_id, await acting(context, key), admin=admin)

    _tell(with_flows(take), as_json)


def _tell(one: Delegation, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    for line in delegation_rows([one], datetime.now(UTC)):
        click.echo(line)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
