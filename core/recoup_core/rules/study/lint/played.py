"""Made-up payments that fail again and again with one decline, played at a retry policy's own times.

For every retry rule, every means of payment and every decline category it can fire for, one payment; it fails first at
`START`, its account has no other history, jitter is left out.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.decline import DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.payment import CredentialRole, Method, Network
from recoup_core.reference import retryable_codes
from recoup_core.rules.deciding.limits import Blocked, Finding, LimitQuestion, PastAttempt, check_limits
from recoup_core.rules.facts import RETRY, RetryFacts
from recoup_core.rules.language.closures import closure
from recoup_core.rules.language.conditions import Comparison, Op
from recoup_core.rules.language.schema import Policy, RetrySpec, Rule
from recoup_core.rules.study.formulas import Budget, Formula
from recoup_core.rules.study.reach import OnePolicy
from recoup_core.rules.study.solve import Undecided
from recoup_core.rules.timing import Planned, TimingContext, next_time

START: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
"""When the first try fails: a Monday at noon, in a month without holidays in most countries."""

MAX_TRIES: Final = 50
"""Tries of one played payment; the widest limit allows 35 in 30 days."""

MAX_ASKED: Final = 10_000
"""Combinations of rule, category and means of payment that are looked at for one policy; some 200 retry rules."""

_SCHEMES: Final[Mapping[Method, DeclineSource]] = {
    Method.SEPA_DEBIT: DeclineSource.SEPA,
    Method.ACH_DEBIT: DeclineSource.ACH,
    Method.BACS_DEBIT: DeclineSource.BACS,
}
_ID: Final = UUID(int=0)


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A try that a limit moves or forbids."""

    rule: Rule
    attempt: int
    """The number of the try, the first failure being 1."""
    facts: RetryFacts
    """As of the decline before it."""
    limit: Finding
    later: timedelta | None
    """How much later it could be made; None: never."""


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """A retry that the policy plans."""

    rule: Rule
    spec: RetrySpec
    attempt: int
    facts: RetryFacts
    at: datetime


class Game:
    """Plays payments under one policy."""

    def __init__(self, policy: Policy) -> None:
        self._one = OnePolicy(
            policy,
            also=[
                _is("method", *Method),
                _is("network", *Network),
                _is("decline", *DeclineCategory),
                _is("retryable", *Retryable),
            ],
        )
        self._policy = policy
        self._tests = [(rule, None if rule.when is None else closure(rule.when)) for rule in policy.rules]

    def beginnings(self, budget: Budget) -> Iterator[RetryFacts | None]:
        """Yield facts for each retry rule to fire, one per means of payment and category; None: that took too long."""
        asked = 0
        for number, ordinary in self._ordinary():
            for means in ([], *self._means()):  # without any first: most rules are for few categories
                reached = self._one.reached(number, self._one.solver.both([*ordinary, *means]), budget)
                asked += 1
                if isinstance(reached, Undecided) or asked > MAX_ASKED:
                    yield None
                    return
                if reached.facts is None and not means:
                    break
                if isinstance(reached.facts, RetryFacts) and means:
                    yield msgspec.structs.replace(reached.facts, attempt=1, retries=0, days_since_failure=0)

    def cut(self, facts: RetryFacts) -> Cut | None:
        """Return the try that a limit cuts; None also where the decline may come with a code for which none is."""
        scheme = _SCHEMES.get(Method(facts.method))
        codes = () if scheme is None else retryable_codes(scheme, DeclineCategory(facts.decline))
        coded = [msgspec.structs.replace(facts, network_code=code) for code in codes]
        cut: Cut | None = None
        for each in (facts, *coded):
            cut = self._cut(each)
            if cut is None:
                return None
        return cut

    def tries(self, facts: RetryFacts) -> Iterator[Try]:
        """Yield the retries of a payment that goes on failing, until the policy stops."""
        uses: dict[str, int] = {}
        last = START
        for attempt in range(1, MAX_TRIES):
            days = (last - START).days
            now = msgspec.structs.replace(facts, attempt=attempt, retries=attempt - 1, days_since_failure=days)
            rule = next(rule for rule, test in self._tests if test is None or test(now) is True)
            planned = _planned(rule, now, last, uses.get(rule.name, 0))
            if planned is None:
                return
            spec, last = planned
            uses[rule.name] = uses.get(rule.name, 0) + 1
            yield Try(rule=rule, spec=spec, attempt=attempt + 1, facts=now, at=last)

    def _ordinary(self) -> Iterator[tuple[int, list[Formula]]]:
        """Yield each retry rule's number with what makes it fire, for each category that is retried at all."""
        for number, rule in enumerate(self._policy.rules):
            if not any(isinstance(action, RetrySpec) for action in (rule.action, rule.otherwise)):
                continue
            for category in _retryable_categories():
                ordinary = [self._in("decline", category), self._in("retryable", Retryable.YES)]
                yield number, [self._one.rules.holds[number], *ordinary]

    def _means(self) -> Iterator[list[Formula]]:
        for network in Network:
            yield [self._in("method", Method.CARD), self._in("network", network)]
        for method in Method:
            if method is not Method.CARD:
                yield [self._in("method", method)]

    def _in(self, fact: str, word: str) -> Formula:
        return self._one.solver.formula(_is(fact, word))

    def _cut(self, facts: RetryFacts) -> Cut | None:
        first = _attempt(facts, START)
        history: dict[str, tuple[PastAttempt, ...]] = {CredentialRole.PRIMARY: (first,)}
        for each in self.tries(facts):
            before = history.get(each.spec.credential, ())
            cut = _held_to_limits(each, before)
            if cut is not None:
                return cut
            history[each.spec.credential] = (*before, _attempt(facts, each.at))
        return None


def _retryable_categories() -> Iterator[DeclineCategory]:
    """Yield the categories that some code stands for which time alone may help; of others no retry is ever tried."""
    for category in DeclineCategory:
        if any(retryable_codes(source, category) for source in DeclineSource):
            yield category


def _planned(rule: Rule, facts: RetryFacts, last: datetime, used: int) -> tuple[RetrySpec, datetime] | None:
    """Return the action of a rule that applies and when it would try again; None: it stops."""
    for action in (rule.action, rule.otherwise):
        if not isinstance(action, RetrySpec):
            continue
        if action.credential == CredentialRole.BACKUP and not facts.has_backup:
            continue
        context = TimingContext(
            now=last,
            first_failed_at=START,
            last_failed_at=last,
            used=used,
            customer_zone=None,
            country=facts.country,
            seed="played",
        )
        found = next_time(msgspec.structs.replace(action, jitter=timedelta()), context)
        if isinstance(found, Planned):
            return action, found.at
    return None


def _held_to_limits(each: Try, history: tuple[PastAttempt, ...]) -> Cut | None:
    facts, card = each.facts, each.facts.method == Method.CARD
    verdict = check_limits(
        LimitQuestion(
            at=each.at,
            method=Method(facts.method),
            network=Network(facts.network) if facts.network and card else None,
            amount_minor=facts.amount.amount_minor,
            currency=facts.amount.currency,
            payment_id=_ID,
            acquirer_country=None,
            history=history,
        )
    )
    if isinstance(verdict, Blocked):
        return Cut(rule=each.rule, attempt=each.attempt, facts=facts, limit=verdict.findings[0], later=None)
    if verdict.at <= each.at:
        return None
    speaks = max((one for one in verdict.findings if one.until is not None), key=lambda one: one.until or each.at)
    return Cut(rule=each.rule, attempt=each.attempt, facts=facts, limit=speaks, later=verdict.at - each.at)


def _attempt(facts: RetryFacts, at: datetime) -> PastAttempt:
    return PastAttempt(
        at=at,
        amount_minor=facts.amount.amount_minor,
        currency=facts.amount.currency,
        payment_id=_ID,
        succeeded=False,
        network_code=facts.network_code,
        advice_code=facts.advice_code,
        visa_category=facts.visa_category,
        category=DeclineCategory(facts.decline),
        source=DeclineSource(facts.decline_source),
        code=facts.decline_code,
    )


def _is(fact: str, *words: str) -> Comparison:
    return Comparison(fact=RETRY.facts[fact], op=Op.IN, values=tuple(str(word) for word in words), path=fact, line=1)
