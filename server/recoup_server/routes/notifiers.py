"""Notifiers: by what customers and staff are reached, and what providers tell of it later."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from recoup_core.flows.messaging import Messaging, Route
from recoup_core.flows.notifier_feedback import receive_feedback
from recoup_core.ports import Notifier
from recoup_core.telemetry import get_logger
from recoup_core.wiring import Service
from recoup_server.auth import READS, Caller
from recoup_server.openapi import BEARER, LISTS, PUBLIC, takes
from recoup_server.schemas_notifiers import FeedbackOut, NotifierList, NotifierOut

CHECK_TIMEOUT_S: Final = 5.0
CHECK_KEPT: Final = timedelta(seconds=60)
"""How long a check's result is told before the provider is asked again: a relay counts log-ins."""

log = get_logger(__name__)


class NotifierBoard:
    """The last check of each notifier; asked by many, a provider is still asked only once at a time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._told: dict[str, tuple[str | None, datetime]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def of(self, merchant_id: str) -> list[NotifierOut]:
        """Return the notifiers that serve a merchant, by name, all checked at once."""
        messaging = self._service.context.messaging
        known = sorted(_serving(messaging, merchant_id), key=lambda route: route.notifier)
        return list(await asyncio.gather(*(self._one(messaging.notifiers[one.notifier], one) for one in known)))

    async def _one(self, notifier: Notifier, route: Route) -> NotifierOut:
        async with self._locks.setdefault(notifier.name, asyncio.Lock()):
            now = self._service.clock.now()
            trouble, checked_at = self._told.get(notifier.name, (None, None))
            if checked_at is None or abs(now - checked_at) >= CHECK_KEPT:
                trouble, checked_at = self._told[notifier.name] = await _check(notifier), now
        can = notifier.capabilities
        return NotifierOut(
            name=notifier.name,
            channels=sorted(route.channels),
            customers=route.customers,
            deduplicates=can.deduplicates,
            html=can.html,
            feedback=can.feedback,
            health="ok" if trouble is None else "failing",
            trouble=trouble,
            checked_at=checked_at,
        )


def _serving(messaging: Messaging, merchant_id: str) -> list[Route]:
    """Return the merchant's own notifiers, the house's, and those by which its staff is told."""
    staff = {reader.notifier for reader in messaging.staff if reader.merchant == merchant_id}
    serving = [route for route in messaging.routes if route.merchant == merchant_id or route.notifier in staff]
    house = [route for route in messaging.routes if route.merchant is None and route.customers]
    return list({route.notifier: route for route in (*house, *serving)}.values())


async def _check(notifier: Notifier) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await notifier.health()
    except Exception as failure:  # a plugin is foreign code: whatever it raises means that it is not well
        log.warning("notifier_failing", notifier=notifier.name, kind=type(failure).__name__)
        return type(failure).__name__
    return None


@get(
    "/notifiers",
    operation_id="listNotifiers",
    summary="List notifiers and their health",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["notifiers"],
)
async def get_notifiers(
    notifier_board: NamedDependency[NotifierBoard], caller: NamedDependency[Caller]
) -> NotifierList:
    """Return what reaches the merchant's customers and staff; each is asked how it is, at most once a minute."""
    return NotifierList(items=await notifier_board.of(caller.merchant_id))


@post(
    "/notifier-feedback/{notifier:str}",
    status_code=200,
    operation_id="receiveNotifierFeedback",
    summary="Take what a message provider tells",
    responses=PUBLIC,
    security=[{}],
    tags=["notifiers"],
    opt=takes(bytes),
)
async def post_feedback(
    request: Request[Any, Any, Any], body: RawBody, service: NamedDependency[Service], notifier: FromPath[str]
) -> FeedbackOut:
    """Verify and apply bounces, complaints and deliveries; answered once they are applied.

    No API key: the provider's own signature, as the notifier's `feedback` option says. Sent again it changes nothing.
    """
    headers = dict(request.headers.items())  # names come in lower case, as ASGI has them
    return FeedbackOut(told=await receive_feedback(service.context, notifier, headers, body))


HANDLERS = (get_notifiers, post_feedback)
