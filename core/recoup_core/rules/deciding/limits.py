"""Network and scheme limits: whether, and from when on, an account may be tried again. They win over every policy.

Pure. Every attempt known on the account counts, whoever made it; one whose answer isn't known counts as declined. The
rules and their caps come from `reference/data/network_retry_limits.yaml`. A success on the account clears the stops and
waits that its earlier declines caused: the issuer has shown that it approves again. Windows are half-open and exact to
the microsecond: an attempt leaves a rolling window the moment it is as old as the window.

What only forbids unattended retries of cards (an unknown code, authentication asked for) is no limit but
`Decline.retryable`; `decide` reads it.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.decline import DeclineCategory, DeclineSource
from recoup_core.domain.payment import Method, Network
from recoup_core.reference import limit_rules, visa_category
from recoup_core.reference.limits import BudgetRule, Limits, Match, StopRule, WaitRule

HISTORY_DAYS: Final = 200
"""How far back `LimitQuestion.history` must reach: further than the longest window (Nacha, 180 days)."""

MAX_SELECTIONS: Final = 1_024
"""Kinds of attempts (method, network, acquirer's country) whose rules are remembered; the least used makes room."""

_AnyRule = StopRule | WaitRule | BudgetRule

_SCHEME_SOURCES: Final = frozenset({DeclineSource.ACH, DeclineSource.SEPA, DeclineSource.BACS})


class PastAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt on the account, made by anyone."""

    at: datetime
    """When it was sent; aware."""
    amount_minor: int
    currency: str
    payment_id: UUID
    succeeded: bool
    """False while in flight or unknown: it counts as declined."""
    network_code: str | None = None
    advice_code: str | None = None
    visa_category: int | None = None
    category: DeclineCategory | None = None
    source: DeclineSource | None = None
    code: str | None = None
    """The provider's code; None while the answer isn't known."""
    blocked_by_gateway: bool = False


class LimitQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that somebody would like to send."""

    at: datetime
    """The moment at which it would be sent; aware."""
    method: Method
    network: Network | None
    """None for bank debits; a card of unknown network is held to the rules of all."""
    amount_minor: int
    currency: str
    payment_id: UUID
    acquirer_country: str | None
    """ISO 3166-1 alpha-2."""
    history: tuple[PastAttempt, ...]
    """Every attempt on the account in the last `HISTORY_DAYS`: all tokens, origins and payments, in any order."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule had to say."""

    rule: str
    """Its id in `network_retry_limits.yaml`."""
    message: str
    counted: int | None = None
    """How many tries count at the moment that was asked for."""
    allowed: int | None = None
    """How many may, this one included; the safety margin is taken off already."""
    until: datetime | None = None
    """Before this moment the rule forbids the attempt; None: it doesn't, or it does for good."""


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt may be sent from `at` on."""

    at: datetime
    """Aware UTC; the moment asked for, or later."""
    findings: tuple[Finding, ...]


class Blocked(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt must not be sent on this account, however long one waits."""

    findings: tuple[Finding, ...]


def check_limits(question: LimitQuestion) -> Allowed | Blocked:
    """Return the earliest moment from `question.at` on at which every limit allows the attempt, or `Blocked`.

    Adding a decline to the history never makes the answer more permissive. The moment stays allowed as time passes,
    until a fixed window ends (`Blocked` then) or new attempts appear: ask again under lock just before the call.
    """
    limits = limit_rules()
    rules = _rules_for(question.method, question.network, question.acquirer_country)
    account = _Account(question.history)
    pushes = list(_pushes(rules, limits, question, account))
    at = max([question.at.astimezone(UTC), *(found.until for found in pushes if found.until is not None)])
    refusals = list(_refusals(rules, limits, question, account, at))
    if refusals:
        return Blocked(findings=tuple(refusals))
    return Allowed(at=at, findings=(*pushes, *_fixed_counts(rules, limits, question, account)))


@lru_cache(maxsize=MAX_SELECTIONS)
def _rules_for(method: Method, network: Network | None, acquirer_country: str | None) -> tuple[_AnyRule, ...]:
    """Return the enforced rules that speak of such an attempt; the same few kinds are asked for all the time."""
    enforced = (rule for rule in limit_rules().rules if isinstance(rule, StopRule | WaitRule | BudgetRule))
    return tuple(rule for rule in enforced if rule.covers(method, network, acquirer_country))


class _Account:
    """The history in order, and the declines that no success has answered yet."""

    def __init__(self, history: Iterable[PastAttempt]) -> None:
        self.declines: Final = sorted((a for a in history if not a.succeeded), key=lambda a: a.at)
        successes = [a.at for a in history if a.succeeded]
        # A decline at the very moment of the success stays: which came first isn't known.
        self.open: Final = [a for a in self.declines if not successes or a.at >= max(successes)]

    def of_payment(self, payment_id: UUID) -> list[PastAttempt]:
        return [attempt for attempt in self.declines if attempt.payment_id == payment_id]


def _pushes(rules: Sequence[_AnyRule], limits: Limits, question: LimitQuestion, account: _Account) -> Iterator[Finding]:
    """Yield what may move the attempt to later: waits that aren't over, rolling budgets that are in use."""
    for rule in rules:
        if isinstance(rule, WaitRule):
            yield from _wait(rule, question, account)
        elif isinstance(rule, BudgetRule) and rule.window_type == "rolling":
            yield from _rolling(rule, limits.cap(rule), question, account)


def _refusals(
    rules: Sequence[_AnyRule], limits: Limits, question: LimitQuestion, account: _Account, at: datetime
) -> Iterator[Finding]:
    """Yield what forbids the attempt for good, if it were sent at `at`."""
    for rule in rules:
        if isinstance(rule, StopRule):
            yield from _stop(rule, question, account)
        elif isinstance(rule, BudgetRule) and rule.window_type == "fixed":
            yield from _fixed(rule, limits.cap(rule), question, account, at)


def _fixed_counts(
    rules: Sequence[_AnyRule], limits: Limits, question: LimitQuestion, account: _Account
) -> Iterator[Finding]:
    """Yield how much of a fixed budget is used, for the record of an attempt that is allowed."""
    for rule in rules:
        if isinstance(rule, BudgetRule) and rule.window_type == "fixed":
            tries = account.of_payment(question.payment_id)
            if tries:
                yield _used(rule, limits.cap(rule), len(_counted(rule, tries)))


def _stop(rule: StopRule, question: LimitQuestion, account: _Account) -> Iterator[Finding]:
    """Yield at most one finding: the rule's most recent reason to stop."""
    for attempt in reversed(account.open):
        same_payment = attempt.payment_id == question.payment_id
        if _matches(rule.account, attempt) or (same_payment and _matches(rule.payment, attempt)):
            scope = "this account" if _matches(rule.account, attempt) else "this payment"
            said = attempt.network_code or attempt.code or "the gateway's block"
            advice = f", advice {attempt.advice_code}" if attempt.advice_code else ""
            yield Finding(
                rule=rule.id,
                message=f"{scope} was declined at {attempt.at:%Y-%m-%d %H:%M} with {said}{advice}: not again",
            )
            return


def _matches(match: Match | None, attempt: PastAttempt) -> bool:
    if match is None:
        return False
    return (
        (match.blocked_by_gateway and attempt.blocked_by_gateway)
        or attempt.category in match.categories
        or (bool(match.visa_categories) and _visa_category(attempt) in match.visa_categories)
        or _network_code(attempt) in match.network_codes
        or _advice_code(attempt) in match.advice_codes
        or _scheme_code(attempt) in match.codes
        or _is_another_code(match, attempt)
    )


def _is_another_code(match: Match, attempt: PastAttempt) -> bool:
    """Return whether a bank debit came back for an unlisted reason; a gateway's own word is judged by category."""
    if not match.codes_other_than or attempt.code is None:
        return False
    scheme_code = _scheme_code(attempt)
    if scheme_code is None:
        return attempt.category not in match.or_categories_other_than
    return scheme_code not in match.codes_other_than


def _network_code(attempt: PastAttempt) -> str | None:
    """Return the issuer's response code, wherever it stands."""
    code = attempt.network_code or (attempt.code if attempt.source is DeclineSource.ISO8583 else None)
    return code.strip().upper() if code else None


def _scheme_code(attempt: PastAttempt) -> str | None:
    """Return the bank debit scheme's own return code; None where a gateway passed none on."""
    code = attempt.code if attempt.source in _SCHEME_SOURCES else attempt.network_code
    return code.strip().upper() if code else None


def _advice_code(attempt: PastAttempt) -> str | None:
    return attempt.advice_code.strip().zfill(2) if attempt.advice_code else None


def _visa_category(attempt: PastAttempt) -> int | None:
    """Return the stricter of the category that came with the attempt and the one our table gives its code."""
    code = _network_code(attempt)
    known = [attempt.visa_category, visa_category(code) if code else None]
    return min((each for each in known if each is not None), default=None)


def _wait(rule: WaitRule, question: LimitQuestion, account: _Account) -> Iterator[Finding]:
    """Yield the longest wait that an advice code asks for and that isn't over."""
    waits = [(a.at + rule.waits[code], code) for a in account.open if (code := _advice_code(a)) in rule.waits]
    if waits and max(waits)[0] > question.at:
        until, code = max(waits)
        hours = rule.waits[code] // timedelta(hours=1)
        message = f"advice code {code} asks for {hours} h since the decline"
        yield Finding(rule=rule.id, message=message, until=until.astimezone(UTC))


def _counted(rule: BudgetRule, attempts: Sequence[PastAttempt]) -> Sequence[PastAttempt]:
    """Return the declines that use up the budget; reattempts leave out the first of them, however old it is."""
    return attempts[1:] if rule.counts == "reattempts" else attempts


def _rolling(rule: BudgetRule, cap: int, question: LimitQuestion, account: _Account) -> Iterator[Finding]:
    """Yield how full the window is and until when it is too full for one more; nothing where it is empty."""
    declines = account.open if rule.success_resets else account.declines
    if rule.scope == "payment":
        declines = [attempt for attempt in declines if attempt.payment_id == question.payment_id]
    tries = _counted(rule, declines)
    inside = sum(1 for attempt in tries if attempt.at + rule.window > question.at)
    if not inside:
        return
    # With this one at most `cap` may lie in the window, so the cap-th last of the earlier ones must have left it.
    until = tries[-cap].at + rule.window if inside >= cap else None
    yield _used(rule, cap, inside, until.astimezone(UTC) if until else None)


def _fixed(rule: BudgetRule, cap: int, question: LimitQuestion, account: _Account, at: datetime) -> Iterator[Finding]:
    """Yield why the payment's own window has no room: too many tries, over, or for another amount."""
    tries = account.of_payment(question.payment_id)
    if not tries:
        return
    used = len(_counted(rule, tries))
    if used >= cap:
        yield _used(rule, cap, used)
    if at >= tries[0].at + rule.window:
        days = rule.window // timedelta(days=1)
        yield Finding(rule=rule.id, message=f"the {days} days since the payment's first attempt are over")
    asked = (question.amount_minor, question.currency)
    if rule.same_amount and any((a.amount_minor, a.currency) != asked for a in tries):
        yield Finding(rule=rule.id, message="a repeated debit must be for the amount of the first")


def _used(rule: BudgetRule, cap: int, counted: int, until: datetime | None = None) -> Finding:
    margin = f" ({rule.max} less a safety margin)" if cap < rule.max else ""
    hours = rule.window // timedelta(hours=1)
    message = f"{counted} of {cap} {rule.counts}{margin} in {hours} h used"
    return Finding(rule=rule.id, message=message, counted=counted, allowed=cap, until=until)
