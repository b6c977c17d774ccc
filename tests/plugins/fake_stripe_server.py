"""How the fake Stripe is spoken to over HTTP, and what strikes before it does anything."""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.plugins.fake_stripe_answers import Answer, LoseAnswer, as_json, error

KEY = "sk_test_fake"
SLOW_S = 3.0


def route_of(path: str) -> tuple[str, dict[str, str]]:
    """Return the path with its id as `*`, and the id."""
    parts = path.split("/")
    if len(parts) < 4 or parts[2] == "billing_portal":
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


MODES: Mapping[str, Callable[[], Answer]] = {
    "down": lambda: error(503, "api_error"),
    "html": lambda: Answer(200, b"<html>Hello</html>"),
}
"""What the whole of Stripe does, whatever it is asked."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # head and body leave in two writes: else each answer waits 40 ms for the first's ack
    )

    def __init__(self, stripe: Any, *args: Any) -> None:
        self.stripe = stripe
        super().__init__(*args)

    def setup(self) -> None:
        super().setup()
        self.stripe.connections.add(self.connection)

    def finish(self) -> None:
        self.stripe.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        self._answer(lambda: self.stripe.get(at.path, at.query))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._answer(lambda: self.stripe.post(self.path, body, self.headers.get("Idempotency-Key")))

    def _answer(self, ask: Callable[[], Answer]) -> None:
        try:
            known = self.headers.get("Authorization") == f"Bearer {KEY}"
            ask = MODES.get(self.stripe.mode, ask)
            status, body, headers = ask() if known else error(401, "invalid_request_error")
            if self.stripe.mode == "slow":
                time.sleep(SLOW_S)
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
