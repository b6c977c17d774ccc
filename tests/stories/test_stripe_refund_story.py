"""Refunds of many shapes against a Stripe written by others, over a line that swallows answers: the books agree.

stripe-stateful-mock keeps its own books of charges, refunds and idempotency keys. Charges are made there by its own
API, reported to ours, and refunded through ours; some answers are lost after it has done the work. It has no webhooks,
so what was lost is looked up.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import httpx
import pytest
from tests.counterparts import launch
from tests.stories.client import ANSWER_LIMIT_S, eventually
from tests.stories.conftest import Run, Running
from tests.stories.traps_shop import Person

from recoup_plugins.testing.fault_proxy import FaultProxy, fault_proxy

pytestmark = [pytest.mark.counterpart, pytest.mark.rabbitmq]

KEY: Final = "sk_test_counterpart"
LEAD: Final = "support_lead"
ENDS_S: Final = 90.0

POLICY: Final = """\
kind: refund
name: story
applies_to: {method: card}
rules:
  - {name: at once, when: {amount: {lte: {EUR: 100.00, USD: 100.00, JPY: 10000}}}, approve: auto}
  - {name: one person, review: {levels: [[support_lead]], within: 2d, expires: 30d}}
examples:
  - {given: {amount: {EUR: 100.00}}, expect: at once}
  - {given: {amount: {EUR: 100.01}}, expect: one person}
"""

SHIRTS: Final = [
    {"ref": "shirt", "quantity": 3, "amount_minor": 9_001, "tax_minor": 1_437},
    {"ref": "hat", "amount_minor": 2_399, "tax_minor": 383},
    {"ref": "shipping", "kind": "shipping", "amount_minor": 600, "tax_minor": 96},
]


class Mock:
    """Somebody else's Stripe, asked directly, past the line that loses answers."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/v1", headers={"Authorization": f"Bearer {KEY}"})

    def charge(self, amount_minor: int, currency: str, source: str = "tok_visa") -> str:
        """Charge a card, as the merchant's shop did, and return the charge's id."""
        form = {"amount": str(amount_minor), "currency": currency.lower(), "source": source}
        charge: str = self._http.post("/charges", data=form).raise_for_status().json()["id"]
        return charge

    def refunded(self, charge: str) -> int:
        """What its own charge says went back."""
        found: int = self._http.get(f"/charges/{charge}").raise_for_status().json()["amount_refunded"]
        return found

    def refunds(self, charge: str) -> list[tuple[str, int]]:
        """Our part's id and the amount of each refund that it made."""
        listed = self._http.get("/refunds", params={"charge": charge, "limit": 100}).raise_for_status().json()["data"]
        return sorted((each["metadata"]["recoup_part"], each["amount"]) for each in listed)


@pytest.fixture
def mock_url(leave_out: Callable[[str, str], NoReturn]) -> Iterator[str]:
    """A Stripe written by others, on loopback."""
    if launch.stripe_mock_modules() is None:
        leave_out("stripe-stateful-mock", launch.HOW_MOCK)
    with launch.stripe_stateful_mock() as url:
        yield url


@pytest.fixture
def line(mock_url: str) -> Iterator[FaultProxy]:
    """The line of our gateway to it."""
    with fault_proxy(mock_url) as proxy:
        yield proxy


class Story:
    """A merchant's side of the story: reports what was charged, asks for refunds, waits for what becomes of them."""

    def __init__(self, recoup: Running, mock: Mock, line: FaultProxy, agent: Person) -> None:
        self.recoup, self.mock, self.line, self.agent = recoup, mock, line, agent
        self.charges: dict[str, str] = {}
        """By the payment's name, the charge."""
        self.payments: dict[str, Mapping[str, Any]] = {}

    async def charged(self, name: str, amount_minor: int, currency: str, days_ago: int = 3, **report: Any) -> None:
        """Charge at Stripe and report it to us."""
        charge = self.mock.charge(amount_minor, currency, report.pop("source", "tok_visa"))
        body = {
            "reference": name,
            "amount_minor": amount_minor,
            "currency": currency,
            "customer": {"ref": f"customer-{report.get('order_ref', name)}", "country": "DE"},
            "gateway": "stripe",
            "gateway_ref": charge,
            "method": "card",
            "network": "visa",
            "captured_at": (datetime.now(UTC) - timedelta(days=days_ago)).isoformat(),
        }
        told = await self.post("/payments/captured", body | report)
        self.charges[name], self.payments[name] = charge, told["payment"]

    async def refund(self, name: str, amount_minor: int, *, lost: int = 0, **more: Any) -> Mapping[str, Any]:
        """Ask for a refund; so many of Stripe's next answers are swallowed after it has done the work."""
        payment = self.payments[name]
        where = {"order_ref": payment["order_ref"]} if "spread" in more else {"payment_id": payment["id"]}
        asked = {"amount_minor": amount_minor, "currency": payment["currency"], "reason": "requested_by_customer"}
        self.line.lose_answers(lost)
        file: Mapping[str, Any] = await self.post("/refunds", where | asked | more)
        if file["refund"]["state"] == "approved":
            await self.ended(file)
        return file

    async def ended(self, file: Mapping[str, Any], *states: str) -> dict[str, Any]:
        """Wait until the refund has come to its end, and be impatient with timers meanwhile."""

        async def over() -> Any:
            await self.recoup.house.hurry()
            told = await self.agent.get(f"/refunds/{file['refund']['id']}")
            return told if told["refund"]["state"] in (states or ("succeeded",)) else None

        found: dict[str, Any] = await eventually(over, f"refund {file['refund']['id']} to end", ENDS_S)
        return found

    async def post(self, path: str, body: Any) -> Any:
        """Call; a refusal fails the test."""
        answer = await self.agent.post(path, body)
        assert answer.is_success, answer.text
        return answer.json()

    async def ledger(self) -> dict[str, int]:
        """By charge, what our ledger says left the gateway's account."""
        rows = await self.recoup.house.fetch(
            "SELECT c.gateway_ref, coalesce(-sum(p.amount_minor), 0)::bigint AS back FROM capture c"
            " LEFT JOIN ledger_entry e ON e.capture_id = c.id AND e.part_id IS NOT NULL"
            " LEFT JOIN ledger_posting p ON p.entry_id = e.id AND p.account = 'gateway_clearing:stripe'"
            " GROUP BY c.gateway_ref"
        )
        return {row["gateway_ref"]: row["back"] for row in rows}

    async def parts(self, charge: str) -> list[tuple[str, int]]:
        """The id and amount of each part of ours that went back over a charge."""
        rows = await self.recoup.house.fetch(
            "SELECT p.id::text, p.amount_minor FROM refund_part p JOIN capture c ON c.id = p.capture_id"
            " WHERE c.gateway_ref = $1 AND p.state = 'succeeded' AND p.gateway = 'stripe'",
            charge,
        )
        return sorted((row["id"], row["amount_minor"]) for row in rows)


async def test_every_refund_is_made_once_and_the_books_of_both_sides_agree(
    mock_url: str, line: FaultProxy, run_installation: Run
) -> None:
    """Full, partial, by line, tax, shipping, order, goodwill, credit, approved, refused: to the cent, per charge."""
    recoup = await run_installation(_gateway(line.url), POLICY)
    keys = [await asyncio.to_thread(_key, recoup, *each) for each in (("ana", "agent"), ("lea", "viewer", LEAD))]
    async with httpx.AsyncClient(base_url=recoup.base, timeout=ANSWER_LIMIT_S) as client:
        ana, lea = (Person(name, key, client) for name, key in zip(("ana", "lea"), keys, strict=True))
        story = Story(recoup, Mock(mock_url), line, ana)
        await _charge_all(story)
        await _refund_all(story, lea)

    swallowed = [sent for sent in line.seen if sent.lost]
    assert len(swallowed) == LOST
    assert {sent.status for sent in swallowed} == {200}
    booked = await story.ledger()
    for name, charge in story.charges.items():
        assert booked[charge] == story.mock.refunded(charge), name
        assert await story.parts(charge) == story.mock.refunds(charge), name
    assert sum(booked.values()) == BACK
    assert "whole" in await asyncio.to_thread(recoup.house.run, "audit", "verify")
    await asyncio.to_thread(recoup.house.run, "ledger", "verify")  # a fault would be exit code 1, and fail the test


LOST: Final = 6
BACK: Final = 10_000 + 12_000 + 12_000 + 5_001 + 3_300 + 15_000
"""In minor units of all currencies together; what each charge says is compared one by one."""


async def _charge_all(story: Story) -> None:
    await story.charged("whole", 10_000, "USD")
    await story.charged("shirts", 12_000, "EUR", lines=SHIRTS)
    await story.charged("older", 5_000, "EUR", order_ref="two-boxes")
    await story.charged("newer", 7_000, "EUR", days_ago=1, order_ref="two-boxes")
    await story.charged("yen", 5_001, "JPY")
    await story.charged("kind", 4_000, "EUR")
    await story.charged("large", 20_000, "EUR")
    await story.charged("disputed", 3_000, "EUR", source="tok_createDispute")


async def _refund_all(story: Story, lea: Person) -> None:
    await story.refund("whole", 10_000, lost=1)
    await _line_by_line(story)
    await _over_the_order(story)
    for amount, lost in ((1_667, 0), (1_667, 1), (1_667, 0)):
        await story.refund("yen", amount, lost=lost)
    await story.refund("kind", 500, purpose="goodwill")
    await story.refund("kind", 700, destination="store_credit")
    await story.refund("kind", 2_800)
    over = await story.agent.post("/refunds", _one_more(story))
    assert over.json()["code"] == "refund_exceeds_refundable"
    await _approved(story, lea)
    refused = await story.post("/refunds", _one_more(story, "disputed", 3_000))
    failed = await story.ended(refused, "failed")
    assert failed["parts"][0]["failure"]["category"] == "disputed"


async def _line_by_line(story: Story) -> None:
    """One shirt after the other, the tax of the hat, the shipping, then whatever is left: all of it, exactly."""
    for amount, lost in ((3_000, 1), (3_000, 0)):
        await story.refund("shirts", amount, lost=lost, lines=[{"line": "shirt", "quantity": 1}])
    await story.refund("shirts", 383, lines=[{"line": "hat", "tax_only": True}])
    await story.refund("shirts", 600, lines=[{"line": "shipping"}])
    await story.refund("shirts", 12_000 - 6_983, lost=1)


async def _over_the_order(story: Story) -> None:
    """Over two charges of one order, newest first with both answers lost, then as given: a refund for each part."""
    file = await story.refund("older", 9_000, lost=2, spread="newest_first")
    assert sorted(part["amount_minor"] for part in file["parts"]) == [2_000, 7_000]
    rest = [{"payment_id": story.payments["older"]["id"], "amount_minor": 3_000}]
    await story.refund("older", 3_000, spread="as_given", payments=rest)


async def _approved(story: Story, lea: Person) -> None:
    """Too much for a machine: a person approves it, and not the one who asked."""
    file = await story.refund("large", 15_000)
    assert (await story.agent.act(file, "approve")).json()["code"] == "four_eyes"
    story.line.lose_answers(0)
    approved = await lea.act(file, "approve")
    assert approved.status_code == 200, approved.text
    await story.ended(file)


def _one_more(story: Story, name: str = "kind", amount_minor: int = 1) -> dict[str, Any]:
    plain = {"currency": "EUR", "reason": "requested_by_customer"}
    return {"payment_id": story.payments[name]["id"], "amount_minor": amount_minor, **plain}


def _gateway(url: str) -> str:
    return (
        '[[gateways]]\nname = "stripe"\nplugin = "stripe"\n[gateways.options]\n'
        f'api_key = "{KEY}"\napi_base = "{url}"\ntimeout_s = 5.0\n'
    )


def _key(recoup: Running, person: str, role: str, *approves: str) -> str:
    given = [part for each in approves for part in ("--approves", each)]
    return recoup.house.run("keys", "create", "--principal", person, "--role", role, *given).strip()
