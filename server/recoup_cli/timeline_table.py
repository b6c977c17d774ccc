"""A timeline as a table that people read: when, after which failure, what comes and why, and what limits said."""

from collections.abc import Iterator

from recoup_core.rules.deciding.words import finding_words, in_plain_words
from recoup_core.rules.study.rehearsal import Came, Rehearsal, came_words
from recoup_core.rules.timing import in_words


def timeline_lines(rehearsal: Rehearsal) -> Iterator[str]:
    """Yield the table of one timeline."""
    timeline = rehearsal.timeline
    yield f"    timeline {timeline.name!r} (line {timeline.line})"
    heads = [(timeline.shown(step.decided_at), step.failure) for step in rehearsal.run.steps]
    widths = [max([len(head[column]) for head in heads], default=0) for column in range(2)]
    indent = " " * (10 + sum(widths) + 3)
    for (when, failure), step in zip(heads, rehearsal.run.steps, strict=True):
        yield f"      {when:<{widths[0]}}  {failure:<{widths[1]}}  -> {_what(rehearsal, step)}"
        yield f"{indent}{step.rule}" + (f": {'; '.join(map(in_plain_words, step.because))}" if step.because else "")
        for finding in step.limits:
            yield f"{indent}limit {finding_words(finding)}"


def _what(rehearsal: Rehearsal, step: Came) -> str:
    jitter = f"  (up to {in_words(step.jitter)} later: jitter)" if step.jitter else ""
    return came_words(rehearsal.timeline, step, rule=False).strip("{}") + jitter
