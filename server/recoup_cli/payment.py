"""`recoup payment report-captured`: tell of money that was collected elsewhere, so that it can be refunded here."""

from typing import BinaryIO, Final

import click

from recoup_cli.refund_desk import json_option, merchant_option, print_json, telling, with_flows
from recoup_cli.refusals import Refused
from recoup_core.domain.money import Money
from recoup_core.domain.refundfile import PaymentAccount
from recoup_core.flows.captured import report_captured
from recoup_core.flows.context import Context

MAX_FILE: Final = 1024 * 1024
"""Bytes of one report, as over HTTP."""


@click.group()
def payment() -> None:
    """Tell of payments that were collected elsewhere."""


@payment.command(
    "report-captured",
    epilog="Examples: recoup payment report-captured inv-7.json   |   billing-export INV-7 | recoup payment"
    " report-captured -",
)
@click.argument("file", type=click.File("rb"))
@merchant_option
@json_option
def report_captured_command(file: BinaryIO, merchant: str, as_json: bool) -> None:
    """Report a payment that was collected elsewhere, from a JSON file (`-`: standard input).

    The file holds the body of POST /payments/captured: reference, amount, gateway and the gateway's id of the charge,
    when it was captured, lines where refunds are to go by line, and the refunds that it had so far.
    """
    from recoup_server.reading import read
    from recoup_server.schemas_payments import CapturedIn

    body = file.read(MAX_FILE + 1)
    if len(body) > MAX_FILE:
        raise Refused(f"the report is larger than {MAX_FILE // 1024} KiB")
    report = read(body, CapturedIn).report(merchant)

    async def tell(context: Context) -> PaymentAccount:
        return await report_captured(context, report, telling(merchant).actor, None, None)

    account = with_flows(tell)
    if as_json:
        print_json(account)
        return
    known = account.payment
    free = Money(account.free_minor, known.currency)
    click.echo(f"payment {known.reference}  {known.id}  {known.amount}  {known.state}, {free} can be refunded")
