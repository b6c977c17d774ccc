"""The facts a notice policy may ask about: a charge that is to come, who pays it, and how long the card is good."""

from collections.abc import Collection
from typing import Final

import msgspec

from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method, Network, Segment
from recoup_core.rules.facts.declare import FactKind, Facts, PolicyKind, Vocabulary, declared, fact
from recoup_core.rules.facts.retry import CASE, CUSTOMER, SUBSCRIPTION, CustomerFacts, SubscriptionFacts

_BASELINE_DAYS: Final = 30
"""The charge of an example is a month away: every usual notice is still to come."""

_SHARED: Final = ("currency", "method", "network", "country", "segment", "has_backup")
"""Facts that mean the same here and in retries."""


class NoticeFacts(Facts, frozen=True, kw_only=True, omit_defaults=True):
    """All that a notice policy decides on, as of the moment it is asked; None means missing.

    `amount` is what will be charged, `gateway` where. The days are calendar days of the customer's own zone, as
    `rules/deciding/notice.notice_days` counts them.
    """

    charge_in_days: int
    """Days until the charge; 0 on its day."""
    card_expires_in_days: int | None = None
    """Days until the last day on which the card is good; 0 on it and after it. None: not known, or no card."""
    card_expires_before_charge: bool = False
    """Whether the card's last day lies before the day of the charge; False where it isn't known."""
    has_backup: bool = False
    customer: CustomerFacts | None = None
    subscription: SubscriptionFacts | None = None


_K: Final = FactKind
_OF_RETRIES: Final = {each.name: each for each in CASE}
_DAYS: Final = frozenset({"charge_in_days", "card_expires_in_days"})


def _follow(facts: NoticeFacts, given: Collection[str]) -> NoticeFacts:
    """Change what goes with what was given; only facts that were not given themselves."""
    return _end_follows(_means_follow(facts, given), given)


def _means_follow(facts: NoticeFacts, given: Collection[str]) -> NoticeFacts:
    """A debit has no network and nothing that expires."""
    if "method" not in given or facts.method == Method.CARD:
        return facts
    gone = {"network": None, "card_expires_in_days": None, "card_expires_before_charge": False}
    return msgspec.structs.replace(facts, **{name: value for name, value in gone.items() if name not in given})


def _end_follows(facts: NoticeFacts, given: Collection[str]) -> NoticeFacts:
    """Whether the card ends before the charge follows from the days; a card that does ends the day before it."""
    if "card_expires_before_charge" not in given:
        before = facts.card_expires_in_days is not None and facts.card_expires_in_days < facts.charge_in_days
        if _DAYS.isdisjoint(given) or before == facts.card_expires_before_charge:
            return facts
        return msgspec.structs.replace(facts, card_expires_before_charge=before)
    if facts.card_expires_before_charge and "card_expires_in_days" not in given:
        return msgspec.structs.replace(facts, card_expires_in_days=max(0, facts.charge_in_days - 1))
    return facts


def _impossible(facts: NoticeFacts) -> str | None:
    left, before = facts.card_expires_in_days, facts.card_expires_before_charge
    if facts.method != Method.CARD and (before or left is not None):
        return f"{facts.method} has no card that expires"
    if left is None:
        return "a card of which it isn't known when it ends can't be known to end before the charge" if before else None
    if not before and left < facts.charge_in_days:
        return "the card ends before the charge, and `card_expires_before_charge` is false"
    if before and left >= max(1, facts.charge_in_days):
        return "the card is good on the day of the charge, and `card_expires_before_charge` is true"
    return None


NOTICE: Final = Vocabulary(
    kind=PolicyKind.NOTICE,
    facts=declared(
        fact("amount", _K.MONEY, "what will be charged, written in major units per currency"),
        *(_OF_RETRIES[name] for name in _SHARED),
        fact("gateway", _K.TEXT, "the gateway that will charge, by its name in the settings", scope=True),
        fact("charge_in_days", _K.INT, "days until the charge, by the customer's calendar"),
        fact("card_expires_in_days", _K.INT, "days until the card's last day; 0 after it", optional=True),
        fact("card_expires_before_charge", _K.BOOL, "whether the card's last day lies before the charge"),
        *CUSTOMER,
        *SUBSCRIPTION,
    ),
    baseline=NoticeFacts(
        amount=Money(4900, "EUR"),
        method=Method.CARD.value,
        network=Network.VISA.value,
        gateway="sandbox",
        country="DE",
        segment=Segment.CONSUMER.value,
        charge_in_days=_BASELINE_DAYS,
    ),
    group_types={"customer": CustomerFacts, "subscription": SubscriptionFacts},
    follow=_follow,
    impossible=_impossible,
)
"""The vocabulary of `notice` policies."""
