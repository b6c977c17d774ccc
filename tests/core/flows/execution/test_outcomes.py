"""Every answer about a part ends one way: booked, released, tried again, or put before a person."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.refund import Destination, PartState, Purpose, RefundState
from recoup_core.ports import NotSent, Pending, Refunded, Refused


async def test_an_approved_refund_goes_out_once_and_is_booked_to_the_cent(till: Any) -> None:
    """The row first, one key, one call, one entry."""
    account = await till.payment(10_000)
    refund_id = await till.approved(account, 2_500)

    await till.live()

    file = await till.refund(refund_id)
    assert file.refund.state is RefundState.SUCCEEDED
    assert file.refund.refunded_minor == 2_500
    assert [request.idempotency_key for request in till.bank.requests] == [file.parts[0].idempotency_key]
    assert await till.balances() == {"gateway_clearing:sandbox": 7_500, "receivable": -10_000, "refunds": 2_500}
    assert await till.events(refund_id) == ["refund.submitted", "refund.part_succeeded", "refund.succeeded"]
    assert await till.tasks() == []
    await till.books_agree()


async def test_a_refund_over_two_captures_succeeds_once_both_parts_have(till: Any) -> None:
    """One part, one gateway call, one key for each capture."""
    account = await till.payment(4_000, 6_000)
    refund_id = await till.approved(account, 4_000, 1_000)

    await till.live()

    file = await till.refund(refund_id)
    assert file.refund.state is RefundState.SUCCEEDED
    assert len({request.idempotency_key for request in till.bank.requests}) == 2
    assert [capture.held_minor for capture in (await till.account(account.payment.id)).captures] == [4_000, 1_000]
    await till.books_agree()


async def test_a_refusal_releases_the_money_and_asks_a_person(till: Any, refused: Callable[..., Refused]) -> None:
    """A failed part is never sent again; what it held can be asked for anew."""
    account = await till.payment(10_000)
    till.bank.answers = [refused("method_gone", "closed_account")]
    refund_id = await till.approved(account)

    await till.live()

    file = await till.refund(refund_id)
    assert file.refund.state is RefundState.FAILED
    assert file.refund.stop_reason == "method_gone"
    assert (await till.account(account.payment.id)).free_minor == 10_000
    assert await till.tasks() == ["refund_failed"]
    [told] = await till.rows("SELECT data FROM event WHERE kind = 'refund.failed'")
    assert '"requested_by": "agent:ada"' in told["data"]
    assert '"code": "closed_account"' in told["data"]
    await till.books_agree()


async def test_what_succeeded_of_a_failed_refund_stays(till: Any, refused: Callable[..., Refused]) -> None:
    """One part refused, the other paid: the refund failed, and says how much went back."""
    account = await till.payment(5_000, 5_000)
    refund_id = await till.approved(account, 5_000, 5_000)
    till.bank.answers = [refused()]

    await till.live()

    file = await till.refund(refund_id)
    assert file.refund.state is RefundState.FAILED
    assert file.refund.refunded_minor == 5_000
    assert sorted(part.state for part in file.parts) == [PartState.FAILED, PartState.SUCCEEDED]
    await till.books_agree()


async def test_a_gateways_fee_is_booked_beside_the_refund(till: Any, eur: Callable[[int], Any]) -> None:
    """What a gateway takes for a refund is our cost, not the customer's."""
    account = await till.payment(10_000)
    refund_id = await till.approved(account, 1_000)
    till.bank.answers = [Refunded(gateway_ref="re-1", amount=eur(1_000), fee=eur(25))]

    await till.live()

    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    balances = await till.balances()
    assert (balances["fees"], balances["gateway_clearing:sandbox"]) == (25, 8_975)


async def test_an_unreachable_gateway_keeps_the_part_and_its_key(till: Any, not_sent: NotSent) -> None:
    """Certain that nothing left: same part, same key, a little later."""
    account = await till.payment()
    till.bank.answers = [not_sent, not_sent]
    refund_id = await till.approved(account)

    await till.live()

    file = await till.refund(refund_id)
    assert [(part.state, part.sends) for part in file.parts] == [(PartState.SUCCEEDED, 3)]
    assert len({request.idempotency_key for request in till.bank.requests}) == 1
    assert len({request.first_sent_at for request in till.bank.requests}) == 1


async def test_a_gateway_that_stays_away_fails_the_part_for_certain(till: Any, not_sent: NotSent) -> None:
    """Patience runs out, and it is known that no money moved."""
    account = await till.payment()
    till.bank.answers = [not_sent] * 20
    refund_id = await till.approved(account)

    await till.live()

    file = await till.refund(refund_id)
    assert file.refund.state is RefundState.FAILED
    assert file.parts[0].failure is not None
    assert (file.parts[0].failure.code, file.parts[0].sends) == ("not_sent", 8)
    assert (await till.account(account.payment.id)).free_minor == 10_000


async def test_a_low_balance_is_tried_again_by_policy_each_time_with_a_key_of_its_own(
    till: Any, refused: Callable[..., Refused]
) -> None:
    """The refused part is over; another follows it after the policy's wait, holding the money meanwhile."""
    account = await till.payment()
    till.bank.answers = [refused("insufficient_balance")] * 2
    refund_id = await till.approved(account)

    await till.run_due()
    waiting = await till.refund(refund_id)
    started = till.clock.now()
    await till.live()

    file = await till.refund(refund_id)
    assert waiting.refund.state is RefundState.APPROVED
    assert waiting.parts[-1].not_before == started + timedelta(hours=4)
    assert (await till.account(account.payment.id)).held_minor == 10_000
    assert file.refund.state is RefundState.SUCCEEDED
    assert [part.state for part in file.parts] == [PartState.FAILED, PartState.FAILED, PartState.SUCCEEDED]
    assert [part.follows for part in file.parts] == [None, file.parts[0].id, file.parts[1].id]
    assert len({request.idempotency_key for request in till.bank.requests}) == 3
    assert till.clock.now() == started + timedelta(hours=4, days=1)
    assert (await till.events(refund_id)).count("refund.waits") == 2


async def test_a_balance_that_stays_low_is_put_before_a_person(till: Any, refused: Callable[..., Refused]) -> None:
    """The policy's waits are used up: two here."""
    account = await till.payment()
    till.bank.answers = [refused("insufficient_balance")] * 9
    refund_id = await till.approved(account)

    await till.live()

    file = await till.refund(refund_id)
    assert len(file.parts) == 3
    assert file.refund.state is RefundState.FAILED
    assert file.refund.stop_reason == "insufficient_balance"
    assert await till.tasks() == ["refund_failed"]


async def test_an_authorised_charge_is_voided_whole_and_books_nothing(till: Any) -> None:
    """No money came in, so none goes back; the authorisation is gone afterwards."""
    account = await till.payment(10_000, state=CaptureState.AUTHORIZED)
    refund_id = await till.approved(account)

    await till.live()

    file = await till.refund(refund_id)
    after = await till.account(account.payment.id)
    assert file.refund.state is RefundState.SUCCEEDED
    assert file.parts[0].void
    assert after.captures[0].state is CaptureState.VOIDED
    assert after.free_minor == 0
    assert await till.balances() == {}
    assert "capture.voided" in await till.events(refund_id)


async def test_part_of_an_authorised_charge_is_never_sent(till: Any) -> None:
    """Voiding is for all of it; nothing leaves, and a person is asked."""
    account = await till.payment(10_000, state=CaptureState.AUTHORIZED)
    refund_id = await till.approved(account, 3_000)

    await till.live()

    file = await till.refund(refund_id)
    assert till.bank.requests == []
    assert file.refund.state is RefundState.FAILED
    assert file.parts[0].failure is not None
    assert file.parts[0].failure.code == "partial_void"


@pytest.mark.parametrize(
    ("state", "category", "voids"),
    [
        (CaptureState.AUTHORIZED, "already_captured", [True, False]),
        (CaptureState.CAPTURED, "not_captured", [False, True]),
    ],
)
async def test_a_charge_that_is_not_what_it_seemed_is_taken_the_other_way_once(
    till: Any, refused: Callable[..., Refused], state: CaptureState, category: str, voids: list[bool]
) -> None:
    """Refund instead of void and void instead of refund, at once and with a key of its own."""
    account = await till.payment(10_000, state=state)
    till.bank.answers = [refused(category)]
    refund_id = await till.approved(account)

    await till.live()

    file = await till.refund(refund_id)
    assert [request.void for request in till.bank.requests] == voids
    assert file.refund.state is RefundState.SUCCEEDED
    assert len({request.idempotency_key for request in till.bank.requests}) == 2


async def test_a_gateway_that_refuses_both_ways_is_not_asked_for_ever(
    till: Any, refused: Callable[..., Refused]
) -> None:
    """Once the other way, then a person."""
    account = await till.payment()
    till.bank.answers = [refused("not_captured"), refused("already_captured"), refused("not_captured")]
    refund_id = await till.approved(account)

    await till.live()

    assert len(till.bank.requests) == 2
    assert (await till.refund(refund_id)).refund.state is RefundState.FAILED


async def test_store_credit_asks_no_gateway_and_tells_the_billing_system(till: Any) -> None:
    """One transaction: the event that credits the customer, and the entry."""
    account = await till.payment()
    refund_id = await till.approved(account, 4_000, destination=Destination.STORE_CREDIT)

    await till.live()

    assert till.bank.requests == []
    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    balances = await till.balances()
    assert (balances["refunds"], balances["store_credit"]) == (4_000, -4_000)
    [told] = await till.rows("SELECT data FROM event WHERE kind = 'store_credit.issued'")
    assert account.payment.customer.ref in told["data"]
    assert str(refund_id) in told["data"]


async def test_goodwill_is_booked_as_goodwill(till: Any) -> None:
    """Money beyond what the customer had a right to is no revenue given back."""
    account = await till.payment()
    await till.approved(account, 700, purpose=Purpose.GOODWILL)

    await till.live()

    assert (await till.balances())["goodwill"] == 700


async def test_a_pending_refund_is_settled_by_the_look_up_when_no_webhook_comes(till: Any) -> None:
    """ "Received for processing" is no success."""
    account = await till.payment()
    till.bank.answers = [Pending(gateway_ref="re-late")]
    refund_id = await till.approved(account)
    await till.run_due()
    pending = await till.refund(refund_id)
    till.bank.settle_pending()

    await till.live()

    assert pending.parts[0].state is PartState.PENDING
    assert pending.refund.refunded_minor == 0
    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    await till.books_agree()


async def test_a_refund_pending_for_a_month_is_put_before_a_person_and_looked_up_all_the_same(till: Any) -> None:
    """Promise 12: no state without an age limit."""
    account = await till.payment()
    till.bank.answers = [Pending(gateway_ref="re-late")]
    refund_id = await till.approved(account)

    await till.live(until=timedelta(days=32))

    assert (await till.refund(refund_id)).parts[0].state is PartState.PENDING
    assert await till.tasks() == ["refund_pending_too_long"]
    till.bank.settle_pending()
    await till.live(until=timedelta(days=3))
    assert (await till.refund(refund_id)).refund.state is RefundState.SUCCEEDED
    assert await till.tasks() == []


@pytest.mark.parametrize(
    ("capabilities", "code"),
    [
        ({"refunds": False}, "cannot_refund"),
        ({"refund_windows": {"card": timedelta(days=1)}}, "refund_window_passed"),
    ],
)
async def test_what_the_gateway_can_not_do_is_seen_before_anything_leaves(
    till: Any, capabilities: dict[str, Any], code: str
) -> None:
    """Facts change between approval and sending: checked once more, under lock."""
    account = await till.payment()
    refund_id = await till.approved(account)
    till.bank.can(**capabilities)
    till.clock.advance(timedelta(days=2))

    await till.live()

    file = await till.refund(refund_id)
    assert till.bank.requests == []
    assert file.parts[0].failure is not None
    assert file.parts[0].failure.code == code
    assert file.refund.state is RefundState.FAILED


async def test_amounts_of_zero_and_three_decimals_go_out_as_they_are(till: Any) -> None:
    """Minor units are whole numbers in every currency."""
    yen, dinar = await till.payment(1_500, currency="JPY"), await till.payment(12_345, currency="KWD")
    await till.approved(yen, 1)
    await till.approved(dinar, 12_344)

    await till.live()

    asked = sorted((r.amount.amount_minor, r.amount.currency) for r in till.bank.requests)
    assert asked == [(1, "JPY"), (12_344, "KWD")]
