"""The sample of collected payments: what is asked back of them, and what the bank and its customers do meanwhile.

Each story stands for something that happens to refunds; the first orders tell each story once, the others as often as
its weight says. How often which of them happens in the world is anybody's guess: these weights are made up.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final, Literal

import msgspec

from recoup_cli.demo.population import GATEWAY, MONTH, NETWORKS
from recoup_core.domain.capture import LineKind
from recoup_core.domain.payment import Customer, Method, Segment
from recoup_core.domain.refund import Purpose
from recoup_core.flows.captured import CaptureReport, ReportedLine
from recoup_plugins.gateways.sandbox_refund_script import REPORTED

ALWAYS: Final = 24
"""Orders of a sample that is not smaller than that: enough for each story."""

ONE_IN: Final = 6
"""Beyond those, one order for so many failed payments."""

LAST_DAYS: Final = timedelta(days=2)
"""Orders come before these: something is to be asked of the last ones, too."""

TAX_PERCENT: Final = 19

What = Literal["all", "piece", "shipping", "third", "tax", "goodwill"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request for money back."""

    after: timedelta
    what: What = "all"
    reason: str = "requested_by_customer"
    purpose: Purpose = Purpose.REFUND
    store_credit: bool = False
    major: int = 0
    """Of goodwill: how much, in whole units of the currency."""
    answers_inquiry: bool = False
    of_the_order: bool = False


class BankActs(msgspec.Struct, frozen=True, kw_only=True):
    """What the customer's bank does, or somebody in the gateway's own dashboard."""

    after: timedelta
    what: Literal["inquiry", "dispute", "lost", "won", "refund_elsewhere"]


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to one order."""

    name: str
    weight: int
    prices: tuple[int, int] = (6000, 14000)
    """Of one piece, in minor units of a currency with two decimals."""
    pieces: int = 2
    script: str = ""
    """What the sandbox does with its refunds (plugins/README.md)."""
    age: timedelta = timedelta(minutes=5)
    """How long ago it was collected when it is reported."""
    asks: tuple[Ask, ...] = ()
    acts: tuple[BankActs, ...] = ()
    payments: int = 1


def _days(count: float) -> timedelta:
    return timedelta(days=count)


_SMALL: Final = (500, 1700)
_LARGE: Final = (70_000, 160_000)

STORIES: Final = (
    Story(name="small and recent", weight=14, prices=_SMALL, asks=(Ask(after=_days(3), reason="withdrawal"),)),
    Story(name="one piece", weight=10, pieces=3, asks=(Ask(after=_days(5), what="piece"),)),
    Story(name="the shipping", weight=6, asks=(Ask(after=_days(6), what="shipping", reason="not_delivered"),)),
    Story(
        name="by and by",
        weight=8,
        asks=tuple(Ask(after=_days(day), what="third", reason="cancellation") for day in (2, 6, 11)),
    ),
    Story(name="without a photo", weight=8, asks=(Ask(after=_days(4), what="piece", reason="damaged"),)),
    Story(name="two approvers", weight=8, prices=_LARGE, asks=(Ask(after=_days(4), reason="cancellation"),)),
    Story(name="very large", weight=3, prices=(520_000, 580_000), pieces=1, asks=(Ask(after=_days(3)),)),
    Story(name="only the tax", weight=3, asks=(Ask(after=_days(2), what="tax"),)),
    Story(
        name="a small gesture",
        weight=7,
        asks=(
            Ask(
                after=_days(7),
                what="goodwill",
                major=15,
                reason="late_delivery",
                purpose=Purpose.GOODWILL,
                store_credit=True,
            ),
        ),
    ),
    Story(
        name="more than a gesture",
        weight=4,
        asks=(Ask(after=_days(7), what="goodwill", major=60, reason="retention", purpose=Purpose.GOODWILL),),
    ),
    Story(name="the card is gone", weight=4, script="refused:lost_or_stolen_card", asks=(Ask(after=_days(5)),)),
    Story(name="taken back", weight=3, script="taken_back:6d", prices=_SMALL, asks=(Ask(after=_days(3)),)),
    Story(name="too little balance", weight=4, script="low_balance*1", prices=_SMALL, asks=(Ask(after=_days(4)),)),
    Story(name="the answer is lost", weight=5, script="lose", prices=_SMALL, asks=(Ask(after=_days(2)),)),
    Story(name="the bank takes its time", weight=6, script="pending:3d", prices=_SMALL, asks=(Ask(after=_days(2)),)),
    Story(name="only authorised", weight=4, script="authorized", prices=_SMALL, asks=(Ask(after=_days(1)),)),
    Story(
        name="the bank asked",
        weight=3,
        asks=(Ask(after=_days(6), answers_inquiry=True),),
        acts=(BankActs(after=_days(5), what="inquiry"),),
    ),
    Story(
        name="disputed and lost",
        weight=3,
        asks=(Ask(after=_days(8)),),
        acts=(BankActs(after=_days(6), what="dispute"), BankActs(after=_days(14), what="lost")),
    ),
    Story(
        name="disputed in review, and won",
        weight=2,
        prices=_LARGE,
        asks=(Ask(after=_days(4)),),
        acts=(BankActs(after=_days(4.02), what="dispute"), BankActs(after=_days(12), what="won")),
    ),
    Story(
        name="refunded elsewhere",
        weight=3,
        asks=(Ask(after=_days(7)),),
        acts=(BankActs(after=_days(5), what="refund_elsewhere"),),
    ),
    Story(name="too late", weight=3, age=_days(200), asks=(Ask(after=_days(1)),)),
    Story(name="an order of two", weight=4, payments=2, asks=(Ask(after=_days(4), of_the_order=True),)),
)

_CURRENCIES: Final = (("EUR", 58, 1, 1), ("USD", 22, 1, 1), ("GBP", 13, 1, 1), ("JPY", 4, 3, 2), ("KWD", 3, 3, 1))
"""With their weight, and what a price is multiplied with and divided by."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order: when it is reported, the payments that it was paid with, and its story."""

    number: int
    at: datetime
    story: Story
    reports: tuple[CaptureReport, ...]
    """Of the payments, the main one first."""


def order_count(payments: int) -> int:
    """Return how many orders go with so many failed payments."""
    return min(payments, ALWAYS + payments // ONE_IN)


def make_orders(count: int, seed: str, start: datetime) -> list[Order]:
    """Return this many orders of the month that begins at `start`, by time; the same arguments give the same."""
    random = Random(f"{seed} orders")  # noqa: S311 # a sample, nothing secret
    spread = MONTH - LAST_DAYS
    orders = [_order(random, number, start + spread * random.random()) for number in range(1, count + 1)]
    return sorted(orders, key=lambda order: order.at)


def _order(random: Random, number: int, at: datetime) -> Order:
    if number <= len(STORIES):
        story = STORIES[number - 1]
    else:
        story = random.choices(STORIES, [story.weight for story in STORIES])[0]
    currency, _, times, per = random.choices(_CURRENCIES, [weight for _, weight, _, _ in _CURRENCIES])[0]
    unit_minor = random.randint(*story.prices) * times // per
    lines = _lines(unit_minor, story.pieces, 490 * times // per)
    customer = Customer(ref=f"shopper-{number:04d}", country="DE", segment=Segment.CONSUMER, tenure_days=400)
    order_ref = f"ORD-{number:04d}"
    reports = tuple(
        CaptureReport(
            merchant_id="default",
            reference=order_ref if index == 0 else f"{order_ref}-{index + 1}",
            order_ref=order_ref,
            customer=customer,
            amount_minor=sum(line.amount_minor for line in lines),
            currency=currency,
            gateway=GATEWAY,
            gateway_ref=_charge_ref(number, index, story.script),
            method=Method.CARD,
            network=random.choices([n for n, _ in NETWORKS], [weight for _, weight in NETWORKS])[0],
            captured_at=at - story.age - timedelta(minutes=index),
            authorized="authorized" in story.script,
            lines=lines,
        )
        for index in range(story.payments)
    )
    return Order(number=number, at=at, story=story, reports=reports)


def _charge_ref(number: int, index: int, script: str) -> str:
    return f"{REPORTED}order_{number}_{index + 1}" + (f"~{script}" if script else "")


def _lines(unit_minor: int, pieces: int, shipping_minor: int) -> tuple[ReportedLine, ...]:
    charged: Sequence[tuple[str, LineKind, int, int]] = (
        ("mug", LineKind.ITEM, pieces, unit_minor * pieces),
        ("shipping", LineKind.SHIPPING, 1, shipping_minor),
    )
    return tuple(
        ReportedLine(
            ref=ref,
            kind=kind,
            description=ref,
            quantity=quantity,
            amount_minor=amount_minor,
            tax_minor=amount_minor * TAX_PERCENT // (100 + TAX_PERCENT),
        )
        for ref, kind, quantity, amount_minor in charged
    )
