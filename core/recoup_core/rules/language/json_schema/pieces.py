"""What every part of the JSON Schema is made of: texts to show at a key or word, and types as editors read them.

An editor hands values over as its YAML reader typed them. Our language keeps the text as written, so a word that some
readers take for a boolean or a number (`no`, `5`, `10:00`) is accepted in both forms. Patterns are written in what
Python's and JavaScript's regular expressions share.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from recoup_core.rules.language.json_schema.meanings import WORD_MEANINGS

Schema = dict[str, Any]

TEXTUAL: Final = ("string", "number", "boolean")
"""What a text that is not empty can look like to a YAML reader; null is left out, for it also stands for nothing."""

_FALSE: Final = frozenset({"no", "No", "NO", "off", "Off", "OFF"})
_TRUE: Final = frozenset({"yes", "Yes", "YES", "on", "On", "ON"})
"""Words that YAML 1.1 takes for booleans; YAML 1.2 and Recoup don't."""


def told(schema: Schema, text: str, *, example: str | None = None, title: str | None = None) -> Schema:
    """Return the schema with what an editor shows when one points at it."""
    shown: Schema = {"description": text.replace("`", "")}
    markdown = text if example is None else f"{text}\n\n```yaml\n{example}\n```"
    if markdown != shown["description"]:
        shown["markdownDescription"] = markdown
    return {**schema, **({"title": title} if title else {}), **shown}


def ref(name: str) -> Schema:
    """Return a reference to a shared definition."""
    return {"$ref": f"#/$defs/{name}"}


def text(pattern: str = r"\S", most: int | None = None, allowed: str | None = None) -> Schema:
    """Return a text that matches; what a YAML reader took for a number or a boolean passes."""
    limit = {} if most is None else {"maxLength": most}
    return {"type": list(TEXTUAL), **matching(pattern, allowed), **limit}


def matching(pattern: str, allowed: str | None) -> Schema:
    """Return a pattern, with what an editor says where it isn't met."""
    return {"pattern": pattern} | ({} if allowed is None else {"patternErrorMessage": allowed})


def word(words: Sequence[str], meanings: str | None = None) -> Schema:
    """Return one of a closed list, each with its meaning if the list has meanings."""
    listed: Schema = {"enum": list(words)}
    if meanings is not None:
        listed["markdownEnumDescriptions"] = [WORD_MEANINGS[meanings][each] for each in words]
    misread = [value for value, spellings in ((False, _FALSE), (True, _TRUE)) if spellings & set(words)]
    if not misread:
        return listed
    note = "how YAML 1.1 readers see the words yes, no, on and off; Recoup keeps the words"
    return {"anyOf": [listed, {"enum": misread, "description": note, "doNotSuggest": True}]}


def mapping(properties: Mapping[str, Schema], *, required: Sequence[str] = (), least: int = 0) -> Schema:
    """Return a mapping with these keys and no others."""
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return {**schema, "minProperties": least} if least else schema


def listing(items: Schema, most: int, *, least: int = 1) -> Schema:
    """Return a list of `least` to `most` items."""
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def pair(items: Schema) -> Schema:
    """Return a list of exactly two."""
    return listing(items, 2, least=2)


def never(because: str) -> Schema:
    """Return what no value fits: the key may not stand here."""
    return {"not": {}, "errorMessage": f"This can't stand here: {because}."}


def one_or_more(item: Schema, most: int) -> Schema:
    """Return one item, or a list of some."""
    return {"anyOf": [item, listing(item, most)]}


def one_of_keys(schema: Schema, keys: Sequence[str]) -> Schema:
    """Return a mapping that has exactly one of several keys; a second one is marked where it stands."""
    apart: list[Schema] = [
        {"if": {"required": [key]}, "then": {"properties": dict.fromkeys(keys[number + 1 :], never(f"{key} is there"))}}
        for number, key in enumerate(keys[:-1])
    ]
    return {**schema, "anyOf": [{"required": [key]} for key in keys], "allOf": [*schema.get("allOf", ()), *apart]}
