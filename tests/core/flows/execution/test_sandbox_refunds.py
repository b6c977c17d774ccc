"""Whole refunds at the sandbox's bank, with its faults and its webhooks: its books and ours agree to the cent."""

import random
from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.payment import Customer, Method
from recoup_core.domain.refund import RefundState
from recoup_core.flows.captured import CaptureReport, report_captured
from recoup_core.flows.intake import receive_webhook
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.storage.refunds import load_refunds
from recoup_plugins.gateways.sandbox_webhooks import sign

STEP = timedelta(hours=6)
DAYS = 40

SCRIPTS = {
    "approve": (RefundState.SUCCEEDED, 2_000),
    "fee:25": (RefundState.SUCCEEDED, 2_000),
    "lose": (RefundState.SUCCEEDED, 2_000),
    "lose_before": (RefundState.SUCCEEDED, 2_000),
    "unreachable*3": (RefundState.SUCCEEDED, 2_000),
    "busy*2": (RefundState.SUCCEEDED, 2_000),
    "pending:2d": (RefundState.SUCCEEDED, 2_000),
    "pending:2d+lose": (RefundState.SUCCEEDED, 2_000),
    "pending:2d+refused:declined": (RefundState.FAILED, 0),
    "refused:lost_or_stolen_card": (RefundState.FAILED, 0),
    "low_balance*2": (RefundState.SUCCEEDED, 2_000),
    "low_balance": (RefundState.FAILED, 0),
    "taken_back:7d": (RefundState.FAILED, 0),
    "approve+duplicate_webhook": (RefundState.SUCCEEDED, 2_000),
    "lose+late_webhook:1h+shuffled_webhooks": (RefundState.SUCCEEDED, 2_000),
}


@pytest.mark.parametrize("script", SCRIPTS)
async def test_what_the_bank_says_went_back_is_what_we_say(whole_shop: Any, script: str) -> None:
    """Direct answers, look-ups and webhooks in a shuffled order: one end, and two sets of books that agree."""
    state, back = SCRIPTS[script]
    shop, ref = whole_shop, f"sbx_reported_a~{script}"
    report = CaptureReport(
        merchant_id="default",
        reference="order-1",
        customer=Customer(ref="cus-1", country="DE"),
        amount_minor=5_000,
        currency="EUR",
        gateway="sandbox",
        gateway_ref=ref,
        method=Method.CARD,
        captured_at=shop.clock.now(),
    )
    account = await report_captured(shop.context, report, "key:shop", None)
    ask = RefundAsk(payment_id=account.payment.id, amount_minor=2_000, currency="EUR", reason="requested_by_customer")
    asked = await request_refund(shop.context, ask, By(merchant_id="default", actor="key:ada", principal="ada"))
    assert asked.refund.state is RefundState.APPROVED

    await _live(shop, random.Random(script))

    async with shop.service.database.connection() as connection:
        file = (await load_refunds(connection, [asked.refund.id]))[asked.refund.id]
    total = shop.gateway.bank.refund_totals().by_charge[ref]
    [capture] = await shop.rows("SELECT held_minor, over_minor FROM capture")
    cleared = await shop.rows(
        "SELECT sum(p.amount_minor)::bigint AS total FROM ledger_posting p JOIN ledger_entry e ON e.id = p.entry_id"
        " WHERE p.account = 'gateway_clearing:sandbox' AND e.kind <> 'fee'"
        " AND NOT EXISTS (SELECT FROM ledger_entry f WHERE f.id = e.reverses AND f.kind = 'fee')"
    )
    assert file.refund.state is state
    assert file.refund.refunded_minor == total.back_minor == capture["held_minor"] == back
    assert cleared[0]["total"] == 5_000 - back
    assert capture["over_minor"] == 0
    assert total.keys == len(file.parts)
    assert await shop.rows("SELECT 1 FROM job WHERE kind IN ('refund', 'settle_refund', 'inbound')") == []


async def _live(shop: Any, dice: random.Random) -> None:
    """Let forty days pass; the bank's webhooks come in any order."""
    delivered = 0
    end = shop.clock.now() + timedelta(days=DAYS)
    while shop.clock.now() < end:
        await shop.run_due()
        hooks = shop.gateway.bank.due_deliveries(1000)
        dice.shuffle(hooks)
        for hook in hooks:
            delivered += 1
            headers = sign("whsec_test", f"msg-{delivered}", shop.clock.now(), hook.body)
            await receive_webhook(shop.context, "sandbox", headers, hook.body, None)
        await shop.run_due()
        shop.clock.advance(STEP)
    assert delivered, "the bank sends webhooks"
