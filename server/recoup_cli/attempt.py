"""`recoup attempt`: settle by hand an attempt whose outcome nobody could find out."""

from typing import get_args
from uuid import UUID

import click

from recoup_cli.refund_desk import acting, json_option, key_option, print_json, with_flows
from recoup_core.domain.casefile import CaseFile
from recoup_core.flows.context import Context
from recoup_core.flows.operate import Resolution, resolve_attempt
from recoup_core.storage.merchants import Role

OUTCOMES = get_args(Resolution.__annotations__["outcome"])


@click.group()
def attempt() -> None:
    """Settle tries to collect by hand."""


@attempt.command(
    epilog="Example: recoup attempt resolve 0199c0de-0000-7000-8000-000000000001 --outcome never_arrived"
    ' --evidence "the provider\'s support found no such charge, ticket 4711"'
)
@click.argument("attempt_id", metavar="ID", type=click.UUID)
@click.option("--outcome", type=click.Choice(OUTCOMES), required=True, help="What became of it.")
@click.option("--evidence", required=True, help="How you know; it is kept in the audit trail.")
@click.option("--ref", help="The gateway's id of the charge, where it was found.")
@key_option
@json_option
def resolve(attempt_id: UUID, outcome: str, evidence: str, ref: str | None, key: str, as_json: bool) -> None:
    """Say, with evidence, what became of an attempt that is unknown or pending; the case goes on from there.

    Only for what no look-up could tell: an attempt said never to have arrived, which did, is a customer charged twice.
    """

    async def settle(context: Context) -> CaseFile:
        who = await acting(context, key, Role.OPERATOR)
        found = Resolution(outcome=outcome, evidence=evidence, gateway_ref=ref)  # type: ignore[arg-type]  # click checked it
        return await resolve_attempt(context, attempt_id, who, found)

    file = with_flows(settle)
    if as_json:
        print_json(file)
        return
    settled = file.attempt(attempt_id)
    assert settled is not None  # it was found by its id
    click.echo(
        f"attempt {settled.id}: {settled.state}; the case is {file.case.state}, the payment {file.payment.state}"
    )
