"""A set of policies, and which one a payment gets: the strictly narrowest that covers it.

Old versions that running cases are pinned to are kept beside them (`texts`), compiled from their stored text on demand.
"""

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Final

from recoup_core.rules.compile import CompiledPolicy, EngineChoice, compile_policy
from recoup_core.rules.errors import NoPolicyApplies, PolicyInvalid, Problem
from recoup_core.rules.facts import RetryFacts
from recoup_core.rules.schema import Policy, digest_of, parse_policy
from recoup_core.rules.yamltext import MAX_BYTES

MAX_FILES: Final = 500


class PolicyBook:
    """A set of policies to choose from, immutable; the compiled texts behind it are shared with other books."""

    def __init__(
        self,
        policies: Iterable[CompiledPolicy],
        *,
        engine: EngineChoice = EngineChoice.BEST,
        texts: CompiledTexts | None = None,
    ) -> None:
        """Take compiled policies; raises `PolicyInvalid` where two claim the same payments or the same name.

        With `texts` the policies are held there by whoever makes the book; without, the book has texts of its own.
        """
        self.policies: tuple[CompiledPolicy, ...] = tuple(policies)
        problems = ambiguities([compiled.policy for compiled in self.policies])
        if problems:
            raise PolicyInvalid(problems)
        if texts is None:
            texts = CompiledTexts(engine)
            texts.adopt(self.policies)
        self.texts = texts

    @classmethod
    def load(cls, directory: Path, engine: EngineChoice = EngineChoice.BEST) -> "PolicyBook":
        """Read and compile every `*.yaml` below a directory; raises `PolicyInvalid` with all files' problems."""
        problems: list[Problem] = []
        policies: list[Policy] = []
        for path in _files(directory, problems):
            source = path.relative_to(directory).as_posix()
            try:
                policies.append(parse_policy(_read(path, source), source=source))
            except PolicyInvalid as refusal:
                problems.extend(refusal.problems)
        problems.extend(ambiguities(policies))
        if not policies and not problems:
            problems.append(_problem(directory.name, "no_policies", "there is no policy file (*.yaml) below"))
        if problems:
            raise PolicyInvalid(problems)
        compiled: list[CompiledPolicy] = []
        for policy in policies:
            try:
                compiled.append(compile_policy(policy, engine=engine))
            except PolicyInvalid as refusal:
                problems.extend(refusal.problems)
        if problems:
            for one in compiled:
                one.close()
            raise PolicyInvalid(problems)
        return cls(compiled, engine=engine)

    def with_version(self, *versions: CompiledPolicy) -> "PolicyBook":
        """Return a book in which these stand in for the policies of their kinds and names, or beside the others.

        Raises `PolicyInvalid` where the result would be ambiguous; the caller holds the versions in `texts`.
        """
        placed = {(one.policy.kind, one.policy.name): one for one in (*self.policies, *versions)}
        return PolicyBook(placed.values(), texts=self.texts)

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


def ambiguities(policies: Iterable[Policy]) -> list[Problem]:
    """Return a problem for every two policies of a kind that share a name, or payments without one being narrower."""
    problems: list[Problem] = []
    for first, second in combinations(policies, 2):
        one, other = first.applies_to, second.applies_to
        if first.kind != second.kind:
            continue
        if first.name == second.name:
            message = f"the name {second.name!r} is already used in {first.source}"
            problems.append(_problem(second.source, "duplicate_policy", message))
        elif one.overlaps(other) and not one.narrower(other) and not other.narrower(one):
            message = f"{second.name!r} and {first.name!r} ({first.source}) can both cover a payment"
            hint = "make one's `applies_to` strictly narrower, or keep them apart"
            place = Problem(
                file=second.source, line=other.line, column=other.column, code="ambiguous", message=message, hint=hint
            )
            problems.append(place)
    return problems


def _files(directory: Path, problems: list[Problem]) -> list[Path]:
    """Return the policy files in a stable order; a `.yml`, which would be passed over in silence, is a problem."""
    for path in sorted(directory.rglob("*.yml")):
        name = path.relative_to(directory).as_posix()
        problems.append(_problem(name, "file_name", "a policy file must end in .yaml"))
    files = sorted(path for path in directory.rglob("*.yaml") if path.is_file())
    if len(files) > MAX_FILES:
        problems.append(_problem(directory.name, "too_many", f"there are more than {MAX_FILES} policy files"))
    return files[:MAX_FILES]


def _read(path: Path, source: str) -> str:
    """Return a file's text, byte for byte, so that its digest is that of the file."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise PolicyInvalid([_problem(source, "too_large", f"the file is larger than {MAX_BYTES // 1024} KiB")])
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        message = "the file is not UTF-8"
        raise PolicyInvalid([_problem(source, "not_utf8", message, line)]) from error


def _problem(file: str, code: str, message: str, line: int = 1) -> Problem:
    return Problem(file=file, line=line, column=1, code=code, message=message)
