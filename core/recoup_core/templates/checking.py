"""Everything that is wrong or doubtful with a folder of templates, found before a customer finds it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.rules.language.actions.steps import Message, StepsSpec
from recoup_core.rules.language.errors import PolicyInvalid, Problem, Report, Severity, shown
from recoup_core.rules.language.schema import Policy
from recoup_core.templates.catalogue import LAST_RESORT, Catalogue
from recoup_core.templates.engine import Environment
from recoup_core.templates.grammar import Reading, Used
from recoup_core.templates.samples import sample
from recoup_core.templates.source import File, language, narrowing, read_folder
from recoup_core.templates.words import TEXTS, read_words

LONG_SUBJECT: Final = 78
"""Characters of a subject with ordinary data; mail headers are folded beyond (RFC 5322, 2.1.1), and nobody reads on."""

_NO_LINK: Final = re.compile(r"\{#-?\s*no-link\b")
_FOR: Final = {"dunning": "debt", "notice": "upcoming"}
"""What the messages of a kind of policy are about."""


class TemplatesInvalid(PolicyInvalid):
    """A folder of templates is refused; `problems` holds everything found in one pass."""

    code = "templates_invalid"


class CheckedTemplates(msgspec.Struct, frozen=True, kw_only=True):
    """One folder of templates, laid over others, and what was found in it."""

    catalogue: Catalogue
    files: Mapping[str, File]
    """Those of the folder itself."""
    used: Mapping[str, Used]
    """What each of them speaks of."""
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What keeps the folder from being used."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)


def load_templates(shipped: Path, own: Path | None, locale: str = LAST_RESORT) -> Catalogue:
    """Return the templates of an installation; raises `TemplatesInvalid` where its own folder has errors."""
    if own is None:
        return Catalogue.load(shipped, locale=locale)
    checked = check_folder(own, shipped, locale=locale)
    if checked.errors:
        raise TemplatesInvalid(checked.problems)
    return checked.catalogue


def check_folder(folder: Path, *below: Path, locale: str = LAST_RESORT) -> CheckedTemplates:
    """Check a folder as it stands over the folders `below` it, which count as right."""
    problems: list[Problem] = []
    files = read_folder(folder, problems)
    under: dict[str, File] = {}
    for each in below:
        if each.resolve() != folder.resolve():
            under.update(read_folder(each, []))
    catalogue = Catalogue({**under, **files}, locale)
    used = _read_each(files, problems)
    if not any(problem.severity is Severity.ERROR for problem in problems):
        problems += [*_links(files, used), *_parts(files, catalogue), *_languages(files, catalogue)]
        problems += _rendered(files, catalogue, needs_of(catalogue))
    ordered = sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
    return CheckedTemplates(catalogue=catalogue, files=files, used=used, problems=tuple(ordered))


def needs_of(catalogue: Catalogue) -> dict[str, str]:
    """Return what each template speaks of without asking, `debt` or `upcoming`; those not listed fit both."""
    environments = _environments()
    found: dict[str, str] = {}
    for file in catalogue.files.values():
        if file.template is not None and file.template not in found:
            reading = Reading(file.shown, file.text, file.part)
            reading.problems(environments[file.part == "html"])
            if reading.used.needs:
                found[file.template] = min(reading.used.needs)
    return found


def _environments() -> dict[bool, Environment]:
    return {html: Environment({}, html=html) for html in (False, True)}


def _read_each(files: Mapping[str, File], problems: list[Problem]) -> dict[str, Used]:
    environments = _environments()
    used: dict[str, Used] = {}
    for key, file in files.items():
        if file.part == "words":
            problems.extend(_word_problems(file))
            continue
        reading = Reading(file.shown, file.text, file.part)
        problems.extend(reading.problems(environments[file.part in ("html", "layout")]))
        used[key] = reading.used
        if not file.text.strip():
            problems.append(_problem(file, "empty", "the file holds nothing"))
        lines = [number for number, line in enumerate(file.text.splitlines(), 1) if line.strip()]
        if file.part == "subject" and len(lines) > 1:
            message = "a subject is one line"
            problems.append(_problem(file, "template_long_subject", message, line=lines[1]))
    return used


def _word_problems(file: File) -> Iterator[Problem]:
    near = Report(file.shown)
    for fault in read_words(file.text)[1]:
        hint = near.suggest(fault.word, list(TEXTS)) if fault.word else None
        yield Problem(
            file=file.shown, line=fault.line, column=fault.column, code=fault.code, message=fault.message, hint=hint
        )


def _links(files: Mapping[str, File], used: Mapping[str, Used]) -> Iterator[Problem]:
    """Yield parts without the links that customers need: to pay, and to be left alone."""
    for key, file in files.items():
        if file.part == "words":
            continue
        spoken = used[key]
        if file.part in ("text", "sms") and "update_url" not in spoken.paths and not _NO_LINK.search(file.text):
            hint = 'add {{ button("...", update_url) }}' if file.part == "text" else "add {{ update_url }}"
            hint += ", or say {# no-link: why #}"
            yield _problem(file, "template_no_update_link", "nothing leads the customer to the page to pay", hint)
        whole = file.part == "layout" or (file.part == "html" and (not spoken.extends or "foot" in spoken.blocks))
        if whole and "unsubscribe_url" not in spoken.paths:
            hint = "add a link to {{ unsubscribe_url }}"
            yield _problem(file, "template_no_unsubscribe_link", "nothing takes the reader off the list", hint)
        own_body = file.part == "html" and (not spoken.extends or "content" in spoken.blocks)
        says = {"update_url", "body"} & spoken.paths
        if own_body and not says and not _NO_LINK.search(file.text):
            hint = 'add {{ button("...", update_url) }}, or say {# no-link: why #}'
            yield _problem(file, "template_no_update_link", "nothing leads the customer to the page to pay", hint)


def _parts(files: Mapping[str, File], catalogue: Catalogue) -> Iterator[Problem]:
    """Yield languages that can't serve a mail: no text beside the HTML, no subject, no shared words."""
    for template, tags in _tags(files).items():
        for tag, file in tags.items():
            there = {
                each.part
                for key, each in catalogue.files.items()
                if each.template == template and each.locale in narrowing(tag)
            }
            for part, name in (("text", f"{tag}.txt"), ("subject", f"{tag}.subject.txt")):
                if part not in there:
                    message = f"{template} has no {part} in {tag}"
                    yield _problem(file, "template_missing_part", message, f"write {template}/{name}")
    for tag, file in sorted({tag: file for tags in _tags(files).values() for tag, file in tags.items()}.items()):
        if catalogue.words(tag) is None:
            hint = f"copy _words/en.toml to _words/{language(tag)}.toml and translate it"
            yield _problem(file, "template_words", f"the words that templates share are missing in {tag}", hint)


def _tags(files: Mapping[str, File]) -> dict[str, dict[str, File]]:
    found: dict[str, dict[str, File]] = {}
    for file in files.values():
        if file.template is not None and file.locale is not None:
            found.setdefault(file.template, {}).setdefault(file.locale, file)
    return found


def _languages(files: Mapping[str, File], catalogue: Catalogue) -> Iterator[Problem]:
    """Yield templates of the folder that lack a language which others of it have."""
    tags = _tags(files)
    spoken = {language(tag) for of in tags.values() for tag in of}
    for template, of in sorted(tags.items()):
        known = {language(tag) for tag in catalogue.locales(template)}
        for lacking in sorted(spoken - known):
            message = f"{template} is not written in {lacking}, as others are"
            hint = f"write {template}/{lacking}.txt and {lacking}.subject.txt"
            first = next(iter(of.values()))
            yield _problem(first, "template_missing_language", message, hint, severity=Severity.WARNING)


def _rendered(files: Mapping[str, File], catalogue: Catalogue, needs: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what shows only when a message is put into words."""
    for template, tags in _tags(files).items():
        data = sample("ordinary", needs.get(template, "debt"))
        for tag, file in tags.items():
            try:
                subject = catalogue.render(template, "email", tag, data).subject or ""
            except DomainError as error:
                yield _problem(file, "template_syntax", str(error))
                continue
            if len(subject) > LONG_SUBJECT:
                message = f"the subject has {len(subject)} characters with ordinary data, {shown(subject)}"
                of = catalogue.files.get(f"{template}/{tag}.subject.txt", file)
                hint = f"up to {LONG_SUBJECT}; phones show about 40"
                yield _problem(of, "template_long_subject", message, hint, severity=Severity.WARNING)


def usage_problems(policies: Iterable[Policy], catalogue: Catalogue) -> Iterator[Problem]:
    """Yield messages of policies that their template can't serve; unknown ones are lint's (`unknown_template`)."""
    needs = needs_of(catalogue)
    short = {file.template for file in catalogue.files.values() if file.part == "sms"}
    for policy in policies:
        for line, rule, message in _messages(policy):
            about = needs.get(message.template)
            wanted = _FOR.get(policy.kind)
            where = {"file": policy.source, "line": line, "column": 1, "rule": rule}
            if about is not None and wanted is not None and about != wanted:
                said = f"{shown(message.template)} speaks of {about}, and messages of {policy.kind} policies have none"
                yield _named(where, "template_not_for", said, Severity.ERROR)
            if "sms" in message.channels and message.template in catalogue.names and message.template not in short:
                said = f"{shown(message.template)} has no words for an SMS; its subject would be sent"
                yield _named(where, "template_missing_part", said, Severity.WARNING)


def used_by(policies: Iterable[Policy]) -> dict[str, list[str]]:
    """Return which policies send each template, as `kind/name`."""
    found: dict[str, list[str]] = {}
    for policy in policies:
        for template in sorted({message.template for _, _, message in _messages(policy)}):
            found.setdefault(template, []).append(f"{policy.kind}/{policy.name}")
    return found


def _messages(policy: Policy) -> Iterator[tuple[int, str, Message]]:
    for rule in policy.rules:
        for action in (rule.action, rule.otherwise):
            for step in action.steps if isinstance(action, StepsSpec) else ():
                if isinstance(step.do, Message):
                    yield rule.line, rule.name, step.do


def _named(where: dict[str, object], code: str, message: str, severity: Severity) -> Problem:
    return msgspec.convert({**where, "code": code, "message": message, "severity": severity}, Problem)


def _problem(
    file: File,
    code: str,
    message: str,
    hint: str | None = None,
    *,
    line: int = 1,
    severity: Severity = Severity.ERROR,
) -> Problem:
    return Problem(file=file.shown, line=line, column=1, code=code, message=message, hint=hint, severity=severity)
