"""A past case read into types, as far as history holds it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from recoup_core.rules.deciding.deciders import DECIDERS
from recoup_core.rules.facts import VOCABULARIES, Facts, PolicyKind, Vocabulary
from recoup_core.rules.language.conditions import comparisons
from recoup_core.rules.language.given import facts_given, read_given
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.sets.simulation.compare import PAST
from recoup_core.rules.study.history import HistoryCase, HistoryDecision

_CURRENCY: Final = "currency"
_LOOKED_UP: Final = frozenset({"decline", "retryable", "visa_category"})
"""What follows from a decline's code and source."""


class PastDecision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of the past."""

    at: datetime
    rule: str | None
    facts: Facts | None
    """None where what the new texts ask about isn't known; `missing` names it."""
    missing: tuple[str, ...] = ()
    situation: Any = None
    outcome: Any


class Reader:
    """Reads cases for a set of new texts: which facts must be known depends on what those ask about."""

    def __init__(self, policies: list[Policy]) -> None:
        self._asked: dict[str, frozenset[str]] = {}
        for kind in (PolicyKind(name) for name in PAST):
            asked = [_asked(policy) for policy in policies if policy.kind is kind]
            self._asked[kind.value] = frozenset().union(*asked)

    def read(self, case: HistoryCase) -> list[PastDecision]:
        """Return a case's decisions; raises `msgspec.MsgspecError` or `DomainError` where one can't be read."""
        return [self._decision(case.kind, each) for each in case.decisions]

    def _decision(self, kind: str, past: HistoryDecision) -> PastDecision:
        decider = DECIDERS[PolicyKind(kind)]
        situation = None if past.situation is None else decider.situation.decode(past.situation)
        outcome = PAST[kind].decode(past.outcome)
        missing: tuple[str, ...] = ()
        facts: Facts | None
        try:
            facts = decider.facts.decode(past.facts)
        except msgspec.ValidationError:  # somebody else's: partly known, or written as people write facts
            facts, missing = self._partly_known(kind, msgspec.json.decode(past.facts, type=dict[str, Any]))
        return PastDecision(
            at=past.at, rule=past.rule, facts=facts, missing=missing, situation=situation, outcome=outcome
        )

    def _partly_known(self, kind: str, given: Mapping[str, Any]) -> tuple[Facts | None, tuple[str, ...]]:
        vocabulary = VOCABULARIES[PolicyKind(kind)]
        known = set(read_given(given, vocabulary))
        if "amount" in known:
            known.add(_CURRENCY)
        if {"decline_code", "decline_source"} <= known and vocabulary is not VOCABULARIES[PolicyKind.REFUND]:
            known |= _LOOKED_UP
        if "attempt" in known:
            known.add("retries")
        asked = self._asked[kind]
        missing = sorted(name for name in asked - known if not vocabulary.facts[name].optional)
        if missing:
            return None, tuple(missing)
        return facts_given(given, vocabulary, _nothing_optional(vocabulary)), ()


def _asked(policy: Policy) -> frozenset[str]:
    """The facts that decide which rule of a policy fires, and whether it is the policy that decides."""
    leaves = [leaf for rule in policy.rules if rule.when is not None for leaf in comparisons(rule.when)]
    return frozenset({*policy.applies_to.only, *(leaf.fact.name for leaf in leaves)})


def _nothing_optional(vocabulary: Vocabulary) -> Facts:
    """Facts of which only what can't be missing is there: nothing asks about it, so it doesn't matter what it is."""
    facts = vocabulary.baseline
    for name, fact in vocabulary.facts.items():
        if fact.optional and fact.get(facts) is not None:
            facts = vocabulary.with_fact(facts, name, None)
    return facts
