"""A set of policies, and which one a payment gets: the strictly narrowest that covers it.

Old versions that running cases are pinned to are kept beside them (`texts`), compiled from their stored text on demand.
"""

from collections.abc import Iterable
from pathlib import Path

from recoup_core.rules.engine.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.engine.texts import CompiledTexts
from recoup_core.rules.facts import Facts
from recoup_core.rules.language.errors import NoPolicyApplies, PolicyInvalid, Problem
from recoup_core.rules.sets.ambiguity import ambiguities
from recoup_core.rules.sets.folder import check_set, read_folder
from recoup_core.rules.sets.trials import Assigned, Trial, assign


class PolicyBook:
    """A set of policies to choose from, immutable; the compiled texts behind it are shared with other books."""

    def __init__(
        self,
        policies: Iterable[CompiledPolicy],
        *,
        engine: EngineChoice = EngineChoice.BEST,
        texts: CompiledTexts | None = None,
        trials: Iterable[Trial] = (),
    ) -> None:
        """Take compiled policies; raises `PolicyInvalid` where two claim the same payments or the same name.

        With `texts` the policies are held there by whoever makes the book; without, the book has texts of its own.
        """
        self.policies: tuple[CompiledPolicy, ...] = tuple(policies)
        self.trials = tuple(trials)
        problems = ambiguities([compiled.policy for compiled in self.policies])
        if problems:
            raise PolicyInvalid(problems)
        if texts is None:
            texts = CompiledTexts(engine)
            texts.adopt(self.policies)
        self.texts = texts
        self.warnings: tuple[Problem, ...] = ()
        """What is doubtful about the files it was loaded from."""

    @classmethod
    def load(cls, directory: Path, engine: EngineChoice = EngineChoice.BEST) -> "PolicyBook":
        """Read and compile every `*.yaml` below a directory; raises `PolicyInvalid` with all files' problems."""
        files, problems = read_folder(directory)
        checked = check_set(files, problems, called=directory.name)
        compiled: list[CompiledPolicy] = []
        for policy in checked.policies:
            try:
                compiled.append(compile_policy(policy, engine=engine))
            except PolicyInvalid as refusal:
                problems.extend(refusal.problems)
        if problems:
            for one in compiled:
                one.close()
            raise PolicyInvalid(problems)
        book = cls(compiled, engine=engine)
        book.warnings = checked.warnings
        return book

    def choose(self, kind: str, facts: Facts) -> CompiledPolicy:
        """Return the strictly narrowest policy that covers the payment; raises `NoPolicyApplies`."""
        chosen: CompiledPolicy | None = None
        for compiled in self.policies:
            policy = compiled.policy
            if policy.kind != kind or not policy.applies_to.covers(facts):
                continue
            if chosen is None or policy.applies_to.narrower(chosen.policy.applies_to):
                chosen = compiled
        if chosen is None:
            raise NoPolicyApplies(kind, facts.method)
        return chosen

    def assign(self, kind: str, facts: Facts, merchant_id: str, customer_ref: str) -> Assigned:
        """Return the policy for a new case, and its arm where an experiment runs; raises `NoPolicyApplies`."""
        return assign(self.choose(kind, facts), self.trials, facts, merchant_id, customer_ref)

    def by_digest(self, digest: str) -> CompiledPolicy | None:
        """Return the version with this digest, if it is in force or kept."""
        return self.texts.get(digest)

    def add(self, text: str, source: str) -> CompiledPolicy:
        """Compile a stored old version and keep it for `by_digest`; it is never chosen for new cases.

        Raises `PolicyInvalid`. A version that makes room for others is closed; whoever still holds it gets its
        verdicts from the plain evaluator.
        """
        return self.texts.compile(text, source)

    def close(self) -> None:
        """Close every version, in force or kept; later verdicts come from the plain evaluator."""
        self.texts.close()
