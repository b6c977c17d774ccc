"""What an adversarial review broke: races of answers, limits and clocks. Each test is one way money was at risk."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.payment import Method, PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.collect import _submit  # the first half of the flow is what a killed worker gets done
from recoup_core.flows.context import locked_cases
from recoup_core.flows.guard import charge_guarded
from recoup_core.flows.inbound_closing import EARLY_WAIT
from recoup_core.flows.operate import cancel, pause, resume
from recoup_core.flows.outcomes import MAX_NOT_SENT_WAIT, record_outcome
from recoup_core.flows.recover import open_case
from recoup_core.ports import ChargeRequest, Declined, NotSent
from recoup_core.rules.deciding.decide import Explanation, Retry, Situation, Stop, decide_retry
from recoup_core.rules.facts import RetryFacts
from recoup_core.storage.jobs import STUCK_CLAIMS

SOFT = {"code": "generic_decline"}


def moved(shop: Any) -> int:
    """Money that the bank moved for us."""
    return sum(total.moved_minor for total in shop.gateway.bank.totals().values())


async def unknown_that_never_arrived(shop: Any, ref: str = "ch_first") -> Any:
    """A case whose retry was lost on the way to the bank, which has never seen it."""
    report = msgspec.structs.replace(shop.report("tok_lose_before+approve", **SOFT), gateway_ref=ref)
    opened = await open_case(shop.context, report, "key:shop", None)
    shop.clock.set(await shop.next_due())
    await shop.service.run_jobs(await shop.claim())
    file = await shop.file(opened.payment.id)
    assert file.attempts[-1].state is AttemptState.UNKNOWN
    return opened


async def failed_elsewhere(post: Any, ref: str, reference: str, **failure: Any) -> int:
    """The gateway tells of a failure that was not our attempt."""
    code = failure.pop("code", "generic_decline")
    at = failure.pop("at", None)
    told = {
        "payment_reference": reference,
        "amount": {"amount_minor": 1999, "currency": "EUR"},
        "method": "card",
        "customer_ref": "cus-hook",
        "token": "tok_approve",
        "network": "visa",
        **failure,
    }
    return await post.send("charge.failed_elsewhere", at=at, charge_id=ref, decline={"code": code}, failure=told)


async def test_a_lost_attempt_is_not_sent_again_once_the_payment_is_paid_elsewhere(shop: Any, post: Any) -> None:
    """The look-up says that it never arrived; sending it now would collect a second time."""
    opened = await unknown_that_never_arrived(shop)

    await post.send("charge.succeeded", charge_id="ch_first", amount_minor=1999, currency="EUR")
    await shop.live(timedelta(hours=20))

    file = await shop.file(opened.payment.id)
    assert (file.payment.state, file.payment.captured_minor, moved(shop)) == (PaymentState.PAID, 1999, 0)
    assert file.attempts[1].state is AttemptState.UNKNOWN


async def test_a_lost_attempt_of_a_canceled_case_is_not_sent_again(shop: Any) -> None:
    """A person said that nothing more is to be collected."""
    opened = await unknown_that_never_arrived(shop)

    await cancel(shop.context, opened.case.id, shop.by(), "goodwill")
    await shop.live(timedelta(hours=20))

    assert moved(shop) == 0


async def test_a_lost_attempt_of_a_paused_case_goes_again_after_the_pause(shop: Any) -> None:
    """A pause holds sending back; it does not lose the attempt."""
    opened = await unknown_that_never_arrived(shop)
    await pause(shop.context, opened.case.id, shop.by())
    await shop.live(timedelta(hours=5))
    sent_while_paused = moved(shop)

    await resume(shop.context, opened.case.id, shop.by())
    await shop.live()

    assert (sent_while_paused, moved(shop)) == (0, 1999)


async def test_a_lost_attempt_is_not_sent_again_where_the_account_was_stopped_meanwhile(shop: Any, post: Any) -> None:
    """Promise 6: limits hold under lock before every call, a re-send included."""
    opened = await unknown_that_never_arrived(shop)

    key = (await shop.file(opened.payment.id)).credentials[0].account_key
    await failed_elsewhere(post, "ch_2", "inv-other", code="stolen_card", fingerprint=key.removeprefix("fp:"))
    await shop.live(timedelta(hours=20))

    assert moved(shop) == 0


async def test_a_success_told_before_its_failure_keeps_the_customer_from_being_charged_twice(
    shop: Any, post: Any
) -> None:
    """Events come in any order: the failure opens a case of a payment that is paid already."""
    await post.send("charge.succeeded", charge_id="ch_9", amount_minor=1999, currency="EUR")

    await failed_elsewhere(post, "ch_9", "inv-hook")
    await shop.live()

    rows = await shop.rows("SELECT p.id, p.state, p.captured_minor, c.state AS told FROM payment p, recovery_case c")
    assert [(r["state"], r["captured_minor"], r["told"]) for r in rows] == [("paid", 1999, "recovered")]
    assert moved(shop) == 0


async def test_a_success_told_while_the_report_is_being_written_is_found_later(shop: Any, post: Any) -> None:
    """The report read before the event was stored, the event found no payment: it is looked at once more."""
    await post.send("charge.succeeded", charge_id="ch_9", amount_minor=1999, currency="EUR")
    report = shop.report("tok_approve", **SOFT)
    opened = await open_case(shop.context, report, "key:shop", None)
    async with shop.service.database.transaction() as connection:  # the reference that the report's snapshot kept apart
        await connection.execute("UPDATE payment SET gateway_ref = 'ch_9'")

    shop.clock.advance(EARLY_WAIT)
    await shop.run_due()

    assert (await shop.file(opened.payment.id)).case.state is CaseState.RECOVERED


async def test_a_success_told_before_the_merchant_reports_is_known_to_the_case(shop: Any, post: Any) -> None:
    """The merchant's report comes by a nightly batch; the gateway told of the success hours ago."""
    await post.send("charge.succeeded", charge_id="ch_8", amount_minor=1999, currency="EUR")

    report = msgspec.structs.replace(shop.report("tok_approve", **SOFT), gateway_ref="ch_8")
    opened = await open_case(shop.context, report, "key:shop", None)
    await shop.live()

    assert (opened.case.state, opened.next_step) == (CaseState.RECOVERED, None)
    assert moved(shop) == 0


async def test_an_attempt_counts_from_the_moment_it_last_left(shop: Any) -> None:
    """A send that certainly never arrived is no attempt: the wait of an advice code starts at the one that did."""
    opened = await shop.open("tok_unreachable*5+approve", code="generic_decline")
    shop.clock.set(await shop.next_due())
    first = shop.clock.now()

    await shop.live()

    attempt = (await shop.file(opened.payment.id)).attempts[-1]
    assert attempt.submitted_at == first
    assert attempt.last_sent_at > first


async def test_a_failure_elsewhere_counts_for_the_account_its_fingerprint_names(shop: Any, post: Any) -> None:
    """Another token of the same card: the limits count per account, not per token."""
    opened = await shop.open("tok_approve", **SOFT)
    file = await shop.file(opened.payment.id)
    key = file.credentials[0].account_key

    shop.clock.advance(timedelta(minutes=10))
    await failed_elsewhere(
        post, "ch_5", opened.payment.reference, token="tok_other", fingerprint=key.removeprefix("fp:")
    )

    assert [a.account_key for a in (await shop.file(opened.payment.id)).attempts] == [key, key]


async def test_a_failure_told_late_does_not_hide_the_latest_one(shop: Any, post: Any) -> None:
    """Shuffled events: what was declined last decides, not what was told last."""
    opened = await shop.open("tok_approve", **SOFT)
    shop.clock.advance(timedelta(hours=2))
    await failed_elsewhere(post, "ch_late", opened.payment.reference, code="stolen_card")
    await failed_elsewhere(
        post, "ch_soon", opened.payment.reference, code="insufficient_funds", at=shop.clock.now() - timedelta(hours=1)
    )

    file = await shop.file(opened.payment.id)

    assert len(file.attempts) == 3
    assert file.last_declined.decline.category is DeclineCategory.LOST_OR_STOLEN


async def test_a_gateway_whose_clock_is_ahead_loses_no_case(shop: Any, post: Any) -> None:
    """Its event is a few seconds in our future; refusing it would lose the payment for good."""
    await failed_elsewhere(post, "ch_7", "inv-skew", at=shop.clock.now() + timedelta(seconds=5))

    assert len(await shop.rows("SELECT FROM recovery_case")) == 1


@pytest.mark.parametrize("wait_s", [1e12, float("inf"), float("nan")])
async def test_no_gateway_can_put_an_attempt_off_for_ever(shop: Any, wait_s: float) -> None:
    """A `retry_after_s` without bounds would hold the payment's lease with nobody looking."""
    opened = await shop.open("tok_lose_before+approve", **SOFT)
    shop.clock.set(await shop.next_due())
    [work] = await _submit(shop.context, await shop.claim())

    async with locked_cases(shop.context, [opened.payment.id]) as locked:
        draft = locked.draft(opened.payment.id, "test", None)
        busy = NotSent(reason="busy", retry_after_s=wait_s)
        record_outcome(draft, work.request.attempt_id, busy, locked.policy(draft))

    assert await shop.next_due() <= shop.clock.now() + MAX_NOT_SENT_WAIT


async def test_a_decision_keeps_all_it_was_made_from(shop: Any) -> None:
    """Promise 9: facts and situation are stored, so making it again gives the same answer."""
    opened = await shop.open("tok_generic_decline|approve", "tok_approve", **SOFT)
    await shop.live()
    rows = await shop.rows("SELECT policy_digest, facts, situation, outcome, explanation FROM decision ORDER BY id")

    again = [
        decide_retry(
            shop.context.policies.texts.get(row["policy_digest"]),
            msgspec.json.decode(row["facts"], type=RetryFacts),
            msgspec.json.decode(row["situation"], type=Situation),
        )
        for row in rows
    ]

    assert [(d.outcome, d.explanation) for d in again] == [
        (
            msgspec.json.decode(row["outcome"], type=Retry | Stop),
            msgspec.json.decode(row["explanation"], type=Explanation),
        )
        for row in rows
    ]
    assert opened.next_step is not None
    assert len(rows) >= 2


async def test_a_case_that_can_not_be_read_gets_an_owner_all_the_same(shop: Any) -> None:
    """Its file no longer reads: the very reason why its job never ends must not hide it."""
    opened = await shop.open("tok_approve", **SOFT)
    shop.clock.set(await shop.next_due())
    async with shop.service.database.transaction() as connection:
        await connection.execute("""UPDATE payment SET customer = '{"ref": 5}'""")
    for _ in range(STUCK_CLAIMS):
        await shop.service.run_jobs(await shop.claim())
        shop.clock.advance(timedelta(seconds=121))

    await shop.service.sweep(shop.clock.now())

    tasks = await shop.rows("SELECT kind, payment_id, case_id FROM human_task")
    assert [tuple(task) for task in tasks] == [("stuck_job", opened.payment.id, opened.case.id)]


async def test_an_event_that_can_not_be_applied_gets_an_owner(shop: Any, post: Any) -> None:
    """Nobody would look at it otherwise; asked once, when it has been tried often enough."""
    await post.deliver(
        b'{"id":"evt-x","type":"charge.succeeded","created":"2026-11-23T09:00:00Z","data":{"charge_id":"ch_1",'
        b'"amount_minor":1,"currency":"EUR"}}'
    )
    async with shop.service.database.transaction() as connection:
        await connection.execute("UPDATE inbound_event SET body = '{}'")
    await shop.live(timedelta(days=5))
    await shop.service.sweep(shop.clock.now())

    tasks = await shop.rows("SELECT merchant_id, kind FROM human_task")
    assert [tuple(task) for task in tasks] == [("default", "event_dead")]


async def test_a_card_number_in_a_gateways_words_is_not_stored(shop: Any) -> None:
    """Promise 11 holds for plugins that are not ours, too."""
    opened = await shop.open("tok_approve", **SOFT)
    decline = (await shop.file(opened.payment.id)).attempts[0].decline
    leaky = Leaky(Declined(decline=msgspec.structs.replace(decline, message="card 4111 1111 1111 1111 said no")))

    request = ChargeRequest(
        idempotency_key="key-1",
        attempt_id=opened.case.id,
        payment_reference="inv-1",
        amount=opened.payment.amount,
        method=Method.CARD,
        token="tok_approve",
        first_sent_at=shop.clock.now(),
    )

    answer = await charge_guarded(leaky, request)

    assert isinstance(answer, Declined)
    assert "4111" not in (answer.decline.message or "")


class Leaky:
    """A gateway that repeats card numbers."""

    def __init__(self, answer: Declined) -> None:
        self._answer = answer

    async def charge(self, _: Any) -> Declined:
        return self._answer
