"""A proxy in front of a provider, or of a fake of one, that breaks what it is told to break.

    with fault_proxy("http://127.0.0.1:8080") as proxy:
        gateway = my_gateway(base_url=proxy.url)
        proxy.lose_answers()          # the provider does it, and nobody hears of it
        ...
        assert proxy.seen[0].lost

It listens on loopback, speaks HTTP/1.1 towards your plugin, and http or https towards the provider. What it is told
holds for the next calls with a method of `breaks` (POST), in the order in which it was told; everything else passes.
"""

import http.client
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

UPSTREAM_TIMEOUT_S: Final = 10.0
MAX_BODY_BYTES: Final = 64 * 1024 * 1024

HTML: Final = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
GARBAGE: Final = b"\x00\xffgarbage{"

_HOP: Final = frozenset({"host", "connection", "content-length", "accept-encoding", "transfer-encoding"})


class Fault(StrEnum):
    """What becomes of a call."""

    NONE = "none"
    LOSE_REQUEST = "lose_request"
    LOSE_ANSWER = "lose_answer"
    RESET = "reset"
    REPLACE = "replace"
    DELAY = "delay"


class Broken(NamedTuple):
    """One fault to come."""

    fault: Fault
    asked: bool = True
    """Whether the provider hears of the call."""
    status: int = 0
    content_type: str = ""
    body: bytes = b""
    seconds: float = 0.0


class Sent(NamedTuple):
    """One request that came by, and what became of it."""

    method: str
    path: str
    key: str | None
    """Its `Idempotency-Key`."""
    body: bytes
    status: int | None
    """The provider's answer; None if the request never got there."""
    lost: bool
    """Whether the answer did not come back as it was."""


class FaultProxy:
    """Forwards everything; what it is told to break is broken. Safe to use from any thread."""

    def __init__(self, upstream: str, breaks: Sequence[str] = ("POST",)) -> None:
        self.upstream = urlsplit(upstream)
        self.breaks = frozenset(breaks)
        self.seen: list[Sent] = []
        self._faults: deque[Broken] = deque()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: _Handler(self, *args))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def lose_answers(self, times: int = 1) -> None:
        """Let the provider do what is asked for, and close the connection instead of answering."""
        self._tell(Broken(Fault.LOSE_ANSWER), times)

    def lose_requests(self, times: int = 1) -> None:
        """Close the connection before the provider hears of it: nobody knows that it did not."""
        self._tell(Broken(Fault.LOSE_REQUEST, asked=False), times)

    def reset(self, times: int = 1, *, asked: bool = True) -> None:
        """Reset the connection (TCP RST) instead of answering."""
        self._tell(Broken(Fault.RESET, asked), times)

    def answer_garbage(self, times: int = 1, *, asked: bool = True) -> None:
        """Answer 200 with bytes that are no JSON."""
        self._tell(Broken(Fault.REPLACE, asked, 200, "application/json", GARBAGE), times)

    def answer_html(self, times: int = 1, *, status: int = 502, asked: bool = True) -> None:
        """Answer with the error page of something in between."""
        self._tell(Broken(Fault.REPLACE, asked, status, "text/html", HTML), times)

    def answer_status(
        self,
        status: int,
        times: int = 1,
        *,
        body: bytes = b"{}",
        content_type: str = "application/json",
        asked: bool = False,
    ) -> None:
        """Answer with a status and body of your choice, by default without asking the provider."""
        self._tell(Broken(Fault.REPLACE, asked, status, content_type, body), times)

    def delay(self, seconds: float, times: int = 1) -> None:
        """Answer as the provider does, but so much later."""
        self._tell(Broken(Fault.DELAY, seconds=seconds), times)

    def mend(self) -> None:
        """Break nothing any more."""
        with self._lock:
            self._faults.clear()

    def stop(self) -> None:
        """Refuse connections from now on; calls that are being delayed are dropped."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def fault_of(self, method: str) -> Broken:
        """Return what becomes of a call, once."""
        with self._lock:
            if method in self.breaks and self._faults:
                return self._faults.popleft()
        return Broken(Fault.NONE)

    def wait(self, seconds: float) -> bool:
        """Wait on behalf of a delayed call; true when the proxy was stopped meanwhile."""
        return self._stopped.wait(seconds)

    def forward(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, bytes]:
        """Ask the provider; status, content type and body of its answer."""
        secure = self.upstream.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        link = kind(self.upstream.hostname or "", self.upstream.port, timeout=UPSTREAM_TIMEOUT_S)
        try:
            link.request(method, self.upstream.path.rstrip("/") + path, body or None, dict(headers))
            answer = link.getresponse()
            return answer.status, answer.getheader("Content-Type") or "application/json", answer.read()
        finally:
            link.close()

    def _tell(self, broken: Broken, times: int) -> None:
        with self._lock:
            self._faults.extend([broken] * times)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: FaultProxy, *args: Any) -> None:
        self.proxy = proxy
        super().__init__(*args)

    def pass_on(self) -> None:
        """Every method takes the same way."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BODY_BYTES))
        told = self.proxy.fault_of(self.command)
        status, content_type, answer = self._asked(body) if told.asked else (None, "", b"")
        lost = status is None or told.fault not in (Fault.NONE, Fault.DELAY)
        key = self.headers.get("Idempotency-Key")
        self.proxy.seen.append(Sent(self.command, self.path, key, body, status, lost))
        match told.fault:
            case Fault.REPLACE:
                self._answer(told.status, told.content_type, told.body)
            case Fault.DELAY if self.proxy.wait(told.seconds):
                self._drop()
            case Fault.NONE | Fault.DELAY if status is not None:
                self._answer(status, content_type, answer)
            case _:
                self._drop(reset=told.fault is Fault.RESET)

    # What BaseHTTPRequestHandler looks for
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = pass_on  # noqa: N815

    def _asked(self, body: bytes) -> tuple[int | None, str, bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        try:
            return self.proxy.forward(self.command, self.path, body, headers)
        except (OSError, http.client.HTTPException):  # the provider is away: then so is the answer
            return None, "", b""

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

    def _drop(self, *, reset: bool = False) -> None:
        self.close_connection = True
        with suppress(OSError):
            if (
                reset
            ):  # closing with a linger time of zero sends RST instead of FIN; the server must not shut it down first
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
            else:
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        """Tests are quiet."""


@contextmanager
def fault_proxy(upstream: str, breaks: Sequence[str] = ("POST",)) -> Iterator[FaultProxy]:
    """Run a proxy in front of the address for a while."""
    proxy = FaultProxy(upstream, breaks)
    try:
        yield proxy
    finally:
        proxy.stop()
