"""The facts a retry policy may ask about: each declared once, with its type, its allowed words and its meaning.

A fact that is not known is None ("missing"). Nested facts have dotted names (`customer.tier`).
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

import msgspec
from iso4217 import Currency

from recoup_core.domain.decline import DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money
from recoup_core.domain.payment import Method, Network, Segment


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


class RetryFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a retry policy decides on, as of the latest decline; None means missing."""

    amount: Money
    """What is still owed."""
    method: str
    network: str | None = None
    gateway: str
    country: str | None = None
    """The customer's, ISO 3166-1 alpha-2."""
    segment: str | None = None
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


class FactKind(StrEnum):
    """The type of a fact; a condition's values must have it."""

    CHOICE = "one of a closed list"
    TEXT = "a text"
    INT = "a whole number"
    BOOL = "true or false"
    MONEY = "an amount of money"


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One declared fact."""

    name: str
    kind: FactKind
    meaning: str
    get: Callable[[RetryFacts], Any]
    """Reads it from the facts; None when missing."""
    optional: bool = False
    scope: bool = False
    """Whether `applies_to` may name it: it does not change while a case runs."""
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = MAX_AMOUNT_MINOR


COUNTRIES: Final = tuple(
    """AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW""".split()  # noqa: SIM905 - 249 quoted words would fill a page
)
"""ISO 3166-1 alpha-2, as in the IANA time zone database (iso3166.tab)."""

CURRENCIES: Final = tuple(sorted(currency.code for currency in Currency))
"""ISO 4217, by the iso4217 package."""


def _nested(group: str, name: str) -> Callable[[RetryFacts], Any]:
    """Read a fact of a group that may be missing as a whole."""

    def get(facts: RetryFacts) -> Any:
        holder = getattr(facts, group)
        return None if holder is None else getattr(holder, name)

    return get


def _choice(name: str, choices: type[StrEnum] | tuple[str, ...], meaning: str, **more: Any) -> Fact:
    words = choices if isinstance(choices, tuple) else tuple(member.value for member in choices)
    return Fact(name=name, kind=FactKind.CHOICE, meaning=meaning, get=_getter(name), choices=words, **more)


def _fact(name: str, kind: FactKind, meaning: str, **more: Any) -> Fact:
    return Fact(name=name, kind=kind, meaning=meaning, get=_getter(name), **more)


def _getter(name: str) -> Callable[[RetryFacts], Any]:
    group, _, field = name.rpartition(".")
    if name == "currency":
        return attrgetter("amount.currency")
    return _nested(group, field) if group else attrgetter(name)


_K: Final = FactKind
_DECLARED: Final = (
    _fact("amount", _K.MONEY, "what is still owed, written in major units per currency"),
    _choice("currency", CURRENCIES, "the currency of the amount", scope=True),
    _choice("method", Method, "how the customer pays", scope=True),
    _choice("network", Network, "the card network", optional=True, scope=True),
    _fact("gateway", _K.TEXT, "the gateway of the latest attempt, by its name in the settings", scope=True),
    _choice("country", COUNTRIES, "the customer's country", optional=True, scope=True),
    _choice("segment", Segment, "consumer or business", optional=True, scope=True),
    _choice("decline", DeclineCategory, "why the latest attempt failed, in our categories"),
    _fact("decline_code", _K.TEXT, "the provider's own code"),
    _choice("decline_source", DeclineSource, "whose code table the code is from"),
    _choice("retryable", Retryable, "whether time alone may help"),
    _fact("network_code", _K.TEXT, "the issuer's or scheme's response code", optional=True),
    _fact("advice_code", _K.TEXT, "Mastercard's advice code, two digits", optional=True),
    _fact("visa_category", _K.INT, "Visa's decline category, 1 to 4", optional=True, low=1, high=4),
    _fact("attempt", _K.INT, "attempts that have failed so far, whoever made them; 1 is the first failure", low=1),
    _fact("retries", _K.INT, "attempts that this service made in this case"),
    _fact("days_since_failure", _K.INT, "whole days since the first failure"),
    _fact("has_backup", _K.BOOL, "whether the customer has a valid backup credential"),
    _fact("customer.tier", _K.TEXT, "the merchant's own grade of the customer", optional=True, scope=True),
    _fact("customer.tenure_days", _K.INT, "days since the customer came", optional=True),
    _fact("customer.vulnerable", _K.BOOL, "whether the customer needs particular care", optional=True),
    _choice("customer.country", COUNTRIES, "the customer's country, as the merchant told", optional=True, scope=True),
    _choice("customer.segment", Segment, "consumer or business, as the merchant told", optional=True, scope=True),
    _fact("subscription.plan", _K.TEXT, "the plan that renews", optional=True, scope=True),
    _choice("subscription.interval", Interval, "how often it renews", optional=True, scope=True),
    _choice("issuer_country", COUNTRIES, "the country of the card's issuer", optional=True, scope=True),
)

FACTS: Final[Mapping[str, Fact]] = {fact.name: fact for fact in _DECLARED}
"""Every fact of the kind `retry` by its dotted name."""

GROUPS: Final = frozenset(name.partition(".")[0] for name in FACTS if "." in name)
"""The first halves of dotted names; in YAML they may hold a mapping."""

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
"""What an example's facts are where it does not say otherwise (and `applies_to` neither)."""

_GROUP_TYPES: Final[Mapping[str, type[CustomerFacts] | type[SubscriptionFacts]]] = {
    "customer": CustomerFacts,
    "subscription": SubscriptionFacts,
}


def with_fact(facts: RetryFacts, name: str, value: Any) -> RetryFacts:
    """Return the facts with one of them changed; None makes an optional one missing."""
    group, _, field = name.rpartition(".")
    if name == "currency":
        return msgspec.structs.replace(facts, amount=Money(facts.amount.amount_minor, value))
    if not group:
        return msgspec.structs.replace(facts, **{name: value})
    holder = getattr(facts, group) or _GROUP_TYPES[group]()
    return msgspec.structs.replace(facts, **{group: msgspec.structs.replace(holder, **{field: value})})
