"""What a customer has stored, and the gateway's page for them, over HTTP."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from recoup_server import examples

Report = Callable[..., Awaitable[dict[str, Any]]]


def card(**fields: Any) -> dict[str, Any]:
    return {"gateway": "sandbox", "token": "tok_approve", "method": "card", "network": "visa", **fields}


async def test_a_page_is_made_and_handed_out_again(api: Any, report: Report) -> None:
    """The same one for the same key and for another; its address is not cached by anybody between."""
    opened = await report()
    path = f"/recovery-cases/{opened['case']['id']}/update-link"

    first = await api.post(path, {}, key="link-1")
    replayed = await api.post(path, {}, key="link-1")
    named = await api.post(path, examples.UPDATE_LINK)

    assert first.status_code == 200, first.text
    assert first.json().keys() == {"id", "gateway", "url", "pays", "expires_at"}
    assert (first.json()["gateway"], first.json()["pays"]) == ("sandbox", True)
    assert first.json() == replayed.json() == named.json()
    assert (first.headers["cache-control"], replayed.headers["idempotent-replayed"]) == ("no-store", "true")
    events = (await api.get("/events", case=opened["case"]["id"])).text
    assert "update_link.created" in events
    assert first.json()["url"] not in events


@pytest.mark.parametrize(
    ("customer", "body", "status", "code"),
    [
        ("cus_anna~no_page", {}, 409, "no_update_link"),
        ("cus_anna~lose_before*9", {}, 503, "gateway_unavailable"),
        ("cus_anna", {"gateway": "elsewhere"}, 400, "unknown_gateway"),
        ("cus_anna", {"url": "https://evil.example.com"}, 400, "invalid_request"),
    ],
)
async def test_why_there_is_no_page_is_told_by_its_code(
    api: Any, report: Report, customer: str, body: dict[str, Any], status: int, code: str
) -> None:
    """A caller can tell "none" from "later" and from a mistake of its own."""
    opened = await report(credentials=[card(gateway_customer=customer)])

    answer = await api.post(f"/recovery-cases/{opened['case']['id']}/update-link", body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_what_is_stored_is_listed_without_its_tokens(api: Any, report: Report) -> None:
    """In the order in which policies choose; what is blocked comes last, with its reason."""
    backup = card(token="tok_second", network="mastercard", role="backup")
    opened = await report(credentials=[card(gateway_customer="cus_anna", par="V0010013019339012345678901234"), backup])

    listed = await api.get(f"/recovery-cases/{opened['case']['id']}/credentials")

    assert listed.status_code == 200, listed.text
    items = listed.json()["items"]
    assert [(each["role"], each["network"], each["valid"]) for each in items] == [
        ("primary", "visa", True),
        ("backup", "mastercard", True),
    ]
    assert "tok_" not in listed.text


async def test_one_card_at_two_gateways_is_one_account_by_its_par(api: Any, report: Report, service: Any) -> None:
    """The payment account reference names a card whatever gateway keeps it."""
    par = "V0010013019339012345678901234"
    customer = {"ref": "customer-par"}
    await report(customer=customer, credentials=[card(par=par, fingerprint="at-one")])
    await report(customer=customer, credentials=[card(token="tok_other", par=par, fingerprint="at-another")])

    async with service.database.connection() as connection:
        rows = await connection.fetch("SELECT account_key, par FROM credential WHERE customer_ref = 'customer-par'")

    assert {(row["account_key"], row["par"]) for row in rows} == {(f"par:{par}", par)}
