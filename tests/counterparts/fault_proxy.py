"""A proxy in front of a counterpart that loses what it is told to lose: the answer, or the request itself."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

UPSTREAM_TIMEOUT_S = 10.0


class Sent(NamedTuple):
    """One request that came by, and what became of it."""

    method: str
    path: str
    key: str | None
    body: bytes
    status: int | None
    """The upstream's answer; None if the request never got there."""
    lost: bool


class FaultProxy:
    """Forwards everything; POSTs are lost as often as told."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.seen: list[Sent] = []
        self._answers, self._requests = 0, 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: _Handler(self, *args))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def lose_answers(self, times: int = 1) -> None:
        """Let the upstream do what the next POSTs ask for, and break the connection instead of answering."""
        self._answers = times

    def lose_requests(self, times: int = 1) -> None:
        """Break the connection of the next POSTs before the upstream hears of them."""
        self._requests = times

    def fate(self, method: str) -> str:
        """Decide what becomes of a request."""
        with self._lock:
            if method == "POST" and self._requests:
                self._requests -= 1
                return "request lost"
            if method == "POST" and self._answers:
                self._answers -= 1
                return "answer lost"
        return "answered"

    def forward(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Ask the upstream."""
        link = http.client.HTTPConnection(self.upstream.hostname or "", self.upstream.port, timeout=UPSTREAM_TIMEOUT_S)
        try:
            link.request(method, path, body, headers)
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: FaultProxy, *args: Any) -> None:
        self.proxy = proxy
        super().__init__(*args)

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _pass_on(self, body: bytes) -> None:
        fate, status, answer = self.proxy.fate(self.command), None, b""
        if fate != "request lost":
            dropped = {"host", "connection", "content-length", "accept-encoding"}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            status, answer = self.proxy.forward(self.command, self.path, body, headers)
        key = self.headers.get("Idempotency-Key")
        self.proxy.seen.append(Sent(self.command, self.path, key, body, status, fate != "answered"))
        if fate != "answered" or status is None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        with suppress(BrokenPipeError, ConnectionResetError):
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        """Tests are quiet."""


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of the address for a while."""
    proxy = FaultProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.stop()
