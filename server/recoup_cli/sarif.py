"""Findings as SARIF 2.1.0, the form that code scanning services read.

A fingerprint doesn't hold the line's number, so a finding stays the same one when lines above it come or go.
"""

from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from recoup_cli.checking import Checked, sentence
from recoup_cli.compose import release
from recoup_core.rules.language.errors import Problem, Severity
from recoup_core.rules.language.problem_codes import PROBLEM_CODES, page_of

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT: Final = "primaryLocationLineHash"
"""The one key of `partialFingerprints` that GitHub's code scanning reads."""

_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning"}
_HASH_LENGTH: Final = 16


def sarif_log(checked: Checked, docs_url: str | None = None) -> dict[str, Any]:
    """Return one run's log; rules link to their pages below `docs_url`, where the folder docs/ is published."""
    codes = sorted({problem.code for problem in checked.problems})
    numbers = {code: number for number, code in enumerate(codes)}
    seen: Counter[str] = Counter()
    rules = [_rule(code, docs_url) for code in codes]
    driver = {"name": "recoup", "version": release(), "semanticVersion": release(), "rules": rules}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(each, numbers[each.code], checked.sources, seen) for each in checked.problems],
            }
        ],
    }


def _rule(code: str, docs_url: str | None) -> dict[str, Any]:
    known = PROBLEM_CODES[code]
    page = page_of(code)
    rule = {
        "id": code,
        "shortDescription": {"text": known.meaning},
        "help": {"text": known.mend, "markdown": f"{known.mend}\n\nMore: `docs/{page}`."},
        "defaultConfiguration": {"level": _LEVELS[known.severity]},
    }
    return rule if docs_url is None else {**rule, "helpUri": f"{docs_url.rstrip('/')}/{page}"}


def _result(problem: Problem, rule: int, sources: Mapping[str, str], seen: Counter[str]) -> dict[str, Any]:
    place = {
        "artifactLocation": _location(problem.file),
        "region": {"startLine": problem.line, "startColumn": problem.column},
    }
    return {
        "ruleId": problem.code,
        "ruleIndex": rule,
        "level": _LEVELS[problem.severity],
        "message": {"text": sentence(problem)},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {FINGERPRINT: _fingerprint(problem, sources, seen)},
    }


def _fingerprint(problem: Problem, sources: Mapping[str, str], seen: Counter[str]) -> str:
    """Return what names this finding from run to run: its code, file, rule and line of text, and which of its like."""
    lines = sources.get(problem.file, "").splitlines()
    line = lines[problem.line - 1].strip() if problem.line <= len(lines) else ""
    parts = "\0".join((problem.code, _location(problem.file)["uri"], problem.rule or "", line))
    name = sha256(parts.encode()).hexdigest()[:_HASH_LENGTH]
    seen[name] += 1
    return f"{name}:{seen[name]}"


def _location(file: str) -> dict[str, str]:
    """Return where a file is: from the checkout's top, where the command runs, else its absolute address."""
    path, here = Path(file), Path.cwd()
    if path.is_absolute() and path.is_relative_to(here):
        path = path.relative_to(here)
    if path.is_absolute():
        return {"uri": path.as_uri()}
    return {"uri": quote(path.as_posix()), "uriBaseId": "%SRCROOT%"}
