"""Runs a dunning policy through a timeline whose retries are given."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from recoup_core.domain.recovery import StepKind
from recoup_core.rules.deciding.dunning import (
    DeclinedRetry,
    DunningDecision,
    DunningSituation,
    PlannedRetry,
    Quiet,
    WantedStep,
    decide_dunning,
)
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import DunningFacts
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.language.timelines import ON, QUIET, Timeline
from recoup_core.rules.study.coverage import Try
from recoup_core.rules.study.rehearsal.came import Came, Run
from recoup_core.rules.study.rehearsal.failures import facts_after

_WORDS: Final[Mapping[StepKind, str]] = {StepKind.HUMAN_TASK: "task"}
"""Kinds of steps that policies call otherwise."""

_DETAILS: Final = ("template", "text", "plan")


def run_dunning(policy: Policy, compiled: CompiledPolicy, timeline: Timeline) -> Run:
    """Decide when the case opens and after each failure; what is due before the next one is done at its time."""
    running = _Running(policy, compiled, timeline)
    steps = tuple(running.steps())
    return Run(steps=steps, tries=tuple(running.tries))


class _Running:
    """One case's way through its failures."""

    def __init__(self, policy: Policy, compiled: CompiledPolicy, timeline: Timeline) -> None:
        self.policy = policy
        self.compiled = compiled
        self.timeline = timeline
        self.times = (timeline.start, *timeline.retries)
        self.done: list[str] = []
        self.quiet: str | None = None
        self.tries: list[Try] = []

    def steps(self) -> Iterator[Came]:
        """Yield each step at its time, until the money comes or nothing is left to do."""
        for turn, failure in enumerate(self.timeline.failures):
            if failure is None:
                return
            at, ends = self.times[turn], self.times[turn + 1 : turn + 2]
            facts = self._facts(failure, turn, at)
            self.tries.append(Try(facts=facts))
            decision = decide_dunning(self.compiled, facts, self._situation(facts, turn, at))
            if isinstance(decision.outcome, Quiet):
                yield from self._stays_quiet(decision, decision.outcome, facts, at)
                continue
            self.quiet = None
            for step in decision.outcome.steps:
                if not ends or step.at < ends[0]:
                    self.done.append(step.key)
                    yield _came(decision, step, facts, at)

    def _stays_quiet(
        self, decision: DunningDecision, outcome: Quiet, facts: DunningFacts, at: datetime
    ) -> Iterator[Came]:
        """Yield that there is no dunning, once as long as it stays so."""
        if self.quiet != decision.rule:
            yield Came(
                decided_at=at,
                failure=facts.decline,
                what=QUIET,
                at=None,
                detail=outcome.reason,
                rule=decision.rule,
                because=(),
            )
        self.quiet = decision.rule

    def _facts(self, failure: Mapping[str, Any], turn: int, at: datetime) -> DunningFacts:
        more = self._more(turn)
        stop = None if more else self.timeline.stop
        facts = facts_after(self.policy, self.timeline, failure, turn, at, retry_planned=more, stop_reason=stop)
        assert isinstance(facts, DunningFacts)  # the vocabulary of this kind makes no others
        return facts

    def _situation(self, facts: DunningFacts, turn: int, at: datetime) -> DunningSituation:
        following = PlannedRetry(id=UUID(int=turn + 1), at=self.times[turn + 1]) if self._more(turn) else None
        return DunningSituation(
            now=at,
            opened_at=self.timeline.start,
            retry=following,
            declined=DeclinedRetry(id=UUID(int=turn), at=at) if turn else None,
            exhausted_at=None if following else at,
            settled=tuple(self.done),
            customer_zone=self.timeline.zone,
            country=facts.country,
        )

    def _more(self, turn: int) -> bool:
        return turn + 1 < len(self.times)


def _came(decision: DunningDecision, step: WantedStep, facts: DunningFacts, at: datetime) -> Came:
    trace = next(trace for trace in decision.explanation.steps if trace.key == step.key)
    return Came(
        decided_at=at,
        failure=facts.decline,
        what=_WORDS.get(step.kind, step.kind.value),
        at=step.at,
        detail=next((str(step.detail[name]) for name in _DETAILS if name in step.detail), ON),
        rule=decision.rule,
        because=trace.because,
    )
