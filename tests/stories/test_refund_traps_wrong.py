"""Traps of what is wrong: an amount from the start (14), and a row that somebody altered behind our back (18)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import pytest
from tests.stories.traps_shop import PEOPLE_DECIDE, Paid, RefundShop, policy

from recoup_core.storage.audit import seal_events, verify_audit
from recoup_core.storage.ledger_checks import verify_ledger

Under = Callable[[str], Awaitable[RefundShop]]

# -- 14: no amount, a negative one, another currency

WRONG: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "no amount": ({"amount_minor": ...}, "invalid_request"),
    "nothing": ({"amount_minor": None}, "invalid_request"),
    "zero": ({"amount_minor": 0}, "invalid_request"),
    "negative": ({"amount_minor": -1}, "invalid_request"),
    "fraction": ({"amount_minor": 10.5}, "invalid_request"),
    "float": ({"amount_minor": msgspec.Raw(b"10.0")}, "invalid_request"),
    "exponent": ({"amount_minor": msgspec.Raw(b"1e3")}, "invalid_request"),
    "text": ({"amount_minor": "1000"}, "invalid_request"),
    "truth": ({"amount_minor": True}, "invalid_request"),
    "not a number": ({"amount_minor": msgspec.Raw(b"NaN")}, "invalid_request"),
    "beyond all money": ({"amount_minor": 2**63}, "invalid_request"),
    "no currency": ({"currency": ...}, "invalid_request"),
    "no such currency": ({"currency": "EUX"}, "unknown_currency"),
    "another currency": ({"currency": "USD"}, "currency_mismatch"),
    "another case": ({"currency": "eur"}, "invalid_request"),
    "negative line": ({"lines": [{"line": "hat", "amount_minor": -1}]}, "invalid_request"),
    "float line": ({"lines": [{"line": "hat", "amount_minor": 1.5}]}, "invalid_request"),
    "no pieces": ({"lines": [{"line": "hat", "quantity": 0}]}, "invalid_request"),
    "negative pieces": ({"lines": [{"line": "hat", "quantity": -1}]}, "invalid_request"),
    "lines that come to less": ({"lines": [{"line": "hat", "amount_minor": 999}]}, "refund_lines_differ"),
    "payments that come to less": (
        {"payment_id": ..., "order_ref": "the-order", "spread": "as_given", "payments": [{"amount_minor": 999}]},
        "refund_invalid",
    ),
}


async def test_trap_14_an_amount_that_is_not_said_plainly_is_refused(refund_shop: RefundShop) -> None:
    """Never guessed, rounded, turned round or taken for all that is left; nothing is stored, nothing reserved."""
    shop = refund_shop
    paid = await shop.paid(lines=HATS, order_ref="the-order")
    bodies = {name: _body(paid, change) for name, (change, _) in WRONG.items()}

    asked = {name: await shop.agent.post("/refunds", body) for name, body in bodies.items()}
    seen = {name: await shop.agent.post("/refunds/preview", body) for name, body in bodies.items()}

    wanted = {name: code for name, (_, code) in WRONG.items()}
    assert {name: answer.json()["code"] for name, answer in asked.items()} == wanted
    assert {name: answer.json()["code"] for name, answer in seen.items()} == wanted
    assert {answer.status_code for answer in asked.values()} == {400, 422}
    assert (await shop.left(paid), await shop.rows("SELECT id FROM refund")) == (10_000, [])
    assert (await shop.agent.post("/refunds", _body(paid, {}))).status_code == 201  # unchanged it is taken


async def test_trap_14_nor_does_an_edit_take_one(refund_shop_under: Under) -> None:
    """What was asked for stays as it is, with its approvals."""
    shop = await refund_shop_under(policy(PEOPLE_DECIDE))
    lead = await shop.hire("lea", "support_lead")
    paid = await shop.paid(lines=HATS)
    file = (await lead.act(await shop.ask(paid, 4_000), "approve")).json()

    wrong = [{"amount_minor": amount} for amount in (0, -1, 10.5, "10", True)]
    answers = [await shop.agent.edit(file, **change) for change in wrong]
    lines = await shop.agent.edit(file, lines=[{"line": "hat", "quantity": 1}])

    assert {answer.json()["code"] for answer in answers} == {"invalid_request"}
    assert (lines.json()["code"], lines.json()["field"]) == ("refund_invalid", "amount_minor")
    assert await shop.told(file) == file


HATS: Final = [{"ref": "hat", "quantity": 2, "amount_minor": 10_000, "tax_minor": 1_597}]


def _body(paid: Paid, change: dict[str, Any]) -> bytes:
    """A request that would be taken, changed in one thing; `...` leaves a field out."""
    whole = {
        "payment_id": paid.id,
        "amount_minor": 1_000,
        "currency": "EUR",
        "reason": "requested_by_customer",
    } | change
    if "payments" in change:
        whole["payments"] = [{"payment_id": paid.id, **each} for each in change["payments"]]
    return msgspec.json.encode({key: value for key, value in whole.items() if value is not ...})


# -- 18: a row altered behind our back

_POSTINGS: Final = "FROM ledger_entry e WHERE e.id = p.entry_id AND e.kind = 'refund'"

LEDGER: Final = {
    "one line": (f"UPDATE ledger_posting p SET amount_minor = amount_minor + 1 {_POSTINGS} AND p.line = 1", "entry"),
    "both lines, still balanced": (f"UPDATE ledger_posting p SET amount_minor = amount_minor * 2 {_POSTINGS}", "part"),
    "another account": (f"UPDATE ledger_posting p SET account = 'fees' {_POSTINGS} AND p.amount_minor < 0", "part"),
    "a line gone": (
        "DELETE FROM ledger_posting p WHERE p.line = 2 AND p.entry_id ="
        " (SELECT id FROM ledger_entry WHERE kind = 'refund')",
        "entry",
    ),
    "the part's amount": ("UPDATE refund_part SET amount_minor = 3999", "capture"),
    "what is held": ("UPDATE capture SET held_minor = 0", "capture"),
}
"""What somebody does, and which row no longer fits."""


async def _a_refund(shop: RefundShop) -> dict[str, Any]:
    file = await shop.ask(await shop.paid(), 4_000)
    await shop.work()
    await seal_events(shop.service.database, shop.clock.now())
    await shop.require_books()
    return await shop.told(file)


@pytest.mark.parametrize("deed", LEDGER)
async def test_trap_18_an_altered_ledger_row_is_named(refund_shop: RefundShop, deed: str) -> None:
    """Also one that still balances: each row is compared with what it was booked for."""
    shop = refund_shop
    file = await _a_refund(shop)
    sql, wrong = LEDGER[deed]
    (entry,) = await shop.rows("SELECT id FROM ledger_entry WHERE kind = 'refund'")
    rows = {"entry": str(entry["id"]), "part": file["parts"][0]["id"], "capture": file["parts"][0]["capture_id"]}

    await shop.tamper(sql)
    fault = (await verify_ledger(shop.service.database)).fault

    assert fault is not None
    assert str(fault.id) == rows[wrong], fault


AUDIT: Final = {
    "who did it": "UPDATE event SET actor = 'key:nobody'",
    "what was said": "UPDATE event SET data = data || '{\"amount_minor\": 1}'",
    "when": "UPDATE event SET at = at - interval '1 day'",
    "whose it was": "UPDATE event SET refund_id = NULL",
    "gone": "DELETE FROM event",
}


@pytest.mark.parametrize("deed", AUDIT)
async def test_trap_18_an_altered_audit_row_is_named(refund_shop: RefundShop, deed: str) -> None:
    """The verifier names the very event, out of all that were sealed."""
    shop = refund_shop
    await _a_refund(shop)
    (event,) = await shop.rows("SELECT id FROM event WHERE kind = 'refund.approved'")
    now = shop.clock.now()
    assert (await verify_audit(shop.service.database, now)).fault is None

    await shop.tamper(f"{AUDIT[deed]} WHERE id = $1", event["id"])
    fault = (await verify_audit(shop.service.database, now)).fault

    assert fault is not None
    assert fault.event_id == event["id"], fault
