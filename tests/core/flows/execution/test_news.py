"""Trap 5 for refunds: what gateways tell, any number of times and in any order, comes to one final state."""

import itertools
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.refund import Channel, FailureCategory, PartState, RefundFailure, RefundState
from recoup_core.flows.refunds.anew import decide_anew
from recoup_core.ports import Canceled, CaptureNews, DisputeNews, Pending, Refunded, RefundNews, Refused, TakenBack

GONE = RefundFailure(category=FailureCategory.METHOD_GONE, code="closed_account")


def story(till: Any, part: Any, *kinds: str) -> list[Any]:
    """Events about a part, a minute apart, in the order in which they happened."""
    ref = f"re-{part.id}"
    outcomes = {
        "pending": Pending(gateway_ref=ref),
        "succeeded": Refunded(gateway_ref=ref, amount=part.amount),
        "refused": Refused(failure=GONE, gateway_ref=ref),
        "taken_back": TakenBack(gateway_ref=ref, failure=GONE),
        "canceled": Canceled(gateway_ref=ref),
    }
    start = till.clock.now()
    return [
        till.told(f"evt-{number}-{kind}", part, outcomes[kind], at=start + timedelta(minutes=number))
        for number, kind in enumerate(kinds)
    ]


STORIES = {
    ("pending", "succeeded"): (RefundState.SUCCEEDED, {"succeeded"}),
    ("pending", "refused"): (RefundState.FAILED, {"failed"}),
    ("pending", "canceled"): (RefundState.FAILED, {"failed", "canceled"}),
    ("pending", "succeeded", "taken_back"): (RefundState.FAILED, {"taken_back"}),
    ("succeeded", "refused"): (RefundState.FAILED, {"taken_back"}),
    ("succeeded", "taken_back", "succeeded"): (RefundState.SUCCEEDED, {"succeeded"}),
}


@pytest.mark.parametrize("kinds", STORIES, ids="-".join)
async def test_events_in_any_order_and_number_come_to_the_same_end(till: Any, kinds: tuple[str, ...]) -> None:
    """Every permutation, each event ten times: the same states, the same balances, the same money free."""
    refund_state, part_states = STORIES[kinds]
    refunds = []
    for order in itertools.permutations(range(len(kinds))):
        account = await till.payment()
        till.bank.answers = [ConnectionResetError("the answer was lost")]
        refund_id = await till.approved(account)
        await till.run_due()
        part = (await till.refund(refund_id)).parts[0]
        events = story(till, part, *kinds)
        prefix = "".join(map(str, order))
        for place in order:
            for _ in range(10):
                event = events[place]
                await till.hear(_renamed(event, f"{prefix}-{event.external_id}"))
        refunds.append((account.payment.id, refund_id))

    for payment_id, refund_id in refunds:
        file = await till.refund(refund_id)
        assert file.refund.state is refund_state
        assert {part.state for part in file.parts} <= part_states
        paid = 10_000 if refund_state is RefundState.SUCCEEDED else 0
        assert file.refund.refunded_minor == paid
        assert (await till.account(payment_id)).free_minor == 10_000 - paid
    succeeded = sum(10_000 for _ in refunds) if refund_state is RefundState.SUCCEEDED else 0
    assert (await till.balances()).get("refunds", 0) == succeeded


def _renamed(event: Any, external_id: str) -> Any:
    return msgspec.structs.replace(event, external_id=external_id)


@pytest.mark.parametrize("missing", range(3))
async def test_a_missing_event_is_made_up_for_by_the_others(till: Any, missing: int) -> None:
    """Pending, success, taken back: whichever is lost, the refund ends where the last word leaves it."""
    account = await till.payment()
    till.bank.answers = [Pending(gateway_ref="re-x")]
    refund_id = await till.approved(account)
    await till.run_due()
    part = (await till.refund(refund_id)).parts[0]
    events = story(till, part, "pending", "succeeded", "taken_back")
    del events[missing]

    await till.hear(*reversed(events))

    file = await till.refund(refund_id)
    assert file.refund.state is (RefundState.SUCCEEDED if missing == 2 else RefundState.FAILED)


async def test_a_success_taken_back_a_week_later_is_reversed_reopened_and_told(till: Any) -> None:
    """Trap 4: ledger reversed, whoever asked is told, the money is free again."""
    account = await till.payment()
    refund_id = await till.approved(account)
    await till.live()
    part = (await till.refund(refund_id)).parts[0]
    till.clock.advance(timedelta(days=7))

    await till.hear(till.told("evt-back", part, TakenBack(gateway_ref=f"re-{part.id}", failure=GONE)))

    file = await till.refund(refund_id)
    assert (file.refund.state, file.parts[0].state) == (RefundState.FAILED, PartState.TAKEN_BACK)
    assert file.refund.refunded_minor == 0
    assert file.refund.finished_at is None
    assert (await till.account(account.payment.id)).free_minor == 10_000
    assert await till.balances() == {"gateway_clearing:sandbox": 10_000, "receivable": -10_000}
    assert [row["kind"] for row in await till.rows("SELECT kind FROM ledger_entry ORDER BY id")] == [
        "capture",
        "refund",
        "reversal",
    ]
    [told] = await till.rows("SELECT data FROM event WHERE kind = 'refund.taken_back'")
    assert '"requested_by": "agent:ada"' in told["data"]
    assert account.payment.customer.ref in told["data"]
    assert await till.tasks() == ["refund_failed"]


async def test_a_gateway_that_sends_it_again_by_itself_is_booked_again(till: Any) -> None:
    """Taken back, and then paid after all: two entries, one reversal, one task less."""
    account = await till.payment()
    refund_id = await till.approved(account)
    await till.live()
    part = (await till.refund(refund_id)).parts[0]
    ref = f"re-{part.id}"
    later = till.clock.now() + timedelta(hours=1)

    await till.hear(till.told("evt-1", part, TakenBack(gateway_ref=ref, failure=GONE)))
    await till.hear(till.told("evt-2", part, Refunded(gateway_ref=ref, amount=part.amount), at=later))

    file = await till.refund(refund_id)
    assert file.refund.state is RefundState.SUCCEEDED
    assert file.parts[0].successes == 2
    assert (await till.balances())["refunds"] == 10_000
    assert await till.tasks() == []


async def test_a_refund_made_elsewhere_is_counted_and_leaves_less_to_refund(till: Any, eur: Any) -> None:
    """Another channel's refund is known by its charge; nobody decides on it."""
    account = await till.payment()
    news = RefundNews(
        refund_ref="re-desk",
        charge_ref=account.captures[0].gateway_ref,
        amount=eur(4_000),
        outcome=Refunded(gateway_ref="re-desk", amount=eur(4_000)),
    )

    for copy in range(3):
        await till.hear(till.event(f"evt-{copy}", refund=news))

    assert (await till.account(account.payment.id)).free_minor == 6_000
    [row] = await till.rows("SELECT id, channel, state, requested_by, decision_id FROM refund")
    assert (row["channel"], row["state"]) == (Channel.REPORTED, RefundState.SUCCEEDED)
    assert (row["requested_by"], row["decision_id"]) == ("gateway:sandbox", None)
    assert (await till.balances())["refunds"] == 4_000
    assert await till.tasks() == []
    assert await till.events(row["id"]) == ["refund.reported", "refund.part_succeeded", "refund.succeeded"]


async def test_more_refunded_elsewhere_than_is_left_is_put_before_a_person(till: Any, eur: Any) -> None:
    """Facts from outside are never refused; what has not left is not sent any more."""
    account = await till.payment()
    refund_id = await till.approved(account, 7_000)
    news = RefundNews(
        refund_ref="re-desk",
        charge_ref=account.captures[0].gateway_ref,
        amount=eur(6_000),
        outcome=Refunded(gateway_ref="re-desk", amount=eur(6_000)),
    )
    jobs = await till.claim()

    await till.hear(till.event("evt-1", refund=news))
    over = (await till.account(account.payment.id)).captures[0].over_minor
    tasks = await till.tasks()
    await till.service.run_jobs(jobs)

    file = await till.refund(refund_id)
    assert over == 3_000
    assert tasks == ["over_refunded"]
    assert till.bank.requests == []
    assert file.refund.state is RefundState.FAILED
    assert file.parts[0].failure is not None
    assert file.parts[0].failure.category is FailureCategory.ALREADY_REFUNDED
    assert (await till.account(account.payment.id)).captures[0].over_minor == 0


async def test_an_event_that_may_be_our_own_lost_refund_waits_until_that_is_known(till: Any, eur: Any) -> None:
    """Without our id in it, a refund of just that amount is not counted twice while the answer is awaited."""
    account = await till.payment()
    till.bank.answers = [("done", ConnectionResetError("lost"))]
    refund_id = await till.approved(account, 4_000)
    await till.run_due()
    part = (await till.refund(refund_id)).parts[0]
    ref = f"re-{part.id}"
    news = RefundNews(
        refund_ref=ref,
        charge_ref=account.captures[0].gateway_ref,
        amount=eur(4_000),
        outcome=Refunded(gateway_ref=ref, amount=eur(4_000)),
    )

    await till.hear(till.event("evt-1", refund=news))
    await till.live()

    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    assert (await till.account(account.payment.id)).held_minor == 4_000
    assert await till.rows("SELECT 1 FROM refund WHERE channel = 'reported'") == []
    await till.books_agree()


async def test_an_event_about_a_part_with_another_amount_is_never_booked(till: Any, eur: Any) -> None:
    """The same refund told with another amount: a person is asked, nothing is guessed."""
    account = await till.payment()
    refund_id = await till.approved(account)
    await till.live()
    part = (await till.refund(refund_id)).parts[0]
    ref = f"re-{part.id}"

    await till.hear(
        till.told("evt-1", part, Refunded(gateway_ref=ref, amount=eur(1)), amount=eur(1)),
        till.told("evt-2", part, Refunded(gateway_ref=ref, amount=eur(1)), amount=eur(1)),
    )

    assert (await till.refund(refund_id)).refund.refunded_minor == 10_000
    assert await till.tasks() == ["amount_mismatch"]
    await till.books_agree()


async def test_news_of_a_charge_that_nobody_knows_is_kept_and_ignored(till: Any, eur: Any) -> None:
    """A payment that is reported later finds it; nothing is made up before."""
    news = RefundNews(
        refund_ref="re-1",
        charge_ref="ch-unheard-of",
        amount=eur(5),
        outcome=Refunded(gateway_ref="re-1", amount=eur(5)),
    )

    await till.hear(till.event("evt-1", refund=news))
    early = await till.rows("SELECT state FROM inbound_event")
    await till.live()

    assert [row["state"] for row in early] == ["received"]
    [row] = await till.rows("SELECT state, note FROM inbound_event")
    assert row["state"] == "ignored"
    assert "no charge we know" in row["note"]


async def test_a_late_success_of_a_failed_part_stands_and_its_follower_is_not_sent(till: Any, refused: Any) -> None:
    """The gateway refused for its balance and paid all the same: what was to follow would pay twice."""
    account = await till.payment()
    till.bank.answers = [refused("insufficient_balance")]
    refund_id = await till.approved(account)
    await till.run_due()
    first = (await till.refund(refund_id)).parts[0]

    await till.hear(till.told("evt-1", first, Refunded(gateway_ref=f"re-{first.id}", amount=first.amount)))
    await till.live()

    file = await till.refund(refund_id)
    assert file.refund.state is RefundState.SUCCEEDED
    assert [part.state for part in file.parts] == [PartState.SUCCEEDED, PartState.CANCELED]
    assert len(till.bank.requests) == 1
    assert (await till.account(account.payment.id)).held_minor == 10_000
    assert await till.tasks() == []


async def test_a_late_success_beside_a_second_payment_back_is_put_before_a_person(till: Any, refused: Any) -> None:
    """Both went out: the charge is exceeded, both are booked, nobody hides it."""
    account = await till.payment()
    till.bank.answers = [refused("insufficient_balance")]
    refund_id = await till.approved(account)
    await till.live()
    first = (await till.refund(refund_id)).parts[0]

    await till.hear(till.told("evt-1", first, Refunded(gateway_ref=f"re-{first.id}", amount=first.amount)))

    file = await till.refund(refund_id)
    assert file.refund.refunded_minor == 10_000
    assert file.succeeded_minor == 20_000
    assert (await till.account(account.payment.id)).captures[0].over_minor == 10_000
    assert await till.tasks() == ["over_refunded"]
    assert (await till.balances())["refunds"] == 20_000


@pytest.mark.parametrize("standing", [CaptureState.CAPTURED, CaptureState.VOIDED])
async def test_an_authorisation_that_ends_elsewhere_is_told(till: Any, eur: Any, standing: CaptureState) -> None:
    """Captured, it is money and can be refunded; voided, nothing of it is left."""
    account = await till.payment(10_000, state=CaptureState.AUTHORIZED)
    news = CaptureNews(charge_ref=account.captures[0].gateway_ref or "", amount=eur(10_000), standing=standing)

    await till.hear(till.event("evt-1", capture=news), till.event("evt-2", capture=news))

    after = await till.account(account.payment.id)
    captured = standing is CaptureState.CAPTURED
    assert after.captures[0].state is standing
    assert after.free_minor == (10_000 if captured else 0)
    assert after.payment.captured_minor == (10_000 if captured else 0)
    assert (await till.balances()).get("gateway_clearing:sandbox", 0) == (10_000 if captured else 0)


async def test_a_void_whose_answer_was_lost_is_settled_by_the_event(till: Any, eur: Any) -> None:
    """The charge is voided: that is what was asked for."""
    account = await till.payment(10_000, state=CaptureState.AUTHORIZED)
    till.bank.answers = [("done", ConnectionResetError("lost"))]
    refund_id = await till.approved(account)
    await till.run_due()
    ref = account.captures[0].gateway_ref or ""

    await till.hear(
        till.event("evt-1", capture=CaptureNews(charge_ref=ref, amount=eur(10_000), standing=CaptureState.VOIDED))
    )

    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    assert (await till.events(refund_id)).count("capture.voided") == 1


ELSEWHERE = {
    ("pending", "succeeded"): (RefundState.SUCCEEDED, 4_000),
    ("succeeded", "taken_back"): (RefundState.FAILED, 0),
    ("pending", "succeeded", "refused"): (RefundState.FAILED, 0),
    ("pending",): (RefundState.APPROVED, 4_000),
}


@pytest.mark.parametrize("kinds", ELSEWHERE, ids="-".join)
async def test_a_refund_made_elsewhere_comes_to_the_same_end_in_any_order(
    till: Any, eur: Any, kinds: tuple[str, ...]
) -> None:
    """What holds for our own parts holds for others' refunds: the last thing to have happened counts."""
    state, held = ELSEWHERE[kinds]
    accounts, start = [], till.clock.now()
    for order in itertools.permutations(range(len(kinds))):
        account = await till.payment()
        name = "".join(map(str, order))
        ref = f"re-desk-{account.payment.reference}"
        outcomes = {
            "pending": Pending(gateway_ref=ref),
            "succeeded": Refunded(gateway_ref=ref, amount=eur(4_000)),
            "refused": Refused(failure=GONE, gateway_ref=ref),
            "taken_back": TakenBack(gateway_ref=ref, failure=GONE),
        }
        for place in order:
            news = RefundNews(
                refund_ref=ref,
                charge_ref="unknown name",
                other_charge_refs=(account.captures[0].gateway_ref or "",),
                amount=eur(4_000),
                outcome=outcomes[kinds[place]],
            )
            at = start + timedelta(minutes=place)
            await till.hear(*(till.event(f"{ref}-{name}-{place}-{copy}", at, refund=news) for copy in range(3)))
        accounts.append(account)

    states = [row["state"] for row in await till.rows("SELECT state FROM refund WHERE channel = 'reported'")]
    assert states == [state] * len(accounts)
    for account in accounts:
        assert (await till.account(account.payment.id)).held_minor == held
    paid = 4_000 * len(accounts) if state is RefundState.SUCCEEDED else 0
    assert (await till.balances()).get("refunds", 0) == paid


async def test_a_refund_elsewhere_that_came_to_nothing_needs_no_row(till: Any, eur: Any) -> None:
    """Refused or canceled before it was counted: no money moved, nothing is held."""
    account = await till.payment()
    news = RefundNews(
        refund_ref="re-desk",
        charge_ref=account.captures[0].gateway_ref,
        amount=eur(4_000),
        outcome=Refused(failure=GONE),
    )

    await till.hear(till.event("evt-1", refund=news))

    assert await till.rows("SELECT 1 FROM refund") == []
    assert [row["state"] for row in await till.rows("SELECT state FROM inbound_event")] == ["ignored"]


async def test_a_second_refund_of_a_part_that_went_back_already_is_counted_and_told(till: Any, eur: Any) -> None:
    """The gateway forgot the key and paid twice: both are booked, and a person is asked."""
    account = await till.payment()
    refund_id = await till.approved(account, 4_000)
    await till.live()
    part = (await till.refund(refund_id)).parts[0]
    again = Refunded(gateway_ref="re-twice", amount=part.amount)

    await till.hear(till.told("evt-1", part, again, refund_ref="re-twice", charge_ref=account.captures[0].gateway_ref))

    assert (await till.account(account.payment.id)).held_minor == 8_000
    assert (await till.balances())["refunds"] == 8_000
    assert await till.tasks() == ["over_refunded"]


async def test_an_event_keeps_no_card_number_in_what_the_provider_says(till: Any) -> None:
    """Promise 11 for refunds and disputes: redacted before it is stored."""
    account = await till.payment()
    refund_id = await till.approved(account)
    part = (await till.refund(refund_id)).parts[0]
    failure = msgspec.structs.replace(GONE, message="card 4242 4242 4242 4242 is closed")

    await till.hear(till.told("evt-1", part, Refused(failure=failure)))

    [row] = await till.rows("SELECT body::text AS body FROM inbound_event")
    assert "4242" not in row["body"]
    assert "is closed" in row["body"]


async def test_money_that_went_back_after_the_request_was_denied_is_booked_and_told(
    till: Any, eur: Any, not_sent: Any
) -> None:
    """The gateway said "not sent", a dispute came, the policy denied: and the money had left all the same."""
    account = await till.payment(30_000)
    till.bank.answers = [not_sent]
    refund_id = await till.approved(account, 10_000)
    await till.run_due()
    till.clock.advance(timedelta(seconds=1))
    dispute = DisputeNews(
        dispute_ref="dp-1",
        charge_ref=account.captures[0].gateway_ref or "",
        amount=eur(100),
        standing=DisputeState.OPEN,
    )
    await till.dispute(dispute)
    denied = await till.refund(refund_id)
    part = denied.parts[0]

    await till.hear(till.told("evt-1", part, Refunded(gateway_ref=f"re-{part.id}", amount=part.amount)))

    file = await till.refund(refund_id)
    assert denied.refund.state is file.refund.state is RefundState.DENIED
    assert file.refund.refunded_minor == 10_000
    assert (await till.balances())["refunds"] == 10_000
    assert "over_refunded" in await till.tasks()


async def test_a_request_whose_money_turns_out_to_have_left_is_not_decided_on_any_more(
    till: Any, eur: Any, not_sent: Any
) -> None:
    """Under review again after a certain "not sent" that was none: closed, and booked."""
    account = await till.payment()
    till.bank.answers = [not_sent]
    refund_id = await till.approved(account)
    await till.run_due()
    inquiry = DisputeNews(
        dispute_ref="dp-1",
        charge_ref=account.captures[0].gateway_ref or "",
        amount=eur(100),
        standing=DisputeState.INQUIRY,
    )
    await till.dispute(inquiry)
    await decide_anew(till.context, refund_id, None)
    review = await till.refund(refund_id)
    part = review.parts[0]

    await till.hear(till.told("evt-1", part, Refunded(gateway_ref=f"re-{part.id}", amount=part.amount)))
    await till.live()

    file = await till.refund(refund_id)
    assert review.refund.state is RefundState.IN_REVIEW
    assert (file.refund.state, file.refund.stop_reason) == (RefundState.CANCELED, "paid_after_all")
    assert file.refund.refunded_minor == 10_000
    assert (await till.account(account.payment.id)).held_minor == 10_000
