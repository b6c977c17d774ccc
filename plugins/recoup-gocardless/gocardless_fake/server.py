"""The fake on loopback: routes, idempotency keys, cursors, faults on the line, and the webhooks that it would send."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hmac import new as hmac_new
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from gocardless_fake.books import IN, Books, Row
from gocardless_fake.refusals import Refusal, conflict, not_found
from recoup_plugins.conformance import SignedWebhook

TOKEN: Final = "sandbox_fake_token"
SECRET: Final = "a-webhook-secret-of-the-fake"
INCLUDES: Final = {"payment": "payments", "refund": "refunds", "mandate": "mandates"}

Mode = Literal["ok", "down", "html", "lose", "slow"]
Answer = tuple[int, bytes, str]


class FakeGoCardless:
    """One account of a GoCardless on 127.0.0.1."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.books = Books(now)
        self.sent: list[tuple[str, str, Row]] = []
        """Every call that came through: method, path, body or query."""
        self.slow_s = 1.0
        self.page_size: int | None = None
        self._mode: Mode = "ok"
        self._made_by_key: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, at the same address as before."""
        if self._server is not None:
            return
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), lambda *args: Handler(self, *args))
        self._server.daemon_threads = True
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def mode(self) -> Mode:
        """What happens on the line. `down` and `html` last; `lose` and `slow` meet the next change that is asked for:
        it is made, and the answer does not come, or comes late."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "down":
            self.stop()
        else:
            self.start()

    # --- what really happened -----------------------------------------------------------------------------------------

    def payments(self, reference: str) -> list[Row]:
        """Return what Recoup made for a payment of its own."""
        rows = self.books.rows["payments"].values()
        return [each for each in rows if each["metadata"].get("recoup_payment") == reference]

    def collected(self, reference: str) -> int:
        """Return what came in for a payment of Recoup's, in minor units, by new payments."""
        return sum(each["amount"] for each in self.payments(reference) if each["status"] in IN)

    def returned(self, reference: str) -> int:
        """Return what went back of it."""
        ids = {each["id"] for each in self.payments(reference)}
        refunds = self.books.rows["refunds"].values()
        return sum(
            each["amount"]
            for each in refunds
            if each["links"]["payment"] in ids and each["status"] in ("created", "paid")
        )

    def settle(self) -> None:
        """Let the banks come to an end with everything that is under way."""
        with self._lock:
            self.books.settle()

    def open_dispute(self, charge_ref: str) -> None:
        """Let the customer take a payment back."""
        with self._lock:
            self.books.open_dispute(charge_ref)

    def fail_refund(self, refund_ref: str) -> None:
        """Let a refund bounce after it was paid."""
        with self._lock:
            self.books.fail_refund(refund_ref)

    def webhooks(self, since: int = 0) -> list[SignedWebhook]:
        """Return a webhook for every event of what happened so far, in order; a webhook keeps its place."""
        return [self.webhook([event]) for event in self.books.events[since:]]

    def webhook(self, events: list[Row], secret: str = SECRET) -> SignedWebhook:
        """Return one webhook of several events; GoCardless sends up to 250 in one."""
        body = json.dumps({"events": events, "meta": {"webhook_id": f"WB{len(events)}"}}).encode()
        signature = hmac_new(secret.encode(), body, "sha256").hexdigest()
        return SignedWebhook({"webhook-signature": signature, "content-type": "application/json"}, body)

    # --- routes -------------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: Mapping[str, str], headers: Any, body: Row) -> Answer | None:
        """Do what is asked; None breaks the connection."""
        if self._mode == "html":
            return 502, b"<html><body><h1>Bad Gateway</h1></body></html>", "text/html"
        if headers.get("Authorization") != f"Bearer {TOKEN}" or not headers.get("GoCardless-Version"):
            return _as_json(401, Refusal(401, "invalid_api_usage", "access_token_not_active").body)
        with self._lock:
            self.sent.append((method, path, body if method == "POST" else dict(query)))
            try:
                done = self._post(path, headers, body) if method == "POST" else self._get(path, query)
                answer = _as_json(201 if method == "POST" else 200, done)
            except Refusal as refusal:
                answer = _as_json(refusal.status, refusal.body)
            mode = self._mode
            if method == "POST" and mode in ("lose", "slow"):
                self._mode = "ok"
        if method == "POST" and mode == "slow":
            time.sleep(self.slow_s)
        return None if method == "POST" and mode == "lose" else answer

    def _post(self, path: str, headers: Any, body: Row) -> Row:
        kind, *rest = path.strip("/").split("/")
        key = headers.get("Idempotency-Key")
        if not key:
            raise Refusal(400, "invalid_api_usage", "the_test_wants_a_key")
        if rest:
            identity, _, action = rest
            if identity not in self.books.rows[kind]:
                raise not_found()
            if (kind, action) != ("payments", "retry"):
                raise not_found()
            return {kind: self.books.retry_payment(identity, body.get("data", {}).get("metadata", {}))}
        if (kind, key) in self._made_by_key:
            raise conflict(self._made_by_key[kind, key])
        row = self._make(kind, body[kind])
        self._made_by_key[kind, key] = row["id"]
        return {kind: row}

    def _make(self, kind: str, body: Row) -> Row:
        if kind == "payments":
            return self.books.create_payment(body)
        if kind == "refunds":
            return self.books.create_refund(body)
        if kind == "billing_requests":
            row = {"id": f"BRQ{len(self._made_by_key)}", "status": "pending", **body}
            self.books.rows[kind][row["id"]] = row
            return row
        if kind == "billing_request_flows":
            request = body["links"]["billing_request"]
            if request not in self.books.rows["billing_requests"]:
                raise not_found()
            page = f"https://pay.gocardless.example/flow/{request}"
            return {"id": f"BRF{len(self._made_by_key)}", "authorisation_url": page, "expires_at": None, **body}
        raise not_found()

    def _get(self, path: str, query: Mapping[str, str]) -> Row:
        kind, *rest = path.strip("/").split("/")
        if kind == "creditors":
            return {"creditors": [{"id": "CR1"}], "meta": {"cursors": {"after": None, "before": None}, "limit": 1}}
        if rest:
            row = self.books.rows.get(kind, {}).get(rest[0])
            if row is None:
                raise not_found()
            return {kind: row}
        return self._page(kind, self._listed(kind, query), query)

    def _listed(self, kind: str, query: Mapping[str, str]) -> list[Row]:
        """Return a list in full, the newest first, and filtered."""
        if kind == "payout_items":
            return list(self.books.items.get(query["payout"], ()))
        rows = self.books.events if kind == "events" else list(self.books.rows[kind].values())
        since = query.get("created_at[gte]")
        fits = [
            each
            for each in rows
            if (since is None or datetime.fromisoformat(each["created_at"]) >= datetime.fromisoformat(since))
            and all(
                each.get("links", {}).get(name) == query[name]
                for name in ("payment", "mandate", "customer")
                if name in query
            )
            and ("resource_type" not in query or each["resource_type"] == query["resource_type"])
            and ("status" not in query or each["status"] in query["status"].split(","))
        ]
        return fits[::-1]

    def _page(self, kind: str, rows: list[Row], query: Mapping[str, str]) -> Row:
        begin = int(query.get("after", "0"))
        limit = min(int(query.get("limit", "50")), self.page_size or 500)
        page = rows[begin : begin + limit]
        after = str(begin + limit) if begin + limit < len(rows) else None
        answer: Row = {kind: page, "meta": {"cursors": {"after": after, "before": None}, "limit": limit}}
        if "include" in query:
            one, many = query["include"], INCLUDES[query["include"]]
            ids = dict.fromkeys(each["links"].get(one) for each in page)
            answer["linked"] = {many: [self.books.rows[many][each] for each in ids if each]}
        return answer


def _as_json(status: int, body: Row) -> Answer:
    return status, json.dumps(body).encode(), "application/json"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def __init__(self, fake: FakeGoCardless, *args: Any) -> None:
        self._fake = fake
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer a look-up."""
        self._serve("GET", {})

    def do_POST(self) -> None:
        """Answer a change."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._serve("POST", json.loads(body or b"{}"))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _serve(self, method: str, body: Row) -> None:
        url = urlsplit(self.path)
        answer = self._fake.answer(method, url.path, dict(parse_qsl(url.query)), self.headers, body)
        self.close_connection = True
        if answer is None:
            return
        status, content, kind = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
