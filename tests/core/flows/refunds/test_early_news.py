"""Whatever a gateway told of a charge before its payment was reported counts from the report on."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.refund import RefundState
from recoup_core.flows.intake import receive_webhook
from recoup_core.flows.refunds.refusals import RefundExceedsRefundable
from recoup_core.ports import CaptureNews, DisputeNews, GatewayEvent, Refunded, RefundNews
from recoup_core.storage.ledger_checks import verify_ledger

MINOR = 4900
TWINS = (("ch_x", ()), ("ch_y", ("pi_0", "ch_x")))
"""The charge as it is reported, or only among its other names (Stripe: `ch_...` and `pi_...`)."""


@pytest.fixture(autouse=True)
def told_by_words(till: Any) -> None:
    """The sandbox hears events in our own words."""
    gateway = till.context.gateways["sandbox"]
    gateway.parse_event = lambda _, body: msgspec.json.decode(body, type=list[GatewayEvent])


async def hear(till: Any, **news: Any) -> None:
    """The gateway tells something that is about no charge anybody knows; it is looked at twice and put aside."""
    at = till.shop.clock.now() - timedelta(minutes=10)
    events = [
        GatewayEvent(
            external_id=f"{kind}-{n}", kind="told", occurred_at=at + timedelta(minutes=n), payload={}, **{kind: one}
        )
        for kind, several in news.items()
        for n, one in enumerate(several if isinstance(several, list) else [several])
    ]
    await receive_webhook(till.context, "sandbox", {}, msgspec.json.encode(events), None)
    await till.shop.run_due()
    till.shop.clock.advance(timedelta(minutes=3))
    await till.shop.run_due()
    assert {row["state"] for row in await till.shop.rows("SELECT state FROM inbound_event")} == {"ignored"}


def eur(minor: int = MINOR) -> Money:
    return Money(minor, "EUR")


async def tasks(till: Any) -> list[str]:
    return [row["kind"] for row in await till.shop.rows("SELECT kind FROM human_task ORDER BY id")]


@pytest.mark.parametrize(("charge", "others"), TWINS)
async def test_a_refund_counts_under_whichever_name_its_charge_was_told(till: Any, charge: str, others: Any) -> None:
    """Stripe tells `charge.refunded` of `ch_...`; the merchant reports `pi_...`."""
    back = Refunded(gateway_ref="re_1", amount=eur(1000))
    await hear(
        till,
        refund=RefundNews(
            refund_ref="re_1", charge_ref=charge, other_charge_refs=others, amount=eur(1000), outcome=back
        ),
    )

    account = await till.captured(MINOR, gateway_ref="ch_x")

    assert account.held_minor == 1000


@pytest.mark.parametrize(("charge", "others"), TWINS)
@pytest.mark.parametrize("standing", DisputeState)
async def test_a_dispute_counts_as_it_stands(till: Any, charge: str, others: Any, standing: DisputeState) -> None:
    """Frozen money is not refundable from the first moment on, booked and put before a person."""
    told = DisputeNews(dispute_ref="dp_1", charge_ref=charge, other_charge_refs=others, amount=eur(), standing=standing)
    await hear(till, dispute=told)

    account = await till.captured(MINOR, gateway_ref="ch_x")

    frozen = standing in (DisputeState.OPEN, DisputeState.LOST)
    assert [dispute.state for dispute in account.disputes] == [standing]
    assert account.free_minor == (0 if frozen else MINOR)
    if frozen:
        with pytest.raises(RefundExceedsRefundable):
            await till.request(account, 1)
    assert ("dispute_evidence" in await tasks(till)) is (standing in (DisputeState.OPEN, DisputeState.INQUIRY))
    assert (await verify_ledger(till.context.database, merchant_id="default")).fault is None


async def test_all_that_was_told_of_a_dispute_comes_to_its_end(till: Any) -> None:
    """Opened and won before anybody knew the payment: nothing is frozen, nothing waits."""
    told = DisputeNews(dispute_ref="dp_1", charge_ref="ch_x", amount=eur(), standing=DisputeState.OPEN)
    await hear(till, dispute=[told, msgspec.structs.replace(told, standing=DisputeState.WON)])

    account = await till.captured(MINOR, gateway_ref="ch_x")

    assert ([dispute.state for dispute in account.disputes], account.free_minor) == ([DisputeState.WON], MINOR)


async def test_the_capture_of_an_authorisation_is_found(till: Any) -> None:
    """Reported as authorised, captured by then: refunded from now on, not voided, and booked once."""
    told = CaptureNews(charge_ref="ch_x", amount=eur(), standing=CaptureState.CAPTURED)
    await hear(till, capture=[told, told])

    account = await till.captured(MINOR, gateway_ref="ch_x", authorized=True)

    assert (account.captures[0].state, account.payment.captured_minor) == (CaptureState.CAPTURED, MINOR)
    assert len(await till.shop.rows("SELECT FROM ledger_entry WHERE kind = 'capture'")) == 1
    assert (await verify_ledger(till.context.database, merchant_id="default")).fault is None


async def test_an_authorisation_that_was_voided_before_has_nothing_to_give(till: Any) -> None:
    """Nothing came in, nothing can be asked back."""
    told = CaptureNews(charge_ref="ch_x", amount=eur(), standing=CaptureState.VOIDED)
    await hear(till, capture=told)

    account = await till.captured(MINOR, gateway_ref="ch_x", authorized=True)

    assert (account.captures[0].state, account.free_minor) == (CaptureState.VOIDED, 0)


async def test_a_refund_and_a_dispute_that_exceed_the_charge_are_put_before_a_person_once(till: Any) -> None:
    """Both are facts; that they are more than was charged is told when the payment is."""
    back = Refunded(gateway_ref="re_1", amount=eur())
    await hear(
        till,
        refund=RefundNews(refund_ref="re_1", charge_ref="ch_x", amount=eur(), outcome=back),
        dispute=DisputeNews(dispute_ref="dp_1", charge_ref="ch_x", amount=eur(900), standing=DisputeState.LOST),
    )

    account = await till.captured(MINOR, gateway_ref="ch_x")

    assert account.captures[0].over_minor == 900
    assert await tasks(till) == ["over_refunded"]


@pytest.mark.parametrize("amount", [Money(1000, "USD"), Money(0, "EUR")])
async def test_a_refund_that_can_not_be_of_this_charge_is_put_before_a_person(till: Any, amount: Money) -> None:
    """Another currency, or nothing: the payment is stored all the same, and nothing is guessed."""
    back = Refunded(gateway_ref="re_1", amount=amount)
    await hear(till, refund=RefundNews(refund_ref="re_1", charge_ref="ch_x", amount=amount, outcome=back))

    account = await till.captured(MINOR, gateway_ref="ch_x")

    assert account.held_minor == 0
    assert await tasks(till) == ["amount_mismatch"]


async def test_the_same_events_later_change_nothing(till: Any) -> None:
    """Told twice under ids of their own, before and after the report."""
    back = Refunded(gateway_ref="re_1", amount=eur(1000))
    refund = RefundNews(refund_ref="re_1", charge_ref="ch_x", amount=eur(1000), outcome=back)
    dispute = DisputeNews(dispute_ref="dp_1", charge_ref="ch_x", amount=eur(900), standing=DisputeState.OPEN)
    await hear(till, refund=refund, dispute=dispute)
    account = await till.captured(MINOR, gateway_ref="ch_x")

    now = till.shop.clock.now()
    again = [
        GatewayEvent(external_id="again-1", kind="told", occurred_at=now, payload={}, refund=refund),
        GatewayEvent(external_id="again-2", kind="told", occurred_at=now, payload={}, dispute=dispute),
    ]
    await receive_webhook(till.context, "sandbox", {}, msgspec.json.encode(again), None)
    await till.shop.run_due()

    after = await till.account(account)
    assert (after.held_minor, after.captures[0].disputed_minor) == (1000, 900)
    states = await till.shop.rows("SELECT state FROM refund")
    assert [row["state"] for row in states] == [RefundState.SUCCEEDED]
