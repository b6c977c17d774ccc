"""Which rule of the old text decided the payments that a rule of the new text decides."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from recoup_core.rules.facts import VOCABULARIES, Facts
from recoup_core.rules.language.actions.notices import NoticesSpec
from recoup_core.rules.language.actions.review import ReviewSpec
from recoup_core.rules.language.actions.steps import StepsSpec
from recoup_core.rules.language.as_given import given_text, minimal_given
from recoup_core.rules.language.conditions import Comparison, Condition, Op
from recoup_core.rules.language.reasons import REASON
from recoup_core.rules.language.schema import Action, Policy, Rule
from recoup_core.rules.study.formulas import Budget, Formula, Point, holds
from recoup_core.rules.study.reach import Reach, Rules
from recoup_core.rules.study.solve import Solver, following, nearer, scope_condition
from recoup_core.rules.study.space import Space


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """Payments that a rule of the old text decided and one of the new text decides."""

    old: Rule
    new: Rule
    same: bool
    """Whether both do the same."""
    given: str
    facts_given: int
    """How many facts that gives."""


class Alone(msgspec.Struct, frozen=True, kw_only=True):
    """Payments that only one of the texts is for, and its rule that decides."""

    rule: Rule
    given: str


class Pairing:
    """Two texts over one space."""

    def __init__(self, old: Policy, new: Policy) -> None:
        self._old, self._new = old, new
        scopes = [_scope(policy) for policy in (old, new)]
        conditions = [[rule.when for rule in policy.rules] for policy in (old, new)]
        asked = [each for each in (*conditions[0], *conditions[1], *scopes[0], *scopes[1]) if each is not None]
        self._solver = Solver(Space(asked, VOCABULARIES[new.kind]))
        self._reach = Reach(self._solver, new.baseline)
        self._scopes = [self._solver.both([self._solver.formula(each) for each in scope]) for scope in scopes]
        self._old_rules, self._new_rules = (Rules(self._solver, each) for each in conditions)
        self._alike = self._alike_from_the_top()

    def met(self, number: int, budget: Budget) -> Iterator[Met]:
        """Yield each old rule that decided payments of a new rule, with an example; raises `OutOfBudget`."""
        if number < self._alike and _same(self._old.rules[number], self._new.rules[number]):
            rule = self._new.rules[number]
            yield Met(old=self._old.rules[number], new=rule, same=True, given="", facts_given=0)
            return
        goals = [*self._scopes, self._new_rules.holds[number]]
        points = self._reach.points(goals, [(self._new_rules, number)], budget, [])
        point = next(points, None)
        while point is not None:
            before = self._old_rules.first(point)
            yield self._met(point, before, number, goals)
            if number < self._alike:
                return
            point = following(points, self._passes(before, goals, budget))

    def alone(self, now: bool, budget: Budget) -> Alone | None:
        """Return payments that only the new text (else only the old one) is for; raises `OutOfBudget`."""
        inside, outside = (1, 0) if now else (0, 1)
        goals = [self._scopes[inside], self._solver.negated(self._scopes[outside])]
        point = self._solver.search(goals, self._reach.home, budget)
        if point is None:
            return None
        near = nearer(point, self._reach.home, lambda moved: all(holds(goal, moved) for goal in goals))
        rules, policy = (self._new_rules, self._new) if now else (self._old_rules, self._old)
        return Alone(rule=policy.rules[rules.first(near)], given=given_text(self._given(near)))

    def _alike_from_the_top(self) -> int:
        """Return how many rules from the top have the same conditions in both texts: they get the same payments."""
        pairs = zip(self._old_rules.holds, self._new_rules.holds, strict=False)
        return next(
            (n for n, (one, other) in enumerate(pairs) if one != other), min(len(self._old.rules), len(self._new.rules))
        )

    def _passes(self, before: int, goals: Sequence[Formula], budget: Budget) -> Formula:
        """Return that an old rule does not fire: its condition is not true, or that of a rule above it is."""
        rules = self._old_rules
        above = rules.possible(self._solver.both([*goals, rules.holds[before]]), before, budget)
        return self._solver.either([rules.fails(before), *(rules.holds[number] for number in above)])

    def _met(self, point: Point, before: int, number: int, goals: Sequence[Formula]) -> Met:
        def good(moved: Point) -> bool:
            return (
                all(holds(goal, moved) for goal in goals)
                and self._new_rules.first(moved) == number
                and self._old_rules.first(moved) == before
            )

        old, new = self._old.rules[before], self._new.rules[number]
        given = self._given(nearer(point, self._reach.home, good))
        return Met(old=old, new=new, same=_same(old, new), given=given_text(given), facts_given=len(given))

    def _given(self, point: Point) -> dict[str, Any]:
        facts: Facts = self._solver.space.facts(point, self._reach.baseline)
        return minimal_given(facts, self._solver.space.vocabulary, self._reach.baseline)


def _scope(policy: Policy) -> list[Condition]:
    """Return what the payments are that a policy is for; other reasons than its own never come to its rules."""
    only = scope_condition(policy.applies_to)
    found: list[Condition] = [] if only is None else [only]
    if policy.reasons is not None:
        fact = VOCABULARIES[policy.kind].facts[REASON]
        line = policy.applies_to.line
        found.append(Comparison(fact=fact, op=Op.IN, values=tuple(policy.reasons), path=REASON, line=line))
    return found


def _same(old: Rule, new: Rule) -> bool:
    """Return whether two rules do the same, whatever their names and conditions."""
    return _meaning(old.action) == _meaning(new.action) and _meaning(old.otherwise) == _meaning(new.otherwise)


def _meaning(action: Action | None) -> object:
    """Return an action without what the order of writing adds."""
    if isinstance(action, StepsSpec):
        return StepsSpec, frozenset(action.steps)
    if isinstance(action, NoticesSpec):
        return NoticesSpec, frozenset(action.notices)
    if isinstance(action, ReviewSpec):
        levels = tuple(frozenset(level) for level in action.levels)
        escalation = frozenset(action.escalate_to)
        return ReviewSpec, levels, action.limits, action.within, escalation, action.expires
    return action
