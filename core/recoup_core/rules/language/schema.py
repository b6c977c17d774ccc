"""Reads a policy file: text in, `Policy` out, or every mistake of the file at once."""

import re
from collections.abc import Mapping
from datetime import timedelta
from itertools import accumulate
from typing import Final

import msgspec

from recoup_core.rules.facts import VOCABULARIES, PolicyKind
from recoup_core.rules.language.actions import ACTIONS, Action, ActionLanguage, Day, RetrySpec, StopReason, StopSpec
from recoup_core.rules.language.applies import AppliesTo, read_applies_to
from recoup_core.rules.language.balance import BALANCE_RETRIES, read_balance_retries
from recoup_core.rules.language.condition_reader import WORDS, ConditionReader
from recoup_core.rules.language.conditions import Condition
from recoup_core.rules.language.effort import MAX_CONSTANTS, constants
from recoup_core.rules.language.errors import Placed, PolicyInvalid, Problem, Report, shown
from recoup_core.rules.language.example_check import check_examples
from recoup_core.rules.language.examples import MAX_EXAMPLES, Example, read_example
from recoup_core.rules.language.late import LATE_SUCCESS, LateSuccess, read_late_success
from recoup_core.rules.language.policy import Policy, Rule, digest_of
from recoup_core.rules.language.reasons import read_reasons, with_reasons
from recoup_core.rules.language.timeline_reader import TIMELINE_KINDS, read_timelines
from recoup_core.rules.language.yamltext import Map, Node, Seq, as_list, as_map, as_text, read_tree

__all__ = [
    "Action",
    "AppliesTo",
    "Condition",
    "Day",
    "Example",
    "Policy",
    "RetrySpec",
    "Rule",
    "StopReason",
    "StopSpec",
    "digest_of",
    "parse_policy",
]

MAX_RULES: Final = 2_000
MAX_DEFINES: Final = 200
MAX_NOTE: Final = 2_000
"""Characters of a version note."""

REQUIRED_KEYS: Final = ("kind", "name", "applies_to", "rules", "examples")
POLICY_KEYS: Final = ("kind", "name", "note", "applies_to", "define", "rules", "examples")
KIND_KEYS: Final[Mapping[PolicyKind, tuple[str, ...]]] = {
    **dict.fromkeys(TIMELINE_KINDS, ("timelines",)),
    PolicyKind.RETRY: ("timelines", LATE_SUCCESS),
    PolicyKind.REFUND: ("effective", "reasons", BALANCE_RETRIES),
}
"""Keys that only policies of one kind have."""

RULE_KEYS: Final = ("name", "when", "otherwise")
_OF_EXAMPLES: Final = frozenset({"no_example", "example_failed", "example_outside", "unknown_rule", "more"})
"""Problems that leave everything but the examples readable; `more` comes with 200 of them that are listed."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_RULE_NAME: Final = re.compile(r"\w[\w ,.;:'’()/&%+-]{0,79}")
_DEFINE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


def parse_policy(text: str, *, source: str) -> Policy:
    """Read a policy file; `source` names it in messages. Raises `PolicyInvalid` with every problem found."""
    policy, problems = read_policy(text, source=source)
    if policy is None or problems:
        raise PolicyInvalid(problems)
    return policy


def read_policy(text: str, *, source: str) -> tuple[Policy | None, tuple[Problem, ...]]:
    """Read a policy file and return what is wrong with it.

    The policy comes with problems of its examples, so that lint can say why none fits; never with any others.
    """
    report = Report(source)
    tree = read_tree(text, report)
    root = None if tree is None else as_map(tree, "a policy", report)
    reader = None if root is None else _PolicyReader(report, _kind(root, report), root)
    policy = None if reader is None else reader.policy(text, source)
    if policy is not None and reader is not None and reader.rules_hold:
        check_examples(policy, report)
    if any(problem.code not in _OF_EXAMPLES for problem in report.problems):
        return None, report.problems
    return policy, report.problems


def _kind(root: Map, report: Report) -> PolicyKind:
    """Read the kind, which says what everything else may hold; where it is wrong, go on with the likeliest one."""
    node = root.get("kind")
    kind = None if node is None else as_text(node, "`kind`", report)
    if kind is not None and kind in ACTIONS:
        return PolicyKind(kind)
    if kind is not None:
        report.add(node, "unknown_value", f"`kind` is never {shown(kind)}", report.suggest(kind, tuple(ACTIONS)))
    rules = root.get("rules")
    items = rules.items if isinstance(rules, Seq) else ()
    keys = {key.text for item in items if isinstance(item, Map) for key, _ in item.entries}
    return max(ACTIONS, key=lambda each: len(keys & ACTIONS[each].read.keys()))


class _At(msgspec.Struct, frozen=True):
    line: int
    column: int


_FIRST: Final = {
    "kind": "retry, dunning, refund or notice",
    "name": "like `name: cards`",
    "applies_to": "like {method: card}; {} for every payment",
    "rules": "a list, each `- name: ...`; the first rule that fits decides",
    "examples": "at least one per rule: - {given: {}, expect: the rule's name}",
}
"""How a key begins that a policy must have."""


class _PolicyReader:
    """Reads the parts of one file; goes on after a mistake, so that all are found."""

    def __init__(self, report: Report, kind: PolicyKind, root: Map) -> None:
        self.report = report
        self.kind = kind
        self.root = root
        listed = root.get("reasons") if "reasons" in KIND_KEYS.get(kind, ()) else None
        self.reasons = None if listed is None else read_reasons(listed, report)
        self.vocabulary = VOCABULARIES[kind]
        if self.reasons:
            self.vocabulary = with_reasons(self.vocabulary, self.reasons)
        self.conditions = ConditionReader(report, self.vocabulary)
        self.language: ActionLanguage = ACTIONS[kind]
        self.actions = self.language.reader(report)
        self.places: dict[str, Placed] = {}
        """Where each rule begins."""
        self.rules_hold = False
        """Whether nothing above the examples is wrong, so that those which can be read can be run."""

    def policy(self, text: str, source: str) -> Policy | None:
        root = self.root
        self._keys(root, "a policy", (*POLICY_KEYS, *KIND_KEYS.get(self.kind, ())), REQUIRED_KEYS)
        name = self._name(root.get("name"))
        note = self._note(root.get("note"))
        scope, dates = root.get("applies_to"), root.get("effective")
        applies_to = None if scope is None else read_applies_to(scope, dates, self.conditions)
        waits = self._balance_retries()
        late = self._late_success()
        self._define(root.get("define"))
        rules = self._rules(root.get("rules"))
        self.rules_hold = not self.report.problems
        examples = self._examples(root.get("examples"), rules)
        timelines = read_timelines(root.get("timelines"), self.conditions, [rule.name for rule in rules])
        if name is None or note is None or applies_to is None:
            return None
        return Policy(
            kind=self.kind,
            name=name,
            note=note,
            digest=digest_of(text),
            text=text,
            source=source,
            applies_to=applies_to,
            reasons=self.reasons,
            balance_retries=waits,
            late_success=late or LateSuccess.ACCEPT,
            define=self.conditions.defined,
            rules=rules,
            examples=examples,
            timelines=timelines,
        )

    def _balance_retries(self) -> tuple[timedelta, ...] | None:
        node = self.root.get(BALANCE_RETRIES) if BALANCE_RETRIES in KIND_KEYS.get(self.kind, ()) else None
        return None if node is None else read_balance_retries(node, self.report)

    def _late_success(self) -> LateSuccess | None:
        node = self.root.get(LATE_SUCCESS) if LATE_SUCCESS in KIND_KEYS.get(self.kind, ()) else None
        return None if node is None else read_late_success(node, self.report)

    def _keys(self, mapping: Map, what: str, known: tuple[str, ...], required: tuple[str, ...]) -> None:
        for key, _ in mapping.entries:
            if key.text not in known:
                hint = self._elsewhere(key.text) or self.report.suggest(key.text, known)
                self.report.add(key, "unknown_key", f"{what} has no key {shown(key.text)}", hint)
        for name in required:
            if mapping.get(name) is None:
                self.report.add(mapping, "missing_key", f"{what} needs `{name}`", _FIRST.get(name))

    def _elsewhere(self, key: str) -> str | None:
        """Name the kind whose policies have a key that this one's haven't."""
        kinds = [kind for kind in ACTIONS if key in ACTIONS[kind].read or key in KIND_KEYS.get(PolicyKind(kind), ())]
        return f"that is a key of kind {' or '.join(kinds)}" if kinds and self.kind not in kinds else None

    def _name(self, node: Node | None) -> str | None:
        name = None if node is None else as_text(node, "`name`", self.report)
        if name is not None and not _NAME.fullmatch(name):
            hint = "lower-case letters, digits and hyphens, at most 60"
            self.report.add(node, "bad_name", f"{shown(name)} can't be a policy's name", hint)
        return name

    def _note(self, node: Node | None) -> str | None:
        note = "" if node is None else as_text(node, "`note`", self.report)
        if note is not None and len(note) > MAX_NOTE:
            self.report.add(node, "too_many", f"`note` is longer than {MAX_NOTE} characters")
        return note

    def _define(self, node: Node | None) -> None:
        mapping = None if node is None else as_map(node, "`define`", self.report)
        if mapping is None:
            return
        if len(mapping.entries) > MAX_DEFINES:
            self.report.add(node, "too_many", f"`define` has more than {MAX_DEFINES} conditions")
            return
        taken = {*self.vocabulary.facts, *self.vocabulary.groups, *WORDS}
        self.conditions.later.update(key.text for key, _ in mapping.entries)
        for key, value in mapping.entries:
            name = key.text
            if name in taken or not _DEFINE_NAME.fullmatch(name):
                hint = "lower-case letters, digits and _, at most 40, and no fact's name"
                self.report.add(key, "bad_name", f"{shown(name)} can't name a condition", hint)
                continue
            condition = self.conditions.whole(value)
            self.conditions.later.discard(name)
            if condition is None:
                self.conditions.failed.add(name)
            else:
                self.conditions.defined[name] = condition

    def _rules(self, node: Node | None) -> tuple[Rule, ...]:
        items = None if node is None else as_list(node, "`rules`", self.report, most=MAX_RULES)
        rules: list[Rule] = []
        seen: dict[str, int] = {}
        for index, item in enumerate(items or ()):
            mapping = as_map(item, "a rule", self.report)
            if mapping is None:
                continue
            name = self._rule_name(mapping, seen)
            self.report.rule = name
            rule = self._rule(mapping, name, last=index == len(items or ()) - 1)
            self.report.rule = None
            rules.append(rule)
        self._bounded(rules)
        return tuple(rules)

    def _bounded(self, rules: list[Rule]) -> None:
        """Refuse what a short text can blow up to by naming one large condition in every rule."""
        total = accumulate(constants(rule.when) for rule in rules)
        over = next((rule for rule, count in zip(rules, total, strict=True) if count > MAX_CONSTANTS), None)
        if over is not None:
            message = f"up to this rule, conditions compare with more than {MAX_CONSTANTS:,} values"
            self.report.add(_At(over.line, 1), "too_many", message, "a named condition counts wherever it is used")

    def _rule_name(self, mapping: Map, seen: dict[str, int]) -> str:
        node = mapping.get("name")
        name = None if node is None else as_text(node, "a rule's name", self.report)
        if node is None or name is None:
            return ""
        if not _RULE_NAME.fullmatch(name):
            hint = "up to 80 letters, digits, blanks and ,.;:'()/&%+-"
            self.report.add(node, "bad_name", f"{shown(name)} can't be a rule's name", hint)
        if name in seen:
            self.report.add(node, "duplicate_rule", f"a rule named {shown(name)} is already on line {seen[name]}")
        seen.setdefault(name, node.line)
        self.places.setdefault(name, mapping)
        return name

    def _rule(self, mapping: Map, name: str, *, last: bool) -> Rule:
        """Read a rule; what can't be read is reported, and a stand-in keeps the rest readable."""
        self._keys(mapping, "a rule", (*RULE_KEYS, *self.language.read), ("name",))
        when = mapping.get("when")
        condition = None if when is None else self.conditions.whole(when)
        if last and when is not None:
            self.report.add(when, "last_rule", "the last rule must have no `when`, so that one always fires")
        if not last and when is None:
            self.report.add(mapping, "missing_key", "only the last rule may do without `when`; those below never fire")
        action = self._action(mapping, "a rule")
        otherwise = self._otherwise(mapping.get("otherwise"), mapping)
        whole = action is not None and (otherwise is None) is (mapping.get("otherwise") is None)
        if action is not None and whole and self.language.together is not None:
            self.language.together(self.actions, mapping, action, otherwise)
        fallback = StopSpec(reason=StopReason.EXHAUSTED)
        return Rule(name=name, line=mapping.line, when=condition, action=action or fallback, otherwise=otherwise)

    def _action(self, mapping: Map, what: str) -> Action | None:
        found = [(key, node) for key in self.language.read if (node := mapping.get(key)) is not None]
        words = [f"`{key}`" for key in self.language.read]
        if len(found) > 1:
            both = " or ".join(f"`{key}`" for key, _ in found)
            self.report.add(mapping, "two_actions", f"{what} has either {both}, not both")
        elif not found:
            self.report.add(mapping, "missing_key", f"{what} needs {' or '.join(words)}")
        else:
            [(key, node)] = found
            return self.language.read[key](self.actions, node)
        return None

    def _otherwise(self, node: Node | None, rule: Map) -> Action | None:
        mapping = None if node is None else as_map(node, "`otherwise`", self.report)
        if mapping is None:
            return None
        for key in self.language.final:
            if rule.get(key) is not None:
                self.report.add(node, "no_effect", f"`otherwise` has no effect beside `{key}`")
        self._keys(mapping, "`otherwise`", tuple(self.language.read), ())
        return self._action(mapping, "`otherwise`")

    def _examples(self, node: Node | None, rules: tuple[Rule, ...]) -> tuple[Example, ...]:
        items = None if node is None else as_list(node, "`examples`", self.report, most=MAX_EXAMPLES)
        if items is None:
            return ()
        read = [read_example(item, self.conditions) for item in items]
        examples = tuple(example for example in read if example is not None)
        names = tuple(rule.name for rule in rules)
        for item, example in zip(items, read, strict=True):
            if example is not None and example.expect not in names:
                hint = self.report.suggest(example.expect, names)
                place = item.get("expect") if isinstance(item, Map) else None
                self.report.add(place or item, "unknown_rule", f"no rule is named {shown(example.expect)}", hint)
        expected = {example.expect for example in examples}
        known = len(examples) == len(items) and expected <= set(names)  # else a slip of the pen would count twice
        for rule in rules:
            if rule.name and rule.name not in expected and known:
                self.report.add(self.places[rule.name], "no_example", f"no example expects the rule {shown(rule.name)}")
        return examples
