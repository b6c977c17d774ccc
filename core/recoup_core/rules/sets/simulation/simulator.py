"""Follows past cases under new texts, each until the first decision that comes out otherwise."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.rules.deciding.decide import Situation
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.language.errors import NoPolicyApplies
from recoup_core.rules.sets.simulation.compare import (
    PastRetry,
    PastStop,
    dunning_changes,
    outcome_words,
    refund_changes,
    retry_changes,
)
from recoup_core.rules.sets.simulation.judge import Judged, judge
from recoup_core.rules.sets.simulation.past import PastDecision, Reader
from recoup_core.rules.sets.simulation.plan import SimulationPlan
from recoup_core.rules.sets.simulation.report import MAX_EXAMPLES, Change, Example, SimulationReport
from recoup_core.rules.sets.simulation.why import why
from recoup_core.rules.study.history import HistoryCase

MAX_TROUBLES: Final = 10
"""Different reasons kept why cases can't be read."""

RECOVERED: Final = "recovered"

_COMPARE: Final[Mapping[str, Callable[[Any, Any, SimulationReport], list[str]]]] = {
    "retry": retry_changes,
    "dunning": dunning_changes,
    "refund": refund_changes,
}


class Simulator:
    """One per process: compiles the new texts once, then takes cases in any number of rounds."""

    def __init__(self, plan: SimulationPlan) -> None:
        """Raises `PolicyInvalid`."""
        self._simulated = plan.book()
        self._reader = Reader(self._simulated.new)

    def __call__(self, cases: Sequence[HistoryCase]) -> SimulationReport:
        """Return what would change in these cases; those of kinds that no new text is of are passed over."""
        report = SimulationReport()
        for case in cases:
            if case.kind not in self._simulated.kinds:
                continue
            report.read.add(case)
            try:
                decisions = self._reader.read(case)
            except (msgspec.MsgspecError, DomainError, RecursionError) as error:  # the last: nested too deeply
                _unreadable(report, case, error)
                continue
            self._case(case, decisions, report)
        return report

    def _case(self, case: HistoryCase, decisions: list[PastDecision], report: SimulationReport) -> None:
        if not decisions or decisions[0].facts is None:
            missing = decisions[0].missing if decisions else ()
            _ask(report, (f"what the fact {name} was" for name in missing))
            report.decisions.read += len(decisions)
            report.decisions.unanswered += len(decisions)
            report.unanswered.add(case)
            return
        policy = self._chosen(case.kind, decisions[0])
        ours = (case.kind, case.policy) in self._simulated.names
        if policy is None:
            (report.no_longer_covered if ours else report.not_concerned).add(case)
            return
        if case.policy is not None and not ours:
            report.newly_covered.add(case)
        _Followed(case, decisions, policy, report).follow()

    def _chosen(self, kind: str, first: PastDecision) -> CompiledPolicy | None:
        """Return the new text that covers the case; None where none does, or one that stays in force is narrower."""
        assert first.facts is not None  # the caller has looked
        try:
            chosen = self._simulated.book.choose(kind, first.facts)
        except NoPolicyApplies:
            return None
        return chosen if (kind, chosen.policy.name) in self._simulated.names else None


class _Followed:
    """One case on its way."""

    def __init__(
        self, case: HistoryCase, decisions: list[PastDecision], policy: CompiledPolicy, report: SimulationReport
    ) -> None:
        self.case, self.decisions, self.policy, self.report = case, decisions, policy, report
        self.uses = _Uses()

    def follow(self) -> None:
        """Decide again in order, until one decision differs."""
        report, unanswered = self.report, 0
        report.decisions.read += len(self.decisions)
        for number, past in enumerate(self.decisions, 1):
            judged = self._judged(past)
            changes = self._changes(past, judged)
            if changes:
                self._differs(number, past, judged, changes)
                return
            if judged.questions:
                unanswered += 1
                _ask(report, judged.questions)
            self.uses.note(past, judged)
        report.decisions.unanswered += unanswered
        report.decisions.same += len(self.decisions) - unanswered
        (report.unanswered if unanswered else report.same).add(self.case)
        if not unanswered:
            self._attempts(report.attempts.after, self._retries(self.decisions))
            if self.case.result == RECOVERED:
                report.recovered.unchanged.add(self.case)

    def _judged(self, past: PastDecision) -> Judged:
        if past.facts is None:
            return Judged(rule="", outcome=None, questions=tuple(f"what the fact {name} was" for name in past.missing))
        return judge(self.policy, past.facts, self.uses.situation(past.situation))

    def _changes(self, past: PastDecision, judged: Judged) -> list[str]:
        if judged.outcome is None:
            return []
        return _COMPARE[self.case.kind](past.outcome, judged.outcome, self.report)

    def _differs(self, number: int, past: PastDecision, judged: Judged, changes: list[str]) -> None:
        report = self.report
        report.different.add(self.case)
        report.decisions.same += number - 1
        report.decisions.different += 1
        report.decisions.after_difference += len(self.decisions) - number
        report.diverged_at[number] = report.diverged_at.get(number, 0) + 1
        for name in changes:
            change = report.changes.setdefault(name, Change())
            change.tally.add(self.case)
            if len(change.examples) < MAX_EXAMPLES:
                change.examples.append(self._example(number, past, judged))
        before = self.decisions[: number - 1]
        self._attempts(report.attempts.at_least, self._retries(before) + isinstance(judged.outcome, PastRetry))
        if self.case.result == RECOVERED:
            report.recovered.after_difference.add(self.case)
            if isinstance(judged.outcome, PastStop) and isinstance(past.outcome, PastRetry):
                report.recovered.after_stop.add(self.case)

    def _example(self, number: int, past: PastDecision, judged: Judged) -> Example:
        assert past.facts is not None  # what differs was decided
        return Example(
            case=self.case.case,
            decision=number,
            at=past.at,
            rule_before=past.rule,
            rule_after=judged.rule,
            before=outcome_words(past.outcome),
            after=outcome_words(judged.outcome),
            why=why(self.policy, past.facts, past.rule, judged),
        )

    def _attempts(self, table: dict[int, int], count: int) -> None:
        """Count the case by its retries, as history had them and in a table of the new text's."""
        if self.case.kind == "retry":
            made = self._retries(self.decisions)
            before = self.report.attempts.before
            before[made] = before.get(made, 0) + 1
            table[count] = table.get(count, 0) + 1

    @staticmethod
    def _retries(decisions: Sequence[PastDecision]) -> int:
        return sum(1 for each in decisions if isinstance(each.outcome, PastRetry))


class _Uses:
    """How many retries each rule of the new text would have led to: history counts by the old text's names.

    As long as all decisions agree, the same retries were made; only the rules behind them may be called otherwise.
    """

    def __init__(self) -> None:
        self._renamed = False
        self._before: Mapping[str, int] | None = None
        """What counted at the first decision: nothing, unless the case was moved here from another policy."""
        self._made: Counter[str] = Counter()
        self._planned: tuple[str, int, str] | None = None
        """The rule of the latest retry, its uses before, and the new rule in its place."""

    def situation(self, situation: Any) -> Any:
        """Return the situation as it would have been under the new text."""
        if not isinstance(situation, Situation):
            return situation
        if self._planned is not None:
            old, before, new = self._planned
            self._made[new] += max(0, situation.uses.get(old, 0) - before)
            self._planned = None
        if self._before is None:
            self._before = situation.uses
        if not self._renamed:
            return situation
        return msgspec.structs.replace(situation, uses=dict(Counter(self._before) + self._made))

    def note(self, past: PastDecision, judged: Judged) -> None:
        """Remember which new rule led to the retry that history made."""
        if isinstance(past.situation, Situation) and isinstance(past.outcome, PastRetry) and past.rule is not None:
            self._renamed = self._renamed or past.rule != judged.rule
            self._planned = (past.rule, past.situation.uses.get(past.rule, 0), judged.rule)


def _ask(report: SimulationReport, questions: Any) -> None:
    for question in questions:
        report.questions[question] = report.questions.get(question, 0) + 1


def _unreadable(report: SimulationReport, case: HistoryCase, error: Exception) -> None:
    report.unreadable.add(case)
    because = str(error)
    if because in report.troubles or len(report.troubles) < MAX_TROUBLES:
        report.troubles[because] = report.troubles.get(because, 0) + 1
