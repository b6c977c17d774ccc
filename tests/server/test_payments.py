"""Reporting a failed payment, and reading payments."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from recoup_core.wiring import Service
from recoup_server.examples import PAYMENT

Report = Callable[..., Awaitable[dict[str, Any]]]
Build = Callable[..., dict[str, Any]]


async def test_a_reported_payment_gets_a_case_and_a_next_step(api: Any) -> None:
    """The answer says what was stored and when the first retry is due."""
    answer = await api.post("/payments", PAYMENT)

    assert answer.status_code == 202
    opened = answer.json()
    assert opened["payment"]["reference"] == PAYMENT["reference"]
    assert opened["payment"]["state"] == "owed"
    assert opened["case"]["state"] == "open"
    assert opened["case"]["policy_name"] == "cards-consumer"
    assert opened["next_step"]["state"] == "planned"
    assert opened["next_step"]["rule"] == "insufficient funds wait for payday"
    assert "merchant_id" not in answer.text


async def test_a_payment_no_rule_may_retry_has_no_next_step(report: Report) -> None:
    """A stolen card is never tried again: the case ends at once and says why."""
    opened = await report(code="stolen_card")

    assert opened["next_step"] is None
    assert opened["case"]["state"] == "exhausted"
    assert opened["case"]["stop_reason"] == "not_retryable"


async def test_reporting_costs_four_round_trips(api: Any, a_payment: Build, service: Service) -> None:
    """The hot path: read the account, write everything, and BEGIN and COMMIT around them; the key is remembered."""
    await api.post("/payments", a_payment())
    asked: list[str] = []
    assert service.database.engine.pool is not None
    connections = [holder._con for holder in service.database.engine.pool._holders if holder._con is not None]
    for connection in connections:
        connection.add_query_logger(lambda record: asked.append(record.query))

    answer = await api.post("/payments", a_payment())

    assert answer.status_code == 202
    statements = [query for query in asked if "UNLISTEN" not in query]  # asyncpg's own reset of a given-back connection
    assert len(statements) == 4, statements


async def test_a_second_report_of_a_reference_is_refused(api: Any, a_payment: Build) -> None:
    """A debt is collected once: the same reference under another key is a conflict that names the payment."""
    body = a_payment()
    first = (await api.post("/payments", body)).json()

    answer = await api.post("/payments", body)

    assert answer.status_code == 409
    assert answer.json()["code"] == "payment_exists"
    assert first["payment"]["id"] in answer.json()["detail"]


async def test_the_same_call_again_gets_the_same_answer(api: Any, a_payment: Build) -> None:
    """A client that lost the answer sends the call again and nothing happens twice."""
    body = a_payment()
    first = await api.post("/payments", body, key="invoice-1")

    again = await api.post("/payments", body, key="invoice-1")

    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers


async def test_the_same_call_many_times_at_once_is_done_once(api: Any, a_payment: Build) -> None:
    """Concurrent copies of one call all get one answer, and there is one payment."""
    body = a_payment(reference="only-once")

    answers = await asyncio.gather(*(api.post("/payments", body, key="at-once") for _ in range(8)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["case"]["id"] for answer in answers}) == 1
    found = (await api.get("/payments", reference="only-once")).json()
    assert len(found["items"]) == 1


async def test_a_key_of_another_request_is_refused(api: Any, a_payment: Build) -> None:
    """A key names one call; with another body it is a mistake, and nothing is stored."""
    await api.post("/payments", a_payment(), key="mine")

    answer = await api.post("/payments", a_payment(reference="another"), key="mine")

    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert (await api.get("/payments", reference="another")).json()["items"] == []


async def test_two_merchants_may_use_one_key(api: Any, other: Any, a_payment: Build) -> None:
    """Keys are each merchant's own."""
    mine = await api.post("/payments", a_payment(), key="k")
    credential = {**PAYMENT["credentials"][0], "gateway": "sandbox-other"}
    theirs = await other.post("/payments", a_payment(gateway="sandbox-other", credentials=[credential]), key="k")

    assert (mine.status_code, theirs.status_code) == (202, 202)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"amount_minor": 0}, "invalid_request", "amount_minor"),
        ({"amount_minor": 49.5}, "invalid_request", "amount_minor"),
        ({"amount_minor": "4900"}, "invalid_request", "amount_minor"),
        ({"currency": "EURO"}, "invalid_request", "currency"),
        ({"currency": "QQQ"}, "unknown_currency", None),
        ({"method": "shells"}, "invalid_request", "method"),
        ({"surprise": 1}, "invalid_request", "surprise"),
        ({"credentials": PAYMENT["credentials"] * 2}, "invalid_request", "credentials[1].token"),
        ({"attempts": []}, "invalid_request", "attempts"),
        ({"gateway": "nowhere"}, "unknown_gateway", None),
        ({"gateway": "sandbox-other"}, "unknown_gateway", None),
        ({"customer": {"ref": "c", "country": "XX"}}, "invalid_request", "customer.country"),
        ({"customer": {"ref": "c", "timezone": "Mars/Base"}}, "invalid_request", "customer.timezone"),
        ({"customer": {"ref": "nul \0"}}, "invalid_request", "body"),
        ({"customer": {"ref": "4111 1111 1111 1111"}}, "card_number_refused", "body.customer.ref"),
        ({"reference": "4111111111111111"}, "card_number_refused", "body.reference"),
        ({"method": "sepa_debit", "gateway": "sandbox", "subscription": {"interval": "eon"}}, "invalid_request", None),
    ],
)
async def test_a_wrong_report_is_refused_by_field(
    api: Any, a_payment: Build, change: dict[str, Any], code: str, field: str | None
) -> None:
    """A refusal names the field and never repeats a card number."""
    answer = await api.post("/payments", a_payment(**change))

    problem = answer.json()
    assert answer.status_code == 400, problem
    assert problem["code"] == code
    assert field is None or problem["field"] == field
    assert "4111" not in answer.text


@pytest.mark.parametrize(
    ("at", "code"),
    [
        ("2026-11-23T09:00:01Z", "inconsistent_report"),
        ("1999-01-01T00:00:00Z", "invalid_request"),
        ("2026-11-23T08:00:00", "invalid_request"),
        ("yesterday", "invalid_request"),
    ],
)
async def test_an_attempt_has_a_time_that_can_be(api: Any, a_payment: Build, at: str, code: str) -> None:
    """A failure lies in the past, this side of 2000, and carries its zone."""
    decline = {"source": "stripe", "code": "insufficient_funds"}

    answer = await api.post("/payments", a_payment(attempts=[{"at": at, "decline": decline}]))

    assert answer.status_code == 400
    assert answer.json()["code"] == code
    assert answer.json()["field"].startswith("attempts[")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"reference": "\\ud800"}', b"[" * 100_000])
async def test_a_body_that_is_no_report_is_refused(api: Any, body: bytes) -> None:
    """Whatever the bytes are, the answer is a problem and not a fault of ours."""
    answer = await api.post("/payments", body)

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_request"


async def test_an_escaped_card_number_is_found(api: Any, a_payment: Build) -> None:
    """JSON can spell digits as escapes; what would be stored is what is looked at."""
    spelled = "".join(f"\\u{ord(digit):04x}" for digit in "4111111111111111")
    body = msgspec.json.encode(a_payment(reference="HERE")).replace(b"HERE", spelled.encode())

    answer = await api.post("/payments", body)

    assert answer.json()["code"] == "card_number_refused"


async def test_a_payment_is_read_by_its_id(api: Any, report: Report) -> None:
    """What was answered at first is what can be read later; nothing of it can be refunded before it is paid."""
    opened = await report()

    answer = await api.get(f"/payments/{opened['payment']['id']}")

    assert answer.status_code == 200
    assert answer.json() == opened | {"refundable_minor": 0, "refunded_minor": 0}


async def test_a_failed_payment_may_belong_to_an_order_and_a_period(api: Any, report: Report) -> None:
    """Both are for refunds, once it is paid."""
    subscription = {"plan": "pro", "period_start": "2026-11-01", "period_end": "2026-12-01"}

    opened = await report(order_ref="order-1", subscription=subscription)

    assert (opened["payment"]["order_ref"], opened["payment"]["subscription"]) == ("order-1", subscription)
    (found,) = (await api.get("/payments", order="order-1")).json()["items"]
    assert found["payment"]["id"] == opened["payment"]["id"]


async def test_payments_are_filtered(api: Any, report: Report) -> None:
    """State, customer and reference narrow the list."""
    first = await report(reference="r-1", customer={"ref": "anna"})
    await report(reference="r-2", customer={"ref": "ben"})

    async def found(**filters: str) -> list[str]:
        items = (await api.get("/payments", **filters)).json()["items"]
        return [item["payment"]["reference"] for item in items]

    assert await found() == ["r-2", "r-1"]
    assert await found(customer="anna") == ["r-1"]
    assert await found(reference="r-2") == ["r-2"]
    assert await found(state="owed", customer="ben") == ["r-2"]
    assert await found(state="paid") == []
    assert first["payment"]["reference"] == "r-1"


async def test_pages_stay_what_they_are_while_rows_are_added(api: Any, report: Report) -> None:
    """Every payment that was there at first is met exactly once, in order, whatever comes in meanwhile."""
    for number in range(5):
        await report(reference=f"old-{number}")
    met: list[str] = []
    cursor: dict[str, str] = {}

    for number in range(10):
        page = (await api.get("/payments", limit=2, **cursor)).json()
        met += [item["payment"]["reference"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        await report(reference=f"new-{number}")

    assert met == [f"old-{number}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "!!!", "Y2FzZXM6YQ", "cGF5bWVudHM", "é", "a" * 201])
async def test_a_foreign_cursor_is_refused(api: Any, cursor: str) -> None:
    """Only what the list gave out is a cursor."""
    answer = await api.get("/payments", cursor=cursor)

    assert answer.status_code == 400
    assert answer.json()["code"] in ("bad_cursor", "invalid_request")


async def test_a_cursor_of_another_list_is_refused(api: Any, report: Report) -> None:
    """Positions of different lists mean different things."""
    for _ in range(2):
        await report()
    cursor = (await api.get("/payments", limit=1)).json()["next_cursor"]

    answer = await api.get("/recovery-cases", cursor=cursor)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


@pytest.mark.parametrize("limit", ["0", "201", "-1", "many"])
async def test_a_page_has_a_limit(api: Any, limit: str) -> None:
    """At most 200 rows a page."""
    answer = await api.get("/payments", limit=limit)

    assert (answer.status_code, answer.json()["field"]) == (400, "limit")


async def test_a_wrong_state_is_named_as_the_caller_names_it(api: Any) -> None:
    """Inside, the parameter has another name."""
    answer = await api.get("/payments", state="lost")

    assert (answer.status_code, answer.json()["field"]) == (400, "state")


async def test_a_debt_that_others_will_try_is_refused_with_what_to_switch(api: Any, a_payment: Build) -> None:
    """Two who try one debt break limits that each of them keeps; a date that has passed keeps nobody away."""
    later, earlier = "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"

    refused = await api.post("/payments", a_payment() | {"next_attempt_at": later})

    assert (refused.status_code, refused.json()["code"]) == (409, "two_owners")
    assert "retries_by" in refused.json()["detail"]
    for told in ({"next_attempt_at": later, "retries_ended": True}, {"next_attempt_at": earlier}):
        assert (await api.post("/payments", a_payment() | told)).status_code == 202


async def test_a_reported_try_keeps_its_name(api: Any, a_payment: Build) -> None:
    """The gateway's own event about it is known by it."""
    body = a_payment()
    body["attempts"] = [each | {"try_ref": "ch_1"} for each in body["attempts"]]

    opened = (await api.post("/payments", body)).json()

    attempts = (await api.get(f"/attempts?payment={opened['payment']['id']}")).json()["items"]
    assert [each.get("try_ref") for each in attempts] == ["ch_1"]
