"""The language of templates: which variables, filters and functions there are, what each is for and where it may stand.

Made from `MessageData`, so that a field added there is declared here, or a test fails.
"""

import types
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.templates.variables import Debt, MessageData, NextChange, Upcoming


class Kind(StrEnum):
    """What a variable is; decides which filters fit it and whether it can be printed as it is."""

    TEXT = "text"
    WORD = "word"
    """One of a few words of ours; to be asked about, not to be printed."""
    MONEY = "money"
    DAY = "day"
    MOMENT = "moment"
    METHOD = "method"
    DEBT = "debt"
    UPCOMING = "upcoming"
    NEXT_CHANGE = "next_change"
    GROUP = "group"
    """Holds others and nothing of its own."""


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a template may say."""

    path: str
    kind: Kind
    optional: bool
    """Whether it may be missing."""


_KINDS: Final[Mapping[type, Kind]] = {
    str: Kind.TEXT,
    Money: Kind.MONEY,
    date: Kind.DAY,
    datetime: Kind.MOMENT,
    Method: Kind.METHOD,
    Debt: Kind.DEBT,
    Upcoming: Kind.UPCOMING,
    NextChange: Kind.NEXT_CHANGE,
}

LINKS: Final = frozenset({"update_url", "unsubscribe_url"})
"""Print as nothing where there is none, so that a template needn't ask."""

SUBJECTS: Final = ("debt", "upcoming")
"""What a template is about: it may speak of one without asking, and is then only for messages that have it."""

MEANINGS: Final[Mapping[str, str]] = {
    "brand.merchant": "the merchant's id in Recoup",
    "brand.name": "how customers know the merchant",
    "brand.colour": "colour of the button, as `#rrggbb`",
    "brand.logo_url": "address of the logo",
    "brand.support_email": "where answers go",
    "brand.support_url": "page where customers get help",
    "brand.website": "the merchant's site",
    "brand.postal_address": "the merchant's address",
    "brand.locale": "language of the brand, where the customer's isn't known",
    "customer_name": "the customer's name; left out where it looks like an address or a link",
    "zone": "the customer's time zone (IANA); filters use it by themselves",
    "now": "when the message is written",
    "debt": "what is owed; there in messages about a failed payment",
    "debt.reference": "the merchant's name for it, such as an invoice number",
    "debt.amount": "what is still owed",
    "debt.method": "how it was to be paid",
    "debt.failed_at": "when the last try failed",
    "debt.reason": "why it failed; say it with `{{ debt | reason }}`",
    "debt.plan": "the plan it is for",
    "upcoming": "a charge to come; there in notices beforehand",
    "upcoming.reference": "the merchant's name for it",
    "upcoming.amount": "how much will be charged",
    "upcoming.charge_at": "when",
    "upcoming.method": "how",
    "upcoming.plan": "the plan it is for",
    "upcoming.card_expires": "the last day on which the card is good",
    "next_retry": "when the next try is planned",
    "next_change": "what becomes of the subscription unless the debt is paid; say it with `{{ next_change | change }}`",
    "next_change.wish": "`pause`, `downgrade`, `cancel` or `restore`",
    "next_change.at": "when",
    "next_change.plan": "the plan it moves to",
    "update_url": "the page where the customer pays or renews a means of payment",
    "unsubscribe_url": "takes the address off; the footer has it already",
}
"""What each variable means (docs/templates.md shows it)."""


class FilterRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a filter is given and what comes out."""

    takes: frozenset[Kind]
    meaning: str
    example: str


FILTERS: Final[Mapping[str, FilterRule]] = {
    "money": FilterRule(
        takes=frozenset({Kind.MONEY}),
        meaning="the amount, as the language writes it, with the currency's own decimals",
        example="{{ debt.amount | money }}",
    ),
    "day": FilterRule(
        takes=frozenset({Kind.DAY, Kind.MOMENT}),
        meaning="the date in the customer's zone, written out",
        example="{{ debt.failed_at | day }}",
    ),
    "clock": FilterRule(
        takes=frozenset({Kind.MOMENT}),
        meaning="the time of day in the customer's zone",
        example="{{ now | clock }}",
    ),
    "method": FilterRule(
        takes=frozenset({Kind.METHOD}),
        meaning="the means of payment, in the language's words",
        example="{{ debt.method | method }}",
    ),
    "reason": FilterRule(
        takes=frozenset({Kind.DEBT}),
        meaning="a sentence about why the payment failed, or nothing where that isn't known",
        example="{{ debt | reason }}",
    ),
    "change": FilterRule(
        takes=frozenset({Kind.NEXT_CHANGE}),
        meaning="a sentence about what becomes of the subscription, and when",
        example="{% if next_change %}{{ next_change | change }}{% endif %}",
    ),
}


class FunctionRule(msgspec.Struct, frozen=True, kw_only=True):
    """How a function is called."""

    arguments: int
    meaning: str
    example: str


FUNCTIONS: Final[Mapping[str, FunctionRule]] = {
    "greeting": FunctionRule(
        arguments=0, meaning="greets the customer, by name where it is known", example="{{ greeting() }}"
    ),
    "signature": FunctionRule(arguments=0, meaning="how the message ends", example="{{ signature() }}"),
    "details": FunctionRule(
        arguments=0,
        meaning="a small table: reference, plan, amount, next try or day of the charge",
        example="{{ details() }}",
    ),
    "button": FunctionRule(
        arguments=2,
        meaning="the button; in the text part its words and the address; nothing where there is no address",
        example='{{ button("Pay now", update_url) }}',
    ),
}

LAYOUT: Final[Mapping[str, str]] = {
    "lang": "language of the message (BCP 47)",
    "dir": "`ltr` or `rtl`",
    "subject": "the subject line",
    "preheader": "the first sentence, which mailboxes show beside the subject",
    "body": "the message itself, as HTML",
    "button_colour": "the brand's colour",
    "button_text_colour": "black or white, whichever can be read on it",
    "button_edge": "colour of the button's edge: seen on white, too",
    "unsubscribe": "the words of the link that takes the address off",
    "questions": "where questions go, as HTML with links",
    "address": "the merchant's name and postal address, as HTML",
}
"""What `_layout.html` and HTML parts are given besides the variables."""


def variables() -> dict[str, Variable]:
    """Return every variable by its path."""
    return {variable.path: variable for variable in _fields(MessageData, "")}


def _fields(shape: type[Any], prefix: str) -> Iterator[Variable]:
    for name, hint in get_type_hints(shape).items():
        given, optional = _plain(hint)
        path = f"{prefix}{name}"
        kind = _KINDS.get(given) or (Kind.WORD if issubclass(given, StrEnum) else Kind.GROUP)
        yield Variable(path=path, kind=kind, optional=optional)
        if issubclass(given, msgspec.Struct) and given is not Money:
            yield from _fields(given, f"{path}.")


def _plain(hint: Any) -> tuple[type[Any], bool]:
    if get_origin(hint) in (Union, types.UnionType):
        inner = [each for each in get_args(hint) if each is not type(None)]
        return inner[0], len(inner) < len(get_args(hint))
    return hint, False


VARIABLES: Final[Mapping[str, Variable]] = variables()
