"""Facts as people type them: `decline_code=insufficient_funds amount="49.00 EUR"`, or a JSON file of the same names."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from recoup_cli.refusals import MISUSED, Refused
from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.errors import DomainError
from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money
from recoup_core.domain.payment import Network
from recoup_core.reference import classify
from recoup_core.rules.errors import shown
from recoup_core.rules.facts import RETRY, Fact, FactKind, RetryFacts
from recoup_core.settings_reader import near

MAX_FILE_BYTES: Final = 256 * 1024
MAX_LISTED: Final = 30
"""Longer lists of words are not repeated to people."""

_BOOLS: Final[Mapping[Any, bool]] = {"true": True, "yes": True, "false": False, "no": False}


def read_facts(given: Sequence[str], baseline: RetryFacts) -> RetryFacts:
    """Return the baseline with what is given: `name=value` or names of JSON files, the later ones over the earlier.

    A decline code given without a category is looked up, as it is when a payment is reported. Raises `Refused`.
    """
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        values.update({name.strip(): value.strip()} if equals else _flat(_read_json(Path(text))))
    facts = baseline
    for name, value in values.items():
        facts = RETRY.with_fact(facts, name, _value(_fact(name), value))
    if "attempt" in values and "retries" not in values:
        facts = RETRY.with_fact(facts, "retries", facts.attempt - 1)
    return _classified(facts) if "decline_code" in values and "decline" not in values else facts


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


def _classified(facts: RetryFacts) -> RetryFacts:
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


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_FILE_BYTES), type=dict[str, Any])
    except OSError as error:
        raise Refused(
            f"{path}: {error.strerror}", "facts are given as name=value, or as the name of a JSON file", code=MISUSED
        ) from None
    except msgspec.MsgspecError as error:
        raise Refused(f"{path}: {error}", 'write an object like {"attempt": 2}', code=MISUSED) from None


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name in RETRY.groups and isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            yield name, value


def _fact(name: str) -> Fact:
    fact = RETRY.facts.get(name)
    if fact is None or name == "currency":
        hint = 'write amount="49.00 EUR"' if name == "currency" else _hint(name, tuple(RETRY.facts))
        raise Refused(f"{shown(name)} is no fact that can be given", hint, code=MISUSED)
    return fact


def _value(fact: Fact, given: Any) -> Any:
    """Turn what was given into the fact's type; None, or an empty text, makes an optional fact missing."""
    if fact.optional and given in (None, ""):
        return None
    if fact.kind is FactKind.MONEY:
        return _money(fact, given)
    if fact.kind is FactKind.BOOL:
        known = given if isinstance(given, bool) else _BOOLS.get(given)
        if known is None:
            _refuse(fact, given, "true or false")
        return known
    if fact.kind is FactKind.INT:
        return _number(fact, given)
    if not isinstance(given, str):
        _refuse(fact, given, "a text")
    if fact.choices and given not in fact.choices:
        _refuse(fact, given, _hint(given, fact.choices))
    return given


def _number(fact: Fact, given: Any) -> int:
    try:
        number = int(str(given))
    except ValueError:
        number = fact.low - 1
    if not fact.low <= number <= fact.high:
        _refuse(fact, given, f"{fact.low} to {fact.high}")
    return number


def _money(fact: Fact, given: Any) -> Money:
    money: Money | None = None
    with suppress(DomainError, msgspec.ValidationError):
        if isinstance(given, str):
            digits, _, currency = given.partition(" ")
            money = Money.from_major(digits, currency.strip().upper())
        elif isinstance(given, Mapping) and given.keys() == {"amount_minor", "currency"}:
            money = msgspec.convert(given, Money)
        elif isinstance(given, Mapping) and len(given) == 1:
            currency, digits = next(iter(given.items()))
            money = Money.from_major(str(digits), currency)
    if money is None or not 0 <= money.amount_minor <= MAX_AMOUNT_MINOR:
        _refuse(fact, given, '"49.00 EUR", with the decimals that the currency has')
    return money


def _hint(word: str, known: Sequence[str]) -> str:
    """Return the nearest right word, or all of them where none is near and they are few."""
    nearest = near(word, known)
    if nearest is not None:
        return f"did you mean {nearest}?"
    return f"one of {', '.join(known)}" if len(known) <= MAX_LISTED else "none of the known words is near"


def _refuse(fact: Fact, given: object, wanted: str) -> NoReturn:
    raise Refused(f"{fact.name}: {shown(str(given))} is not {fact.kind}", wanted, code=MISUSED)
