"""What is wrong with a policy file: every mistake with its line, its column and, where one is near, the right name."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from enum import StrEnum
from typing import ClassVar, Final, Protocol

import msgspec

from recoup_core.domain.errors import DomainError

MAX_PROBLEMS: Final = 200
"""More than this many problems of one file are counted, not listed."""

MAX_SUGGESTIONS: Final = 50
"""Near names looked for in one file."""

MAX_LISTED_CHOICES: Final = 14
"""Up to this many allowed words are listed in a hint when none is near."""

_NEAR: Final = 5
"""Names that are looked at more closely for a suggestion."""

_MAX_SHOWN: Final = 60
"""Characters of somebody's text that a message repeats."""


class Placed(Protocol):
    """Anything that knows where it stands in the file; lines and columns count from 1."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class Severity(StrEnum):
    """Whether a problem keeps a policy from being used."""

    ERROR = "error"
    WARNING = "warning"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One mistake in one file; `code` is stable, `message` is for people."""

    file: str
    line: int
    column: int
    code: str
    message: str
    rule: str | None = None
    hint: str | None = None
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        warning = "warning: " if self.severity is Severity.WARNING else ""
        hint = f" ({self.hint})" if self.hint else ""
        rule = f"rule {self.rule!r}: " if self.rule else ""
        return f"{self.file}:{self.line}:{self.column}: {warning}{rule}{self.message}{hint}"


class PolicyInvalid(DomainError):
    """A policy file, or a set of them, is refused; `problems` holds everything found in one pass."""

    code: ClassVar[str] = "policy_invalid"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class NoPolicyApplies(DomainError):
    """No policy's `applies_to` covers these facts."""

    code: ClassVar[str] = "no_policy_applies"

    def __init__(self, kind: str, method: str) -> None:
        super().__init__(f"no {kind} policy applies to this payment (method {method})")
        self.kind, self.method = kind, method


class Report:
    """Collects the problems of one file, so that one pass finds them all."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.rule: str | None = None
        self._problems: list[Problem] = []
        self._left_out = 0
        self._suggestions = 0

    def add(self, at: Placed | None, code: str, message: str, hint: str | None = None) -> None:
        """Note a problem at a place of the file; None means the file as a whole."""
        if len(self._problems) >= MAX_PROBLEMS:
            self._left_out += 1
            return
        line, column = (at.line, at.column) if at is not None else (1, 1)
        self._problems.append(
            Problem(file=self.source, line=line, column=column, rule=self.rule, code=code, message=message, hint=hint)
        )

    def suggest(self, word: str, known: Sequence[str]) -> str | None:
        """Return `did you mean ...?`, or the whole list where it is short and nothing is near.

        Only the first `MAX_SUGGESTIONS` of a file are looked for; each compares the word with every known one.
        """
        if self._suggestions >= MAX_SUGGESTIONS:
            return None
        self._suggestions += 1
        folded, word = {name.lower(): name for name in known}, word.lower()[:_MAX_SHOWN]
        # half a name is closer than any other spelling: tier is customer.tier, customer.tenure is customer.tenure_days
        halves = [name for name in folded if word and (f".{word}" in name or name.startswith(f"{word}_"))]
        near = [min(halves, key=len)] if halves else get_close_matches(word, list(folded), n=_NEAR, cutoff=0.6)
        if near:
            nearest = min(near, key=lambda name: sorted(name) != sorted(word))  # letters in a wrong order come first
            return f"did you mean {str(folded[nearest])!r}?"  # str: a word of an enum shows as it is written
        return f"one of {', '.join(known)}" if 0 < len(known) <= MAX_LISTED_CHOICES else None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything found so far, in the order of the file."""
        found = sorted(self._problems, key=lambda problem: (problem.line, problem.column))
        if self._left_out:
            more = f"and {self._left_out} more problems"
            last = found[-1]
            found.append(Problem(file=self.source, line=last.line, column=last.column, code="more", message=more))
        return tuple(found)


def shown(text: str) -> str:
    """Quote somebody's text for a message, cut to a readable length."""
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")
