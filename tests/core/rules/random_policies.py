"""Random policies that the language can say, over the vocabulary of any kind, and facts meant to do harm."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from random import Random
from typing import Any, Final

from recoup_core.domain.money import MAX_AMOUNT_MINOR, Money, exponent
from recoup_core.rules.facts import CURRENCIES, Fact, FactKind, Facts, Vocabulary
from recoup_core.rules.language.actions import StopReason, StopSpec
from recoup_core.rules.language.applies import AppliesTo
from recoup_core.rules.language.condition_reader import ConditionReader
from recoup_core.rules.language.conditions import Condition, comparisons
from recoup_core.rules.language.errors import Report
from recoup_core.rules.language.schema import Policy, Rule
from recoup_core.rules.language.yamltext import read_tree

WORDS: Final = ("a", "b", "c d", "ü", "日本", "it's", "e", "id", "sid", "$or", "canary", "null", "0", "{}", "x" * 64)
"""Texts that a policy may name; some mean something to the engine or to JSON."""

HOSTILE_TEXTS: Final = (
    *("", "*", "**", '"', "\\", "\n", "\x00", "\ud800", "\u202e", "A", "a ", "é", "x" * 65, "x" * 70_000),
    *('","decline":"fraud', '{"$or":1}', "a\x00b", "\U0001f4b3", "1", "true"),
)
MONEYS: Final = ("EUR", "USD", "JPY", "KWD", *CURRENCIES[:26])
DAYS: Final = ("0001-01-01", "1999-12-31", "2024-02-29", "2026-01-01", "2026-03-01", "9999-12-31")
NO_DAYS: Final = ("", "20260101", "2026-W01-1", "2026-1-5", "2026-02-30", "today", "２０２６-01-01", "0000-00-00")
HUGE: Final = (2**53, -(2**53), 2**63, -(2**63) - 1, 10**30)
LARGE: Final = 10**15 - 3
"""Minor units near the largest amount that may be written without decimals."""

MANY: Final = 10**11
"""A large number with too few digits for a card number."""

MAX_DEPTH: Final = 4


class Writer:
    """Writes random conditions, as YAML would hold them, over one vocabulary."""

    def __init__(self, chance: Random, vocabulary: Vocabulary) -> None:
        self.chance, self.vocabulary = chance, vocabulary
        names = [name for name in vocabulary.facts if name != "currency" or chance.random() < 0.5]
        self.names = chance.sample(names, chance.randint(2, min(12, len(names))))
        self.defined: list[str] = []

    def condition(self, depth: int = 0) -> Any:
        """Return one condition."""
        shape = self.chance.random()
        if depth >= MAX_DEPTH or shape < 0.5:
            return self._leaf()
        if shape < 0.6 and self.defined:
            name = self.chance.choice(self.defined)
            return name if self.chance.random() < 0.7 else {name: self.chance.random() < 0.5}
        if shape < 0.7:
            return {"not": self.condition(depth + 1)}
        parts = [self.condition(depth + 1) for _ in range(self.chance.randint(1, 4))]
        return {self.chance.choice(("all", "any")): parts}

    def _leaf(self) -> Any:
        fact = self.vocabulary.facts[self.chance.choice(self.names)]
        if fact.optional and self.chance.random() < 0.2:
            return {fact.name: {self.chance.choice(("exists", "missing")): True}}
        return {fact.name: self._asked(fact)}

    def _asked(self, fact: Fact) -> Any:
        if fact.kind is FactKind.BOOL:
            return self.chance.random() < 0.5
        if fact.kind in (FactKind.CHOICE, FactKind.TEXT):
            return self._words(fact.choices[:5] or WORDS)
        if fact.kind is FactKind.MONEY:
            op = self._op()
            some = self.chance.sample(MONEYS, self.chance.choice((1, 1, 2, 3, 30)))
            return {op: {currency: self._amount(op, currency) for currency in some}}
        return self._ordered(fact)

    def _words(self, known: Sequence[str]) -> Any:
        some = self.chance.sample(known, self.chance.randint(1, len(known)))
        return self.chance.choice((some[0], some, {"in": some}, {"not": some[0]}, {"not": some}))

    def _ordered(self, fact: Fact) -> Any:
        op = self._op()
        if fact.kind is FactKind.DATE:
            ends = sorted(self.chance.sample(DAYS, 2))
            return {op: ends} if op == "between" else {op: self.chance.choice(DAYS[1:-1])}
        low = self.chance.choice((fact.low, MANY)) if fact.high > MANY else fact.low
        numbers = range(low, min(low + 8, fact.high + 1))
        if op == "between":
            return {op: sorted(self.chance.choices(numbers, k=2))}
        if self.chance.random() < 0.3:
            return self._words(numbers)  # type: ignore[arg-type]  # the same spellings serve numbers
        return {op: self.chance.choice(numbers[1:-1])}

    def _amount(self, op: str, currency: str) -> Any:
        digits = exponent(currency)
        minors = self.chance.choices((1, 99, 100, 101, 5000, 10**6, LARGE), k=2)
        texts = [f"{minor // 10**digits}.{minor % 10**digits:0{digits}d}" if digits else str(minor) for minor in minors]
        if op != "between":
            return texts[0]
        return [text for _, text in sorted(zip(minors, texts, strict=True))]

    def _op(self) -> str:
        return self.chance.choice(("lt", "lte", "gt", "gte", "between"))


def random_policy(chance: Random, vocabulary: Vocabulary) -> Policy:
    """Return a policy of random rules and a last one; one in ten has so many that it takes several rulesets."""
    writer, report = Writer(chance, vocabulary), Report("random")
    reader = ConditionReader(report, vocabulary)
    for number in range(chance.choice((0, 0, 1, 3))):
        reader.defined[f"d{number}"] = _read(writer.condition(1), reader)
        writer.defined.append(f"d{number}")
    count = chance.randint(80, 250) if chance.random() < 0.1 else chance.randint(1, 10)
    stop = StopSpec(reason=StopReason.EXHAUSTED)
    whens = [_read(writer.condition(), reader) for _ in range(count)]
    rules = [Rule(name=f"r{number}", line=number, when=when, action=stop) for number, when in enumerate(whens)]
    return Policy(
        kind=vocabulary.kind,
        name="random",
        digest="",
        text="",
        source="random",
        applies_to=AppliesTo(vocabulary=vocabulary, only={}, line=1, column=1),
        define=reader.defined,
        rules=(*rules, Rule(name="rest", line=count, action=stop)),
        examples=(),
    )


def _read(written: Any, reader: ConditionReader) -> Condition:
    """Read a condition the way a policy file's is read; JSON is YAML."""
    tree = read_tree(json.dumps(written, ensure_ascii=False), reader.report)
    condition = None if tree is None else reader.whole(tree)
    assert condition is not None, (reader.report.problems, written)
    return condition


def asked_facts(policy: Policy) -> list[Fact]:
    """Return the facts that a policy's conditions ask about."""
    leaves = [leaf for rule in policy.rules if rule.when is not None for leaf in comparisons(rule.when)]
    return list({leaf.fact.name: leaf.fact for leaf in leaves}.values())


def tame_facts(chance: Random, policy: Policy) -> Facts:
    """Return facts of declared types around the policy's constants, texts of anybody's among them."""
    facts = policy.baseline
    for fact in asked_facts(policy):
        value = None if fact.optional and chance.random() < 0.2 else _tame(chance, fact)
        if value is not None or fact.optional:
            facts = policy.vocabulary.with_fact(facts, fact.name, value)
    return facts


def _tame(chance: Random, fact: Fact) -> Any:
    if fact.kind is FactKind.BOOL:
        return chance.random() < 0.5
    if fact.kind is FactKind.CHOICE:
        return chance.choice(fact.choices[:6])
    if fact.kind is FactKind.TEXT:
        return chance.choice(WORDS if chance.random() < 0.7 else HOSTILE_TEXTS)
    if fact.kind is FactKind.MONEY:
        near = chance.choice((0, 1, 99, 100, 101, 5000, 10**6, LARGE)) + chance.choice((-1, 0, 1))
        return Money(min(max(near, 0), MAX_AMOUNT_MINOR), chance.choice((*MONEYS[:8], "GBP", "ZZZ", "not a currency")))
    if fact.kind is FactKind.DATE:
        day = date.fromisoformat(chance.choice(DAYS[1:-1])) + timedelta(days=chance.choice((-1, 0, 1)))
        return chance.choice((day.isoformat(), *DAYS))
    low = chance.choice((fact.low, min(MANY - 1, fact.high)))
    return min(low + chance.randint(0, 9), fact.high)


def hostile_facts(chance: Random, policy: Policy) -> Facts:
    """Return facts of which some have values that their type forbids or the engine would not compare exactly."""
    facts = tame_facts(chance, policy)
    asked = asked_facts(policy)
    for fact in chance.sample(asked, chance.randint(1, min(3, len(asked)))) if asked else ():
        facts = policy.vocabulary.with_fact(facts, fact.name, _hostile(chance, fact))
    return facts


def _hostile(chance: Random, fact: Fact) -> Any:
    if fact.kind is FactKind.BOOL:
        return chance.choice((0, 1, 2))
    if fact.kind is FactKind.MONEY:
        return Money(chance.choice((*HUGE, True, -1)), chance.choice((*MONEYS[:4], *HOSTILE_TEXTS)))
    if fact.kind is FactKind.DATE:
        return chance.choice(NO_DAYS)
    if fact.kind is FactKind.INT:
        return chance.choice((*HUGE, True, False, -1, 0))
    return chance.choice(HOSTILE_TEXTS)
