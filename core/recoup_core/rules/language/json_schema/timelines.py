"""Timelines as JSON Schema: a failure sequence, and the steps that must come of it."""

from collections.abc import Mapping
from typing import Final

from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.payment import CredentialRole
from recoup_core.rules.facts import VOCABULARIES, PolicyKind
from recoup_core.rules.facts.stops import StopReason
from recoup_core.rules.language.json_schema.conditions import given, meaning_of
from recoup_core.rules.language.json_schema.meanings import KEY_MEANINGS, WORD_MEANINGS
from recoup_core.rules.language.json_schema.pieces import (
    Schema,
    listing,
    mapping,
    matching,
    never,
    one_of_keys,
    ref,
    text,
    told,
    word,
)
from recoup_core.rules.language.timeline_reader import (
    LAST_DAY,
    MAX_EXPECTED,
    MAX_FAILURES,
    MAX_NAME,
    MAX_TIMELINES,
    MAY_BE_SILENT,
    OF_DECLINE,
    SUCCESS,
    SWITCHES,
    TIMELINE_KEYS,
    TIMELINE_NEEDS,
    TIMELINE_STEPS,
)
from recoup_core.rules.language.timelines import ON, QUIET, RETRY, STOP

_MOMENT_TEXT: Final = "^[0-9].*T[0-9]"


def moment() -> Schema:
    """Return a point in time."""
    written = {"type": "string", **matching(_MOMENT_TEXT, "a date and a time, like 2026-03-13T06:00")}
    return told(written, "A time; local in `zone` unless Z or an offset follows.", example="2026-03-13T06:00")


def timelines(kind: PolicyKind) -> Schema:
    """Return the list of timelines of one kind."""
    return listing(ref(f"{kind.value}.timeline"), MAX_TIMELINES)


def timeline(kind: PolicyKind) -> Schema:
    """Return one timeline of one kind."""
    parts: Mapping[str, Schema] = {
        "name": _told(text(most=MAX_NAME), "timeline.name"),
        "given": _told(ref(f"{kind.value}.given"), "timeline.given"),
        "start": _told(ref("moment"), "start" if kind is not PolicyKind.NOTICE else "notice.start"),
        "zone": _told(ref("zone"), "zone"),
        "expect": _told(listing(_expected(kind), MAX_EXPECTED, least=_least(kind)), "timeline.expect"),
        "charge": _told(ref("moment"), "charge"),
        "expires": _told(ref("date"), "expires"),
        "paydays": _told(listing({"type": "integer", "minimum": 1, "maximum": LAST_DAY}, LAST_DAY), "paydays"),
        "acquirer": _told(ref("country"), "acquirer"),
        "retries": _told(listing(ref("moment"), MAX_FAILURES), "retries"),
        "stop": _told(_stop_reason(), "timeline.stop"),
    }
    if "failures" in TIMELINE_KEYS[kind]:
        parts = {**parts, "failures": _told(listing(_failure(kind), MAX_FAILURES), "failures")}
    return mapping({key: parts[key] for key in TIMELINE_KEYS[kind]}, required=TIMELINE_NEEDS[kind])


def _stop_reason() -> Schema:
    return word([reason.value for reason in StopReason], "stop_reason")


def _failure(kind: PolicyKind) -> Schema:
    """Return a decline by its category or by the facts that tell of it, or the success that ends the sequence."""
    words = word([*DeclineCategory, SUCCESS])
    words["markdownEnumDescriptions"] = [*(WORD_MEANINGS["decline"][each] for each in DeclineCategory), "it was paid"]
    facts = [VOCABULARIES[kind].facts[name] for name in OF_DECLINE]
    told_facts = {fact.name: told(given(fact), meaning_of(fact)) for fact in facts}
    return {"anyOf": [words, mapping(told_facts)]}


def _least(kind: PolicyKind) -> int:
    """Return how many steps come at least: a letter may be too late for the money, a retry or a stop never is."""
    return 0 if kind in MAY_BE_SILENT else 1


def _expected(kind: PolicyKind) -> Schema:
    steps = {name: _step(name) for name in TIMELINE_STEPS[kind]}
    parts = {**steps, "rule": _told(ref("rule_name"), "expected.rule")}
    if kind is PolicyKind.RETRY:
        roles = word([role.value for role in CredentialRole], "credential")
        return one_of_keys(mapping({**parts, "credential": _told(roles, "expected.credential")}), list(steps))
    step = mapping({**parts, "at": _told(ref("moment"), "expected.at")})
    timeless = {"properties": {"at": never(f"{QUIET} has no time")}}
    apart = {"if": {"required": [QUIET]}, "then": timeless, "else": {"required": ["at"]}}
    return one_of_keys({**step, "allOf": [apart]}, list(steps))


def _step(name: str) -> Schema:
    if name == RETRY:
        return _told(ref("moment"), "expected.retry")
    if name == STOP:
        return _told(_stop_reason(), "expected.stop")
    return _told({"enum": [True, ON]} if name in SWITCHES else text(), "expected.step")


def _told(schema: Schema, key: str) -> Schema:
    meaning, example = KEY_MEANINGS[key]
    return told(schema, meaning, example=example)
