"""Webhooks and settlement reports tell the same things at once: whatever comes first, the books are the same."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.settlement import SettlementKind
from recoup_core.flows.settlement.importing import store_report
from recoup_core.ports import DisputeNews, Refunded, RefundNews, ReportedSettlement, SettledLine, Succeeded

FEE = Money(1500, "EUR")


def told(at: Any) -> list[dict[str, Any]]:
    """A refund made elsewhere and a dispute that was won, each told more than once; the fee by one event only."""
    gone = Refunded(gateway_ref="re_1", amount=Money(500, "EUR"))
    refund = RefundNews(refund_ref="re_1", charge_ref="pm_1", amount=gone.amount, outcome=gone)

    def dispute(standing: DisputeState, fee: Money | None) -> DisputeNews:
        return DisputeNews(dispute_ref="dp_1", charge_ref="pm_1", amount=Money(1499, "EUR"), standing=standing, fee=fee)

    def after(hours: int, **news: Any) -> dict[str, Any]:
        return {"occurred_at": at + timedelta(hours=hours), **news}

    return [
        *[after(1, refund=refund)] * 2,
        *[after(2, dispute=dispute(DisputeState.OPEN, FEE))] * 2,
        after(5, dispute=dispute(DisputeState.WON, None)),
    ]


def settled(at: Any, now: Any) -> list[SettledLine]:
    """The same, as the gateway's reports have it."""

    def line(ref: str, kind: SettlementKind, minor: int, **fields: Any) -> SettledLine:
        known: dict[str, Any] = {"charge_ref": "pm_1", "occurred_at": now}
        amount = Money(abs(minor), "EUR")
        return SettledLine(ref=ref, kind=kind, amount=amount, settled_minor=minor, **(known | fields))

    return [
        line("t1", SettlementKind.CHARGE, 1999, fee_minor=30, occurred_at=at),
        line("t2", SettlementKind.REFUND, -500, operation_ref="re_1"),
        line("t3", SettlementKind.DISPUTE, -1499, operation_ref="dp_1", fee_minor=1500),
        line("t4", SettlementKind.DISPUTE_RETURNED, 1499, operation_ref="dp_1"),
    ]


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_told_and_settled_at_once_is_booked_once(market: Any, seed: int) -> None:
    """Money and fees to the cent, nothing left for people to explain."""
    shuffle = random.Random(seed).shuffle
    market.a.answers = [Succeeded(gateway_ref="pm_1", amount=Money(1999, "EUR"))]
    await market.open()
    await market.day()
    at = market.clock.now()
    market.clock.advance(timedelta(days=2))

    async def hooks() -> None:
        events = told(at)
        shuffle(events)
        for event in events:
            await market.tell(**event)

    async def reports() -> None:
        lines = settled(at, market.clock.now())
        shuffle(lines)
        for number in (0, 2):
            report = ReportedSettlement(report_ref=f"po_{number}", currency="EUR", lines=tuple(lines[number:][:2]))
            await store_report(market.context, "a", report, None, market.by())
            await market.run_due()

    await asyncio.gather(hooks(), reports(), market.run_due())
    await market.day(0.2)

    rows = await market.rows("SELECT account, sum(amount_minor)::bigint AS minor FROM ledger_posting GROUP BY 1")
    balances = {row["account"]: row["minor"] for row in rows if row["minor"]}
    assert balances == {"gateway_clearing:a": -31, "fees": 1530, "refunds": 500, "receivable": -1999}
    assert await market.rows("SELECT kind FROM settlement_exception WHERE resolved_at IS NULL") == []
    await market.books_hold()
