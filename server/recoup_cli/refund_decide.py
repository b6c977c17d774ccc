"""`recoup refund approve`, `reject` and `send-back`: one person's word on the version of a refund that they read."""

from uuid import UUID

import click

from recoup_cli.refund_desk import acting, json_option, key_option, version_option, with_flows
from recoup_cli.refund_text import tell_refund
from recoup_core.domain.approval import Verdict
from recoup_core.domain.refundfile import RefundFile
from recoup_core.flows.context import Context
from recoup_core.flows.refunds.approvals import decide_refund

_refund_argument = click.argument("refund_id", metavar="REFUND", type=click.UUID)
_said = click.option("--comment", required=True, help="Why; the requester reads it.")


@click.command(epilog='Example: recoup refund approve 0199a2f4-... --version 2 --comment "seen the photo"')
@_refund_argument
@version_option
@click.option("--comment", help="What you looked at.")
@key_option
@json_option
def approve(refund_id: UUID, version: int, comment: str | None, key: str, as_json: bool) -> None:
    """Approve a refund at its open level, exactly as you read it; whoever touched it can't."""
    _say(refund_id, version, Verdict.APPROVE, comment, key, as_json)


@click.command(epilog='Example: recoup refund reject 0199a2f4-... --version 2 --comment "used for a year"')
@_refund_argument
@version_option
@_said
@key_option
@json_option
def reject(refund_id: UUID, version: int, comment: str, key: str, as_json: bool) -> None:
    """Reject a refund for good: what it reserved is free again, and the requester reads why."""
    _say(refund_id, version, Verdict.REJECT, comment, key, as_json)


@click.command("send-back", epilog='Example: recoup refund send-back 0199a2f4-... --version 2 --comment "which item?"')
@_refund_argument
@version_option
@_said
@key_option
@json_option
def send_back(refund_id: UUID, version: int, comment: str, key: str, as_json: bool) -> None:
    """Give a refund back to its requester to be changed; it stays reserved meanwhile."""
    _say(refund_id, version, Verdict.SEND_BACK, comment, key, as_json)


def _say(refund_id: UUID, version: int, verdict: Verdict, comment: str | None, key: str, as_json: bool) -> None:
    async def decide(context: Context) -> RefundFile:
        # any key may come: the flow looks at its principal, its approval roles and what was lent to it
        return await decide_refund(context, refund_id, await acting(context, key), verdict, comment, version)

    tell_refund(with_flows(decide), as_json)
