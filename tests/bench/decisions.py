"""Decisions per CPU-second: the same policies and facts through our two evaluators and other engine packages.

Ours starts from the facts struct that flows hold and ends with the rule, encoding included; the others are handed a
ready dict, which favours them. Before the clock runs, every answer of every engine is compared with the plain
evaluator's.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from report import Result, Table, number, ratio, tell

from recoup_core.domain.money import Money
from recoup_core.rules.engine.compile import EngineChoice, compile_policy
from recoup_core.rules.facts import RETRY, RetryFacts
from recoup_core.rules.language.schema import parse_policy

FACTS: Final = 2_000
ROUNDS: Final = 5
MAX_DRAWS: Final = 1_000
"""Tries at a rule that is not hidden by earlier ones."""
MIN_CPU_S: Final = 0.3
"""A measurement repeats all facts until at least this much CPU time is spent."""
CODES: Final = tuple(f"code_{number}" for number in range(12))
COUNTRIES: Final = ("DE", "FR", "US", "GB", "ES", "IT", "NL", "SE")
NETWORKS: Final = ("visa", "mastercard", "amex")

Dict = dict[str, Any]
Decide = Callable[[Any], int]


class Spec(msgspec.Struct, frozen=True):
    """One rule: four conditions, as typical policies have, on texts and numbers."""

    code: str
    countries: tuple[str, ...]
    attempt_max: int
    amount_min: int
    """Whole euros."""


def specs(count: int) -> list[Spec]:
    """Return all rules but the last, which fires for the rest; each has facts that no earlier rule takes."""
    chance = random.Random(count)  # the same rules in every run
    rules: list[Spec] = []
    for index in range(count - 1):
        code = CODES[index % len(CODES)]
        for _ in range(MAX_DRAWS):
            one = Spec(code, tuple(chance.sample(COUNTRIES, 3)), chance.randint(1, 6), chance.randint(1, 500))
            if not any(_takes(earlier, one) for earlier in rules):
                break
        rules.append(one)
    return rules


def _takes(earlier: Spec, one: Spec) -> bool:
    """Whether the earlier rule fires for the facts at the very corner of the other."""
    fits = earlier.code == one.code and one.countries[0] in earlier.countries
    return fits and one.attempt_max <= earlier.attempt_max and one.amount_min >= earlier.amount_min


def facts(rules: Sequence[Spec]) -> list[RetryFacts]:
    """Return facts of which half are made to fit some rule, so that every part of the policy is hit."""
    chance = random.Random(7)  # as above
    made = []
    for index in range(FACTS):
        aim = chance.choice(rules)
        hit = index % 2 == 0
        made.append(
            msgspec.structs.replace(
                RETRY.baseline,
                decline_code=aim.code if hit else chance.choice(CODES),
                country=chance.choice(aim.countries if hit else COUNTRIES),
                network=chance.choice(NETWORKS),
                attempt=chance.randint(1, aim.attempt_max if hit else 8),
                amount=Money(100 * (aim.amount_min + chance.randint(0, 40) if hit else chance.randint(1, 540)), "EUR"),
            )
        )
    return made


def as_dict(one: RetryFacts) -> Dict:
    """Return what the other engines are given."""
    return {
        "code": one.decline_code,
        "country": one.country,
        "attempt": one.attempt,
        "currency": one.amount.currency,
        "amount": one.amount.amount_minor,
    }


def policy_text(rules: Sequence[Spec]) -> str:
    """Return the policy in our own language, with an example for each rule."""
    lines = ["kind: retry", "name: bench", "applies_to: {method: card}", "rules:"]
    examples = ["examples:"]
    for index, rule in enumerate(rules):
        when = (
            f"{{decline_code: {rule.code}, country: [{', '.join(rule.countries)}],"
            f" attempt: {{lte: {rule.attempt_max}}}, amount: {{gte: {{EUR: {rule.amount_min}.00}}}}}}"
        )
        lines += [f"  - name: r{index}", f"    when: {when}", "    stop: manual_review"]
        given = (
            f"{{decline_code: {rule.code}, country: {rule.countries[0]}, attempt: {rule.attempt_max},"
            f" amount: {{EUR: {rule.amount_min}.00}}}}"
        )
        examples.append(f"  - {{given: {given}, expect: r{index}}}")
    lines.append("  - {name: rest, stop: exhausted}")
    examples.append("  - {given: {decline_code: none}, expect: rest}")
    return "\n".join(lines + examples) + "\n"


def ours(rules: Sequence[Spec], engine: EngineChoice) -> Decide:
    """Our verdict as an index; what is timed is `CompiledPolicy.verdict` and one dict look-up."""
    compiled = compile_policy(parse_policy(policy_text(rules), source="bench.yaml"), engine=engine)
    numbers = {rule.name: index for index, rule in enumerate(compiled.policy.rules)}
    verdict = compiled.verdict
    assert compiled.engine_name == engine.value, compiled.engine_reason
    return lambda one: numbers[verdict(one).name]


def zen_expressions(rules: Sequence[Spec]) -> Decide:
    """zen-engine, one compiled expression per rule."""
    import zen

    tests = [
        zen.compile_expression(
            f"code == '{rule.code}' and country in [{_quoted(rule.countries)}] and attempt <= {rule.attempt_max}"
            f" and currency == 'EUR' and amount >= {rule.amount_min * 100}"
        )
        for rule in rules
    ]

    def decide(one: Dict) -> int:
        for index, test in enumerate(tests):
            if test.evaluate(one):
                return index
        return len(tests)

    return decide


def zen_table(rules: Sequence[Spec]) -> Decide:
    """zen-engine, its decision table with the hit policy `first`."""
    import zen

    fields = ("code", "country", "attempt", "currency", "amount")
    table = [
        {
            "_id": str(index),
            "code": f"'{rule.code}'",
            "country": _quoted(rule.countries),
            "attempt": f"<= {rule.attempt_max}",
            "currency": "'EUR'",
            "amount": f">= {rule.amount_min * 100}",
            "out": str(index),
        }
        for index, rule in enumerate(rules)
    ]
    table.append({"_id": "rest", **dict.fromkeys(fields, ""), "out": str(len(rules))})
    content = {
        "hitPolicy": "first",
        "rules": table,
        "inputs": [{"id": name, "name": name, "field": name} for name in fields],
        "outputs": [{"id": "out", "name": "out", "field": "out"}],
    }
    nodes = [
        {"id": "in", "name": "in", "type": "inputNode", "position": {"x": 0, "y": 0}},
        {"id": "t", "name": "t", "type": "decisionTableNode", "position": {"x": 0, "y": 0}, "content": content},
        {"id": "end", "name": "end", "type": "outputNode", "position": {"x": 0, "y": 0}},
    ]
    edges = [
        {"id": "a", "type": "edge", "sourceId": "in", "targetId": "t"},
        {"id": "b", "type": "edge", "sourceId": "t", "targetId": "end"},
    ]
    decision = zen.ZenEngine().create_decision(msgspec.json.encode({"nodes": nodes, "edges": edges}).decode())
    return lambda one: int(decision.evaluate(one)["result"]["out"])


def cel_chain(rules: Sequence[Spec]) -> Decide:
    """The Rust CEL package, the whole policy as one chain of conditionals."""
    import cel

    text = str(len(rules))
    for index in reversed(range(len(rules))):
        text = f"({_cel(rules[index])}) ? {index} : ({text})"
    program = cel.compile(text)
    return lambda one: int(program.execute(one))


def cel_list(rules: Sequence[Spec]) -> Decide:
    """The Rust CEL package, one program with all rules' results in a list (a long chain does not compile)."""
    import cel

    program = cel.compile(f"[{', '.join(_cel(rule) for rule in rules)}, true]")
    return lambda one: program.execute(one).index(True)


def cel_each(rules: Sequence[Spec]) -> Decide:
    """The Rust CEL package, one program per rule."""
    import cel

    programs = [cel.compile(_cel(rule)) for rule in rules]

    def decide(one: Dict) -> int:
        for index, program in enumerate(programs):
            if program.execute(one):
                return index
        return len(programs)

    return decide


OURS: Final[Mapping[str, EngineChoice]] = {
    "recoup, durable_rules": EngineChoice.DURABLE_RULES,
    "recoup, plain evaluator (closures)": EngineChoice.CLOSURES,
}
PEERS: Final[Mapping[str, Callable[[Sequence[Spec]], Decide]]] = {
    "zen-engine, expression per rule": zen_expressions,
    "zen-engine, decision table": zen_table,
    "common-expression-language, one chain": cel_chain,
    "common-expression-language, one list": cel_list,
    "common-expression-language, program per rule": cel_each,
}


def run(*, quick: bool) -> Result:
    """Measure 20 and 200 rules."""
    rates = {size: _measure(size, quick=quick) for size in (20, 200)}
    first = next(iter(OURS))
    rows = []
    for name in (*OURS, *PEERS):
        cells = [name]
        for measured in rates.values():
            rate = measured.get(name)
            cells += [number(rate) if rate else "-", ratio(measured[first], rate) if rate else "-"]
        rows.append(tuple(cells))
    table = Table(
        title="Decisions per CPU-second",
        method=(
            f"First match over 20 and 200 rules of four conditions (text, list of texts, number, money), {FACTS:,}"
            " facts of which half are aimed at a rule. CPU time of the process (`time.process_time`), median of"
            f" {1 if quick else ROUNDS} interleaved rounds. Recoup is timed from the facts struct to the rule,"
            ' encoding included; the others get a ready dict. All answers were equal first. "x": how many times as'
            " fast recoup with durable_rules is."
        ),
        head=("engine", "20 rules", "x", "200 rules", "x"),
        rows=tuple(rows),
    )
    return Result(tables=(table,))


def _measure(size: int, *, quick: bool) -> dict[str, float]:
    rules = specs(size)
    structs = facts(rules)
    dicts = [as_dict(one) for one in structs]
    contestants: dict[str, tuple[Decide, Sequence[Any]]] = {
        name: (ours(rules, engine), structs) for name, engine in OURS.items()
    }
    for name, build in PEERS.items():
        try:
            contestants[name] = (build(rules), dicts)
        except (ImportError, ValueError, RuntimeError) as refusal:  # not installed, or the text is too deep for it
            tell(f"decisions: {name} is left out at {size} rules: {type(refusal).__name__}")
    _compare(contestants, size)
    rounds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(1 if quick else ROUNDS):
        for name, (decide, given) in contestants.items():
            rounds[name].append(_rate(decide, given))
    return {name: statistics.median(measured) for name, measured in rounds.items()}


def _compare(contestants: Mapping[str, tuple[Decide, Sequence[Any]]], size: int) -> None:
    """Refuse to time engines that don't answer alike."""
    plain = "recoup, plain evaluator (closures)"
    decide, given = contestants[plain]
    right = [decide(one) for one in given]
    for name, (other, its) in contestants.items():
        wrong = sum(1 for one, answer in zip(its, right, strict=True) if other(one) != answer)
        if wrong:
            raise AssertionError(f"{name} answers {wrong} of {len(right)} facts otherwise at {size} rules")


def _rate(decide: Decide, given: Sequence[Any]) -> float:
    gc.collect()
    done = 0
    started = time.process_time()
    while (spent := time.process_time() - started) < MIN_CPU_S:
        for one in given:
            decide(one)
        done += len(given)
    return done / spent


def _cel(rule: Spec) -> str:
    return (
        f"code == '{rule.code}' && country in [{_quoted(rule.countries)}] && attempt <= {rule.attempt_max}"
        f" && currency == 'EUR' && amount >= {rule.amount_min * 100}"
    )


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)
