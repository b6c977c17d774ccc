"""Money that comes in for a debt that was given up: accepted, refunded or put before a person, as the policy says."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from recoup_core.domain.happened import TaskKind
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.domain.subscription_request import RequestState, Wish
from recoup_core.flows.context import locked_cases
from recoup_core.flows.late_success import LATE_REFUND
from recoup_core.flows.operate import NotAllowedNow, cancel
from recoup_core.flows.outcomes import paid_elsewhere
from recoup_core.flows.refunds.late import run_late_refunds
from recoup_core.flows.subscription_requests.answering import acknowledge
from recoup_core.flows.tasks import resolve_task
from recoup_core.ports import Succeeded
from recoup_core.rules.language.late import LateSuccess
from recoup_core.storage.changes import JobRef

START = datetime(2026, 3, 23, 10, tzinfo=UTC)

STOPS = """
kind: retry
name: cards
applies_to: {{method: card}}
late_success: {action}
rules:
  - {{name: give up, stop: exhausted}}
examples:
  - {{given: {{}}, expect: give up}}
"""

LADDER = """
kind: dunning
name: cards
applies_to: {method: card}
rules:
  - name: ladder
    steps:
      - {on: exhausted, after: 2d, cancel_subscription: true}
      - {on: exhausted, after: 4d, write_off: true}
examples:
  - {given: {}, expect: ladder}
"""

REFUNDS = """
kind: refund
name: standard
applies_to: {}
reasons: {late_success: {}, other: {}}
rules:
  - {name: late money goes back, when: {reason: late_success}, approve: auto}
  - {name: nothing else, deny: not_covered}
examples:
  - {given: {reason: late_success}, expect: late money goes back}
  - {given: {reason: other}, expect: nothing else}
"""


@pytest.fixture
def shop_that(shop_under: Any, clock: Any) -> Any:
    """`await shop_that("refund")` opens a shop whose retry policy says so of late money."""

    async def that(action: str, *more: str) -> Any:
        clock.set(START)
        return await shop_under(STOPS.format(action=action), LADDER, *(more or (REFUNDS,)))

    return that


async def given_up(shop: Any, days: int = 5) -> UUID:
    """A debt that many days after it failed: canceled subscription from day 2, written off from day 4."""
    opened = await shop.open("tok_approve", code="generic_decline")
    end = shop.clock.now() + timedelta(days=days)
    await shop.live(timedelta(days=days))
    shop.clock.set(end)
    for request in (await shop.file(opened.payment.id)).requests:
        await acknowledge(shop.context, request.id, shop.by(), done=True)
    payment_id: UUID = opened.payment.id
    return payment_id


async def money_comes(shop: Any, payment_id: UUID, ref: str = "ch_late") -> bool:
    """The gateway tells that the customer paid after all."""
    async with locked_cases(shop.context, [payment_id]) as locked:
        draft = locked.draft(payment_id, "gateway:sandbox", None)
        assert draft is not None
        return paid_elsewhere(draft, shop.clock.now(), Succeeded(gateway_ref=ref, amount=draft.file.payment.amount))


async def late_events(shop: Any, payment_id: UUID) -> list[tuple[str, str]]:
    rows = await shop.rows(
        "SELECT data ->> 'action' AS action, data ->> 'because' AS because FROM event"
        " WHERE payment_id = $1 AND kind = 'payment.late_success' ORDER BY id",
        payment_id,
    )
    return [(row["action"], row["because"]) for row in rows]


async def refunds(shop: Any, payment_id: UUID) -> list[tuple[str, int, str]]:
    rows = await shop.rows(
        "SELECT reason, amount_minor, requested_by FROM refund WHERE payment_id = $1 ORDER BY id", payment_id
    )
    return [(row["reason"], row["amount_minor"], row["requested_by"]) for row in rows]


async def receivables(shop: Any, payment_id: UUID) -> dict[str, int]:
    """What each account holds of this payment."""
    rows = await shop.rows(
        "SELECT p.account, sum(p.amount_minor)::bigint AS held FROM ledger_posting p"
        " JOIN ledger_entry e ON e.id = p.entry_id WHERE e.payment_id = $1 GROUP BY p.account",
        payment_id,
    )
    return {row["account"]: row["held"] for row in rows if row["held"]}


async def tasks(shop: Any, payment_id: UUID) -> list[UUID]:
    rows = await shop.rows(
        "SELECT id FROM human_task WHERE payment_id = $1 AND kind = $2 AND resolved_at IS NULL",
        payment_id,
        TaskKind.LATE_SUCCESS,
    )
    return [row["id"] for row in rows]


async def test_accepted_money_ends_the_case_and_gives_back_what_was_taken(shop_that: Any) -> None:
    """The default: the write-off is corrected, the case recovered, the canceled subscription asked to be restored."""
    shop = await shop_that("accept")
    payment_id = await given_up(shop)

    await money_comes(shop, payment_id)

    file = await shop.file(payment_id)
    assert (file.payment.state, file.case.state) == (PaymentState.PAID, CaseState.RECOVERED)
    assert await late_events(shop, payment_id) == [("accept", "the debt was written off")]
    assert [r.wish for r in file.requests] == [Wish.CANCEL, Wish.RESTORE]
    assert "write_offs" not in await receivables(shop, payment_id)


async def test_refunded_money_goes_back_once_and_nothing_is_restored(shop_that: Any) -> None:
    """Booked first, so that the books hold; then refunded under the refund policy, whoever runs the job how often."""
    shop = await shop_that("refund")
    payment_id = await given_up(shop)
    await money_comes(shop, payment_id)
    refs = [ref for ref in await shop.claim() if ref.kind == LATE_REFUND]
    later = [JobRef(id=r.id, kind=r.kind, subject_id=r.subject_id, claim=r.claim) for r in refs]

    await asyncio.gather(shop.service.run_jobs(refs), shop.service.run_jobs(later))
    await shop.service.run_jobs(refs)
    await shop.run_due()

    assert len(refs) == 1
    assert await refunds(shop, payment_id) == [("late_success", 1999, "policy")]
    assert await late_events(shop, payment_id) == [("refund", "the debt was written off")]
    assert [r.wish for r in (await shop.file(payment_id)).requests] == [Wish.CANCEL]
    assert await tasks(shop, payment_id) == []


async def test_a_canceled_subscription_makes_money_late_before_the_debt_is_given_up(shop_that: Any) -> None:
    """Two days after: still owed, and what it paid for is gone."""
    shop = await shop_that("refund")
    payment_id = await given_up(shop, days=3)

    await money_comes(shop, payment_id)
    await shop.run_due()

    assert await late_events(shop, payment_id) == [("refund", "its subscription was canceled")]
    assert await refunds(shop, payment_id) == [("late_success", 1999, "policy")]


async def test_money_in_time_is_not_late(shop_that: Any) -> None:
    """Before anything was taken away nothing is refunded, whatever the policy says of late money."""
    shop = await shop_that("refund")
    payment_id = await given_up(shop, days=1)

    await money_comes(shop, payment_id)
    await shop.run_due()

    assert (await late_events(shop, payment_id), await refunds(shop, payment_id)) == ([], [])


async def test_money_for_a_canceled_case_is_late(shop_that: Any) -> None:
    """Somebody let the customer off; what comes in then is not simply kept."""
    shop = await shop_that("refund")
    payment_id = await given_up(shop, days=1)
    await cancel(shop.context, (await shop.file(payment_id)).case.id, shop.by(), "goodwill")

    await money_comes(shop, payment_id)
    await shop.run_due()

    assert await late_events(shop, payment_id) == [("refund", "its case was canceled (canceled)")]
    assert len(await refunds(shop, payment_id)) == 1


async def test_the_same_money_told_twice_is_late_once(shop_that: Any) -> None:
    """By webhook and by settlement report: one event, one refund."""
    shop = await shop_that("refund")
    payment_id = await given_up(shop)

    first = await money_comes(shop, payment_id)
    again = await money_comes(shop, payment_id)
    await shop.run_due()

    assert (first, again) == (True, False)
    assert len(await late_events(shop, payment_id)) == len(await refunds(shop, payment_id)) == 1


@pytest.mark.parametrize("action", [LateSuccess.ACCEPT, LateSuccess.REFUND])
async def test_a_person_says_what_becomes_of_it(action: LateSuccess, shop_that: Any) -> None:
    """Until then nothing is restored and nothing goes back; the answer does the one or the other."""
    shop = await shop_that("ask")
    payment_id = await given_up(shop)
    await money_comes(shop, payment_id)
    await shop.run_due()
    [task_id] = await tasks(shop, payment_id)
    assert [r.wish for r in (await shop.file(payment_id)).requests] == [Wish.CANCEL]
    with pytest.raises(NotAllowedNow):
        await resolve_task(shop.context, task_id, shop.by(), "done")

    await resolve_task(shop.context, task_id, shop.by(), "called the customer", action)
    await shop.run_due()

    file = await shop.file(payment_id)
    restored = [r.state for r in file.requests if r.wish is Wish.RESTORE]
    assert restored == ([RequestState.ASKED] if action is LateSuccess.ACCEPT else [])
    assert len(await refunds(shop, payment_id)) == (1 if action is LateSuccess.REFUND else 0)
    assert await tasks(shop, payment_id) == []
    with pytest.raises(NotAllowedNow):
        await resolve_task(shop.context, task_id, shop.by(), "again", action)


async def test_a_refund_that_the_policy_denies_is_put_before_a_person(shop_that: Any) -> None:
    """Late money never stays with the merchant because two policies disagree and nobody noticed."""
    shop = await shop_that("refund", REFUNDS.replace("approve: auto", "deny: not_covered_either"))
    payment_id = await given_up(shop)

    await money_comes(shop, payment_id)
    refs = [ref for ref in await shop.claim() if ref.kind == LATE_REFUND]
    for _ in range(2):  # the worker was killed behind its request, and the job comes back
        await run_late_refunds(shop.context, refs)

    assert len(await refunds(shop, payment_id)) == 1
    assert len(await tasks(shop, payment_id)) == 1
