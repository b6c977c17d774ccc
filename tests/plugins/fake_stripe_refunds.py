"""Refunds, voids and disputes of the fake Stripe: what of each charge went back, and what each refund is to do.

A charge is made with words, one for each new refund of it, the last one repeated: `ok`, `pending`, `requires_action`,
`failed:<failure_reason>`, `no:<error code>`, and the faults of `fake_stripe`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from stripe.params import PaymentIntentCancelParams, RefundCancelParams, RefundCreateParams
from tests.plugins.fake_stripe_answers import Answer, as_json, error, name, page_of
from tests.plugins.fake_stripe_balance import FakeBalance
from tests.plugins.fake_stripe_events import FakeEvents
from tests.plugins.fake_stripe_intents import FakeIntents

KNOWN_PARAMS = {
    "/v1/refunds": frozenset(RefundCreateParams.__annotations__),
    "/v1/refunds/*/cancel": frozenset(RefundCancelParams.__annotations__),
    "/v1/payment_intents/*/cancel": frozenset(PaymentIntentCancelParams.__annotations__),
}


class FakeRefunds:
    """The state behind the refund routes; read it to see what really went back."""

    def __init__(self, paying: FakeIntents, events: FakeEvents, balance: FakeBalance) -> None:
        self.refunds: dict[str, dict[str, Any]] = {}
        self.disputes: dict[str, dict[str, Any]] = {}
        self.queries: list[Mapping[str, str]] = []
        self._intents, self._charges = paying.intents, paying.charges
        self._events, self._balance = events, balance
        self._words: dict[str, list[str]] = {}
        self._taken: dict[str, str] = {}

    def paid(
        self, amount: int, currency: str, *words: str, captured: bool = True, bare: bool = False
    ) -> dict[str, Any]:
        """Make a charge; return its PaymentIntent, or the charge itself if it is to have none."""
        charge = {
            "id": name("ch_"),
            "object": "charge",
            "amount": amount,
            "amount_captured": amount if captured else 0,
            "captured": captured,
            "currency": currency,
            "payment_intent": None,
            "disputed": False,
        }
        self._charges[charge["id"]] = charge
        self._words[charge["id"]] = list(words) or ["ok"]
        if bare:
            return charge
        intent = {
            "id": name("pi_"),
            "object": "payment_intent",
            "amount": amount,
            "amount_received": charge["amount_captured"],
            "currency": currency,
            "created": int(self._events.now()),
            "customer": None,
            "latest_charge": charge["id"],
            "metadata": {},
            "status": "succeeded" if captured else "requires_capture",
        }
        charge["payment_intent"] = intent["id"]
        self._intents[intent["id"]] = intent
        return intent

    def script(self, charge_ref: str, *words: str) -> None:
        """Say what the next refunds of a charge do."""
        charge = self._charge(charge_ref)
        assert charge is not None
        self._words[charge["id"]] = list(words)

    def gone(self, charge_ref: str) -> int:
        """Return what of a charge went back or is on its way, in Stripe's units."""
        charge = self._charge(charge_ref)
        ours = [one for one in self.refunds.values() if charge is not None and one["charge"] == charge["id"]]
        return sum(one["amount"] for one in ours if one["status"] not in {"failed", "canceled"})

    def word(self, route: str, params: Mapping[str, str], key: str) -> str:
        """Return what a call with this key is scripted to do; only refunds and voids have a script."""
        charge = self._charge(params.get("payment_intent") or params.get("charge") or params.get("id", ""))
        if charge is None or route == "/v1/refunds/*/cancel":
            return "ok"
        words = self._words.setdefault(charge["id"], ["ok"])
        if key not in self._taken:
            self._taken[key] = words.pop(0) if len(words) > 1 else words[0]
        return self._taken[key]

    @property
    def routes(self) -> Mapping[str, Callable[[dict[str, str], str, list[str]], Answer]]:
        """What each POST does."""
        return {
            "/v1/refunds": self.create,
            "/v1/refunds/*/cancel": self.cancel,
            "/v1/payment_intents/*/cancel": self.cancel_intent,
        }

    def get(self, refund_id: str) -> Answer:
        found = self.refunds.get(refund_id)
        return as_json(200, found) if found else error(404, "invalid_request_error", "resource_missing")

    def page(self, query: Mapping[str, str], page_size: int | None) -> Answer:
        self.queries.append(query)
        since, by = int(query.get("created[gte]", 0)), "payment_intent" if "payment_intent" in query else "charge"
        if self._charge(query[by]) is None:
            return error(404, "invalid_request_error", "resource_missing")
        found = [one for one in reversed(self.refunds.values()) if one["created"] >= since and one[by] == query[by]]
        return page_of(found, query, "/v1/refunds", page_size)

    def create(self, params: dict[str, str], word: str, more: list[str]) -> Answer:
        charge = self._charge(params.get("payment_intent") or params["charge"])
        refused = self._why_not(charge, int(params["amount"]))
        if word == "no":
            refused = error(400, "invalid_request_error", *more)
        if refused is not None or charge is None:
            return refused or error(404, "invalid_request_error", "resource_missing")
        status = "succeeded" if word in {"ok", "lose", "slow"} else word
        refund = {
            "id": name("re_"),
            "object": "refund",
            "amount": int(params["amount"]),
            "currency": charge["currency"],
            "charge": charge["id"],
            "payment_intent": charge["payment_intent"],
            "created": int(self._events.now()),
            "metadata": {key[9:-1]: value for key, value in params.items() if key.startswith("metadata[")},
            "reason": params.get("reason"),
            "status": status if status in {"pending", "requires_action", "failed"} else "succeeded",
            "failure_reason": more[0] if status == "failed" else None,
            "failure_balance_transaction": None,
        }
        self.refunds[refund["id"]] = refund
        self._events.tell("refund.created", refund)
        if refund["status"] == "failed":
            self._events.tell("refund.failed", refund)
        else:
            self._balance.book("refund", -refund["amount"], refund["currency"], refund)
        return as_json(200, refund)

    def fail_refund(self, refund_ref: str, reason: str = "lost_or_stolen_card") -> None:
        """Let a refund that had left come back."""
        refund = self.refunds[refund_ref]
        back = {"failure_reason": reason, "failure_balance_transaction": name("txn_")}
        refund |= {"status": "failed", **back}
        self._balance.book("refund_failure", refund["amount"], refund["currency"], refund)
        self._events.tell("refund.failed", refund)

    def open_dispute(self, charge_ref: str) -> str:
        """Let the customer's bank take a charge back; return the dispute's id."""
        charge = self._charge(charge_ref)
        assert charge is not None
        charge["disputed"] = True
        dispute = {
            "id": name("dp_"),
            "object": "dispute",
            "amount": charge["amount"],
            "currency": charge["currency"],
            "charge": charge["id"],
            "payment_intent": charge["payment_intent"],
            "reason": "fraudulent",
            "status": "needs_response",
            "evidence_details": {"due_by": int(self._events.now()) + 7 * 86_400},
            "balance_transactions": [{"fee": 1500, "currency": charge["currency"]}],
        }
        self.disputes[dispute["id"]] = dispute
        self._balance.book("dispute", -charge["amount"], charge["currency"], dispute)
        self._events.tell("charge.dispute.created", dispute)
        self._events.tell("charge.dispute.funds_withdrawn", dispute)
        return str(dispute["id"])

    def close_dispute(self, dispute_ref: str, status: str) -> None:
        """Decide a dispute: `won` or `lost`."""
        dispute = self.disputes[dispute_ref]
        dispute["status"] = status
        self._events.tell("charge.dispute.closed", dispute)
        if status == "won":
            self._charges[dispute["charge"]]["disputed"] = False
            self._balance.book("dispute_reversal", dispute["amount"], dispute["currency"], dispute)
            self._events.tell("charge.dispute.funds_reinstated", dispute)

    def cancel(self, params: dict[str, str], word: str, more: list[str]) -> Answer:
        refund = self.refunds[params["id"]]
        if refund["status"] != "requires_action":
            return error(400, "invalid_request_error", "refund_not_cancelable")
        refund["status"] = "canceled"
        self._events.tell("refund.updated", refund)
        return as_json(200, refund)

    def cancel_intent(self, params: dict[str, str], word: str, more: list[str]) -> Answer:
        intent = self._intents.get(params["id"])
        if intent is None:
            return error(404, "invalid_request_error", "resource_missing")
        if intent["status"] in {"succeeded", "canceled"}:
            return error(400, "invalid_request_error", "payment_intent_unexpected_state", payment_intent=intent)
        intent["status"] = "canceled"
        self._events.tell("payment_intent.canceled", intent)
        return as_json(200, intent)

    def _why_not(self, charge: dict[str, Any] | None, amount: int) -> Answer | None:
        if charge is None:
            return error(404, "invalid_request_error", "resource_missing")
        if not charge["captured"]:
            said = "This PaymentIntent does not have a successful charge to refund."
            return error(400, "invalid_request_error", None, message=said)
        if charge["disputed"]:
            return error(400, "invalid_request_error", "charge_disputed")
        left = charge["amount"] - self.gone(charge["id"])
        if left == 0:
            return error(400, "invalid_request_error", "charge_already_refunded")
        if amount > left:
            said = f"Refund amount (${amount / 100}) is greater than unrefunded amount on charge (${left / 100})"
            return error(400, "invalid_request_error", None, message=said, param="amount")
        return None

    def _charge(self, charge_ref: str) -> dict[str, Any] | None:
        intent = self._intents.get(charge_ref)
        return self._charges.get(intent["latest_charge"] or "" if intent else charge_ref)
