"""How the findings of `recoup policy check` are told: to people, to scripts, to code scanning and to GitHub.

The forms other than `text` are stable: scripts and services read them.
"""

import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

import click
import msgspec

from recoup_cli.checking import Checked, sentence
from recoup_cli.sarif import sarif_log
from recoup_cli.spans import counted
from recoup_core.rules.language.errors import Problem, Severity

JSON_VERSION: Final = 1
"""Goes up when a field of the JSON form changes its meaning or goes away; new fields may come at any time."""

MAX_EXCERPT: Final = 120
"""Characters of a source line that are shown; of a longer one, those around the column."""

_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


class Format(StrEnum):
    """Who reads the findings."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


class Told(msgspec.Struct, frozen=True):
    """What goes to standard output and what to standard error."""

    out: tuple[str, ...]
    err: tuple[str, ...] = ()


def told(checked: Checked, form: Format, docs_url: str | None = None) -> Told:
    """Return the findings in one of the forms; `docs_url` is where docs/ is published (SARIF links there)."""
    return _FORMS[form](checked, docs_url)


def write(text: Told) -> None:
    """Print findings; colours only on a terminal, and not where NO_COLOR asks for none."""
    color = False if os.environ.get("NO_COLOR") else None
    for line in text.out:
        click.echo(line, color=color)
    for line in text.err:
        click.echo(line, err=True, color=color)


def _text(checked: Checked, _: str | None) -> Told:
    good = [
        f"ok  {line.file}  {counted(line.rules, 'rule')}, {counted(line.examples, 'example')}, {line.engine}"
        for line in checked.policies
    ]
    if not good and not checked.problems:
        good = [f"ok  {_visible(file)}  names" for file in checked.sources]
    lines = {file: text.splitlines() for file, text in checked.sources.items()}
    bad = [line for problem in checked.problems for line in _problem_lines(problem, lines)]
    return Told(tuple(good), (*bad, _count(checked)) if bad else ())


def _count(checked: Checked) -> str:
    counts = [(checked.errors, "error"), (checked.warnings, "warning")]
    return ", ".join(f"{number} {word}{'s' if number != 1 else ''}" for number, word in counts if number) + " found"


def _problem_lines(problem: Problem, sources: Mapping[str, Sequence[str]]) -> Iterator[str]:
    severity = click.style(problem.severity.value, fg=_COLOURS[problem.severity], bold=True)
    place = f"{_visible(problem.file)}:{problem.line}:{problem.column}"
    yield f"{place}: {severity}: {sentence(problem)} [{problem.code}]"
    source = sources.get(problem.file, ())
    if problem.line <= len(source):
        yield from excerpt(source[problem.line - 1], problem.line, problem.column)


def excerpt(line: str, number: int, column: int) -> Iterator[str]:
    """Yield a line of the file and, below it, a caret under the column (characters, from 1)."""
    start = max(0, column - MAX_EXCERPT // 2) if len(line) > MAX_EXCERPT else 0
    shown = _visible(line[start : start + MAX_EXCERPT])
    if not shown.strip():
        return
    before = shown[: column - 1 - start]
    gap = "".join("\t" if char == "\t" else " " * _width(char) for char in before)
    margin = f"{number:>6} | "
    yield click.style(margin, dim=True) + shown
    yield " " * (len(margin) - 2) + click.style("| ", dim=True) + gap + click.style("^", fg="green", bold=True)


def _width(char: str) -> int:
    """Return the columns a character takes in a terminal."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _visible(text: str) -> str:
    """Return the text with what a terminal would obey, or not show, replaced one for one."""
    return "".join(char if char == "\t" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _json(checked: Checked, _: str | None) -> Told:
    problems = [
        {
            "file": each.file,
            "line": each.line,
            "column": each.column,
            "severity": each.severity.value,
            "code": each.code,
            "message": each.message,
            "rule": each.rule,
            "hint": each.hint,
        }
        for each in checked.problems
    ]
    log = {
        "version": JSON_VERSION,
        "valid": not checked.errors,
        "errors": checked.errors,
        "warnings": checked.warnings,
        "problems": problems,
        "policies": checked.policies,
    }
    return Told((_encoded(log),))


def _sarif(checked: Checked, docs_url: str | None) -> Told:
    return Told((_encoded(sarif_log(checked, docs_url)),))


def _github(checked: Checked, _: str | None) -> Told:
    return Told(tuple(map(_command, checked.problems)))


def _command(problem: Problem) -> str:
    """Return a workflow command, which GitHub shows at the line in a pull request."""
    properties = {
        "file": problem.file,
        "line": str(problem.line),
        "col": str(problem.column),
        "title": f"{problem.code} (recoup)",
    }
    told = ",".join(f"{name}={value.translate(_PROPERTY)}" for name, value in properties.items())
    return f"::{problem.severity.value} {told}::{sentence(problem).translate(_DATA)}"


_DATA: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY: Final = {**_DATA, **str.maketrans({":": "%3A", ",": "%2C"})}


def _encoded(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


_FORMS: Final[Mapping[Format, Callable[[Checked, str | None], Told]]] = {
    Format.TEXT: _text,
    Format.JSON: _json,
    Format.SARIF: _sarif,
    Format.GITHUB: _github,
}
