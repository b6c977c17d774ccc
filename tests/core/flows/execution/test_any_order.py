"""One payment's whole life as its gateway tells it: in any order, any number of times, with losses made up for.

Charges that fail and succeed, refunds on their way, through, and back, disputes won and lost, a bank debit that is
returned, and events that contradict each other: whatever order they come in, the payment, its refunds, its disputes and
the ledger end the same.
"""

import itertools
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Network
from recoup_core.domain.refund import FailureCategory, RefundFailure
from recoup_core.ports import (
    CaptureNews,
    Declined,
    DisputeNews,
    GatewayEvent,
    Pending,
    Refunded,
    RefundNews,
    Refused,
    Succeeded,
    TakenBack,
)
from recoup_core.reference import classify

OWED = Money(2_000, "EUR")
PART = Money(500, "EUR")
PARTS = ("captures", "refunds", "disputes", "ledger")
GONE = RefundFailure(category=FailureCategory.METHOD_GONE, code="closed_account")
NO = classify(DeclineSource.STRIPE, "generic_decline", network=Network.VISA)

STORIES: dict[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    "failed then paid": (("declined", "paid"), {"state": "paid"}),
    "paid, told as failed too": (("paid", "declined"), {"state": "paid"}),
    "paid and refunded elsewhere": (
        ("declined", "paid", "refund pending", "refund succeeded"),
        {"refunds": [["succeeded", 500]]},
    ),
    "a refund that came back": (
        ("paid", "refund succeeded", "refund taken back"),
        {"captures": [["captured", 2000, 0, 0]]},
    ),
    "a refund that contradicts itself": (
        ("paid", "refund refused", "refund succeeded"),
        {"refunds": [["succeeded", 500]]},
    ),
    "a dispute won": (("paid", "dispute open", "dispute won"), {"disputes": [["won", 2000]]}),
    "a dispute lost": (("declined", "paid", "dispute open", "dispute lost"), {"disputes": [["lost", 2000]]}),
    "an inquiry that became a dispute": (
        ("paid", "inquiry", "dispute open", "dispute lost"),
        {"disputes": [["lost", 2000]]},
    ),
    "a refund and a dispute": (
        ("paid", "refund succeeded", "dispute open", "dispute won"),
        {"refunds": [["succeeded", 500]], "disputes": [["won", 2000]]},
    ),
    "a debit that came back": (("declined", "paid", "returned"), {"state": "owed", "captured_minor": 0}),
}
"""What happened at the gateway, in the order in which it happened, a minute apart; and some of how it must end."""


class Told:
    """What the gateway tells of one payment that is being collected here."""

    def __init__(self, till: Any, reference: str, run: str) -> None:
        self._till, self._reference, self._run = till, reference, run
        self._start = till.clock.now()
        self._charge = f"ch-{run}"

    def story(self, kinds: Sequence[str]) -> list[GatewayEvent]:
        """The events of a story, as they happened."""
        return [self._event(number, kind) for number, kind in enumerate(kinds)]

    def _event(self, number: int, kind: str) -> GatewayEvent:
        at = self._start + timedelta(minutes=number)
        event: GatewayEvent = self._till.event(f"{self._run}-{number}", at, **self._news(kind))
        return event

    def _news(self, kind: str) -> dict[str, Any]:
        refund = f"re-{self._run}"
        match kind:
            case "declined":
                outcome = Declined(decline=NO, gateway_ref=f"{self._charge}-no")
                return {"outcome": outcome, "gateway_ref": f"{self._charge}-no", "payment_reference": self._reference}
            case "paid":
                paid = Succeeded(gateway_ref=self._charge, amount=OWED)
                return {"outcome": paid, "gateway_ref": self._charge, "payment_reference": self._reference}
            case "refund pending":
                return self._refund(refund, Pending(gateway_ref=refund))
            case "refund succeeded":
                return self._refund(refund, Refunded(gateway_ref=refund, amount=PART))
            case "refund refused":
                return self._refund(refund, Refused(failure=GONE, gateway_ref=refund))
            case "refund taken back":
                return self._refund(refund, TakenBack(gateway_ref=refund, failure=GONE))
            case "returned":
                standing = CaptureState.RETURNED
                return {"capture": CaptureNews(charge_ref=self._charge, amount=OWED, standing=standing, decline=NO)}
            case "inquiry":
                return self._dispute(DisputeState.INQUIRY)
            case _:
                return self._dispute(DisputeState(kind.removeprefix("dispute ")))

    def _refund(self, ref: str, outcome: Any) -> dict[str, Any]:
        return {"refund": RefundNews(refund_ref=ref, charge_ref=self._charge, amount=PART, outcome=outcome)}

    def _dispute(self, standing: DisputeState) -> dict[str, Any]:
        news = DisputeNews(dispute_ref=f"dp-{self._run}", charge_ref=self._charge, amount=OWED, standing=standing)
        return {"dispute": news}


async def settled(till: Any, payment_id: Any) -> dict[str, Any]:
    """How a payment ends: its state, its money, its refunds and disputes, and what its ledger entries come to."""
    [row] = await till.rows(
        """SELECT p.state, p.captured_minor, c.state AS case_state,
            (SELECT coalesce(jsonb_agg(jsonb_build_array(k.state, k.amount_minor, k.held_minor, k.disputed_minor)
                ORDER BY k.id), '[]')::text FROM capture k WHERE k.payment_id = p.id) AS captures,
            (SELECT coalesce(jsonb_agg(jsonb_build_array(f.state, f.amount_minor) ORDER BY f.id), '[]')::text
                FROM refund_part f WHERE f.payment_id = p.id AND f.state NOT IN ('failed', 'canceled')) AS refunds,
            (SELECT coalesce(jsonb_agg(jsonb_build_array(d.state, d.amount_minor) ORDER BY d.id), '[]')::text
                FROM dispute d WHERE d.payment_id = p.id) AS disputes,
            (SELECT coalesce(jsonb_object_agg(s.account, s.total), '{}')::text FROM (
                SELECT g.account, sum(g.amount_minor) AS total FROM ledger_posting g
                JOIN ledger_entry e ON e.id = g.entry_id WHERE e.payment_id = p.id
                GROUP BY g.account HAVING sum(g.amount_minor) <> 0) s) AS ledger
        FROM payment p JOIN recovery_case c ON c.payment_id = p.id WHERE p.id = $1""",
        payment_id,
    )
    return {name: msgspec.json.decode(value) if name in PARTS else value for name, value in row.items()}


async def deliver(till: Any, events: Sequence[GatewayEvent]) -> None:
    """Each in a webhook of its own, applied before the next comes; then time passes for those that came too early."""
    for event in events:
        await till.hear(event)
    for _ in range(4):
        till.clock.advance(timedelta(minutes=3))
        await _apply_inbound(till)


async def _apply_inbound(till: Any) -> None:
    """Run the jobs of events only: retries of ours would collect in some orders what was paid in others."""
    for _ in range(20):
        refs = [ref for ref in await till.claim() if ref.kind == "inbound"]
        if not refs:
            return
        await till.service.run_jobs(refs)
    raise AssertionError("the events never end")


async def live_through(till: Any, name: str, order: Sequence[int], run: str) -> dict[str, Any]:
    """A payment whose story is told in this order (a number may come many times); return how it ends."""
    opened, _ = await till.owing()
    events = Told(till, opened.payment.reference, run).story(STORIES[name][0])
    await deliver(till, [events[number] for number in order])
    return await settled(till, opened.payment.id)


@pytest.mark.parametrize("name", STORIES)
async def test_every_order_ends_the_same(till: Any, name: str) -> None:
    """All permutations of a story, and the story with each event told three times."""
    numbers = range(len(STORIES[name][0]))
    ends: dict[str, list[tuple[int, ...]]] = {}
    for count, order in enumerate(itertools.permutations(numbers)):
        end = await live_through(till, name, order, f"r{count}")
        ends.setdefault(msgspec.json.encode(end).decode(), []).append(order)
    thrice = await live_through(till, name, [number for number in numbers for _ in range(3)], "thrice")
    ends.setdefault(msgspec.json.encode(thrice).decode(), []).append(tuple(numbers))

    assert len(ends) == 1, ends
    assert thrice == thrice | STORIES[name][1]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_losses_that_are_made_up_for_end_the_same(till: Any, data: st.DataObject) -> None:
    """Some webhooks come, some twice, some never; what the gateway is asked for later brings the rest."""
    run = str(uuid4())  # never drawn: a name that comes twice would name two runs' events
    name = data.draw(st.sampled_from(sorted(STORIES)), label="story")
    numbers = list(range(len(STORIES[name][0])))
    straight = await live_through(till, name, numbers, f"{run}-s")

    came = data.draw(st.lists(st.sampled_from(numbers), max_size=6), label="webhooks")
    made_up = data.draw(st.permutations(numbers), label="caught up with")

    assert await live_through(till, name, [*came, *made_up], f"{run}-l") == straight
