"""`recoup dispute`: what customers' banks took back or asked about; told by hand where no webhook tells it."""

from datetime import datetime
from typing import Final
from uuid import UUID

import click

from recoup_cli.admin import with_open_database
from recoup_cli.refund_ask import payment_id_of
from recoup_cli.refund_desk import AMOUNT, json_option, merchant_option, money, print_json, telling, with_flows
from recoup_cli.refund_text import dispute_rows
from recoup_cli.refusals import Refused
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.flows.context import Context
from recoup_core.flows.disputes import DisputeReport, report_dispute
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_core.storage.lookups import payment_by_reference
from recoup_core.storage.refund_lists import list_disputes

MOMENT: Final = click.DateTime(["%Y-%m-%dT%H:%M:%S%z"])


@click.group()
def dispute() -> None:
    """See disputes, and tell of those that no webhook tells."""


@dispute.command("list", epilog="Examples: recoup dispute list --state open   |   recoup dispute list --payment INV-7")
@merchant_option
@click.option("--state", type=click.Choice([str(state) for state in DisputeState]), help="Only those in this state.")
@click.option("--payment", metavar="REFERENCE", help="Only those of this payment.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)
@json_option
def list_command(merchant: str, state: str | None, payment: str | None, limit: int, as_json: bool) -> None:
    """List disputes, newest first: id, amount, state, the gateway's own id, reason, and by when it wants evidence."""

    async def look(database: Database, _: Settings) -> list[Dispute]:
        payment_id: UUID | None = None
        if payment is not None:
            async with database.connection() as connection:
                payment_id = await payment_by_reference(connection, merchant, payment)
            if payment_id is None:
                raise Refused(f"the merchant {merchant} has no payment {payment}")
        return await list_disputes(database, merchant, {"state": state, "payment": payment_id}, None, limit)

    _tell(with_open_database(look), as_json)


@dispute.command(
    epilog="Example: recoup dispute report INV-7 --ref dp_1 --state open --amount 25.00 EUR"
    " --evidence-by 2026-12-10T23:59:00Z"
)
@click.argument("payment")
@click.option("--ref", required=True, help="The gateway's id of the dispute; told again, the dispute moves on.")
@click.option(
    "--state", type=click.Choice([str(state) for state in DisputeState]), required=True, help="How it stands now."
)
@click.option("--amount", type=AMOUNT, required=True, metavar="AMOUNT CURRENCY", help="What is disputed.")
@click.option("--reason", help="The gateway's word for why.")
@click.option("--evidence-by", "due_at", type=MOMENT, metavar="MOMENT", help="When the bank wants evidence.")
@click.option("--fee", metavar="AMOUNT", help="What the gateway charges for it, in the same currency.")
@click.option("--capture", type=click.UUID, help="Which charge of the payment, where it has several.")
@merchant_option
@json_option
def report(
    payment: str,
    ref: str,
    state: str,
    amount: tuple[str, str],
    reason: str | None,
    due_at: datetime | None,
    fee: str | None,
    capture: UUID | None,
    merchant: str,
    as_json: bool,
) -> None:
    """Tell of a dispute, or of how one went on. Its money is frozen while it is open, and for good once it is lost.

    What was to be refunded of the payment and has not left is decided anew.
    """
    disputed = money(amount)

    async def tell(context: Context) -> Dispute:
        told = DisputeReport(
            payment_id=await payment_id_of(context, merchant, payment),
            capture_id=capture,
            gateway_ref=ref,
            amount_minor=disputed.amount_minor,
            currency=disputed.currency,
            standing=DisputeState(state),
            reason=reason,
            evidence_due_at=due_at,
            fee_minor=0 if fee is None else money((fee, disputed.currency)).amount_minor,
        )
        return await report_dispute(context, told, telling(merchant))

    _tell([with_flows(tell)], as_json)


def _tell(disputes: list[Dispute], as_json: bool) -> None:
    if as_json:
        print_json(disputes)
        return
    for line in dispute_rows(disputes):
        click.echo(line)
    if not disputes:
        click.echo("there is no such dispute", err=True)
