"""What `recoup policy check` reads, and everything that is wrong with it; how it is told is `check_output`'s affair."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from recoup_core.rules.engine.compile import CompiledPolicy, compile_policy
from recoup_core.rules.language.errors import PolicyInvalid, Problem, Severity
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.language.yamltext import MAX_BYTES
from recoup_core.rules.sets.folder import MAX_FILES, PolicyFile, review_set
from recoup_core.templates.catalogue import Catalogue
from recoup_core.templates.checking import check_folder, usage_problems
from recoup_core.wiring import shipped_templates

STDIN: Final = Path("-")
"""The path that stands for standard input."""

TEMPLATES: Final = "templates"
"""The folder of message templates, beside policies."""

STDIN_NAME: Final = "stdin.yaml"
"""What messages call standard input unless they are told otherwise."""


class PolicyLine(msgspec.Struct, frozen=True, kw_only=True):
    """One policy without errors, as it is told."""

    file: str
    kind: str
    name: str
    digest: str
    rules: int
    examples: int
    engine: str
    """Which of the two evaluators would decide."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What one run found."""

    policies: tuple[PolicyLine, ...]
    """Those without errors, in the order of their files."""
    problems: tuple[Problem, ...]
    sources: Mapping[str, str]
    """The text of every file that could be read, by the name that problems give it."""

    @property
    def errors(self) -> int:
        """How many problems keep a policy from being used."""
        return sum(problem.severity is Severity.ERROR for problem in self.problems)

    @property
    def warnings(self) -> int:
        """How many problems are worth a look."""
        return len(self.problems) - self.errors


def sentence(problem: Problem) -> str:
    """Return what is wrong and what may help, without the place."""
    rule = f"rule {problem.rule!r}: " if problem.rule else ""
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{rule}{problem.message}{hint}"


def check_paths(paths: Sequence[Path], stdin_name: str = STDIN_NAME) -> Checked:
    """Read, compile and test files, whole folders and standard input (`-`), all together as one set of policies.

    Each file counts once, however often it is named. What can't be read is a problem of that file.
    """
    unreadable: list[Problem] = []
    files: list[PolicyFile] = []
    for path in files_of(paths, unreadable):
        name = stdin_name if path == STDIN else str(path)
        text = text_of(path, name, unreadable)
        if text is not None:
            files.append(PolicyFile(name, text))
    templates, beside = templates_beside(paths)
    known = [] if beside is None else beside.names
    found, reviewed = review_set(files, unreadable, called=", ".join(map(str, paths)), templates=known)
    problems = [*reviewed, *templates]
    if beside is not None:
        problems += usage_problems(found.policies, beside)
    lines = [line for policy in found.policies if (line := _compiled(policy, problems)) is not None]
    refused = {problem.file for problem in problems if problem.severity is Severity.ERROR}
    return Checked(
        policies=tuple(line for line in lines if line.file not in refused),
        problems=tuple(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))),
        sources={file.name: file.text for file in files},
    )


def templates_beside(paths: Iterable[Path]) -> tuple[list[Problem], Catalogue | None]:
    """Check the folders `templates/` in the folders that are checked; None: there is none."""
    problems: list[Problem] = []
    catalogue: Catalogue | None = None
    for folder in sorted({path / TEMPLATES for path in paths if (path / TEMPLATES).is_dir()}):
        checked = check_folder(folder, shipped_templates())
        problems += checked.problems
        catalogue = checked.catalogue
    return problems, catalogue


def _compiled(policy: Policy, problems: list[Problem]) -> PolicyLine | None:
    """Compile a policy, which holds the two evaluators against each other, and let it go again."""
    try:
        compiled: CompiledPolicy = compile_policy(policy)
    except PolicyInvalid as refusal:
        problems.extend(refusal.problems)
        return None
    try:
        return PolicyLine(
            file=policy.source,
            kind=policy.kind,
            name=policy.name,
            digest=compiled.digest,
            rules=len(policy.rules),
            examples=len(policy.examples),
            engine=compiled.engine_name,
        )
    finally:
        compiled.close()


def files_of(paths: Iterable[Path], problems: list[Problem]) -> list[Path]:
    """Return the files to read, each once, in a stable order, and at most `MAX_FILES`."""
    found: dict[Path, Path] = {}
    for path in paths:
        inside = _inside(path, problems) if path.is_dir() else iter([path])
        for file in inside:
            found.setdefault(file if file == STDIN else file.resolve(), file)
            if len(found) > MAX_FILES:
                problems.append(_problem(str(path), "too_many", f"there are more than {MAX_FILES} policy files"))
                return list(found.values())[:MAX_FILES]
    return list(found.values())


def _inside(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    """Yield a folder's policy files; a `.yml`, which the service would pass over in silence, is a problem."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml") and path.is_file())
    if not files:
        problems.append(_problem(str(folder), "no_policies", "there is no policy file (*.yaml) below"))
    for path in files:
        if path.suffix == ".yml":
            problems.append(_problem(str(path), "file_name", "a policy file must end in .yaml"))
        else:
            yield path


def text_of(path: Path, name: str, problems: list[Problem]) -> str | None:
    """Return a file's text, byte for byte; what is too large, not UTF-8 or out of reach is a problem."""
    try:
        if path == STDIN:
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        problems.append(_problem(name, "unreadable", f"the file can't be read: {error.strerror}"))
        return None
    if len(raw) > MAX_BYTES:
        problems.append(_problem(name, "too_large", f"the file is larger than {MAX_BYTES // 1024} KiB"))
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        problems.append(_problem(name, "not_utf8", "the file is not UTF-8", before.count(b"\n") + 1, column))
        return None


def _problem(file: str, code: str, message: str, line: int = 1, column: int = 1) -> Problem:
    return Problem(file=file, line=line, column=column, code=code, message=message)
