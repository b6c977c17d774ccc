"""The small server for metrics and health."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from recoup_core import health
from recoup_core.health import Check, HealthServer, run_checks


async def fine() -> None:
    """A check that succeeds."""


async def broken() -> None:
    """A check that fails."""
    raise ConnectionError("postgresql://user:hush@host")


@pytest.fixture
def checks() -> dict[str, Check]:
    """The checks of the server under test; a test may change them before it asks."""
    return {"database": fine}


@pytest.fixture
async def client(checks: dict[str, Check]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running server."""
    registry = CollectorRegistry()
    Counter("things", "Counted", registry=registry).inc(3)
    server = HealthServer("127.0.0.1", 0, checks, registry)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as asker:
        yield asker
    await server.stop()


async def test_live_and_ready(client: httpx.AsyncClient) -> None:
    """Live: the loop turns. Ready: everything needed can be reached."""
    assert (await client.get("/health/live")).json() == {"status": "live"}
    assert (await client.get("/health/ready?x=1")).json() == {"status": "ready", "checks": {"database": "ok"}}


@pytest.mark.parametrize("checks", [{"database": fine, "broker": broken}])
async def test_not_ready_says_what_is_missing_but_no_secret(client: httpx.AsyncClient) -> None:
    """The port is open to whoever reaches it, so only the kind of error is told."""
    answer = await client.get("/health/ready")

    assert answer.status_code == 503
    assert answer.json() == {
        "status": "not ready",
        "checks": {"database": "ok", "broker": "failed: ConnectionError"},
    }
    assert (await client.get("/health/live")).status_code == 200


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    """What a scraper expects."""
    answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "things_total 3.0" in answer.text


async def test_other_paths_and_methods_are_refused(client: httpx.AsyncClient) -> None:
    """Nothing else is served here."""
    assert (await client.get("/")).status_code == 404
    assert (await client.post("/metrics")).status_code == 405


@pytest.mark.parametrize("sent", [b"", b"nonsense", b"x" * (health.MAX_REQUEST_BYTES * 2)])
async def test_what_is_no_request_does_no_harm(client: httpx.AsyncClient, sent: bytes) -> None:
    """A port scanner or an endless line gets no answer and takes nothing with it."""
    _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    writer.write(sent)
    writer.close()

    assert (await client.get("/health/live")).status_code == 200


async def test_idle_connections_do_not_lock_us_out(client: httpx.AsyncClient) -> None:
    """More than the allowed number are turned away; those that end make room again."""
    idle = [await asyncio.open_connection("127.0.0.1", client.base_url.port) for _ in range(health.MAX_CONNECTIONS)]
    await asyncio.sleep(0.05)

    with pytest.raises(httpx.HTTPError):
        await client.get("/health/live")
    for _, writer in idle:
        writer.close()
    await asyncio.sleep(0.05)

    assert (await client.get("/health/live")).status_code == 200


async def test_a_check_that_hangs_has_failed() -> None:
    """Readiness itself must answer in time."""

    async def hang() -> None:
        await asyncio.sleep(60)

    started = asyncio.get_running_loop().time()
    results = await run_checks({"a": hang, "b": hang, "c": fine})

    assert results == {"a": "failed: TimeoutError", "b": "failed: TimeoutError", "c": "ok"}
    assert asyncio.get_running_loop().time() - started < health.CHECK_TIMEOUT_S + 1
