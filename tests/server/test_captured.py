"""Payments that were collected elsewhere: reported, read, and what of them can go back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.payment import Method
from recoup_core.ports import Capabilities
from recoup_core.storage.refund_lists import read_account
from recoup_core.wiring import Service
from recoup_server import examples_refunds as examples
from recoup_server.schemas_payments import refundable_out

Capture = Callable[..., Awaitable[dict[str, Any]]]
Build = Callable[..., dict[str, Any]]

A_PERIOD_OF_NO_DAY = {"period_start": "2026-11-20", "period_end": "2026-11-20"}


@pytest.mark.parametrize("name", sorted(examples.CAPTURES))
async def test_a_collected_payment_can_be_refunded(api: Any, name: str) -> None:
    """The answer says what can go back, over which charge and in which way."""
    body = examples.CAPTURES[name] | {"gateway_ref": f"sbx_reported_{uuid4()}"}

    answer = await api.post("/payments/captured", body)

    assert answer.status_code == 201, answer.text
    told = answer.json()
    earlier = sum(refund["amount_minor"] for refund in body.get("refunds", ()))
    assert told["payment"]["state"] == "paid"
    assert (told["payment"]["paid_at"] is None) is body.get("authorized", False)
    assert told["payment"]["first_failed_at"] is None
    assert told["refundable_minor"] == body["amount_minor"] - earlier
    assert told["goodwill_left_minor"] == body["amount_minor"]
    (capture,) = told["captures"]
    assert capture["gateway_ref"] == body["gateway_ref"]
    assert capture["way"] == ("void" if body.get("authorized") else "refund")
    assert [line["ref"] for line in told["lines"]] == [line["ref"] for line in body.get("lines", ())]
    assert all(line["left_minor"] == line["amount_minor"] for line in told["lines"])
    assert "merchant_id" not in answer.text


async def test_the_same_report_again_gets_the_same_answer(api: Any, a_captured: Build) -> None:
    """Once by its key; by another key the reference is taken."""
    body = a_captured()
    first = await api.post("/payments/captured", body, key="captured-1")

    again = await api.post("/payments/captured", body, key="captured-1")
    other_key = await api.post("/payments/captured", body)

    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert (other_key.status_code, other_key.json()["code"]) == (409, "payment_exists")


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"amount_minor": 0}, "invalid_request", "amount_minor"),
        ({"amount_minor": 11999}, "inconsistent_report", "lines"),
        ({"gateway": "somebody-elses"}, "unknown_gateway", None),
        ({"captured_at": "2026-11-23T09:00:01Z"}, "inconsistent_report", "captured_at"),
        ({"captured_at": "2026-11-20T10:00:00"}, "invalid_request", "captured_at"),
        ({"currency": "XXY"}, "unknown_currency", None),
        (
            {"subscription": {"period_start": "2026-11-20", "period_end": "2026-11-20"}},
            "invalid_request",
            "subscription.period_end",
        ),
        ({"lines": [{"ref": "4111111111111111", "amount_minor": 12000}]}, "card_number_refused", "body.lines[0].ref"),
    ],
)
async def test_a_report_that_makes_no_sense_is_refused(
    api: Any, a_captured: Build, change: dict[str, Any], code: str, field: str | None
) -> None:
    """Nothing of it is stored."""
    body = a_captured(**change)

    answer = await api.post("/payments/captured", body)

    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    if field is not None:
        assert answer.json()["field"] == field
    assert (await api.get("/payments", reference=body["reference"])).json()["items"] == []


async def test_lists_show_payments_with_and_without_a_case(api: Any, capture: Capture, report: Any) -> None:
    """One list of all payments, with what of them went back and still can."""
    failed, collected = await report(), await capture()

    items = (await api.get("/payments")).json()["items"]

    assert [item["payment"]["id"] for item in items] == [collected["payment"]["id"], failed["payment"]["id"]]
    assert [item["case"] is None for item in items] == [True, False]
    assert [(item["refundable_minor"], item["refunded_minor"]) for item in items] == [(12000, 0), (0, 0)]
    order = collected["payment"]["order_ref"]
    (only,) = (await api.get("/payments", order=order)).json()["items"]
    assert only == (await api.get(f"/payments/{collected['payment']['id']}")).json()


async def test_what_went_back_is_counted(api: Any, a_captured: Build) -> None:
    """Also what somebody refunded before Recoup was told."""
    body = {**examples.CAPTURED_BARE, **{k: v for k, v in a_captured().items() if k in ("reference", "gateway_ref")}}
    told = (await api.post("/payments/captured", body)).json()

    payment = (await api.get(f"/payments/{told['payment']['id']}")).json()

    assert (payment["refundable_minor"], payment["refunded_minor"]) == (4000, 900)
    (refund,) = (await api.get("/refunds", payment=told["payment"]["id"])).json()["items"]
    assert (refund["channel"], refund["state"], refund["amount_minor"]) == ("reported", "succeeded", 900)
    detail = (await api.get(f"/refunds/{refund['id']}")).json()
    assert (detail["decision"], detail["parts"][0]["gateway_ref"]) == (None, "re_made_elsewhere")


async def test_what_waits_is_not_free(api: Any, capture: Capture, ask: Any) -> None:
    """Asked for is held, of the capture and of each line, with its tax."""
    account = await capture()
    await ask(account, 3000, lines=[{"line": "shirt", "quantity": 1}])

    left = (await api.get(f"/payments/{account['payment']['id']}/refundable")).json()

    assert (left["refundable_minor"], left["captures"][0]["held_minor"], left["refunds"]) == (9000, 3000, 1)
    shirt = left["lines"][0]
    assert (shirt["left_quantity"], shirt["left_minor"], shirt["left_tax_minor"]) == (2, 6000, 958)


async def test_another_merchants_payment_is_not_there(other: Any, capture: Capture) -> None:
    """Nor is what of it can go back."""
    account = await capture()

    answer = await other.get(f"/payments/{account['payment']['id']}/refundable")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await other.get("/payments", order=account["payment"]["order_ref"])).json()["items"] == []


NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
CAN = Capabilities(methods=frozenset({Method.CARD}), key_lifetime=timedelta(days=1), finds_charges=True, refunds=True)


@dataclass
class Able:
    """A gateway of which only what it can do is looked at."""

    capabilities: Capabilities


def window(days: int) -> Capabilities:
    """What a gateway can do that takes refunds for so many days."""
    return msgspec.structs.replace(CAN, refund_windows={Method.CARD: timedelta(days=days)})


@pytest.mark.parametrize(
    ("gateway", "changes", "way", "until"),
    [
        (Able(CAN), {}, "refund", None),
        (Able(window(4)), {}, "refund", NOW + timedelta(days=1)),
        (Able(window(3)), {}, "store_credit", NOW),
        (Able(msgspec.structs.replace(CAN, refunds=False)), {}, "store_credit", None),
        (Able(CAN), {"gateway_ref": None}, "store_credit", None),
        (None, {}, "store_credit", None),
        (Able(CAN), {"state": CaptureState.AUTHORIZED, "captured_at": None}, "store_credit", None),
        (
            Able(msgspec.structs.replace(CAN, voids=True)),
            {"state": CaptureState.AUTHORIZED, "captured_at": None},
            "void",
            None,
        ),
    ],
)
async def test_the_way_back_is_what_the_gateway_can_do(
    capture: Capture, service: Service, merchants: tuple[str, str], gateway: Any, changes: Any, way: str, until: Any
) -> None:
    """Refund, void or only store credit; where there is a window, its last moment is told."""
    told = await capture()
    account = await read_account(service.database, merchants[0], UUID(told["payment"]["id"]))
    assert account is not None
    captured = msgspec.structs.replace(account.captures[0], **({"captured_at": NOW - timedelta(days=3)} | changes))
    account = msgspec.structs.replace(account, captures=(captured,))

    (shown,) = refundable_out(account, {} if gateway is None else {"sandbox": gateway}, NOW).captures

    assert (shown.way, shown.refundable_until) == (way, until)
