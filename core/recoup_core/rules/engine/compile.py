"""From a policy to something that decides: the engine where it can be had, held to the plain evaluator before use.

One difference at the publish gate (`gate`) refuses the policy. In use, whatever the engine can't answer the plain
evaluator answers, and `fallbacks` counts it.
"""

from enum import StrEnum
from threading import Lock

from recoup_core.domain.errors import DomainError
from recoup_core.rules.engine.encoding import Encoder
from recoup_core.rules.engine.gate import disagreement
from recoup_core.rules.engine.lowering import lower, shards
from recoup_core.rules.engine.ruleset import EngineError, Importer, Ruleset, engine_unavailable_reason, import_engine
from recoup_core.rules.engine.trace import RuleTrace, trace_rules, traced_rule
from recoup_core.rules.facts import Facts
from recoup_core.rules.language.closures import Closure, closure
from recoup_core.rules.language.errors import PolicyInvalid, Problem
from recoup_core.rules.language.schema import Policy, Rule

__all__ = ["CompiledPolicy", "EngineChoice", "EngineUnavailable", "compile_policy", "engine_unavailable_reason"]


class EngineChoice(StrEnum):
    """Which evaluator answers."""

    BEST = "best"
    """durable_rules where it can be had, else the plain evaluator."""
    DURABLE_RULES = "durable_rules"
    """durable_rules, or refuse to start."""
    CLOSURES = "closures"
    """The plain evaluator."""


class EngineUnavailable(DomainError):
    """durable_rules was demanded and can't be had."""

    code = "engine_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CompiledPolicy:
    """One policy version, ready to decide; safe to use from several threads."""

    def __init__(self, policy: Policy, engine: "_Engine | None", *, reason: str | None = None) -> None:
        self.policy = policy
        self.digest = policy.digest
        self.engine_reason = reason
        """Why the plain evaluator serves, None while the engine does."""
        self.fallbacks = 0
        """How often the plain evaluator had to answer in the engine's place."""
        self._engine = engine
        self._rules: tuple[tuple[Rule, Closure | None], ...] = tuple(
            (rule, None if rule.when is None else closure(rule.when)) for rule in policy.rules
        )
        self._traced = tuple(traced_rule(rule, test) for rule, test in self._rules)
        self._count = Lock()

    @property
    def engine_name(self) -> str:
        """Say which evaluator answers: `durable_rules` or `closures`."""
        chosen = EngineChoice.CLOSURES if self._engine is None else EngineChoice.DURABLE_RULES
        return chosen.value

    def verdict(self, facts: Facts) -> Rule:
        """Return the first rule whose condition is true; the last has none, so there is one."""
        if self._engine is not None:
            try:
                return self._rules[self._engine.first(facts)][0]
            except Exception:  # whatever it was, the plain evaluator gives the same answer
                with self._count:
                    self.fallbacks += 1
        return self._rules[self._plain(facts)][0]

    def trace(self, facts: Facts) -> tuple[RuleTrace, ...]:
        """Return each rule up to and including the one that fires, with every comparison's outcome."""
        return trace_rules(self._traced, facts)

    def close(self) -> None:
        """Give the engine's memory back; later verdicts come from the plain evaluator."""
        if self._engine is not None:
            self._engine.close()

    def _plain(self, facts: Facts) -> int:
        return next(index for index, (_, test) in enumerate(self._rules) if test is None or test(facts) is True)

    def disagreement(self) -> str | None:
        """Run the publish gate; return what differs between the two evaluators, or None. Lets engine errors out."""
        if self._engine is None:
            return None
        return disagreement(self.policy, self._engine.first, self._plain)


class _Engine:
    """A policy's rulesets, asked in order: the first shard with a match decides."""

    def __init__(self, policy: Policy, importer: Importer) -> None:
        module = importer()
        lowered = lower(rule.when for rule in policy.rules)
        runs = shards(lowered.rules)
        self._encoder = Encoder(lowered, runs)
        self._shards: list[tuple[int, Ruleset]] = []
        offset = 0
        try:
            for run in runs:
                self._shards.append((offset, Ruleset(module, run)))
                offset += len(run)
        except BaseException:
            self.close()
            raise

    def first(self, facts: Facts) -> int:
        for (offset, ruleset), body in zip(self._shards, self._encoder.bodies(facts), strict=False):
            index = ruleset.first(body)
            if index is not None:
                return offset + index
        raise EngineError("no rule fired, not even the last")

    def close(self) -> None:
        for _, ruleset in self._shards:
            ruleset.close()


def compile_policy(
    policy: Policy, *, engine: EngineChoice = EngineChoice.BEST, importer: Importer = import_engine
) -> CompiledPolicy:
    """Compile a policy and run the publish gate.

    Raises `PolicyInvalid` when the two evaluators disagree anywhere, and `EngineUnavailable` when durable_rules is
    demanded but can't serve. `importer` brings the C module.
    """
    if engine is EngineChoice.CLOSURES:
        return CompiledPolicy(policy, None, reason="closures were chosen")
    compiled: CompiledPolicy | None = None
    try:
        compiled = CompiledPolicy(policy, _Engine(policy, importer))
        difference = compiled.disagreement()
    except Exception as error:  # a missing C module, or one that fails on this policy
        if compiled is not None:
            compiled.close()
        reason = f"durable_rules can't serve: {type(error).__name__}: {error}"
        if engine is EngineChoice.DURABLE_RULES:
            raise EngineUnavailable(reason) from error
        return CompiledPolicy(policy, None, reason=reason)
    if difference is None:
        return compiled
    compiled.close()
    raise PolicyInvalid([Problem(file=policy.source, line=1, column=1, code="engine_disagrees", message=difference)])
