"""What a decision is told, what is kept of it, and how facts that change lead to another one."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Customer, Method, Network, Segment
from recoup_core.domain.refund import Destination, PartState, RefundState
from recoup_core.flows.captured import ReportedRefund
from recoup_core.flows.refunds.deciding import decide
from recoup_core.flows.refunds.draft import locked_refunds
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.rules.deciding.refund import RefundDecision, RefundSituation
from recoup_core.rules.facts import RefundFacts

REVIEW = ("ask", "review: {levels: [[lead]]}", "{}")
ROUTED = (
    ("the bank has it", "when: {dispute: [open, lost]}, deny: disputed", "{dispute: open}"),
    ("the bank asks", "when: {dispute: inquiry}, review: {levels: [[finance]]}", "{dispute: inquiry}"),
    ("else", "approve: auto", "{}"),
)


async def decisions(till: Any, refund_id: UUID) -> list[dict[str, Any]]:
    """The stored decisions about a refund, first to last."""
    return [
        dict(row)
        for row in await till.shop.rows(
            "SELECT rule, facts::text, situation::text, outcome::text, policy_digest FROM decision"
            " WHERE refund_id = $1 AND kind = 'refund' ORDER BY id",
            refund_id,
        )
    ]


async def told(till: Any, refund_id: UUID) -> tuple[RefundFacts, RefundSituation]:
    """What the last decision about a refund was told."""
    last = (await decisions(till, refund_id))[-1]
    return (
        msgspec.json.decode(last["facts"], type=RefundFacts),
        msgspec.json.decode(last["situation"], type=RefundSituation),
    )


def dispute_of(till: Any, account: Any, state: DisputeState) -> Dispute:
    """A dispute over the whole payment."""
    return Dispute(
        id=new_id(),
        merchant_id="default",
        payment_id=account.payment.id,
        capture_id=account.captures[0].id,
        gateway="sandbox",
        gateway_ref=f"dp_{account.payment.reference}",
        amount_minor=account.payment.amount_minor,
        currency="EUR",
        state=state,
        opened_at=till.shop.clock.now(),
    )


async def decided_anew(till: Any, refund_id: UUID, *rows: Any) -> RefundDecision:
    """Store rows and decide the refund anew in the same transaction."""

    async def act(hold: bool) -> RefundDecision:
        async with locked_refunds(till.context, [refund_id]) as locked:
            draft = locked.draft(refund_id, "gateway:sandbox", None)
            assert draft is not None
            locked.changes.add(*rows)
            return await decide(till.context, locked.connection, draft, hold=hold)

    return await till.context.policies.in_force("default", act)


# --- what it is told ------------------------------------------------------------------------------------------------


async def test_facts_say_what_is_asked_of_which_payment_for_whom(till_under: Any) -> None:
    """Everything a policy may ask about the payment and the customer, as of now."""
    till = await till_under(REVIEW)
    customer = Customer(ref="c", country="AT", segment=Segment.BUSINESS, tier="gold", tenure_days=400, vulnerable=True)
    at = till.shop.clock.now() - timedelta(days=10, hours=1)
    earlier = (ReportedRefund(gateway_ref="re_1", amount_minor=1000, at=till.shop.clock.now()),)
    account = await till.captured(
        10_000, customer=customer, captured_at=at, network=Network.MASTERCARD, refunds=earlier
    )

    file = await till.request(account, 2001, destination=Destination.STORE_CREDIT)

    facts, situation = await told(till, file.refund.id)
    assert (facts.amount, facts.payment_amount) == (Money(2001, "EUR"), Money(10_000, "EUR"))
    assert (facts.refunded_before, facts.refunds_before) == (Money(1000, "EUR"), 1)
    assert facts.share_percent == 31  # 30.01, rounded up
    assert (facts.age_days, facts.paid_on) == (10, at.date().isoformat())
    assert (facts.method, facts.network, facts.gateway) == (Method.CARD, Network.MASTERCARD, "sandbox")
    assert (facts.country, facts.segment, facts.destination) == ("AT", Segment.BUSINESS, "store_credit")
    assert (facts.purpose, facts.channel, facts.dispute, facts.payments) == ("refund", "api", "none", 1)
    assert facts.customer is not None
    assert (facts.customer.tier, facts.customer.tenure_days, facts.customer.vulnerable) == ("gold", 400, True)
    assert situation.now == till.shop.clock.now()


async def test_a_refund_counts_in_nothing_that_went_before_it(till_under: Any) -> None:
    """Decided anew, it is told the same as the first time, although it holds its money by then."""
    till = await till_under(REVIEW)
    account = await till.captured(10_000)
    await till.request(account, 3000)
    file = await till.request(account, 2000)
    first = await told(till, file.refund.id)

    await decided_anew(till, file.refund.id)

    assert await told(till, file.refund.id) == first
    assert (first[0].refunded_before, first[0].refunds_before) == (Money(3000, "EUR"), 1)


async def test_over_an_order_everything_is_summed_and_the_largest_part_names_the_method(till_under: Any) -> None:
    """Age counts from the oldest capture, so that no order looks younger than its first payment."""
    till = await till_under(REVIEW)
    old = till.shop.clock.now() - timedelta(days=40)
    await till.order(5000, captured_at=old, method=Method.SEPA_DEBIT, network=None)
    await till.order(3000)

    file = await till.request(None, 7000, order_ref="order-a")

    facts, _ = await told(till, file.refund.id)
    assert (facts.payment_amount, facts.payments, facts.age_days) == (Money(8000, "EUR"), 2, 40)
    assert (facts.method, facts.network) == (Method.SEPA_DEBIT, None)


async def test_the_customers_refunds_count_by_their_windows(till_under: Any) -> None:
    """Approved 3, 20 and 100 days ago: one in 7 days, two in 30, three in 365, each with what it came to."""
    till = await till_under(("all", "approve: auto", "{}"))
    accounts = await till.order(*[1000] * 4, captured_at=till.shop.clock.now() - timedelta(hours=1))
    for account, days in zip(accounts[:3], (80, 17, 3), strict=True):
        await till.request(account, 700)
        till.shop.clock.advance(timedelta(days=days))

    file = await till.request(accounts[3], 100)

    facts, situation = await told(till, file.refund.id)
    assert facts.customer is not None
    assert (facts.customer.refunds_7d, facts.customer.refunded_7d) == (1, Money(700, "EUR"))
    assert (facts.customer.refunds_30d, facts.customer.refunded_30d) == (2, Money(1400, "EUR"))
    assert (facts.customer.refunds_365d, facts.customer.refunded_365d) == (3, Money(2100, "EUR"))
    assert situation.customer_refunds is not None
    assert len(situation.customer_refunds) == 3


async def test_the_agents_day_is_the_merchants_day(till_under: Any) -> None:
    """23:30 UTC is tomorrow in Tokyo: what was approved at noon there counts no more."""
    till = await till_under(("all", "approve: {per_agent_day: {EUR: 30.00}}, otherwise: {deny: enough}", "{}"))
    async with till.shop.service.database.connection() as connection:
        await connection.execute("UPDATE merchant SET timezone = 'Asia/Tokyo'")
    till.shop.clock.set(datetime(2026, 11, 24, 3, tzinfo=UTC))
    account = await till.captured(90_000)
    await till.request(account, 2500)

    same_day = await till.request(account, 600)
    till.shop.clock.set(datetime(2026, 11, 24, 15, 30, tzinfo=UTC))
    next_day = await till.request(account, 600)

    assert (same_day.refund.state, next_day.refund.state) == (RefundState.DENIED, RefundState.APPROVED)
    facts, situation = await told(till, same_day.refund.id)
    assert facts.agent is not None
    assert (facts.agent.refunds_today, facts.agent.refunded_today) == (1, Money(2500, "EUR"))
    assert situation.zone == "Asia/Tokyo"
    assert situation.agent_day == situation.merchant_day == (Money(2500, "EUR"),)


@pytest.mark.parametrize(
    ("told_of_it", "used"),
    [
        ({"period_start": "2026-11-01", "period_end": "2026-12-01"}, 73),
        ({"period_start": "2026-11-23T00:00:00Z", "period_end": "2026-12-01"}, 0),
        ({"period_start": "2026-10-01", "period_end": "2026-11-01"}, 100),
        ({"period_start": "2026-12-01", "period_end": "2026-12-31"}, 0),
        ({"period_start": "2026-11-01"}, None),
        ({"period_start": "soon", "period_end": "2026-12-01"}, None),
        ({"period_start": "2026-12-01", "period_end": "2026-11-01"}, None),
        ({"period_start": 7, "period_end": "2026-12-01"}, None),
    ],
)
async def test_how_much_of_a_subscription_was_used(till: Any, told_of_it: dict[str, Any], used: int | None) -> None:
    """Whole per cent of the period paid for, on the merchant's calendar; what isn't told is missing, never guessed."""
    account = await till.captured(4900, subscription={"plan": "pro", "interval": "month"} | told_of_it)

    file = await till.request(account, 100)

    facts, _ = await told(till, file.refund.id)
    assert facts.subscription is not None
    assert (facts.subscription.plan, facts.subscription.used_percent) == ("pro", used)


async def test_goodwill_counts_the_goodwill_that_was_given_before(till: Any) -> None:
    """No capture holds it, so its share of the payment is what was given, this gift included."""
    account = await till.captured(10_000)
    await request_refund(till.context, till.goodwill(account, 1500), till.by())

    file = await request_refund(till.context, till.goodwill(account, 500), till.by())

    facts, _ = await told(till, file.refund.id)
    assert (facts.refunded_before, facts.share_percent, facts.purpose) == (Money(1500, "EUR"), 20, "goodwill")


# --- what is kept ---------------------------------------------------------------------------------------------------


async def test_every_decision_is_kept_with_what_it_was_made_from(till: Any) -> None:
    """Promise 9: the refund names its decision, the decision its policy's exact text."""
    account = await till.captured(90_000)

    file = await till.request(account, 60_000)

    (decision,) = await decisions(till, file.refund.id)
    assert decision["rule"] == "two approvers"
    assert decision["policy_digest"] == file.refund.policy_digest
    assert file.refund.policy_name == "consumer"
    assert msgspec.json.decode(decision["outcome"])["type"] == "review"
    texts = await till.shop.rows("SELECT FROM policy_text WHERE digest = $1", file.refund.policy_digest)
    assert len(texts) == 1


async def test_a_decision_that_was_made_under_the_bounds_lock_is_kept_once(till: Any) -> None:
    """It is asked for twice, and the second answer, made with what others had approved by then, is the answer."""
    account = await till.captured(4900)

    file = await till.request(account, 1200)

    assert len(await decisions(till, file.refund.id)) == 1
    assert file.refund.decision_id is not None


# --- decided anew ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (DisputeState.OPEN, RefundState.DENIED),
        (DisputeState.INQUIRY, RefundState.IN_REVIEW),
    ],
)
async def test_a_dispute_changes_the_answer_before_anything_has_left(
    till_under: Any, state: DisputeState, after: RefundState
) -> None:
    """Stored in the same transaction as the dispute: nothing leaves in between."""
    till = await till_under(*ROUTED)
    account = await till.captured(4900)
    file = await till.request(account, 1200)
    assert file.refund.state is RefundState.APPROVED

    await decided_anew(till, file.refund.id, dispute_of(till, account, state))

    now = await till.file(file.refund.id)
    assert (now.refund.state, now.refund.revision, now.refund.approved_at) == (after, 2, None)
    unsent = PartState.CANCELED if after is RefundState.DENIED else PartState.RESERVED
    assert [part.state for part in now.parts] == [unsent]
    assert "refund" not in [row["kind"] for row in await till.shop.rows("SELECT kind FROM job")]
    held = (await till.capture(account)).held_minor
    assert held == (0 if after is RefundState.DENIED else 1200)
    assert len(await decisions(till, file.refund.id)) == 2


async def test_a_disputed_refund_that_is_reviewed_keeps_what_it_holds_though_the_bank_has_it_all(
    till_under: Any,
) -> None:
    """A merchant may route disputed refunds to people; the reservation stands while the dispute takes the capture."""
    bank = ("the bank has it", "when: {dispute: open}, review: {levels: [[finance]]}", "{dispute: open}")
    till = await till_under(bank, ("else", "approve: auto", "{}"))
    account = await till.captured(4900)
    file = await till.request(account, 4900)

    await decided_anew(till, file.refund.id, dispute_of(till, account, DisputeState.OPEN))

    now, capture = await till.file(file.refund.id), await till.capture(account)
    assert (now.refund.state, now.refund.open_roles) == (RefundState.IN_REVIEW, ("finance",))
    assert (capture.held_minor, capture.disputed_minor, capture.over_minor) == (4900, 4900, 4900)


async def test_what_people_had_approved_goes_back_to_people(till_under: Any) -> None:
    """Their approvals were given before anybody knew: the next revision has none."""
    asks = ("the bank asks", "when: {dispute: inquiry}, review: {levels: [[finance]]}", "{dispute: inquiry}")
    till = await till_under(asks, ("else", "review: {levels: [[lead], [finance]]}", "{}"))
    account = await till.captured(4900)
    file = await till.request(account, 1200)
    await till.verdict(file, "lea", "lead")

    await decided_anew(till, file.refund.id, dispute_of(till, account, DisputeState.INQUIRY))

    now = await till.file(file.refund.id)
    assert (now.refund.levels, now.refund.level, now.refund.revision) == ((("finance",),), 0, 2)
    assert (await till.verdict(file, "finn", "finance")).refund.state is RefundState.APPROVED


async def test_decided_anew_and_approved_again_it_counts_once(till_under: Any) -> None:
    """Nothing changed: the same parts leave under the next revision, and the day's sum is the same."""
    till = await till_under(("all", "approve: {per_day: {EUR: 20.00}}, otherwise: {deny: enough}", "{}"))
    account = await till.captured(4900)
    file = await till.request(account, 1200)

    await decided_anew(till, file.refund.id)

    now = await till.file(file.refund.id)
    assert (now.refund.state, now.refund.revision) == (RefundState.APPROVED, 2)
    assert [(part.id, part.state) for part in now.parts] == [(file.parts[0].id, PartState.SCHEDULED)]
    (tally,) = await till.shop.rows("SELECT refunds, amount_minor::bigint AS minor FROM refund_tally WHERE agent = ''")
    assert tuple(tally.values()) == (1, 1200)
    (job,) = await till.shop.rows("SELECT kind, subject_id FROM job")
    assert (job["kind"], job["subject_id"]) == ("refund", file.parts[0].id)
