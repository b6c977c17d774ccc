"""What of a policy its examples and timelines have tried: which rules fired, and which ways each condition went.

A *branch* is one node of a condition's tree (a comparison, an `all`, `any` or `not`, the use of a named condition) with
one of two results: true, or not true (false, or can't be told). It is covered when an evaluation that some example or
timeline causes gives that result. Evaluations are those that decide: rules below the one that fires are not looked at,
`all` ends at the first part that is false and `any` at the first that is true, so what they pass over is not covered.
The inside of a named condition counts once, wherever the name is used. Each level that decides by the `limits` of a
review is a branch, too. A branch that no facts at all can lead to does not count.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from recoup_core.rules.facts import Facts
from recoup_core.rules.language.as_given import given_text, minimal_given
from recoup_core.rules.language.closures import Closure, Verdict, closure
from recoup_core.rules.language.condition_text import condition_text
from recoup_core.rules.language.conditions import All, AnyOf, Comparison, Condition, Named, Not, walk
from recoup_core.rules.language.schema import Policy, Rule
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.levels_tried import LevelsTried, Untried
from recoup_core.rules.study.reach import OnePolicy
from recoup_core.rules.study.solve import Goal, Undecided, Wanted

MAX_SUGGESTIONS: Final = 500
"""Branches of one policy for which facts are looked for; with more, the rest counts as not covered."""

MAX_STEPS: Final = 2_000_000
"""Steps of the decider for one policy; some seconds."""

_HUNDRED: Final = 100

Key = tuple[str, tuple[int, ...]]
"""A node: the rule's number or the definition's name, and the way down from its root."""


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation that an example or a timeline causes."""

    facts: Facts
    otherwise: bool = False
    """Whether the fired rule's `otherwise` counted, for its action did not apply."""


class RuleCovered(msgspec.Struct, frozen=True, kw_only=True):
    """How often a rule fired."""

    rule: str
    line: int
    action: int
    """Times its action counted."""
    otherwise: int | None
    """Times its `otherwise` did; None where it has none."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What of the rule was never tried: `action`, `otherwise`."""
        return (*(() if self.action else ("action",)), *(("otherwise",) if self.otherwise == 0 else ()))


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """One way of one node that nothing has tried."""

    rule: str | None
    """The rule it stands in; None inside a definition."""
    define: str | None
    line: int
    condition: str
    wanted: Wanted
    given: str | None
    """The `given` of an example that would try it; None where the search was given up."""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What of one policy has been tried."""

    rules: tuple[RuleCovered, ...]
    branches: int
    """Those that facts can lead to."""
    covered: int
    missing: tuple[Branch, ...]

    @property
    def parts(self) -> tuple[int, int]:
        """Return how many of all rules' outcomes and branches are covered, and how many there are."""
        outcomes = sum(1 if rule.otherwise is None else 2 for rule in self.rules)
        return self.covered + outcomes - sum(len(rule.missing) for rule in self.rules), self.branches + outcomes

    @property
    def percent(self) -> int:
        """The covered share of outcomes and branches together, rounded down."""
        covered, total = self.parts
        return _HUNDRED * covered // total


class _Node(msgspec.Struct, frozen=True):
    """A node of a condition, and what must hold before it is looked at."""

    key: Key
    condition: Condition
    rule: int
    """Where it is reached from; of a definition, every use is listed."""
    before: tuple[Goal, ...]


def cover(policy: Policy, tries: Iterable[Try]) -> Coverage:
    """Return what these evaluations cover of the policy, and facts that would cover the rest."""
    watch = _Watch(policy)
    for each in tries:
        watch.run(each)
    nodes = [node for number, rule in enumerate(policy.rules) for node in _nodes(rule.when, number)]
    uses: dict[Key, list[_Node]] = {}
    for node in nodes:
        uses.setdefault(node.key, []).append(node)
    open_branches = [
        (group, wanted) for key, group in uses.items() for wanted in Wanted if (key, wanted) not in watch.seen
    ]
    levels = [_level(policy, level) for level in watch.levels.untried(Budget(MAX_STEPS))]
    missing = (*_missing(policy, open_branches), *levels)
    covered = 2 * len(uses) - len(open_branches) + watch.levels.count
    return Coverage(rules=watch.rules(), branches=covered + len(missing), covered=covered, missing=missing)


class _Watch:
    """Evaluates as the plain evaluator does and notes what each node came to."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._leaves: dict[int, Closure] = {}
        self.seen: set[tuple[Key, Wanted]] = set()
        self._fired = [[0, 0] for _ in policy.rules]
        self.levels = LevelsTried(policy)

    def run(self, each: Try) -> None:
        for number, rule in enumerate(self._policy.rules):
            if rule.when is None or self._look(rule.when, (str(number), ()), each.facts) is True:
                otherwise = each.otherwise and rule.otherwise is not None
                self._fired[number][otherwise] += 1
                self.levels.note(number, otherwise, each.facts)
                return

    def rules(self) -> tuple[RuleCovered, ...]:
        return tuple(_rule(rule, *fired) for rule, fired in zip(self._policy.rules, self._fired, strict=True))

    def _look(self, condition: Condition, key: Key, facts: Facts) -> Verdict:
        verdict = self._verdict(condition, key, facts)
        self.seen.add((key, Wanted.TRUE if verdict is True else Wanted.NOT_TRUE))
        return verdict

    def _verdict(self, condition: Condition, key: Key, facts: Facts) -> Verdict:
        match condition:
            case Comparison():
                test = self._leaves.get(id(condition)) or self._leaves.setdefault(id(condition), closure(condition))
                return test(facts)
            case Named(name, part):
                return self._look(part, (name, ()), facts)
            case Not(part):
                inner = self._look(part, _below(key, 0), facts)
                return None if inner is None else not inner
            case All(parts) | AnyOf(parts):
                return self._joined(parts, key, facts, ends=isinstance(condition, AnyOf))

    def _joined(self, parts: Sequence[Condition], key: Key, facts: Facts, *, ends: bool) -> Verdict:
        """Evaluate parts until one settles the whole: `ends` does."""
        joined: Verdict = not ends
        for index, part in enumerate(parts):
            one = self._look(part, _below(key, index), facts)
            if one is ends:
                return ends
            if one is None:
                joined = None
        return joined


def _rule(rule: Rule, action: int, otherwise: int) -> RuleCovered:
    has = rule.otherwise is not None
    return RuleCovered(rule=rule.name, line=rule.line, action=action, otherwise=otherwise if has else None)


def _nodes(condition: Condition | None, rule: int) -> Iterator[_Node]:
    if condition is not None:
        yield from _walk(_Node((str(rule), ()), condition, rule, ()))


def _walk(node: _Node) -> Iterator[_Node]:
    yield node
    match node.condition:
        case Named(name, part):
            yield from _walk(_Node((name, ()), part, node.rule, node.before))
        case Not(part):
            yield from _walk(_Node(_below(node.key, 0), part, node.rule, node.before))
        case All(parts):
            # a part is looked at unless an earlier one is false, that is: unless its opposite is true
            passed = tuple(Goal(Not(part), Wanted.NOT_TRUE) for part in parts)
            yield from _parts(node, parts, passed)
        case AnyOf(parts):
            yield from _parts(node, parts, tuple(Goal(part, Wanted.NOT_TRUE) for part in parts))


def _parts(node: _Node, parts: Sequence[Condition], passed: Sequence[Goal]) -> Iterator[_Node]:
    for index, part in enumerate(parts):
        before = (*node.before, *passed[:index])
        yield from _walk(_Node(_below(node.key, index), part, node.rule, before))


def _below(key: Key, index: int) -> Key:
    return key[0], (*key[1], index)


def _missing(policy: Policy, branches: Sequence[tuple[list[_Node], Wanted]]) -> Iterator[Branch]:
    """Yield the branches that facts can lead to, and those for which that could not be found out."""
    if not branches:
        return
    one, budget = OnePolicy(policy), Budget(MAX_STEPS)
    for number, (group, wanted) in enumerate(branches):
        found = _facts(one, group, wanted, budget) if number < MAX_SUGGESTIONS else Undecided()
        if found is not None:
            yield _branch(policy, group[0], wanted, None if isinstance(found, Undecided) else found)


def _facts(one: OnePolicy, group: Sequence[_Node], wanted: Wanted, budget: Budget) -> Facts | Undecided | None:
    """Return facts that lead to a branch by one of its uses."""
    undecided: Undecided | None = None
    for node in group:
        goals = [*node.before, Goal(node.condition, wanted)]
        formula = one.solver.both([one.solver.goal(goal) for goal in goals])
        reached = one.reached(node.rule, formula, budget)
        if isinstance(reached, Undecided):
            undecided = reached
        elif reached.facts is not None:
            return reached.facts
    return undecided


def _branch(policy: Policy, node: _Node, wanted: Wanted, facts: Facts | None) -> Branch:
    rule = policy.rules[node.rule]
    defined = not node.key[0].isdigit()
    first = next(walk(node.condition))
    return Branch(
        rule=None if defined else rule.name,
        define=node.key[0] if defined else None,
        line=first.line if defined or not isinstance(node.condition, Named) else rule.line,
        condition=condition_text(node.condition),
        wanted=wanted,
        given=_given(policy, facts),
    )


def _level(policy: Policy, level: Untried) -> Branch:
    return Branch(
        rule=level.rule.name,
        define=None,
        line=level.rule.line,
        condition=level.words,
        wanted=Wanted.TRUE,
        given=_given(policy, level.facts),
    )


def _given(policy: Policy, facts: Facts | None) -> str | None:
    return None if facts is None else given_text(minimal_given(facts, policy.vocabulary, policy.baseline))
