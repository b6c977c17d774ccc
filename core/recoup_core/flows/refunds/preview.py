"""What would become of a refund if it were asked for now; looked at, and nothing written."""

import msgspec

from recoup_core.domain.refund import RefundLine, RefundPart
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.ask import RefundAsk, check_ask
from recoup_core.flows.refunds.deciding import judge
from recoup_core.flows.refunds.draft import LockedRefunds
from recoup_core.flows.refunds.making import accounts_of, new_draft, payments_of
from recoup_core.flows.refunds.sources import Own, refundable
from recoup_core.rules.deciding.refund import RefundExplanation, RefundOutcome
from recoup_core.storage.changes import Changes
from recoup_core.storage.refunds import load_accounts


class RefundPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What a request would be answered now, and how it would go back."""

    outcome: RefundOutcome
    rule: str
    """The rule of the policy that decides."""
    explanation: RefundExplanation
    refundable_minor: int
    """What is left before this refund, over all payments that it may go over."""
    parts: tuple[RefundPart, ...]
    lines: tuple[RefundLine, ...]


async def preview_refund(context: Context, ask: RefundAsk, by: By) -> RefundPreview:
    """Return what a request would be answered right now; others may change it before it is made.

    Raises what `request_refund` raises; takes no lock of a payment and writes nothing.
    """
    check_ask(ask)
    payments = await payments_of(context, ask, by)

    async def look(hold: bool) -> RefundPreview:
        async with context.database.transaction() as connection:
            accounts = await load_accounts(connection, payments)
            locked = LockedRefunds(connection, context.clock.now(), {}, accounts, Changes())
            left = refundable(ask, accounts_of(ask, accounts, by), Own())
            draft, plan = new_draft(context, locked, ask, by)
            judged = await judge(context, connection, draft, hold=hold, binding=False)
        return RefundPreview(
            outcome=judged.decision.outcome,
            rule=judged.decision.rule,
            explanation=judged.decision.explanation,
            refundable_minor=left.amount_minor,
            parts=plan.parts,
            lines=plan.lines,
        )

    return await context.policies.in_force(by.merchant_id, look)
