"""The facts a retry policy may ask about: what is owed, by whom, and how the latest attempt failed."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from recoup_core.domain.decline import DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network, Segment
from recoup_core.rules.facts.declare import (
    COUNTRIES,
    CURRENCIES,
    Fact,
    FactKind,
    Facts,
    PolicyKind,
    Vocabulary,
    choice,
    declared,
    fact,
)


class Interval(StrEnum):
    """How often a subscription renews."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class CustomerFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the merchant told about who owes."""

    tier: str | None = None
    tenure_days: int | None = None
    vulnerable: bool | None = None
    country: str | None = None
    segment: str | None = None


class SubscriptionFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The subscription that the debt renews."""

    plan: str | None = None
    interval: str | None = None


class RetryFacts(Facts, frozen=True, kw_only=True, omit_defaults=True):
    """All that a retry policy decides on, as of the latest decline; None means missing."""

    decline: str
    """`DeclineCategory` of the latest decline."""
    decline_code: str
    decline_source: str
    retryable: str
    network_code: str | None = None
    advice_code: str | None = None
    visa_category: int | None = None
    attempt: int
    """How many attempts have failed so far, whoever made them; 1 means only the first failure."""
    retries: int
    """Attempts that this service made in this case."""
    days_since_failure: int
    """Whole days since the first failure."""
    has_backup: bool = False
    customer: CustomerFacts | None = None
    subscription: SubscriptionFacts | None = None
    issuer_country: str | None = None


_K: Final = FactKind
CUSTOMER: Final = (
    fact("customer.tier", _K.TEXT, "the merchant's own grade of the customer", optional=True, scope=True),
    fact("customer.tenure_days", _K.INT, "days since the customer came", optional=True),
    fact("customer.vulnerable", _K.BOOL, "whether the customer needs particular care", optional=True),
    choice("customer.country", COUNTRIES, "the customer's country, as the merchant told", optional=True, scope=True),
    choice("customer.segment", Segment, "consumer or business, as the merchant told", optional=True, scope=True),
)
SUBSCRIPTION: Final = (
    fact("subscription.plan", _K.TEXT, "the plan that renews", optional=True, scope=True),
    choice("subscription.interval", Interval, "how often it renews", optional=True, scope=True),
)
CASE: Final[tuple[Fact, ...]] = (
    fact("amount", _K.MONEY, "what is still owed, written in major units per currency"),
    choice("currency", CURRENCIES, "the currency of the amount", scope=True),
    choice("method", Method, "how the customer pays", scope=True),
    choice("network", Network, "the card network", optional=True, scope=True),
    fact("gateway", _K.TEXT, "the gateway of the latest attempt, by its name in the settings", scope=True),
    choice("country", COUNTRIES, "the customer's country", optional=True, scope=True),
    choice("segment", Segment, "consumer or business", optional=True, scope=True),
    choice("decline", DeclineCategory, "why the latest attempt failed, in our categories"),
    fact("decline_code", _K.TEXT, "the provider's own code"),
    choice("decline_source", DeclineSource, "whose code table the code is from"),
    choice("retryable", Retryable, "whether time alone may help"),
    fact("network_code", _K.TEXT, "the issuer's or scheme's response code", optional=True),
    fact("advice_code", _K.TEXT, "Mastercard's advice code, two digits", optional=True),
    fact("visa_category", _K.INT, "Visa's decline category, 1 to 4", optional=True, low=1, high=4),
    fact("attempt", _K.INT, "attempts that have failed so far, whoever made them; 1 is the first failure", low=1),
    fact("retries", _K.INT, "attempts that this service made in this case"),
    fact("days_since_failure", _K.INT, "whole days since the first failure"),
    fact("has_backup", _K.BOOL, "whether the customer has a valid backup credential"),
    *CUSTOMER,
    *SUBSCRIPTION,
    choice("issuer_country", COUNTRIES, "the country of the card's issuer", optional=True, scope=True),
)
"""What is known of a case."""

BASELINE: Final = RetryFacts(
    amount=Money(4900, "EUR"),
    method=Method.CARD.value,
    network=Network.VISA.value,
    gateway="sandbox",
    country="DE",
    segment=Segment.CONSUMER.value,
    decline=DeclineCategory.ISSUER_GENERIC.value,
    decline_code="generic_decline",
    decline_source=DeclineSource.STRIPE.value,
    retryable=Retryable.YES.value,
    attempt=1,
    retries=0,
    days_since_failure=0,
)

_CaseFacts = TypeVar("_CaseFacts", bound=RetryFacts)


def retries_follow(facts: _CaseFacts, given: Collection[str]) -> _CaseFacts:
    """All attempts but the first are taken to be this service's, unless it is said how many are."""
    if "attempt" in given and "retries" not in given:
        return msgspec.structs.replace(facts, retries=facts.attempt - 1)
    return facts


RETRY: Final = Vocabulary(
    kind=PolicyKind.RETRY,
    facts=declared(*CASE),
    baseline=BASELINE,
    group_types={"customer": CustomerFacts, "subscription": SubscriptionFacts},
    follow=retries_follow,
)
"""The vocabulary of `retry` policies."""
