"""Health and metrics, for whatever runs this process; outside the API and its document."""

from typing import Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from recoup_core.health import run_checks
from recoup_core.telemetry import metrics
from recoup_core.wiring import Service

HIDDEN: Final[dict[str, Any]] = {"include_in_schema": False}


@get("/health/live", **HIDDEN)
async def get_live() -> dict[str, str]:
    """Answer as long as the event loop turns."""
    return {"status": "live"}


@get("/health/ready", **HIDDEN)
async def get_ready(service: NamedDependency[Service]) -> Response[dict[str, Any]]:
    """Answer 200 while the database can be used through the pool, else 503."""

    async def database() -> None:
        async with service.database.connection() as connection:
            await connection.fetchval("SELECT 1")

    checks = await run_checks({"database": database})
    ready = all(result == "ok" for result in checks.values())
    told = {"status": "ready" if ready else "not ready", "checks": checks}
    return Response(told, status_code=200 if ready else 503)


@get("/metrics", media_type=CONTENT_TYPE_PLAIN_0_0_4, **HIDDEN)
async def get_metrics(service: NamedDependency[Service]) -> Response[bytes]:
    """Return this process's metrics for Prometheus."""
    found = metrics()
    pool = service.database.engine.pool
    if pool is not None:
        found.db_pool.labels("open").set(pool.get_size())
        found.db_pool.labels("idle").set(pool.get_idle_size())
    return Response(generate_latest(found.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


HANDLERS = (get_live, get_ready, get_metrics)
