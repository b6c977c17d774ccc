"""The policy language as JSON Schema 2020-12, made from the vocabularies and the readers' own tables.

For editors: completion, texts at every key, and the mistakes that can be seen without running anything. It accepts
everything that the readers accept; the readers refuse more, and have the last word.
"""

from typing import Any, Final

import msgspec

from recoup_core.rules.facts import VOCABULARIES, PolicyKind
from recoup_core.rules.language.actions import ACTIONS
from recoup_core.rules.language.balance import BALANCE_RETRIES, MAX_BALANCE_RETRIES
from recoup_core.rules.language.examples import ANSWERS, MAX_EXAMPLES, example_keys
from recoup_core.rules.language.json_schema.actions import action_schemas, kind_actions, levels_schema, shared_actions
from recoup_core.rules.language.json_schema.conditions import DEFINED_NAME, shared_values, vocabulary_definitions
from recoup_core.rules.language.json_schema.meanings import KEY_MEANINGS
from recoup_core.rules.language.json_schema.pieces import Schema, listing, mapping, one_of_keys, ref, text, told, word
from recoup_core.rules.language.json_schema.timelines import moment, timeline, timelines
from recoup_core.rules.language.late import LATE_SUCCESS, LateSuccess
from recoup_core.rules.language.names import KIND as NAMES
from recoup_core.rules.language.names import LISTS, MAX_NAMES
from recoup_core.rules.language.reasons import MAX_EVIDENCE, MAX_REASONS
from recoup_core.rules.language.schema import (
    KIND_KEYS,
    MAX_DEFINES,
    MAX_NOTE,
    MAX_RULES,
    POLICY_KEYS,
    REQUIRED_KEYS,
    RULE_KEYS,
)
from recoup_core.rules.language.timeline_reader import TIMELINE_KINDS

__all__ = ["policy_schema", "policy_schema_text"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_POLICY_NAME: Final = "^[a-z0-9][a-z0-9-]{0,59}$"
_RULE_NAME: Final = r"""^[^\x00-/:-@\[-^`{-\x7f][^\x00-\x1f!"#$*<=>?@\[\\\]^`{|}~\x7f]*$"""
"""As the reader has it for ASCII; which other letters it takes can't be said in both dialects of patterns."""

_RULE_NAME_LENGTH: Final = 80
_KIND_TITLES: Final = {
    PolicyKind.RETRY: "When to try again, with which credential, and when to stop.",
    PolicyKind.DUNNING: "Which messages, subscription changes and tasks accompany a case.",
    PolicyKind.NOTICE: "What a customer is told before a charge, and when.",
    PolicyKind.REFUND: "Whether a refund is approved, reviewed (by whom) or denied.",
}
_NAMES_TITLE: Final = "The words that policies beside this file may refer to."


def policy_schema() -> dict[str, Any]:
    """Return the schema of a policy file of any kind."""
    rule_name = text(_RULE_NAME, _RULE_NAME_LENGTH, "letters, digits, blanks and ,.;:'()/&%+-")
    definitions = shared_values() | shared_actions() | kind_actions() | {"rule_name": rule_name, "moment": moment()}
    for kind in ACTIONS:
        definitions |= vocabulary_definitions(VOCABULARIES[kind]) | _kind_definitions(kind)
    kinds = word([*(kind.value for kind in ACTIONS), NAMES])
    kinds["markdownEnumDescriptions"] = [*(_KIND_TITLES[kind] for kind in ACTIONS), _NAMES_TITLE]
    return {
        "$schema": DIALECT,
        "$id": "urn:recoup:policy",
        "description": "A policy for failed payments, refunds or charges to come. The manual is policies/README.md.",
        "type": "object",
        "properties": {"kind": _told(kinds, "kind")},
        "required": ["kind"],
        "allOf": [_if_kind(kind) for kind in (*(kind.value for kind in ACTIONS), NAMES)],
        "$defs": definitions | {f"{NAMES}.policy": _names()},
    }


def policy_schema_text() -> str:
    """Return the schema as the file `policies/schema.json` holds it."""
    return msgspec.json.format(msgspec.json.encode(policy_schema()), indent=1).decode() + "\n"


def _if_kind(kind: str) -> Schema:
    asked = {"properties": {"kind": {"const": kind}}, "required": ["kind"]}
    return {"if": asked, "then": ref(f"{kind}.policy")}


def _names() -> Schema:
    """Return a file of names: the words that policies beside it may refer to."""
    lists = {name: _told(listing(ref("text_value"), MAX_NAMES), f"names.{name}") for name in LISTS}
    listed = mapping({"kind": {"const": NAMES}, "note": _told(text(), "note"), **lists}, required=["kind"])
    return {**listed, "anyOf": [{"required": [name]} for name in LISTS]}


def _kind_definitions(kind: PolicyKind) -> dict[str, Schema]:
    parts = {
        "kind": {"const": kind.value},
        "name": text(_POLICY_NAME, allowed="lower-case letters, digits and hyphens, at most 60"),
        "note": text(most=MAX_NOTE),
        "applies_to": ref(f"{kind.value}.applies_to"),
        "define": {
            "type": "object",
            "propertyNames": {"pattern": DEFINED_NAME},
            "additionalProperties": ref(f"{kind.value}.condition"),
            "maxProperties": MAX_DEFINES,
        },
        "rules": listing(ref(f"{kind.value}.rule"), MAX_RULES),
        "examples": listing(ref(f"{kind.value}.example"), MAX_EXAMPLES),
        "timelines": timelines(kind),
        "reasons": _reasons(),
        BALANCE_RETRIES: listing(ref("duration"), MAX_BALANCE_RETRIES, least=0),
        LATE_SUCCESS: word([each.value for each in LateSuccess], LATE_SUCCESS),
        "effective": mapping({"from": ref("date"), "until": ref("date")}, least=1),
    }
    keys = (*POLICY_KEYS, *KIND_KEYS.get(kind, ()))
    return {
        f"{kind.value}.policy": mapping({key: _told(parts[key], key) for key in keys}, required=REQUIRED_KEYS),
        f"{kind.value}.rule": _rule(kind),
        f"{kind.value}.example": _example(kind),
        **({f"{kind.value}.timeline": timeline(kind)} if kind in TIMELINE_KINDS else {}),
    }


def _reasons() -> Schema:
    """Return the reasons for refunds, each with the evidence it needs."""
    evidence = _told(listing(ref("word"), MAX_EVIDENCE), "evidence")
    listed = {"propertyNames": ref("word"), "additionalProperties": mapping({"evidence": evidence})}
    return {"type": "object", **listed, "minProperties": 1, "maxProperties": MAX_REASONS}


def _rule(kind: PolicyKind) -> Schema:
    actions = action_schemas(kind)
    parts = {
        "name": _told(ref("rule_name"), "rule.name"),
        "when": _told(ref(f"{kind.value}.condition"), "when"),
        "otherwise": _told(one_of_keys(mapping(actions), list(actions)), "otherwise"),
    }
    keys = {key: parts[key] for key in RULE_KEYS} | actions
    return one_of_keys(mapping(keys, required=["name"]), list(actions))


def _example(kind: PolicyKind) -> Schema:
    parts = {"given": _told(ref(f"{kind.value}.given"), "given"), "expect": _told(ref("rule_name"), "expect")}
    parts["answer"] = _told(word(ANSWERS), "answer")
    parts["levels"] = _told(levels_schema(), "example.levels")
    keys = example_keys(kind)
    schema = mapping({key: parts[key] for key in keys}, required=["given", "expect"])
    return {**schema, "dependentRequired": {"levels": ["answer"]}} if "levels" in keys else schema


def _told(schema: Schema, key: str) -> Schema:
    meaning, example = KEY_MEANINGS[key]
    return told(schema, meaning, example=example)
