"""What would be answered, shown without doing it."""

from typing import Any

import pytest

from recoup_core.domain.refund import Destination
from recoup_core.flows.refunds.refusals import RefundExceedsRefundable
from recoup_core.flows.refunds.requests import preview_refund, request_refund
from recoup_core.rules.deciding.refund import Approve, Deny, Review

TABLES = ("refund", "refund_part", "refund_line", "decision", "event", "job", "refund_tally")


async def counts(till: Any) -> list[int]:
    """How many rows each table has that a request would write."""
    return [(await till.shop.rows(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES]


@pytest.mark.parametrize(("amount", "reason", "outcome"), [(1200, "duplicate", Approve), (1200, "x", Deny)])
async def test_a_preview_says_what_the_request_would_be_answered_and_writes_nothing(
    till: Any, amount: int, reason: str, outcome: type[Any]
) -> None:
    """The same checks, the same facts, the same policy."""
    account = await till.with_lines()
    before = await counts(till)

    seen = await preview_refund(till.context, till.ask(account, amount, reason=reason), till.by())

    assert isinstance(seen.outcome, outcome)
    assert (seen.refundable_minor, sum(part.amount_minor for part in seen.parts)) == (7630, amount)
    assert sum(line.amount_minor for line in seen.lines) == amount
    assert await counts(till) == before
    assert (await till.capture(account)).held_minor == 0


async def test_a_preview_is_what_the_request_becomes(till: Any) -> None:
    """Nothing changed in between, so rule, levels and spread are the same."""
    await till.order(40_000, 40_000)
    ask = till.ask(None, 60_000, order_ref="order-a")

    seen = await preview_refund(till.context, ask, till.by())
    file = await request_refund(till.context, ask, till.by())

    assert isinstance(seen.outcome, Review)
    assert (seen.rule, seen.outcome.levels) == ("two approvers", file.refund.levels)
    assert [p.amount_minor for p in seen.parts] == [p.amount_minor for p in file.parts]


async def test_a_preview_refuses_what_the_request_would_be_refused(till: Any) -> None:
    """A refusal is the same refusal."""
    account = await till.captured(4900)

    with pytest.raises(RefundExceedsRefundable):
        await preview_refund(till.context, till.ask(account, 4901), till.by())
    seen = await preview_refund(till.context, till.goodwill(account, 500), till.by())

    assert seen.parts[0].destination is Destination.STORE_CREDIT
    assert seen.refundable_minor == 4900
