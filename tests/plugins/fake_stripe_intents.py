"""PaymentIntents and charges of the fake Stripe, and what each payment method is scripted to do.

A payment method is named by what happens when it is charged: `pm_ok`, `pm_decline:<code>:<network>:<advice>:...`,
`pm_processing`, `pm_action`, `pm_missing`, and the faults of `fake_stripe_server`; `pm_<first>|<second>`: one for each
key, the last one repeated.
"""

from collections.abc import Mapping
from typing import Any

from stripe.params import (
    ChargeListParams,
    PaymentIntentConfirmParams,
    PaymentIntentCreateParams,
    PaymentIntentListParams,
    PaymentIntentUpdateParams,
)
from tests.plugins.fake_stripe_answers import Answer, as_json, error, name, page_of
from tests.plugins.fake_stripe_balance import FakeBalance
from tests.plugins.fake_stripe_events import FakeEvents

INTENTS, CHARGES = "/v1/payment_intents", "/v1/charges"
KNOWN_PARAMS = {
    INTENTS: frozenset(PaymentIntentCreateParams.__annotations__),
    f"{INTENTS}/*": frozenset(PaymentIntentUpdateParams.__annotations__),
    f"{INTENTS}/*/confirm": frozenset(PaymentIntentConfirmParams.__annotations__),
}
KNOWN_QUERIES = {
    INTENTS: frozenset(PaymentIntentListParams.__annotations__),
    CHARGES: frozenset(ChargeListParams.__annotations__),
}
CONFIRMABLE = {"requires_payment_method", "requires_confirmation", "requires_action"}
CARD = {"brand": "mastercard", "country": "DE", "fingerprint": "fpr", "networks": {"available": ["mastercard"]}}


def metadata_of(params: Mapping[str, str]) -> dict[str, str]:
    """Read the metadata of a form."""
    return {key[9:-1]: value for key, value in params.items() if key.startswith("metadata[")}


class FakeIntents:
    """The state behind the routes of PaymentIntents and charges."""

    def __init__(self, events: FakeEvents, balance: FakeBalance) -> None:
        self.intents: dict[str, dict[str, Any]] = {}
        self.charges: dict[str, dict[str, Any]] = {}
        self.queries: list[Mapping[str, str]] = []
        self.sealed: set[str] = set()
        """PaymentIntents that nobody may edit."""
        self._events, self._balance = events, balance
        self._turns: dict[str, str] = {}
        self._left: dict[str, list[str]] = {}

    def word(self, method: str, key: str) -> str:
        """Return what charging a payment method under this key is scripted to do."""
        words = self._left.setdefault(method, method.removeprefix("pm_").split("|"))
        if key not in self._turns:
            self._turns[key] = words.pop(0) if len(words) > 1 else words[0]
        return self._turns[key]

    def made(self, amount: int, currency: str = "eur", **changes: Any) -> dict[str, Any]:
        """Make a PaymentIntent as a shop's checkout would, not charged yet."""
        intent = {
            "id": name("pi_"),
            "object": "payment_intent",
            "amount": amount,
            "amount_received": 0,
            "amount_capturable": 0,
            "capture_method": "automatic",
            "currency": currency,
            "created": int(self._events.now()),
            "customer": None,
            "payment_method": None,
            "payment_method_types": ["card"],
            "latest_charge": None,
            "last_payment_error": None,
            "metadata": {},
            "status": "requires_payment_method",
            **changes,
        }
        self.intents[intent["id"]] = intent
        return intent

    def create(self, params: dict[str, str], word: str, more: list[str]) -> Answer:
        types = [value for key, value in params.items() if key.startswith("allowed_payment_method_types[")]
        intent = self.made(
            int(params["amount"]),
            params["currency"],
            customer=params.get("customer"),
            payment_method_types=types or ["card"],
            metadata=metadata_of(params),
        )
        answer = self.charge(intent, params["payment_method"], word, more)
        if word == "missing":
            del self.intents[intent["id"]]
        return answer

    def update(self, params: dict[str, str], word: str, more: list[str]) -> Answer:
        intent = self.intents.get(params["id"])
        if intent is None:
            return error(404, "invalid_request_error", "resource_missing")
        if intent["id"] in self.sealed or intent["status"] not in CONFIRMABLE:
            return error(400, "invalid_request_error", "payment_intent_unexpected_state", payment_intent=intent)
        intent["metadata"] = {**intent["metadata"], **metadata_of(params)}
        return as_json(200, intent)

    def confirm(self, params: dict[str, str], word: str, more: list[str]) -> Answer:
        intent = self.intents.get(params["id"])
        if intent is None:
            return error(404, "invalid_request_error", "resource_missing")
        if intent["status"] not in CONFIRMABLE:
            return error(400, "invalid_request_error", "payment_intent_unexpected_state", payment_intent=intent)
        return self.charge(intent, params["payment_method"], word, more)

    def charge(self, intent: dict[str, Any], method: str, word: str, more: list[str]) -> Answer:
        """Try once: every try is a charge, which keeps the intent's metadata of this moment."""
        intent["payment_method"] = method
        if word == "missing":
            return error(404, "invalid_request_error", "resource_missing", param="payment_method")
        if word == "action":
            intent["status"] = "requires_action"
            self._events.tell("payment_intent.requires_action", intent)
            return as_json(200, intent)
        charge = self._charge(intent, method)
        intent["latest_charge"] = charge["id"]
        if word == "decline":
            return self._decline(intent, charge, method, *more)
        if word == "processing":
            charge["status"], intent["status"] = "pending", "processing"
            self._events.tell("payment_intent.processing", intent)
            return as_json(200, intent)
        self.settle(intent)
        return as_json(200, intent)

    def settle(self, intent: dict[str, Any]) -> None:
        """Let the money come: at once, or of a debit that was under way."""
        charge = self.charges[intent["latest_charge"]]
        charge |= {"status": "succeeded", "amount_captured": charge["amount"], "paid": True}
        intent |= {"status": "succeeded", "amount_received": intent["amount"], "last_payment_error": None}
        self._balance.book("charge", charge["amount"], charge["currency"], charge)
        self._events.tell("charge.succeeded", charge)
        self._events.tell("payment_intent.succeeded", intent)

    def get(self, kind: str, one: str) -> Answer:
        found = {"payment_intents": self.intents, "charges": self.charges}[kind].get(one)
        return as_json(200, found) if found else error(404, "invalid_request_error", "resource_missing")

    def page(self, query: Mapping[str, str], page_size: int | None) -> Answer:
        self.queries.append(query)
        since = int(query.get("created[gte]", 0))
        found = [
            one
            for one in reversed(self.intents.values())
            if one["created"] >= since and query.get("customer") in {None, one["customer"]}
        ]
        return page_of(found, query, INTENTS, page_size)

    def charges_page(self, query: Mapping[str, str], page_size: int | None) -> Answer:
        since = int(query.get("created[gte]", 0))
        found = [
            one
            for one in reversed(self.charges.values())
            if one.get("created", 0) >= since and query.get("payment_intent") in {None, one["payment_intent"]}
        ]
        return page_of(found, query, CHARGES, page_size)

    def _charge(self, intent: dict[str, Any], method: str) -> dict[str, Any]:
        charge = {
            "id": name("ch_"),
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": 0,
            "captured": True,
            "currency": intent["currency"],
            "created": int(self._events.now()),
            "customer": intent["customer"],
            "payment_intent": intent["id"],
            "payment_method": method,
            "disputed": False,
            "failure_code": None,
            "failure_message": None,
            "outcome": {"type": "authorized", "reason": None},
            "status": "succeeded",
            "metadata": dict(intent["metadata"]),
        }
        self.charges[charge["id"]] = charge
        return charge

    def _decline(
        self,
        intent: dict[str, Any],
        charge: dict[str, Any],
        method: str,
        code: str,
        network: str | None = None,
        network_advice: str | None = None,
        advice: str | None = None,
        reason: str | None = None,
    ) -> Answer:
        told = {"advice_code": advice, "network_decline_code": network, "network_advice_code": network_advice}
        kind, message = "blocked" if reason else "issuer_declined", "Your card was declined."
        charge |= {"status": "failed", "failure_code": "card_declined", "failure_message": message}
        charge["outcome"] = {"type": kind, "reason": reason or code, **told}
        intent["status"] = "requires_payment_method"
        intent["last_payment_error"] = {
            "type": "card_error",
            "code": "card_declined",
            "decline_code": code,
            **told,
            "charge": charge["id"],
            "message": message,
            "payment_method": {"id": method, "object": "payment_method", "type": "card", "card": CARD},
        }
        self._events.tell("charge.failed", charge)
        self._events.tell("payment_intent.payment_failed", intent)
        return as_json(402, {"error": {**intent["last_payment_error"], "payment_intent": intent}})
