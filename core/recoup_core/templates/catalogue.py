"""The templates of an installation: those that come with Recoup, and its own before them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from babel import Locale
from jinja2 import TemplateError
from markupsafe import Markup, escape

from recoup_core.domain.errors import DomainError
from recoup_core.rules.language.errors import Problem
from recoup_core.templates import pieces
from recoup_core.templates.clean import as_sms, as_subject, one_line
from recoup_core.templates.engine import Environment, Telling
from recoup_core.templates.formats import is_right_to_left, locale_of
from recoup_core.templates.source import LAYOUT, File, narrowing, read_folder
from recoup_core.templates.variables import MessageData
from recoup_core.templates.words import Words, read_words

LAST_RESORT: Final = "en"

MAX_HTML: Final = 100_000
"""Characters of an HTML part; Gmail cuts a mail off at 102 KB."""

NEEDS: Final[Mapping[str, frozenset[str]]] = {"email": frozenset({"subject", "text"}), "sms": frozenset({"text"})}
"""The parts without which a language can't serve a channel; an SMS without words of its own is made of the subject."""

_NEEDED: Final = frozenset({"text"})


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """What a message says, word for word."""

    template: str
    locale: str
    """The language it came out in, after falling back."""
    subject: str | None = None
    text: str
    html: str | None = None


class UnknownTemplate(DomainError):
    """No template has this name."""

    code = "unknown_template"

    def __init__(self, name: str) -> None:
        super().__init__(f"no template is named {name!r}")
        self.name = name


class TemplateFailed(DomainError):
    """A template can't say this message: it speaks of what the message doesn't have, or comes out too long."""

    code = "template_failed"

    def __init__(self, name: str, locale: str, reason: str) -> None:
        super().__init__(f"template {name!r} ({locale}) can't be put into words: {reason}")
        self.name, self.locale = name, locale


class Catalogue:
    """Templates by name; made once per process. A template is compiled when it is first used."""

    def __init__(self, files: Mapping[str, File] | None = None, locale: str = LAST_RESORT) -> None:
        self.files = dict(files or {})
        self.locale = locale
        self._texts = Environment(_of(self.files, "subject", "text", "sms"), html=False)
        self._htmls = Environment(_of(self.files, "html", "layout"), html=True)
        self._words = _words(self.files)
        self._locales = _locales(self.files)

    @classmethod
    def load(cls, *folders: Path, locale: str = LAST_RESORT) -> Self:
        """Read folders of templates, each laid over those before; `locale`: where no other language is asked for.

        What is wrong with them is found by `checking.check`; what can't be read is left out here.
        """
        files: dict[str, File] = {}
        unread: list[Problem] = []
        for folder in folders:
            files.update(read_folder(folder, unread))
        return cls(files, locale)

    @property
    def names(self) -> tuple[str, ...]:
        """The templates there are, sorted."""
        return tuple(sorted(self._locales))

    def locales(self, name: str) -> tuple[str, ...]:
        """Return the languages a template has words in, sorted; raises `UnknownTemplate`."""
        if name not in self._locales:
            raise UnknownTemplate(name)
        return tuple(sorted(tag for tag, parts in self._locales[name].items() if "text" in parts))

    def words(self, tag: str) -> Words | None:
        """Return the shared words of a language: those of the country before those of the language."""
        texts: dict[str, str] = {}
        for each in reversed(narrowing(tag)):
            texts.update(self._words.get(each, {}))
        words = Words(texts)
        return words if texts and not words.missing() else None

    def render(self, name: str, channel: str, locale: str, data: MessageData) -> Rendered:
        """Return what the message says in that language, or the nearest one there is.

        Raises `UnknownTemplate`, and `TemplateFailed` where the template speaks of what `data` doesn't have.
        """
        chosen = self._choose(name, channel, locale, data.brand.locale)
        telling = Telling(data=data, words=chosen.words, locale=chosen.formats)
        try:
            return self._rendered(name, channel, chosen, telling)
        except (TemplateError, ArithmeticError, TypeError, AttributeError, KeyError, ValueError) as error:
            # a template or words of an own folder; what it says of the data stays out of the message
            raise TemplateFailed(name, chosen.tag, type(error).__name__) from error

    def _rendered(self, name: str, channel: str, chosen: "_Chosen", telling: Telling) -> Rendered:
        context = telling.context()
        subject = self._line(chosen, "subject", context)
        if channel == "sms":
            own = self._line(chosen, "sms", context)
            text = own or f"{subject or telling.data.brand.name} {telling.data.update_url or ''}"
            return Rendered(template=name, locale=chosen.tag, text=as_sms(text))
        subject = as_subject(subject) if subject else None
        said = pieces.blocks(self._texts.get_template(chosen.parts["text"]).render(context))
        if channel != "email":
            return Rendered(template=name, locale=chosen.tag, subject=subject, text=pieces.as_text(said))
        html = self._html(chosen, telling, subject or telling.data.brand.name, said, context)
        if len(html) > MAX_HTML:
            raise TemplateFailed(name, chosen.tag, f"the HTML part is longer than {MAX_HTML} characters")
        text = pieces.as_text([*said, pieces.Lines(_foot(telling))])
        return Rendered(template=name, locale=chosen.tag, subject=subject, text=text, html=html)

    def _line(self, chosen: "_Chosen", part: str, context: Mapping[str, Any]) -> str | None:
        key = chosen.parts.get(part)
        return None if key is None else self._texts.get_template(key).render(context).strip()

    def _html(
        self, chosen: "_Chosen", telling: Telling, subject: str, said: Sequence[pieces.Block], context: dict[str, Any]
    ) -> str:
        colour, on_it, edge = telling.colours()
        frame = {
            "lang": str(telling.locale).replace("_", "-"),
            "dir": "rtl" if is_right_to_left(telling.locale) else "ltr",
            "subject": subject,
            "preheader": pieces.preheader(said),
            "body": pieces.as_html(said, (colour, on_it, edge)),
            "button_colour": colour,
            "button_text_colour": on_it,
            "button_edge": edge,
            "unsubscribe": telling.words.say("foot.unsubscribe"),
            "questions": _questions(telling),
            "address": _address(telling),
        }
        template = self._htmls.get_template(chosen.parts.get("html", LAYOUT))
        return template.render({**context, **frame})

    def _choose(self, name: str, channel: str, *wanted: str | None) -> "_Chosen":
        if name not in self._locales:
            raise UnknownTemplate(name)
        needed = NEEDS.get(channel, _NEEDED)
        for tag in (*wanted, self.locale, LAST_RESORT, *sorted(self._locales[name])):
            if tag and (chosen := self._in_language(name, tag, needed)) is not None:
                return chosen
        raise TemplateFailed(name, wanted[0] or self.locale, f"no language has its {' and '.join(sorted(needed))}")

    def _in_language(self, name: str, tag: str, needed: frozenset[str]) -> "_Chosen | None":
        """Return the parts in one language: each from the narrowest file there is; never two languages in a message."""
        parts: dict[str, str] = {}
        used = ""
        for each in narrowing(tag):
            there = self._locales[name].get(each, {})
            for part, key in there.items():
                parts.setdefault(part, key)
            used = used or (each if there else "")
        words, formats = self.words(tag), next((found for each in narrowing(tag) if (found := locale_of(each))), None)
        if words is None or formats is None or not needed <= parts.keys():
            return None
        return _Chosen(tag=used, parts=parts, words=words, formats=formats)


class _Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The language that a message is written in."""

    tag: str
    parts: Mapping[str, str]
    words: Words
    formats: Locale
    """How numbers and dates are written: by the country that was asked for, also where the words are the language's."""


def _of(files: Mapping[str, File], *parts: str) -> dict[str, str]:
    return {key: file.text for key, file in files.items() if file.part in parts}


def _words(files: Mapping[str, File]) -> dict[str, dict[str, str]]:
    return {file.locale: read_words(file.text)[0] for file in files.values() if file.part == "words" and file.locale}


def _locales(files: Mapping[str, File]) -> dict[str, dict[str, dict[str, str]]]:
    found: dict[str, dict[str, dict[str, str]]] = {}
    for key, file in files.items():
        if file.template is not None and file.locale is not None:
            found.setdefault(file.template, {}).setdefault(file.locale, {})[file.part] = key
    return found


def _contacts(telling: Telling) -> Iterator[tuple[str, str]]:
    """Yield where the customer can ask, as (shown, address)."""
    brand = telling.data.brand
    if brand.support_email:
        yield brand.support_email, f"mailto:{brand.support_email}"
    if brand.support_url:
        yield brand.support_url.partition("://")[2].rstrip("/"), brand.support_url


def _questions(telling: Telling) -> Markup:
    links = [
        Markup('<a href="{}" class="quiet" style="color:#595959;">{}</a>').format(url, shown)
        for shown, url in _contacts(telling)
    ]
    if not links:
        return Markup("")
    either = Markup(" {} ").format(telling.words.say("foot.or")).join(links)
    before, _, after = telling.words.say("foot.questions", contact="\0").partition("\0")
    return escape(before) + either + escape(after)


def _address(telling: Telling) -> Markup:
    brand = telling.data.brand
    given = [line for line in (brand.postal_address or "").splitlines() if line.strip()]
    return Markup("<br>").join(one_line(line) for line in (brand.name, *given))


def _foot(telling: Telling) -> tuple[str, ...]:
    """Return the lines below the text part; the first is the mark by which mail programs know them."""
    brand, words = telling.data.brand, telling.words
    lines = ["-- ", brand.name, *(line for line in (brand.postal_address or "").splitlines() if line.strip())]
    contacts = [shown if url.startswith("mailto:") else url for shown, url in _contacts(telling)]
    if contacts:
        lines.append(words.say("foot.questions", contact=f" {words.say('foot.or')} ".join(contacts)))
    if telling.data.unsubscribe_url:
        lines.append(f"{words.say('foot.unsubscribe')}: {telling.data.unsubscribe_url}")
    return (lines[0], *map(one_line, lines[1:]))
