"""The HTTP API of one service: `create_app` makes it, `run_api` serves it until told to stop."""

import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import starmap
from types import MappingProxyType
from typing import Any, Final

import uvicorn
from litestar import Litestar, Router, asgi
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from recoup_core.settings import Settings
from recoup_core.wiring import Service
from recoup_server.auth import KeyRing, caller_of
from recoup_server.edge import Api
from recoup_server.errors import answer_error
from recoup_server.openapi import openapi_config
from recoup_server.pages import make_router
from recoup_server.reading import MAX_BODY
from recoup_server.routes import (
    approvals,
    attempts,
    cases,
    credentials,
    customers,
    delegations,
    disputes,
    events,
    events_stream,
    gateways,
    health,
    inbound,
    keys,
    ledger,
    messages,
    notifiers,
    payments,
    policies,
    policy_diff,
    policy_lab,
    policy_schema,
    refund_reads,
    refunds,
    settlements,
    simulation,
    staff,
    subscription_requests,
    tasks,
    templates,
    trials,
    upcoming,
    versions,
    webhook_deliveries,
    webhook_endpoints,
    webhooks,
)
from recoup_server.routes.gateways import HealthBoard
from recoup_server.routes.notifiers import NotifierBoard
from recoup_server.stream import Hub

PREFIX: Final = "/api/billing/refund-retry-workflows"

SHUTDOWN_S: Final = 3
"""How long requests under way may take once a stop was asked for, in seconds; then they are cut off."""

COULD_NOT_START: Final = 3
"""uvicorn's own exit code."""

CONNECTIONS_MAX: Final = 1_000
"""Requests and connections one process holds; more are answered 503 at once."""

_RESOURCES: Final = (
    payments,
    cases,
    credentials,
    attempts,
    refunds,
    refund_reads,
    approvals,
    delegations,
    disputes,
    ledger,
    settlements,
    subscription_requests,
    upcoming,
    customers,
    messages,
    tasks,
    events,
    events_stream,
    staff,
    gateways,
    notifiers,
    policies,
    templates,
    policy_schema,
    policy_lab,
    policy_diff,
    simulation,
    versions,
    trials,
    webhooks,
    webhook_deliveries,
    webhook_endpoints,
    inbound,
    keys,
)


def create_app(service: Service, mounts: Mapping[str, ASGIApp] = MappingProxyType({})) -> Litestar:
    """Return the ASGI application of a service; it opens the service when it starts, unless that is open already.

    `mounts`: other applications by the path they are served under, such as the sandbox's own pages in a demo.
    """
    board, hub = HealthBoard(service), Hub(service.database)
    resources = Router(PREFIX, route_handlers=[handler for room in _RESOURCES for handler in room.HANDLERS])
    return Api(
        route_handlers=[resources, make_router(), *health.HANDLERS, *starmap(_mounted, mounts.items())],
        dependencies={
            "service": _provides(service),
            "board": _provides(board),
            "notifier_board": _provides(NotifierBoard(service)),
            "caller": Provide(caller_of, sync_to_thread=False),
        },
        state=State({"keys": KeyRing(service.database, service.clock), "hub": hub}),
        lifespan=[_opened(service), lambda _: hub.running()],
        exception_handlers={Exception: answer_error},
        openapi_config=openapi_config(),
        request_max_body_size=MAX_BODY,
        logging_config=None,
    )


def run_api(service: Service, settings: Settings, mounts: Mapping[str, ASGIApp] = MappingProxyType({})) -> None:
    """Serve until SIGINT or SIGTERM, then return; requests under way may end, new ones are not taken."""
    with _term_is_no_death():
        app = create_app(service, mounts)
        config = uvicorn.Config(
            app,
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
        server = _Draining(config, app.state["hub"])
        with suppress(KeyboardInterrupt):
            server.run()
    if not server.started:
        sys.exit(COULD_NOT_START)


class _Draining(uvicorn.Server):
    """Ends live streams before it waits for requests to end: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop taking requests and wait for those under way."""
        self._hub.close()
        await super().shutdown(sockets)


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


def _mounted(path: str, application: ASGIApp) -> ASGIRouteHandler:
    @asgi(path, is_mount=True, copy_scope=True)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await application(scope, receive, send)

    return mounted


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
