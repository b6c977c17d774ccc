"""What surrounds every request: correlation, headers, limits, card numbers, metrics, health, a lost database."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import structlog
from httpx import ASGITransport, AsyncClient

from recoup_core.domain.errors import DomainError, UnbalancedEntry
from recoup_core.rules.language.errors import NoPolicyApplies
from recoup_core.storage.transaction import CommitUnknown
from recoup_core.wiring import Service
from recoup_server.app import PREFIX, create_app
from recoup_server.errors import STATUSES, problem_of

Report = Callable[..., Awaitable[dict[str, Any]]]


async def test_a_correlation_id_goes_all_the_way(api: Any, a_payment: Any) -> None:
    """From the caller's header to the answer and the stored events."""
    answer = await api.post("/payments", a_payment(), **{"X-Correlation-ID": "order-4711"})

    assert answer.headers["x-correlation-id"] == "order-4711"
    events = (await api.get("/events", case=answer.json()["case"]["id"])).json()["items"]
    assert {event["correlation_id"] for event in events} == {"order-4711"}


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "<script>", "4111111111111111"])
async def test_an_unsound_correlation_id_is_replaced(client: AsyncClient, given: str) -> None:
    """It is only for logs: what can't stand there is made anew, never refused and never repeated."""
    answer = await client.get("/health/live", headers={"X-Correlation-ID": given})

    assert answer.status_code == 200
    assert UUID(answer.headers["x-correlation-id"])


async def test_a_problem_carries_the_correlation_id(client: AsyncClient) -> None:
    """Whoever asks for help can name the request."""
    answer = await client.get(f"{PREFIX}/payments", headers={"X-Correlation-ID": "help-me"})

    problem = answer.json()
    assert problem["correlation_id"] == "help-me"
    assert problem["type"] == "urn:recoup:problem:unauthorized"
    assert problem["status"] == 401
    assert problem["title"]
    assert problem["detail"]


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", f"{PREFIX}/payments", "/metrics"])
async def test_every_answer_has_safe_headers(client: AsyncClient, path: str) -> None:
    """Found or not."""
    answer = await client.get(path)

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-correlation-id"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", f"{PREFIX}/payments/not-a-uuid", 404, "not_found"),
        ("PUT", f"{PREFIX}/payments", 405, "method_not_allowed"),
        ("BREW", f"{PREFIX}/payments", 405, "method_not_allowed"),
    ],
)
async def test_what_no_route_takes_is_a_problem(
    client: AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """The framework's own refusals look like ours."""
    answer = await client.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/payments?customer=4111111111111111",
        "/payments?reference=4111-1111-1111-1111",
        "/payments?customer=4111+1111+1111+1111",
        "/payments?%34111111111111111=x",
        "/payments/4111111111111111",
        "/payments?customer=a%00b",
    ],
)
async def test_an_address_holds_no_card_number_and_no_nul(api: Any, path: str) -> None:
    """Addresses end up in other people's logs; in ours they never do."""
    with structlog.testing.capture_logs() as lines:
        answer = await api.client.get(PREFIX + path, headers={"Authorization": f"Bearer {api.secret}"})

    assert answer.status_code == 400
    assert answer.json()["code"] in ("card_number_refused", "invalid_request")
    assert "4111" not in answer.text
    assert "1111" not in str(lines)


async def test_one_line_is_logged_per_request(api: Any) -> None:
    """By the route's template; neither the query nor the key is in it."""
    with structlog.testing.capture_logs() as lines:
        await api.get("/payments", customer="somebody-private")

    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["route"] == f"{PREFIX}/payments"
    assert (line["method"], line["status"], line["principal"]) == ("GET", 200, "tester-admin")
    assert "somebody-private" not in str(lines)
    assert api.secret not in str(lines)


@pytest.mark.parametrize("path", ["/payments", "/policies/check", "/webhooks/sandbox", "/api-keys"])
async def test_a_body_has_a_limit(api: Any, path: str) -> None:
    """1 MiB, on every route."""
    answer = await api.post(path, b" " * (1024 * 1024 + 1))

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_metrics_are_counted_by_template(api: Any, client: AsyncClient, report: Report) -> None:
    """Ids and made-up methods never become labels."""
    opened = await report()
    await api.get(f"/payments/{opened['payment']['id']}")
    await client.request("BREW", "/nowhere")

    text = (await client.get("/metrics")).text

    assert f'route="{PREFIX}/payments/{{payment_id}}",status="200"' in text
    assert opened["payment"]["id"] not in text
    assert "BREW" not in text
    assert 'recoup_db_pool_connections{state="open"}' in text


async def test_health_tells_whether_the_database_can_be_used(client: AsyncClient, service: Service) -> None:
    """Ready while it can; live either way."""
    ready = await client.get("/health/ready")
    await service.close()
    gone = await client.get("/health/ready")
    live = await client.get("/health/live")

    assert (ready.status_code, ready.json()["checks"]) == (200, {"database": "ok"})
    assert gone.status_code == 503
    assert live.status_code == 200


async def test_a_database_out_of_reach_is_503(api: Any, service: Service, a_payment: Any) -> None:
    """The client is told to come back, and nothing of the inside."""
    await api.get("/payments")
    await service.close()

    answer = await api.post("/payments", a_payment())

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "127.0.0.1" not in answer.text


class Broken:
    """A clock that fails in a way nobody foresaw."""

    def now(self) -> Any:
        raise RuntimeError("secret inside: rk_something")


async def test_a_fault_of_ours_tells_nothing_of_the_inside(service: Service) -> None:
    """The problem has a correlation id; the log has the rest."""
    service.clock = Broken()
    async with AsyncClient(transport=ASGITransport(create_app(service)), base_url="http://testserver") as client:
        answer = await client.get(f"{PREFIX}/payments", headers={"Authorization": "Bearer rk_anything"})

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text


async def test_the_app_opens_and_closes_its_service(service_url: str, make_service: Callable[[str], Service]) -> None:
    """A service that is not open is the application's to open, and to close at the end."""
    service = make_service(service_url)
    app = create_app(service)

    async with app.lifespan():
        assert service.database.engine.pool is not None
        async with AsyncClient(transport=ASGITransport(app), base_url="http://testserver") as client:
            assert (await client.get("/health/ready")).status_code == 200

    assert service.database.engine.pool is None


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (CommitUnknown("127.0.0.1:5432/x", "lost"), 503, "commit_unknown"),
        (asyncpg.QueryCanceledError("secret"), 503, "database_busy"),
        (asyncpg.DeadlockDetectedError("secret"), 409, "conflict"),
        (asyncpg.UniqueViolationError("secret"), 409, "conflict"),
        (NoPolicyApplies("retry", "card"), 422, "no_policy_applies"),
        (UnbalancedEntry("EUR", 1), 500, "internal_error"),
        (asyncpg.CheckViolationError("secret"), 500, "internal_error"),
    ],
)
def test_errors_that_are_hard_to_cause_have_their_problem(error: Exception, status: int, code: str) -> None:
    """What can be sent again says when; what is our fault says nothing."""
    problem, headers = problem_of(error)

    assert (problem.status, problem.code) == (status, code)
    assert ("Retry-After" in headers) is (status == 503 or code == "conflict")
    assert "secret" not in problem.detail
    assert "127.0.0.1" not in problem.detail


def test_every_refusal_of_the_domain_has_a_status() -> None:
    """A new refusal must say how it is told over HTTP."""
    import recoup_core.wiring
    import recoup_plugins.manager
    import recoup_server.app

    assert recoup_core.wiring
    assert recoup_plugins.manager
    assert recoup_server.app

    def walk(kind: type[DomainError]) -> set[type[DomainError]]:
        return {kind}.union(*(walk(each) for each in kind.__subclasses__()))

    missing = {each.code for each in walk(DomainError) if each.__module__.startswith("recoup_")} - STATUSES.keys()
    assert not missing
