"""Folders of templates: which files are there and what each is, the installation's own laid over those that come along.

    <template>/<language>.subject.txt   the subject line of a mail
    <template>/<language>.txt           the words: the text part, and the HTML part unless there is one
    <template>/<language>.html          the HTML part, made by hand
    <template>/<language>.sms.txt       the words of an SMS
    _words/<language>.toml              what all templates of a language share
    _layout.html                        the frame of HTML parts

A file takes the place of the one with the same name in the folders before.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from recoup_core.rules.language.errors import Problem
from recoup_core.templates.formats import locale_of

MAX_BYTES: Final = 32 * 1024
"""Of one file; with everything filled in, a mail stays below the 102 KB where Gmail cuts it off."""

MAX_FILES: Final = 5_000
LAYOUT: Final = "_layout.html"
WORDS: Final = "_words"

_TAG: Final = r"[a-z]{2,3}(?:-[A-Z][a-z]{3})?(?:-(?:[A-Z]{2}|[0-9]{3}))?"
_PART: Final = re.compile(rf"([a-z][a-z0-9_]{{0,63}})/({_TAG})\.(subject\.txt|sms\.txt|txt|html)")
_WORDS: Final = re.compile(rf"{WORDS}/({_TAG})\.toml")
_PARTS: Final = {"subject.txt": "subject", "sms.txt": "sms", "txt": "text", "html": "html"}


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of templates."""

    key: str
    """Its path inside the folder, which names it in all folders."""
    shown: str
    """What problems call it."""
    text: str
    part: str
    """`subject`, `text`, `html`, `sms`, `layout` or `words`."""
    template: str | None = None
    locale: str | None = None


def read_folder(folder: Path, problems: list[Problem]) -> dict[str, File]:
    """Return the files of a folder by their keys; what is no template, or can't be read, is a problem."""
    files: dict[str, File] = {}
    for path in _paths(folder, problems):
        key = path.relative_to(folder).as_posix()
        what = _what(key)
        if what is None:
            if path.suffix in (".txt", ".html", ".toml"):
                hint = "files are called <template>/<language>.txt, .subject.txt, .html or .sms.txt"
                problems.append(_problem(path, "template_file_name", f"{key} is no name of a template's file", hint))
            continue
        text = _text(path, problems)
        if text is not None:
            part, template, locale = what
            files[key] = File(key=key, shown=str(path), text=text, part=part, template=template, locale=locale)
    return files


def _paths(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(paths) > MAX_FILES:
        problems.append(_problem(folder, "too_many", f"there are more than {MAX_FILES} files"))
    yield from paths[:MAX_FILES]


def _what(key: str) -> tuple[str, str | None, str | None] | None:
    if key == LAYOUT:
        return "layout", None, None
    if (found := _WORDS.fullmatch(key)) is not None:
        return ("words", None, found[1]) if locale_of(found[1]) else None
    found = _PART.fullmatch(key)
    return (_PARTS[found[3]], found[1], found[2]) if found and locale_of(found[2]) else None


def _text(path: Path, problems: list[Problem]) -> str | None:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        problems.append(_problem(path, "unreadable", f"the file can't be read: {error.strerror}"))
        return None
    if len(raw) > MAX_BYTES:
        problems.append(_problem(path, "template_too_long", f"the file is larger than {MAX_BYTES // 1024} KiB"))
        return None
    try:
        return raw.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        problems.append(_problem(path, "not_utf8", "the file is not UTF-8", None, line))
        return None


def _problem(path: Path, code: str, message: str, hint: str | None = None, line: int = 1) -> Problem:
    return Problem(file=str(path), line=line, column=1, code=code, message=message, hint=hint)


def language(tag: str) -> str:
    """Return the language of a tag: `de` of `de-AT`."""
    return tag.partition("-")[0]


def narrowing(tag: str) -> list[str]:
    """Return a tag and what it falls back to inside its language: `zh-Hant-TW`, `zh-Hant`, `zh`."""
    parts = tag.split("-")
    return ["-".join(parts[:end]) for end in range(len(parts), 0, -1)]
