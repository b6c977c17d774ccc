"""A small Stripe on loopback: PaymentIntents, charges, refunds and a balance, with idempotency and scripted faults.

Ours, so it can share our mistakes; localstripe (tests/counterparts) is the check by others. Parameter names are
compared with the SDK's own types, so that a call the pinned API version refuses is refused here, too.
"""

import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from stripe.params import PaymentIntentCreateParams
from tests.plugins.fake_stripe_answers import Answer, LoseAnswer, as_json, error, name, page_of
from tests.plugins.fake_stripe_refunds import KNOWN_PARAMS as REFUND_PARAMS
from tests.plugins.fake_stripe_refunds import FakeRefunds

KEY = "sk_test_fake"
SECRET = "whsec_ZmFrZSBzdHJpcGU"
INTENTS = "/v1/payment_intents"
KNOWN_PARAMS = {**REFUND_PARAMS, INTENTS: frozenset(PaymentIntentCreateParams.__annotations__)}


class FakeStripe:
    """The state behind the server; read it to see what really happened."""

    def __init__(self) -> None:
        self.intents: dict[str, dict[str, Any]] = {}
        self.charges: dict[str, dict[str, Any]] = {}
        self.back = FakeRefunds(self.intents, self.charges)
        self.posts: list[dict[str, str]] = []
        self.queries: list[Mapping[str, str]] = []
        self.page_size: int | None = None
        self._answers: dict[str, tuple[str, Answer]] = {}
        self._running: set[str] = set()
        self._sends: dict[str, int] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Handler(self, *args))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def moved(self, payment_reference: str) -> list[tuple[int, str]]:
        """Return what was collected for one payment, in Stripe's units."""
        ours = (one for one in self.intents.values() if one["metadata"].get("recoup_payment") == payment_reference)
        return [(one["amount_received"], one["currency"]) for one in ours if one["status"] == "succeeded"]

    # --- routes ---------------------------------------------------------------------------------------------------

    def get(self, path: str, query: Mapping[str, str]) -> Answer:
        if path == "/v1/balance":
            return as_json(200, {"object": "balance", "available": [], "pending": []})
        if path == INTENTS:
            return self._list(query)
        if path == "/v1/refunds":
            return self.back.page(query, self.page_size)
        if path.startswith("/v1/refunds/"):
            return self.back.get(path.removeprefix("/v1/refunds/"))
        kept = {"payment_intents": self.intents, "charges": self.charges}
        _, _, kind, one = path.split("/")
        found = kept[kind].get(one)
        return as_json(200, found) if found else error(404, "invalid_request_error", "resource_missing")

    def post(self, path: str, body: str, key: str | None) -> Answer:
        params = dict(parse_qsl(body))
        if key is None:
            return error(400, "invalid_request_error", "the_test_wants_a_key")
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
        route, named = _route(path)
        roots = {re.split(r"\[", param)[0] for param in params}
        if "payment_method_types" in roots:
            return error(400, "invalid_request_error", "payment_method_types_no_longer_supported")
        if roots - KNOWN_PARAMS[route]:
            return error(400, "invalid_request_error", "parameter_unknown", param=min(roots - KNOWN_PARAMS[route]))
        script = params["payment_method"].removeprefix("pm_") if route == INTENTS else ""
        word, *more = (script or self.back.word(route, {**params, **named}, key)).split(":")
        early = EARLY.get(word)
        if early is not None and (self._sends[key] == 1 or "always" in more):
            return early()
        if word == "slow":
            time.sleep(float(more[0]))
        with self._lock:
            do = self._execute if route == INTENTS else partial(self.back.execute, route)
            answer = do({**params, **named}, word, more)
        self._answers[key] = (path + body, answer)
        if word == "lose" and self._sends[key] == 1:
            raise LoseAnswer
        return answer

    def _execute(self, params: dict[str, str], word: str, more: list[str]) -> Answer:
        intent = self._intent(params)
        self.intents[intent["id"]] = intent
        if word == "decline":
            return self._decline(intent, params["payment_method"], *more)
        if word == "missing":
            del self.intents[intent["id"]]
            return error(404, "invalid_request_error", "resource_missing", param="payment_method")
        intent["status"] = {"processing": "processing", "action": "requires_action"}.get(word, "succeeded")
        intent["amount_received"] = intent["amount"] if intent["status"] == "succeeded" else 0
        return as_json(200, intent)

    def _intent(self, params: dict[str, str]) -> dict[str, Any]:
        metadata = {key[9:-1]: value for key, value in params.items() if key.startswith("metadata[")}
        return {
            "id": name("pi_"),
            "object": "payment_intent",
            "amount": int(params["amount"]),
            "amount_received": 0,
            "currency": params["currency"],
            "created": int(time.time()),
            "customer": params.get("customer"),
            "payment_method": params["payment_method"],
            "payment_method_types": ["card"],
            "latest_charge": None,
            "last_payment_error": None,
            "metadata": metadata,
            "status": "requires_payment_method",
        }

    def _decline(
        self,
        intent: dict[str, Any],
        method: str,
        code: str,
        network: str | None = None,
        network_advice: str | None = None,
        advice: str | None = None,
        reason: str | None = None,
    ) -> Answer:
        charge = {
            "id": name("ch_"),
            "object": "charge",
            "outcome": {"type": "blocked" if reason else "issuer_declined", "reason": reason or code},
        }
        self.charges[charge["id"]] = charge
        card = {"brand": "mastercard", "country": "DE", "fingerprint": "fpr", "networks": {"available": ["mastercard"]}}
        intent["latest_charge"] = charge["id"]
        intent["last_payment_error"] = {
            "type": "card_error",
            "code": "card_declined",
            "decline_code": code,
            "advice_code": advice,
            "network_decline_code": network,
            "network_advice_code": network_advice,
            "charge": charge["id"],
            "message": "Your card was declined.",
            "payment_method": {"id": method, "object": "payment_method", "type": "card", "card": card},
        }
        told = {**intent["last_payment_error"], "payment_intent": intent}
        return as_json(402, {"error": told})

    def _list(self, query: Mapping[str, str]) -> Answer:
        self.queries.append(query)
        since = int(query.get("created[gte]", 0))
        found = [
            one
            for one in reversed(self.intents.values())
            if one["created"] >= since and query.get("customer") in {None, one["customer"]}
        ]
        return page_of(found, query, INTENTS, self.page_size)


def _route(path: str) -> tuple[str, dict[str, str]]:
    """Return the path with its id as `*`, and the id."""
    parts = path.split("/")
    if len(parts) < 4:
        return path, {}
    return "/".join([*parts[:3], "*", *parts[4:]]), {"id": parts[3]}


def _lose() -> Answer:
    raise LoseAnswer


EARLY: Mapping[str, Callable[[], Answer]] = {
    "lose_before": _lose,
    "429": lambda: Answer(429, b'{"error": {"type": "rate_limit_error", "code": "rate_limit"}}', {"Retry-After": "7"}),
    "409lock": lambda: error(409, "invalid_request_error", "lock_timeout"),
    "400": lambda: error(400, "invalid_request_error", "amount_too_small"),
    "401": lambda: error(401, "invalid_request_error"),
    "403": lambda: error(403, "invalid_request_error"),
    "500": lambda: error(500, "api_error"),
    "html500": lambda: Answer(502, b"<html>Bad gateway</html>"),
    "html200": lambda: Answer(200, b"<html>Hello</html>"),
    "truncated": lambda: Answer(200, b'{"id": "pi_', {"Content-Length": "5000"}),
    "empty": lambda: as_json(200, {}),
}
"""What strikes before anything is done, on the first send of a key (`pm_500:always`: on each)."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, stripe: FakeStripe, *args: Any) -> None:
        self.stripe = stripe
        super().__init__(*args)

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        self._answer(lambda: self.stripe.get(at.path, dict(parse_qsl(at.query))))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._answer(lambda: self.stripe.post(self.path, body, self.headers.get("Idempotency-Key")))

    def _answer(self, ask: Callable[[], Answer]) -> None:
        try:
            known = self.headers.get("Authorization") == f"Bearer {KEY}"
            status, body, headers = ask() if known else error(401, "invalid_request_error")
        except LoseAnswer:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        for header, value in {"Content-Length": str(len(body)), "Request-Id": "req_fake", **headers}.items():
            self.send_header(header, value)
        with suppress(BrokenPipeError, ConnectionResetError):  # a client that lost patience
            self.end_headers()
            self.wfile.write(body)
        self.close_connection = "Content-Length" in headers

    def log_message(self, *args: Any) -> None:
        """Tests are quiet."""
