"""The facts a refund policy may ask about: what is asked back, of which payment, for whom and by whom."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final

import msgspec

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network, Segment
from recoup_core.domain.refund import Destination, Purpose
from recoup_core.rules.facts.declare import (
    COUNTRIES,
    CURRENCIES,
    FactKind,
    Facts,
    PolicyKind,
    Vocabulary,
    choice,
    declared,
    fact,
)
from recoup_core.rules.facts.retry import CUSTOMER, SUBSCRIPTION, CustomerFacts, SubscriptionFacts


class Dispute(StrEnum):
    """Whether the customer went to their bank about the payment."""

    NONE = "none"
    INQUIRY = "inquiry"
    OPEN = "open"
    WON = "won"
    LOST = "lost"


class Channel(StrEnum):
    """How a request came that is decided on; what was made elsewhere never is."""

    API = "api"
    CONSOLE = "console"
    COMMAND_LINE = "command_line"


class RefundCustomerFacts(CustomerFacts, frozen=True, kw_only=True, omit_defaults=True):
    """Who gets the money, and what they got before; not counting the refund that is decided on."""

    refunds_7d: int | None = 0
    refunded_7d: Money | None = None
    """In the currency of the refund; None before the first."""
    refunds_30d: int | None = 0
    refunded_30d: Money | None = None
    refunds_365d: int | None = 0
    refunded_365d: Money | None = None


class RefundSubscriptionFacts(SubscriptionFacts, frozen=True, kw_only=True, omit_defaults=True):
    """The subscription that the payment was for."""

    used_percent: int | None = None


class AgentFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asks for the refund, and what they had approved today."""

    role: str | None = None
    refunds_today: int | None = 0
    refunded_today: Money | None = None


class RefundFacts(Facts, frozen=True, kw_only=True, omit_defaults=True):
    """All that a refund policy decides on, as of the request; `amount` is what is asked back. None means missing."""

    reason: str
    """One of the policy's own `reasons`."""
    payment_amount: Money
    """What the payment collected."""
    refunded_before: Money
    """What of it was refunded, or is reserved for refunds, before this one."""
    refunds_before: int = 0
    """Earlier refunds of this payment that were not denied, rejected, expired, canceled or failed."""
    share_percent: int
    """What will have been refunded of the payment, this refund included, rounded up to a whole per cent."""
    age_days: int
    """Whole days since the payment was made."""
    paid_on: str
    """The date of the payment, ISO 8601."""
    destination: str = Destination.ORIGINAL_METHOD.value
    purpose: str = Purpose.REFUND.value
    """`goodwill` is money beyond what the customer has a claim to; it never changes while a request lives."""
    dispute: str = Dispute.NONE.value
    channel: str = Channel.API.value
    payments: int = 1
    """How many payments of one order the request goes over; all amounts are of these together."""
    customer: RefundCustomerFacts | None = None
    subscription: RefundSubscriptionFacts | None = None
    agent: AgentFacts | None = None


_K: Final = FactKind
_DECLARED: Final = declared(
    fact("amount", _K.MONEY, "what is asked back, written in major units per currency"),
    choice("currency", CURRENCIES, "the currency of the amount", scope=True),
    choice("method", Method, "how the customer paid", scope=True),
    choice("network", Network, "the card network", optional=True, scope=True),
    fact("gateway", _K.TEXT, "the gateway that holds the money, by its name in the settings", scope=True),
    choice("country", COUNTRIES, "the customer's country", optional=True, scope=True),
    choice("segment", Segment, "consumer or business", optional=True, scope=True),
    fact("reason", _K.TEXT, "why the money is asked back: one of the policy's own `reasons`"),
    fact("payment_amount", _K.MONEY, "what the payment collected"),
    fact("refunded_before", _K.MONEY, "what of it was refunded or reserved before this refund"),
    fact("refunds_before", _K.INT, "refunds of this payment before this one that were not denied or ended in nothing"),
    fact("share_percent", _K.INT, "what will have been refunded of the payment, in per cent, rounded up"),
    fact("age_days", _K.INT, "whole days since the payment was made"),
    fact("paid_on", _K.DATE, "the date of the payment"),
    choice("destination", Destination, "where the money goes"),
    choice("purpose", Purpose, "what was paid comes back, or money is given as goodwill", scope=True),
    choice("dispute", Dispute, "whether the customer went to their bank about the payment"),
    choice("channel", Channel, "how the request came"),
    fact("payments", _K.INT, "how many payments of one order the request goes over", low=1),
    *CUSTOMER,
    fact("customer.refunds_7d", _K.INT, "refunds the customer got in the last 7 days", optional=True),
    fact("customer.refunded_7d", _K.MONEY, "what they came to", optional=True),
    fact("customer.refunds_30d", _K.INT, "refunds the customer got in the last 30 days", optional=True),
    fact("customer.refunded_30d", _K.MONEY, "what they came to", optional=True),
    fact("customer.refunds_365d", _K.INT, "refunds the customer got in the last 365 days", optional=True),
    fact("customer.refunded_365d", _K.MONEY, "what they came to", optional=True),
    *SUBSCRIPTION,
    fact("subscription.used_percent", _K.INT, "how much of the period paid for is over", optional=True, high=100),
    fact("agent.role", _K.TEXT, "the role of who asks", optional=True),
    fact("agent.refunds_today", _K.INT, "refunds that who asks had approved today", optional=True),
    fact("agent.refunded_today", _K.MONEY, "what they came to", optional=True),
)

_PERCENT: Final = 100


_AMOUNTS: Final = frozenset({"amount", "currency", "refunded_before", "payment_amount", "share_percent"})
_WINDOWS: Final = ("7d", "30d", "365d")
"""Each lies in those after it."""


def _follow(facts: RefundFacts, given: Collection[str]) -> RefundFacts:
    """Change what goes with what was given; only facts that were not given themselves."""
    return _velocity_follows(_before_follows(_amounts_follow(facts, given), given), given)


def _amounts_follow(facts: RefundFacts, given: Collection[str]) -> RefundFacts:
    """Unless given, the payment is what is asked back and what went before it, and the share what they come to.

    `age_days` and `paid_on` are free of each other: between them lies the day of the request, which is no fact.
    """
    if _AMOUNTS.isdisjoint(given):
        return facts
    before = facts.refunded_before
    if "refunded_before" not in given:
        before = Money(before.amount_minor, facts.amount.currency)
    if before.currency != facts.amount.currency:
        return facts
    back, paid, share = before + facts.amount, facts.payment_amount, facts.share_percent
    if "payment_amount" not in given:
        whole = _rounded_up(back.amount_minor * _PERCENT, share) if "share_percent" in given else back.amount_minor
        paid = Money(whole, back.currency)
    if "share_percent" not in given and paid.currency == back.currency:
        share = _rounded_up(back.amount_minor * _PERCENT, paid.amount_minor)
    return msgspec.structs.replace(facts, payment_amount=paid, refunded_before=before, share_percent=share)


def _before_follows(facts: RefundFacts, given: Collection[str]) -> RefundFacts:
    """Take what came back before to be one refund, unless it is said how many there were."""
    if "refunded_before" not in given or "refunds_before" in given:
        return facts
    return msgspec.structs.replace(facts, refunds_before=min(facts.refunded_before.amount_minor, 1))


def _velocity_follows(facts: RefundFacts, given: Collection[str]) -> RefundFacts:
    """Count what the customer got in 7 days in the longer windows, too, unless those are given."""
    customer = facts.customer
    if customer is None:
        return facts
    for what in ("refunds", "refunded"):
        shortest, *longer = (f"{what}_{window}" for window in _WINDOWS)
        known = getattr(customer, shortest)
        if known is not None and f"customer.{shortest}" in given:
            more = {each: known for each in longer if f"customer.{each}" not in given}
            customer = msgspec.structs.replace(customer, **more)
    return msgspec.structs.replace(facts, customer=customer)


def _impossible(facts: RefundFacts) -> str | None:
    if not facts.amount.amount_minor:
        return "nothing is asked back"
    others = {facts.payment_amount.currency, facts.refunded_before.currency} - {facts.amount.currency}
    if others:
        return f"what is asked back is in {facts.amount.currency}, the payment in {', '.join(sorted(others))}"
    return None


def _rounded_up(number: int, divisor: int) -> int:
    return -(-number // max(divisor, 1))


REFUND: Final = Vocabulary(
    kind=PolicyKind.REFUND,
    facts=_DECLARED,
    baseline=RefundFacts(
        amount=Money(4900, "EUR"),
        method=Method.CARD.value,
        network=Network.VISA.value,
        gateway="sandbox",
        country="DE",
        segment=Segment.CONSUMER.value,
        reason="requested_by_customer",
        payment_amount=Money(4900, "EUR"),
        refunded_before=Money(0, "EUR"),
        share_percent=100,
        age_days=3,
        paid_on="2026-11-20",
    ),
    group_types={"customer": RefundCustomerFacts, "subscription": RefundSubscriptionFacts, "agent": AgentFacts},
    follow=_follow,
    impossible=_impossible,
)
"""The vocabulary of `refund` policies."""
