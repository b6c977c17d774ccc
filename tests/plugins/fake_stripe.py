"""A small Stripe on loopback: PaymentIntents, invoices, refunds, events, payouts, with idempotency and scripted faults.

Ours, so it can share our mistakes; localstripe and stripe-stateful-mock (tests/counterparts) are the check by others.
Parameter names are compared with the SDK's own types, so that a call the pinned API version refuses is refused here,
too; and every request with Stripe's OpenAPI document, where that is installed (tests/counterparts/stripe_openapi.py).
"""

import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from stripe.params import CustomerPaymentMethodListParams, EventListParams, RefundListParams
from tests.counterparts.stripe_openapi import stripe_requests
from tests.plugins import fake_stripe_balance, fake_stripe_billing, fake_stripe_intents, fake_stripe_refunds
from tests.plugins.fake_stripe_answers import Answer, LoseAnswer, as_json, error
from tests.plugins.fake_stripe_balance import FakeBalance
from tests.plugins.fake_stripe_billing import FakeBilling
from tests.plugins.fake_stripe_events import SECRET, FakeEvents
from tests.plugins.fake_stripe_intents import INTENTS, FakeIntents
from tests.plugins.fake_stripe_refunds import FakeRefunds
from tests.plugins.fake_stripe_server import EARLY, KEY, Handler, route_of

from recoup_plugins.conformance import SignedWebhook

KNOWN_PARAMS: Mapping[str, frozenset[str]] = {
    **fake_stripe_intents.KNOWN_PARAMS,
    **fake_stripe_refunds.KNOWN_PARAMS,
    **fake_stripe_billing.KNOWN_PARAMS,
}
KNOWN_QUERIES: Mapping[str, frozenset[str]] = {
    **fake_stripe_intents.KNOWN_QUERIES,
    **fake_stripe_billing.KNOWN_QUERIES,
    **fake_stripe_balance.KNOWN_QUERIES,
    "/v1/refunds": frozenset(RefundListParams.__annotations__),
    "/v1/events": frozenset(EventListParams.__annotations__),
    "/v1/customers/*/payment_methods": frozenset(CustomerPaymentMethodListParams.__annotations__),
}
CHARGES = frozenset({INTENTS, f"{INTENTS}/*/confirm", "/v1/invoices/*/pay"})
"""What charges a payment method, whose name is the script."""

NEWER_THAN_DOCUMENT = frozenset({"/v1/invoice_payments"})

__all__ = ["KEY", "SECRET", "FakeStripe"]


class FakeStripe:
    """The state behind the server; read it to see what really happened."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.events = FakeEvents(now)
        self.balance = FakeBalance(self.events)
        self.paying = FakeIntents(self.events, self.balance)
        self.intents, self.charges = self.paying.intents, self.paying.charges
        self.back = FakeRefunds(self.paying, self.events, self.balance)
        self.billing = FakeBilling(self.paying, self.events)
        self.posts: list[dict[str, str]] = []
        self.gets: list[str] = []
        self.violations: list[str] = []
        self.page_size: int | None = None
        self.mode = "ok"
        """`down` answers 503, `html` a page, both without doing anything; `lose` and `slow` do it all the same."""
        self.meanwhile: Callable[[], None] | None = None
        """Happens once, between what the client saw and its next POST."""
        self.reads_busy = False
        """GETs answer 429; what charges is let through."""
        self._answers: dict[str, tuple[str, Answer]] = {}
        self._running: set[str] = set()
        self._sends: dict[str, int] = {}
        self._lock = threading.Lock()
        self.connections: set[socket.socket] = set()
        self._port = 0
        self.start()

    def start(self) -> None:
        """Listen, after `stop` on the same port again."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), lambda *args: Handler(self, *args))
        self._server.daemon_threads = True
        self._port = self._server.server_port
        self.url = f"http://127.0.0.1:{self._port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and end those that are kept alive."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):
            with suppress(OSError):  # it may just have ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def queries(self) -> list[Mapping[str, str]]:
        """How PaymentIntents were listed."""
        return self.paying.queries

    def moved(self, payment_reference: str) -> list[tuple[int, str]]:
        """Return what was collected for one payment, in Stripe's units."""
        paid = [one for one in self.charges.values() if one.get("status") == "succeeded"]
        ours = (one for one in paid if _collects_for(self, one, payment_reference))
        return [(one["amount_captured"], one["currency"]) for one in ours]

    def webhooks(self, since: int = 0) -> list[SignedWebhook]:
        """Return what Stripe would send for what happened so far, in order, signed now."""
        return self.events.webhooks(since)

    def open_dispute(self, charge_ref: str) -> str:
        """Let the customer's bank take a charge back."""
        return self.back.open_dispute(charge_ref)

    def fail_refund(self, refund_ref: str) -> None:
        """Let a refund that had left come back."""
        self.back.fail_refund(refund_ref)

    # --- routes ---------------------------------------------------------------------------------------------------

    def get(self, path: str, encoded: str) -> Answer:
        """Answer a GET."""
        self.gets.append(path)
        if self.reads_busy:
            return EARLY["429"]()
        route, _ = route_of(path)
        query = dict(parse_qsl(encoded))
        refused = self._refused("GET", path, encoded, KNOWN_QUERIES.get(route, frozenset()))
        if refused is not None:
            return refused
        for lead, answer in self._lists().items():
            if route == lead:
                return answer(path, query)
        _, _, kind, one = path.split("/")
        return self._one(kind, one)

    def _lists(self) -> Mapping[str, Callable[[str, Mapping[str, str]], Answer]]:
        size = self.page_size
        return {
            "/v1/balance": lambda _, query: as_json(200, {"object": "balance", "available": [], "pending": []}),
            INTENTS: lambda _, query: self.paying.page(query, size),
            "/v1/charges": lambda _, query: self.paying.charges_page(query, size),
            "/v1/refunds": lambda _, query: self.back.page(query, size),
            "/v1/invoice_payments": lambda _, query: self.billing.payments_page(query, size),
            "/v1/customers/*/payment_methods": lambda path, query: self.billing.methods_page(
                path.split("/")[3], query, size
            ),
            "/v1/events": lambda _, query: self.events.page(query, size),
            "/v1/balance_transactions": lambda _, query: self.balance.page(query, size),
        }

    def _one(self, kind: str, one: str) -> Answer:
        kept = {
            "refunds": self.back.get,
            "invoices": self.billing.get_invoice,
            "customers": self.billing.get_customer,
            "payouts": self.balance.get,
        }
        return kept[kind](one) if kind in kept else self.paying.get(kind, one)

    def post(self, path: str, body: str, key: str | None) -> Answer:
        """Answer a POST once per key."""
        params = dict(parse_qsl(body))
        if key is None:
            return error(400, "invalid_request_error", "the_test_wants_a_key")
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        with self._lock:
            self.posts.append({"path": path, "key": key, **params})
            if key in self._running:
                return error(409, "invalid_request_error", "idempotency_key_in_use")
            if key in self._answers:
                before, answer = self._answers[key]
                if before != path + body:
                    return error(400, "idempotency_error")
                return answer._replace(headers={"Idempotent-Replayed": "true"})
            self._running.add(key)
            self._sends[key] = self._sends.get(key, 0) + 1
        try:
            return self._run(path, params, key, body)
        finally:
            self._running.discard(key)

    def _run(self, path: str, params: dict[str, str], key: str, body: str) -> Answer:
        route, named = route_of(path)
        if any(param.startswith("payment_method_types") for param in params):
            return error(400, "invalid_request_error", "payment_method_types_no_longer_supported")
        refused = self._refused("POST", path, body, KNOWN_PARAMS[route])
        if refused is not None:
            return refused
        word, *more = self._word(route, {**params, **named}, key).split(":")
        early = EARLY.get(word)
        if early is not None and (self._sends[key] == 1 or "always" in more):
            return early()
        if word == "slow":
            time.sleep(float(more[0]))
        with self._lock:
            answer = self._do(route)({**params, **named}, word, more)
        self._answers[key] = (path + body, answer)
        if (word == "lose" and self._sends[key] == 1) or self.mode == "lose":
            raise LoseAnswer
        return answer

    def _word(self, route: str, params: Mapping[str, str], key: str) -> str:
        if route in CHARGES:
            return self.paying.word(params["payment_method"], key)
        return self.back.word(route, params, key) if route in fake_stripe_refunds.KNOWN_PARAMS else "ok"

    def _do(self, route: str) -> Callable[[dict[str, str], str, list[str]], Answer]:
        ours = {
            INTENTS: self.paying.create,
            f"{INTENTS}/*": self.paying.update,
            f"{INTENTS}/*/confirm": self.paying.confirm,
            "/v1/invoices/*": self.billing.update,
            "/v1/invoices/*/pay": self.billing.pay,
            "/v1/billing_portal/sessions": self.billing.session,
        }
        return ours[route] if route in ours else self.back.routes[route]

    def _refused(self, method: str, path: str, encoded: str, known: frozenset[str]) -> Answer | None:
        """Refuse what the SDK's version or Stripe's document does not know; remember it, since no test wants that."""
        sent = {re.split(r"\[", name)[0] for name, _ in parse_qsl(encoded, keep_blank_values=True)}
        if sent - known:
            self.violations.append(f"{method} {path}: {min(sent - known)} is unknown to the SDK")
            return error(400, "invalid_request_error", "parameter_unknown", param=min(sent - known))
        checker = stripe_requests()
        if checker is None or path in NEWER_THAN_DOCUMENT:
            return None
        problems = checker.problems(method, path, encoded, newer=known)
        if not problems:
            return None
        self.violations.append(f"{method} {path}: {'; '.join(problems)}")
        return error(400, "invalid_request_error", "parameter_unknown", message="; ".join(problems))


def _collects_for(fake: FakeStripe, charge: Mapping[str, Any], payment_reference: str) -> bool:
    """Whether a charge carries the payment's name, or an invoice it paid does."""
    if charge.get("metadata", {}).get("recoup_payment") == payment_reference:
        return True
    named = [
        one for one in fake.billing.invoices.values() if one["metadata"].get("recoup_payment") == payment_reference
    ]
    return any(fake.billing.intent_of(one["id"])["id"] == charge["payment_intent"] for one in named)
