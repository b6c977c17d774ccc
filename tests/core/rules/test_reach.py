"""Which facts a rule gets is decided: against trying them all, on random policies."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.rules.asking import TREES, every, facts_of, read

from recoup_core.rules.facts import RETRY, Facts
from recoup_core.rules.language.closures import closure
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.reach import Reach, Reached, Rules
from recoup_core.rules.study.solve import Solver, Undecided
from recoup_core.rules.study.space import Space

MANY = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


def rules_of(*written: Any) -> tuple[Reach, Rules]:
    """Return the rules with these conditions, and one more that always fires."""
    conditions = [read(each) for each in written]
    solver = Solver(Space(conditions, RETRY))
    return Reach(solver, RETRY.baseline), Rules(solver, [*conditions, None])


def reached(reach: Reach, rules: Rules, number: int) -> Reached:
    found = reach.find([rules.holds[number]], [(rules, number)], Budget())
    assert not isinstance(found, Undecided)
    return found


@MANY
@given(trees=st.lists(TREES, min_size=1, max_size=5))
def test_a_rule_is_reached_exactly_when_some_facts_fire_it(trees: list[Any]) -> None:
    """The facts that are found fire the rule; of a rule that is not reached none do, and its takers leave it none."""
    reach, rules = rules_of(*trees)
    tests = [closure(read(tree)) for tree in trees]
    everything = every(facts_of(trees))

    def first(facts: Facts) -> int:
        return next((n for n, test in enumerate(tests) if test(facts) is True), len(tests))

    for number in range(len(trees) + 1):
        found = reached(reach, rules, number)
        if found.facts is not None:
            assert first(found.facts) == number
            continue
        assert number not in {first(facts) for facts in everything}
        takers = [taker for _, taker in found.takers]
        own = tests[number] if number < len(tests) else lambda facts: True
        assert all(any(tests[n](facts) is True for n in takers) for facts in everything if own(facts) is True)


def test_the_takers_of_a_rule_are_as_few_as_possible() -> None:
    """Who looks for the reason must not read rules that have nothing to do with it."""
    reach, rules = rules_of(
        {"decline": "unknown"}, {"attempt": {"lte": 2}}, {"has_backup": True}, {"attempt": {"gte": 3}}, {"retries": 1}
    )
    found = reached(reach, rules, 4)

    assert found.facts is None
    assert reach.smallest([rules.holds[4]], [(rules, 4)], found.takers, Budget()) == ((0, 1), (0, 3))


def test_many_earlier_rules_may_stand_in_the_way() -> None:
    """They are taken in one after the other; how many there are changes nothing in the answer."""
    codes = [f"c{n}" for n in range(100)]
    reach, rules = rules_of(*({"decline_code": code} for code in codes), {"decline_code": codes}, {"attempt": 1})

    assert reached(reach, rules, len(codes)).facts is None
    found = reached(reach, rules, len(codes) + 1).facts
    assert found is not None
    assert RETRY.facts["decline_code"].get(found) not in codes


def test_a_budget_that_ends_is_no_answer() -> None:
    """Not knowing is said, never guessed."""
    reach, rules = rules_of({"decline": "unknown"}, {"decline": ["unknown", "fraud"]})

    assert isinstance(reach.find([rules.holds[1]], [(rules, 1)], Budget(0)), Undecided)


@pytest.mark.parametrize(
    ("facts", "fires"), [({"decline": "unknown"}, 0), ({"decline": "fraud"}, 1), ({"decline": "configuration"}, 2)]
)
def test_the_first_rule_at_a_point_is_the_one_that_fires(facts: dict[str, str], fires: int) -> None:
    """Looked up by cell or tried, the answer is that of the plain evaluator."""
    reach, rules = rules_of({"decline": "unknown"}, {"decline": ["unknown", "fraud"]})

    assert rules.first(reach.solver.space.point(RETRY.given(RETRY.baseline, facts))) == fires
