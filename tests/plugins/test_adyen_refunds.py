"""Refunds and voids at Adyen against our fake: what is sent, and what each kind of answer means for the money."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.plugins.adyen_benches import AdyenRefundBench, a_gateway, last_told
from tests.plugins.fake_adyen import FakeAdyen
from tests.plugins.fake_adyen_answers import MERCHANT

from recoup_core.domain.ids import new_id
from recoup_core.flows.guard import Unknown, refund_guarded
from recoup_plugins import (
    FailureCategory,
    Money,
    NotSent,
    Pending,
    Refunded,
    RefundReason,
    RefundRequest,
    Refused,
    TakenBack,
)
from recoup_plugins.gateways.adyen_errors import AdyenAnswerLost
from recoup_plugins.gateways.adyen_refunds import failure_of

Build = Callable[..., RefundRequest]


@pytest.fixture
def gateway(fake_adyen: FakeAdyen) -> Any:
    return a_gateway(fake_adyen, timeout_s=2.0)


@pytest.fixture
def refund_of(fake_adyen: FakeAdyen, a_refund: Build) -> Build:
    """Build a refund of a fresh payment of 19.99 EUR whose refunds do what the words say."""

    def build(*words: str, captured: bool = True, **changes: Any) -> RefundRequest:
        payment = fake_adyen.paid(1999, "EUR", *words, captured=captured)
        return a_refund(**{"charge_ref": payment["psp"], **changes})

    return build


def another(request: RefundRequest, **changes: Any) -> RefundRequest:
    part_id = new_id()
    return msgspec.structs.replace(request, part_id=part_id, idempotency_key=f"key-{part_id}", **changes)


async def test_a_refund_names_payment_amount_reason_key_and_part(
    gateway: Any, fake_adyen: FakeAdyen, refund_of: Build
) -> None:
    """The amount is always said, also for all of it; "received" is not refunded."""
    request = refund_of(reason=RefundReason.REQUESTED_BY_CUSTOMER)

    outcome = await gateway.refund(request)

    (psp,) = fake_adyen.refunds
    assert outcome == Pending(gateway_ref=psp)
    assert fake_adyen.posts == [
        {
            "path": f"/payments/{request.charge_ref}/refunds",
            "key": request.idempotency_key,
            "merchantAccount": MERCHANT,
            "amount": {"currency": "EUR", "value": 1999},
            "reference": f"recoup-part-{request.part_id}",
            "merchantRefundReason": "CUSTOMER REQUEST",
        }
    ]


@pytest.mark.parametrize("reason", list(RefundReason))
async def test_every_reason_is_one_that_adyen_takes(gateway: Any, refund_of: Build, reason: RefundReason) -> None:
    """Adyen's document refuses any other word."""
    assert isinstance(await gateway.refund(refund_of(reason=reason)), Pending)


@pytest.mark.parametrize(
    "charge_ref",
    ["pi_a", "", "qwertyuiopasdfgh", "QWERTYUIOPASDFG", "../../paymentLinks", "A" * 17, "QWERTYUIOPASDFG/"],
)
async def test_a_reference_that_is_none_of_adyens_is_never_sent(
    gateway: Any, fake_adyen: FakeAdyen, a_refund: Build, charge_ref: str
) -> None:
    """It would stand in the address of the call."""
    outcome = await gateway.refund(a_refund(charge_ref=charge_ref))

    assert isinstance(outcome, Refused)
    assert outcome.failure.category is FailureCategory.CONFIGURATION
    assert fake_adyen.posts == []


async def test_a_currency_adyen_can_not_take_is_never_sent(
    gateway: Any, fake_adyen: FakeAdyen, refund_of: Build
) -> None:
    """Nothing is sent unconverted."""
    outcome = await gateway.refund(refund_of(amount=Money(1, "IDR")))

    assert isinstance(outcome, Refused)
    assert fake_adyen.posts == []


async def test_a_payment_nobody_knows_is_refused(gateway: Any, a_refund: Build) -> None:
    """167: no waiting helps."""
    outcome = await gateway.refund(a_refund(charge_ref="QWERTYUIOPASDF82"))

    assert isinstance(outcome, Refused)
    assert (outcome.failure.category, outcome.failure.code) == (FailureCategory.CONFIGURATION, "error_167")


@pytest.mark.parametrize("word", ["429", "703", "transient"])
async def test_a_busy_adyen_did_nothing(gateway: Any, refund_of: Build, word: str) -> None:
    """The same key goes again."""
    request = refund_of(word)

    assert isinstance(await gateway.refund(request), NotSent)
    assert isinstance(await gateway.refund(request), Pending)


@pytest.mark.parametrize("word", ["500", "html502", "html200", "empty", "truncated", "704", "lose_before", "slow:3"])
async def test_no_word_about_the_money_is_unknown(gateway: Any, refund_of: Build, word: str) -> None:
    """It may have gone back."""
    with pytest.raises(AdyenAnswerLost):
        await gateway.refund(refund_of(word))


async def test_a_refusal_of_a_later_send_says_nothing_of_the_first(gateway: Any, refund_of: Build) -> None:
    """The first send may have arrived."""
    request = refund_of("401:always", first_sent_at=datetime.now(UTC) - timedelta(minutes=2))

    assert isinstance(await refund_guarded(gateway, request), Unknown)


async def test_a_lost_answer_sent_again_is_one_refund(gateway: Any, fake_adyen: FakeAdyen, refund_of: Build) -> None:
    """Inside the key's lifetime."""
    request = refund_of("lose", amount=Money(500, "EUR"))

    with pytest.raises(AdyenAnswerLost):
        await gateway.refund(request)
    again = await gateway.refund(request)

    assert isinstance(again, Pending)
    assert fake_adyen.gone(request.charge_ref) == 500


async def test_an_answer_about_another_refund_is_unknown(gateway: Any, fake_adyen: FakeAdyen, refund_of: Build) -> None:
    """A key with another body is answered with the first one's refund."""
    request = refund_of(amount=Money(500, "EUR"))
    await gateway.refund(request)

    for changed in ({"part_id": new_id()}, {"amount": Money(600, "EUR")}):
        with pytest.raises(AdyenAnswerLost):
            await gateway.refund(msgspec.structs.replace(request, **changed))

    assert fake_adyen.gone(request.charge_ref) == 500


async def test_a_void_cancels_and_never_reverses(gateway: Any, fake_adyen: FakeAdyen, refund_of: Build) -> None:
    """`/reversals` would refund what was captured meanwhile."""
    request = refund_of(captured=False, void=True)

    outcome = await gateway.refund(request)

    assert isinstance(outcome, Pending)
    assert fake_adyen.posts[0]["path"] == f"/payments/{request.charge_ref}/cancels"
    assert "amount" not in fake_adyen.posts[0]


async def test_nothing_is_looked_up(gateway: Any, refund_of: Build) -> None:
    """The capabilities say so, and whoever asks all the same is told."""
    assert not gateway.capabilities.finds_refunds

    with pytest.raises(AdyenAnswerLost):
        await gateway.find_refund(refund_of())


async def test_a_refund_that_fails_later_is_taken_back(fake_adyen: FakeAdyen, a_refund: Build) -> None:
    """The scheme rejects what Adyen had told as done: the money is with the merchant again."""
    bench = AdyenRefundBench(a_refund, fake_adyen)
    payment = fake_adyen.paid(1999, "EUR")
    outcome = await bench.gateway.refund(a_refund(charge_ref=payment["psp"]))  # type: ignore[attr-defined]  # it refunds

    done = last_told(bench, outcome)
    fake_adyen.fail_refund(outcome.gateway_ref)
    back = last_told(bench, outcome)

    assert isinstance(done, Refunded)
    assert isinstance(back, TakenBack)
    assert (back.failure.code, back.failure.category) == ("refund_failed", FailureCategory.REFUSED)


@pytest.mark.parametrize(
    ("reason", "category"),
    [
        ("Transaction hasn't been captured, refund not possible", FailureCategory.NOT_CAPTURED),
        ("Insufficient balance on payment", FailureCategory.ALREADY_REFUNDED),
        ("Payment has already been captured", FailureCategory.ALREADY_CAPTURED),
        ("Chargeback already booked for this payment", FailureCategory.DISPUTED),
        ("Insufficient funds in process", FailureCategory.INSUFFICIENT_BALANCE),
        ("Moon rose", FailureCategory.UNKNOWN),
        ("", FailureCategory.UNKNOWN),
        (None, FailureCategory.UNKNOWN),
    ],
)
def test_why_a_refund_failed_is_read_from_words(reason: str | None, category: FailureCategory) -> None:
    """Adyen has no codes for it; words that nobody knows mean nothing."""
    failure = failure_of(reason)

    assert failure.category is category
    assert failure.code
