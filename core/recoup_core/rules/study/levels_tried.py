"""Which levels of reviews with limits were tried: each that an amount can lead to is a branch of its policy."""

from collections.abc import Iterator

import msgspec

from recoup_core.rules.facts import Facts
from recoup_core.rules.language.actions.review import ReviewSpec
from recoup_core.rules.language.schema import Policy, Rule
from recoup_core.rules.study.bands import bands_of, limit_conditions
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.reach import OnePolicy
from recoup_core.rules.study.solve import Undecided


class Untried(msgspec.Struct, frozen=True, kw_only=True):
    """A level, or all levels in order, that nothing has led to."""

    rule: Rule
    words: str
    facts: Facts | None
    """Facts that lead there; None where they alone don't, or that was not found out in time."""


class LevelsTried:
    """Notes to which levels evaluations have led."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._seen: set[tuple[int, bool, int | None]] = set()

    @property
    def count(self) -> int:
        """How many different ones were tried."""
        return len(self._seen)

    def note(self, number: int, otherwise: bool, facts: Facts) -> None:
        """Note that a rule fired, and whether its `otherwise` counted."""
        spec = _review(self._policy.rules[number], otherwise)
        if spec is not None:
            self._seen.add((number, otherwise, spec.alone(facts.amount)))

    def untried(self, budget: Budget) -> Iterator[Untried]:
        """Yield what was not tried and can be."""
        conditions = limit_conditions(self._policy)
        if not conditions:
            return
        one = OnePolicy(self._policy, conditions)
        for number, rule in enumerate(self._policy.rules):
            for otherwise in (False, True):
                spec = _review(rule, otherwise)
                if spec is not None:
                    yield from self._of(one, number, spec, otherwise, budget)

    def _of(self, one: OnePolicy, number: int, spec: ReviewSpec, otherwise: bool, budget: Budget) -> Iterator[Untried]:
        for band in bands_of(spec, self._policy, number, one.solver):
            if (number, otherwise, band.level) in self._seen:
                continue
            reached = one.reached(number, one.solver.both([one.rules.holds[number], band.amounts]), budget)
            facts = None if isinstance(reached, Undecided) else reached.facts
            if facts is None and not isinstance(reached, Undecided):
                continue  # no amount leads there
            words = "all levels decide" if band.level is None else f"level {band.level + 1} decides alone"
            yield Untried(rule=self._policy.rules[number], words=words, facts=None if otherwise else facts)


def _review(rule: Rule, otherwise: bool) -> ReviewSpec | None:
    action = rule.otherwise if otherwise else rule.action
    return action if isinstance(action, ReviewSpec) and action.limits else None
