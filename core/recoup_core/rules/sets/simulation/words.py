"""A simulation's report in words, the same on the terminal, in HTML and through the API."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from recoup_core.domain.errors import DomainError
from recoup_core.domain.money import Money
from recoup_core.rules.sets.simulation.report import Shift, SimulationReport, Tally
from recoup_core.rules.timing import in_words

HONESTY: Final = (
    "A case is followed until the first decision that comes out otherwise. What came after it happened under the old"
    " text; under the new one it would have come otherwise, and nobody can say how.",
    "So no money is said to be won: an attempt that was not made has no outcome.",
)
"""What every report must say of itself."""

REFUND_HONESTY: Final = (
    "Bounds per agent, per day and per customer are those of history: where earlier refunds would have been answered"
    " otherwise, the sums would be others."
)


def amounts_words(amounts: Mapping[str, int]) -> str:
    """Return amounts, the currencies in order: `1,204.50 EUR, 99.00 USD`."""
    return ", ".join(_amount(minor, currency) for currency, minor in sorted(amounts.items()))


def tally_words(tally: Tally) -> str:
    """Return a count of cases with what they come to."""
    amounts = amounts_words(tally.amounts)
    return f"{tally.cases:,} case{'s' if tally.cases != 1 else ''}" + (f" ({amounts})" if amounts else "")


def shift_words(shift: Shift) -> str:
    """Return how far times move, on average."""
    mean = timedelta(minutes=round(shift.seconds / 60 / shift.decisions)) if shift.decisions else timedelta()
    return f"{shift.decisions:,} times, by {in_words(mean) if mean else 'less than a minute'} on average"


def not_known(report: SimulationReport) -> Iterator[str]:
    """Yield what history can't answer about this text."""
    decisions = report.decisions
    if decisions.after_difference:
        yield (
            f"{decisions.after_difference:,} decisions came after one that differs: under the new text their cases"
            " would not have come to them as they did"
        )
    late = report.recovered.after_difference
    if late.cases:
        told = "brought money in after a decision that differs: whether it would have come in can't be told"
        yield f"{tally_words(late)} {told}"
    for question, count in sorted(report.questions.items(), key=lambda each: -each[1]):
        yield f"{question}: not in the history of {count:,} decision{'s' if count != 1 else ''}"
    if report.answers:
        yield REFUND_HONESTY


def _amount(minor: int, currency: str) -> str:
    try:
        digits, _, code = str(Money(minor, currency)).partition(" ")
    except DomainError:  # a foreign file's own currency
        return f"{minor:,} minor units of {currency}"
    whole, dot, rest = digits.partition(".")
    return f"{int(whole):,}{dot}{rest} {code}"
