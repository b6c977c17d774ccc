"""The proxy that plugin authors break their provider with breaks exactly what it is told to."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from recoup_plugins.testing.fault_proxy import FaultProxy, fault_proxy


class Upstream(ThreadingHTTPServer):
    """A provider that keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.asked: list[tuple[str, str, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        assert isinstance(self.server, Upstream)
        self.server.asked.append((self.command, self.path, body))
        answer = json.dumps({"key": self.headers.get("Idempotency-Key")}).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT = do_GET  # noqa: N815 # what BaseHTTPRequestHandler looks for

    def log_message(self, *args: Any) -> None:
        """Tests are quiet."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[FaultProxy]:
    with fault_proxy(upstream.url) as running:
        yield running


def post(proxy: FaultProxy, key: str = "k") -> httpx.Response:
    return httpx.post(f"{proxy.url}/v1/charges", json={"a": 1}, headers={"Idempotency-Key": key}, timeout=10)


def test_what_is_not_told_to_break_passes(proxy: FaultProxy, upstream: Upstream) -> None:
    """Method, path, body, headers and answer arrive as they were, and are noted."""
    answer = post(proxy)

    assert (answer.status_code, answer.json()) == (201, {"key": "k"})
    assert upstream.asked == [("POST", "/v1/charges", b'{"a":1}')]
    (seen,) = proxy.seen
    assert (seen.method, seen.path, seen.key, seen.status, seen.lost) == ("POST", "/v1/charges", "k", 201, False)


@pytest.mark.parametrize(
    ("tell", "asked"),
    [
        (lambda proxy: proxy.lose_answers(), True),
        (lambda proxy: proxy.lose_requests(), False),
        (lambda proxy: proxy.reset(), True),
        (lambda proxy: proxy.reset(asked=False), False),
    ],
)
def test_an_answer_that_never_comes(
    tell: Callable[[FaultProxy], None], asked: bool, proxy: FaultProxy, upstream: Upstream
) -> None:
    """The client can't tell whether the provider heard of it; the next call goes through."""
    tell(proxy)

    with pytest.raises(httpx.TransportError):
        post(proxy)

    assert bool(upstream.asked) == asked
    assert proxy.seen[0].lost
    assert post(proxy).status_code == 201


def test_a_reset_is_a_reset(proxy: FaultProxy) -> None:
    """Clients treat it otherwise than an end of the connection."""
    proxy.reset()

    with pytest.raises(httpx.ReadError):
        post(proxy)


@pytest.mark.parametrize(
    ("tell", "status", "content_type", "asked"),
    [
        (lambda proxy: proxy.answer_garbage(), 200, "application/json", True),
        (lambda proxy: proxy.answer_html(), 502, "text/html", True),
        (lambda proxy: proxy.answer_html(status=200, asked=False), 200, "text/html", False),
        (lambda proxy: proxy.answer_status(429), 429, "application/json", False),
    ],
)
def test_an_answer_of_somebody_else(
    tell: Callable[[FaultProxy], None],
    status: int,
    content_type: str,
    asked: bool,
    proxy: FaultProxy,
    upstream: Upstream,
) -> None:
    """A proxy in between, or a provider in trouble, says something that the provider did not mean."""
    tell(proxy)

    answer = post(proxy)

    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert bool(upstream.asked) == asked


def test_faults_come_in_order_and_only_to_the_methods_named(proxy: FaultProxy) -> None:
    """A look-up is not what is broken, unless told."""
    proxy.answer_status(500, times=2)
    proxy.answer_status(429)

    reads = httpx.get(f"{proxy.url}/v1/charges").status_code
    told = [post(proxy).status_code for _ in range(4)]

    assert (reads, told) == (201, [500, 500, 429, 201])


def test_mended_is_mended(proxy: FaultProxy) -> None:
    """What was told and did not happen yet is forgotten."""
    proxy.lose_answers(5)

    proxy.mend()

    assert post(proxy).status_code == 201


def test_a_delayed_answer_outlasts_the_client(proxy: FaultProxy, upstream: Upstream) -> None:
    """The provider did it; the client has gone."""
    proxy.delay(600)

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{proxy.url}/v1/charges", timeout=0.5)

    assert upstream.asked


def test_a_stopped_proxy_refuses_connections(proxy: FaultProxy) -> None:
    """What a provider out of reach looks like."""
    proxy.stop()

    with pytest.raises(httpx.ConnectError):
        post(proxy)


def test_a_provider_that_is_away_is_a_closed_connection(proxy: FaultProxy, upstream: Upstream) -> None:
    """The proxy invents no answer."""
    upstream.shutdown()
    upstream.server_close()

    with pytest.raises(httpx.TransportError):
        post(proxy)

    assert proxy.seen[0].lost
