"""Retries that a network or scheme limit would cut: the policy promises tries that can't be made when it says.

The limits are asked about each try of the played payments (`played.py`) exactly as in production; the first one of a
payment that they move or forbid is told, once per rule and limit. A bank debit's decline is played with each of its
scheme's codes for the category, too, and told only if none gets by.
"""

from collections.abc import Iterator
from typing import Final

from recoup_core.domain.payment import Method
from recoup_core.reference import limit_rules
from recoup_core.rules.facts import RetryFacts
from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.lint.finding import finding
from recoup_core.rules.study.lint.played import Cut, Game
from recoup_core.rules.timing import in_words

MAX_PLAYED: Final = 2_000
"""Payments played for one policy."""


def beyond_limits(policy: Policy, budget: Budget) -> Iterator[Problem]:
    """Yield each rule that plans a try which a limit would move or forbid, once per limit."""
    told: set[tuple[str, str]] = set()
    played: set[RetryFacts] = set()
    game = Game(policy)
    for facts in game.beginnings(budget):
        if facts is None or len(played) >= MAX_PLAYED:
            message = "whether limits would cut every retry took too long to decide"
            yield finding("lint_undecided", policy, policy.rules[0].line, message)
            return
        cut = None if facts in played else game.cut(facts)
        played.add(facts)
        if cut is not None and (cut.rule.name, cut.limit.rule) not in told:
            told.add((cut.rule.name, cut.limit.rule))
            yield _told(policy, cut)


def _told(policy: Policy, cut: Cut) -> Problem:
    limit = next(rule for rule in limit_rules().rules if rule.id == cut.limit.rule)
    means = cut.facts.network if cut.facts.method == Method.CARD else cut.facts.method
    which = f"attempt {cut.attempt}, after {cut.facts.decline} on {means},"
    if cut.later is None:
        said = cut.limit.message if cut.limit.counted is not None else limit.published
        message = f"{which} would never be made; limit {limit.id}: {said}"
    else:
        message = f"{which} would have to wait {in_words(cut.later)} longer; limit {limit.id}: {cut.limit.message}"
    mend = "let the rule stop instead" if cut.later is None else "plan fewer tries or longer waits"
    hint = f"{mend}; source: {limit.source[0]}"
    return finding("beyond_limits", policy, cut.rule.line, message, rule=cut.rule.name, hint=hint)
