"""What a YAML fault means to somebody who doesn't know YAML's own terms: where it began, and what to write."""

import re
from typing import Any, Final, NamedTuple

_EXPECTED: Final = re.compile(r"expected ',' or '([\]}])', but got .+")
_BAD_START: Final = re.compile(r"found character (.+) that cannot start any token")
_OPENS: Final = {"}": "{", "]": "["}


class Fault(NamedTuple):
    """A fault in words; `mark` is PyYAML's place, its lines and columns counted from 0."""

    mark: Any
    message: str
    hint: str | None = None


def fault_of(error: Any, text: str) -> Fault:
    """Return a `yaml.MarkedYAMLError` of a text in words, where it can be mended; an unknown one as it is."""
    problem, mark = str(error.problem or error.context), error.problem_mark or error.context_mark
    if error.context == "while scanning a quoted scalar" and "end of stream" in problem:
        return Fault(error.context_mark, "the quote that opens here is never closed")
    if found := _EXPECTED.fullmatch(problem):
        return _bracket(error, found[1])
    if found := _BAD_START.fullmatch(problem):
        if "\\t" in found[1]:
            return Fault(mark, "a tab stands here", "indent with spaces")
        return Fault(mark, f"a text can't begin with {found[1]}", "put it into quotes")
    if problem == "mapping values are not allowed here":
        hint = "put a text that holds a colon and a blank into quotes; else look at the indentation of this line"
        return Fault(mark, "a colon stands where no key can be", hint)
    if problem == "could not find expected ':'":
        return Fault(
            error.context_mark or mark, "a key has no colon", "write `key: value`, with a blank after the colon"
        )
    if problem.startswith("expected <block end>") and error.context_mark is not None:
        if text.split("\n")[mark.line][: mark.column].strip():
            return Fault(mark, "something follows a value on its line", "remove it, or put the whole text into quotes")
        column, line = error.context_mark.column + 1, error.context_mark.line + 1
        hint = f"what belongs to the block of line {line} begins in column {column}, like that line"
        return Fault(mark, "the indentation fits nothing above", hint)
    return Fault(mark, problem)


def _bracket(error: Any, closing: str) -> Fault:
    """Point to the bracket that is open when the text goes on below it, else to where a comma may be missing."""
    opened, mark = error.context_mark, error.problem_mark
    opening = _OPENS[closing]
    if opened is not None and opened.line < mark.line:
        return Fault(
            opened, f"the `{opening}` that opens here is not closed before line {mark.line + 1}", f"add `{closing}`"
        )
    return Fault(
        mark, f"`,` or `{closing}` is missing before this", f"close the `{opening}`, or put the text into quotes"
    )
