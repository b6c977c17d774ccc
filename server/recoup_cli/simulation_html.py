"""A simulation's report as a page for whoever decides whether the new text goes live."""

from collections.abc import Iterator, Mapping, Sequence

from recoup_cli.report_html import Html, bars, cards, heading, notes, page, paragraph, section, table
from recoup_core.rules.deciding.words import moment
from recoup_core.rules.sets.simulation.compare import CHANGES
from recoup_core.rules.sets.simulation.report import (
    LONGER,
    SPANS,
    BeforeAfter,
    Change,
    Shift,
    SimulationReport,
    Tally,
)
from recoup_core.rules.sets.simulation.words import HONESTY, amounts_words, not_known, shift_words, tally_words

TITLE = "What the new policy would change"


def report_page(report: SimulationReport, about: Sequence[str], made: str) -> str:
    """Return the page; `about` says which texts and which history, `made` when and by what."""
    return page(TITLE, about, _blocks(report), made)


def _blocks(report: SimulationReport) -> Iterator[Html]:
    yield _summary(report)
    yield section("What would change", _changes(report), "By the first decision of a case that differs.")
    yield section("Attempts", _attempts(report))
    yield section("Times", _times(report))
    yield section("Stops", _both(report.stops, "reason"), "In the decisions that were made again.")
    yield section("Dunning steps", _both(report.steps, "step"), "In the decisions that were made again.")
    yield section("Refunds", _both(report.answers, "answer"), "In the decisions that were made again.")
    yield section("Money", _money(report))
    yield section("Cases set apart", _apart(report))
    yield section("What history can't answer", [notes([*not_known(report), *HONESTY])])


def _summary(report: SimulationReport) -> Html:
    share = f"{100 * report.different.cases / report.read.cases:.1f} % of all" if report.read.cases else ""
    values = [
        (f"{report.read.cases:,}", "cases looked at", amounts_words(report.read.amounts)),
        (f"{report.different.cases:,}", "change", share or amounts_words(report.different.amounts)),
        (f"{report.same.cases:,}", "stay as they were", amounts_words(report.same.amounts)),
    ]
    apart = report.read.cases - report.different.cases - report.same.cases
    if apart:
        values.append((f"{apart:,}", "set apart", "of other policies, or can't be answered: see below"))
    return cards(values)


def _changes(report: SimulationReport) -> Iterator[Html]:
    if not report.changes:
        yield paragraph("Nothing: every decision that could be made again comes out as it did.")
        return
    known = [(words, report.changes[name]) for name, words in CHANGES.items() if name in report.changes]
    yield bars([(f"The new text {words}", change.tally.cases) for words, change in known], unit="case")
    for words, change in known:
        yield heading(f"The new text {words}: {tally_words(change.tally)}")
        yield _examples(change)


def _examples(change: Change) -> Html:
    rows = [
        (each.case, f"{each.decision}, {moment(each.at)}", each.before, each.after, each.why)
        for each in change.examples
    ]
    return table(("example case", "decision", "before", "with the new text", "why"), rows)


def _attempts(report: SimulationReport) -> Iterator[Html]:
    attempts = report.attempts
    numbers = sorted({*attempts.before, *attempts.after, *attempts.at_least})
    rows = [
        (str(number), *(f"{part.get(number, 0):,}" for part in (attempts.before, attempts.after, attempts.at_least)))
        for number in numbers
    ]
    head = ("retries planned", "cases in history", "with the new text, exactly", "with the new text, at least")
    yield table(head, rows, numbers=range(4))
    if rows:
        yield paragraph('"At least" counts cases in which something differs, up to and with the first such decision.')


def _times(report: SimulationReport) -> Iterator[Html]:
    for words, shift in (("earlier", report.earlier), ("later", report.later)):
        if shift.decisions:
            yield bars(_spread(shift), caption=f"{words.capitalize()}: {shift_words(shift)}", unit="time")


def _spread(shift: Shift) -> list[tuple[str, int]]:
    return [(span, shift.spread.get(span, 0)) for span in (*SPANS, LONGER) if shift.spread.get(span)]


def _both(counts: Mapping[str, BeforeAfter], name: str) -> list[Html]:
    rows = [(word.replace("_", " "), f"{each.before:,}", f"{each.after:,}") for word, each in sorted(counts.items())]
    return [table((name, "in history", "with the new text"), rows, numbers=(1, 2))]


def _money(report: SimulationReport) -> Iterator[Html]:
    recovered = report.recovered
    rows = [
        ("came in, in cases in which nothing differs", recovered.unchanged),
        ("came in after a decision that differs: whether it still would can't be told", recovered.after_difference),
        ("of that, after the new text would have stopped trying", recovered.after_stop),
    ]
    yield _tallies([(words, tally) for words, tally in rows if tally.cases])


def _apart(report: SimulationReport) -> Iterator[Html]:
    rows = [
        ("newly covered by the new text (counted above, too)", report.newly_covered),
        ("no longer covered by any of the new texts", report.no_longer_covered),
        ("of other policies, which stay as they are", report.not_concerned),
        ("can't be answered in full", report.unanswered),
        ("can't be read", report.unreadable),
    ]
    yield _tallies([(words, tally) for words, tally in rows if tally.cases])
    yield notes(f"{count:,} times: {because}" for because, count in report.troubles.items())


def _tallies(rows: Sequence[tuple[str, Tally]]) -> Html:
    cells = [(words, f"{tally.cases:,}", amounts_words(tally.amounts)) for words, tally in rows]
    return table(("", "cases", "amounts"), cells, numbers=(1,))
