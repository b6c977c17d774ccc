"""How facts are declared: each once, with its type, its allowed words and its meaning.

A fact that is not known is None ("missing"). Nested facts have dotted names (`customer.tier`).
"""

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec
from iso4217 import Currency

from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money


class PolicyKind(StrEnum):
    """What a policy decides about."""

    RETRY = "retry"
    """When to try again, with which credential, and when to stop."""
    DUNNING = "dunning"
    """Which messages, subscription changes and tasks accompany a case."""
    REFUND = "refund"
    """Whether a refund is approved, reviewed (by whom) or denied."""
    NOTICE = "notice"
    """What a customer is told before a charge."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What conditions of every kind may ask about."""

    amount: Money
    """What is still owed, asked back, or going to be charged."""
    method: str
    network: str | None = None
    gateway: str
    country: str | None = None
    """The customer's, ISO 3166-1 alpha-2."""
    segment: str | None = None


class FactKind(StrEnum):
    """The type of a fact; a condition's values must have it."""

    CHOICE = "one of a closed list"
    TEXT = "a text"
    INT = "a whole number"
    BOOL = "true or false"
    MONEY = "an amount of money"
    DATE = "a date"
    """An ISO 8601 text, 2026-01-31; such texts compare as dates do."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One declared fact."""

    name: str
    kind: FactKind
    meaning: str
    get: Callable[[Any], Any]
    """Reads it from the facts; None when missing."""
    optional: bool = False
    scope: bool = False
    """Whether `applies_to` may name it: it does not change while a case runs."""
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = MAX_AMOUNT_MINOR


AnyFacts = TypeVar("AnyFacts", bound=Facts)
Follow = Callable[[Any, Collection[str]], Any]


def _as_they_are(facts: Any, _: Collection[str]) -> Any:
    return facts


def _possible(_: Any) -> str | None:
    return None


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """All that policies of one kind may ask about."""

    kind: PolicyKind
    facts: Mapping[str, Fact]
    """Every fact by its dotted name."""
    baseline: Facts
    """What an example's facts are where it does not say otherwise (and `applies_to` neither)."""
    group_types: Mapping[str, type[msgspec.Struct]]
    """What holds the facts of a group that may be missing as a whole."""
    follow: Follow = _as_they_are
    """Changes the facts that go with those that were given: of an example that says `attempt`, also `retries`."""
    impossible: Callable[[Any], str | None] = _possible
    """Says why nobody is ever asked about such facts; None: they may be."""

    @property
    def groups(self) -> Collection[str]:
        """The first halves of dotted names; in YAML they may hold a mapping."""
        return self.group_types.keys()

    @property
    def scope_facts(self) -> tuple[str, ...]:
        """Facts that do not change while a case runs."""
        return tuple(name for name, fact in self.facts.items() if fact.scope)

    def with_fact(self, facts: AnyFacts, name: str, value: Any) -> AnyFacts:
        """Return the facts with one of them changed; None makes an optional one missing."""
        group, _, field = name.rpartition(".")
        if name == "currency":
            return msgspec.structs.replace(facts, amount=Money(facts.amount.amount_minor, value))
        if not group:
            return msgspec.structs.replace(facts, **{name: value})
        holder = getattr(facts, group) or self.group_types[group]()
        return msgspec.structs.replace(facts, **{group: msgspec.structs.replace(holder, **{field: value})})

    def given(self, facts: AnyFacts, values: Mapping[str, Any]) -> AnyFacts:
        """Return the facts with several of them changed, and those that follow from them."""
        for name, value in values.items():
            facts = self.with_fact(facts, name, value)
        followed: AnyFacts = self.follow(facts, values.keys())
        return followed


def declared(*facts: Fact) -> Mapping[str, Fact]:
    """Return facts by name."""
    return {fact.name: fact for fact in facts}


def choice(name: str, choices: type[StrEnum] | tuple[str, ...], meaning: str, **more: Any) -> Fact:
    """Declare a fact that is one of a closed list."""
    words = choices if isinstance(choices, tuple) else tuple(member.value for member in choices)
    return Fact(name=name, kind=FactKind.CHOICE, meaning=meaning, get=_getter(name), choices=words, **more)


def fact(name: str, kind: FactKind, meaning: str, **more: Any) -> Fact:
    """Declare a fact of any other type."""
    return Fact(name=name, kind=kind, meaning=meaning, get=_getter(name), **more)


def _getter(name: str) -> Callable[[Any], Any]:
    group, _, field = name.rpartition(".")
    if name == "currency":
        return attrgetter("amount.currency")
    return _nested(group, field) if group else attrgetter(name)


def _nested(group: str, name: str) -> Callable[[Any], Any]:
    """Read a fact of a group that may be missing as a whole."""

    def get(facts: Any) -> Any:
        holder = getattr(facts, group)
        return None if holder is None else getattr(holder, name)

    return get


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
