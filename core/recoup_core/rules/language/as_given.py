"""Facts as an author would write them in an example: only what differs from where the policy's examples start."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from recoup_core.domain.money import Money, exponent
from recoup_core.rules.facts import Facts, Vocabulary

_CURRENCY: Final = "currency"
"""Is given with the amount."""

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Given = dict[str, Any]
"""By dotted name: a text, a whole number, true or false, `{"EUR": Decimal("15.00")}`, or `{"missing": True}`."""


def minimal_given(facts: Facts, vocabulary: Vocabulary, baseline: Facts) -> Given:
    """Return the fewest facts that an example starting from `baseline` must give to come to these."""
    known = vocabulary.facts
    wanted = {name: fact.get(facts) for name, fact in known.items()}
    start = {name: fact.get(baseline) for name, fact in known.items()}
    values = {name: value for name, value in wanted.items() if name != _CURRENCY and start[name] != value}
    for _ in known:  # what was given may draw other facts along, which must then be given too
        reached = vocabulary.given(baseline, values)
        off = [name for name, value in wanted.items() if name != _CURRENCY and known[name].get(reached) != value]
        if not off:
            break
        values |= {name: wanted[name] for name in off}
    for name in tuple(values):
        fewer = {each: value for each, value in values.items() if each != name}
        reached = vocabulary.given(baseline, fewer)
        if all(known[each].get(reached) == value for each, value in wanted.items()):
            values = fewer
    return {name: _written(value) for name, value in values.items()}


def given_text(given: Mapping[str, Any]) -> str:
    """Return what is given as one line of a policy file: `{attempt: 3, amount: {EUR: 15.00}}`."""
    return "{" + ", ".join(f"{name}: {_text(value)}" for name, value in given.items()) + "}"


def scalar_text(value: Any) -> str:
    """Return a text, number, date or truth value as it stands in a policy file; texts that need quotes get them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not _PLAIN.fullmatch(value) and not _DATE.fullmatch(value):
        return f'"{value}"'
    return str(value)


def major_text(amount_minor: int, currency: str) -> str:
    """Return an amount in major units with all of its currency's decimals, as it stands in a policy file."""
    digits = exponent(currency)
    return f"{Decimal(amount_minor).scaleb(-digits):.{digits}f}"


def _written(value: Any) -> Any:
    if value is None:
        return {"missing": True}
    if isinstance(value, Money):
        return {value.currency: Decimal(major_text(value.amount_minor, value.currency))}
    return value


def _text(value: Any) -> str:
    return given_text(value) if isinstance(value, Mapping) else scalar_text(value)
