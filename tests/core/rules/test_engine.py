"""durable_rules is used only inside what was measured to be right, and repaired after every kind of failure."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoup_core.rules.engine.network import (
    MAX_ALTERNATIVES_PER_PARENT,
    MAX_ATOMS_PER_SHARD,
    MAX_CONDITIONS_PER_PARENT,
    MAX_FIRINGS,
    MAX_GROUPS_PER_RULE,
    MAX_IDENTICAL_CHAINS,
    MAX_MATCHING_PER_PARENT,
    MAX_PLAIN,
    MAX_PROPERTIES,
    MAX_RULES_PER_SHARD,
    And,
    Atom,
    Conjuncts,
    EngineBounds,
    Expr,
    Or,
)
from recoup_core.rules.engine.ruleset import EngineError, Ruleset, engine_unavailable_reason, import_engine


class Untouched:
    """Stands where the C module would: nothing may be asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called")


class Faulty:
    """The real C module, with one function replaced for as long as `broken` names it."""

    def __init__(self) -> None:
        self._real = import_engine()
        self.broken: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return self.broken.get(name) or getattr(self._real, name)


def eq(name: str, value: str | int | bool = 1) -> Atom:
    return Atom(name, "eq", value)


def overlapping(*branches: Expr) -> Or:
    return Or(branches, exclusive=False)


OUT_OF_BOUNDS: dict[str, list[Conjuncts]] = {
    "too many rules": [(eq("a", f"v{n % 400}"), eq("b", f"v{n}")) for n in range(MAX_RULES_PER_SHARD + 1)],
    "too many conditions under one parent": [
        (Or(tuple(eq("a", f"v{n}-{k}") for k in range(50)), exclusive=True), eq("b"))
        for n in range(MAX_CONDITIONS_PER_PARENT // 50 + 1)
    ],
    "too many match together": [(Atom("a", "gt", n),) for n in range(MAX_MATCHING_PER_PARENT + 1)],
    "too many identical chains": [(eq("a"),)] * (MAX_IDENTICAL_CHAINS + 1),
    "too many alternatives under one parent": [
        (eq("a"), Or((eq("b", n), eq("c", n)), exclusive=True)) for n in range(MAX_ALTERNATIVES_PER_PARENT + 1)
    ],
    "too many absences under one parent": [(eq("a"), Atom("b", "nex"), eq("c", n)) for n in range(101)],
    "too many alternatives in one rule": [
        (eq("a"), *(Or((eq(f"b{n}"), eq(f"b{n}", 2)), exclusive=True) for n in range(MAX_GROUPS_PER_RULE)))
    ],
    "too many groups in one rule": [
        (eq("a"), Or(tuple(And((eq("b", n), eq("c"))) for n in range(MAX_GROUPS_PER_RULE - 1)), exclusive=True))
    ],
    "too many ways": [(eq("a"), overlapping(*(eq(f"b{n}") for n in range(MAX_FIRINGS + 1))))],
    "ways multiply": [(eq("a"), *(overlapping(*(eq(f"b{n}{k}") for k in range(4))) for n in range(3)))],
    "too many comparisons": [
        (eq("a", n), *(Atom(f"b{k}", "gt", k) for k in range(MAX_PLAIN - 1)))
        for n in range(MAX_ATOMS_PER_SHARD // MAX_PLAIN + 1)
    ],
    "too many properties": [(eq(f"a{n}"), eq("b")) for n in range(MAX_PROPERTIES + 1)],
    "too long a row": [tuple(eq(f"b{n}") for n in range(MAX_PLAIN + 1))],
    "nested too deeply": [
        (
            eq("a"),
            overlapping(eq("b"), And((eq("c"), overlapping(eq("d"), And((eq("e"), overlapping(eq("f"), eq("g")))))))),
        )
    ],
    "only negative": [(Atom("a", "neq", 1),)],
    "only alternatives": [(overlapping(eq("a"), eq("b")),)],
    "names that share a hash": [(eq("costarring"), eq("liquid"))],
}


@pytest.mark.parametrize("name", OUT_OF_BOUNDS)
def test_rules_out_of_bounds_never_reach_the_engine(name: str) -> None:
    """Beyond these bounds the C code hangs, crashes or lies: they are counted before it sees anything."""
    with pytest.raises(EngineBounds):
        Ruleset(Untouched(), OUT_OF_BOUNDS[name])  # type: ignore[arg-type]  # stands in for the C module


def test_bounds_are_not_stricter_than_they_say() -> None:
    """The counting refuses the first rule too many, not the last that fits; the engine then answers right."""
    rules: list[Conjuncts] = [(Atom("a", "gte", n),) for n in range(MAX_MATCHING_PER_PARENT, 0, -1)]
    ruleset = Ruleset(import_engine(), rules)

    answers = [ruleset.first(f'{{"a":{n}}}') for n in range(MAX_MATCHING_PER_PARENT + 1)]

    assert answers == [None, *range(MAX_MATCHING_PER_PARENT - 1, -1, -1)]
    ruleset.close()


def test_the_largest_rules_are_taken_by_the_engine() -> None:
    """One group fewer than refused: the engine compiles it and answers right."""
    size = MAX_GROUPS_PER_RULE - 1
    ors = (eq("a"), *(Or((eq(f"b{n}"), eq(f"b{n}", 2)), exclusive=True) for n in range(size)))
    ands = (eq("a", 2), Or(tuple(And((eq("b", n), eq("c"))) for n in range(size - 1)), exclusive=True))
    ruleset = Ruleset(import_engine(), [ors, ands])
    twos = ",".join(f'"b{n}":2' for n in range(size))

    assert ruleset.first(f'{{"a":1,{twos}}}') == 0
    assert ruleset.first(f'{{"a":1,{twos.replace("2", "3", 1)}}}') is None
    assert ruleset.first('{"a":2,"b":7,"c":1}') == 1
    assert ruleset.first('{"a":2,"b":7}') is None
    ruleset.close()


def test_full_shard_answers_right() -> None:
    """As many rules as a shard may hold, each the first for one fact."""
    rules: list[Conjuncts] = [(eq("a", f"v{n}"),) for n in range(MAX_RULES_PER_SHARD)]
    ruleset = Ruleset(import_engine(), rules)

    answers = [ruleset.first(f'{{"a":"v{n}"}}') for n in range(0, MAX_RULES_PER_SHARD, 7)]

    assert answers == list(range(0, MAX_RULES_PER_SHARD, 7))
    ruleset.close()


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


@pytest.fixture
def ruleset(faulty: Faulty) -> Ruleset:
    """Three rules: a = 1, a = 2, and the rest."""
    return Ruleset(faulty, [(eq("a", 1),), (eq("a", 2),), (eq("e"),)])


def boom(*_: object) -> Any:
    raise RuntimeError("boom")


def interrupted(*_: object) -> Any:
    raise KeyboardInterrupt


FAILURES: dict[str, tuple[str, Callable[..., Any], type[BaseException]]] = {
    "refused before it is stored": ("assert_event", boom, RuntimeError),
    "an error code": ("assert_event", lambda *_: (303, 0), EngineError),
    "after the fact is stored": ("start_action_for_state", boom, RuntimeError),
    "interrupted after the fact is stored": ("start_action_for_state", interrupted, KeyboardInterrupt),
    "interrupted with an action open": ("complete_and_start_action", interrupted, KeyboardInterrupt),
    "the state is locked": ("start_action_for_state", lambda *_: None, EngineError),
    "the fact of somebody else": (
        "start_action_for_state",
        lambda *_: ("{}", '{"r00001":{"m":{"id":"e0"}}}'),
        EngineError,
    ),
    "no end of messages": ("complete_and_start_action", lambda *_: '{"r00001":{"m":{"id":"e1"}}}', EngineError),
}


@pytest.mark.parametrize("name", FAILURES)
def test_engine_is_repaired_on_the_next_call(name: str, faulty: Faulty, ruleset: Ruleset) -> None:
    """Whatever went wrong in one evaluation never decides another one."""
    function, replacement, error = FAILURES[name]
    faulty.broken[function] = replacement
    with pytest.raises(error):
        ruleset.first('{"e":1,"a":1}')

    faulty.broken.clear()
    answers = [ruleset.first(f'{{"e":1,"a":{n}}}') for n in (2, 1, 3, 2, 1)]

    assert answers == [1, 0, 2, 1, 0]


def test_no_match_leaves_nothing_behind(ruleset: Ruleset) -> None:
    """A fact that no rule wants is forgotten."""
    assert ruleset.first('{"b":5}') is None
    assert ruleset.first('{"e":1,"a":2}') == 1


def test_closed_ruleset_refuses(ruleset: Ruleset) -> None:
    """Freed memory is never asked; closing twice is harmless."""
    ruleset.close()
    ruleset.close()

    with pytest.raises(EngineError, match="closed"):
        ruleset.first('{"e":1}')


def test_missing_module_has_a_readable_reason() -> None:
    """An operator learns why the plain evaluator serves."""

    def importer() -> Any:
        raise ImportError("undefined symbol: PyEval_CallObject")

    assert engine_unavailable_reason() is None
    assert "PyEval_CallObject" in (engine_unavailable_reason(importer) or "")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_reloading_keeps_memory_flat() -> None:
    """A policy published a hundred times a day must not eat the worker's memory."""
    rules: list[Conjuncts] = [(eq("d", f"v{n % 5}"), Atom("a", "lte", n)) for n in range(20)]

    def reload(times: int) -> int:
        for _ in range(times):
            ruleset = Ruleset(import_engine(), rules)
            assert ruleset.first('{"d":"v3","a":2}') == 3
            ruleset.close()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = reload(100)
    after = reload(200)

    assert after - before < 4 * 2**20  # a leak would be about 400 MiB
