"""A set of policy files, read and checked as one: each for itself, and all beside each other."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from recoup_core.rules.language.errors import PolicyInvalid, Problem, Severity
from recoup_core.rules.language.names import Names, is_names, read_names
from recoup_core.rules.language.schema import Policy, read_policy
from recoup_core.rules.language.yamltext import MAX_BYTES
from recoup_core.rules.sets.ambiguity import ambiguities
from recoup_core.rules.study.answers import answer_problems
from recoup_core.rules.study.lint import lint
from recoup_core.rules.study.lint.suggestions import with_suggestions
from recoup_core.rules.study.rehearsal import timeline_problems

MAX_FILES: Final = 500


class PolicyFile(msgspec.Struct, frozen=True):
    """A file's text and what it is called in problems."""

    name: str
    text: str


class PolicySet(msgspec.Struct, frozen=True, kw_only=True):
    """Policies that may stand beside each other."""

    policies: tuple[Policy, ...]
    names: Names
    """The words they may refer to."""
    warnings: tuple[Problem, ...] = ()
    """What is doubtful about them and keeps nobody from using them."""


def read_folder(directory: Path) -> tuple[list[PolicyFile], list[Problem]]:
    """Return every `*.yaml` below a directory by its path from there, and what is wrong with the files themselves."""
    problems: list[Problem] = []
    files: list[PolicyFile] = []
    for path in _files(directory, problems):
        source = path.relative_to(directory).as_posix()
        try:
            files.append(PolicyFile(source, _read(path, source)))
        except PolicyInvalid as refusal:
            problems.extend(refusal.problems)
    return files, problems


def check_set(files: Iterable[PolicyFile], problems: Iterable[Problem] = (), *, called: str) -> PolicySet:
    """Return the policies of a set of files; raises `PolicyInvalid` with every problem when one of them is an error."""
    found, everything = review_set(files, problems, called=called)
    if any(problem.severity is Severity.ERROR for problem in everything):
        raise PolicyInvalid(everything)
    if not found.policies:  # a file of names alone is right, and nothing can be decided with it
        raise PolicyInvalid([*everything, _no_policies(called)])
    return msgspec.structs.replace(found, warnings=everything)


def review_set(
    files: Iterable[PolicyFile], problems: Iterable[Problem] = (), *, called: str, templates: Iterable[str] = ()
) -> tuple[PolicySet, tuple[Problem, ...]]:
    """Return the policies of a set of files that can be read, and all that is wrong or doubtful, those given included.

    `templates`: those that there are besides the ones that come with Recoup.
    Lint also looks at policies of which only the examples are wrong, for it may be why no example fits.
    """
    found = list(problems)
    policies: list[Policy] = []
    linted: list[Policy] = []
    names = Names(templates=tuple(templates))
    for file in files:
        if is_names(file.text):
            names = _names(file, names, found)
            continue
        policy, wrong = read_policy(file.text, source=file.name)
        if policy is not None:
            linted.append(policy)
            wrong = with_suggestions(policy, wrong)
        if policy is not None and not wrong:
            policies.append(policy)
            found.extend((*timeline_problems(policy), *answer_problems(policy)))
        found.extend(wrong)
    found.extend(ambiguities(linted))
    if not linted and not found and not names.source:
        found.append(_no_policies(called))
    found.extend(lint(linted, names))
    return PolicySet(policies=tuple(policies), names=names), tuple(found)


def _names(file: PolicyFile, before: Names, problems: list[Problem]) -> Names:
    """Read the file of names; a second one in the same set is a problem."""
    if before.source:
        message = f"names are listed in {before.source} already"
        problems.append(_problem(file.name, "duplicate_names", message))
        return before
    names, wrong = read_names(file.text, source=file.name)
    problems.extend(wrong)
    return before if names is None else msgspec.structs.replace(names, templates=before.templates)


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


def _no_policies(called: str) -> Problem:
    return _problem(called, "no_policies", "there is no policy file (*.yaml) below")


def _problem(file: str, code: str, message: str, line: int = 1) -> Problem:
    return Problem(file=file, line=line, column=1, code=code, message=message)
