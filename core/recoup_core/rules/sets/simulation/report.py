"""What a simulation came to: counts, amounts and a few examples; parts made by several processes add up to one."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from recoup_core.rules.study.history import HistoryCase

MAX_EXAMPLES: Final = 5
"""Example cases of each kind of change: the first in the order of history."""

SPANS: Final[Mapping[str, timedelta]] = {
    "up to an hour": timedelta(hours=1),
    "up to 6 hours": timedelta(hours=6),
    "up to a day": timedelta(days=1),
    "up to 3 days": timedelta(days=3),
    "up to a week": timedelta(weeks=1),
}
LONGER: Final = "longer"
"""How far times move, in words; the first that fits counts."""


class Tally(msgspec.Struct, kw_only=True):
    """How many cases, and what they come to."""

    cases: int = 0
    amounts: dict[str, int] = {}
    """Minor units by currency."""

    def add(self, case: HistoryCase) -> None:
        """Count a case."""
        self.cases += 1
        if case.currency is not None and case.amount_minor is not None:
            self.amounts[case.currency] = self.amounts.get(case.currency, 0) + case.amount_minor


class BeforeAfter(msgspec.Struct, kw_only=True):
    """How often something was decided in history, and how often it is under the new text, in the same decisions."""

    before: int = 0
    after: int = 0


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One case in which something changes."""

    case: str
    decision: int
    """Its number in the case, from 1."""
    at: datetime
    rule_before: str | None
    rule_after: str
    before: str
    after: str
    why: tuple[str, ...] = ()


class Change(msgspec.Struct, kw_only=True):
    """One kind of change, with the cases in which it comes first."""

    tally: Tally = msgspec.field(default_factory=Tally)
    examples: list[Example] = []


class Shift(msgspec.Struct, kw_only=True):
    """Decisions whose times move one way."""

    decisions: int = 0
    seconds: int = 0
    """All of it together."""
    spread: dict[str, int] = {}
    """How many decisions move how far (`SPANS`)."""

    def add(self, by: timedelta) -> None:
        """Count one decision that moves by so much; the sign doesn't matter."""
        far = abs(by)
        self.decisions += 1
        self.seconds += int(far.total_seconds())
        span = next((words for words, most in SPANS.items() if far <= most), LONGER)
        self.spread[span] = self.spread.get(span, 0) + 1


class Decisions(msgspec.Struct, kw_only=True):
    """Where the decisions of the cases that are covered went."""

    read: int = 0
    same: int = 0
    different: int = 0
    after_difference: int = 0
    """Can't be answered: under the new text the case would not have come to them as it did."""
    unanswered: int = 0
    """Can't be answered: history doesn't hold what deciding takes."""


class Attempts(msgspec.Struct, kw_only=True):
    """Cases by the number of retries planned in them."""

    before: dict[int, int] = {}
    after: dict[int, int] = {}
    """Of cases in which nothing differs: exactly so many."""
    at_least: dict[int, int] = {}
    """Of the others: so many up to and with the decision that differs; what follows can't be told."""


class Recovered(msgspec.Struct, kw_only=True):
    """Money that came in, by what the new text has to do with it."""

    unchanged: Tally = msgspec.field(default_factory=Tally)
    """In cases in which nothing differs."""
    after_difference: Tally = msgspec.field(default_factory=Tally)
    """After a decision that differs: whether it would have come in can't be told."""
    after_stop: Tally = msgspec.field(default_factory=Tally)
    """Of that, in cases that the new text stops and history went on with: it would have tried no more."""


class SimulationReport(msgspec.Struct, kw_only=True):
    """What would change. Cases are counted once each in `same`, `different` or one of the four that are set apart."""

    read: Tally = msgspec.field(default_factory=Tally)
    same: Tally = msgspec.field(default_factory=Tally)
    different: Tally = msgspec.field(default_factory=Tally)
    newly_covered: Tally = msgspec.field(default_factory=Tally)
    """Of `same` and `different`: cases that another policy decided before."""
    no_longer_covered: Tally = msgspec.field(default_factory=Tally)
    not_concerned: Tally = msgspec.field(default_factory=Tally)
    """Decided by policies that stay as they are."""
    unanswered: Tally = msgspec.field(default_factory=Tally)
    """Nothing of the case can be decided again: see `questions`."""
    unreadable: Tally = msgspec.field(default_factory=Tally)
    decisions: Decisions = msgspec.field(default_factory=Decisions)
    diverged_at: dict[int, int] = {}
    """Cases by the number of the first decision that differs."""
    changes: dict[str, Change] = {}
    """By kind of change (`CHANGES`); a case may be in several."""
    attempts: Attempts = msgspec.field(default_factory=Attempts)
    earlier: Shift = msgspec.field(default_factory=Shift)
    later: Shift = msgspec.field(default_factory=Shift)
    stops: dict[str, BeforeAfter] = {}
    """Retries that end, and campaigns that don't happen, by reason."""
    steps: dict[str, BeforeAfter] = {}
    """Dunning steps wanted, by what they do."""
    answers: dict[str, BeforeAfter] = {}
    """Refunds by answer."""
    recovered: Recovered = msgspec.field(default_factory=Recovered)
    questions: dict[str, int] = {}
    """What history can't answer: how many decisions each question was left open in."""
    troubles: dict[str, int] = {}
    """Why cases can't be read; the first few reasons."""

    def count(self, table: dict[str, BeforeAfter], before: Iterable[str], after: Iterable[str]) -> None:
        """Count what one decision came to in history and comes to now."""
        for word in before:
            table.setdefault(word, BeforeAfter()).before += 1
        for word in after:
            table.setdefault(word, BeforeAfter()).after += 1


def merged(parts: Iterable[SimulationReport]) -> SimulationReport:
    """Return the sum of reports about different cases."""
    total = SimulationReport()
    for part in parts:
        add(total, part)
    return total


def add(total: Any, part: Any) -> None:
    """Add a part of a report to another of the same type, in place: numbers add up, examples fill their places."""
    for name in total.__struct_fields__:
        setattr(total, name, _sum(getattr(total, name), getattr(part, name)))


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, int):
        return one + other
    if isinstance(one, list):
        return [*one, *other][:MAX_EXAMPLES]
    if isinstance(one, dict):
        return {key: _either(one.get(key), other.get(key)) for key in dict.fromkeys((*one, *other))}
    add(one, other)
    return one


def _either(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return _sum(one, other)
