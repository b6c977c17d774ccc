"""`/metrics`, `/health/live` and `/health/ready` for processes that serve nothing else.

Every wait is bounded; a request is one line that is read and one answer, then the connection is closed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from recoup_core.telemetry import get_logger

CHECK_TIMEOUT_S: Final = 3.0
"""A check that takes longer has failed."""
REQUEST_TIMEOUT_S: Final = 5.0
MAX_REQUEST_BYTES: Final = 8 * 1024
MAX_CONNECTIONS: Final = 32

Check = Callable[[], Awaitable[None]]
"""Returns when what it looks at is usable, raises otherwise."""

log = get_logger(__name__)


class Answer(msgspec.Struct, frozen=True):
    """What is sent back."""

    status: str
    body: bytes
    content_type: str = "application/json"


async def run_checks(checks: Mapping[str, Check]) -> dict[str, str]:
    """Run all checks at once; each is `ok`, or `failed` with the kind of error (details go to the log only)."""
    results = await asyncio.gather(*(_run(name, check) for name, check in checks.items()))
    return dict(zip(checks, results, strict=True))


async def _run(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check()
    except Exception as failure:
        log.warning("a health check failed", check=name, error=str(failure), kind=type(failure).__name__)
        return f"failed: {type(failure).__name__}"
    return "ok"


class HealthServer:
    """Answers on one port from the loop it was started on; a loop that hangs can't answer, which is the point."""

    def __init__(self, host: str, port: int, checks: Mapping[str, Check], registry: CollectorRegistry) -> None:
        self.host, self.port = host, port
        self._checks = dict(checks)
        self._registry = registry
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def start(self) -> None:
        """Listen; port 0 becomes the port that the system chose. Raises `OSError` when the port is taken."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=MAX_REQUEST_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening; answers under way end by their own time limits."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_encode(await self._answer(request)))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a caller that is slow, gone or no HTTP client gets no answer
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, request: bytes) -> Answer:
        method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method != b"GET":
            return Answer("405 Method Not Allowed", b"{}")
        if path == b"/metrics":
            return Answer("200 OK", generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4)
        if path == b"/health/live":
            return Answer("200 OK", b'{"status":"live"}')
        if path == b"/health/ready":
            results = await run_checks(self._checks)
            ready = all(result == "ok" for result in results.values())
            body = msgspec.json.encode({"status": "ready" if ready else "not ready", "checks": results})
            return Answer("200 OK" if ready else "503 Service Unavailable", body)
        return Answer("404 Not Found", b"{}")


def _encode(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + answer.body
