"""`recoup refund edit`, `submit`, `cancel`, `retry` and `resolve`: what may be done to a refund that was asked for."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import click

from recoup_cli.refund_ask import (
    Lines,
    asked_payments,
    evidence_of,
    evidence_option,
    line_options,
    note_option,
    shares_option,
)
from recoup_cli.refund_desk import (
    AMOUNT,
    acting,
    json_option,
    key_option,
    maybe_version_option,
    money,
    version_option,
    with_flows,
)
from recoup_cli.refund_text import tell_refund
from recoup_core.domain.refund import Destination
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.ask import RefundEdit
from recoup_core.flows.refunds.requests import cancel_refund, edit_refund, retry_refund, submit_refund
from recoup_core.flows.refunds.settle import PartResolution, resolve_part
from recoup_core.storage.merchants import Role

CHANGES = (Role.AGENT, Role.OPERATOR)
"""The roles of which a key needs one to change a refund, as over HTTP."""

_refund_argument = click.argument("refund_id", metavar="REFUND", type=click.UUID)
_destination_option = click.option(
    "--destination", type=click.Choice([str(way) for way in Destination]), help="Another way for the money to go."
)


@click.command(epilog="Example: recoup refund edit 0199a2f4-... --version 2 --amount 20.00 EUR")
@_refund_argument
@version_option
@click.option("--amount", type=AMOUNT, metavar="AMOUNT CURRENCY", help="In major units; needed beside lines.")
@line_options
@shares_option
@click.option("--reason", help="Another of the policy's reasons.")
@note_option
@_destination_option
@evidence_option
@key_option
@json_option
def edit(
    refund_id: UUID,
    version: int,
    amount: tuple[str, str] | None,
    whole: tuple[str, ...],
    pieces: tuple[tuple[str, int], ...],
    parts: tuple[tuple[str, str], ...],
    tax: tuple[str, ...],
    shares: tuple[str, ...],
    reason: str | None,
    note: str | None,
    destination: str | None,
    evidence: tuple[str, ...],
    key: str,
    as_json: bool,
) -> None:
    """Change what is asked for: a new revision, decided anew, without the approvals that the old one had.

    What is not said stays; lines, shares and evidence that are given replace those that were. Nothing of the refund
    may be on its way.
    """
    lines = Lines(whole=whole, pieces=pieces, parts=parts, tax=tax)
    if amount is None and (lines or shares):
        raise click.UsageError("--amount is needed beside lines and shares: it is always said, never guessed")

    async def change(context: Context, by: By) -> RefundFile:
        asked = None if amount is None else money(amount)
        currency = "" if asked is None else asked.currency
        return await edit_refund(
            context,
            refund_id,
            RefundEdit(
                amount_minor=None if asked is None else asked.amount_minor,
                lines=lines.asked(currency) if lines else None,
                payments=await asked_payments(context, by.merchant_id, shares, currency) if shares else None,
                reason=reason,
                note=note,
                destination=None if destination is None else Destination(destination),
                evidence=evidence_of(evidence) if evidence else None,
            ),
            by,
            version,
        )

    _do(key, as_json, change)


@click.command(epilog="Example: recoup refund submit 0199a2f4-... --version 3")
@_refund_argument
@version_option
@key_option
@json_option
def submit(refund_id: UUID, version: int, key: str, as_json: bool) -> None:
    """Hand a refund in again after it was sent back; whoever does so has touched it and never decides it."""

    async def change(context: Context, by: By) -> RefundFile:
        return await submit_refund(context, refund_id, by, version)

    _do(key, as_json, change)


@click.command(epilog='Example: recoup refund cancel 0199a2f4-... --reason "the customer keeps it"')
@_refund_argument
@click.option("--reason", required=True, help="Why, for the audit trail.")
@maybe_version_option
@key_option
@json_option
def cancel(refund_id: UUID, reason: str, version: int | None, key: str, as_json: bool) -> None:
    """Take a refund back while nothing of it has left, or while its gateway still can."""

    async def change(context: Context, by: By) -> RefundFile:
        return await cancel_refund(context, refund_id, by, reason, version)

    _do(key, as_json, change)


@click.command(
    epilog="Examples: recoup refund retry 0199a2f4-...   |   recoup refund retry 0199a2f4-... --store-credit"
)
@_refund_argument
@click.option("--store-credit", is_flag=True, help="Another way, as store credit: decided anew.")
@maybe_version_option
@key_option
@json_option
def retry(refund_id: UUID, store_credit: bool, version: int | None, key: str, as_json: bool) -> None:
    """Try a failed refund once more, for what is missing of it, with new keys at the gateway."""

    async def change(context: Context, by: By) -> RefundFile:
        way = Destination.STORE_CREDIT if store_credit else None
        return await retry_refund(context, refund_id, by, way, version)

    _do(key, as_json, change)


@click.command(
    epilog='Example: recoup refund resolve 0199a2f4-... --outcome never_arrived --evidence "not in the export"'
)
@click.argument("part_id", metavar="PART", type=click.UUID)
@click.option("--outcome", type=click.Choice(["succeeded", "failed", "never_arrived"]), required=True)
@click.option("--evidence", required=True, help="How you know; it stands in the audit trail.")
@click.option("--gateway-ref", help="The gateway's own id of the refund, where it has one.")
@key_option
@json_option
def resolve(part_id: UUID, outcome: Any, evidence: str, gateway_ref: str | None, key: str, as_json: bool) -> None:
    """Say what became of a part (`recoup refund show` has its id) that no look-up could tell of; for operators."""
    found = PartResolution(outcome=outcome, evidence=evidence, gateway_ref=gateway_ref)

    async def work(context: Context) -> RefundFile:
        return await resolve_part(context, part_id, await acting(context, key, Role.OPERATOR), found)

    tell_refund(with_flows(work), as_json)


def _do(key: str, as_json: bool, change: Callable[[Context, By], Awaitable[RefundFile]]) -> None:
    async def work(context: Context) -> RefundFile:
        return await change(context, await acting(context, key, *CHANGES))

    tell_refund(with_flows(work), as_json)
