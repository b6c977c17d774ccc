"""Rules that can never fire, and parts of a rule that can never be why it fires.

Both are decided over all facts that the policy is for (`rules/study/reach.py`), not guessed. A *part* is an alternative
of an `any`, or one of several listed values, that stands outside every `not` and outside `define` (which is shared:
what is idle in one rule works in another). A part is shadowed when the rule, with the part alone in its place, never
fires. Several earlier rules may do that together; those named are enough, and none of them can be left out.
"""

from collections.abc import Generator, Iterator

import msgspec

from recoup_core.rules.language.as_given import scalar_text
from recoup_core.rules.language.condition_reader import MAX_LOGIC_DEPTH
from recoup_core.rules.language.condition_text import condition_text
from recoup_core.rules.language.conditions import All, AnyOf, Comparison, Condition, Named, Not, Op
from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.schema import Policy, Rule
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.lint.finding import finding, named
from recoup_core.rules.study.reach import OnePolicy, Reached
from recoup_core.rules.study.solve import Undecided


class Part(msgspec.Struct, frozen=True):
    """A part of a condition that could be why its rule fires."""

    words: str
    line: int | None
    """None: in a definition, so the rule's own line is told."""
    depth: int
    """How many other parts it is in."""
    alone: Condition
    """The whole condition with this part alone in its place."""


def reachability(policy: Policy, budget: Budget) -> Iterator[Problem]:
    """Yield what is unreachable or shadowed in a policy, and how much was left undecided."""
    one = OnePolicy(policy)
    undecided: list[Rule] = []
    for number, rule in enumerate(policy.rules):
        reached = one.reached(number, one.rules.holds[number], budget)
        if isinstance(reached, Undecided):
            undecided.append(rule)
        elif reached.facts is None:
            yield _unreachable(one, number, reached, budget)
        elif rule.when is not None and not (yield from _shadowed(one, number, rule.when, budget)):
            undecided.append(rule)
    if undecided:
        message = f"whether these rules, or parts of them, can fire took too long to decide: {named(undecided)}"
        yield finding("lint_undecided", policy, undecided[0].line, message)


def parts(condition: Condition, depth: int = 0) -> Iterator[Part]:
    """Yield the parts of a condition in reading order, each before those inside it."""
    match condition:
        case Comparison(op=Op.IN, values=values, fact=fact) if len(values) > 1:
            for value in values:
                alone = msgspec.structs.replace(condition, op=Op.IS, values=(value,))
                yield Part(f"`{fact.name}: {scalar_text(value)}`", condition.line, depth, alone)
        case All(inner):
            for at, each in enumerate(inner):
                for part in parts(each, depth):
                    yield msgspec.structs.replace(part, alone=All((*inner[:at], part.alone, *inner[at + 1 :])))
        case AnyOf(inner):
            for each in inner:
                yield Part(f"the alternative `{condition_text(each)}`", _line(each), depth, each)
                yield from parts(each, depth + 1)
        case _:
            return


def _unreachable(one: OnePolicy, number: int, reached: Reached, budget: Budget) -> Problem:
    rule = one.policy.rules[number]
    takers = one.takers(number, one.rules.holds[number], reached, budget)
    if not takers:
        message, hint = "it can never fire: no payment that the policy is for makes its condition true", None
    else:
        taking = [one.policy.rules[taker] for taker in takers]
        verb = "takes" if len(taking) == 1 else "take"
        message = f"it can never fire: {named(taking)} {verb} all that it could"
        hint = "narrow what stands above it" if rule.when is None else "move it above, or narrow what stands above it"
    return finding("unreachable_rule", one.policy, rule.line, message, rule=rule.name, hint=hint)


def _shadowed(one: OnePolicy, number: int, when: Condition, budget: Budget) -> Generator[Problem, None, bool]:
    """Yield the shadowed parts of a rule that does fire; return whether all could be decided."""
    rule = one.policy.rules[number]
    decided, idle = True, MAX_LOGIC_DEPTH
    for part in parts(when):
        if part.depth > idle:
            continue  # inside a part that is told already
        idle = MAX_LOGIC_DEPTH
        formula = one.solver.formula(part.alone)
        reached = one.reached(number, formula, budget)
        if isinstance(reached, Undecided):
            decided = False
        elif reached.facts is None:
            takers = one.takers(number, formula, reached, budget)
            reason = "the rest of the condition, or `applies_to`, rules it out"
            if takers:
                taking = [one.policy.rules[taker] for taker in takers]
                reason = f"{named(taking)} {'takes' if len(taking) == 1 else 'take'} it before"
            message = f"{part.words} is never why this rule fires: {reason}"
            yield finding("shadowed_rule", one.policy, part.line or rule.line, message, rule=rule.name)
            idle = part.depth
    return decided


def _line(condition: Condition) -> int | None:
    """Return the line of the first comparison that stands in the rule itself."""
    match condition:
        case Comparison(line=line):
            return line
        case All(inner) | AnyOf(inner):
            return next((line for line in map(_line, inner) if line is not None), None)
        case Not(inner_part):
            return _line(inner_part)
        case Named():
            return None
