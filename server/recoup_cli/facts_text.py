"""Facts as people type them: `decline_code=insufficient_funds amount="49.00 EUR"`, or a JSON file of the same names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from recoup_cli.refusals import MISUSED, Refused
from recoup_core.rules.facts import AnyFacts, Vocabulary
from recoup_core.rules.language.given import FactsInvalid, facts_given

MAX_FILE_BYTES: Final = 256 * 1024


def read_facts(given: Sequence[str], vocabulary: Vocabulary, baseline: AnyFacts) -> AnyFacts:
    """Return the baseline with what is given: `name=value` or names of JSON files, the later ones over the earlier.

    Raises `Refused` with every mistake.
    """
    try:
        return facts_given(given_values(given, vocabulary), vocabulary, baseline)
    except FactsInvalid as refusal:
        first, *others = refusal.problems
        hint = "\n  ".join([first.hint, *map(str, others)])
        raise Refused(first.message, hint, code=MISUSED) from None


def given_values(given: Sequence[str], vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what was typed or stands in the files, by dotted name and not looked at yet. Raises `Refused`."""
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        values.update({name.strip(): value.strip()} if equals else _flat(_read_json(Path(text)), vocabulary))
    return values


def _flat(values: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """Return dotted names, so that a fact on the command line replaces one of a group in a file."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = name in vocabulary.groups and isinstance(value, Mapping)
        flat.update({f"{name}.{inner}": each for inner, each in value.items()} if nested else {name: value})
    return flat


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise Refused(f"{path} is larger than {MAX_FILE_BYTES // 1024} KiB", code=MISUSED)
        return msgspec.json.decode(raw, type=dict[str, Any])
    except OSError as error:
        raise Refused(
            f"{path}: {error.strerror}", "facts are given as name=value, or as the name of a JSON file", code=MISUSED
        ) from None
    except msgspec.MsgspecError as error:
        raise Refused(f"{path}: {error}", 'write an object like {"attempt": 2}', code=MISUSED) from None
