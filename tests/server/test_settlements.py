"""Settlement over HTTP: a report comes in once, what does not fit is listed, handed over and resolved."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from recoup_core.flows.settlement.matching import match_report
from recoup_server import examples_settlement as examples

CSV = examples.UNKNOWN_CHARGE_CSV
UPLOAD = "/settlements?gateway=sandbox"


async def uploaded(api: Any, text: str = CSV) -> dict[str, Any]:
    """Bring a report in and have it matched."""
    answer = await api.post(UPLOAD, text.encode(), key=None)
    assert answer.status_code == 200, answer.text
    assert await match_report(api.service.context, UUID(answer.json()["report"]["id"]), 10)
    done: dict[str, Any] = answer.json()
    return done


async def test_a_report_is_taken_in_once(api: Any) -> None:
    """The same content again changes nothing, and says so; it is listed and read with how far it got."""
    first = await uploaded(api)
    again = await api.post(UPLOAD, CSV.encode(), key=None)

    assert (first["known"], first["fresh_lines"]) == (False, 2)
    assert (again.json()["known"], again.json()["fresh_lines"]) == (True, 0)
    report_id = first["report"]["id"]
    listed = (await api.get("/settlements", gateway="sandbox")).json()["items"]
    assert [each["id"] for each in listed] == [report_id]
    detail = (await api.get(f"/settlements/{report_id}")).json()
    assert (detail["matched"], detail["unmatched"], detail["waiting"]) == (1, 1, 0)
    lines = (await api.get(f"/settlements/{report_id}/lines", state="unmatched")).json()["items"]
    assert [line["ref"] for line in lines] == ["txn_1"]


async def test_a_report_without_its_gateway_is_refused_with_the_field(api: Any) -> None:
    """The call that lacks a parameter is told which."""
    answer = await api.post("/settlements", CSV.encode(), key=None)

    assert (answer.status_code, answer.json()["field"]) == (400, "gateway")


async def test_an_exception_has_an_owner_and_an_end(api: Any, clock: Any) -> None:
    """Listed with its age, handed over, resolved with evidence; then it waits no more."""
    await uploaded(api)
    [found] = (await api.get("/settlement-exceptions", kind="unknown_charge")).json()["items"]
    path = f"/settlement-exceptions/{found['id']}"

    assigned = await api.post(f"{path}/assign", {"owner": "maria"}, key="assign-1")
    repeated = await api.post(f"{path}/assign", {"owner": "maria"}, key="assign-1")
    resolved = await api.post(f"{path}/resolve", examples.RESOLVE)
    late = await api.post(f"{path}/assign", {"owner": "otto"})

    assert (found["owner"], found["age_s"], found["amount_minor"]) == ("finance", 0, 12000)
    assert assigned.json()["owner"] == "maria"
    assert repeated.headers["idempotent-replayed"] == "true"
    assert resolved.json()["resolution"] == examples.RESOLVE["evidence"]
    assert resolved.json()["resolved_by"].startswith("key:")
    assert (late.status_code, late.json()["code"]) == (409, "not_allowed_now")
    assert (await api.get("/settlement-exceptions")).json()["items"] == []
    ended = (await api.get("/settlement-exceptions", resolved=True)).json()["items"]
    assert [each["id"] for each in ended] == [found["id"]]
    assert (await api.get(path)).json()["resolved_at"] is not None


async def test_exceptions_are_cut_into_pages_the_oldest_first(api: Any, clock: Any) -> None:
    """A cursor goes on where the page before ended."""
    for number in range(3):
        await uploaded(api, CSV.replace("settlement_2026_11_20", f"r-{number}").replace("txn_1", f"txn-{number}"))
        clock.advance(timedelta(minutes=1))

    first = (await api.get("/settlement-exceptions", kind="unknown_charge", limit=2)).json()
    cursor = first["next_cursor"]
    second = (await api.get("/settlement-exceptions", kind="unknown_charge", limit=2, cursor=cursor)).json()

    opened = [each["opened_at"] for each in [*first["items"], *second["items"]]]
    assert len(opened) == 3
    assert opened == sorted(opened)
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("120.00,EUR,120.00", "120.005,EUR,120.00"), "line 9: amount"),
        (("charge,120", "chrage,120"), "line 9: kind"),
        (("3.60", "3,6"), "line 9"),
        (("recoup-settlement,1", "recoup-settlement,2"), "line 1"),
        (("report_ref,settlement_2026_11_20\n", ""), "report_ref"),
        (("fee,charge_ref", "fees,charge_ref"), "fees"),
    ],
)
async def test_a_report_that_can_not_be_read_is_refused_with_its_line(
    api: Any, change: tuple[str, str], named: str
) -> None:
    """Nothing of it is stored."""
    answer = await api.post(UPLOAD, CSV.replace(*change).encode(), key=None)

    assert (answer.status_code, answer.json()["code"]) == (422, "settlement_unreadable")
    assert named in answer.json()["detail"]
    assert (await api.get("/settlements")).json()["items"] == []


async def test_a_report_belongs_to_the_gateways_merchant(api: Any, other: Any) -> None:
    """Nobody brings reports of somebody else's gateway, nor sees them."""
    report = (await uploaded(api))["report"]
    [found] = (await api.get("/settlement-exceptions")).json()["items"]

    crossing = await other.post(UPLOAD, CSV.encode(), key=None)

    assert (crossing.status_code, crossing.json()["code"]) == (400, "unknown_gateway")
    for path in (f"/settlements/{report['id']}", f"/settlements/{report['id']}/lines"):
        assert (await other.get(path)).status_code == 404
    assert (await other.get("/settlements")).json()["items"] == []
    assert (await other.get("/settlement-exceptions")).json()["items"] == []
    assert (await other.post(f"/settlement-exceptions/{found['id']}/resolve", examples.RESOLVE)).status_code == 404


async def test_a_large_report_is_taken_where_other_bodies_are_refused(api: Any) -> None:
    """Reports have a limit of their own."""
    head, _, line = CSV.strip().rpartition("\n")
    rows = [line.replace("txn_1", f"txn-{number}") for number in range(20_000)]

    answer = await api.post(UPLOAD, "\n".join([head, *rows]).encode(), key=None)

    assert answer.status_code == 200, answer.text
    assert answer.json()["fresh_lines"] == 20_001
    assert (await api.post("/disputes", b" " * 1_100_000)).status_code == 413


async def test_a_report_is_fetched_by_a_worker(api: Any, gateways: Any) -> None:
    """Asked for by its name; a gateway that can't be asked is refused."""
    name = gateways["sandbox"].bank.settle()

    asked = await api.post("/settlements/fetch", {"gateway": "sandbox", "report_ref": name}, key=None)

    assert (asked.status_code, asked.json()) == (202, {"gateway": "sandbox", "report_ref": name})
    async with api.service.database.connection() as connection:
        wanted = await connection.fetchval("SELECT count(*) FROM settlement_wanted WHERE report_ref = $1", name)
        jobs = await connection.fetchval("SELECT count(*) FROM job WHERE kind = 'fetch_settlement'")
    assert wanted == 1
    assert jobs >= 1
