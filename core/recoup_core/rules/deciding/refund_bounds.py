"""What an approval's bounds say to one refund: each with its figures, and whether they allow it.

Exact: whole minor units, each currency by itself. What can't be told (the currency is not listed, nobody knows who
asked or for whom) does not allow.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.engine.trace import Outcome
from recoup_core.rules.facts import RefundFacts
from recoup_core.rules.language.actions import ApproveSpec
from recoup_core.rules.language.actions.refund import CustomerBound
from recoup_core.rules.language.actions.review import Amounts
from recoup_core.rules.timing import in_words
from recoup_core.rules.timing.windows import local_day

MAX_EARLIER_REFUNDS: Final = 1_000
"""Earlier refunds of one customer that are looked at; with more of them it can't be told how many count."""


class EarlierRefund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund that a customer got, or will get: it was approved."""

    at: datetime
    """When it was approved; aware."""
    amount: Money


class RefundSituation(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs besides the facts that conditions see; the refund that is decided on is in none of it."""

    now: datetime
    zone: str = "UTC"
    """Whose calendar says what a day is: the merchant's, IANA."""
    evidence: tuple[str, ...] = ()
    """Kinds of evidence that were handed in."""
    agent_day: tuple[Money, ...] | None = None
    """Per currency, what was approved today of what this agent asked for; None: nobody knows who asks."""
    merchant_day: tuple[Money, ...] = ()
    """Per currency, what was approved today for the merchant."""
    customer_refunds: tuple[EarlierRefund, ...] | None = None
    """Those of the last `MAX_CUSTOMER_WINDOW`, one more than `MAX_EARLIER_REFUNDS` at most; None: the customer isn't
    known."""


class BoundTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One bound, its figures, and what it came to."""

    bound: str
    """`per_agent_day`, `per_day`, `per_customer.count`, `per_customer.amount` or `within`."""
    limit: str | None
    """`500.00 EUR`, `3`, `30d`; None: there is none for this currency."""
    before: str | None = None
    """What counted before this refund; None where it isn't known, or nothing adds up."""
    total: str | None = None
    """What it comes to with this refund."""
    verdict: Outcome
    """true: it allows the refund; missing: can't be told, which does not allow it."""
    because: str


def check_bounds(spec: ApproveSpec, facts: RefundFacts, situation: RefundSituation) -> tuple[BoundTrace, ...]:
    """Return what every bound says, whether or not one has refused already."""
    return tuple(_traces(spec, facts, situation))


def _traces(spec: ApproveSpec, facts: RefundFacts, situation: RefundSituation) -> Iterator[BoundTrace]:
    today = f"on {local_day(situation.now, ZoneInfo(situation.zone)).isoformat()} ({situation.zone})"
    if spec.within is not None:
        yield _age(spec.within, facts.age_days)
    if spec.per_agent_day is not None:
        agent = situation.agent_day
        yield _sum("per_agent_day", spec.per_agent_day, facts.amount, agent, f"approved {today} for who asks")
    if spec.per_day is not None:
        yield _sum("per_day", spec.per_day, facts.amount, situation.merchant_day, f"approved {today}")
    if spec.per_customer is not None:
        yield from _customer(spec.per_customer, facts.amount, situation)


def _age(most: timedelta, age_days: int) -> BoundTrace:
    verdict = _verdict(age_days <= most / timedelta(days=1))  # a timedelta holds fewer days than a fact may say
    relation = "not older than" if verdict is Outcome.TRUE else "older than"
    because = f"within: the payment is {age_days}d old, {relation} {in_words(most)}"
    return BoundTrace(bound="within", limit=in_words(most), total=f"{age_days}d", verdict=verdict, because=because)


def _customer(bound: CustomerBound, amount: Money, situation: RefundSituation) -> Iterator[BoundTrace]:
    known = situation.customer_refunds
    since = situation.now - bound.within
    if known is not None and len(known) > MAX_EARLIER_REFUNDS:
        known = None
    recent = None if known is None else [refund.amount for refund in known if refund.at >= since]
    what = f"approved in {in_words(bound.within)} for the customer"
    if bound.count is not None:
        yield _number(bound.count, recent, what)
    if bound.amount is not None:
        yield _sum("per_customer.amount", bound.amount, amount, recent, what)


def _number(most: int, recent: list[Money] | None, what: str) -> BoundTrace:
    name = "per_customer.count"
    if recent is None:
        return _untold(name, str(most), "earlier refunds are not known")
    before, total = len(recent), len(recent) + 1
    return _told(name, str(most), str(before), str(total), total <= most, f"refunds {what}")


def _sum(name: str, bound: Amounts, amount: Money, known: Iterable[Money] | None, what: str) -> BoundTrace:
    minor = bound.get(amount.currency)
    if minor is None:
        return _untold(name, None, f"no limit is given in {amount.currency}")
    most = Money(minor, amount.currency)
    if known is None:
        return _untold(name, str(most), "earlier refunds are not known")
    before = sum((each for each in known if each.currency == amount.currency), Money(0, amount.currency))
    total = before + amount
    return _told(name, str(most), str(before), str(total), total <= most, what)


def _told(name: str, limit: str, before: str, total: str, allowed: bool, what: str) -> BoundTrace:
    relation = "at most" if allowed else "more than"
    because = f"{name}: {before} {what}, {total} with this refund, {relation} {limit}"
    return BoundTrace(bound=name, limit=limit, before=before, total=total, verdict=_verdict(allowed), because=because)


def _untold(name: str, limit: str | None, why: str) -> BoundTrace:
    because = f"{name}: can't be told, {why}"
    return BoundTrace(bound=name, limit=limit, verdict=Outcome.MISSING, because=because)


def _verdict(allowed: bool) -> Outcome:
    return Outcome.TRUE if allowed else Outcome.FALSE
