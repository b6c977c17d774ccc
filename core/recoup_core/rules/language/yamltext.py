"""YAML as written: a tree of texts with places, without YAML's guesses about what a text might mean.

PyYAML only tokenises here. `no`, `on`, `NO`, `6:00` and `1_000` stay the texts they are, and the typed readers below
decide. Anchors, aliases, merge keys, tags, duplicate keys and invisible characters are refused.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec
import yaml

from recoup_core.domain.cardnumbers import holds_card_number
from recoup_core.domain.money import MAX_AMOUNT_MINOR
from recoup_core.rules.language.errors import Report, shown
from recoup_core.rules.language.written import as_number
from recoup_core.rules.language.yaml_faults import fault_of

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 24
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})
_MAX_SHOWN_ENTRY: Final = 40
"""Characters of an entry that a hint writes as a list."""


class Scalar(msgspec.Struct, frozen=True):
    """A text; `plain` when it was written without quotes."""

    line: int
    column: int
    text: str
    plain: bool


class Broken(msgspec.Struct, frozen=True):
    """Something already reported; readers pass over it in silence."""

    line: int
    column: int


class Seq(msgspec.Struct, frozen=True):
    """A list."""

    line: int
    column: int
    items: tuple["Node", ...]


class Map(msgspec.Struct, frozen=True):
    """A mapping in the order of the file; keys are unique."""

    line: int
    column: int
    entries: tuple[tuple[Scalar, "Node"], ...]

    def get(self, key: str) -> "Node | None":
        """Return the value under a key, if there is one."""
        return next((value for name, value in self.entries if name.text == key), None)


Node = Scalar | Seq | Map | Broken


class _Open:
    """A list or mapping still being read."""

    def __init__(self, event: Any) -> None:
        self.is_map = isinstance(event, yaml.MappingStartEvent)
        self.line, self.column = event.start_mark.line + 1, event.start_mark.column + 1
        self.key: Scalar | Broken | None = None
        self.items: list[Node] = []
        self.entries: dict[str, tuple[Scalar, Node]] = {}

    def closed(self) -> Node:
        if self.is_map:
            return Map(self.line, self.column, tuple(self.entries.values()))
        return Seq(self.line, self.column, tuple(self.items))


class _TooDeep(Exception):
    """Nested deeper than `MAX_DEPTH`; reading stops."""


class _Composer:
    """Builds the tree from PyYAML's events without recursion."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.stack: list[_Open] = []
        self.roots: list[Node] = []

    def feed(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            node = _broken(event)
            self.report.add(node, "alias", "aliases (*name) are not part of the policy language", "use `define`")
            self._value(node)
        elif isinstance(event, yaml.ScalarEvent):
            self._refuse_extras(event)
            self._value(self._scalar(event))
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._refuse_extras(event)
            self.stack.append(_Open(event))
            if len(self.stack) > MAX_DEPTH:
                self.report.add(_broken(event), "too_deep", f"nested deeper than {MAX_DEPTH} levels")
                raise _TooDeep
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._value(self.stack.pop().closed())

    def _refuse_extras(self, event: Any) -> None:
        if event.anchor is not None:
            self.report.add(
                _broken(event), "anchor", "anchors (&name) are not part of the policy language", "use `define`"
            )
        if event.tag is not None:
            self.report.add(_broken(event), "tag", "tags (!name) are not part of the policy language")

    def _scalar(self, event: Any) -> Scalar | Broken:
        node = Scalar(event.start_mark.line + 1, event.start_mark.column + 1, event.value, event.style is None)
        if event.style is not None and (bad := next(_invisible(event.value), None)) is not None:
            self.report.add(node, "control_character", f"the text holds the invisible character U+{ord(bad[1]):04X}")
        elif holds_card_number(event.value):
            self.report.add(node, "card_number", "this looks like a card number; no policy may hold one")
        else:
            return node
        return Broken(node.line, node.column)

    def _value(self, node: Node) -> None:
        if not self.stack:
            self.roots.append(node)
        elif not self.stack[-1].is_map:
            self.stack[-1].items.append(node)
        elif self.stack[-1].key is None:
            self.stack[-1].key = self._as_key(node)
        else:
            self._entry(self.stack[-1], node)

    def _as_key(self, node: Node) -> Scalar | Broken:
        if isinstance(node, (Seq, Map)):
            self.report.add(node, "key_not_text", "a key must be a word")
            return Broken(node.line, node.column)
        if isinstance(node, Scalar) and node.plain and node.text == "<<":
            self.report.add(node, "merge_key", "merge keys (<<) are not part of the policy language", "use `define`")
            return Broken(node.line, node.column)
        return node

    def _entry(self, top: _Open, node: Node) -> None:
        key, top.key = top.key, None
        if not isinstance(key, Scalar):
            return
        if key.text in top.entries:
            first = top.entries[key.text][0].line
            self.report.add(key, "duplicate_key", f"the key {shown(key.text)} is already on line {first}")
            return
        top.entries[key.text] = (key, node)


def _broken(event: Any) -> Broken:
    return Broken(event.start_mark.line + 1, event.start_mark.column + 1)


def _invisible(text: str) -> Iterator[tuple[int, str]]:
    """Yield control, format and surrogate characters: what a reader can't see, or sees in another order."""
    for index, char in enumerate(text):
        if char not in "\n\r\t" and not 31 < ord(char) < 127 and unicodedata.category(char) in _UNSEEN:
            yield index, char


_MAX_INVISIBLE: Final = 20
"""More invisible characters than this are not listed one by one."""

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _refuse_invisible(text: str, report: Report) -> bool:
    found = False
    for index, char in islice(_invisible(text), _MAX_INVISIBLE):
        found = True
        before = text[:index]
        place = Broken(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)
        report.add(place, "control_character", f"the file holds the invisible character U+{ord(char):04X}")
    return found


def read_tree(text: str, report: Report) -> Node | None:
    """Return the tree of the one document in `text`, or None when it can't be read; problems go to the report."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        report.add(None, "too_large", f"the file is larger than {MAX_BYTES // 1024} KiB")
        return None
    if _refuse_invisible(text, report):
        return None
    composer = _Composer(report)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            composer.feed(event)
    except _TooDeep:
        return None
    except yaml.MarkedYAMLError as error:
        fault = fault_of(error, text)
        place = Broken(fault.mark.line + 1, fault.mark.column + 1) if fault.mark else None
        report.add(place, "yaml", f"this is not YAML: {fault.message}", fault.hint)
        return None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML lets chr() and int() errors through
        report.add(None, "yaml", f"this is not YAML: {type(error).__name__}")
        return None
    return _only_document(composer.roots, report)


def _only_document(roots: list[Node], report: Report) -> Node | None:
    if not roots or (isinstance(roots[0], Scalar) and roots[0].plain and roots[0].text == ""):
        kinds = "`kind: retry`, `dunning`, `notice` or `refund`"
        hint = f"start with {kinds}; policies/README.md has a whole policy to begin with"
        report.add(None, "empty", "the file is empty", hint)
        return None
    if len(roots) > 1:
        report.add(roots[1], "second_document", "a file holds one policy; a second document starts here")
    return roots[0]


def is_nothing(node: Node) -> bool:
    """Say whether YAML itself takes this for no value at all: nothing, `~` or `null` without quotes."""
    return isinstance(node, Scalar) and node.plain and node.text in _NOTHING


def kind_of(node: Node) -> str:
    """Name what was written, for messages."""
    if isinstance(node, Scalar):
        return "nothing" if is_nothing(node) else f"the text {shown(node.text)}"
    return "a list" if isinstance(node, Seq) else "a mapping"


def as_map(node: Node, what: str, report: Report, hint: str | None = None) -> Map | None:
    """Return the node as a mapping, or report that it is none; `hint` shows how one is written here."""
    if isinstance(node, Map):
        return node
    if not isinstance(node, Broken):
        report.add(node, "wrong_type", f"{what} must be a mapping (key: value), not {kind_of(node)}", hint)
    return None


def as_list(node: Node, what: str, report: Report, *, most: int) -> tuple[Node, ...] | None:
    """Return the items of a list that is neither empty nor longer than `most`."""
    if isinstance(node, Broken):
        return None
    if not isinstance(node, Seq):
        report.add(node, "wrong_type", f"{what} must be a list, not {kind_of(node)}", _as_a_list(node))
    elif not node.items:
        report.add(node, "empty_list", f"{what} is empty")
    elif len(node.items) > most:
        report.add(node, "too_many", f"{what} has {len(node.items)} entries; at most {most} are allowed")
    else:
        return node.items
    return None


def _as_a_list(node: Scalar | Map) -> str | None:
    """Show how something would be written as a list."""
    if isinstance(node, Map):
        return "begin each entry with a hyphen and a blank"
    return None if is_nothing(node) or len(node.text) > _MAX_SHOWN_ENTRY else f"write [{node.text}]"


def as_text(node: Node, what: str, report: Report) -> str | None:
    """Return a text that is not empty; quotes make no difference."""
    if isinstance(node, Scalar) and node.text.strip() and not is_nothing(node):
        return node.text
    if not isinstance(node, Broken):
        report.add(node, "wrong_type", f"{what} must be a text, not {kind_of(node)}")
    return None


def as_bool(node: Node, what: str, report: Report) -> bool | None:
    """Return true or false; YAML 1.1's `yes`, `no`, `on` and `off` are texts here."""
    if isinstance(node, Scalar) and node.plain and node.text in ("true", "false"):
        return node.text == "true"
    if not isinstance(node, Broken):
        hint = "write true or false, without quotes" if isinstance(node, Scalar) else None
        report.add(node, "wrong_type", f"{what} must be true or false, not {kind_of(node)}", hint)
    return None


def as_int(node: Node, what: str, report: Report) -> int | None:
    """Return a plain decimal whole number within +-(2^53 - 1)."""
    if isinstance(node, Scalar) and node.plain and _INTEGER.fullmatch(node.text):
        number = int(node.text)
        if abs(number) <= MAX_AMOUNT_MINOR:
            return number
        report.add(node, "out_of_range", f"{what} is beyond what can be compared exactly ({MAX_AMOUNT_MINOR})")
    elif not isinstance(node, Broken):
        hint = as_number(node.text) if isinstance(node, Scalar) else None
        report.add(node, "wrong_type", f"{what} must be a whole number, not {kind_of(node)}", hint)
    return None
