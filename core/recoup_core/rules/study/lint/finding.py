"""How lint says what it found."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from recoup_core.rules.language.errors import Placed, Problem, Severity, shown
from recoup_core.rules.language.problem_codes import PROBLEM_CODES
from recoup_core.rules.language.schema import Policy, Rule

MAX_TEXTS: Final = 2
"""Texts kept in lines; findings come policy by policy."""

MAX_NAMED: Final = 4
"""So many rules are named in one message; the others are counted."""


def finding(
    code: str,
    policy: Policy,
    line: int,
    message: str,
    *,
    rule: str | None = None,
    hint: str | None = None,
    severity: Severity | None = None,
    at: Placed | None = None,
) -> Problem:
    """Return a problem at a place, else at the beginning of the line; its severity is the code's own unless given."""
    return Problem(
        file=policy.source,
        line=line if at is None else at.line,
        column=_column(policy.text, line) if at is None else at.column,
        code=code,
        message=message,
        rule=rule,
        hint=hint or _as_a_hint(PROBLEM_CODES[code].mend),
        severity=severity or PROBLEM_CODES[code].severity,
    )


def _as_a_hint(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].removesuffix(".")


def _column(text: str, line: int) -> int:
    lines = _lines(text)
    written = lines[line - 1] if line <= len(lines) else ""
    return len(written) - len(written.lstrip(" ")) + 1


@lru_cache(maxsize=MAX_TEXTS)
def _lines(text: str) -> list[str]:
    return text.split("\n")


def named(rules: Iterable[Rule]) -> str:
    """Name rules with their lines, the first few of them."""
    known = [f"{shown(rule.name)} (line {rule.line})" for rule in rules]
    words, more = known[:MAX_NAMED], len(known) - MAX_NAMED
    if more > 0:
        words.append(f"{more} more rules")
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
