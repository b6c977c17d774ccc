"""Limits of reviews that don't do what they look like.

- A currency has a limit at one level and none at the next: what is above the first one's jumps past a level that may
  decide more of every other currency.
- A level never decides: no amount that its rule is asked about comes to it, and none is for all levels.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from recoup_core.rules.language.actions.review import ReviewSpec
from recoup_core.rules.language.errors import Placed, Problem
from recoup_core.rules.language.schema import Policy, Rule
from recoup_core.rules.study.bands import Band, bands_of, limit_conditions, reviews
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.lint.finding import finding, named
from recoup_core.rules.study.lint.places import key_place
from recoup_core.rules.study.reach import OnePolicy, Reached
from recoup_core.rules.study.solve import Undecided

_KEY: Final = "limits"


def review_limits(policy: Policy, budget: Budget) -> Iterator[Problem]:
    """Yield forgotten currencies and idle levels, and how much was left undecided."""
    if not any(reviews(rule) for rule in policy.rules):
        return
    one = OnePolicy(policy, limit_conditions(policy))
    undecided: list[Rule] = []
    for number, rule in enumerate(policy.rules):
        for spec in reviews(rule):
            at = key_place(policy.text, rule.line, _KEY)
            yield from _forgotten(policy, rule, spec, at)
            idle = _idle(one, number, spec, budget)
            if idle is None:
                undecided.append(rule)
            for level in idle or ():
                message = f"level {level + 1} ({' or '.join(spec.levels[level])}) never decides: no amount comes to it"
                yield finding("review_limits", policy, rule.line, message, rule=rule.name, at=at)
    if undecided:
        message = f"whether every level of these reviews decides took too long to decide: {named(undecided)}"
        yield finding("lint_undecided", policy, undecided[0].line, message)


def _forgotten(policy: Policy, rule: Rule, spec: ReviewSpec, at: Placed | None) -> Iterator[Problem]:
    for number, (limit, following) in enumerate(pairwise(spec.limits), 1):
        gone = [currency for currency in limit if currency not in following]
        if gone:
            words = ", ".join(gone)
            message = f"level {number} has a limit in {words}, and level {number + 1} may decide nothing in it alone"
            hint = "list the same currencies in every entry"
            yield finding("review_limits", policy, rule.line, message, rule=rule.name, hint=hint, at=at)


def _idle(one: OnePolicy, number: int, spec: ReviewSpec, budget: Budget) -> tuple[int, ...] | None:
    """Return the levels that never decide; None: that took too long. A rule that never fires has none."""
    found = list(bands_of(spec, one.policy, number, one.solver))
    seen: dict[int | None, Reached | Undecided] = {}
    for band in sorted(found, key=lambda each: each.level is not None):  # all levels first: then none is idle
        seen[band.level] = _reached(one, number, band, budget)
        reached = seen[band.level]
        if isinstance(reached, Undecided):
            return None
        if band.level is None and reached.facts is not None:
            return ()
    met = {level for level, each in seen.items() if isinstance(each, Reached) and each.facts is not None}
    return tuple(level for level in range(len(spec.levels)) if level not in met) if met else ()


def _reached(one: OnePolicy, number: int, band: Band, budget: Budget) -> Reached | Undecided:
    formula = one.solver.both([one.rules.holds[number], band.amounts])
    return one.reached(number, formula, budget)
