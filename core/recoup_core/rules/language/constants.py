"""Reads a policy's constants: each must be of the type of its fact, and possible."""

import re
from contextlib import suppress
from datetime import date
from typing import Final

from recoup_core.domain.errors import AmountNotExact
from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money
from recoup_core.rules.facts import CURRENCIES, Fact, FactKind
from recoup_core.rules.language.conditions import Literal
from recoup_core.rules.language.errors import Report, shown
from recoup_core.rules.language.yamltext import (
    Broken,
    Map,
    Node,
    Scalar,
    Seq,
    as_bool,
    as_int,
    as_list,
    as_map,
    as_text,
    kind_of,
)

MAX_VALUES: Final = 200
"""Values in one list."""

_TEXT_VALUE: Final = re.compile(r"[^\"\\*\x00-\x1f\x7f][^\"\\\x00-\x1f\x7f]{0,63}")
_AMOUNT: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,4})?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class ConstantReader:
    """Reads the constants of one file."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def value(self, fact: Fact, node: Node) -> Literal | None:
        """Read one constant of the fact's declared type; what it can never be is refused."""
        what = f"`{fact.name}`"
        if fact.kind is FactKind.BOOL:
            return as_bool(node, what, self.report)
        if fact.kind is FactKind.INT:
            return self._number(fact, node)
        if fact.kind is FactKind.DATE:
            return self.date(node, what)
        text = as_text(node, what, self.report)
        if text is None:
            return None
        if fact.kind is FactKind.CHOICE and text not in fact.choices:
            hint = _of_choices(text, fact) or self.report.suggest(text, fact.choices)
            self.report.add(node, "unknown_value", f"{what} is never {shown(text)}", hint)
            return None
        if not _TEXT_VALUE.fullmatch(text):
            message = f"{what} takes up to 64 characters without quotes, backslashes or a leading *"
            self.report.add(node, "bad_text", message)
            return None
        return text

    def _number(self, fact: Fact, node: Node) -> int | None:
        number = as_int(node, f"`{fact.name}`", self.report)
        if number is None or fact.low <= number <= fact.high:
            return number
        limit = f"less than {fact.low}" if number < fact.low else f"more than {fact.high}"
        self.report.add(node, "out_of_range", f"`{fact.name}` is never {limit}")
        return None

    def values(self, fact: Fact, node: Seq) -> tuple[Literal, ...] | None:
        """Read a list of different constants."""
        if fact.kind is FactKind.BOOL:
            self.report.add(node, "wrong_type", f"`{fact.name}` must be true or false, not a list")
            return None
        items = as_list(node, f"the list of `{fact.name}`", self.report, most=MAX_VALUES)
        if items is None:
            return None
        values = [self.value(fact, item) for item in items]
        for index, value in enumerate(values):
            if value is not None and value in values[:index]:
                self.report.add(items[index], "duplicate_value", f"{value!r} stands twice in the list")
        found = tuple(value for value in values if value is not None)
        return found if len(found) == len(values) else None

    def date(self, node: Node, what: str) -> str | None:
        """Read a date, year first."""
        text = node.text if isinstance(node, Scalar) else None
        if text is not None and _DATE.fullmatch(text):
            with suppress(ValueError):
                return date.fromisoformat(text).isoformat()
        if not isinstance(node, Broken):
            message = f"{what} must be a date, not {kind_of(node)}"
            self.report.add(node, "bad_date", message, "year, month, day: 2026-01-31, a day that there is")
        return None

    def currency(self, node: Scalar) -> bool:
        """Say whether a key names a currency; report it when not."""
        if node.text in CURRENCIES:
            return True
        digits = node.text[:1].isdigit()
        hint = "write amounts without a comma" if digits else self.report.suggest(node.text, CURRENCIES)
        self.report.add(node, "unknown_currency", f"{shown(node.text)} is not an ISO 4217 currency", hint)
        return False

    def amount(self, currency: str, node: Node) -> int | None:
        """Read an amount in major units exactly as written; return minor units."""
        if isinstance(node, Broken):
            return None
        if not isinstance(node, Scalar) or not _AMOUNT.fullmatch(node.text):
            self.report.add(node, "bad_amount", f"an amount is digits with a decimal point, like 20.00 ({currency})")
            return None
        try:
            minor = Money.from_major(node.text, currency).amount_minor
        except AmountNotExact:
            self.report.add(node, "bad_amount", f"{node.text} has more decimals than {currency} knows")
            return None
        if minor > MAX_AMOUNT_MINOR:
            self.report.add(node, "out_of_range", f"{node.text} {currency} is beyond what can be compared exactly")
            return None
        return minor

    def amounts(self, node: Node, what: str) -> dict[str, int] | None:
        """Read one amount per currency; return minor units."""
        mapping = self.currencies(node, what)
        if mapping is None:
            return None
        found: dict[str, int] = {}
        for key, value in mapping.entries:
            amount = self.amount(key.text, value) if self.currency(key) else None
            if amount is not None:
                found[key.text] = amount
        return found if len(found) == len(mapping.entries) else None

    def currencies(self, node: Node, what: str, hint: str = "write {EUR: 20.00}") -> Map | None:
        """Return a mapping by currency that names at least one."""
        mapping = as_map(node, f"{what}, per currency,", self.report, hint)
        if mapping is not None and not mapping.entries:
            self.report.add(node, "empty_condition", "no currency is named")
            return None
        return mapping


def _of_choices(text: str, fact: Fact) -> str | None:
    """Return what to write for a country in other letters than ISO's; those of a short list are near by spelling."""
    if "GB" not in fact.choices or (len(text) == 2 and text != "UK"):
        return None
    return "did you mean 'GB'?" if text == "UK" else "two capital letters (ISO 3166-1), like DE"
