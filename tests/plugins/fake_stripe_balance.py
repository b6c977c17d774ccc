"""The balance of the fake Stripe: every movement with its fee, and payouts that hold those since the one before."""

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stripe.params import BalanceTransactionListParams
from tests.plugins.fake_stripe_answers import Answer, as_json, error, name, page_of
from tests.plugins.fake_stripe_events import FakeEvents

from recoup_plugins.gateways.stripe_amounts import from_stripe

KNOWN_QUERIES = {"/v1/balance_transactions": frozenset(BalanceTransactionListParams.__annotations__)}
FEES = {"charge": 59, "dispute": 1500}
"""What the fake keeps, whatever the amount."""

TYPES = {"refund_failure": "refund_failure", "dispute": "adjustment", "dispute_reversal": "adjustment"}


class FakeBalance:
    """The movements, and the payouts they went into."""

    def __init__(self, events: FakeEvents) -> None:
        self.transactions: list[dict[str, Any]] = []
        self.payouts: dict[str, dict[str, Any]] = {}
        self._events = events

    def book(self, category: str, amount: int, currency: str, source: Mapping[str, Any]) -> None:
        """Move the balance; the amount is signed, in Stripe's units."""
        fee = FEES.get(category, 0)
        self.transactions.append(
            {
                "id": name("txn_"),
                "object": "balance_transaction",
                "amount": amount,
                "fee": fee,
                "net": amount - fee,
                "currency": currency,
                "created": int(self._events.now()),
                "description": None,
                "reporting_category": category,
                "type": TYPES.get(category, category),
                "source": dict(source),
                "payout": None,
            }
        )

    def pay_out(self, currency: str = "eur") -> str:
        """Send what is there to the bank; return the payout's id."""
        held = [one for one in self.transactions if one["payout"] is None and one["currency"] == currency]
        amount = sum(one["net"] for one in held)
        payout = {
            "id": name("po_"),
            "object": "payout",
            "amount": amount,
            "currency": currency,
            "created": int(self._events.now()),
            "arrival_date": int(self._events.now()),
            "automatic": True,
            "reconciliation_status": "completed",
            "status": "paid",
        }
        self.payouts[payout["id"]] = payout
        self.book("payout", -amount, currency, payout)
        for one in [*held, self.transactions[-1]]:
            one["payout"] = payout["id"]
        self._events.tell("payout.paid", payout)
        self._events.tell("payout.reconciliation_completed", payout)
        return str(payout["id"])

    def get(self, payout: str) -> Answer:
        found = self.payouts.get(payout)
        return as_json(200, found) if found else error(404, "invalid_request_error", "resource_missing")

    def page(self, query: Mapping[str, str], page_size: int | None) -> Answer:
        found = [one for one in reversed(self.transactions) if one["payout"] == query["payout"]]
        expanded = [one if "expand[0]" in query else {**one, "source": one["source"]["id"]} for one in found]
        return page_of(expanded, query, "/v1/balance_transactions", page_size)

    def report(self, payout: str) -> bytes:
        """Return the payout's itemized reconciliation report, as the dashboard gives it out."""
        rows = [_row(one) for one in self.transactions if one["payout"] == payout and one["type"] != "payout"]
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue().encode()


def _row(one: Mapping[str, Any]) -> dict[str, str]:
    source, currency = one["source"], one["currency"]
    charge = source["id"] if source["object"] == "charge" else source.get("charge", "")
    metadata = source.get("metadata") or {}
    return {
        "automatic_payout_id": one["payout"],
        "automatic_payout_effective_at": _time(one["created"]),
        "balance_transaction_id": one["id"],
        "created_utc": _time(one["created"]),
        "currency": currency,
        **{column: _major(one[field], currency) for column, field in (("gross", "amount"), ("fee", "fee"))},
        "net": _major(one["net"], currency),
        "reporting_category": one["reporting_category"],
        "source_id": source["id"],
        "customer_facing_amount": _major(source["amount"], source["currency"]),
        "customer_facing_currency": source["currency"],
        "charge_id": charge,
        "payment_intent_id": source.get("payment_intent") or "",
        "payment_metadata[recoup_attempt]": metadata.get("recoup_attempt", ""),
        "payment_metadata[recoup_payment]": metadata.get("recoup_payment", ""),
        "refund_metadata[recoup_part]": metadata.get("recoup_part", ""),
    }


def _major(amount: int, currency: str) -> str:
    """Write Stripe's integer with a point, as its reports do."""
    money = from_stripe(abs(amount), currency)
    digits = 0 if currency == "jpy" else 3 if currency == "kwd" else 2
    text = str(money.amount_minor).rjust(digits + 1, "0")
    whole = f"{text[:-digits]}.{text[-digits:]}" if digits else text
    return f"-{whole}" if amount < 0 else whole


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
