"""Gateways: what each can do and how it is."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from litestar import get
from litestar.di import NamedDependency

from recoup_core.flows.context import GatewayRules
from recoup_core.ports import Gateway
from recoup_core.storage.feeds import Feed, feeds_of
from recoup_core.telemetry import get_logger
from recoup_core.wiring import Service
from recoup_server.auth import READS, Caller
from recoup_server.openapi import BEARER, LISTS
from recoup_server.schemas_out import CatchUpOut, GatewayList, GatewayOut

CHECK_TIMEOUT_S: Final = 5.0
"""The contract's own limit for `health`."""
CHECK_KEPT: Final = timedelta(seconds=10)
"""How long a check's result is told before the provider is asked again."""

log = get_logger(__name__)


class HealthBoard:
    """The last check of each gateway; asked by many, a provider is still asked only once at a time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._told: dict[str, GatewayOut] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def of(self, merchant_id: str) -> list[GatewayOut]:
        """Return the merchant's gateways by name, all checked at once."""
        context = self._service.context
        names = sorted(name for name, owner in context.gateway_merchants.items() if owner == merchant_id)
        known = [context.gateways[name] for name in names if name in context.gateways]
        told = await asyncio.gather(*(self._one(gateway) for gateway in known))
        return await self._with_feeds(told)

    async def _with_feeds(self, told: Sequence[GatewayOut]) -> list[GatewayOut]:
        """Add how far each was caught up with, as of now."""
        now = self._service.clock.now()
        feeds = await feeds_of(self._service.database, [each.name for each in told])
        return [
            msgspec.structs.replace(each, catches_up=_catches_up(feeds[each.name], now)) if each.name in feeds else each
            for each in told
        ]

    async def _one(self, gateway: Gateway) -> GatewayOut:
        async with self._locks.setdefault(gateway.name, asyncio.Lock()):
            now = self._service.clock.now()
            told = self._told.get(gateway.name)
            if told is None or abs(now - told.checked_at) >= CHECK_KEPT:
                rules = self._service.context.rules_of(gateway.name)
                told = self._told[gateway.name] = await _check(gateway, rules, now)
            return told


async def _check(gateway: Gateway, rules: GatewayRules, now: datetime) -> GatewayOut:
    trouble: str | None = None
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await gateway.health()
    except Exception as failure:  # a plugin is foreign code: whatever it raises means that it is not well
        trouble = type(failure).__name__
        log.warning("gateway_failing", gateway=gateway.name, error=str(failure), kind=trouble)
    can = gateway.capabilities
    return GatewayOut(
        name=gateway.name,
        methods=sorted(can.methods),
        finds_charges=can.finds_charges,
        key_lifetime_s=int(can.key_lifetime.total_seconds()),
        can=sorted(name for name in can.__struct_fields__ if getattr(can, name) is True),
        retries_by=rules.retries_by,
        health="ok" if trouble is None else "failing",
        trouble=trouble,
        checked_at=now,
        catches_up=None,
    )


def _catches_up(feed: Feed, now: datetime) -> CatchUpOut:
    lag_s = max(0, int((now - feed.reached_at).total_seconds()))
    return CatchUpOut(reached_at=feed.reached_at, lag_s=lag_s, trouble=feed.trouble)


@get(
    "/gateways",
    operation_id="listGateways",
    summary="List gateways and their health",
    guards=[READS],
    responses=LISTS,
    security=BEARER,
    tags=["gateways"],
)
async def get_gateways(board: NamedDependency[HealthBoard], caller: NamedDependency[Caller]) -> GatewayList:
    """Return the merchant's gateway accounts; each is asked how it is, at most every ten seconds."""
    return GatewayList(items=await board.of(caller.merchant_id))


HANDLERS = (get_gateways,)
