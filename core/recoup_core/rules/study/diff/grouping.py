"""From pairs of rules to what people want to know: which outcome becomes which."""

from collections import defaultdict
from collections.abc import Iterable

from recoup_core.rules.language.actions.retry import RetrySpec
from recoup_core.rules.language.errors import shown
from recoup_core.rules.language.schema import Rule
from recoup_core.rules.study.action_text import rule_lines
from recoup_core.rules.study.diff.model import Change, Pair, RulePlace
from recoup_core.rules.study.diff.pairing import Met


def grouped(met: Iterable[Met]) -> tuple[Change, ...]:
    """Return the changes, one for each outcome that becomes another, in the order of the new text."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Met]] = defaultdict(list)
    for each in met:
        groups[rule_lines(each.old), rule_lines(each.new)].append(each)
    return tuple(_change(before, after, each) for (before, after), each in groups.items())


def counted_apart(met: Iterable[Met]) -> tuple[str, ...]:
    """Return in words which retry rules were split or joined: `after` and `max` count the retries of one rule."""
    to: dict[str, list[str]] = defaultdict(list)
    of: dict[str, list[str]] = defaultdict(list)
    for each in met:
        if any(isinstance(action, RetrySpec) for action in (each.new.action, each.new.otherwise)):
            to[each.old.name].append(each.new.name)
            of[each.new.name].append(each.old.name)
    split = [
        f"retries of {shown(old)} are now counted apart in {_listed(new)}" for old, new in to.items() if len(new) > 1
    ]
    joined = [
        f"retries of {_listed(old)} are now counted together in {shown(new)}" for new, old in of.items() if len(old) > 1
    ]
    return (*split, *joined)


def renamed(met: Iterable[Met]) -> tuple[tuple[str, str], ...]:
    """Return rules that go on under another name: they do the same, and neither has payments of another rule."""
    met = tuple(met)
    old = [each.old.name for each in met]
    new = [each.new.name for each in met]
    return tuple(
        (each.old.name, each.new.name)
        for each in met
        if each.same
        and each.old.name != each.new.name
        and old.count(each.old.name) == 1
        and new.count(each.new.name) == 1
    )


def _change(before: tuple[str, ...], after: tuple[str, ...], met: list[Met]) -> Change:
    smallest = min(met, key=lambda each: (each.facts_given, len(each.given)))
    ordered = sorted(met, key=lambda each: (each.new.line, each.old.line))
    pairs = tuple(Pair(old=_place(each.old), new=_place(each.new), given=each.given) for each in ordered)
    return Change(before=before, after=after, example=smallest.given, pairs=pairs)


def _place(rule: Rule) -> RulePlace:
    return RulePlace(rule=rule.name, line=rule.line)


def _listed(names: list[str]) -> str:
    return " and ".join(shown(name) for name in names)
