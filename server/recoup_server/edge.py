"""Around every request, found or not: a correlation id, one log line, metrics, safe headers, and no card numbers."""

import re
import time
from typing import Any, Final
from uuid import uuid4

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import HTTPScope, Message, Receive, Send

from recoup_core.domain.cardnumbers import holds_card_number
from recoup_core.telemetry import bind_correlation, get_logger, metrics
from recoup_server.auth import Caller
from recoup_server.errors import PROBLEM_JSON, problem_body, problem_of
from recoup_server.reading import refused_address

CORRELATION: Final = b"x-correlation-id"
_CORRELATION_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS: Final = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
"""Anybody can make up a method; metrics count the rest as `OTHER`."""

UNMATCHED: Final = "unmatched"
"""The route of requests that belong to none."""

SAFE_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""Put on every answer that does not say otherwise itself."""

log = get_logger(__name__)


class Api(Litestar):
    """Litestar with our edge around it: unlike a middleware it also sees what no route takes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] != ScopeType.HTTP:
            await super().__call__(scope, receive, send)
            return
        await _serve(super().__call__, scope, receive, send)


async def _serve(app: Any, scope: HTTPScope, receive: Receive, send: Send) -> None:
    headers = dict(scope["headers"])
    correlation_id = _correlation(headers.get(CORRELATION, b"").decode("latin-1"))
    started = time.perf_counter()
    status = 500

    async def send_on(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            message["headers"] = _with_ours(message["headers"], correlation_id)
        await send(message)

    with bind_correlation(correlation_id):
        try:
            key = headers.get(b"idempotency-key", b"").decode("latin-1")
            refusal = refused_address(scope["raw_path"] or scope["path"].encode(), scope["query_string"], key)
            if refusal is not None:
                await _refuse(refusal, send_on)
            else:
                await app(scope, receive, send_on)
        finally:
            _tell(scope, status, time.perf_counter() - started)


async def _refuse(refusal: Exception, send: Send) -> None:
    problem, _ = problem_of(refusal)
    headers = [(b"content-type", PROBLEM_JSON.encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": problem_body(problem), "more_body": False})


def _correlation(given: str) -> str:
    """Take a sound id, or make one; what can't be one is replaced rather than refused: it is only for logs."""
    if _CORRELATION_ID.fullmatch(given) and not holds_card_number(given):
        return given
    return str(uuid4())


def _with_ours(headers: Any, correlation_id: str) -> list[tuple[bytes, bytes]]:
    own = list(headers)
    said = {name.lower() for name, _ in own}
    return [*own, *(pair for pair in SAFE_HEADERS if pair[0] not in said), (CORRELATION, correlation_id.encode())]


def _tell(scope: HTTPScope, status: int, seconds: float) -> None:
    """One log line and two metrics; by the route's template, since a path or a query may hold what no log should."""
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    route = scope.get("path_template") or UNMATCHED
    caller = scope.get("auth")
    log.info(
        "request",
        method=method,
        route=route,
        status=status,
        ms=round(seconds * 1000, 1),
        **({"principal": caller.principal, "merchant": caller.merchant_id} if isinstance(caller, Caller) else {}),
    )
    counted = metrics()
    counted.http_requests.labels(method, route, str(status)).inc()
    counted.http_request_seconds.labels(method, route).observe(seconds)
