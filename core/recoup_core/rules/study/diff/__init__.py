"""What changes when one text of a policy takes another's place: decided over all facts, not over the words.

For each rule of the new text, the rules of the old one that decided its payments so far: found one after the other by
asking for facts that none of those known explains (`rules/study/reach.py`).
"""

from collections.abc import Callable
from typing import Final

from recoup_core.rules.language.schema import Policy
from recoup_core.rules.study.action_text import rule_lines
from recoup_core.rules.study.diff.grouping import counted_apart, grouped, renamed
from recoup_core.rules.study.diff.model import (
    Change,
    Coverage,
    KindsDiffer,
    Pair,
    PolicyDiff,
    RulePlace,
    Side,
)
from recoup_core.rules.study.diff.pairing import Met, Pairing
from recoup_core.rules.study.formulas import Budget, OutOfBudget
from recoup_core.rules.timing import in_words

__all__ = [
    "MAX_STEPS",
    "Change",
    "Coverage",
    "KindsDiffer",
    "Pair",
    "PolicyDiff",
    "RulePlace",
    "Side",
    "compare",
]

MAX_STEPS: Final = 20_000_000
"""Steps of the decider for one comparison; half a minute at most."""

MAX_STEPS_PER_RULE: Final = 4_000_000
"""Of them, for one rule of the new text."""

Progress = Callable[[int, int], None]
"""Told how many rules of how many are done."""


def compare(old: Policy, new: Policy, *, progress: Progress | None = None, steps: int = MAX_STEPS) -> PolicyDiff:
    """Return what changes when `new` takes the place of `old`. Raises `KindsDiffer`.

    Takes up to half a minute of one core for thousands of rules; call it away from an event loop.
    """
    if old.kind is not new.kind:
        raise KindsDiffer(old.kind, new.kind)
    pairing = Pairing(old, new)
    met: list[Met] = []
    undecided: list[str] = []
    for number, rule in enumerate(new.rules):
        budget = Budget(min(MAX_STEPS_PER_RULE, max(steps, 0)))
        before = budget.left
        try:
            met.extend(pairing.met(number, budget))  # what was found before the budget ends is kept
        except OutOfBudget:
            undecided.append(rule.name)
        steps -= before - max(budget.left, 0)
        if progress is not None:
            progress(number + 1, len(new.rules))
    coverage, decided = _coverage(pairing)
    return _told(old, new, met, coverage, (*undecided, *([] if decided else ["applies_to"])))


def _coverage(pairing: Pairing) -> tuple[tuple[Coverage, ...], bool]:
    """Return the payments that only one of the texts is for, and whether that could be decided."""
    found: list[Coverage] = []
    for now in (False, True):
        try:
            alone = pairing.alone(now, Budget(MAX_STEPS_PER_RULE))
        except OutOfBudget:
            return tuple(found), False
        if alone is not None:
            place = RulePlace(rule=alone.rule.name, line=alone.rule.line)
            found.append(Coverage(now=now, given=alone.given, rule=place, outcome=rule_lines(alone.rule)))
    return tuple(found), True


def _told(
    old: Policy, new: Policy, met: list[Met], coverage: tuple[Coverage, ...], undecided: tuple[str, ...]
) -> PolicyDiff:
    changes = grouped(each for each in met if not each.same)
    counted = counted_apart(each for each in met if each.same)
    evidence, balance, late = _evidence(old, new), _balance(old, new), _late(old, new)
    return PolicyDiff(
        kind=new.kind,
        old=_side(old),
        new=_side(new),
        coverage=coverage,
        changes=changes,
        counted=counted,
        evidence=evidence,
        balance=balance,
        late=late,
        renamed=renamed(met),
        undecided=undecided,
        same=not (coverage or changes or counted or evidence or balance or late or undecided),
    )


def _evidence(old: Policy, new: Policy) -> tuple[str, ...]:
    """Return in words what evidence changes for reasons that both texts know."""
    told: list[str] = []
    for word, reason in (new.reasons or {}).items():
        before = (old.reasons or {}).get(word)
        if before is not None and set(before.evidence) != set(reason.evidence):
            words = [", ".join(sorted(each.evidence)) or "none" for each in (before, reason)]
            told.append(f"evidence for {word}: {words[0]}, now {words[1]}")
    return tuple(told)


def _balance(old: Policy, new: Policy) -> tuple[str, ...]:
    """Return in words how the waits for the gateway's balance change."""
    if old.balance_retries == new.balance_retries:
        return ()
    return (f"waits for the gateway's balance: {_waits(old)}, now {_waits(new)}",)


def _late(old: Policy, new: Policy) -> tuple[str, ...]:
    """Return in words what changes for money that comes in late."""
    if old.late_success is new.late_success:
        return ()
    return (f"money that comes in after the debt was given up: {old.late_success}, now {new.late_success}",)


def _waits(policy: Policy) -> str:
    if policy.balance_retries is None:
        return "not said"
    return ", ".join(in_words(wait) for wait in policy.balance_retries) or "none, a person is asked"


def _side(policy: Policy) -> Side:
    return Side(name=policy.name, digest=policy.digest, source=policy.source, rules=len(policy.rules))
