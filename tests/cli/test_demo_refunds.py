"""The refunds of `recoup demo`: the sample repeats, tells every story, and is held against the bank's books."""

from datetime import UTC, datetime, timedelta

import pytest

from recoup_cli.demo.orders import STORIES, make_orders, order_count
from recoup_cli.demo.population import MONTH
from recoup_cli.demo.refund_outcome import RefundOutcome, judge_refunds
from recoup_core.domain.capture import Capture
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import Customer, Method, Payment, PaymentState
from recoup_core.domain.refund import Channel, Destination, PartState, Refund, RefundPart, RefundState
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_plugins.gateways.sandbox_refund_rows import RefundTotal
from recoup_plugins.gateways.sandbox_refund_script import parse_refunds

START = datetime(2026, 10, 24, 9, tzinfo=UTC)
CHARGE = "sbx_reported_order_1_1"


# --- the sample -----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_orders() -> None:
    """A demo can be repeated and compared."""
    assert make_orders(40, "spring", START) == make_orders(40, "spring", START)
    assert make_orders(40, "spring", START) != make_orders(40, "autumn", START)


def test_a_sample_of_the_usual_size_tells_every_story() -> None:
    """Nobody has to be lucky to see a refund that was taken back."""
    orders = make_orders(order_count(60), "recoup", START)

    assert {order.story.name for order in orders} == {story.name for story in STORIES}


def test_small_samples_stay_small() -> None:
    """One failed payment is no reason for dozens of orders."""
    assert [order_count(payments) for payments in (1, 24, 600)] == [1, 24, 124]


def test_orders_come_inside_the_month_and_add_up() -> None:
    """Lines sum to the payment, each charge is told apart, and the sandbox can read each script."""
    orders = make_orders(200, "recoup", START)
    reports = [report for order in orders for report in order.reports]

    assert [order.at for order in orders] == sorted(order.at for order in orders)
    assert all(START <= order.at < START + MONTH for order in orders)
    assert all(report.amount_minor == sum(line.amount_minor for line in report.lines) for report in reports)
    assert len({report.gateway_ref for report in reports}) == len(reports)
    assert all(parse_refunds(order.story.script) for order in orders)


# --- judging --------------------------------------------------------------------------------------------------------


def judged(*parts: RefundPart, bank: dict[str, RefundTotal], channel: Channel = Channel.API) -> RefundOutcome:
    return judge_refunds([a_file(parts, channel)], {PAYMENT.id: ACCOUNT}, [], bank)


PAYMENT = Payment(
    id=new_id(),
    merchant_id="default",
    reference="ORD-0001",
    customer=Customer(ref="c"),
    amount_minor=1000,
    currency="EUR",
    captured_minor=1000,
    gateway="sandbox",
    method=Method.CARD,
    state=PaymentState.PAID,
    created_at=START,
)
CAPTURE = Capture(
    id=new_id(),
    merchant_id="default",
    payment_id=PAYMENT.id,
    gateway="sandbox",
    gateway_ref=CHARGE,
    method=Method.CARD,
    amount_minor=1000,
    currency="EUR",
    captured_at=START,
    created_at=START,
)
ACCOUNT = PaymentAccount(payment=PAYMENT, captures=(CAPTURE,))


def a_part(state: PartState, amount_minor: int, *, gateway: str | None = "sandbox", void: bool = False) -> RefundPart:
    return RefundPart(
        id=new_id(),
        merchant_id="default",
        refund_id=new_id(),
        payment_id=PAYMENT.id,
        capture_id=CAPTURE.id,
        number=1,
        revision=1,
        destination=Destination.ORIGINAL_METHOD if gateway else Destination.STORE_CREDIT,
        gateway=gateway,
        void=void,
        amount_minor=amount_minor,
        currency="EUR",
        state=state,
        created_at=START,
    )


def a_file(parts: tuple[RefundPart, ...], channel: Channel) -> RefundFile:
    refund = Refund(
        id=new_id(),
        merchant_id="default",
        payment_id=PAYMENT.id,
        customer_ref="c",
        amount_minor=1000,
        currency="EUR",
        reason="withdrawal",
        channel=channel,
        requested_by="mia",
        touched_by=("mia",),
        state=RefundState.SUCCEEDED,
        created_at=START,
        approved_at=START + timedelta(hours=1),
    )
    return RefundFile(refund=refund, parts=parts)


def a_total(back_minor: int, *, voided_minor: int = 0) -> dict[str, RefundTotal]:
    total = RefundTotal(
        back_minor=back_minor,
        currency="EUR",
        refunds=1,
        elsewhere_minor=0,
        pending_minor=0,
        taken_back_minor=0,
        voided_minor=voided_minor,
        keys=1,
        sends=1,
    )
    return {CHARGE: total}


@pytest.mark.parametrize(
    ("part", "bank"),
    [
        (a_part(PartState.SUCCEEDED, 400), a_total(400)),
        (a_part(PartState.SUCCEEDED, 1000, void=True), a_total(0, voided_minor=1000)),
        (a_part(PartState.TAKEN_BACK, 400), a_total(0)),
        (a_part(PartState.SUCCEEDED, 400, gateway=None), {}),
        (a_part(PartState.UNKNOWN, 400), a_total(400)),
        (a_part(PartState.RESERVED, 400), {}),
    ],
)
def test_books_that_agree_are_silent(part: RefundPart, bank: dict[str, RefundTotal]) -> None:
    """Store credit is no business of the bank; while an answer is to come it may know of more."""
    assert judged(part, bank=bank).differences == []


@pytest.mark.parametrize(
    ("part", "bank", "says"),
    [
        (a_part(PartState.SUCCEEDED, 400), {}, "the bank gave back 0 and voided 0, the books say 400 and 0"),
        (a_part(PartState.SUCCEEDED, 400), a_total(800), "the bank gave back 800"),
        (a_part(PartState.FAILED, 400), a_total(400), "the books say 0 and 0"),
        (a_part(PartState.SUCCEEDED, 1000, void=True), a_total(1000), "the books say 0 and 1000"),
    ],
)
def test_money_lost_or_given_twice_is_named(part: RefundPart, bank: dict[str, RefundTotal], says: str) -> None:
    """With the charge it is about."""
    (difference,) = judged(part, bank=bank).differences

    assert difference.startswith(CHARGE)
    assert says in difference


def test_a_charge_that_the_books_do_not_know_is_named() -> None:
    """The bank refunds what was never reported to us."""
    stranger = {"sbx_reported_other": a_total(5)[CHARGE]}

    (difference,) = judged(a_part(PartState.RESERVED, 400), bank=stranger).differences

    assert difference.startswith("sbx_reported_other")


def test_those_made_elsewhere_are_counted_apart() -> None:
    """They count as money that went back and as nobody's decision."""
    outcome = judged(a_part(PartState.SUCCEEDED, 400), bank=a_total(400), channel=Channel.REPORTED)

    assert (outcome.asked, outcome.elsewhere, outcome.by_policy) == (0, 1, 0)
    assert outcome.refunded_minor == {"EUR": 400}
