"""Reads what steps of every kind have in common: a moment, one action, messages by channels, tasks, reasons."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from recoup_core.rules.language.actions.steps import LEAST_NOTICE, QuietSpec
from recoup_core.rules.language.actions.values import MAX_WAIT, ValueReader
from recoup_core.rules.language.errors import shown
from recoup_core.rules.language.yamltext import Map, Node, Scalar, Seq, as_list, as_map, as_text

MAX_CHANNELS: Final = 5
MAX_TASK_TEXT: Final = 200
MAX_REASON: Final = 200

_MAYBE_MISSPELT: Final = frozenset({"missing_key", "no_effect"})
"""What is not said of a step with a misspelt key: it may be the one that is missed."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")

Contradiction = tuple[str, str, str]
"""Key, code and message."""
_Reader = TypeVar("_Reader", bound="SpokenReader")


class SpokenReader(ValueReader):
    """Reads the parts of steps that people see."""

    def quiet(self, node: Node) -> QuietSpec | None:
        """Read why nothing is said."""
        reason = self._short(node, "`quiet`", MAX_REASON)
        return None if reason is None else QuietSpec(reason=reason)

    def after(self, node: Node) -> timedelta | None:
        """Read how long after its moment the step comes."""
        return self.duration(node, "`after`", MAX_WAIT)

    def ahead(self, node: Node) -> timedelta | None:
        """Read how long before its moment the step comes."""
        ahead = self.duration(node, "`ahead`", MAX_WAIT)
        if ahead is None or ahead >= LEAST_NOTICE:
            return ahead
        self.report.add(node, "bad_duration", "`ahead` is at least 1h; later than that a notice is left out")
        return None

    def by(self, node: Node) -> tuple[str, ...] | None:
        """Read the channels of a message: one, or a list."""
        items: tuple[Node, ...] | None = (node,)
        if isinstance(node, Seq):
            items = as_list(node, "`by`", self.report, most=MAX_CHANNELS)
        if items is None:
            return None
        channels = [self._name(item, "a channel") for item in items]
        for number, (item, channel) in enumerate(zip(items, channels, strict=True)):
            if channel is not None and channel in channels[:number]:
                self.report.add(item, "duplicate_value", f"{shown(channel)} stands twice in `by`")
        found = tuple(channel for channel in channels if channel is not None)
        return found if len(set(found)) == len(channels) else None

    def message(self, node: Node) -> str | None:
        """Read the name of a template."""
        return self._name(node, "a template")

    def task(self, node: Node) -> str | None:
        """Read what a person is asked to do."""
        return self._short(node, "`task`", MAX_TASK_TEXT)

    def _name(self, node: Node, what: str) -> str | None:
        text = as_text(node, what, self.report)
        if text is None or _NAME.fullmatch(text):
            return text
        hint = "lower-case letters, digits, - and _, at most 60"
        self.report.add(node, "bad_name", f"{shown(text)} can't be {what}'s name", hint)
        return None

    def _short(self, node: Node, what: str, most: int) -> str | None:
        if isinstance(node, Scalar) and node.plain and node.text in ("true", "false"):
            self.report.add(node, "wrong_type", f"{what} must be a text that people read, not true or false")
            return None
        text = as_text(node, what, self.report)
        if text is not None and len(text) > most:
            self.report.add(node, "too_many", f"{what} is longer than {most} characters")
            return None
        return text


def read_step(
    reader: _Reader,
    node: Node,
    what: str,
    known: Mapping[str, Callable[[_Reader, Node], Any]],
    contradictions: Callable[[Map, Mapping[str, Any]], Iterator[Contradiction]],
) -> dict[str, Any] | None:
    """Read the fields of one step by key; None where something is wrong with it, which is then told."""
    mapping = as_map(node, what, reader.report)
    if mapping is None:
        return None
    fields: dict[str, Any] = {}
    misspelt = False
    for key, value in mapping.entries:
        read = known.get(key.text)
        if read is None:
            hint = reader.report.suggest(key.text, tuple(known))
            reader.report.add(key, "unknown_key", f"{what} has no key {shown(key.text)}", hint)
            misspelt = True
            continue
        fields[key.text] = read(reader, value)
    found = contradictions(mapping, fields)
    problems = [each for each in found if not (misspelt and each[1] in _MAYBE_MISSPELT)]
    for at, code, message in problems:
        reader.report.add(mapping.get(at) or mapping, code, message)
    good = not misspelt and None not in fields.values()
    return fields if good and not problems else None


def usual_contradictions(keys: set[str], what: str, known: tuple[str, ...]) -> Iterator[Contradiction]:
    """Yield what a step lacks, has twice, or has without effect, whatever its moment; `known` are its actions."""
    actions = [name for name in known if name in keys]
    if not actions:
        yield "", "missing_key", f"{what} needs an action: {', '.join(f'`{name}`' for name in known)}"
    elif len(actions) > 1:
        both = " and ".join(f"`{name}`" for name in actions)
        yield actions[1], "two_actions", f"{what} has one action, not {both}; make a second {what.split()[-1]}"
    if "message" in keys and "by" not in keys:
        yield "message", "missing_key", "a message needs `by`: the channels it goes out by"
    if "by" in keys and "message" not in keys:
        yield "by", "no_effect", "`by` has no effect without `message`"
    if "zone" in keys and "between" not in keys:
        yield "zone", "no_effect", "`zone` has no effect without `between`"
