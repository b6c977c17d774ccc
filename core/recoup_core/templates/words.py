"""What all templates of a language share: greetings, reasons, labels, the foot (`_words/<language>.toml`)."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.payment import Method

TEXTS: Final[Mapping[str, frozenset[str]]] = {
    "greeting": frozenset({"name"}),
    "greeting_nobody": frozenset(),
    "signature": frozenset({"brand"}),
    "labels.reference": frozenset(),
    "labels.plan": frozenset(),
    "labels.amount": frozenset(),
    "labels.method": frozenset(),
    "labels.next_retry": frozenset(),
    "labels.charge_at": frozenset(),
    "changes.pause": frozenset({"day"}),
    "changes.downgrade": frozenset({"day", "plan"}),
    "changes.downgrade_to_less": frozenset({"day"}),
    "changes.cancel": frozenset({"day"}),
    "foot.questions": frozenset({"contact"}),
    "foot.or": frozenset(),
    "foot.unsubscribe": frozenset(),
    **{f"reasons.{category.value}": frozenset() for category in DeclineCategory},
    **{f"methods.{method.value}": frozenset() for method in Method},
}
"""Each text by its place in the file, with the placeholders that it may hold."""

NEEDED: Final[Mapping[str, frozenset[str]]] = {
    "greeting": frozenset({"name"}),
    "signature": frozenset({"brand"}),
    "changes.pause": frozenset({"day"}),
    "changes.downgrade": frozenset({"day", "plan"}),
    "changes.downgrade_to_less": frozenset({"day"}),
    "changes.cancel": frozenset({"day"}),
    "foot.questions": frozenset({"contact"}),
}
"""Placeholders without which a text would not say what it is for."""

MAX_TEXT: Final = 400

_PLACEHOLDER: Final = re.compile(r"\{([a-z_]*)\}")
_PLACE: Final = re.compile(r"\(at line (\d+), column (\d+)\)")


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a file of words."""

    line: int
    column: int
    code: str
    message: str
    word: str | None = None
    """The name that is not known."""


class Words:
    """The texts of one language."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def missing(self) -> list[str]:
        """Return the places of the texts that are not there."""
        return [place for place in TEXTS if place not in self._texts]

    def say(self, place: str, **values: str) -> str:
        """Return a text with its placeholders filled; what fills them is never looked through for more of them."""
        return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), self._texts[place])


def read_words(text: str) -> tuple[dict[str, str], list[Fault]]:
    """Return the texts of a file by their places, and what is wrong with it."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        line, column = (int(place[1]), int(place[2])) if place else (max(1, text.count("\n")), 1)
        return {}, [
            Fault(line, column, "template_words", f"the file is not TOML: {_PLACE.sub('', str(error)).strip()}")
        ]
    found: dict[str, str] = {}
    faults: list[Fault] = []
    for key, value in _leaves(tree, ""):
        line, column = _where(text, key.rpartition(".")[2])
        fault = _fault(key, value)
        if fault is not None:
            faults.append(Fault(line, column, *fault))
        else:
            found[key] = value.strip()
    return found, faults


def _fault(place: str, value: Any) -> tuple[str, str, str | None] | None:
    if place not in TEXTS:
        return "template_words", f"there is no text {place!r}", place
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        return "template_words", f"{place} must be a text of 1 to {MAX_TEXT} characters", None
    held = set(_PLACEHOLDER.findall(value))
    if held - TEXTS[place]:
        return "template_words", f"{place} can't say {{{min(held - TEXTS[place])}}}", None
    lost = NEEDED.get(place, frozenset()) - held
    return ("template_words", f"{place} must say {{{min(lost)}}}", None) if lost else None


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _where(text: str, key: str) -> tuple[int, int]:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number, len(line) - len(line.lstrip()) + 1
    return 1, 1
