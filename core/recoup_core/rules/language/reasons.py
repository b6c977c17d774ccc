"""The reasons for which a refund may be asked: a closed list in the policy, each with the evidence it needs."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from recoup_core.rules.facts import FactKind, Facts, Vocabulary
from recoup_core.rules.language.errors import Report, shown
from recoup_core.rules.language.yamltext import Node, Scalar, as_list, as_map, as_text

MAX_REASONS: Final = 100
MAX_EVIDENCE: Final = 10
"""Kinds of evidence that one reason needs."""

REASON: Final = "reason"
"""The fact, and what it is called in refusals."""

_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")
_WORD_HINT: Final = "lower-case letters, digits and _, at most 60"


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """What a refund for this reason takes."""

    evidence: tuple[str, ...] = ()
    """Kinds of evidence, all of which are needed before it is approved or reviewed."""


Reasons = Mapping[str, Reason]


def read_reasons(node: Node, report: Report) -> Reasons | None:
    """Read the list; every word in it is known from then on, even where the rest of its entry is wrong."""
    mapping = as_map(node, "`reasons`", report)
    if mapping is None:
        return None
    if not mapping.entries:
        report.add(node, "empty_list", "`reasons` is empty", "leave it out where any reason will do")
        return None
    if len(mapping.entries) > MAX_REASONS:
        report.add(node, "too_many", f"`reasons` has more than {MAX_REASONS} entries")
    return {key.text: _reason(key, value, report) for key, value in mapping.entries}


def with_reasons(vocabulary: Vocabulary, reasons: Reasons) -> Vocabulary:
    """Return the vocabulary in which the reason is one of the list, so that conditions and examples are held to it."""
    words = tuple(reasons)
    fact = msgspec.structs.replace(vocabulary.facts[REASON], kind=FactKind.CHOICE, choices=words)
    baseline: Facts = vocabulary.baseline
    if fact.get(baseline) not in words:
        baseline = vocabulary.with_fact(baseline, REASON, words[0])
    return msgspec.structs.replace(vocabulary, facts={**vocabulary.facts, REASON: fact}, baseline=baseline)


def token(node: Node, what: str, report: Report) -> str | None:
    """Read a word that programs tell apart: lower-case letters, digits and _."""
    text = as_text(node, what, report)
    if text is None or _WORD.fullmatch(text):
        return text
    report.add(node, "bad_name", f"{what} can't be {shown(text)}", _WORD_HINT)
    return None


def _reason(key: Scalar, node: Node, report: Report) -> Reason:
    token(key, "a reason", report)
    mapping = as_map(node, f"the reason {shown(key.text)}", report, "write {}, or {evidence: [photo]}")
    evidence: tuple[str, ...] = ()
    for name, value in mapping.entries if mapping is not None else ():
        if name.text == "evidence":
            evidence = _evidence(value, report)
        else:
            hint = report.suggest(name.text, ("evidence",))
            report.add(name, "unknown_key", f"a reason has no key {shown(name.text)}", hint)
    return Reason(evidence=evidence)


def _evidence(node: Node, report: Report) -> tuple[str, ...]:
    items = as_list(node, "`evidence`", report, most=MAX_EVIDENCE) or ()
    found: list[str] = []
    for item in items:
        word = token(item, "a kind of evidence", report)
        if word in found:
            report.add(item, "duplicate_value", f"{shown(str(word))} stands twice in the list")
        elif word is not None:
            found.append(word)
    return tuple(found)
