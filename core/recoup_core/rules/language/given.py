"""Facts that somebody gives, as JSON values or typed texts, read over a kind's vocabulary.

The same for the command line (`attempt=2`) and the API (`{"attempt": 2, "customer": {"tier": "gold"}}`): every mistake
is found in one pass and told with the fact's name and the near right word.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from difflib import get_close_matches
from typing import Any, ClassVar, Final

import msgspec

from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.errors import DomainError
from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money
from recoup_core.domain.payment import Network
from recoup_core.reference import classify
from recoup_core.rules.facts import AnyFacts, Fact, FactKind, RetryFacts, Vocabulary
from recoup_core.rules.language.errors import shown

MAX_GIVEN: Final = 200
"""Facts given at once; no vocabulary has as many."""

MAX_TEXT: Final = 64
"""Characters of a text, as in a policy."""

MAX_LISTED: Final = 30
"""Longer lists of words are not repeated to people."""

_CURRENCY: Final = "currency"
"""Is given with the amount."""

_AMOUNT: Final = '"49.00 EUR", with the decimals that the currency has'
_AMOUNT_DIGITS: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,4})?")
_BOOLS: Final[Mapping[Any, bool]] = {"true": True, "yes": True, "false": False, "no": False}


class FactProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One fact that can't be taken as given."""

    fact: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})"


class FactsInvalid(DomainError):
    """Facts were given that don't exist or can't have these values; `problems` holds all of them."""

    code: ClassVar[str] = "facts_invalid"

    def __init__(self, problems: Sequence[FactProblem]) -> None:
        self.problems: tuple[FactProblem, ...] = tuple(problems)
        self.field = f"facts.{self.problems[0].fact}" if self.problems else "facts"
        super().__init__("; ".join(map(str, self.problems)))


class _Wrong(Exception):
    """A value that its fact can't have; the text says what would be right."""


def facts_given(given: Mapping[str, Any], vocabulary: Vocabulary, baseline: AnyFacts) -> AnyFacts:
    """Return the baseline with what is given, and what follows from it. Raises `FactsInvalid`.

    Groups may be nested or dotted; None, or an empty text, takes an optional fact away. A decline code given without a
    category is looked up, as it is when a payment is reported.
    """
    values = read_given(given, vocabulary)
    facts = vocabulary.given(baseline, values)
    if isinstance(facts, RetryFacts) and "decline_code" in values and "decline" not in values:
        return classified(facts)
    return facts


def read_given(given: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what is given by dotted name, each of its fact's type. Raises `FactsInvalid` with every mistake."""
    if len(given) > MAX_GIVEN:
        raise FactsInvalid([FactProblem(fact="", message="too many facts", hint=f"at most {MAX_GIVEN}")])
    values: dict[str, Any] = {}
    problems: list[FactProblem] = []
    for name, value in _flat(given, vocabulary):
        fact = vocabulary.facts.get(name)
        if fact is None or name == _CURRENCY:
            hint = 'write amount="49.00 EUR"' if name == _CURRENCY else _hint(name, tuple(vocabulary.facts))
            message = f"{shown(name)} is no fact that can be given"
            problems.append(FactProblem(fact=name, message=message, hint=hint))
            continue
        try:
            values[name] = _value(fact, value)
        except _Wrong as wrong:
            message = f"{name}: {shown(str(value))} is not {fact.kind}"
            problems.append(FactProblem(fact=name, message=message, hint=str(wrong)))
    if problems:
        raise FactsInvalid(problems)
    return values


def decline_of(facts: RetryFacts) -> Decline:
    """Return the latest decline as the facts describe it."""
    return Decline(
        code=facts.decline_code,
        source=DeclineSource(facts.decline_source),
        category=DeclineCategory(facts.decline),
        retryable=Retryable(facts.retryable),
        network_code=facts.network_code,
        advice_code=facts.advice_code,
        visa_category=facts.visa_category,
    )


def classified(facts: AnyFacts) -> AnyFacts:
    """Return the facts of a case with the decline's category, and whether it may be retried, looked up by its code."""
    assert isinstance(facts, RetryFacts)  # refunds have no decline; callers ask for cases only
    decline = classify(
        DeclineSource(facts.decline_source),
        facts.decline_code,
        network=Network(facts.network) if facts.network else None,
        network_code=facts.network_code,
        advice_code=facts.advice_code,
    )
    return msgspec.structs.replace(
        facts,
        decline=decline.category.value,
        retryable=decline.retryable.value,
        visa_category=decline.visa_category,
    )


def _flat(given: Mapping[str, Any], vocabulary: Vocabulary) -> Iterator[tuple[str, Any]]:
    for name, value in given.items():
        if name in vocabulary.groups and isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            yield name, value


def _value(fact: Fact, given: Any) -> Any:
    if fact.optional and given in (None, ""):
        return None
    if fact.kind is FactKind.MONEY:
        return _money(given)
    if fact.kind is FactKind.BOOL:
        return _bool(given)
    if fact.kind is FactKind.INT:
        return _number(fact, given)
    if not isinstance(given, str) or not 0 < len(given) <= MAX_TEXT:
        raise _Wrong(f"a text of at most {MAX_TEXT} characters")
    if fact.kind is FactKind.DATE:
        return _date(given)
    if fact.choices and given not in fact.choices:
        raise _Wrong(_hint(given, fact.choices))
    return given


def _bool(given: Any) -> bool:
    known = given if isinstance(given, bool) else _BOOLS.get(given) if isinstance(given, str) else None
    if known is None:
        raise _Wrong("true or false")
    return known


def _number(fact: Fact, given: Any) -> int:
    number = fact.low - 1
    if isinstance(given, (int, str)) and not isinstance(given, bool):
        with suppress(ValueError):
            number = int(given)
    if not fact.low <= number <= fact.high:
        raise _Wrong(f"{fact.low} to {fact.high}")
    return number


def _date(given: str) -> str:
    try:
        return date.fromisoformat(given).isoformat()
    except ValueError:
        raise _Wrong("year, month, day: 2026-01-31") from None


def _money(given: Any) -> Money:
    money: Money | None = None
    with suppress(DomainError, msgspec.ValidationError):
        if isinstance(given, str):
            digits, _, currency = given.partition(" ")
            money = _major(digits, currency.strip().upper())
        elif isinstance(given, Mapping) and given.keys() == {"amount_minor", "currency"}:
            money = msgspec.convert(given, Money)
        elif isinstance(given, Mapping) and len(given) == 1:
            currency, amount = next(iter(given.items()))
            if isinstance(amount, float):
                raise _Wrong(f'write it in quotes, {{"{currency}": "49.00"}}: a JSON number may not be exact')
            money = _major(str(amount), currency)
    if money is None or not 0 <= money.amount_minor <= MAX_AMOUNT_MINOR:
        raise _Wrong(_AMOUNT)
    return money


def _major(digits: str, currency: str) -> Money | None:
    return Money.from_major(digits, currency) if _AMOUNT_DIGITS.fullmatch(digits) else None


def _hint(word: str, known: Sequence[str]) -> str:
    """Return the nearest right word, or all of them where none is near and they are few."""
    nearest = get_close_matches(word[:MAX_TEXT], known, n=1)
    if nearest:
        return f"did you mean {nearest[0]}?"
    return f"one of {', '.join(known)}" if len(known) <= MAX_LISTED else "none of the known words is near"
