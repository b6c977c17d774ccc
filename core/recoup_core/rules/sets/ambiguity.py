"""Which policies of a set claim the same payments without one being narrower: which one decided would be chance."""

from collections.abc import Iterable
from itertools import combinations

from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.schema import Policy


def ambiguities(policies: Iterable[Policy]) -> list[Problem]:
    """Return a problem for every two policies of a kind that share a name, or payments without one being narrower."""
    problems: list[Problem] = []
    for first, second in combinations(policies, 2):
        one, other = first.applies_to, second.applies_to
        if first.kind != second.kind:
            continue
        if first.name == second.name:
            message = f"the name {second.name!r} is already used in {first.source}"
            problems.append(Problem(file=second.source, line=1, column=1, code="duplicate_policy", message=message))
        elif one.overlaps(other) and not one.narrower(other) and not other.narrower(one):
            message = f"{second.name!r} and {first.name!r} ({first.source}) can both cover a payment"
            hint = "make one's `applies_to` strictly narrower, or keep them apart"
            place = Problem(
                file=second.source, line=other.line, column=other.column, code="ambiguous", message=message, hint=hint
            )
            problems.append(place)
    return problems
