"""A simulation's report as lines of text, for the terminal and the API."""

from collections.abc import Iterator, Mapping

from recoup_core.rules.deciding.words import moment
from recoup_core.rules.sets.simulation.compare import CHANGES
from recoup_core.rules.sets.simulation.report import BeforeAfter, Example, SimulationReport
from recoup_core.rules.sets.simulation.words import HONESTY, not_known, shift_words, tally_words


def report_lines(report: SimulationReport) -> Iterator[str]:
    """Yield the report, the outcome first."""
    yield from _outcome(report)
    yield from _changes(report)
    yield from _figures(report)
    yield ""
    yield "What history can't answer:"
    for text in (*not_known(report), *HONESTY):
        yield f"  - {text}"


def _outcome(report: SimulationReport) -> Iterator[str]:
    yield f"{tally_words(report.read)} read"
    rows = (
        ("nothing differs", report.same),
        ("a decision differs", report.different),
        ("  of these two, newly covered by the new text", report.newly_covered),
        ("no longer covered by any of the new texts", report.no_longer_covered),
        ("of other policies, which stay as they are", report.not_concerned),
        ("can't be answered in full", report.unanswered),
        ("can't be read", report.unreadable),
    )
    for words, tally in rows:
        if tally.cases:
            yield f"  {words}: {tally_words(tally)}"
    for because, count in report.troubles.items():
        yield f"    {count:,} times: {because}"


def _changes(report: SimulationReport) -> Iterator[str]:
    if report.changes:
        yield ""
        yield "The first decision that differs; the new text ..."
    for name, words in CHANGES.items():
        change = report.changes.get(name)
        if change is None:
            continue
        yield f"  {words}: {tally_words(change.tally)}"
        for example in change.examples[:1]:
            yield from _example(example)


def _example(example: Example) -> Iterator[str]:
    yield f"    for example case {example.case}, decision {example.decision} at {moment(example.at)}:"
    yield f"      {example.before}  ->  {example.after}"
    for line in example.why:
        yield f"      {line}"


def _figures(report: SimulationReport) -> Iterator[str]:
    for words, shift in (("earlier", report.earlier), ("later", report.later)):
        if shift.decisions:
            yield f"times move {words}: {shift_words(shift)}"
    yield from _both("stops by reason", report.stops)
    yield from _both("dunning steps", report.steps)
    yield from _both("refunds", report.answers)
    if report.attempts.before:
        yield ""
        yield "retries planned   cases in history   under the new text   at least so many"
        attempts = report.attempts
        for number in sorted({*attempts.before, *attempts.after, *attempts.at_least}):
            counts = (table.get(number, 0) for table in (attempts.before, attempts.after, attempts.at_least))
            yield f"{number:>15}" + "".join(f"{count:>19,}" for count in counts)
    recovered = report.recovered
    if recovered.after_stop.cases:
        yield ""
        yield f"money that came in after the new text would have stopped: {tally_words(recovered.after_stop)}"


def _both(title: str, table: Mapping[str, BeforeAfter]) -> Iterator[str]:
    if table:
        yield ""
        yield f"{title}, in the decisions that were made again:"
    for word, count in sorted(table.items()):
        yield f"  {word.replace('_', ' ')}: {count.before:,} -> {count.after:,}"
