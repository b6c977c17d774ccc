"""Two hundred refunds at once against one payment, through several API processes: exactly those that fit succeed.

A round asks in every shape (amounts, all of it, pieces of a line, shipping, store credit, goodwill, over the order's
payments), all at the same moment. `RECOUP_REFUND_ROUNDS=1000` runs the proof of docs/refunds.md; a run of the suite
does a few. The seed of a round is its number, printed with what failed.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import copy
from typing import Any, Final

import httpx
import pytest
from tests.stories.client import ANSWER_LIMIT_S
from tests.stories.installation import SANDBOX, Installation, sandbox_gateway

from recoup_core.wiring import shipped_policies

ROUNDS: Final = int(os.environ.get("RECOUP_REFUND_ROUNDS", "4"))
AT_ONCE: Final = 200
PROCESSES: Final = 3
TRIES: Final = 2
AGAIN_S: Final = 0.2
LINES: Final = (
    {"ref": "shirt", "quantity": 7, "amount_minor": 10_001, "tax_minor": 1_597},
    {"ref": "hat", "quantity": 1, "amount_minor": 4_999, "tax_minor": 798},
    {"ref": "shipping", "kind": "shipping", "quantity": 1, "amount_minor": 499, "tax_minor": 80},
)
CAPTURED: Final = 15_499
BEYOND: Final = frozenset({"refund_exceeds_refundable", "line_exceeds_refundable", "goodwill_exceeds_payment"})

pytestmark = [pytest.mark.rabbitmq]


class Crowd:
    """Clients of several API processes of one installation."""

    def __init__(self, house: Installation, clients: list[httpx.AsyncClient]) -> None:
        self.house, self.clients = house, clients

    async def post(self, number: int, path: str, body: Any, key: str) -> httpx.Response:
        """Call one of the processes; where a kept connection breaks, the same call with the same key goes again."""
        client = self.clients[number % len(self.clients)]
        for _ in range(TRIES):
            try:
                return await client.post(path, json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                await asyncio.sleep(AGAIN_S)
        return await client.post(path, json=body, headers={"Idempotency-Key": key})

    async def pay(self, name: str, order: str, lines: bool) -> str:
        """Report a captured payment and return its id."""
        body = {
            "reference": name,
            "order_ref": order,
            "amount_minor": CAPTURED,
            "currency": "EUR",
            "customer": {"ref": f"cus-{order}", "country": "DE"},
            "gateway": SANDBOX,
            "gateway_ref": f"sbx_reported_{name.replace('-', '_')}",
            "method": "card",
            "captured_at": datetime.now(UTC).isoformat(),
            "lines": list(LINES) if lines else [],
        }
        answer = await self.post(0, "/payments/captured", body, f"pay-{name}")
        assert answer.status_code == 201, answer.text
        paid: str = answer.json()["payment"]["id"]
        return paid


@pytest.fixture
async def crowd(tmp_path: Path, database_url: str, amqp_url: str, queue_prefix: str) -> AsyncIterator[Crowd]:
    """Three API processes under the shipped refund policies."""
    folder = tmp_path / "house"
    house = Installation(folder, database_url, amqp_url, queue_prefix, sandbox_gateway(folder))
    for policy in (shipped_policies() / "refund").glob("*.yaml"):
        copy(policy, folder / "policies" / policy.name)
    clients: list[httpx.AsyncClient] = []
    try:
        bases = [await asyncio.to_thread(house.start_api) for _ in range(PROCESSES)]
        key = await asyncio.to_thread(house.make_key, "agent", "viewer")
        clients = [
            httpx.AsyncClient(
                base_url=f"{base}/api/billing/refund-retry-workflows",
                headers={"Authorization": f"Bearer {key}"},
                timeout=4 * ANSWER_LIMIT_S,
                limits=httpx.Limits(max_connections=40),
            )
            for base in bases
        ]
        yield Crowd(house, clients)
    finally:
        for client in clients:
            await client.aclose()
        house.reap()


def asks(dice: random.Random, first: str, second: str, order: str) -> list[dict[str, Any]]:
    """Two hundred requests in every shape."""
    return [_ask(dice, first, second, order) for _ in range(AT_ONCE)]


def _ask(dice: random.Random, first: str, second: str, order: str) -> dict[str, Any]:
    base: dict[str, Any] = {"currency": "EUR", "reason": "requested_by_customer"}
    shape = dice.choice(
        ["amount", "amount", "small", "all", "pieces", "shipping", "credit", "goodwill", "gift", "order"]
    )
    where = {"payment_id": dice.choice([first, second])}
    match shape:
        case "amount":
            return base | where | {"amount_minor": dice.randint(1, CAPTURED)}
        case "small":
            return base | where | {"amount_minor": dice.randint(1, 99)}
        case "all":
            return base | where | {"amount_minor": CAPTURED}
        case "pieces":
            pieces = dice.randint(1, 3)
            lines = [{"line": "shirt", "quantity": pieces}]
            return base | {"payment_id": first, "amount_minor": dice.randint(1_428, 4_287), "lines": lines}
        case "shipping":
            lines = [{"line": "shipping", "quantity": 1}]
            return base | {"payment_id": first, "amount_minor": 499, "lines": lines}
        case "credit":
            return base | where | {"amount_minor": dice.randint(1, 5_000), "destination": "store_credit"}
        case "goodwill":
            goodwill = {"purpose": "goodwill", "reason": "late_delivery"}
            return base | where | goodwill | {"amount_minor": dice.randint(1, 3_000)}
        case "gift":
            gift = {"purpose": "goodwill", "reason": "late_delivery", "destination": "store_credit"}
            return base | where | gift | {"amount_minor": dice.randint(1, 9_000)}
        case _:
            return base | {"order_ref": order, "amount_minor": dice.randint(1, 2 * CAPTURED)}


async def test_exactly_the_refunds_that_fit_succeed(crowd: Crowd) -> None:
    """Promise 4, traps 1 and 13: nothing over, and nothing refused that would have fitted."""
    told: Counter[str] = Counter()
    for number in range(ROUNDS):
        told += await _round(crowd, number)
    assert told["accepted"] > ROUNDS
    assert told["refund_exceeds_refundable"] > ROUNDS
    assert told["goodwill_exceeds_payment"] > ROUNDS
    assert not await crowd.house.value("SELECT count(*) FROM capture WHERE over_minor > 0")
    sys.stdout.write(f"{ROUNDS} rounds: {dict(told)}\n")


async def _round(crowd: Crowd, number: int) -> Counter[str]:
    dice, order = random.Random(number), f"order-{number}"
    first = await crowd.pay(f"with-lines-{_word(number)}", order, lines=True)
    second = await crowd.pay(f"plain-{_word(number)}", order, lines=False)
    bodies = asks(dice, first, second, order)
    calls = (crowd.post(index, "/refunds", body, f"ask-{number}-{index}") for index, body in enumerate(bodies))
    answers = await asyncio.gather(*calls)

    told: Counter[str] = Counter()
    refused: list[tuple[dict[str, Any], str]] = []
    for body, answer in zip(bodies, answers, strict=True):
        assert answer.status_code in (201, 422), f"round {number}: {answer.status_code} {answer.text} for {body}"
        code = "accepted" if answer.status_code == 201 else answer.json()["code"]
        told[code] += 1
        if code in BEYOND:
            refused.append((body, code))
        else:
            assert code in ("accepted", "refund_lines_differ"), f"round {number}: {answer.text}"
    await _check(crowd, number, first, second, refused, told["accepted"])
    return told


async def _check(
    crowd: Crowd, number: int, first: str, second: str, refused: list[tuple[dict[str, Any], str]], accepted: int
) -> None:
    """Read the books: what is held is what was accepted, and whatever was refused does not fit even now."""
    rows = await crowd.house.fetch(
        """SELECT c.payment_id::text AS id, c.amount_minor - c.held_minor AS free,
                  p.amount_minor - p.goodwill_minor AS gift, c.held_minor,
                  (SELECT coalesce(sum(f.amount_minor), 0) FROM refund_part f WHERE f.capture_id = c.id
                   AND f.state IN ('reserved', 'scheduled', 'succeeded')) AS parts
           FROM capture c JOIN payment p ON p.id = c.payment_id WHERE c.payment_id = ANY($1::uuid[])""",
        [first, second],
    )
    assert all(row["held_minor"] == row["parts"] and row["free"] >= 0 for row in rows), number
    free = {row["id"]: row["free"] for row in rows}
    gift = {row["id"]: row["gift"] for row in rows}
    left = dict(
        await crowd.house.fetch(
            "SELECT ref, amount_minor - held_minor FROM payment_line WHERE payment_id = $1::text::uuid", first
        )
    )
    for body, code in refused:
        asked = body["amount_minor"]
        if code == "goodwill_exceeds_payment":
            assert asked > gift[body["payment_id"]], (number, body)
        elif "order_ref" in body:
            assert asked > sum(free.values()), (number, body)
        elif "lines" in body:
            assert asked > free[first] or _lacks_pieces(body, left), (number, body)
        else:
            assert asked > free[body["payment_id"]], (number, body)
    count = await crowd.house.value(
        "SELECT count(DISTINCT refund_id) FROM refund_part WHERE payment_id = ANY($1::uuid[])", [first, second]
    )
    denied = await crowd.house.value(
        "SELECT count(*) FROM refund WHERE payment_id = ANY($1::uuid[]) AND state = 'denied'", [first, second]
    )
    assert count + denied == accepted, number


def _lacks_pieces(body: dict[str, Any], left: dict[str, int]) -> bool:
    """Whether a line has less left than was asked of it: other refunds took money of it by their shares."""
    return any(left[line["line"]] < body["amount_minor"] for line in body["lines"])


def _word(number: int) -> str:
    """A number in letters: references with long runs of digits look like card numbers."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))
