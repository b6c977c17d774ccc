"""Notices that can't come as they are written: too far ahead, after the charge, or about a card that doesn't end.

Decided over all facts for which the rule fires, not guessed. Days are calendar days, and a notice's hours may lie
anywhere on its day, so what is told can't be so by a whole day at least.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from recoup_core.rules.facts import NOTICE
from recoup_core.rules.language.actions.notices import NoticeOn, NoticeSpec, NoticesSpec
from recoup_core.rules.language.actions.steps import Message
from recoup_core.rules.language.conditions import All, AnyOf, Comparison, Condition, Op
from recoup_core.rules.language.errors import Placed, Problem
from recoup_core.rules.language.schema import Policy, Rule
from recoup_core.rules.study.formulas import Budget
from recoup_core.rules.study.lint.finding import finding
from recoup_core.rules.study.lint.places import place_of
from recoup_core.rules.study.reach import OnePolicy, Reached
from recoup_core.rules.study.solve import Undecided
from recoup_core.rules.timing import in_words

_DAY: Final = timedelta(days=1)


def late_notices(policy: Policy, budget: Budget) -> Iterator[Problem]:
    """Yield the notices of a policy that never come in time, or never at all; those of dead rules are not told."""
    placed = [(number, rule, notice) for number, rule in enumerate(policy.rules) for notice in _notices(rule)]
    if not placed:
        return
    questions = [question for _, _, notice in placed for question in (_in_time(notice), _ENDS)]
    asking = _Asking(OnePolicy(policy, questions), budget)
    for number, rule, notice in placed:
        if asking.never(number, None):
            continue
        if notice.on is NoticeOn.BEFORE_EXPIRY and asking.never(number, _ENDS):
            yield _idle(policy, rule, notice)
        elif asking.never(number, _in_time(notice)):
            yield _late(policy, rule, notice)
    if asking.undecided:
        message = "whether notices can come in time took too long to decide"
        yield finding("lint_undecided", policy, policy.rules[0].line, message)


class _Asking:
    """Asks whether a rule never fires while something is so; what takes too long counts as possible."""

    def __init__(self, one: OnePolicy, budget: Budget) -> None:
        self._one, self._budget = one, budget
        self.undecided = False

    def never(self, number: int, while_so: Condition | None) -> bool:
        also = [] if while_so is None else [self._one.solver.formula(while_so)]
        goal = self._one.solver.both([self._one.rules.holds[number], *also])
        reached = self._one.reached(number, goal, self._budget)
        self.undecided = self.undecided or isinstance(reached, Undecided)
        return isinstance(reached, Reached) and reached.facts is None


def _notices(rule: Rule) -> tuple[NoticeSpec, ...]:
    return rule.action.notices if isinstance(rule.action, NoticesSpec) else ()


def _asked(name: str, op: Op, value: int | bool) -> Comparison:
    return Comparison(fact=NOTICE.facts[name], op=op, values=(value,), path=name, line=0)


_ENDS: Final = _asked("card_expires_before_charge", Op.IS, True)
_GOES_ON: Final = _asked("card_expires_before_charge", Op.IS, False)


def _in_time(notice: NoticeSpec) -> Condition:
    """Return what must be so for the notice to come at its time on some day."""
    wait = (notice.after if notice.ahead is None else notice.ahead) // _DAY
    if notice.on is not NoticeOn.BEFORE_EXPIRY:
        return _asked("charge_in_days", Op.GTE, wait)
    least = max(0, wait - 1)  # the end of the last day is almost a day later than the day itself
    left = _asked("card_expires_in_days", Op.GTE, least)
    charge = _asked("charge_in_days", Op.GTE, least + 1)
    return AnyOf((All((_ENDS, left, charge)), All((_GOES_ON, left))))


def _late(policy: Policy, rule: Rule, notice: NoticeSpec) -> Problem:
    if notice.ahead is None:
        after = in_words(notice.after)
        message = f"{_what(notice)} never comes: {after} after the announcement the charge was made already"
        hint = "shorten `after`, or let the rule fire for charges that are further away"
    else:
        end = "the card ends" if notice.on is NoticeOn.BEFORE_EXPIRY else "the charge"
        message = f"{_what(notice)} can't come {in_words(notice.ahead)} before {end}: the rule fires too late"
        hint = None
    return finding(
        "late_notice", policy, rule.line, message, rule=rule.name, hint=hint, at=_place(policy, rule, notice)
    )


def _idle(policy: Policy, rule: Rule, notice: NoticeSpec) -> Problem:
    message = f"{_what(notice)} is about a card that ends, and the rule only fires where no card ends before the charge"
    return finding("idle_notice", policy, rule.line, message, rule=rule.name, at=_place(policy, rule, notice))


def _what(notice: NoticeSpec) -> str:
    return f"the message {notice.do.template}" if isinstance(notice.do, Message) else "the task"


def _place(policy: Policy, rule: Rule, notice: NoticeSpec) -> Placed | None:
    return place_of(policy.text, rule.line, notice.do.template) if isinstance(notice.do, Message) else None
