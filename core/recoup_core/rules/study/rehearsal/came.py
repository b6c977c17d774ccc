"""What a policy came to on a timeline, and how that differs from what was expected."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import zip_longest

import msgspec

from recoup_core.domain.payment import CredentialRole
from recoup_core.rules.deciding.limits import Finding
from recoup_core.rules.deciding.words import in_plain_words
from recoup_core.rules.language.errors import Problem, shown
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.language.timelines import RETRY, Expected, Timeline
from recoup_core.rules.study.coverage import Try


class Came(msgspec.Struct, frozen=True, kw_only=True):
    """One step that the policy came to."""

    decided_at: datetime
    failure: str
    """The category of the decline that led to it."""
    what: str
    at: datetime | None
    detail: str | None
    """As in `Expected`; of a retry always its credential."""
    rule: str
    because: tuple[str, ...]
    limits: tuple[Finding, ...] = ()
    jitter: timedelta = timedelta()
    """What production may add."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A timeline's way through a policy."""

    steps: tuple[Came, ...]
    tries: tuple[Try, ...]
    """The evaluations that it caused."""
    left_over: int = 0
    """Of its `failures`, those that never happen."""


def differences(policy: Policy, timeline: Timeline, run: Run) -> Iterator[Problem]:
    """Yield, step by step, what was expected and did not come, or came and was not expected."""
    name = f"timeline {shown(timeline.name)}"
    for number, (wanted, came) in enumerate(zip_longest(timeline.expect, run.steps), 1):
        if wanted is not None and came is not None and _as_expected(wanted, came):
            continue
        expected = "nothing" if wanted is None else expected_words(timeline, wanted)
        got = "nothing" if came is None else came_words(timeline, came, rule=wanted is None or bool(wanted.rule))
        hint = f"because: {'; '.join(map(in_plain_words, came.because))}" if came is not None and came.because else None
        message = f"{name}, step {number}: expected {expected}, got {got}"
        yield problem_at(policy, wanted or timeline, "timeline_failed", message, hint)
    if run.left_over:
        message = f"{name}: retries stop; {run.left_over} of its `failures` never happen"
        yield problem_at(policy, timeline, "timeline_failed", message)


def expected_words(timeline: Timeline, step: Expected) -> str:
    """Return an expected step on one line, as it is written in the file."""
    return _words(timeline, step.what, step.at, step.detail, step.rule)


def came_words(timeline: Timeline, step: Came, *, rule: bool = True) -> str:
    """Return what came on one line, as it would be written in the file."""
    return _words(timeline, step.what, step.at, step.detail, step.rule if rule else None)


def problem_at(policy: Policy, at: Timeline | Expected, code: str, message: str, hint: str | None = None) -> Problem:
    """Return a problem at a timeline, or at one of its steps."""
    return Problem(file=policy.source, line=at.line, column=at.column, code=code, message=message, hint=hint)


def _as_expected(wanted: Expected, came: Came) -> bool:
    same = wanted.what == came.what and wanted.at == came.at and wanted.rule in (None, came.rule)
    return same and (wanted.detail == came.detail or (wanted.what == RETRY and wanted.detail is None))


def _words(timeline: Timeline, what: str, at: datetime | None, detail: str | None, rule: str | None) -> str:
    when = timeline.shown(at) if at is not None else None
    if what == RETRY:
        credential = f", credential: {detail}" if detail not in (None, CredentialRole.PRIMARY) else ""
        step = f"{what}: {when}{credential}"
    else:
        step = f"{what}: {detail}" + (f", at: {when}" if when else "")
    return "{" + step + (f", rule: {rule}" if rule else "") + "}"
