"""Runs a notice policy through a timeline: a charge is announced, and nothing about it changes."""

from collections.abc import Iterator
from typing import Final

import msgspec

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.deciding.notice import NoticeDecision, NoticeSituation, Quiet, decide_notice, notice_days
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import NoticeFacts
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.language.timelines import QUIET, Timeline
from recoup_core.rules.study.coverage import Try
from recoup_core.rules.study.rehearsal.came import Came, Run

ANNOUNCED: Final = "announced"
"""What led to every step."""


def announced_facts(policy: Policy, timeline: Timeline) -> NoticeFacts:
    """Return the facts as of the announcement."""
    assert timeline.charge is not None  # the reader of this kind demands it
    given = policy.vocabulary.given(policy.baseline, timeline.given)
    assert isinstance(given, NoticeFacts)  # the vocabulary of this kind makes no others
    days = notice_days(timeline.start, timeline.charge, timeline.expires, zone=timeline.zone, country=given.country)
    return msgspec.structs.replace(given, **msgspec.structs.asdict(days))


def run_notice(policy: Policy, compiled: CompiledPolicy, timeline: Timeline) -> Run:
    """Decide when the charge is announced."""
    assert timeline.charge is not None  # the reader of this kind demands it
    facts = announced_facts(policy, timeline)
    situation = NoticeSituation(
        now=timeline.start,
        announced_at=timeline.start,
        charge_at=timeline.charge,
        card_expires=timeline.expires,
        customer_zone=timeline.zone,
        country=facts.country,
    )
    decision = decide_notice(compiled, facts, situation)
    return Run(steps=tuple(_steps(decision, timeline)), tries=(Try(facts=facts),))


def _steps(decision: NoticeDecision, timeline: Timeline) -> Iterator[Came]:
    if isinstance(decision.outcome, Quiet):
        yield _came(decision, timeline, what=QUIET, detail=decision.outcome.reason)
        return
    because = {trace.key: trace.because for trace in decision.explanation.steps}
    for step in decision.outcome.steps:
        what, detail = ("task", "text") if step.kind is StepKind.HUMAN_TASK else ("message", "template")
        came = _came(decision, timeline, what=what, detail=str(step.detail[detail]))
        yield msgspec.structs.replace(came, at=step.at, because=because[step.key])


def _came(decision: NoticeDecision, timeline: Timeline, *, what: str, detail: str) -> Came:
    return Came(
        decided_at=timeline.start,
        failure=ANNOUNCED,
        what=what,
        at=None,
        detail=detail,
        rule=decision.rule,
        because=(),
    )
