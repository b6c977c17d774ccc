"""A small Adyen on loopback: payments, refunds, cancels, stored methods, links and reports, with keys and faults.

Ours, so it can share our mistakes: Adyen's own OpenAPI documents police it in both directions where they are at hand
(`tests/counterparts/adyen_documents.py`). What it would send as webhooks stands in `webhooks()`, signed and in order.
"""

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.counterparts.adyen_documents import AdyenDocuments
from tests.plugins.fake_adyen_answers import KEY, MERCHANT, Answer, LoseAnswer, as_json, error, signed
from tests.plugins.fake_adyen_books import Books

from recoup_plugins.conformance import SignedWebhook

REPORT_LOGIN = ("report_1@Company.Acme", "letmein")


class FakeAdyen(Books):
    """The server; `mode` strikes every call: `ok`, `down` (no connection), `html`, `lose` (done, no answer), `slow`."""

    def __init__(self, documents: AdyenDocuments | None = None) -> None:
        super().__init__()
        self.posts: list[dict[str, Any]] = []
        self.queries: list[str] = []
        self.reports: dict[str, bytes] = {}
        self.violations: list[str] = []
        self.slow_s = 1.0
        self._documents = documents
        self._mode = "ok"
        self._answers: dict[str, Answer] = {}
        self._words: dict[str, str] = {}
        self._sends: dict[str, int] = {}
        self._running: set[str] = set()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode = mode
        if mode == "down":
            self.stop()
        else:
            self.start()

    def start(self) -> None:
        """Listen, again on the same port."""
        if self._server is not None:
            return
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), lambda *args: Handler(self, *args))
        self._server.daemon_threads = True
        self._port = self._server.server_port
        serve = self._server.serve_forever
        threading.Thread(target=serve, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def webhooks(self, since: int = 0) -> list[SignedWebhook]:
        """Return every webhook Adyen would send for what happened so far, in order, from the given place on."""
        sent = [signed(item) for item in self.notifications[since:]]
        for one in sent:
            self._police(lambda known, one=one: known.webhook(one.body))  # type: ignore[misc]  # a default binds it
        return sent

    def forget_keys(self) -> None:
        """The lifetime of every key is over."""
        self._answers.clear()
        self._sends.clear()

    # --- routes ---------------------------------------------------------------------------------------------------

    def get(self, path: str, query: str, login: str) -> Answer:
        self.queries.append(query)
        if path.startswith("/reports/"):
            wanted = "Basic " + base64.b64encode(":".join(REPORT_LOGIN).encode()).decode()
            report = self.reports.get(path.removeprefix(f"/reports/{MERCHANT}/"))
            if login != wanted:
                return Answer(401, b"who are you?")
            return Answer(404, b"") if report is None else Answer(200, report, {"Content-Type": "text/csv"})
        answer = self.list_stored(dict(parse_qsl(query))["shopperReference"])
        self._police(lambda known: known.answer("get", path, answer.status, answer.body))
        return answer

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        self._police(lambda known: known.request("post", path, headers, body))
        asked, key = json.loads(body), headers.get("idempotency-key")
        if asked.get("merchantAccount") != MERCHANT:
            return error(403, "901", "Invalid Merchant Account")
        if path == "/paymentMethods":
            return as_json(200, {"paymentMethods": []})
        if key is None:
            return error(422, "000", "the test wants a key")
        with self._lock:
            self.posts.append({"path": path, "key": key, **asked})
            if key in self._running:
                return error(422, "704", "request already processed or in progress", transient=True)
            if key in self._answers:  # what another body would do is undocumented: the first one's answer stands
                if self.mode == "lose":
                    raise LoseAnswer
                return self._answers[key]
            self._running.add(key)
            self._sends[key] = self._sends.get(key, 0) + 1
        try:
            return self._run(path, asked, key)
        finally:
            self._running.discard(key)

    def _run(self, path: str, asked: dict[str, Any], key: str) -> Answer:
        with self._lock:
            if key not in self._words:
                self._words[key] = self._script(path, asked)
        word, *more = self._words[key].split(":")
        early = EARLY.get(word)
        if early is not None and (self._sends[key] == 1 or "always" in more):
            return early(more)
        if word == "slow":
            time.sleep(float(more[0]))
        with self._lock:
            answer = self._execute(path, asked, word, more)
            self._answers[key] = answer
        self._police(lambda known: known.answer("post", path, answer.status, answer.body))
        if self.mode == "lose" or (word == "lose" and self._sends[key] == 1):
            raise LoseAnswer
        return answer

    def _script(self, path: str, asked: Mapping[str, Any]) -> str:
        if path == "/payments":
            token = asked["paymentMethod"].get("storedPaymentMethodId", "ok")
            return self.word(asked.get("merchantOrderReference", ""), token)
        return self.refund_word(path.split("/")[2]) if path.endswith("/refunds") else "ok"

    def _execute(self, path: str, asked: dict[str, Any], word: str, more: list[str]) -> Answer:
        if path == "/payments":
            return self.pay(asked, word, more)
        if path == "/paymentLinks":
            return self.make_link(asked)
        psp, what = path.split("/")[2:]
        return self.refund(psp, asked, word, more) if what == "refunds" else self.cancel(psp, asked)

    def _police(self, check: Callable[[AdyenDocuments], list[str]]) -> None:
        if self._documents is not None:
            self.violations += check(self._documents)


def _lose(more: list[str]) -> Answer:
    raise LoseAnswer


EARLY: Mapping[str, Callable[[list[str]], Answer]] = {
    "lose_before": _lose,
    "429": lambda more: error(429, "000", **{"Retry-After": "7"}),
    "703": lambda more: error(503, "703", "required resource temporarily unavailable"),
    "704": lambda more: error(422, "704", "request already processed or in progress", transient=True),
    "transient": lambda more: error(500, "905", transient=True),
    "400": lambda more: error(400, "702"),
    "401": lambda more: error(401, "000", "HTTP Status Response - Unauthorized"),
    "403": lambda more: error(403, "901", "Invalid Merchant Account"),
    "404": lambda more: Answer(404, b"<html>Not found</html>"),
    "422": lambda more: error(422, more[0] if more else "14_030"),
    "500": lambda more: error(500, "905"),
    "html502": lambda more: Answer(502, b"<html>Bad gateway</html>"),
    "html200": lambda more: Answer(200, b"<html>Hello</html>"),
    "list200": lambda more: Answer(200, b"[1]"),
    "list500": lambda more: Answer(500, b"[1]"),
    "redirect302": lambda more: Answer(302, b"", {"Location": "/elsewhere"}),
    "truncated": lambda more: Answer(200, b'{"pspRef', {"Content-Length": "5000"}),
    "long": lambda more: Answer(200, b'{"a": "' + b"x" * (5 * 1024 * 1024) + b'"}'),
    "empty": lambda more: as_json(200, {}),
}
"""What strikes before anything is done, on the first send of a key (`tok_500:always`: on each)."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, adyen: FakeAdyen, *args: Any) -> None:
        self.adyen = adyen
        super().__init__(*args)

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        self._answer(lambda: self.adyen.get(at.path, at.query, self.headers.get("Authorization", "")))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(lambda: self.adyen.post(self.path, body, headers))

    def _answer(self, ask: Callable[[], Answer]) -> None:
        try:
            if self.adyen.mode == "html":
                answer = Answer(200, b"<html>We'll be back</html>")
            elif self.headers.get("X-API-Key") == KEY or self.path.startswith("/reports/"):
                answer = ask()
            else:
                answer = error(401, "000")
            if self.adyen.mode == "slow":
                time.sleep(self.adyen.slow_s)
        except LoseAnswer:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer.status)
        for header, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(header, value)
        with suppress(BrokenPipeError, ConnectionResetError):  # a client that lost patience
            self.end_headers()
            self.wfile.write(answer.body)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Tests are quiet."""
