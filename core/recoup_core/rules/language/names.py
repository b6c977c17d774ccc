"""`kind: names`: the words that an installation knows and policies may refer to, listed in a file beside them."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from recoup_core.rules.language.errors import Problem, Report, shown
from recoup_core.rules.language.yamltext import Map, Node, as_list, as_map, as_text, read_tree

KIND: Final = "names"
MAX_NAMES: Final = 1_000
"""Names in one list."""

LISTS: Final = ("roles", "templates", "channels", "gateways", "plans")
_OTHER_KEYS: Final = ("kind", "note")

KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "roles": ("agent", "support_lead", "finance", "finance_director", "operator", "admin"),
    "templates": (
        "card_expiring",
        "card_expiring_2",
        "debit_notice",
        "debit_prenotification",
        "final_notice",
        "last_reminder",
        "payment_failed",
        "payment_received",
        "reminder",
        "reminder_2",
        "upcoming_charge",
        "upcoming_renewal",
        "update_payment_method",
        "update_reminder",
        "update_reminder_2",
    ),
    "channels": ("email", "sms", "chat", "webhook", "letter"),
    "gateways": ("sandbox", "stripe", "adyen"),
}
"""What counts where no file lists them. Plans are the merchant's own: without a list, any will do."""

_IS_NAMES: Final = re.compile(r"^kind[ \t]*:[ \t]*[\"']?names[\"']?[ \t]*(#.*)?$", re.MULTILINE)
_WORD: Final = re.compile(r"[^\"\\*\x00-\x1f\x7f][^\"\\\x00-\x1f\x7f]{0,63}")


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """Which words may be referred to."""

    listed: Mapping[str, tuple[str, ...]] = {}
    """Per list of `LISTS` what a names file says; a list that it doesn't have is not declared."""
    source: str = ""
    """The file, for messages."""
    templates: tuple[str, ...] = ()
    """Templates that the installation has besides those that come with Recoup."""

    def words(self, what: str) -> tuple[str, ...] | None:
        """Return the words of a list: the declared ones, else those that come with Recoup, else None: any will do."""
        if what in self.listed:
            return self.listed[what]
        own = self.templates if what == "templates" else ()
        return (*KNOWN[what], *own) if what in KNOWN else None

    def declared(self, what: str) -> bool:
        """Return whether a file lists these."""
        return what in self.listed


def is_names(text: str) -> bool:
    """Return whether a file says that it is one of names, and so no policy."""
    return _IS_NAMES.search(text) is not None


def read_names(text: str, *, source: str) -> tuple[Names | None, tuple[Problem, ...]]:
    """Read a file of names; None where something is wrong with it."""
    report = Report(source)
    tree = read_tree(text, report)
    root = None if tree is None else as_map(tree, "a names file", report)
    listed: dict[str, tuple[str, ...]] = {}
    for key, value in root.entries if root is not None else ():
        if key.text in LISTS:
            listed[key.text] = _words(key.text, value, report)
        elif key.text not in _OTHER_KEYS:
            hint = report.suggest(key.text, (*_OTHER_KEYS, *LISTS))
            report.add(key, "unknown_key", f"a names file has no key {shown(key.text)}", hint)
    _rest(root, report)
    return (None if report.problems else Names(listed=listed, source=source)), report.problems


def _rest(root: Map | None, report: Report) -> None:
    """Check what a names file has besides its lists."""
    if root is None:
        return
    for key in _OTHER_KEYS:
        node = root.get(key)
        if node is not None:
            as_text(node, f"`{key}`", report)
    if all(key.text in _OTHER_KEYS for key, _ in root.entries):
        report.add(root, "missing_key", f"a names file needs a list: {', '.join(LISTS)}")


def _words(what: str, node: Node, report: Report) -> tuple[str, ...]:
    items = as_list(node, f"`{what}`", report, most=MAX_NAMES)
    words: dict[str, int] = {}
    for item in items or ():
        word = as_text(item, f"a name in `{what}`", report)
        if word is None:
            continue
        if not _WORD.fullmatch(word):
            hint = "up to 64 characters without quotes, backslashes or a leading *"
            report.add(item, "bad_name", f"{shown(word)} can't be a name", hint)
        elif word in words:
            report.add(item, "duplicate_value", f"{shown(word)} stands twice in the list, first on line {words[word]}")
        words.setdefault(word, item.line)
    return tuple(words)
