"""The HTTP API of one service: `create_app` makes it, `run_api` serves it until told to stop."""

import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import uvicorn
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide

from recoup_core.settings import Settings
from recoup_core.wiring import Service
from recoup_server.auth import KeyRing, caller_of
from recoup_server.edge import Api
from recoup_server.errors import answer_error
from recoup_server.openapi import openapi_config
from recoup_server.reading import MAX_BODY
from recoup_server.routes import (
    approvals,
    attempts,
    cases,
    delegations,
    disputes,
    events,
    gateways,
    health,
    keys,
    ledger,
    payments,
    policies,
    policy_diff,
    policy_lab,
    policy_schema,
    refund_reads,
    refunds,
    simulation,
    tasks,
    trials,
    versions,
    webhooks,
)
from recoup_server.routes.gateways import HealthBoard

PREFIX: Final = "/api/billing/refund-retry-workflows"

SHUTDOWN_S: Final = 3
"""How long requests under way may take once a stop was asked for, in seconds; then they are cut off."""

CONNECTIONS_MAX: Final = 1_000
"""Requests and connections one process holds; more are answered 503 at once."""

_RESOURCES: Final = (
    payments,
    cases,
    attempts,
    refunds,
    refund_reads,
    approvals,
    delegations,
    disputes,
    ledger,
    tasks,
    events,
    gateways,
    policies,
    policy_schema,
    policy_lab,
    policy_diff,
    simulation,
    versions,
    trials,
    webhooks,
    keys,
)


def create_app(service: Service) -> Litestar:
    """Return the ASGI application of a service; it opens the service when it starts, unless that is open already."""
    board = HealthBoard(service)
    resources = Router(PREFIX, route_handlers=[handler for room in _RESOURCES for handler in room.HANDLERS])
    return Api(
        route_handlers=[resources, *health.HANDLERS],
        dependencies={
            "service": _provides(service),
            "board": _provides(board),
            "caller": Provide(caller_of, sync_to_thread=False),
        },
        state=State({"keys": KeyRing(service.database, service.clock)}),
        lifespan=[_opened(service)],
        exception_handlers={Exception: answer_error},
        openapi_config=openapi_config(),
        request_max_body_size=MAX_BODY,
        logging_config=None,
    )


def run_api(service: Service, settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, then return; requests under way may end, new ones are not taken."""
    with _term_is_no_death():
        uvicorn.run(
            create_app(service),
            host=settings.api.host,
            port=settings.api.port,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )


@contextmanager
def _term_is_no_death() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more when it is done, and the default of SIGTERM is to die."""
    if threading.current_thread() is not threading.main_thread():  # signals are somebody else's there
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _provides(thing: Any) -> Provide:
    return Provide(lambda: thing, sync_to_thread=False)


def _opened(service: Service) -> Any:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if service.database.engine.pool is not None:  # somebody else's to open and close
            yield
            return
        await service.open()
        try:
            yield
        finally:
            await service.close()

    return lifespan
