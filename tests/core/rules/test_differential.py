"""The engine against the plain evaluator, over random policies of every kind and random facts.

`RECOUP_FUZZ_EVALUATIONS` says how many facts are evaluated both ways (5,000 when it is not set), `RECOUP_FUZZ_SEED`
where chance begins (1); a failure names the seed that shows it alone. `make fuzz` runs 200,000 of a new seed.
"""

import os
from itertools import count
from random import Random
from typing import Final

import pytest
from tests.core.rules.random_policies import hostile_facts, random_policy, tame_facts

from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.engine.lowering import currency_name, property_name
from recoup_core.rules.engine.network import MAX_PROPERTIES
from recoup_core.rules.facts import VOCABULARIES, Facts, PolicyKind

EVALUATIONS: Final = int(os.environ.get("RECOUP_FUZZ_EVALUATIONS", "5000"))
SEED: Final = int(os.environ.get("RECOUP_FUZZ_SEED", "1"))
TAME, HOSTILE = 25, 15
"""Facts asked of one policy: such as the encoder takes, and such as it may have to refuse."""


def fired(compiled: CompiledPolicy, facts: Facts) -> str:
    return compiled.verdict(facts).name


def differences(seed: int, kind: PolicyKind) -> list[str]:
    """Make one policy and its facts from a seed, evaluate all both ways and tell what differs."""
    chance = Random(seed)
    policy = random_policy(chance, VOCABULARIES[kind])
    tame = [tame_facts(chance, policy) for _ in range(TAME)]
    hostile = [hostile_facts(chance, policy) for _ in range(HOSTILE)]
    engine = compile_policy(policy, engine=EngineChoice.DURABLE_RULES)
    plain = compile_policy(policy, engine=EngineChoice.CLOSURES)
    wrong = [facts for facts in tame if fired(engine, facts) != fired(plain, facts)]
    found = [f"{engine.fallbacks} facts of declared types were not taken by the engine"] if engine.fallbacks else []
    wrong += [facts for facts in hostile if fired(engine, facts) != fired(plain, facts)]
    engine.close()
    return [*found, *(f"{facts}: {policy.rules}" for facts in wrong)]


@pytest.mark.parametrize("kind", PolicyKind)
def test_engine_and_plain_evaluator_agree(kind: PolicyKind) -> None:
    """The plain evaluator is the oracle: the same rule for every policy the language can say, whatever the facts."""
    wanted = EVALUATIONS // len(PolicyKind) + 1
    evaluated = 0
    for seed in count(SEED * 1_000_000):
        found = differences(seed, kind)
        assert not found, f"seed {seed} of {kind.value}: {found[0]}"
        evaluated += TAME + HOSTILE
        if evaluated >= wanted:
            break

    assert evaluated >= wanted


@pytest.mark.parametrize("kind", PolicyKind)
def test_every_fact_is_a_property_of_its_own(kind: PolicyKind) -> None:
    """Flattened names never meet, and a fact of every property leaves room for those computed beforehand."""
    facts = VOCABULARIES[kind].facts
    names = [property_name(fact) for fact in facts.values()]
    names += [currency_name(fact) for fact in facts.values() if fact.kind.name == "MONEY" and fact.name != "amount"]

    assert len(names) == len(set(names))
    assert len(names) + MAX_PROPERTIES < 200
