"""The network and scheme limits as typed rules; `recoup_core.rules.deciding.limits` enforces them."""

from datetime import timedelta
from functools import cache
from typing import Final, Literal

import msgspec

from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.payment import Method, Network
from recoup_core.reference.loading import ReferenceDataBroken, read_data, yaml_as

LIMITS_FILE: Final = "network_retry_limits.yaml"


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which declines a stop speaks of: any one of the fields suffices."""

    visa_categories: frozenset[int] = frozenset()
    network_codes: frozenset[str] = frozenset()
    advice_codes: frozenset[str] = frozenset()
    categories: frozenset[DeclineCategory] = frozenset()
    codes: frozenset[str] = frozenset()
    """Return or reason codes of a bank debit scheme."""
    codes_other_than: frozenset[str] = frozenset()
    """Every return or reason code but these; an attempt whose answer is not known yet has none."""
    or_categories_other_than: frozenset[DeclineCategory] = frozenset()
    """Goes with `codes_other_than`: how a decline is judged for which the gateway passed no scheme code on."""
    blocked_by_gateway: bool = False


class _Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    id: str
    published: str
    """What sources say the network allows."""
    source: tuple[str, ...]
    effective_from: str | None = None
    notes: str = ""


class Note(_Rule, frozen=True, kw_only=True, tag="note"):
    """A published limit that a single attempt can't be held to."""

    because: str


class _Enforced(_Rule, frozen=True, kw_only=True):
    methods: frozenset[Method]
    networks: frozenset[Network] = frozenset(Network)
    acquirer_countries: frozenset[str] = frozenset()
    """Only where the acquirer sits in one of these; empty: everywhere."""

    def covers(self, method: Method, network: Network | None, acquirer_country: str | None) -> bool:
        """Return whether the rule speaks of such an attempt; an unknown card network is held to the rules of all."""
        if method not in self.methods:
            return False
        if method is Method.CARD and network is not None and network not in self.networks:
            return False
        return not self.acquirer_countries or acquirer_country in self.acquirer_countries


class StopRule(_Enforced, frozen=True, kw_only=True, tag="stop"):
    """After a matching decline nothing is sent again until a success on the account clears it."""

    account: Match | None = None
    """Declines that stop the whole account."""
    payment: Match | None = None
    """Declines that stop their own payment on this account."""


class BudgetRule(_Enforced, frozen=True, kw_only=True, tag="budget"):
    """At most so many tries in a window."""

    counts: Literal["reattempts", "declines"]
    max: int
    """The hard cap; `Limits.cap` is what is enforced."""
    window: timedelta
    window_type: Literal["rolling", "fixed"]
    scope: Literal["account", "payment"]
    success_resets: bool = False
    same_amount: bool = False


class WaitRule(_Enforced, frozen=True, kw_only=True, tag="wait"):
    """At the earliest so long after a decline with the advice code."""

    waits: dict[str, timedelta]


class SafetyMargin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far below the hard caps we stay, for attempts made elsewhere that reach us late."""

    below_cap: int
    from_cap: int


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    version: Literal[1]
    compiled_on: str
    safety_margin: SafetyMargin
    rules: tuple[StopRule | BudgetRule | WaitRule | Note, ...]

    def cap(self, rule: BudgetRule) -> int:
        """Return what is enforced: the hard cap less the safety margin where the cap is large enough to bear it."""
        return rule.max - self.safety_margin.below_cap if rule.max >= self.safety_margin.from_cap else rule.max


@cache
def limit_rules() -> Limits:
    """Return the packaged limits."""
    return parse_limits(LIMITS_FILE, read_data(LIMITS_FILE))


def parse_limits(name: str, text: str) -> Limits:
    """Read a limits file; a double id or a rule that could never hold anything is refused by name."""
    limits = yaml_as(name, text, Limits)
    seen: set[str] = set()
    for rule in limits.rules:
        problem = "the id stands twice" if rule.id in seen else _problem(limits, rule)
        if problem:
            raise ReferenceDataBroken(name, f"rule {rule.id}", problem)
        seen.add(rule.id)
    return limits


def _problem(limits: Limits, rule: StopRule | BudgetRule | WaitRule | Note) -> str | None:
    match rule:
        case StopRule(account=None, payment=None):
            return "a stop that names neither account nor payment stops nothing"
        case BudgetRule() if limits.cap(rule) < 1 or rule.window <= timedelta():
            return "a budget needs room for one try and a window"
        case BudgetRule(window_type="fixed") if rule.scope != "payment" or rule.success_resets:
            return "a fixed window belongs to one payment and a success doesn't reset it"
        case WaitRule() if not rule.waits or min(rule.waits.values()) <= timedelta():
            return "a wait needs a time"
        case _:
            return None
