"""Conditions as an author would write them, on one line."""

from collections.abc import Sequence
from typing import Final

from recoup_core.rules.language.as_given import major_text, scalar_text
from recoup_core.rules.language.conditions import All, AnyOf, Comparison, Condition, Named, Not, Op

MAX_TEXT: Final = 100
"""Characters shown of one condition."""


def condition_text(condition: Condition) -> str:
    """Return a condition in YAML's flow style, cut to a readable length."""
    text = _text(condition)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _text(condition: Condition) -> str:
    match condition:
        case Comparison():
            return f"{{{condition.fact.name}: {_constants(condition)}}}"
        case All(parts):
            return f"{{all: {_listed([_text(part) for part in parts])}}}"
        case AnyOf(parts):
            return f"{{any: {_listed([_text(part) for part in parts])}}}"
        case Not(part):
            return f"{{not: {_text(part)}}}"
        case Named(name, _):
            return name


def _constants(leaf: Comparison) -> str:
    if leaf.op in (Op.EXISTS, Op.MISSING):
        return f"{{{leaf.op.value}: true}}"
    if leaf.money:
        amounts = [f"{currency}: {_several(bounds, currency)}" for currency, bounds in leaf.money]
        return f"{{{leaf.op.value}: {{{', '.join(amounts)}}}}}"
    words = [scalar_text(value) for value in leaf.values]
    if leaf.op in (Op.IS, Op.IN):
        return words[0] if leaf.op is Op.IS else _listed(words)
    op = Op.NOT if leaf.op is Op.NOT_IN else leaf.op
    return f"{{{op.value}: {words[0] if len(words) == 1 else _listed(words)}}}"


def _several(bounds: Sequence[int], currency: str) -> str:
    words = [major_text(bound, currency) for bound in bounds]
    return words[0] if len(words) == 1 else _listed(words)


def _listed(words: Sequence[str]) -> str:
    return f"[{', '.join(words)}]"
