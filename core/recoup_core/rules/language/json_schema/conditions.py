"""Facts and conditions as JSON Schema, from a vocabulary and the operators of the condition reader."""

from collections.abc import Callable, Mapping
from typing import Final

from recoup_core.rules.facts import COUNTRIES, CURRENCIES, VOCABULARIES, Fact, FactKind, Vocabulary
from recoup_core.rules.language.applies import MAX_SCOPE_VALUES
from recoup_core.rules.language.condition_reader import MAX_COMPARISONS, OPERATORS, WORDS
from recoup_core.rules.language.constants import MAX_VALUES
from recoup_core.rules.language.json_schema.meanings import LOGIC_MEANINGS, OPERATOR_MEANINGS
from recoup_core.rules.language.json_schema.pieces import (
    Schema,
    listing,
    mapping,
    matching,
    one_or_more,
    pair,
    ref,
    text,
    told,
    word,
)

DEFINED_NAME: Final = "^[a-z][a-z0-9_]{0,39}$"

_SHARED_LISTS: Final[Mapping[tuple[str, ...], str]] = {COUNTRIES: "country", CURRENCIES: "currency"}
"""Long lists that many facts have; their codes need no explanation."""

_TEXT_VALUE: Final = r'^[^"\\*\x00-\x1f\x7f][^"\\\x00-\x1f\x7f]*$'
_TEXT_LENGTH: Final = 64
_AMOUNT_TEXT: Final = r"^[0-9]{1,15}(\.[0-9]{1,4})?$"
_DATE_TEXT: Final = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"


def shared_values() -> dict[str, Schema]:
    """Return the definitions that facts of all kinds use."""
    country = told(word(COUNTRIES), "A country, two capital letters (ISO 3166-1).")
    quoted: Schema = {"type": "string", **matching(_AMOUNT_TEXT, "digits with a decimal point, like 20.00")}
    amount: Schema = {"anyOf": [{"type": "number", "minimum": 0}, quoted]}
    date: Schema = {"type": "string", **matching(_DATE_TEXT, "year, month, day, like 2026-01-31")}
    return {
        "country": country,
        "currency": told(word(CURRENCIES), "A currency, three capital letters (ISO 4217)."),
        "amount": told(
            amount, "An amount in major units, with no more decimals than its currency has.", example="20.00"
        ),
        "date": told(date, "A date: year, month, day.", example="2026-01-31"),
        "amounts": per_currency(ref("amount")),
        "amount_ranges": per_currency(pair(ref("amount"))),
        "text_value": text(_TEXT_VALUE, _TEXT_LENGTH, "no quotes, backslashes or leading *"),
        **_closed_lists(),
    }


def _closed_lists() -> dict[str, Schema]:
    """Return the words of every fact that has few; facts of one name have the same words in all kinds."""
    facts = [fact for vocabulary in VOCABULARIES.values() for fact in vocabulary.facts.values()]
    return {
        f"word.{fact.name}": word(fact.choices, fact.name)
        for fact in facts
        if fact.kind is FactKind.CHOICE and fact.choices not in _SHARED_LISTS
    }


def per_currency(value: Schema) -> Schema:
    """Return a mapping from currencies to something."""
    return {"type": "object", "propertyNames": ref("currency"), "additionalProperties": value, "minProperties": 1}


def vocabulary_definitions(vocabulary: Vocabulary) -> dict[str, Schema]:
    """Return the definitions of one kind: conditions, and what `applies_to` and `given` may hold."""
    kind, facts = vocabulary.kind.value, vocabulary.facts
    scoped = {name: facts[name] for name in vocabulary.scope_facts}
    givable = {name: fact for name, fact in facts.items() if name != "currency"}
    own = [fact for fact in facts.values() if _owner(fact) == kind]
    tests = {f"{kind}.when.{fact.name}": told(_test(fact), meaning_of(fact)) for fact in own}
    return tests | {
        f"{kind}.condition": _condition(vocabulary),
        f"{kind}.applies_to": mapping(_by_group(scoped, _told_as(_scope), vocabulary)),
        f"{kind}.given": mapping(_by_group(givable, _told_as(given), vocabulary)),
    }


def _owner(fact: Fact) -> str:
    """Return the first kind that has this very fact; others refer to what is defined there."""
    return next(kind.value for kind, each in VOCABULARIES.items() if each.facts.get(fact.name) is fact)


def _condition(vocabulary: Vocabulary) -> Schema:
    itself = ref(f"{vocabulary.kind.value}.condition")
    parts = listing(itself, MAX_COMPARISONS)
    logic = {name: told(itself if name == "not" else parts, *_with_example(LOGIC_MEANINGS[name])) for name in WORDS}
    defined = told(
        {"enum": [True, False], "doNotSuggest": True},
        "A condition from `define`: true as it stands, false for its opposite.",
    )
    defined["errorMessage"] = "There is no such fact; a condition from define is followed by true or false."
    asked: Schema = {
        "type": "object",
        "properties": {
            **logic,
            **_by_group(vocabulary.facts, lambda fact: ref(f"{_owner(fact)}.when.{fact.name}"), vocabulary, least=1),
        },
        "propertyNames": {"anyOf": [{"enum": list(vocabulary.facts)}, {"pattern": DEFINED_NAME}]},
        "additionalProperties": defined,
        "minProperties": 1,
    }
    name = told({"type": "string", "pattern": DEFINED_NAME}, "The name of a condition from `define`.")
    return {"anyOf": [asked, name]}


def _with_example(meaning: tuple[str, str]) -> tuple[str]:
    return (f"{meaning[0]}: `{meaning[1]}`",)


def _by_group(
    facts: Mapping[str, Fact], schema: Callable[[Fact], Schema], vocabulary: Vocabulary, *, least: int = 0
) -> dict[str, Schema]:
    """Return a schema per fact, and per group a mapping of its facts by their second halves."""
    plain = {name: schema(fact) for name, fact in facts.items()}
    groups: dict[str, Schema] = {}
    for group in sorted(vocabulary.groups):
        inner = {name.partition(".")[2]: each for name, each in plain.items() if name.startswith(f"{group}.")}
        if inner:
            groups[group] = told(
                mapping(inner, least=least), f"Facts of the {group}; the same as writing {group}.name."
            )
    return plain | groups


def _told_as(schema: Callable[[Fact], Schema]) -> Callable[[Fact], Schema]:
    return lambda fact: told(schema(fact), meaning_of(fact))


def meaning_of(fact: Fact) -> str:
    """Return what an editor shows at a fact."""
    unknown = " It may be missing." if fact.optional else ""
    return f"{fact.meaning[0].upper()}{fact.meaning[1:]}: {fact.kind.value}.{unknown}"


def value(fact: Fact) -> Schema:
    """Return one constant that the fact can be."""
    if fact.kind is FactKind.CHOICE:
        return ref(_SHARED_LISTS.get(fact.choices) or f"word.{fact.name}")
    if fact.kind is FactKind.INT:
        return {"type": "integer", "minimum": fact.low, "maximum": fact.high}
    if fact.kind is FactKind.BOOL:
        return {"type": "boolean"}
    return ref("date") if fact.kind is FactKind.DATE else ref("text_value")


def _test(fact: Fact) -> Schema:
    """Return what a condition may hold the fact against: a value, a list, or operators."""
    operators = {name: _operator(name, fact) for name in OPERATORS[fact.kind] if fact.optional or name not in _PRESENCE}
    forms: list[Schema] = [mapping(operators, least=1)] if operators else []
    if fact.kind is FactKind.MONEY:
        return forms[0]
    if fact.kind is not FactKind.BOOL:
        forms.insert(0, listing(value(fact), MAX_VALUES))
    return {"anyOf": [value(fact), *forms]} if forms else value(fact)


_PRESENCE: Final = frozenset({"exists", "missing"})


def _operator(name: str, fact: Fact) -> Schema:
    meaning, example = OPERATOR_MEANINGS[name]
    return told(_operand(name, fact), f"True when the fact {meaning}: {example}")


def _operand(name: str, fact: Fact) -> Schema:
    if name in _PRESENCE:
        return {"const": True}
    if fact.kind is FactKind.MONEY:
        return ref("amount_ranges" if name == "between" else "amounts")
    if name == "in":
        return listing(value(fact), MAX_VALUES)
    if name == "not":
        return one_or_more(value(fact), MAX_VALUES)
    return pair(value(fact)) if name == "between" else value(fact)


def _scope(fact: Fact) -> Schema:
    return one_or_more(value(fact), MAX_SCOPE_VALUES)


def given(fact: Fact) -> Schema:
    """Return what an example may give: a value, an amount in one currency, or that the fact is missing."""
    known = {**per_currency(ref("amount")), "maxProperties": 1} if fact.kind is FactKind.MONEY else value(fact)
    if not fact.optional:
        return known
    missing = told({"const": True}, "The fact is not known.")
    return {"anyOf": [known, mapping({"missing": missing}, required=["missing"])]}
