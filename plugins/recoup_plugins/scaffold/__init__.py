"""Writes the skeleton of a plugin: a distribution that works at once, with a provider made up for it, and its tests.

The templates are the skeleton of a plugin named `acme`, one file each. Lines between `#: refunds` and `#: end` are for
plugins that refund; those after `#: no refunds` for the others. A notifier has templates of its own, and shares what
is no gateway's.
"""

import keyword
import re
from collections.abc import Collection, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import ClassVar, Final

from recoup_core.domain.errors import DomainError

NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,15}")
OURS: Final = frozenset({"core", "plugins", "server", "cli", "workers"})
"""What would make a package `recoup_<name>` that is one of Recoup's own."""

_SUFFIX: Final = ".tmpl"
_REFUNDS_ONLY: Final = frozenset({"refunds.py"})
_SHARED: Final = ("pyproject.toml", "recoup_acme/py.typed", "tests/conftest.py")
"""Templates of the gateway's skeleton that a notifier's is made of, too."""


class CantWrite(DomainError):
    """A skeleton can't be written under that name, or there."""

    code: ClassVar[str] = "plugin_skeleton_refused"


def write_skeleton(
    name: str, into: Path, *, refunds: bool = True, notifier: bool = False, taken: Collection[str] = ()
) -> Path:
    """Write `into/recoup-<name>` and return it; raises `CantWrite` and leaves everything as it was.

    A gateway's, or with `notifier` that of one, to which `refunds` means nothing. `taken` are the kinds and plugins
    that are there already.
    """
    check_name(name, taken)
    target = into / f"recoup-{name.replace('_', '-')}"
    if target.exists():
        raise CantWrite(f"{target} exists already")
    try:
        for path, text in notifier_skeleton(name) if notifier else skeleton(name, refunds=refunds):
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as refused:
        raise CantWrite(f"{target} can't be written: {refused.strerror}") from None
    return target


def check_name(name: str, taken: Collection[str]) -> None:
    """Raise `CantWrite` where a plugin can't be named so."""
    if not NAME.fullmatch(name) or name.endswith("_") or "__" in name or keyword.iskeyword(name):
        raise CantWrite(f"{name!r} can't name a plugin: 2 to 16 small letters, digits and single underscores")
    if name in OURS:
        raise CantWrite(f"{name!r} can't name a plugin: recoup_{name} is a package of Recoup's own")
    if name in taken:
        raise CantWrite(f"{name!r} is taken by an installed plugin")


def skeleton(name: str, *, refunds: bool) -> Iterator[tuple[str, str]]:
    """Yield each file's path below the distribution's folder, and its text."""
    for path, text in _templates(files(__name__) / "templates", ""):
        if refunds or path.rpartition("/")[2] not in _REFUNDS_ONLY:
            yield _named(path, name), _named(_chosen(text, refunds=refunds), name)


def notifier_skeleton(name: str) -> Iterator[tuple[str, str]]:
    """As `skeleton`, of a plugin that sends messages."""
    shared = (one for one in _templates(files(__name__) / "templates", "") if one[0] in _SHARED)
    own = _templates(files(__name__) / "notifier_templates", "")
    for path, text in (*shared, *own):
        yield _named(path, name), _named(text, name)


def _templates(folder: Traversable, below: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _templates(entry, f"{below}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield f"{below}{entry.name.removesuffix(_SUFFIX)}", entry.read_text(encoding="utf-8")


def _chosen(text: str, *, refunds: bool) -> str:
    """Return the text with the lines for such plugins only, and without the marks."""
    lines: list[str] = []
    wanted = True
    for line in text.splitlines(keepends=True):
        mark = line.strip()
        if mark in ("#: refunds", "#: no refunds"):
            wanted = refunds == (mark == "#: refunds")
        elif mark == "#: end":
            wanted = True
        elif wanted:
            lines.append(line)
    return "".join(lines)


def _named(text: str, name: str) -> str:
    """Return the text of the plugin `acme` as that of another; its distribution's name takes no underscores."""
    words = "".join(word.capitalize() for word in name.split("_"))
    text = text.replace("recoup-acme", f"recoup-{name.replace('_', '-')}")
    text = text.replace("acme-", f"{name.replace('_', '-')}-").replace(
        "acme.example", f"{name.replace('_', '-')}.example"
    )
    return text.replace("acme", name).replace("Acme", words).replace("ACME", name.upper())
